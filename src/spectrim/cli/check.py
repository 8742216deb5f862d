"""`spectrim check`: one page about the user's own model and clips."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..common.interruption import Stopped
from ..common.text import significant
from ..pruning.defaults import DEFAULT_REDUCTION, KEEP_RATES, SWEEP_SCORES
from ..pruning.saved_plans import mean_gmacs, method_of
from .options import (
    BLOCKS_DEFAULT,
    BLOCKS_HELP,
    KEEP_RATES_HELP,
    REDUCTION_HELP,
    BatchSize,
    ChannelOption,
    DataPart,
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
from .output import (
    Output,
    announce,
    complain,
    end_with_failures,
    shows_results_so_far,
    sweep_progress,
)
from .plan_options import options_of
from .sweep_table import (
    Column,
    keep_text,
    lengths_text,
    method_header,
    same_interval,
    time_columns,
    timing_text,
    top_five_overlap,
)
from .tables import print_table, print_text
from .timing_options import TIMING, Budget, NoTiming, Rounds

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer

RATES = comma_separated(KEEP_RATES)
SCORES = comma_separated(SWEEP_SCORES)
EXAMPLE = "Example: spectrim check MIT/ast-finetuned-audioset-10-10-0.4593 --data my-clips"


def command(
    model: ModelName,
    loading: LoadingWithCompile,
    data_part: DataPart,
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
    from ..evaluation.clips import clips_to_evaluate
    from ..evaluation.estimate import estimate
    from ..evaluation.variants import variants_of

    is_default = (keep_rates, scores, blocks, reduction) == (None,) * 4
    reduction = reduction or DEFAULT_REDUCTION
    score_names, block_list = listed(scores or SCORES, str, "--scores"), blocks_of(blocks)
    allow_trusted_code(*score_names, reduction)
    rates = sorted({1.0, *rates_of(keep_rates or RATES)}, reverse=True)
    if out is not None:
        make_folder(out)
    if data is None:
        complain(
            "note",
            "no --data given; using the sample pack of spoken digits. It says little about a "
            "model of other sounds.",
        )
    manifest = read_data(data or sample_pack()).with_channel(channel)
    manifest = clips_to_evaluate(manifest, data_part.split, data_part.fold)
    loaded = loading.classifier(model)
    seconds = 0.0 if no_timing else budget
    recommended = loaded.recommended_plan if is_default else None
    variants = variants_of(
        loaded, model, rates, score_names, block_list, reduction=reduction, recommended=recommended
    )
    runners = [variant.runner for variant in variants]
    page = _Page(output)
    pairs = rounds * (len(variants) - 1) if seconds else 0

    def report(section: str, so_far: dict[str, Any]) -> None:
        page.show(section, so_far)
        if section == "parity" and (
            expected := estimate(runners, manifest.clips, batch_size, rounds)
        ):
            work = f"{len(manifest.clips)} clips with {len(runners)} rows"
            announce((expected.clips, work), (min(expected.timing, seconds), "timing"))

    def finish(result: dict[str, Any]) -> None:
        if "recommendation" in result:
            best = result["recommendation"]
            best["command"] = _command(model, loading, _plan_options(best, blocks, loaded), best)
        if out is not None:
            complain("written", str(save_json(out / "check.json", result)))
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
                compile=loading.compile,
                steps=steps,
                report=report,
            )
    except Stopped as stopped:
        finish(stopped.result)
        raise
    loading.note_compilation(sum(row.get("compile_s", 0.0) for row in result["rows"]))
    finish(result)
    end_with_failures(failure["error"] for failure in result["failures"])


class _Page:
    """The page for people, printed section by section as they are computed."""

    def __init__(self, output: Output) -> None:
        self.is_for_people = output.is_table
        self.shown: set[str] = set()

    def show(self, section: str, result: dict[str, Any]) -> None:
        """Print a section now, unless the output is JSON."""
        if self.is_for_people and section in _SECTIONS and section not in self.shown:
            self.shown.add(section)
            _SECTIONS[section](result)
            sys.stdout.flush()

    def show_rest(self, result: dict[str, Any]) -> None:
        """Print the sections that are computed and not printed yet."""
        for section in _SECTIONS:
            if section in result:
                self.show(section, result)


def _print_model(result: dict[str, Any]) -> None:
    model = result["model"]
    print_text(
        f"{result['name']}: {model['config']}, {model['parameters'] / 1e6:.1f} M parameters, "
        f"{model['blocks']} blocks of width {model['width']}, {model['patches']} patches (stride "
        f"{model['stride'][0]}, {model['frames']} frames), {model['classes']} classes, "
        f"{model['activation']}; mean {model['mean']:g}, std {model['std']:g}, padding "
        f"{model['padding']}.\n"
        f"Recommended plan: {result['recommended_plan']['text']}."
    )


def _print_parity(result: dict[str, Any]) -> None:
    parity = result["parity"]
    if parity["status"] == "not checked":
        print_text(f"Parity with transformers: not checked; {parity['reason']}.")
        return
    status = parity["status"] + (f" in {parity['reason']}" if "reason" in parity else "")
    features = "features not compared (the feature extractor is code in the model's folder)"
    if "features" in parity:
        features = f"features {parity['features']:.1e}, end to end {parity['end_to_end']:.1e}"
    print_text(
        f"Parity with transformers on {parity['clips']} clips: {status}. Largest differences: "
        f"logits {parity['logits']:.1e} on the same features, {features}."
    )


def _print_lengths(result: dict[str, Any]) -> None:
    print_text(lengths_text(result["lengths"]))


def _print_rows(result: dict[str, Any]) -> None:
    rows = result["rows"]
    first = rows[0]
    columns: list[Column] = [
        (method_header(rows), method_of),
        ("keep", keep_text),
        ("same top-1 (95 %)", same_interval),
        ("GMACs", lambda row: significant(mean_gmacs(row))),
        *time_columns(rows),
        ("change", lambda row: f"{row['agreement']['change']['value']:.3f}"),
    ]
    if first["agreement"]["top5"] is not None:
        columns.append(("top-5 overlap", top_five_overlap))
    lines: list[list[str] | None] = []
    last = first
    for row in rows:
        if method_of(row) != method_of(last):
            lines.append(None)
        last = row
        lines.append([cell(row) for _, cell in columns])
    print_table(
        [name for name, _ in columns],
        lines,
        f"{first['clips']} clips of {result['data']}; batch size {first['batch_size']}, "
        f"{first['threads']} threads, {first['device']}, {first['dtype']}; {timing_text(rows)}.\n"
        "same top-1: clips whose top class does not change. change: per clip, the largest change "
        "of a probability, mean over clips.",
    )
    if warned := result["training_clips"]:
        complain("warning", f"{warned}. A model changes less on clips that it was trained on, so "
                 "use held-out clips.")  # fmt: skip


def _print_recommendation(result: dict[str, Any]) -> None:
    print_text(_recommendation(result))


_SECTIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "model": _print_model,
    "parity": _print_parity,
    "lengths": _print_lengths,
    "rows": _print_rows,
    "recommendation": _print_recommendation,
}


def _recommendation(result: dict[str, Any]) -> str:
    best, clips = result["recommendation"], result["rows"][0]["clips"]
    asked = f"{best['asked'] * 100:g} %"
    if len(result["rows"]) == 1:
        return "Recommendation: none: no keep rate below 1.0 was tried, see --keep-rates."
    if best["clips_needed"] is None:
        return "Recommendation: none: no number of clips shows an agreement of 1. Use 0.99."
    if clips < best["clips_needed"]:
        return (
            f"Recommendation: none: {clips} clips are too few to show that the top class stays on "
            f"{asked} of clips. Use at least {best['clips_needed']} clips, better some hundred."
        )
    if best["keep_rate"] == 1.0:
        scores = ", ".join(dict.fromkeys(map(method_of, result["rows"][1:])))
        return (
            f"Recommendation: none: no keep rate of {scores} is at least 5 % faster while "
            f"preserving the top class on {asked} of clips (lower end of the 95 % interval). "
            f"Train with pruning, or accept less with --agreement."
        )
    agreement = best["agreement"]
    gain = f"{best['mac_ratio']:.2f}x fewer MACs"
    if best["speedup"] is not None:
        gain = f"speed-up {best['speedup']:.2f}x, {gain}"
    plan = f"keep rate {best['keep_rate']} with {method_of(best)}"
    if best["recommended"]:
        plan = f"the recommended plan of the model, {best['plan']}"
    command = best["command"]
    write = (
        f"To write this model: {command}"
        if command
        else "To write this model, in Python: spectrim.prune(model, plan=model.recommended_plan)"
        ".save(FOLDER)"
    )
    return (
        f"Recommendation: {plan} ({gain}). It "
        f"preserves the top class on {agreement['value']:.1%} of your clips (95 % interval "
        f"{agreement['low']:.1%} to {agreement['high']:.1%}; required: at least {asked}).\n{write}"
    )


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
