"""Axes say the truth; what is blanked is what was dropped; the report holds all it shows."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.figure import Figure

from sounds import burst, manifest, noise, silence
from spectrim.analysis.analyze import AnalysisSettings, analyze
from spectrim.analysis.figures.all_figures import draw_all
from spectrim.analysis.figures.bars import draw_retention
from spectrim.analysis.figures.maps import blanked, draw_example
from spectrim.analysis.figures.style import MelAxis, save_figure, seconds_of
from spectrim.analysis.report import ogg, write_report
from spectrim.analysis.report_files import save_analysis
from spectrim.analysis.summary import summaries
from spectrim.analysis.tidy_tables import analysis_record
from spectrim.audio.front_ends import front_end
from spectrim.common.palette import series_styles


@pytest.fixture(scope="module")
def found(make, tmp_path_factory):
    waves = [burst(800, 0.2, 0.5), noise(0.6, 0.1, 1), noise(1.3, 0.01, 2), noise(1.3, 0.2, 3)]
    clips = manifest(tmp_path_factory.mktemp("clips") / "x", waves)
    models = {family: make(family) for family in ("ast", "audiomae")}
    return analyze(models, {"clips": clips}, AnalysisSettings(examples=1, scores=("attention",)))


@pytest.mark.parametrize(("name", "mels"), [("kaldi", 128), ("slaney-mel", 96), ("passt-mel", 80)])
def test_a_frequency_stands_at_the_bin_whose_filter_peaks_there(name, mels):
    audio = front_end(name)
    bank, axis = audio.filter_bank(mels), MelAxis(audio, mels)
    for index in (mels // 2, mels - 20, mels - 8):  # filters wider than the transform's step
        step = audio.sample_rate / audio.fft
        peak = (int(bank.mel[:, index].argmax()) + getattr(bank, "first", 0)) * step
        assert axis.bin_of(peak - step) < index < axis.bin_of(peak + step)
        assert axis.bin_of(axis.hertz_of(index)) == pytest.approx(index)
    assert axis.bin_of(audio.low_hz) == -1
    assert axis.bin_of(audio.high_hz) == pytest.approx(mels)


def test_seconds_of_a_frame_is_where_it_lies():
    middles = {"kaldi": 0.0125, "passt-mel": 0.0}  # of 25 ms; at the first sample
    for name, middle in middles.items():
        audio = front_end(name)
        assert (seconds_of(0, audio) + seconds_of(1, audio)) / 2 == pytest.approx(middle)


def test_dropped_patches_are_blank_and_no_others(found):
    picture = found[0].examples[0].pictures[0]
    assert not blanked(picture, 0).mask.any()
    for at in (1, 2, 3):
        shown = ~blanked(picture, at).mask  # (mels, frames)
        cells = shown.reshape(8, 16, 8, 16).transpose(2, 0, 1, 3)
        assert np.array_equal(cells.all((2, 3)), picture.kept[at])
        assert np.array_equal(cells.any((2, 3)), picture.kept[at])


def test_the_figure_of_a_clip_says_label_and_prediction(found):
    example = found[0].examples[0]
    figure = draw_example(example)
    text = " ".join(t.get_text() for ax in figure.axes for t in [ax.title, ax.xaxis.label])
    assert example.clip.labels[0] in figure.get_suptitle()
    assert "time (s)" in text and "8 of 64 patches" in text
    assert example.pictures[0].unpruned[0] in text


def test_models_that_keep_the_same_patches_share_a_row(make, tmp_path):
    clips = manifest(tmp_path / "x", [noise(1.3, 0.1, 1), noise(1.3, 0.1, 2)])
    models = {family: make(family) for family in ("ast", "audiomae")}
    found = analyze(
        models, {"x": clips}, AnalysisSettings(examples=1, scores=("attention", "intensity"))
    )
    example = found[0].examples[0]
    by = {(picture.model, picture.score): picture for picture in example.pictures}
    assert np.array_equal(by["ast", "intensity"].kept, by["audiomae", "intensity"].kept)
    titles = [ax.get_title() for ax in draw_example(example).axes]
    whole = [title for title in titles if "unpruned" in title]
    # Below "unpruned", each model has a line of its own. Rows of attention are apart.
    assert [title.count("\n") for title in whole] == [1, 2, 1]
    answers = [f"{m}: {by[m, 'intensity'].pruned[0]}" for m in models]
    assert any(all(answer in title for answer in answers) for title in titles)


def test_retention_rows_have_their_own_scale(found):
    (drawn,) = [drawn for drawn in draw_all(found) if drawn.name == "retention"]
    tops = [bar.get_height() for ax in drawn.figure.axes[:2] for bar in ax.patches]
    assert max(tops) <= drawn.figure.axes[0].get_ylim()[1] <= 100


def test_bands_of_models_of_any_stride_stand_at_their_frequencies(make, tmp_path):
    clips = manifest(tmp_path / "x", [burst(300, 0.2, 0.5), noise(1.3, 0.1, 2)])
    models = {"wide": make("ast", depth=4), "close": make("audiomae", stride=10, depth=4)}
    settings = AnalysisSettings(examples=0, scores=("intensity",), blocks=(1,))
    found = analyze(models, {"x": clips}, settings)
    figure = draw_retention(found)
    assert figure is not None
    ax = figure.axes[2]
    drawn_at = {tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) > 2}
    assert drawn_at == {tuple(stride * n + 7.5 for n in range(count))
                        for stride, count in ((16, 8), (10, 12))}  # fmt: skip
    ticks = dict(zip([t.get_text() for t in ax.get_xticklabels()], ax.get_xticks(), strict=True))
    assert ticks["1000"] == MelAxis(front_end("kaldi"), 128).bin_of(1000)


def test_names_are_drawn_as_they_are(tmp_path, recwarn):
    """A dollar is no formula; a name may be no UTF-8, or of letters that the font lacks."""
    figure = Figure()
    names = ["cash$1_$2.wav", b"caf\xe9.wav".decode("utf-8", "surrogateescape"), "개.wav"]
    for ax, name in zip(figure.subplots(3, 1), names, strict=True):
        ax.set_title(name)
    figure.suptitle(" ".join(names))
    written = save_figure(tmp_path, "names", figure)
    assert all(path.stat().st_size > 1000 for path in written) and not len(recwarn)
    assert figure.axes[0].get_title() == names[0]
    assert figure.axes[1].get_title() == "caf?.wav"


def test_silence_and_single_clips_claim_nothing(make, tmp_path):
    """All patches of silence lie in one cluster: the paper's tau would be 1 of nothing but ties;
    and one clip has no standard error."""
    settings = AnalysisSettings(examples=0, scores=("attention",))
    silent = manifest(tmp_path / "x", [silence()] * 2)
    with pytest.warns(match="1 different value"):
        numbers = analysis_record(analyze({"ast": make("ast")}, {"x": silent}, settings), settings)
    tables = {title: rows for title, _, rows in summaries(numbers)}
    (title,) = [title for title in tables if title.startswith("Kendall")]
    assert "nothing to rank" in title
    assert all(row[4:] == ["-"] * 4 for row in tables[title])
    lone = manifest(tmp_path / "y", [noise()])
    numbers = analysis_record(analyze({"ast": make("ast")}, {"y": lone}, settings), settings)
    cells = [
        cell
        for title, _, rows in summaries(numbers)
        for row in rows
        if not row[0].endswith("(paper)")
        for cell in row
    ]
    assert not any("±" in cell for cell in cells)


def test_every_figure_is_there_once(found):
    names = [drawn.name for drawn in draw_all(found, paper=True)]
    assert names == [
        "fig3-clips-1", "fig4-paper", "fig4-paper-no-padding", "fig4-tau-b",
        "fig4-tau-b-no-padding", "fig5-clusters", "fig6-clips", "retention", "received",
    ]  # fmt: skip


def test_the_report_holds_pictures_and_sound(make, tmp_path_factory, tmp_path):
    """Of one model on clips without padding, since drawing is what takes the time."""
    waves = [burst(800, 0.2, 0.5), noise(1.3, 0.01, 2), noise(1.3, 0.2, 3)]
    clips = manifest(tmp_path_factory.mktemp("full") / "x", waves)
    found = analyze(
        {"ast": make("ast")}, {"clips": clips}, AnalysisSettings(examples=1, scores=("attention",))
    )
    settings = AnalysisSettings(examples=1, scores=("attention",))
    out, aside = tmp_path / "out", tmp_path / "aside.csv"
    out.mkdir()
    for path in (aside, out / "low_ratio.csv", out / "mine.csv"):
        path.write_text("")
    earlier = {"files": ["results.json", "low_ratio.csv", "../aside.csv"]}
    (out / "results.json").write_text(json.dumps(earlier))
    numbers, written = save_analysis(out, found, settings, paper=True)
    assert {path.name for path in out.iterdir()} == {*(path.name for path in written), "mine.csv"}
    assert aside.exists() and not (out / "low_ratio.csv").exists()
    assert json.loads((out / "results.json").read_text())["files"] == [p.name for p in written]
    tmp_path = out
    text = (tmp_path / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', text), "nothing lies outside the file"
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(pictures) == 7
    assert all(base64.b64decode(one).startswith(b"\x89PNG") for one in pictures)
    (sound,) = re.findall(r'src="data:audio/ogg;base64,([^"]+)"', text)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sound)))
    assert rate == 16_000 and len(samples) == len(found[0].examples[0].waveform)
    assert text.index("<img") < text.index("<table")
    assert "AS-20K (paper)" in text and numbers["versions"]["torch"] in text
    for name in ("tau", "clusters", "retention", "received"):
        lines = (tmp_path / f"{name}.csv").read_text().splitlines()
        assert len(lines) > 2 and "format_version" in lines[0]


def test_names_that_are_no_utf8_do_not_stop_the_report(found, tmp_path):
    settings = AnalysisSettings(examples=1, scores=("attention",))
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    numbers = analysis_record(found, settings) | {"failures": [{"error": f"{name}: is empty"}]}
    text = write_report(tmp_path / "report.html", numbers, []).read_text(encoding="utf-8")
    assert "caf?.wav: is empty" in text


def test_a_minute_of_sound_survives_the_encoder():
    waveform = noise(60, 0.3).astype(np.float32)
    samples, _ = soundfile.read(io.BytesIO(ogg(waveform, 16000)))
    assert len(samples) == len(waveform)


def test_nothing_dropped_leaves_its_figures_out(make, tmp_path):
    torch.manual_seed(0)
    clips = manifest(tmp_path / "x", [noise(), noise(1.3, 0.01, 3)])
    settings = AnalysisSettings(keep_rate=1.0, examples=1, scores=("attention",))
    found = analyze({"ast": make("ast")}, {"x": clips}, settings)
    names = [drawn.name for drawn in draw_all(found)]
    assert not any("fig6" in n or "retention" in n or "received" in n for n in names)


def test_no_two_of_many_lines_look_alike():
    names = [f"model {number}" for number in range(24)]
    assert len(set(series_styles(names).values())) == len(names)
