"""Callables for `map_batches` against one call of `spectrim.tag` per file."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import soundfile

import spectrim
from loudness import RATE, Loudness, write_recordings
from spectrim.audio.decode import read
from spectrim.common.errors import SpectrimError
from written_tables import COLUMNS, expected_rows

pyarrow = pytest.importorskip("pyarrow", reason="rows are Arrow tables: pip install pyarrow")
from spectrim.integrations.map_batches import (  # noqa: E402
    EmbedBatches,
    EventBatches,
    TagBatches,
    recordings_in,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("batches") / "recordings")


def paths_in(folder):
    return [str(folder / name) for name in ("x.wav", "e.wav", "a.wav", "j.wav")]


def test_each_kind_of_batch_has_the_rows_of_a_call_per_file(folder):
    pandas = pytest.importorskip("pandas")
    paths = paths_in(folder)
    tag = TagBatches(Loudness(), hop=0.3)
    expected = expected_rows(paths, hop=0.3)
    assert {row["status"] for row in expected} == {"ok", "failed"}
    for batch in (
        {"path": np.array(paths)},
        {"path": [path.encode() for path in paths], "label": range(4)},
        {"path": paths, "start": [np.nan] * 4, "end": np.full(4, np.nan)},
        pyarrow.table({"path": paths}),
        pyarrow.record_batch({"path": paths, "start": pyarrow.nulls(4)}),
        pandas.DataFrame({"path": paths}),
    ):
        rows = tag(batch)
        assert rows.column_names == COLUMNS and rows.schema == tag.schema
        assert rows.to_pylist() == expected
    assert tag({"path": []}).to_pylist() == []


def test_parts_of_files(folder):
    path = str(folder / "x.wav")
    rows = TagBatches(Loudness(), top=1)({"path": [path] * 2, "start": [0, 2.5], "end": [1, None]})
    samples = read(path)
    parts = [samples[:RATE]] + [samples[start : start + RATE] for start in (40_000, 56_000, 72_000)]
    assert rows.column("start").to_pylist() == [0, 2.5, 3.5, 4.5]
    peaks = [np.abs(part).max() for part in parts]
    assert rows.column("probability").to_pylist() == pytest.approx(peaks, abs=1e-6)


def test_rows_of_datasets(folder):
    """As `datasets` stores them, and decoded."""
    path = folder / "x.wav"
    array = read(path)
    batch = {
        "audio": [
            {"bytes": path.read_bytes(), "path": "in-memory.wav"},
            {"bytes": None, "path": str(path)},
            {"array": array, "sampling_rate": RATE},
            {"bytes": b"no sound", "path": "broken.wav"},
        ]
    }
    rows = TagBatches(Loudness())(batch).to_pylist()
    cells = {}
    for row in rows:
        cells.setdefault(row.pop("file"), []).append(row)
    assert list(cells) == ["in-memory.wav", str(path), "(samples, rate)", "broken.wav"]
    assert cells["in-memory.wav"] == cells[str(path)] == cells["(samples, rate)"]
    assert cells[str(path)][0]["status"] == "ok"
    (broken,) = cells["broken.wav"]
    assert broken["status"] == "failed" and broken["error"].startswith("broken.wav: not readable")


def test_a_map_of_datasets(folder):
    datasets = pytest.importorskip("datasets", reason="its map is tested: pip install datasets")
    paths = paths_in(folder)
    data = datasets.Dataset.from_dict({"path": paths}).with_format("arrow")
    tag = TagBatches(Loudness())
    rows = data.map(
        tag, batched=True, batch_size=3, remove_columns=["path"], new_fingerprint="rows",
        keep_in_memory=True,
    ).with_format(None)  # fmt: skip
    assert list(rows) == expected_rows(paths)


def test_events_and_embeddings(folder):
    path = str(folder / "x.wav")
    events = EventBatches(Loudness(), thresholds={"peak": 0.4, "mean": None}, hop=0.5)
    rows = events({"path": [path]}).to_pylist()
    expected = spectrim.tag_events(
        Loudness(), path, thresholds={"peak": 0.4, "mean": None}, hop=0.5
    )
    keys = ("label", "start", "end", "peak", "mean")
    assert [[row[k] for k in keys] for row in rows] == [[row[k] for k in keys] for row in expected]
    embed = EmbedBatches(Loudness())
    rows = embed({"path": [path, str(folder / "e.wav")]})
    assert rows.schema.field("embedding").type == pyarrow.list_(pyarrow.float32(), 3)
    values = rows.column("embedding").to_pylist()
    assert np.isnan(values[-1]).all() and len(values) == 6
    samples = read(path)[:RATE]
    assert values[0] == pytest.approx([samples.min(), samples.max(), samples.std()], abs=1e-6)
    wide = TagBatches(Loudness(), wide=True)({"path": [path]})
    assert wide.column_names[-2:] == ["mean", "peak"] and wide.num_rows == 5


def test_wrong_calls():
    with pytest.raises(SpectrimError, match=r"column 'path'.*It has: 'file', 'text'"):
        recordings_in({"file": ["a.wav"], "text": ["a"]})
    with pytest.raises(SpectrimError, match="batch size 0"):
        TagBatches(Loudness(), batch_size=0)
    with pytest.raises(SpectrimError, match="a hop of 9 s"):
        TagBatches(Loudness(), hop=9)
    with pytest.raises(SpectrimError, match="load_options applies to names"):
        TagBatches(Loudness(), load_options={"frames": 64})


def test_models_by_name_and_in_another_process(tmp_path):
    """A worker loads a model by its name, or receives one that was pickled."""
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, RATE), RATE)
    batch = {"path": [str(tmp_path / "a.wav")]}
    model = spectrim.prune(spectrim.create("ast-tiny", frames=64, labels=["low", "high"]), 0.5)
    model.save(tmp_path / "model")
    by_name = TagBatches(tmp_path / "model", load_options={"device": "cpu"})
    expected = by_name(batch)
    assert expected.num_rows == 4
    for tag in (TagBatches(model), pickle.loads(pickle.dumps(by_name))):
        rows = tag(batch)
        assert rows.drop_columns(["probability"]) == expected.drop_columns(["probability"])
        assert rows["probability"].to_pylist() == pytest.approx(
            expected["probability"].to_pylist(), abs=2e-6
        )
