"""Data sets of `datasets` on disk as inputs of a job."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from loudness import RATE, run_job
from spectrim.common.errors import SpectrimError
from spectrim.deploy.recordings.input_recordings import recordings_of
from written_tables import expected_rows, read_table

pyarrow = pytest.importorskip("pyarrow", reason="data sets are Arrow files: pip install pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

AUDIO = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Files, and rows of a column of sounds: in the row, by path, broken, and empty."""
    root = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    files = []
    for number, seconds in enumerate((0.4, 2.3, 1.0, 3.7)):
        files.append(root / f"{number}.flac")
        soundfile.write(files[-1], rng.normal(0, 0.1, round(seconds * RATE)), RATE)
    rows = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    rows[2] = {"bytes": None, "path": str(files[2])}
    return files, [*rows, {"bytes": b"no sound", "path": "broken.flac"}, None]


def without_names(rows):
    return [
        {key: cell for key, cell in row.items() if key not in ("file", "error")} for row in rows
    ]


def check(out, source, sounds):
    """Rows are those of the files; the last two recordings failed."""
    rows, (files, _) = read_table(out), sounds
    expected = expected_rows(files)
    good, bad = rows[:-2], rows[-2:]
    assert without_names(good) == without_names(expected)
    names = list(dict.fromkeys(row["file"] for row in rows))
    assert names == [f"{source}#{index}" for index in range(6)]
    assert bad[0]["error"].startswith(f"{source}#4: broken.flac: not readable as sound")
    assert bad[1]["error"] == f"{source}#5: the row contains no sound."


def as_data_set(datasets, rows):
    """Rows as a data set; encoding them from the start would need torchcodec."""
    data = datasets.Dataset(pyarrow.table({"audio": pyarrow.array(rows, AUDIO)}))
    return data.cast_column("audio", datasets.Audio(decode=False))


@pytest.mark.parametrize("group", [1, 4, 100])
def test_parquet_files(sounds, tmp_path, group):
    table = pyarrow.table({"label": list("abcdef"), "audio": pyarrow.array(sounds[1], AUDIO)})
    path = tmp_path / "clips.parquet"
    parquet.write_table(table, path, row_group_size=group)
    out = tmp_path / "tags.jsonl"
    summary = run_job(tmp_path, out, inputs=[path])
    check(out, path, sounds)
    assert summary.num_recordings == 6 and len(summary.failures) == 2
    assert run_job(tmp_path, out, inputs=[path]).num_resumed == 6
    names = [recording.name for recording in recordings_of([path])]
    assert names == [f"clips-{number}" for number in range(6)]


def test_a_folder_that_datasets_saved(sounds, tmp_path):
    datasets = pytest.importorskip("datasets", reason="it writes the folder: pip install datasets")
    data = as_data_set(datasets, sounds[1])
    folder = tmp_path / "saved"
    data.save_to_disk(folder, num_shards=1)
    out = tmp_path / "tags.jsonl"
    run_job(tmp_path, out, inputs=[folder])
    check(out, folder / "data-00000-of-00001.arrow", sounds)
    data.save_to_disk(tmp_path / "shards", num_shards=3)
    assert len(recordings_of([tmp_path / "shards"])) == 6
    datasets.DatasetDict(train=data, test=data).save_to_disk(tmp_path / "splits")
    (problem,) = recordings_of([tmp_path / "splits"])
    assert "contains the splits train, test. Pass one of them" in problem.problem
    assert str(tmp_path / "splits" / "train") in problem.problem


def test_a_data_set_of_parquet_files_that_datasets_wrote(sounds, tmp_path):
    datasets = pytest.importorskip("datasets", reason="it writes the file: pip install datasets")
    path = tmp_path / "clips.parquet"
    as_data_set(datasets, sounds[1]).to_parquet(path)
    run_job(tmp_path, tmp_path / "tags.jsonl", inputs=[path])
    check(tmp_path / "tags.jsonl", path, sounds)


def test_rows_beside_other_recordings(sounds, tmp_path):
    files, rows = sounds
    path = tmp_path / "clips.parquet"
    table = pyarrow.table({"audio": pyarrow.array(rows[:1], AUDIO)})
    parquet.write_table(table, path)
    run_job(tmp_path, tmp_path / "tags.jsonl", inputs=[files[1], path, files[0]])
    named = list(dict.fromkeys(row["file"] for row in read_table(tmp_path / "tags.jsonl")))
    assert named == [str(files[1]), f"{path}#0", str(files[0])]


def problem_of(path):
    (recording,) = recordings_of([path])
    return recording.problem


def test_files_without_sounds_are_refused(tmp_path):
    path = tmp_path / "tags.parquet"
    parquet.write_table(pyarrow.table({"file": ["a.wav"], "label": ["x"]}), path)
    assert "no column of sounds; expected exactly one" in problem_of(path)
    assert "Its columns: file, label." in problem_of(path)
    two = pyarrow.table({name: pyarrow.array([None], AUDIO) for name in ("left", "right")})
    parquet.write_table(two, path)
    assert "2 columns of sounds" in problem_of(path)
    parquet.write_table(two.select(["left"]).slice(0, 0), path)
    assert problem_of(path) == f"{path}: contains no row."
    path.write_bytes(b"PAR1 nothing PAR1")
    assert "pyarrow cannot read it" in problem_of(path)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "state.json").write_text(json.dumps({"_data_files": [1]}))
    assert "does not list the files of the data set" in problem_of(folder)
    with pytest.raises(SpectrimError, match="pyarrow cannot read it"):
        run_job(tmp_path, tmp_path / "out.csv", inputs=[path])
