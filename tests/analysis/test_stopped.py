"""Ctrl-C in an analysis or ablation keeps the clips so far; the estimate of their time."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from sounds import burst, manifest, noise
from spectrim.analysis import report_files
from spectrim.analysis.ablation.ablate import DROPPED, ablate, ablate_all
from spectrim.analysis.analyze import AnalysisSettings, analyze
from spectrim.analysis.clusters import HIGH, LOW
from spectrim.analysis.figures.all_figures import FigureEntry
from spectrim.analysis.first_pass import first_pass
from spectrim.analysis.pass_duration import estimated_seconds
from spectrim.analysis.patch_statistics import View, patches_of
from spectrim.analysis.report_files import save_analysis
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.common.files import save_text
from spectrim.common.interruption import Stopped

SETTINGS = AnalysisSettings(
    scores=("intensity",), keep_rate=0.5, blocks=(1,), batch_size=2, examples=1
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    waves = [burst(300 * 2**n, 0.2 * n, 0.2 * n + 0.3) for n in range(4)]
    waves += [noise(1.3, level, 1) for level in (0.5, 0.02)] + [noise(0.5, 0.1, 3)]
    return manifest(tmp_path_factory.mktemp("clips") / "x", waves)


class CtrlC:
    """Progress that sends Ctrl-C once so many clips of all passes are done."""

    def __init__(self, *after: int) -> None:
        self.done, self.after = 0, list(after)

    def __call__(self, clips: int) -> None:
        self.done += clips
        while self.after and self.done >= self.after[0]:
            self.after.pop(0)
            signal.raise_signal(signal.SIGINT)


def test_a_stopped_analysis_is_that_of_the_clips_so_far(make, clips, tmp_path):
    """Four of seven: as if the others could not be read in the second pass."""
    model = make("ast", depth=2)
    stop = CtrlC(7 + 4)
    with pytest.raises(Stopped) as stopped, pytest.warns(SpectrimNotice, match="current batch"):
        analyze({"m": model}, {"x": clips}, SETTINGS, lambda name, done: stop(done))
    (data,) = stopped.value.result
    assert (data.clips, data.is_complete) == (4, False) and len(data.examples) == 1
    (pruned,) = data.models[0].pruned
    grid = model.config.grid.count
    assert pruned.retention.by("mean").sum((0, 2, 3))[0] == 4 * grid
    # The first four clips alone, with the clusters of all.
    features, valid = model.features([clip.path for clip in clips.clips[:4]])
    columns, rows = pruned.model.trace(features, valid).kept[1].reshape(-1, 2).T.numpy()
    for kind, places in (("column", columns), ("row", rows)):
        counts = pruned.retention.by(kind)[:, 1].sum((0, 2))
        assert np.array_equal(counts, np.bincount(places, minlength=len(counts)))
    numbers, files = save_analysis(tmp_path, [data], SETTINGS, is_stopped=True)
    assert numbers["stopped"] is True and numbers["data"][0]["clips"] == 4
    assert "was interrupted" in (tmp_path / "report.html").read_text() and len(files) > 5


def test_data_sets_before_a_stopped_one_are_kept(make, clips):
    model = make("ast", depth=2)
    stop = CtrlC(2 * 7 + 3)  # in the first pass over the second
    data = {"one": clips, "two": replace(clips, clips=clips.clips[:5])}
    with pytest.raises(Stopped) as stopped:
        analyze({"m": model}, data, SETTINGS, lambda name, done: stop(done))
    assert [(one.name, one.is_complete) for one in stopped.value.result] == [("one", True)]
    stop = CtrlC(3)
    with pytest.raises(KeyboardInterrupt) as interrupt:
        analyze({"m": model}, data, SETTINGS, lambda name, done: stop(done))
    assert not isinstance(interrupt.value, Stopped)


def test_a_second_ctrl_c_loses_the_half_counted_batch_and_its_data_set(make, clips, monkeypatch):
    model = make("ast", depth=2)
    calls = []

    def impatient(*given):
        calls.append(given)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("spectrim.analysis.analyze._count", impatient)
    with pytest.raises(KeyboardInterrupt) as interrupt, pytest.warns(SpectrimNotice):
        analyze({"m": model}, {"x": clips}, SETTINGS)
    assert not isinstance(interrupt.value, Stopped)


def test_a_stopped_ablation_is_that_of_the_clips_so_far(make, clips):
    model, stop = make("ast", depth=2), CtrlC(7 + 4)
    with pytest.raises(Stopped) as stopped:
        ablate(model, "m", "x", clips, after=[1], batch_size=2, tick=stop)
    result = stopped.value.result
    assert [row["clips"] + row["no_patch_left"] for row in result.rows] == [4, 4, 4]
    features, valid = model.features([clip.path for clip in clips.clips])
    view = View.of(model.config)
    clusters = first_pass({"m": model}, "x", clips).clusters[view][0]
    ranks = clusters.rank(patches_of(view, features, valid).values[0])[:4]
    for row, pair in zip(result.rows[1:], (LOW, HIGH), strict=True):
        assert row["patches_dropped"] == pytest.approx(np.isin(ranks, pair).mean())
    assert list(DROPPED) == [row["dropped"] for row in result.rows[1:]]


def test_pairs_before_a_stopped_one_are_kept(make, clips):
    models = {"a": make("ast", depth=2), "b": make("audiomae", depth=2)}
    stop = CtrlC(2 * 7 + 1)

    class Bar:
        def __init__(self, *given):
            pass

        def __enter__(self):
            return stop

        def __exit__(self, *given):
            return None

    with pytest.raises(Stopped) as stopped:
        ablate_all(models, {"x": clips}, Bar, after=[1])
    ablations, failed = stopped.value.result
    assert [one.rows[0]["model"] for one in ablations] == ["a"] and failed == []


def test_the_estimate_grows_with_the_clips(monkeypatch, clips):
    """Planted: 2 s of preparations, then 0.1 s a clip; the first clip cannot be read."""
    now, runs = [0.0], []
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def run(part):
        runs.append([Path(clip.path).name for clip in part.clips])
        if clips.clips[0] in part.clips:
            raise SpectrimError("it cannot be read.")
        now[0] += 0.1 * len(part.clips)

    assert estimated_seconds(run, clips, 4) == pytest.approx(0.7)
    assert [len(names) for names in runs] == [1, 1, 4]
    assert runs[1][0] == runs[2][0] == clips.clips[1].path.name
    now[0], slow = 0.0, []

    def slow_run(part):
        slow.append(part)
        now[0] += 30

    assert estimated_seconds(slow_run, clips, 4) == pytest.approx(7 * 30) and len(slow) == 1

    def fail(part):
        raise SpectrimError("no.")

    assert estimated_seconds(fail, clips, 4) is None


def test_a_killed_analysis_leaves_no_mixture_and_no_unknown_file(monkeypatch, tmp_path):
    """Killed while it draws: its files are known to the next analysis, which has other figures."""
    drawn = []

    def figures(*given):
        for name in drawn:
            yield FigureEntry("section", name, Figure(), "caption")

    def write_report(path, *given):
        return save_text(path, "report")

    def names():
        return {path.name for path in tmp_path.iterdir()}

    monkeypatch.setattr(report_files, "analysis_record", lambda *given: {})
    monkeypatch.setattr(report_files, "tables", lambda numbers: {"tau": [{"value": 1}]})
    monkeypatch.setattr(report_files, "draw_all", figures)
    monkeypatch.setattr(report_files, "write_report", write_report)
    drawn[:] = ["a", "b"]
    save_analysis(tmp_path, [], SETTINGS)
    assert names() == {"results.json", "report.html", "tau.csv"} | {
        f"{name}.{suffix}" for name in "ab" for suffix in ("png", "pdf")
    }
    drawn[:] = ["c", "d"]
    with monkeypatch.context() as patch:
        patch.setattr(report_files, "write_report", None)  # ends before the report
        with pytest.raises(TypeError):
            save_analysis(tmp_path, [], SETTINGS)
    assert "report.html" not in names() and "a.png" not in names() and "d.pdf" in names()
    drawn[:] = ["e"]
    save_analysis(tmp_path, [], SETTINGS)
    assert names() == {"results.json", "report.html", "tau.csv", "e.png", "e.pdf"}
