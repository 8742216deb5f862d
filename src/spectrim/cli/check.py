"""`spectrim check`: one page about the user's own model and clips."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..common.interruption import Stopped
from ..pruning.defaults import DEFAULT_REDUCTION, KEEP_RATES, SWEEP_SCORES
from .check_page import CheckPage
from .output import (
    Output,
    announce,
    end_with_failures,
    notify,
    shows_results_so_far,
    sweep_progress,
)
from .plan_options import options_of
from .shared_options import (
    BLOCKS_DEFAULT,
    BLOCKS_HELP,
    KEEP_RATES_HELP,
    REDUCTION_HELP,
    BatchSize,
    ChannelOption,
    DataSelection,
    LoadingWithCompile,
    ManifestPath,
    ModelName,
    ModelSettings,
    allow_trusted_code,
    blocks_of,
    comma_separated,
    listed,
    pruning_option,
    rates_of,
)
from .timing_options import TIMING, Budget, NoTiming, Rounds

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer

RATES = comma_separated(KEEP_RATES)
SCORES = comma_separated(SWEEP_SCORES)
EXAMPLE = "Example: spectrim check MIT/ast-finetuned-audioset-10-10-0.4593 --data my-clips"


def command(
    model: ModelName,
    loading: LoadingWithCompile,
    selection: DataSelection,
    output: Output,
    data: ManifestPath = None,
    channel: ChannelOption = "mix",
    agreement: Annotated[
        float,
        typer.Option(
            help="Minimum fraction of clips whose top-1 class must not change, from 0 to 1. The "
            "lower end of its 95 % interval must reach it."
        ),
    ] = 0.95,
    keep_rates: Annotated[
        str | None,
        pruning_option(
            help=f"{KEEP_RATES_HELP} Default: {RATES}. Without pruning options, the recommended "
            "plan of the model is tried first."
        ),
    ] = None,
    scores: Annotated[
        str | None,
        pruning_option(
            help="Scores, comma-separated; a score of your own is package.module:name. "
            f"Default: {SCORES}."
        ),
    ] = None,
    blocks: Annotated[str | None, pruning_option(help=f"{BLOCKS_HELP} {BLOCKS_DEFAULT}")] = None,
    reduction: Annotated[
        str | None, pruning_option(help=f"{REDUCTION_HELP} Default: {DEFAULT_REDUCTION}.")
    ] = None,
    batch_size: BatchSize = 8,
    rounds: Rounds = 20,
    budget: Budget = TIMING,
    no_timing: NoTiming = False,
    out: Annotated[Path | None, typer.Option(help="Folder for check.json.")] = None,
) -> None:
    """Verify that a checkpoint loads correctly and find how far it can be pruned on your clips."""
    from ..common.files import make_folder, save_json
    from ..data.builtin import sample_pack
    from ..data.manifest import read_data
    from ..evaluation.check import check
    from ..evaluation.choice_of_clips import clips_to_evaluate
    from ..evaluation.sweep_duration import sweep_duration
    from ..evaluation.variants import variants_of

    is_default = (keep_rates, scores, blocks, reduction) == (None,) * 4
    reduction = reduction or DEFAULT_REDUCTION
    score_names, block_list = listed(scores or SCORES, str, "--scores"), blocks_of(blocks)
    allow_trusted_code(*score_names, reduction)
    rates = sorted({1.0, *rates_of(keep_rates or RATES)}, reverse=True)
    if out is not None:
        make_folder(out)
    if data is None:
        notify(
            "note",
            "no --data given; using the sample pack of spoken digits. It says little about a "
            "model of other sounds.",
        )
    manifest = read_data(data or sample_pack()).with_channel(channel)
    manifest = clips_to_evaluate(manifest, selection.split, selection.fold)
    loaded = loading.classifier(model)
    seconds = 0.0 if no_timing else budget
    compiles = loading.compiles_timed_models(seconds > 0)
    recommended = loaded.recommended_plan if is_default else None
    variants = variants_of(
        loaded, model, rates, score_names, block_list, reduction=reduction, recommended=recommended
    )
    runners = [variant.runner for variant in variants]
    page = CheckPage(output)
    pairs = rounds * (len(variants) - 1) if seconds else 0

    def report(section: str, so_far: dict[str, Any]) -> None:
        page.show(section, so_far)
        if section == "parity" and (
            expected := sweep_duration(runners, manifest.clips, batch_size, rounds)
        ):
            work = f"{len(manifest.clips)} clips with {len(runners)} rows"
            timing = seconds if compiles else min(expected.timing, seconds)
            announce((expected.clips, work), (timing, "timing"))

    def finish(result: dict[str, Any]) -> None:
        if "recommendation" in result:
            best = result["recommendation"]
            best["command"] = _command(model, loading, _plan_options(best, blocks, loaded), best)
        if out is not None:
            notify("written", str(save_json(out / "check.json", result)))
        output.emit(result, lambda: page.show_rest(result))

    try:
        with (
            shows_results_so_far(out),
            sweep_progress(model, len(manifest.clips), pairs) as steps,
        ):
            result = check(
                loaded,
                model,
                manifest,
                agreement=agreement,
                keep_rates=rates,
                scores=score_names,
                blocks=block_list,
                reduction=reduction,
                recommended=recommended,
                batch_size=batch_size,
                rounds=rounds,
                budget=seconds,
                compile=compiles,
                steps=steps,
                report=report,
            )
    except Stopped as stopped:
        finish(stopped.result)
        raise
    if compiles:
        loading.note_compilation(sum(row["compile_s"] for row in result["rows"]))
    finish(result)
    end_with_failures(failure["error"] for failure in result["failures"])


def _plan_options(
    best: dict[str, Any], blocks: str | None, model: SpectrogramTransformer
) -> list[str] | None:
    """The options of the chosen plan; None if nothing is chosen, or options cannot express it."""
    if best["recommended"]:
        best["plan"] = str(model.recommended_plan)
        return options_of(model.recommended_plan, model.config.depth)
    if best["keep_rate"] == 1.0:
        return None
    options = ["--keep-rate", str(best["keep_rate_of_stages"])]
    options += [] if best["score"] is None else ["--score", best["score"]]
    options += [] if blocks is None else ["--blocks", blocks]
    reduction = best["reduction"]
    return options + (["--reduction", reduction] if reduction != DEFAULT_REDUCTION else [])


def _command(
    model: str, loading: ModelSettings, pruning: list[str] | None, best: dict[str, Any]
) -> str | None:
    """The command that writes the recommended model; None if there is none."""
    if pruning is None:
        return None
    words = ["spectrim", "convert", model, *pruning]
    words += ["--frames", loading.frames] if loading.frames else []
    for setting in loading.load or []:
        words += ["--load", setting]
    method = (best["score"] or best["reduction"]).rpartition(":")[2]
    name = f"{Path(model).name.removesuffix('.pth')}-{method}-{best['keep_rate_of_stages']}"
    return shlex.join([*words, "--out", name])
