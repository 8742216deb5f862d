"""`spectrim analyze`: which patches models keep, and why; figures, tables and a report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.interruption import Stopped
from ..pruning.defaults import DEFAULT_REDUCTION, SWEEP_SCORES
from .output import (
    Output,
    announce,
    begins_anew,
    end_with_failures,
    notify,
    progress,
    shows_results_so_far,
    this_call,
)
from .plan_options import recommended_plan
from .shared_options import (
    BLOCKS,
    DEFAULT_MODEL,
    BatchSize,
    DataSelection,
    Excluded,
    Loading,
    ManifestPaths,
    Models,
    allow_trusted_code,
    blocks_of,
    comma_separated,
    listed,
    pruning_option,
)
from .tables import print_table, print_text

if TYPE_CHECKING:
    from ..analysis.analyze import DataSet

EXAMPLE = "Example: spectrim analyze --model ast-digits --data clips.csv --keep-rate 0.5 --out DIR"
SCORES = comma_separated([score for score in SWEEP_SCORES if score != "random"])
KEEP_RATE = 0.5
TEXT_COLUMNS = ("data", "score", "against", "definition")


def command(
    selection: DataSelection,
    loading: Loading,
    output: Output,
    model: Models = None,
    data: ManifestPaths = None,
    exclude: Excluded = None,
    keep_rate: Annotated[
        float | None,
        pruning_option(
            help="Fraction of patches that each of --blocks keeps, above 0 and at most 1. Default: "
            f"{KEEP_RATE}. Without pruning options, the recommended plan of each model is shown "
            "too."
        ),
    ] = None,
    saved_plan: Annotated[
        bool,
        pruning_option("--saved-plan", help="Prune with the plan saved with each model instead."),
    ] = False,
    scores: Annotated[
        str | None,
        pruning_option(
            help="Scores, comma-separated; a score of your own is package.module:name. "
            f"Default: {SCORES}."
        ),
    ] = None,
    reduction: Annotated[
        str | None,
        pruning_option(
            help="How patches are reduced, such as keep-top, evit or tome. Reductions that rank by "
            f"themselves ignore --scores. Default: {DEFAULT_REDUCTION}."
        ),
    ] = None,
    blocks: Annotated[
        str | None,
        pruning_option(
            help="Blocks that prune, counted from 0, or 'input'; comma-separated. Default: the "
            f"reduction's own; for keep-top {BLOCKS}."
        ),
    ] = None,
    examples: Annotated[
        int, typer.Option(min=0, help="Number of random clips to draw in Figure 3.")
    ] = 3,
    clip: Annotated[
        list[str] | None,
        typer.Option(help="File name of a clip to draw in Figure 3 instead. Repeatable."),
    ] = None,
    tau_pruned: Annotated[
        bool, typer.Option("--tau-pruned", help="Also compute Figure 4 for the pruned models.")
    ] = False,
    paper: Annotated[
        bool, typer.Option("--paper", help="Draw the paper's curves into Figure 4.")
    ] = False,
    sample: Annotated[
        int, typer.Option(min=100, help="Number of patches that K-means clusters.")
    ] = 100_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed for samples and random scores.")] = 0,
    batch_size: BatchSize = 16,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("spectrim-analysis"),
) -> None:
    """Show which patches models keep: Figures 3 to 6 of the paper, tables, one HTML report."""
    from ..analysis.analyze import AnalysisSettings, analyze, estimate_analysis
    from ..analysis.inputs import (
        excluded_pairs,
        fitting_models,
        manifests,
        not_run,
        short_names,
        skipped,
    )
    from ..analysis.report_files import save_analysis
    from ..analysis.summary import summaries
    from ..common.files import make_folder
    from ..pruning.stage import check_keep_rate

    is_default = (keep_rate, scores, reduction, blocks) == (None,) * 4 and not saved_plan
    keep_rate = KEEP_RATE if keep_rate is None else keep_rate
    reduction = reduction or DEFAULT_REDUCTION
    check_keep_rate(keep_rate)
    score_names = listed(scores or SCORES, str, "--scores")
    allow_trusted_code(*score_names, reduction)
    sets = manifests(data or [], selection.split, selection.fold)
    make_folder(out)
    sources = list(dict.fromkeys(model or [DEFAULT_MODEL]))
    names = short_names(sources)
    excluded = excluded_pairs(exclude or [], names, sets)
    models = {name: loading.model(source) for name, source in zip(names, sources, strict=True)}
    for name, loaded in models.items() if is_default else ():
        recommended_plan(name, loaded.recommendation)
    settings = AnalysisSettings(
        keep_rate=None if saved_plan else keep_rate,
        scores=score_names,
        blocks=None if blocks is None else blocks_of(blocks),
        reduction=reduction,
        with_recommended=is_default,
        batch_size=batch_size,
        sample=sample,
        seed=seed,
        examples=examples,
        chosen=clip or [],
        tau_pruned=tau_pruned,
        excluded=excluded,
        checkpoints=dict(zip(names, sources, strict=True)),
        command=this_call(),
    )
    pairs = skipped(models, sets, excluded)
    for pair in pairs:
        notify("note", not_run(pair))
    fitting = fitting_models(models, sets, excluded)
    clips = sum(2 * len(sets[name].clips) for name, fit in fitting.items() if fit)
    if keep_rate == 1.0 and not saved_plan:
        notify("note", "keep rate 1.0 drops nothing; figures of the dropped patches are omitted.")

    def finish(analysis: list[DataSet], is_stopped: bool = False) -> None:
        drops = any(pruned.drops for one in analysis for _, pruned in one.pruned)
        if keep_rate < 1.0 and not drops:
            notify("note", "merging drops no patch; figures of the dropped patches are omitted.")
        numbers, written = save_analysis(out, analysis, settings, paper, pairs, is_stopped)

        def print_summaries() -> None:
            for title, columns, rows in summaries(numbers):
                print_text(f"\n{title}:")
                print_table(columns, rows, left=[name for name in columns if name in TEXT_COLUMNS])

        output.emit(numbers, print_summaries)
        notify("written", f"{written[0]} and {len(written) - 1} more files in the same folder")
        if not is_stopped:
            end_with_failures(entry["error"] for entry in numbers["failures"])

    with begins_anew():
        seconds = estimate_analysis(models, sets, settings)
    announce((seconds, f"two passes over {clips // 2} clips, before figures are drawn"))
    try:
        with shows_results_so_far(out), progress() as bar:
            task = bar.add_task("two passes over the clips", total=clips)
            analysis = analyze(models, sets, settings, lambda _, done: bar.advance(task, done))
    except Stopped as stopped:
        finish(stopped.result, is_stopped=True)
        raise
    finish(analysis)
