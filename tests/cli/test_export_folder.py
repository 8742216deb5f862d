"""`spectrim export --out FOLDER`, and the command that `check` prints."""

from __future__ import annotations

import json
import shlex

import pytest
import torch

import spectrim


def test_a_folder_holds_the_model_with_its_plan(run, folder, tmp_path):
    done = run("export", "model", "--keep-rate", "0.5", "--score", "intensity", "--blocks", "2,4",
               "--out", str(tmp_path / "pruned-0.5"), "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    model = spectrim.prune(spectrim.load(folder / "model"), 0.5, "intensity", [2, 4])
    saved = spectrim.load(tmp_path / "pruned-0.5")
    assert saved.plan == model.plan
    features = model.features([folder / "clips" / "0.wav"])
    with torch.no_grad():
        assert torch.equal(saved(*features), model(*features))
    (row,) = json.loads(done.stdout)["rows"]
    assert row["gmacs"] == spectrim.macs(model) / 1e9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "model.pth"], "For a folder, use spectrim convert"),
        (["--out", "clips.csv"], "is not an .onnx file"),
        (["--out", "new", "--quantize", "int8"], "--quantize is for ONNX files"),
    ],
)
def test_other_formats_are_refused(run, folder, words, said):
    done = run("export", "model", *words)
    assert done.returncode == 2 and said in " ".join(done.stderr.split())
    assert not (folder / "new").exists()


def test_the_command_that_check_prints_writes_what_it_recommends(run, folder, tmp_path):
    """80 clips, all answered alike; load options are part of the command."""
    model = spectrim.load(folder / "model")
    with torch.no_grad():
        model.head.weight.zero_()  # every plan gives the same answer, so the lowest rate is best
        model.head.bias.copy_(torch.tensor([1.0, 0.0]))
    model.save(tmp_path / "constant")
    lines = ["path"] + [str(folder / "clips" / f"{n % 4}.wav") for n in range(80)]
    (tmp_path / "clips.csv").write_text("\n".join(lines) + "\n")
    done = run("check", "constant", "--data", "clips.csv", "--keep-rates", "0.9,0.5", "--scores",
               "intensity", "--blocks", "1,2", "--frames", "32", "--load", "mean=1", "--no-timing",
               "--json", cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["recommendation"]
    assert (best["keep_rate"], best["score"], best["speedup"]) == (0.5, "intensity", None)
    words = shlex.split(best["command"])
    assert words[0] == "spectrim" and run(*words[1:], cwd=tmp_path).returncode == 0
    saved = spectrim.load(tmp_path / "constant-intensity-0.5")
    assert saved.plan == spectrim.prune(saved, 0.5, "intensity", [1, 2]).plan
    assert (saved.config.frames, saved.config.mean) == (32, 1.0)
