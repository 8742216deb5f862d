"""`spectrim data`: manifests of the public corpora, and what manifests hold."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import TableOrJson, complain, print_json, print_table, progress

if TYPE_CHECKING:
    from ..data.stats import Stats

EXAMPLE = "Example: spectrim data prepare fsdd free-spoken-digit-dataset --out manifests"
STATS_EXAMPLE = "Example: spectrim data stats manifests/fsdd-digit.csv --split train"
SHOWN = 3  # missing names that the terminal shows; the rest is in a file

app = typer.Typer(
    no_args_is_help=True,
    help="Manifests: make them from the public corpora, and see what they hold.",
    epilog=EXAMPLE,
)


class Form(StrEnum):
    """How a manifest is written."""

    csv = "csv"
    json = "json"


@app.command("prepare", epilog=EXAMPLE)
def prepare_command(
    corpus: Annotated[
        str, typer.Argument(help="esc50, esc10, speechcommands, audioset, voxceleb1 or fsdd.")
    ],
    folder: Annotated[Path, typer.Argument(help="Where the corpus lies; it is only read.")],
    out: Annotated[Path, typer.Option(help="Where the manifests go.")],
    format: Annotated[
        Form, typer.Option(help="json: the reference's form, one file a split or fold.")
    ] = Form.csv,
) -> None:
    """Write manifests of a corpus, from its official lists, and print their paths."""
    from ..data.corpora import prepare

    with progress() as bar:
        task = bar.add_task("mixing", total=None, visible=False)
        result = prepare(
            corpus,
            folder,
            out,
            format.value,
            lambda done, total: bar.update(task, completed=done, total=total, visible=True),
        )
    for path in result.paths:
        typer.echo(path)
    for name, counts in result.counts.items():
        parts = ", ".join(f"{part or 'all'} {count}" for part, count in counts.items())
        complain("note", f"{name}: {sum(counts.values())} clips ({parts}).")
    for message in result.failures:
        complain("failed", message)
    if result.missing:
        more = ", ..." if len(result.missing) > SHOWN else ""
        complain(
            "failed",
            f"{len(result.missing)} missing: {', '.join(result.missing[:SHOWN])}{more}; left out, "
            f"and all named in {result.missing_list}.",
        )
    if result.missing or result.failures:
        raise typer.Exit(1)


@app.command("stats", epilog=STATS_EXAMPLE)
def stats_command(
    manifest: Annotated[Path, typer.Argument(help="CSV or JSON, or a folder of sound.")],
    split: Annotated[str | None, typer.Option(help="Only the clips of this split.")] = None,
    fold: Annotated[str | None, typer.Option(help="Only the clips of this fold.")] = None,
    format: Annotated[TableOrJson, typer.Option()] = TableOrJson.table,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
) -> None:
    """Clips, hours, classes and lengths, and the filter bank's mean and standard deviation."""
    from dataclasses import asdict

    from ..data.manifest import read_data
    from ..data.stats import measure
    from ..models.provenance import RESULT_VERSION, versions

    clips = read_data(manifest).select(split, fold).clips
    with progress() as bar:
        task = bar.add_task("reading", total=len(clips))
        stats = measure(clips, tick=lambda done: bar.advance(task, done))
    if json or format is TableOrJson.json:
        row = {"manifest": str(manifest), "split": split, "fold": fold} | asdict(stats)
        row["failures"] = [
            {"file": str(clips[at].path), "row": clips[at].row, "error": message}
            for at, message in stats.failures
        ]
        print_json({"rows": [row | {"versions": versions(), "format_version": RESULT_VERSION}]})
    else:
        _print(stats, str(manifest))
    for _, message in stats.failures:
        complain("failed", message)
    if stats.failures:
        raise typer.Exit(1)


def _print(stats: Stats, name: str) -> None:
    rows: list[list[str] | None] = [
        ["clips", str(stats.clips)],
        ["hours", f"{stats.seconds / 3600:.3f}"],
        ["classes", str(len(stats.classes))],
        ["shortest s", f"{stats.shortest:.2f}"],
        ["median s", f"{stats.median:.2f}"],
        ["95 % within s", f"{stats.p95:.2f}"],
        ["longest s", f"{stats.longest:.2f}"],
        ["mean", f"{stats.mean:.4f}"],
        ["std", f"{stats.std:.4f}"],
    ]
    for what, counts in (
        ("split", stats.splits),
        ("fold", stats.folds),
        ("class", stats.classes),
    ):
        if counts:
            rows.append(None)
            rows.extend([f"{what} {key}", str(count)] for key, count in counts.items())
    print_table(
        [name, "value"],
        rows,
        caption="mean and std: of the log-mel filter bank, over frames that are sound, unpadded",
    )
