"""`spectrim embed`: embeddings of recordings, also of exported files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spectrim
from spectrim.data.builtin import sample_pack
from written_tables import read_table, skip_without_pyarrow


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_embeddings_are_those_of_the_model(run, folder, tmp_path, suffix):
    skip_without_pyarrow(suffix)
    out = tmp_path / f"embeddings.{suffix}"
    done = run("embed", "clips/[0-3].wav", "--model", "model", "--out", out)
    assert done.returncode == 0 and "4 files, 4 s of audio; 0 failed." in done.stdout
    rows = read_table(out)
    assert len(rows) == 8  # each of 1 s has two windows of 0.655 s
    model = spectrim.load(folder / "model")
    first = [row["embedding"] for row in rows if row["start"] == 0]
    with torch.inference_mode():
        expected = model.embed([folder / f"clips/{number}.wav" for number in range(4)])
    np.testing.assert_allclose(first, expected, atol=1e-5)


def test_one_row_per_file_in_csv(run, folder, tmp_path):
    for name, words in (("windows", ()), ("mean", ("--aggregate", "mean"))):
        run("embed", "clips/0.wav", "--model", "model", "--out", tmp_path / f"{name}.csv", *words)
    windows, (mean,) = (read_table(tmp_path / f"{name}.csv") for name in ("windows", "mean"))
    columns = [name for name in mean if name.startswith("embedding_")]
    assert len(columns) == spectrim.load(folder / "model").config.width
    for column in columns:
        expected = sum(row[column] for row in windows) / len(windows)
        assert mean[column] == pytest.approx(expected, abs=1e-5)


def test_a_model_without_classes_has_embeddings(run, folder, tmp_path):
    spectrim.create("ast-tiny", frames=64).save(tmp_path / "headless")
    out = tmp_path / "embeddings.jsonl"
    done = run("embed", "clips/0.wav", "--model", tmp_path / "headless", "--out", out)
    assert done.returncode == 0, done.stderr
    assert len(read_table(out)[0]["embedding"]) == 128


def test_an_exported_file_of_an_old_version_says_what_to_do(run, tmp_path):
    pytest.importorskip("onnxruntime", reason="it runs the ONNX file: pip install onnxruntime")
    from test_old_files import OLD

    clip = sample_pack().parent / "seven-03.ogg"
    done = run("embed", clip, "--model", OLD / "model-ast.onnx", "--out", tmp_path / "e.csv")
    assert done.returncode == 2 and "Export the model again" in done.stderr
    assert not list(tmp_path.iterdir())
