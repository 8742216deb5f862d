"""Events of one recording as files of annotation programs."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..audio.channels import MIX, Channel
from ..audio.constants import SAMPLE_RATE
from ..common.errors import SpectrimError
from ..common.files import save_text
from ..common.text import storable
from .events import Event

RAVEN_COLUMNS = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)",
    "High Freq (Hz)", "Label", "Peak", "Mean", "Begin Path", "File Offset (s)",
)  # fmt: skip
"""Raven's columns. It shows others, such as Label, as annotations."""

BREAKS = re.compile(r"[\t\r\n]")

EventText = Callable[[Sequence[Event], str, Channel, int], str]


def label_track(events: Sequence[Event], path: str, channel: Channel, rate: int) -> str:
    """An Audacity label track: start, end and label, separated by tabs.

    manual.audacityteam.org/man/importing_and_exporting_labels.html describes the format.
    """
    return _lines([f"{event.start:.6f}", f"{event.end:.6f}", event.label] for event in events)


def selection_table(events: Sequence[Event], path: str, channel: Channel, rate: int) -> str:
    """A selection table of Raven Pro or Raven Lite; channels count from 1.

    Selections reach from 0 Hz to the highest frequency that models receive. `Begin Path` lets
    Raven open the recording together with the table.
    """
    number = channel + 1 if isinstance(channel, int) else 1
    rows: list[list[object]] = [list(RAVEN_COLUMNS)]
    for index, event in enumerate(events, 1):
        times = [f"{event.start:.3f}", f"{event.end:.3f}"]
        values = [f"{event.peak:.4f}", f"{event.mean:.4f}"]
        band = ["0.0", f"{rate / 2:.1f}"]  # decimals, as Raven writes: some programs insist on them
        row = [index, "Spectrogram 1", number, *times, *band, event.label, *values]
        rows.append([*row, path, times[0]])
    return _lines(rows)


EVENT_FILES: dict[str, EventText] = {
    ".selections.txt": selection_table,
    ".txt": label_track,
}
"""Suffixes of files, the longer one first, and the function that returns their text."""


def event_text_of(out: Path) -> EventText | None:
    """The function for a file name; None if its suffix is not one of `EVENT_FILES`."""
    name = out.name.lower()
    return next((text for suffix, text in EVENT_FILES.items() if name.endswith(suffix)), None)


def write_events(
    out: str | os.PathLike[str],
    events: Sequence[Event],
    recording: str,
    channel: Channel = MIX,
    rate: int = SAMPLE_RATE,
) -> Path:
    """Write the events of one recording as a label track (.txt) or selection table.

    Args:
        out: a file name that ends in .selections.txt for Raven, or otherwise in .txt for Audacity.
        recording: the path of the recording, which a selection table refers to.
        channel: of the recording.
        rate: sample rate of the model in Hz.

    Raises:
        SpectrimError: another suffix; the file exists.
    """
    out = Path(out)
    text = event_text_of(out)
    if text is None:
        raise SpectrimError(
            f"{out}: expected a file name that ends in .txt (Audacity label track) or "
            ".selections.txt (Raven selection table)."
        )
    refuse_existing(out)
    path = storable(str(Path(recording).absolute()))
    return save_text(out, text(events, path, channel, rate))


def refuse_existing(out: Path) -> None:
    """Refuse to replace a file, because it may contain corrections by hand."""
    if out.exists():
        raise SpectrimError(
            f"{out} exists and may contain corrections. Choose another --out, or delete the file."
        )


def _lines(rows: Iterable[Sequence[object]]) -> str:
    """Rows as lines of cells that are separated by tabs; no cell contains a tab or line feed."""
    return "".join("\t".join(BREAKS.sub(" ", str(cell)) for cell in row) + "\n" for row in rows)
