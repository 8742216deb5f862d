"""Jobs that are killed, cut short or changed: no file is lost, and none is written twice."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import loudness
from loudness import Loudness, run_job, write_recordings
from spectrim.common.errors import SpectrimError
from spectrim.common.locks import claim
from spectrim.deploy.recordings import journal
from spectrim.deploy.recordings.table_layouts import EmbeddingTable, TagTable
from written_tables import expected_rows, read_table, skip_without_pyarrow

SCRIPT = Path(loudness.__file__)


def killed(folder, out, point):
    """Run the job in a process that is killed at a point."""
    done = subprocess.run(
        [sys.executable, SCRIPT, folder, out],
        env=os.environ | {"SPECTRIM_STOP_AT": f"kill:{point}"},
        capture_output=True,
    )
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize(
    ("suffix", "point"),
    [
        ("csv", "table:rows:1"),
        ("csv", "table:files:5"),
        ("jsonl", "table:rows:9"),
        ("csv", "file:write:1"),
        ("parquet", "table:rows:4"),
        ("parquet", "file:rename:2"),
        ("parquet", "file:renamed:2"),
        ("parquet", "table:finished:1"),
    ],
)
def test_a_killed_job_goes_on_where_it_was(folder, tmp_path, suffix, point):
    out = tmp_path / f"tags.{suffix}"
    skip_without_pyarrow(out)
    killed(folder, out, point)
    runner = Loudness()
    summary = run_job(folder, out, runner=runner)
    assert read_table(out) == expected_rows(folder=folder)
    place, _, count = point.rpartition(":")
    done = {"table:rows": int(count) - 1, "table:files": int(count), "file:write": 0}
    assert summary.num_resumed == done.get(place, 11)
    assert bool(runner.batches) == (summary.num_resumed < 11)
    assert sorted(os.listdir(tmp_path)) == [out.name, f"{out.name}.job"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_cut_anywhere_the_table_becomes_whole_again(folder, tmp_path, suffix):
    """As a lost power supply leaves both files: rows and journal end at unrelated bytes."""
    skip_without_pyarrow(suffix)
    whole = tmp_path / f"whole.{suffix}"
    killed_rows = whole.with_name(whole.name + (".rows" if suffix == "parquet" else ""))
    table = journal.Journal.finish
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journal.Journal, "finish", lambda self: None)
        run_job(folder, whole)
    assert journal.Journal.finish is table
    rows, lines = killed_rows.read_bytes(), (tmp_path / f"{whole.name}.job").read_bytes()
    header = lines.index(b"\n") + 1
    expected = expected_rows(folder=folder)
    for step in range(12):
        out = tmp_path / f"{step}.{suffix}"
        end = len(rows) * step // 11
        out.with_name(out.name + killed_rows.name.removeprefix(whole.name)).write_bytes(rows[:end])
        end = header + (len(lines) - header) * (step * 5 % 12) // 11
        out.with_name(f"{out.name}.job").write_bytes(lines[:end])
        run_job(folder, out)
        assert read_table(out) == expected


def test_ctrl_c_keeps_what_is_done(folder, tmp_path, monkeypatch):
    out = tmp_path / "tags.csv"
    calls = []

    def stop(point, steps=1):
        calls.append(point)
        if calls.count("table:files") == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(journal, "pass_point", stop)
    with pytest.raises(KeyboardInterrupt):
        run_job(folder, out)
    monkeypatch.undo()
    assert run_job(folder, out).num_resumed == 3
    assert read_table(out) == expected_rows(folder=folder)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_finished_job_takes_new_recordings_at_its_end(folder, tmp_path, suffix):
    out = tmp_path / f"tags.{suffix}"
    skip_without_pyarrow(out)
    early, late = [folder / "x.wav", folder / "e.wav"], [folder / "a.wav", folder / "j.wav"]
    run_job(folder, out, inputs=early)
    summary = run_job(folder, out, inputs=late + early)
    assert summary.num_resumed == 2
    assert read_table(out) == expected_rows(early + late)
    assert [Path(name).name for name, _ in summary.failures] == ["j.wav", "e.wav"]
    before = out.stat().st_mtime_ns
    assert run_job(folder, out, inputs=late + early).num_resumed == 4
    assert out.stat().st_mtime_ns == before


def test_files_that_changed_after_their_rows_were_written_are_named(tmp_path):
    folder, out, notes = write_recordings(tmp_path / "recordings"), tmp_path / "tags.csv", []
    run_job(folder, out)
    before = out.read_bytes()
    run_job(folder, out, note=notes.append)
    assert notes == [f"{out}: 11 of 11 recordings are done already."]
    with (folder / "a.wav").open("ab") as file:
        file.write(b"more")
    os.utime(folder / "x.wav", (0, 0))
    (folder / "g.wav").unlink()  # a recording that is gone is not listed
    (folder / "new.wav").write_bytes((folder / "d.wav").read_bytes())
    notes.clear()
    run_job(folder, out, note=notes.append)
    assert notes[1] == (
        f"{out}: 2 files changed after the rows were written, the first is {folder}/a.wav. "
        "The rows are kept. Choose another --out to compute them again."
    )
    assert out.read_bytes().startswith(before)
    # Journals of earlier versions do not record it.
    journal_path = tmp_path / "tags.csv.job"
    lines = [json.loads(line) for line in journal_path.read_text().splitlines()]
    for line in lines:
        line.pop("version", None)
    journal_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    notes.clear()
    run_job(folder, out, note=notes.append)
    assert len(notes) == 1


def test_other_settings_or_another_model_are_refused(folder, tmp_path):
    out = tmp_path / "tags.csv"
    run_job(folder, out)
    before = out.read_bytes()
    other = Loudness()
    other.labels = ["quiet", "loud"]
    for options, reason in (
        ({"hop": 0.5}, r"started with other settings \(hop was 1\.0 and is now 0\.5\)\. Repeat"),
        ({"table": TagTable(Loudness(), None, "mix", 1)}, "top was 5 and is now 1"),
        ({"table": TagTable(Loudness(), "mean", "mix")}, "aggregate was None and is now mean"),
        ({"table": TagTable(Loudness(), None, 0)}, "channel was mix and is now 0"),
        (
            {"table": EmbeddingTable(Loudness(), None, "mix")},
            r"is a table of `spectrim tag`, not of `spectrim embed`\. Choose another --out",
        ),
        ({"runner": other}, r"started with other settings \(another model\)"),
    ):
        with pytest.raises(SpectrimError, match=reason):
            run_job(folder, out, **options)
    assert out.read_bytes() == before
    run_job(folder, out, batch_size=2)  # batches change nothing


def test_a_file_of_another_program_is_not_touched(folder, tmp_path):
    for suffix in ("csv", "parquet"):
        out = tmp_path / f"mine.{suffix}"
        skip_without_pyarrow(out)
        out.write_text("my own table\n")
        with pytest.raises(SpectrimError, match=r"exists without mine\..*, so another program"):
            run_job(folder, out)
        assert out.read_text() == "my own table\n"


def test_a_table_that_was_edited_is_not_cut(folder, tmp_path):
    out = tmp_path / "tags.csv"
    run_job(folder, out)
    with out.open("a") as file:
        file.write("my,own,row\n")
    edited = out.read_bytes()
    with pytest.raises(SpectrimError, match="was changed after its job had finished"):
        run_job(folder, out)
    assert out.read_bytes() == edited
    out = tmp_path / "half.csv"
    killed(folder, out, "table:files:5")
    text = out.read_text().replace("\n", "\r\n")  # as a spreadsheet saves it
    out.write_bytes(text.encode())
    with pytest.raises(SpectrimError, match="was changed while its job was interrupted"):
        run_job(folder, out)
    assert out.read_bytes() == text.encode()


@pytest.mark.parametrize(
    "text", ["", "no journal\n", "{}\n", '{"format": "spectrim-job", "settings": 1}\n', "[1]\n"]
)
def test_a_broken_journal_is_refused(folder, tmp_path, text):
    out = tmp_path / "tags.csv"
    run_job(folder, out)
    (tmp_path / "tags.csv.job").write_text(text)
    with pytest.raises(SpectrimError, match=r"tags\.csv\.job: not a journal"):
        run_job(folder, out)


def test_a_deleted_table_is_begun_again(folder, tmp_path):
    out = tmp_path / "tags.csv"
    run_job(folder, out)
    out.unlink()
    assert run_job(folder, out).num_resumed == 0
    assert read_table(out) == expected_rows(folder=folder)


def test_a_broken_parquet_file_is_not_resumed_from(folder, tmp_path):
    out = tmp_path / "tags.parquet"
    skip_without_pyarrow(out)
    run_job(folder, out, inputs=[folder / "x.wav"])
    data = bytearray(out.read_bytes())
    data[-8:] = bytes(8)  # the length of its footer, and its magic bytes
    out.write_bytes(data)
    with pytest.raises(SpectrimError, match=r"tags\.parquet: pyarrow cannot read it"):
        run_job(folder, out)
    assert out.read_bytes() == bytes(data)


def test_a_full_disk_keeps_the_rows_so_far(folder, tmp_path, monkeypatch):
    out = tmp_path / "tags.csv"
    real, written = journal._write_all, []

    def write(file, data):
        written.append(data)
        if len(written) == 8:
            file.write(data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, data)

    monkeypatch.setattr(journal, "_write_all", write)
    with pytest.raises(SpectrimError, match=r"No space left on device\. The rows of 3 record"):
        run_job(folder, out)
    monkeypatch.undo()
    assert run_job(folder, out).num_resumed == 3
    assert read_table(out) == expected_rows(folder=folder)


def test_a_disk_that_is_full_when_the_parquet_file_is_made(folder, tmp_path, monkeypatch):
    out = tmp_path / "tags.parquet"
    skip_without_pyarrow(out)
    from pyarrow.parquet import ParquetWriter

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ParquetWriter, "write_table", full)
    with pytest.raises(SpectrimError, match=r"No space left on device\. The rows of 11 record"):
        run_job(folder, out)
    monkeypatch.undo()
    assert not out.exists()
    runner = Loudness()
    assert run_job(folder, out, runner=runner).num_resumed == 11 and not runner.batches
    assert read_table(out) == expected_rows(folder=folder)


def test_two_processes_do_not_write_one_table(folder, tmp_path):
    out = tmp_path / "tags.csv"
    with claim(tmp_path / ".tags.csv.lock") as is_mine:
        assert is_mine
        with pytest.raises(SpectrimError, match="another process is writing"):
            run_job(folder, out)


def test_the_journal_records_model_and_settings(folder, tmp_path):
    run_job(folder, tmp_path / "tags.csv", hop=0.5)
    header = json.loads((tmp_path / "tags.csv.job").read_text().splitlines()[0])
    assert header["record"]["model"] == "loudness"
    assert header["settings"]["hop"] == 0.5
