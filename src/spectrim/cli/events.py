"""`spectrim tag --events`: options, checks and output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..common.errors import SpectrimError
from .output import OutputWithCsv, end_with_failures, notify
from .recording_files import draw, draw_from_table, files_of, has_name, write_event_file
from .recordings import TableJob, end_with_unreadable, print_summary
from .tables import print_table

if TYPE_CHECKING:
    from ..deploy.events import EventRule
    from ..deploy.read_thresholds import Thresholds
    from ..deploy.recordings.input_recordings import Recording
    from ..deploy.recordings.table_layouts import EventTable
    from ..deploy.windowed import SoundOutput

event_option = partial(typer.Option, rich_help_panel="Events")
COLUMNS = ("file", "label", "start", "end", "peak", "mean")
PLOT_SUFFIXES = (".png", ".pdf", ".svg")
SHOWN_REASONS = 3  # recordings without an event that are named


@dataclass(frozen=True)
class EventOptions:
    """What an event is, and the picture of a timeline."""

    events: Annotated[
        bool,
        event_option(
            "--events",
            help="Report events instead of windows: each part of a recording in which a label "
            "reaches its threshold, with the peak and mean probability. Default of --hop: half a "
            "window.",
        ),
    ] = False
    release: Annotated[
        float | None,
        event_option(
            help="An event continues while the probability is at least this fraction of the "
            "threshold. Default: 1."
        ),
    ] = None
    merge_gap: Annotated[
        float | None,
        event_option(help="Merge events of one label that are at most this many seconds apart."),
    ] = None
    min_duration: Annotated[
        float | None, event_option(help="Leave out events shorter than this many seconds.")
    ] = None
    plot: Annotated[
        Path | None,
        event_option(
            help="Draw the log-mel spectrogram of a recording and its events to a .png, .pdf or "
            ".svg file. For several recordings: 'plots/{name}.png'."
        ),
    ] = None

    def rule(self, thresholds: Thresholds) -> EventRule:
        """The rule that the options describe."""
        from ..deploy.events import EventRule

        values = {
            name: value
            for name in ("release", "merge_gap", "min_duration")
            if (value := getattr(self, name)) is not None
        }
        return EventRule(thresholds, **values)

    def check(self, out: Path | None, others: dict[str, bool]) -> None:
        """Refuse combinations that have no meaning.

        Args:
            others: options of tags, and whether they are given.
        """
        from ..deploy.event_files import event_text_of, refuse_existing

        is_event_file = out is not None and event_text_of(out) is not None
        if not self.events:
            for option in ("release", "merge_gap", "min_duration", "plot"):
                if getattr(self, option) is not None:
                    raise SpectrimError(f"--{option.replace('_', '-')} requires --events.")
            if is_event_file:
                raise SpectrimError(f"--out {out}: label tracks contain events. Add --events.")
            return
        for option, is_given in others.items():
            if is_given:
                raise SpectrimError(f"{option} applies to windows, not to --events. Leave it out.")
        if is_event_file and out is not None and not has_name(out):
            refuse_existing(out)
        if self.plot is None:
            return
        if self.plot.suffix.lower() not in PLOT_SUFFIXES:
            raise SpectrimError(
                f"--plot {self.plot}: expected a file name that ends in {', '.join(PLOT_SUFFIXES)}."
            )


def report_events(
    job: TableJob,
    table: EventTable,
    recordings: Sequence[Recording],
    options: EventOptions,
    out: Path | None,
    output: OutputWithCsv,
    tolerate_failures: bool,
) -> None:
    """Compute the events of recordings, and write or print them."""
    from ..deploy.event_files import event_text_of
    from ..deploy.recordings.input_recordings import without_repeated

    is_event_file = out is not None and event_text_of(out) is not None
    _note_options_without_effect(job, table.rule)
    if out is not None and not is_event_file:
        if options.plot is not None:
            files_of(options.plot, "--plot", without_repeated(recordings))  # may raise
        summary = job.write(table, recordings, out, "tagging")
        print_summary(summary, job.context(), output)
        if options.plot is not None:
            draw_from_table(options.plot, summary, table)
        end_with_unreadable(summary.failures, tolerate_failures, out)
        return
    recordings, tracks, plots = _files(recordings, out, options.plot)
    labels, channel, rate = job.runner.labels, table.channel, job.runner.sample_rate
    rows: list[dict[str, Any]] = []
    failures: list[tuple[str, str]] = []
    reasons: list[str] = []
    for recording, result in job.outputs(table, recordings, "tagging"):
        if result.error is not None:
            failures.append((result.name, str(result.error)))
        events = table.rule.events(result.starts, result.ends, result.values, labels)
        rows += [{"file": recording.path} | asdict(event) for event in events]
        if result.starts and not events:
            reasons.append(_reason(result, table.rule, labels))
        if result.starts and tracks:
            write_event_file(tracks[result.number], events, recording, channel, rate)
        if result.starts and plots:
            span = (result.starts[0], result.ends[-1])
            draw(plots[result.number], events, recording, span, channel)
    _note_reasons(reasons, len(recordings))
    context = {"events": table.settings() | {"hop": job.hop}} | job.context()
    failed = [{"file": name, "error": message} for name, message in failures]
    output.emit(
        {"rows": rows, "failures": failed} | context,
        lambda: _print_events(rows),
        COLUMNS,
        ([row[column] for column in COLUMNS] for row in rows),
    )
    end_with_failures((message for _, message in failures), tolerate_failures)


def _files(
    recordings: Sequence[Recording], out: Path | None, plot: Path | None
) -> tuple[Sequence[Recording], list[Path], list[Path]]:
    """The recordings to compute, and for each the path of its label track and of its plot.

    If `out` stands for several files, recordings whose label tracks exist are skipped.
    """
    from ..deploy.recordings.input_recordings import without_repeated

    if out is None and plot is None:
        return recordings, [], []
    recordings = without_repeated(recordings)
    if out is not None and has_name(out):
        tracks = files_of(out, "--out", recordings)
        missing = [
            (r, track) for r, track in zip(recordings, tracks, strict=True) if not track.exists()
        ]
        if num_kept := len(recordings) - len(missing):
            notify(
                "note",
                f"{num_kept:,} of {len(recordings):,} files for --out {out} exist and are kept, "
                "because they may contain corrections. Delete a file to write it again.",
            )
        recordings = [recording for recording, _ in missing]
    tracks = [] if out is None else files_of(out, "--out", recordings)
    plots = [] if plot is None else files_of(plot, "--plot", recordings)
    return recordings, tracks, plots


def _note_options_without_effect(job: TableJob, rule: EventRule) -> None:
    """Print a note if gaps or events are always longer than an option allows for."""
    hop = job.hop or 0.0
    if 0 < rule.merge_gap < hop:
        notify(
            "note",
            f"--merge-gap {rule.merge_gap:g} merges no events, because gaps last at least the hop "
            f"of {hop:g} s. Use a shorter --hop or a longer gap.",
        )
    if 0 < rule.min_duration <= hop:
        notify(
            "note",
            f"--min-duration {rule.min_duration:g} removes no events, because events last at least "
            f"the hop of {hop:g} s. Use a shorter --hop or a longer duration.",
        )


def _reason(result: SoundOutput, rule: EventRule, labels: Sequence[str]) -> str:
    from ..deploy.events import reason_for_no_event

    reason = reason_for_no_event(rule, result.starts, result.values, labels)
    return f"{result.name}: no event, because {reason}."


def _note_reasons(reasons: Sequence[str], num_recordings: int) -> None:
    for reason in reasons[:SHOWN_REASONS]:
        notify("note", reason)
    if len(reasons) > SHOWN_REASONS:
        notify("note", f"{len(reasons):,} of {num_recordings:,} recordings have no event.")


def _print_events(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    lines = [
        [row["file"], row["label"]]
        + [f"{row[name]:.2f}" for name in ("start", "end", "peak", "mean")]
        for row in rows
    ]
    print_table(["file", "label", "start s", "end s", "peak", "mean"], lines, left=["label"])
