"""Files for single recordings: label tracks, selection tables and plots of timelines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import SpectrimError
from .output import notify

if TYPE_CHECKING:
    from ..audio.channels import Channel
    from ..deploy.events import Event
    from ..deploy.recordings.input_recordings import Recording
    from ..deploy.recordings.job import Summary
    from ..deploy.recordings.table_layouts import EventTable

NAME = "{name}"
"""Stands for the name of each recording in `--out labels/{name}.txt`."""


def has_name(pattern: Path | None) -> bool:
    """Whether a path stands for one file for each recording."""
    return pattern is not None and NAME in str(pattern)


def files_of(pattern: Path, option: str, recordings: Sequence[Recording]) -> list[Path]:
    """The path of the file for each recording; `{name}` becomes `Recording.name`.

    Raises:
        SpectrimError: several recordings have the same file.
    """
    from ..deploy.event_files import EVENT_FILES

    if not recordings:
        return []
    if not has_name(pattern) and len(recordings) != 1:
        suffixes = (suffix for suffix in EVENT_FILES if pattern.name.lower().endswith(suffix))
        suffix = next(suffixes, pattern.suffix)
        example = pattern.with_name(NAME + suffix)
        raise SpectrimError(
            f"{option} {pattern} is one file, but {len(recordings)} recordings are given. To write "
            f'one file for each, pass {option} "{example}".'
        )
    files: dict[Path, Recording] = {}
    for recording in recordings:
        file = Path(str(pattern).replace(NAME, _name_of(recording)))
        if (other := files.setdefault(file, recording)) is not recording:
            raise SpectrimError(
                f"{option} {pattern}: {other.path} and {recording.path} would both become {file}. "
                "Pass a folder that contains both in subfolders, or run the command for each."
            )
    return list(files)


def write_event_file(
    out: Path, events: Sequence[Event], recording: Recording, channel: Channel, rate: int
) -> None:
    """Write a label track or selection table, and print its path."""
    from ..common.files import make_folder
    from ..deploy.event_files import write_events

    make_folder(out.parent)
    notify("written", str(write_events(out, events, recording.path, channel, rate)))


def draw(
    plot: Path,
    events: Sequence[Event],
    recording: Recording,
    span: tuple[float, float],
    channel: Channel,
) -> None:
    """Draw the timeline of a recording, and print the path of the plot.

    Args:
        span: start and end in seconds.
    """
    from ..analysis.figures.timeline import draw_timeline
    from ..common.files import make_folder

    make_folder(plot.parent)
    notify("written", str(draw_timeline(plot, recording.sound(), events, span, channel)))


def draw_from_table(plot: Path, summary: Summary, table: EventTable) -> None:
    """Draw the timelines of all recordings in a table, including those of earlier calls."""
    from ..common.text import storable
    from ..deploy.recordings.table_formats import table_format_of

    files = files_of(plot, "--plot", [recording for recording, _ in summary.lengths])
    rows = list(table_format_of(summary.out)(table.columns).read(summary.out))
    for (recording, seconds), file in zip(summary.lengths, files, strict=True):
        if not seconds:
            continue  # the recording cannot be read
        start = recording.start or 0.0
        span = (start, start + seconds)
        rows_of_file = [row for row in rows if row["file"] == storable(recording.path)]
        draw(file, table.events_in(rows_of_file, span), recording, span, table.channel)


def _name_of(recording: Recording) -> str:
    """The name of a recording; a part of a file has its start and end appended."""
    name = recording.name
    if recording.start is None and recording.end is None:
        return name
    end = "" if recording.end is None else f"{recording.end:g}"
    return f"{name}-{recording.start or 0:g}-{end}"
