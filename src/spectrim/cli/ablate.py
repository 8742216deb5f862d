"""`spectrim ablate`: Table IV, accuracy lost without the quiet or without the loud patches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..common.interruption import Stopped
from .output import (
    Output,
    announce,
    begins_anew,
    end_with_failures,
    notify,
    points_with_interval,
    progress,
    shows_results_so_far,
    this_call,
)
from .shared_options import (
    DEFAULT_MODEL,
    BatchSize,
    DataSelection,
    Excluded,
    Loading,
    ManifestPaths,
    Models,
    listed,
)
from .tables import print_table

if TYPE_CHECKING:
    from ..analysis.ablation.ablate import Ablation

EXAMPLE = "Example: spectrim ablate --model ast-digits --data clips.csv --after 1,5,11"

DROPPED = {
    None: "nothing",
    "low": "low (C1, C2)",
    "high": "high (C4, C5)",
    "random-low": "random, as many as low",
    "random-high": "random, as many as high",
}


def command(
    selection: DataSelection,
    loading: Loading,
    output: Output,
    model: Models = None,
    data: ManifestPaths = None,
    exclude: Excluded = None,
    after: Annotated[
        str,
        typer.Option(
            help="Number of blocks that still process every patch before the patches are dropped; "
            "comma-separated."
        ),
    ] = "1,3,5,7,9,11",
    random_control: Annotated[
        bool,
        typer.Option("--random-control", help="Also drop the same number of random patches."),
    ] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="Draw the paper's results beside ours.")
    ] = False,
    sample: Annotated[
        int, typer.Option(min=100, help="Number of patches that K-means clusters.")
    ] = 100_000,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed for K-means sampling and random controls.")
    ] = 0,
    batch_size: BatchSize = 16,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("spectrim-ablation"),
) -> None:
    """Measure the metric without low-intensity (C1, C2) or high-intensity (C4, C5) patches."""
    from ..analysis.ablation.ablate import ablate_all, estimate_ablations
    from ..analysis.ablation.ablation_files import save_ablations
    from ..analysis.inputs import excluded_pairs, manifests, not_run, short_names, skipped
    from ..common.files import make_folder

    blocks = listed(after, int, "--after")
    sets = manifests(data or [], selection.split, selection.fold)
    make_folder(out)
    sources = list(dict.fromkeys(model or [DEFAULT_MODEL]))
    names = short_names(sources)
    excluded = excluded_pairs(exclude or [], names, sets)
    models = {name: loading.classifier(source) for name, source in zip(names, sources, strict=True)}
    pairs = skipped(models, sets, excluded)
    for pair in pairs:
        notify("note", not_run(pair))
    settings: dict[str, Any] = {
        "after": blocks,
        "random_control": random_control,
        "batch_size": batch_size,
        "sample": sample,
        "seed": seed,
        "excluded": excluded,
    }

    def finish(
        results: list[Ablation], failed_pairs: list[dict[str, Any]], is_stopped: bool = False
    ) -> None:
        written = save_ablations(out, results, paper, pairs, this_call(), failed_pairs, is_stopped)
        rows = [row for result in results for row in result.rows]
        record: dict[str, Any] = {"rows": rows, "not_measured": failed_pairs}
        record |= {"stopped": True} if is_stopped else {}
        output.emit(record, lambda: _print(rows))
        notify("written", ", ".join(str(path) for path in written))
        failures = [f"{pair['model']} on {pair['data']}: {pair['error']}" for pair in failed_pairs]
        failures += dict.fromkeys(text for result in results for _, text in result.failures)
        if not is_stopped:
            end_with_failures(failures)

    with begins_anew():
        seconds = estimate_ablations(models, sets, **settings)
    count = sum(len(manifest.clips) for manifest in sets.values())
    announce((seconds, f"two passes over {count} clips, before intervals are computed"))
    try:
        with shows_results_so_far(out):
            results, failed_pairs = ablate_all(models, sets, _progress_of_pair, **settings)
    except Stopped as stopped:
        results, failed_pairs = stopped.result
        finish(results, failed_pairs, is_stopped=True)
        raise
    finish(results, failed_pairs)


@contextmanager
def _progress_of_pair(name: str, data_name: str, clips: int) -> Iterator[Callable[[int], None]]:
    with progress() as bar:
        text = f"{name}, {data_name}: two passes over the clips, then intervals"
        yield partial(bar.advance, bar.add_task(text, total=clips))


def _print(rows: list[dict[str, Any]]) -> None:
    from ..common.text import with_error

    lines: list[list[str] | None] = []
    last = None
    for row in rows:
        section = (row["model"], row["data"], row["dropped"])
        if last not in (None, section):
            lines.append(None)
        last = section
        difference = None if row["dropped"] is None else row["difference"]
        lines.append(
            [
                row["model"],
                row["data"],
                DROPPED[row["dropped"]],
                "-" if row["after_blocks"] is None else str(row["after_blocks"]),
                f"{row['patches_dropped']:.1%}",
                row["metric"],
                with_error(row["value"], row["error"], 100, 1),
                "-" if difference is None else points_with_interval(difference),
                str(row["clips"]),
                str(row["no_patch_left"]),
            ]
        )
    columns = ["model", "data", "dropped", "after", "patches", "metric", "%", "vs unpruned",
               "clips", "empty"]  # fmt: skip
    caption = (
        "after: blocks before the drop. patches: fraction dropped. %: metric ± standard error. "
        "vs unpruned: points on the same clips, 95 % interval.\n"
        "empty: clips without a patch left; they are excluded from the row and its comparison."
    )
    print_table(columns, lines, caption, left=["data", "dropped", "metric"])
