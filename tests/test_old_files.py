"""Files that Spectrim 0.1 wrote (commit 779dc2f) still load and give the same answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.data.builtin import sample_pack
from spectrim.experiments.definition import read_grid
from spectrim.experiments.grid_numbers import Numbers
from spectrim.experiments.result_folder import ResultFolder

OLD = Path(__file__).parent / "golden" / "release-0.1"
EXPECTED = json.loads((OLD / "expected.json").read_text())
CLIP = sample_pack().parent / "seven-03.ogg"


@pytest.mark.parametrize("family", ["ast", "audiomae"])
def test_a_model_folder_of_release_0_1_gives_the_same_logits_and_kept_patches(family):
    model = spectrim.load(OLD / f"model-{family}")
    assert model.config.family == family
    trace = model.trace(*model.features([CLIP]))
    expected = EXPECTED[family]
    assert trace.logits[0].tolist() == pytest.approx(expected["logits"], abs=1e-5)
    kept = {str(block): patches[0].tolist() for block, patches in trace.kept.items()}
    assert kept == expected["kept"]
    row = spectrim.tag(model, CLIP)[0]
    assert [tag["label"] for tag in row["labels"]] == [
        tag["label"] for tag in expected["tag"]["labels"]
    ]


@pytest.mark.parametrize("family", ["ast", "audiomae"])
def test_an_old_model_is_saved_in_the_new_format_without_loss(family, tmp_path):
    old = spectrim.load(OLD / f"model-{family}")
    new = spectrim.load(old.save(tmp_path / "model"))
    features, valid = old.features([CLIP])
    assert new.config == old.config and new.plan == old.plan
    assert new(features, valid).equal(old(features, valid))


def test_an_onnx_file_of_release_0_1_gives_the_same_probabilities():
    pytest.importorskip("onnxruntime", reason="it runs the ONNX file")
    model = spectrim.load_onnx(OLD / "model-ast.onnx")
    expected = EXPECTED["onnx"]
    assert model.labels == expected["labels"]
    assert model.metadata.macs == expected["macs"]
    assert model.metadata.plan["stages"] == expected["plan"]["stages"]
    row = spectrim.tag(spectrim.load(OLD / "model-ast"), CLIP)[0]
    assert row["labels"] == EXPECTED["ast"]["tag"]["labels"]
    with pytest.raises(SpectrimError, match="without an output for embeddings"):
        model.embeddings([])


def test_cells_of_release_0_1_give_the_same_pooled_numbers(tmp_path, monkeypatch):
    shutil.copytree(OLD / "grid", tmp_path / "grid-data")
    monkeypatch.chdir(tmp_path)
    # Variation included the padding then; a grid of today names it so.
    path = tmp_path / "grid-data" / "grid.yaml"
    outdated = Numbers(read_grid(Path("grid-data/grid.yaml")), ResultFolder(tmp_path / "grid-data"))
    assert {entry.score for entry in outdated.entries} == {None, "attention"}
    path.write_text(path.read_text().replace("variation", "variation-padded"))
    experiment = read_grid(Path("grid-data/grid.yaml"))
    numbers = Numbers(experiment, ResultFolder(tmp_path / "grid-data"))
    kinds = {"shelf": "untuned"}
    for row in EXPECTED["grid"]:
        row["score"] = {"variation": "variation-padded"}.get(row["score"], row["score"])
    expected = {
        (row["column"], kinds.get(row["kind"], row["kind"]), row["score"], row["keep_rate"]): row
        for row in EXPECTED["grid"]
    }
    assert len(numbers.entries) == len(expected)
    for entry in numbers.entries:
        kind = kinds.get(entry.condition, entry.condition)
        row = expected[entry.column, kind, entry.score, entry.keep_rate]
        assert len(entry.runs) == row["runs"]
        for key in ("value", "error", "difference", "difference_error", "gmacs", "clips"):
            assert getattr(entry, key) == pytest.approx(row[key]), (key, row)
