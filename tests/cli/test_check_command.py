"""The command that `spectrim check` prints writes the model that it recommends."""

from __future__ import annotations

import json
import shlex

import torch

import spectrim


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
