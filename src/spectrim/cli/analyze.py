"""`spectrim analyze`: which patches models keep, and why; figures, tables and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    DEFAULT_MODEL,
    BatchSize,
    Blocks,
    Device,
    Dtype,
    Fold,
    Frames,
    Load,
    Manifests,
    Models,
    Split,
    Threads,
    allow_trusted_code,
    blocks_of,
    listed,
    load_model,
)
from .output import (
    TableOrJson,
    begins_anew,
    complain,
    print_json,
    print_table,
    progress,
    stdout,
    this_call,
)

EXAMPLE = "Example: spectrim analyze --model ast-digits --data clips.csv --keep-rate 0.5 --out DIR"


def command(
    model: Models = None,
    data: Manifests = None,
    split: Split = None,
    fold: Fold = None,
    keep_rate: Annotated[
        float, typer.Option(help="Share of patches that stays in each of --blocks.")
    ] = 0.5,
    own_plan: Annotated[
        bool, typer.Option("--own-plan", help="Prune by the plans saved with the models instead.")
    ] = False,
    scores: Annotated[
        str, typer.Option(help="Comma-separated; your own is package.module:name.")
    ] = "attention,intensity,variation",
    blocks: Blocks = "3,6,9",
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("spectrim-analysis"),
    examples: Annotated[int, typer.Option(min=0, help="Clips drawn by lot for Figure 3.")] = 3,
    clip: Annotated[
        list[str] | None,
        typer.Option(help="A clip for Figure 3 instead, by its file's name; may be repeated."),
    ] = None,
    tau_pruned: Annotated[
        bool, typer.Option("--tau-pruned", help="Figure 4 of the pruned models too.")
    ] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="Draw the paper's own curves into Figure 4.")
    ] = False,
    sample: Annotated[int, typer.Option(min=100, help="Patches that K-means sees.")] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="Of samples and random scores.")] = 0,
    format: Annotated[TableOrJson, typer.Option()] = TableOrJson.table,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    frames: Frames = None,
    load: Load = None,
    batch_size: BatchSize = 16,
    device: Device = "auto",
    dtype: Dtype = "float32",
    threads: Threads = None,
) -> None:
    """Show which patches models keep: figures 3 to 6 of the paper, tables, one HTML report."""
    from ..analysis.analyze import Settings, analyze, knows, skipped
    from ..analysis.inputs import manifests, short_names
    from ..analysis.report import published_clusters
    from ..analysis.results import save_analysis
    from ..analysis.summary import not_run, summaries
    from ..common.files import make_folder
    from ..pruning.stage import check_keep_rate

    check_keep_rate(keep_rate)
    wanted = listed(scores, str, "--scores")
    allow_trusted_code(*wanted)
    sets = manifests(data or [], split, fold)
    make_folder(out)
    sources = list(dict.fromkeys(model or [DEFAULT_MODEL]))
    names = short_names(sources)
    models = {
        name: load_model(source, device, dtype, threads, frames, load, answers=False)
        for name, source in zip(names, sources, strict=True)
    }
    settings = Settings(
        keep_rate=None if own_plan else keep_rate,
        scores=wanted,
        blocks=blocks_of(blocks),
        batch_size=batch_size,
        sample=sample,
        seed=seed,
        examples=examples,
        chosen=clip or [],
        tau_pruned=tau_pruned,
        checkpoints=dict(zip(names, sources, strict=True)),
        command=this_call(),
    )
    pairs = skipped(models, sets)
    for pair in pairs:
        complain("note", not_run(pair))
    clips = sum(
        2 * len(manifest.clips)
        for manifest in sets.values()
        if any(knows(one, manifest) for one in models.values())
    )
    if keep_rate == 1.0 and not own_plan:
        complain("note", "keep-rate 1.0 drops nothing; what shows dropped patches is left out.")
    with begins_anew(), progress() as bar:
        task = bar.add_task("two passes over the clips", total=clips)
        found = analyze(models, sets, settings, lambda _, done: bar.advance(task, done))
    numbers, written = save_analysis(out, found, settings, paper, pairs)
    if json or format is TableOrJson.json:
        print_json(numbers)
    else:
        for title, columns, rows in summaries(numbers, published_clusters()):
            left = [name for name in columns if name in ("data", "score", "against", "definition")]
            stdout().print(f"\n{title}:", markup=False)
            print_table(columns, rows, left=left)
    complain("written", f"{written[0]}, and {len(written) - 1} files beside it")
    for entry in numbers["failures"]:
        complain("failed", entry["error"])
    if numbers["failures"]:
        raise typer.Exit(1)
