"""Recordings of folders, patterns, manifests and lists."""

from __future__ import annotations

from glob import glob
from pathlib import Path

import numpy as np
import pytest
import soundfile

from loudness import RATE, Loudness, run_job
from spectrim.audio.decode import read
from spectrim.common.errors import SpectrimError
from spectrim.deploy.recordings.input_recordings import recordings_of
from written_tables import read_table


def names(recordings):
    return [recording.path.rpartition("recordings/")[2] for recording in recordings]


ALL = [f"{name}.wav" for name in ("a", "b/c", "b/d", "d", "e", "f", "g", "h", "i", "j", "x")]


def test_folders_patterns_manifests_and_lists_give_the_same(folder, tmp_path):
    (folder / "notes.md").write_text("no sound")
    table, text = folder / "clips.csv", folder / "files.txt"
    table.write_text("path,label\n" + "".join(f"{name},dog\n" for name in ALL))
    text.write_text("\n\n".join(ALL))
    try:
        for source in (folder, folder / "**" / "*", table, text):
            assert names(recordings_of([source])) == ALL
        assert names(recordings_of([folder / "b", folder / "[xa].wav"])) == [
            "b/c.wav", "b/d.wav", "a.wav", "x.wav"
        ]  # fmt: skip
    finally:
        for path in (table, text, folder / "notes.md"):
            path.unlink()


def test_patterns_match_as_glob_does_and_follow_links_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.wav", "b/c.wav", "b/[1] 100%.wav", "b/d/e.wav", "b/d/f/g.wav", ".hidden/h.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    patterns = (
        "**/*.wav",
        "b/**",
        "**/d/*",
        "b/**/f/**/*.wav",
        "?/**/[eg].wav",
        "**/[[]1*",
        "**/.*/*",
    )
    for pattern in (*patterns, f"{tmp_path}/**/*.wav"):
        expected = sorted(name for name in glob(pattern, recursive=True) if Path(name).is_file())
        assert [recording.path for recording in recordings_of([pattern])] == expected
    # With two links to folders above, `glob` finds some 2 ** 40 paths.
    for name in ("b/up", "b/d/up"):
        (tmp_path / name).symlink_to(tmp_path)
    (tmp_path / "b" / "other").symlink_to(tmp_path / ".hidden")
    names = [recording.path for recording in recordings_of(["**/*.wav"])]
    assert names == [
        "a.wav", "b/[1] 100%.wav", "b/c.wav", "b/d/e.wav", "b/d/f/g.wav", "b/other/h.wav"
    ]  # fmt: skip


def test_parts_of_files_have_times_of_the_file(folder, tmp_path):
    manifest = tmp_path / "parts.csv"
    manifest.write_text(f"path,start,end\n{folder}/x.wav,1.5,4.1\n{folder}/x.wav,0.25,0.75\n")
    run_job(folder, tmp_path / "tags.csv", inputs=[manifest])
    rows = [row for row in read_table(tmp_path / "tags.csv") if row["label"] == "mean"]
    assert [(r["start"], r["end"]) for r in rows] == [
        (1.5, 2.5),
        (2.5, 3.5),
        (3.5, 4.1),
        (0.25, 0.75),
    ]
    for row in rows:
        samples = read(folder / "x.wav", row["start"], row["end"])
        assert row["probability"] == pytest.approx(np.abs(samples).mean(), abs=1e-6)


def test_an_input_that_cannot_be_listed_is_a_row(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "tags.csv"
    inputs = [empty, folder / "a.wav", tmp_path / "gone.wav", tmp_path / "*.flac"]
    summary = run_job(folder, out, inputs=inputs)
    reasons = ("no sound file in it or below", "no such file", "no sound file matches")
    for (_, message), reason in zip(summary.failures, reasons, strict=True):
        assert reason in message
    status = [(row["file"], row["status"]) for row in read_table(out)]
    assert [row for row in status if row[1] == "failed"] == [
        (str(path), "failed") for path in (empty, tmp_path / "gone.wav", tmp_path / "*.flac")
    ]
    # The system refuses these two, as it refuses files in a folder that may not be entered.
    link = tmp_path / "loop.wav"
    link.symlink_to(link)
    refused = [link, tmp_path / ("x" * 300), tmp_path / ("x" * 300) / "*.wav"]
    summary = run_job(folder, tmp_path / "refused.csv", inputs=[*refused, folder / "a.wav"])
    assert [path for path, _ in summary.failures] == [str(path) for path in refused]
    assert all(message.startswith(path) for path, message in summary.failures)
    assert summary.seconds == pytest.approx(0.4)
    with pytest.raises(SpectrimError, match="no sound file in it or below"):
        run_job(folder, tmp_path / "nothing.csv", inputs=[empty])
    assert not (tmp_path / "nothing.csv").exists()


@pytest.mark.parametrize("suffix", ["", ".xlsx", ".json"])
def test_the_suffix_names_a_format(folder, tmp_path, suffix):
    with pytest.raises(SpectrimError, match=r"ends in \.csv, \.jsonl or \.parquet"):
        run_job(folder, tmp_path / f"tags{suffix}")


def test_a_clip_less_than_a_frame_longer_is_one_window(tmp_path):
    for samples, count in ((RATE + 159, 1), (RATE + 160, 2)):
        soundfile.write(tmp_path / "a.wav", np.zeros(samples), RATE)
        runner = Loudness()
        run_job(tmp_path, tmp_path / f"{count}.csv", runner=runner, inputs=[tmp_path / "a.wav"])
        assert sum(runner.batches) == count
