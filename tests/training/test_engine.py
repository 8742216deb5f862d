"""Accelerate underneath: precision, and what several processes tell one another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spectrim.common.errors import SpectrimError
from spectrim.training.engine import engine, slow_bf16
from spectrim.training.loop import fit
from spectrim.training.read_recipe import read_recipe
from spectrim.training.recipe import Recipe, RunPart
from spectrim.training.reporting import Silent
from spectrim.training.run import train


@pytest.mark.parametrize(
    ("precision", "used"), [("auto", "no"), ("no", "no"), ("bf16", "bf16"), ("fp16", "no")]
)
def test_mixed_precision_is_off_on_a_cpu_unless_bf16_is_asked_for(
    precision: str, used: str
) -> None:
    accelerator = engine(RunPart(precision=precision, device="cpu"))
    assert accelerator.mixed_precision == used and accelerator.scaler is None
    assert accelerator.device.type == "cpu"


@pytest.mark.parametrize(
    ("device", "precision", "able", "said"),
    [
        ("cpu", "bf16", {"architecture": "x86_64", "avx2": True}, True),
        ("cpu", "bf16", {"architecture": "x86_64", "amx_bf16": True}, False),
        ("cpu", "bf16", {"architecture": "x86_64", "avx512_bf16": True}, False),
        ("cpu", "bf16", {"architecture": "aarch64"}, False),
        ("cpu", "no", {"architecture": "x86_64"}, False),
        ("cuda", "bf16", {"architecture": "x86_64"}, False),
    ],
)
def test_emulated_bf16_is_said(
    device: str, precision: str, able: dict[str, object], said: bool, monkeypatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    sentence = slow_bf16(torch.device(device), precision)
    assert (sentence is not None and "run.precision=no" in sentence) is said


def test_runs_of_different_precision_follow_one_another_in_a_process() -> None:
    for precision in ("no", "bf16", "no"):
        assert engine(RunPart(device="cpu", precision=precision)).mixed_precision == precision


def test_processes_that_do_not_share_the_folder_are_told(
    recipe: Path, tmp_path: Path, monkeypatch
) -> None:
    """The second one does not see the run that the first one goes on with."""
    monkeypatch.setitem(train.__globals__, "gather_object", lambda seen: [*seen, not seen[0]])
    read = read_recipe(recipe, [], Recipe)
    with pytest.raises(SpectrimError, match=r"run: some processes cannot read.*all machines share"):
        train(read, tmp_path / "run", Silent())


def test_clips_that_any_process_could_not_read_are_named(
    recipe: Path, tmp_path: Path, monkeypatch
) -> None:
    other = ("theirs.wav", "theirs.wav: damaged")
    monkeypatch.setitem(fit.__globals__, "gather_object", lambda met: [*met, other])
    said: list[str] = []
    reporter = Silent()
    monkeypatch.setattr(reporter, "note", said.append)
    read = read_recipe(recipe, ["epochs=1"], Recipe)
    summary = train(read, tmp_path / "run", reporter)
    assert summary is not None and summary["last"]["unreadable"] == 1
    assert any("theirs.wav cannot be read" in text for text in said)
