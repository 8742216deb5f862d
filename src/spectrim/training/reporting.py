"""Progress of a run: JSON lines, TensorBoard scalars, and the interface to a console."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from ..common.errors import SpectrimNotice
from ..common.files import save_text

LINES = "epochs.jsonl"


class Reporter(Protocol):
    """Receives the progress of a run; the command line draws it."""

    def note(self, text: str) -> None:
        """A sentence for the user."""

    def step(self, facts: dict[str, float]) -> None:
        """After each step: step, steps (of the whole run), epoch, loss, keep_rate, clips_per_s."""

    def evaluated(self, done: int, clips: int) -> None:
        """After each batch of an evaluation: clips done, of how many."""

    def epoch(self, row: dict[str, Any]) -> None:
        """After each epoch, its row of `epochs.jsonl`."""


class Silent:
    """Reports nothing: for all processes but the first."""

    def note(self, text: str) -> None:
        """Nothing."""

    def step(self, facts: dict[str, float]) -> None:
        """Nothing."""

    def evaluated(self, done: int, clips: int) -> None:
        """Nothing."""

    def epoch(self, row: dict[str, Any]) -> None:
        """Nothing."""


class Board:
    """TensorBoard scalars below a folder; scalars after `step` from an earlier start are hidden.

    If they cannot be written (a full disk), a notice says so and the run continues without them.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self.writer: Any = None
        if folder is not None:
            from torch.utils.tensorboard import SummaryWriter

            with self._or_none(folder):
                self.writer = SummaryWriter(str(folder), purge_step=step)

    def write(self, step: int, scalars: dict[str, float]) -> None:
        """Add scalars at a step."""
        if self.writer is not None:
            with self._or_none(self.writer.log_dir):
                for name, value in scalars.items():
                    self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write the remaining scalars."""
        if self.writer is not None:
            with self._or_none(self.writer.log_dir):
                self.writer.close()

    @contextmanager
    def _or_none(self, folder: Path | str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.writer = None
            text = f"{folder}: no more TensorBoard scalars are written ({error.strerror})."
            warnings.warn(SpectrimNotice(text), stacklevel=3)


def write_lines(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object per epoch. The whole file is replaced, so it agrees with the state."""
    text = "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows)
    save_text(folder / LINES, text)
