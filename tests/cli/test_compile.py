"""`compile=True` and `--compile`: the same answers, and the seconds that compilation took."""

from __future__ import annotations

import json

import spectrim
from spectrim.models.compiled import CompiledForward


def test_load_compiles_and_results_report_the_seconds(run, folder, make, compilations, tmp_path):
    path = tmp_path / "model"
    make("ast", frames=64, depth=2).save(path)
    model = spectrim.load(path, compile=True)
    assert isinstance(model.compiled, CompiledForward)
    assert spectrim.load(path).compiled is None
    clip = str(next((folder / "clips").glob("*.wav")))
    plain = json.loads(run("tag", clip, "--model", path, "--format", "json").stdout)
    done = run("tag", clip, "--model", path, "--format", "json", "--compile")
    assert done.returncode == 0, done.stderr
    assert "compilation took" in done.stderr
    result = json.loads(done.stdout)
    assert result["compile_s"] > 0 and "compile_s" not in plain
    labels = [[row["labels"][0]["label"] for row in rows["rows"]] for rows in (result, plain)]
    assert labels[0] == labels[1]
    sizes = len(compilations)
    assert sizes > 0
    out = tmp_path / "swept"
    short = ("--keep-rates", "1.0,0.5", "--scores", "attention", "--rounds", "1", "--blocks", "1")
    done = run("sweep", "--model", path, "--data", "clips", "--out", str(out), "--compile",
               *short)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert all(row["compile_s"] > 0 for row in rows) and "compilation took" in done.stderr
    assert len(compilations) > sizes


def test_exported_files_are_not_compiled(run, folder):
    done = run("tag", "clips/0.wav", "--model", "some.onnx", "--compile")
    assert done.returncode == 2
    assert "--compile applies to PyTorch models only" in " ".join(done.stderr.split())
