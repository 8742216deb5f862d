"""`spectrim ablate`: Table IV, what is lost without patches of low or of high intensity."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import (
    DEFAULT_MODEL,
    BatchSize,
    Device,
    Dtype,
    Fold,
    Frames,
    Load,
    Manifests,
    Models,
    Split,
    Threads,
    listed,
    load_model,
)
from .output import (
    TableOrJson,
    begins_anew,
    complain,
    points,
    print_json,
    print_table,
    progress,
    this_call,
)

EXAMPLE = "Example: spectrim ablate --model ast-digits --data clips.csv --after 1,5,11"

WORDS = {
    None: "nothing",
    "low": "low (C1, C2)",
    "high": "high (C4, C5)",
    "random-low": "as many as low, by lot",
    "random-high": "as many as high, by lot",
}


def command(
    model: Models = None,
    data: Manifests = None,
    split: Split = None,
    fold: Fold = None,
    after: Annotated[
        str, typer.Option(help="How many blocks still see every patch; comma-separated.")
    ] = "1,3,5,7,9,11",
    by_lot: Annotated[
        bool, typer.Option("--by-lot", help="Also drop as many patches of each clip by lot.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("spectrim-ablation"),
    paper: Annotated[
        bool, typer.Option("--paper", help="Draw the paper's own numbers beside ours.")
    ] = False,
    sample: Annotated[int, typer.Option(min=100, help="Patches that K-means sees.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="Of that sample, and of lots.")] = 0,
    format: Annotated[TableOrJson, typer.Option()] = TableOrJson.table,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    frames: Frames = None,
    load: Load = None,
    batch_size: BatchSize = 16,
    device: Device = "auto",
    dtype: Dtype = "float32",
    threads: Threads = None,
) -> None:
    """Drop the patches of clusters C1 and C2 (low), or C4 and C5 (high), and measure."""
    from ..analysis.ablation.ablate import ablate, check
    from ..analysis.ablation.results import save_ablations
    from ..analysis.analyze import knows, skipped
    from ..analysis.inputs import manifests, short_names
    from ..analysis.summary import not_run
    from ..common.errors import SpectrimError
    from ..common.files import make_folder

    blocks = listed(after, int, "--after")
    sets = manifests(data or [], split, fold)
    make_folder(out)
    sources = list(dict.fromkeys(model or [DEFAULT_MODEL]))
    names = short_names(sources)
    models = {
        name: load_model(source, device, dtype, threads, frames, load)
        for name, source in zip(names, sources, strict=True)
    }
    pairs = skipped(models, sets)
    for pair in pairs:
        complain("note", not_run(pair))
    known = [(d, n) for d in sets for n in models if knows(models[n], sets[d])]
    if not known:
        raise SpectrimError(
            f"none of the models ({', '.join(models)}) knows the labels of {', '.join(sets)}."
        )
    for data_name, name in known:
        check(models[name], name, sets[data_name], blocks)
    found, wrong = [], []
    for data_name, name in known:
        one, manifest = models[name], sets[data_name]
        if one.plan.stages:
            complain("note", f"{name}: its saved plan ({one.plan}) is not used.")
        try:
            with begins_anew(), progress() as bar:
                text = f"{name}, {data_name}: two passes over the clips, then intervals"
                task = bar.add_task(text, total=2 * len(manifest.clips))
                found.append(
                    ablate(
                        one,
                        name,
                        data_name,
                        manifest,
                        after=blocks,
                        by_lot=by_lot,
                        batch_size=batch_size,
                        sample=sample,
                        seed=seed,
                        tick=partial(bar.advance, task),
                    )
                )
        except SpectrimError as error:  # what is measured already is not lost for it
            wrong.append({"model": name, "data": data_name, "error": str(error)})
    if not found:
        raise SpectrimError(wrong[0]["error"])
    written = save_ablations(out, found, paper, pairs, this_call(), wrong)
    rows = [row for one in found for row in one.rows]
    if json or format is TableOrJson.json:
        print_json({"rows": rows, "not_measured": wrong})
    else:
        _print(rows)
    complain("written", ", ".join(str(path) for path in written))
    failures = [f"{pair['model']} on {pair['data']}: {pair['error']}" for pair in wrong]
    failures += dict.fromkeys(text for one in found for _, text in one.failures)
    for message in failures:
        complain("failed", message)
    if failures:
        raise typer.Exit(1)


def _print(rows: list[dict[str, Any]]) -> None:
    from ..analysis.summary import with_error

    lines: list[list[str] | None] = []
    last = None
    for row in rows:
        section = (row["model"], row["data"], row["dropped"])
        if last not in (None, section):
            lines.append(None)
        last = section
        which = WORDS[row["dropped"]]
        lines.append(
            [
                row["model"],
                row["data"],
                which,
                "-" if row["after_blocks"] is None else str(row["after_blocks"]),
                f"{row['patches_dropped']:.1%}",
                row["metric"],
                with_error(row["value"], row["error"], 100, 1),
                _difference(row),
                str(row["clips"]),
                str(row["no_patch_left"]),
            ]
        )
    columns = ["model", "data", "dropped", "after block", "patches", "metric", "%", "vs unpruned",
               "clips", "no patch left"]  # fmt: skip
    caption = (
        "patches: share dropped, over all clips. %: with one standard error. vs unpruned: points "
        "on the same clips, 95 % interval. no patch left: clips all of whose patches were dropped; "
        "they are left out of that row and of what it is compared with."
    )
    print_table(columns, lines, caption, left=["data", "dropped", "metric"])


def _difference(row: dict[str, Any]) -> str:
    found = row["difference"]
    if found is None or row["dropped"] is None:
        return "-"
    return points(found)
