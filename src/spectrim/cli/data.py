"""`spectrim data`: manifests of the public corpora, and what manifests hold."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..data.corpora import CORPORA
from .commands import with_bundles
from .output import Output, end_with_failures, notify, progress
from .tables import print_table

if TYPE_CHECKING:
    from ..data.stats import Stats

EXAMPLE = "Example: spectrim data prepare fsdd free-spoken-digit-dataset --out manifests"
STATS_EXAMPLE = "Example: spectrim data stats manifests/fsdd-digit.csv --split train"
SHOWN = 3  # missing names that are printed; the rest is in a file

app = typer.Typer(
    no_args_is_help=True,
    help="Make manifests of public corpora, and measure what manifests hold.",
    epilog=EXAMPLE,
)


class ManifestFormat(StrEnum):
    """How a manifest is written."""

    csv = "csv"
    json = "json"


@app.command("prepare", epilog=EXAMPLE)
@with_bundles
def prepare_command(
    corpus: Annotated[str, typer.Argument(help=f"One of {', '.join(CORPORA)}.")],
    folder: Annotated[Path, typer.Argument(help="Folder of the corpus; nothing is written to it.")],
    out: Annotated[Path, typer.Option(help="Folder for the manifests.")],
    format: Annotated[
        ManifestFormat,
        typer.Option(help="csv, or json for the reference's format, one file per split or fold."),
    ] = ManifestFormat.csv,
    shareable: Annotated[
        bool,
        typer.Option(
            "--shareable",
            help="Only clips under CC0 or CC BY, so that a model trained on them may be shared. "
            "For corpora with a licence per clip: esc50, esc50-mixtures.",
        ),
    ] = False,
) -> None:
    """Write manifests of a corpus from its official lists, and print their paths."""
    from ..data.corpora import prepare

    with progress() as bar:
        task = bar.add_task("mixing", total=None, visible=False)
        result = prepare(
            corpus,
            folder,
            out,
            format.value,
            shareable,
            lambda done, total: bar.update(task, completed=done, total=total, visible=True),
        )
    for path in result.paths:
        typer.echo(path)
    for name, counts in result.counts.items():
        texts = ", ".join(f"{part or 'all'} {count}" for part, count in counts.items())
        notify("note", f"{name}: {sum(counts.values())} clips ({texts}).")
    failures = list(result.failures)
    if result.missing:
        more = ", ..." if len(result.missing) > SHOWN else ""
        failures.append(
            f"{len(result.missing)} clips of the corpus are missing and left out: "
            f"{', '.join(result.missing[:SHOWN])}{more}. {result.missing_list} lists all of them."
        )
    end_with_failures(failures)


@app.command("stats", epilog=STATS_EXAMPLE)
@with_bundles
def stats_command(
    manifest: Annotated[
        Path, typer.Argument(help="CSV or JSON manifest, or a folder of sound files.")
    ],
    output: Output,
    split: Annotated[str | None, typer.Option(help="Measure only clips of this split.")] = None,
    fold: Annotated[str | None, typer.Option(help="Measure only clips of this fold.")] = None,
) -> None:
    """Measure clips, hours, classes, lengths, and the mean and standard deviation of log-mel."""
    from dataclasses import asdict

    from ..data.manifest import read_data
    from ..data.stats import measure_clips
    from ..models.provenance import RESULT_VERSION, versions

    clips = read_data(manifest).select(split, fold).clips
    with progress() as bar:
        task = bar.add_task("reading", total=len(clips))
        stats = measure_clips(clips, tick=lambda done: bar.advance(task, done))
    row = {"manifest": str(manifest), "split": split, "fold": fold} | asdict(stats)
    row["failures"] = [
        {"file": str(clips[index].path), "row": clips[index].row, "error": message}
        for index, message in stats.failures
    ]
    row |= {"versions": versions(), "format_version": RESULT_VERSION}
    output.emit({"rows": [row]}, lambda: _print(stats, str(manifest)))
    end_with_failures(message for _, message in stats.failures)


def _print(stats: Stats, name: str) -> None:
    rows: list[list[str] | None] = [
        ["clips", str(stats.clips)],
        ["duration in h", f"{stats.seconds / 3600:.3f}"],
        ["classes", str(len(stats.classes))],
        ["shortest in s", f"{stats.shortest:.2f}"],
        ["median in s", f"{stats.median:.2f}"],
        ["95th percentile in s", f"{stats.p95:.2f}"],
        ["longest in s", f"{stats.longest:.2f}"],
        ["mean", f"{stats.mean:.4f}"],
        ["std", f"{stats.std:.4f}"],
    ]
    for heading, counts in (
        ("split", stats.splits),
        ("fold", stats.folds),
        ("class", stats.classes),
    ):
        if counts:
            rows.append(None)
            rows.extend([f"{heading} {key}", str(count)] for key, count in counts.items())
    print_table(
        [name, "value"],
        rows,
        "mean, std: of the log-mel features, over the frames that contain sound (no padding).",
    )
