"""Tables of recordings against one call of `spectrim.tag` per file."""

from __future__ import annotations

import os
import threading
import warnings

import numpy as np
import pytest
import soundfile

from loudness import RATE, Loudness, run_job
from parameters import each_value
from spectrim.audio.windows import windows
from spectrim.common.errors import SpectrimError
from spectrim.deploy.recordings.table_layouts import EmbeddingTable, TagTable, WideTable
from written_tables import COLUMNS, expected_rows, read_table, skip_without_pyarrow

FORMATS = ["csv", "jsonl", "parquet"]


@each_value(options=[{}, {"hop": 0.3}, {"one_row": "mean"}, {"threshold": 0.3}], suffix=FORMATS)
def test_rows_are_those_of_a_call_per_file(folder, tmp_path, suffix, options):
    out = tmp_path / f"tags.{suffix}"
    skip_without_pyarrow(out)
    runner = Loudness()
    table = TagTable(runner, options.get("one_row"), "mix", 5, options.get("threshold", 0.0))
    summary = run_job(folder, out, runner=runner, table=table, hop=options.get("hop"))
    rows = read_table(out)
    assert rows == expected_rows(folder=folder, **options)
    assert list(rows[0]) == COLUMNS
    failed = {row["file"]: row["error"] for row in rows if row["status"] == "failed"}
    assert failed == dict(summary.failures)
    assert sorted(name[-5:] for name in failed) == ["e.wav", "f.wav", "i.wav", "j.wav"]
    assert summary.num_recordings == 11


def test_windows_of_several_files_share_a_batch(folder, tmp_path):
    runner = Loudness()
    run_job(folder, tmp_path / "tags.csv", runner=runner, batch_size=4)
    assert set(runner.batches[:-1]) == {4}


@each_value(workers=[1, 2, 9], batch_size=[1, 64])
def test_neither_threads_nor_batches_change_the_rows(folder, tmp_path, workers, batch_size):
    out = tmp_path / "tags.jsonl"
    run_job(folder, out, workers=workers, batch_size=batch_size)
    assert read_table(out) == expected_rows(folder=folder)


@pytest.mark.parametrize("suffix", FORMATS)
def test_wide_tables_have_a_column_for_each_class(folder, tmp_path, suffix):
    out = tmp_path / f"wide.{suffix}"
    skip_without_pyarrow(out)
    runner = Loudness()
    run_job(folder, out, runner=runner, table=WideTable(runner, None, "mix"))
    rows = read_table(out)
    assert list(rows[0]) == ["file", "start", "end", "channel", "status", "error", "mean", "peak"]
    long = expected_rows(folder=folder)
    for label in ("mean", "peak"):
        known = {(r["file"], r["start"]): r["probability"] for r in long if r["label"] == label}
        written = {(r["file"], r["start"]): r[label] for r in rows if r["status"] == "ok"}
        assert written == pytest.approx(known, abs=1e-6)
    assert sum(row["status"] == "failed" for row in rows) == 4


@pytest.mark.parametrize("suffix", FORMATS)
def test_embeddings_of_each_window(folder, tmp_path, suffix):
    out = tmp_path / f"embeddings.{suffix}"
    skip_without_pyarrow(out)
    runner = Loudness()
    run_job(folder, out, runner=runner, table=EmbeddingTable(runner, None, "mix"))
    rows = read_table(out)
    for name in ("a.wav", "b/c.wav", "x.wav"):
        cut = [window.samples for window in windows(folder / name, RATE)]
        mine = [row for row in rows if row["file"] == str(folder / name)]
        if suffix == "csv":
            values = [[row[f"embedding_{index}"] for index in range(3)] for row in mine]
        else:
            values = [row["embedding"] for row in mine]
        expected = np.array([[w.min(), w.max(), w.std()] for w in cut], np.float32)
        assert (np.array(values, np.float32) == expected).all()
    if suffix == "parquet":
        import pyarrow.parquet

        schema = pyarrow.parquet.read_schema(out)
        assert str(schema.field("embedding").type) == "fixed_size_list<element: float>[3]"
        failed = [row["embedding"] for row in rows if row["status"] == "failed"]
        assert np.isnan(failed).all() and np.shape(failed) == (3, 3)
        assert pyarrow.parquet.read_table(out)["embedding"].null_count == 0, "unreadable before 25"


def test_a_class_named_like_a_column_is_refused():
    runner = Loudness()
    runner.labels = ["start", "stop"]
    with pytest.raises(SpectrimError, match=r"two columns would be called 'start'"):
        WideTable(runner, None, "mix")


def test_names_that_no_text_can_hold(tmp_path):
    """A line feed, a quote, and a byte that is no UTF-8."""
    folder = tmp_path / "odd"
    folder.mkdir()
    names = [b"a\nb.wav", b'c",d.wav', b"e\xff.wav"]
    for name in names:
        soundfile.write(folder / "plain.wav", np.zeros(800), RATE)
        (folder / "plain.wav").rename(folder / name.decode("utf-8", "surrogateescape"))
    expected = [str(folder / name) for name in ("a\nb.wav", 'c",d.wav', "e\\udcff.wav")]
    for suffix in FORMATS:
        skip_without_pyarrow(suffix)
        out = tmp_path / f"odd.{suffix}"
        run_job(folder, out)
        assert [row["file"] for row in read_table(out)][::2] == expected
        run_job(folder, out)  # all are done: their names are recognised


def test_each_recording_is_in_the_table_once(folder, tmp_path):
    out = tmp_path / "tags.csv"
    summary = run_job(folder, out, inputs=[folder / "x.wav", folder, folder / "a.wav"])
    files = list(dict.fromkeys(row["file"] for row in read_table(out)))
    assert files[0] == str(folder / "x.wav") and len(files) == len(set(files)) == 11
    assert summary.num_repeated == 2


@pytest.mark.parametrize("change", ["cut", "written on", "replaced", "deleted"])
def test_a_file_that_changes_while_it_is_read_does_not_stop_the_others(tmp_path, change):
    """Threads are at most three windows ahead, so the change comes before the file is read."""
    long, short, other = (tmp_path / name for name in ("a.wav", "b.wav", "other.wav"))
    soundfile.write(long, np.zeros(100 * RATE), RATE)
    soundfile.write(short, np.zeros(RATE), RATE)
    soundfile.write(other, np.zeros(RATE), RATE)

    class Changes(Loudness):
        def probabilities(self, waveforms):
            if not self.batches:
                if change == "cut":
                    os.truncate(long, RATE * 2 * 50)  # 50 s of 16 bits
                elif change == "written on":
                    with long.open("ab") as file:
                        file.write(bytes(RATE * 2 * 50))
                elif change == "replaced":
                    other.replace(long)
                else:
                    long.unlink()
            return super().probabilities(waveforms)

    out = tmp_path / "tags.csv"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        summary = run_job(tmp_path, out, runner=Changes(), inputs=[long, short], batch_size=1)
    notes = [str(w.message) for w in caught]
    if change == "cut":
        assert any("a.wav: only 50.0 s of the 100.0 s" in note for note in notes)
    rows = read_table(out)
    ends = {row["file"]: row["end"] for row in rows if row["status"] == "ok"}
    seconds = 50 if change == "cut" else 100
    assert ends == {str(long): pytest.approx(seconds, abs=0.01), str(short): 1.0}
    errors = [row["error"] for row in rows if row["status"] == "failed"]
    if change == "deleted":
        assert not errors and not summary.failures
    else:
        assert errors == [summary.failures[0][1]]
        assert errors[0].startswith(f"{long}: the file changed while it was read")


def test_threads_end_with_the_job(folder, tmp_path, monkeypatch):
    """Whatever ends it: the end of the recordings, or an error of the model."""
    before = threading.active_count()
    run_job(folder, tmp_path / "tags.csv")
    assert threading.active_count() == before

    class Fails(Loudness):
        def probabilities(self, waveforms):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        run_job(folder, tmp_path / "fails.csv", runner=Fails(), batch_size=1)
    assert threading.active_count() == before
