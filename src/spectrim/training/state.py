"""The state of a run on disk: plain tensors and JSON, complete or absent, never a pickle."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ..common.errors import SpectrimError, first_line
from ..common.hooks import pass_point
from ..common.parse import read_json
from ..models.loading.checkpoint_files import read_safetensors

STATE_VERSION = 1
RENAMED = {"model.special": "model.prefix_tokens"}  # tensors that Spectrim 0.1 wrote
WEIGHTS, OPTIMISER, PROGRESS = "weights.safetensors", "optimiser.safetensors", "progress.json"


@dataclass
class Progress:
    """How far a run is. Random numbers need no state: they derive from seed, epoch and step.

    Attributes:
        step: optimiser steps done, over all epochs.
        loss, clips: sum of the losses of this epoch's clips so far, and their number.
        seconds: of training in this epoch so far.
        unreadable: clips that could not be read, and why.
        rows: what the finished epochs reported.
        best: the row of the best epoch so far.
    """

    step: int = 0
    loss: float = 0.0
    clips: int = 0
    seconds: float = 0.0
    unreadable: dict[str, str] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None


class StateFolder:
    """Numbered states in a folder, of which the newest is the current one.

    A state is written to a temporary folder that is then renamed, and the older one is removed
    only after that. Whenever the run is killed, one complete state exists.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self,
        module: nn.Module,
        optimiser: torch.optim.Optimizer,
        progress: Progress,
        scaler: Mapping[str, Any] | None = None,
    ) -> Path:
        """Write everything that the next step depends on.

        Raises:
            SpectrimError: the disk is full or cannot be written to; the last state stays.
        """
        aside = self.folder / f".{secrets.token_hex(4)}"
        final = self._free(progress.step)
        tensors, numbers = _flat(optimiser)
        record = {
            "version": STATE_VERSION,
            "progress": asdict(progress),
            "optimiser": numbers,
            "scaler": dict(scaler) if scaler else None,
        }
        try:
            pass_point("state:write")
            aside.mkdir(parents=True)
            (aside / WEIGHTS).write_bytes(safetensors.torch.save(_plain(module.state_dict())))
            pass_point("state:part")
            (aside / OPTIMISER).write_bytes(safetensors.torch.save(_plain(tensors)))
            pass_point("state:part")
            (aside / PROGRESS).write_text(json.dumps(record, allow_nan=False), encoding="utf-8")
            pass_point("state:part")
            pass_point("state:rename")
            aside.rename(final)
            pass_point("state:renamed")
        except (OSError, ValueError) as error:  # ValueError: nan or infinity, which JSON lacks
            shutil.rmtree(aside, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            kept = self.newest()
            raise SpectrimError(
                f"cannot save the state in {final}: {reason}. The previous state, "
                f"{kept.name if kept else 'none'}, is intact. Free disk space, and run the same "
                "command again."
            ) from error
        self.remove_older()
        return final

    def remove_older(self) -> None:
        """Remove all states but the newest, and unfinished ones."""
        newest = self.newest()
        for other in self.folder.iterdir():
            if other != newest:
                shutil.rmtree(other, ignore_errors=True)

    def _free(self, step: int) -> Path:
        """A name that sorts after all others; the same step may be saved again."""
        name, again = f"step-{step:09d}", 0
        while (self.folder / name).exists():
            again += 1
            name = f"step-{step:09d}.{again}"
        return self.folder / name

    def newest(self) -> Path | None:
        """The newest complete state; None if there is none."""
        return max(self.folder.glob("step-*"), default=None)

    def restore(
        self, module: nn.Module, optimiser: torch.optim.Optimizer
    ) -> tuple[Progress, dict[str, Any] | None] | None:
        """Fill module and optimiser; returns progress and the scaler's state, None if new.

        Raises:
            SpectrimError: a state of another version or shape, or a damaged one.
        """
        path = self.newest()
        if path is None:
            return None
        record = read_json(path / PROGRESS)
        if not isinstance(record, dict):
            raise SpectrimError(f"{path} is not a state. Name another --out to start again.")
        if record.get("version") != STATE_VERSION:
            raise SpectrimError(
                f"{path}: version {record.get('version')!r}; this Spectrim resumes from version "
                f"{STATE_VERSION}. Name another --out to start again."
            )
        try:
            weights = read_safetensors(path / WEIGHTS)
            weights = {RENAMED.get(name, name): value for name, value in weights.items()}
            module.load_state_dict(weights)
            _fill(optimiser, read_safetensors(path / OPTIMISER), record["optimiser"])
            return Progress(**record["progress"]), record["scaler"]
        except (RuntimeError, KeyError, ValueError, TypeError) as error:
            if isinstance(error, SpectrimError):
                raise
            reason = first_line(error)
            raise SpectrimError(
                f"{path} is not a state of this run ({reason}). Name another --out to start again."
            ) from error


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Each its own memory: safetensors refuses tensors that share one.
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}


def _flat(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state as named tensors and named numbers."""
    tensors, numbers = {}, {}
    for index, values in optimiser.state_dict()["state"].items():
        for key, value in values.items():
            name = f"{index}.{key}"
            if isinstance(value, Tensor):
                tensors[name] = value
            else:
                numbers[name] = value
    return tensors, numbers


def _fill(
    optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], numbers: dict[str, Any]
) -> None:
    state: dict[int, dict[str, Any]] = {}
    for name, value in (tensors | numbers).items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    groups = optimiser.state_dict()["param_groups"]
    count = sum(len(group["params"]) for group in groups)
    if state and max(state) >= count:
        raise ValueError("it has more parameters")
    optimiser.load_state_dict({"state": state, "param_groups": groups})
