"""`spectrim sweep`: the table and figure of accuracy, cost and speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..common.errors import SpectrimError
from ..common.interruption import Stopped
from ..pruning.defaults import DEFAULT_REDUCTION, SWEEP_KEEP_RATES, SWEEP_SCORES
from .output import (
    Output,
    announce,
    begins_anew,
    end_with_failures,
    goes_on,
    notify,
    sweep_progress,
)
from .plan_options import note_unused_plan, recommended_plan
from .shared_options import (
    BLOCKS_DEFAULT,
    BLOCKS_HELP,
    DEFAULT_MODELS,
    REDUCTION_HELP,
    Backend,
    BatchSize,
    ChannelOption,
    DataSelection,
    LoadingWithCompile,
    ManifestPath,
    allow_trusted_code,
    blocks_of,
    comma_separated,
    is_onnx,
    listed,
    model_option,
    pruning_option,
    rates_of,
    refuse_for_onnx,
)
from .sweep_table import print_rows
from .timing_options import TIMING, Budget, NoTiming, Rounds

if TYPE_CHECKING:
    from ..data.manifest import Manifest
    from ..evaluation.resume import Partial
    from ..evaluation.sweep import Sweep
    from ..evaluation.variants import Variant

EXAMPLE = "Example: spectrim sweep --model ast-digits --data fsdd-digit.csv --keep-rates 1.0,0.5"

KEEP_RATES = comma_separated(SWEEP_KEEP_RATES)
SCORES = comma_separated(SWEEP_SCORES)


def command(
    selection: DataSelection,
    loading: LoadingWithCompile,
    output: Output,
    model: Annotated[
        list[str] | None,
        model_option(
            help="Built-in name, Hugging Face hub id, folder or file; an .onnx file keeps its "
            f"plan. Repeatable. Default: {', '.join(DEFAULT_MODELS)}."
        ),
    ] = None,
    backend: Backend = None,
    data: ManifestPath = None,
    channel: ChannelOption = "mix",
    keep_rates: Annotated[
        str | None,
        pruning_option(
            help="Keep rates above 0 and at most 1, comma-separated; the paper's are 0.9,0.8,0.7,"
            f"0.6,0.5,0.4. Default: {KEEP_RATES}. Without pruning options, the recommended plan of "
            "each model is measured first."
        ),
    ] = None,
    scores: Annotated[
        str | None,
        pruning_option(
            help="Scores, comma-separated; a score of your own is package.module:name. "
            f"Default: {SCORES}."
        ),
    ] = None,
    blocks: Annotated[
        str | None,
        pruning_option(help=f"{BLOCKS_HELP} {BLOCKS_DEFAULT}"),
    ] = None,
    reductions: Annotated[
        str | None,
        pruning_option(
            "--reductions",
            "--reduction",
            help=f"{REDUCTION_HELP} Several are comma-separated. Those that act in every block "
            f"are compared with keep-top at equal MACs. Default: {DEFAULT_REDUCTION}.",
        ),
    ] = None,
    seed: Annotated[int, pruning_option(help="Seed of the random score.")] = 0,
    batch_size: BatchSize = 16,
    rounds: Rounds = 20,
    budget: Budget = TIMING,
    no_timing: NoTiming = False,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("spectrim-sweep"),
) -> None:
    """Measure accuracy, MACs and time of models at several keep rates and scores."""
    from ..common.files import make_folder
    from ..data.builtin import sample_pack
    from ..data.manifest import read_data
    from ..evaluation.choice_of_clips import clips_to_evaluate, without_unknown_labels
    from ..evaluation.sweep import sweep
    from ..evaluation.sweep_files import save_sweeps

    score_names = listed(scores or SCORES, str, "--scores")
    reduction_names = listed(reductions or DEFAULT_REDUCTION, str, "--reductions")
    allow_trusted_code(*score_names, *reduction_names)
    rates = rates_of(keep_rates or KEEP_RATES)
    block_list = blocks_of(blocks)
    manifest = read_data(data or sample_pack()).with_channel(channel)
    manifest = clips_to_evaluate(manifest, selection.split, selection.fold)
    make_folder(out)
    if (out / "results.json").exists():
        notify("note", f"replacing the results of an earlier sweep in {out}; use another --out "
                 "to keep both.")  # fmt: skip
    names = model or list(DEFAULT_MODELS)
    seconds = 0.0 if no_timing else budget / len(set(names))
    compiles = loading.compiles_timed_models(seconds > 0)
    options = (keep_rates, scores, blocks, reductions)
    if any(is_onnx(name) for name in names):
        refuse_for_onnx({"--keep-rates": keep_rates, "--scores": scores, "--blocks": blocks,
                         "--reductions": reductions})  # fmt: skip
        groups = _file_group(names, backend, loading)
    elif backend is not None:
        raise SpectrimError("--backend is for ONNX files; the models given run with PyTorch.")
    else:
        pruning = {"keep_rates": rates, "scores": score_names, "blocks": block_list, "seed": seed,
                   "reduction": reduction_names, "compile": compiles}  # fmt: skip
        groups = _model_groups(names, loading, out, pruning, options == (None,) * len(options))
    sweeps: list[Sweep] = []
    partials: list[Path] = []
    try:
        for group in groups:
            first, clips = group.variants[0], manifest
            if data is None:
                labels = first.runner.labels
                clips = without_unknown_labels(manifest, first.name, labels, group.reference)
            partials += [group.partial] if group.partial else []
            pairs = rounds * max(1, len(group.variants) - 1) if seconds else 0
            _announce(group, clips, batch_size, rounds, seconds, compiles)
            with (
                goes_on() if group.partial else begins_anew(),
                sweep_progress(group.title, len(clips.clips), pairs) as steps,
            ):
                sweeps.append(
                    sweep(
                        group.variants,
                        clips,
                        batch_size=batch_size,
                        rounds=rounds,
                        budget=seconds,
                        keeper=group.keeper(clips),
                        steps=steps,
                    )
                )
    except KeyboardInterrupt as interrupt:
        sweeps += [interrupt.result] if isinstance(interrupt, Stopped) else []
        rows = [row for result in sweeps for row in result.rows]
        if rows:
            output.emit({"rows": rows, "stopped": True}, lambda: print_rows(rows))
        raise
    paths = save_sweeps(out, sweeps, manifest.source)
    for partial in partials:  # only now: if a later model fails, the others are kept
        partial.unlink(missing_ok=True)
    rows = [row for result in sweeps for row in result.rows]
    if compiles:
        loading.note_compilation(sum(row["compile_s"] for row in rows))
    output.emit({"rows": rows}, lambda: print_rows(rows))
    for result in sweeps:
        _note_chance(result.rows[0], len(manifest.labels()))
    notify("written", ", ".join(str(path) for path in paths))
    failures = dict.fromkeys(f for result in sweeps for f in result.failures)
    end_with_failures(message for _, message in failures)


@dataclass(frozen=True)
class _Group:
    """Variants that are swept together, and compared with the first of them."""

    title: str
    variants: list[Variant]
    reference: str  # what the others are compared with, in words
    partial: Path | None = None  # keeps the predictions of an interrupted sweep

    def keeper(self, clips: Manifest) -> Partial | None:
        from ..deploy.torch_runner import TorchRunner
        from ..evaluation.resume import Partial

        if self.partial is None:
            return None
        runners = [variant.runner for variant in self.variants]
        models = [runner.model for runner in runners if isinstance(runner, TorchRunner)]
        return Partial(self.partial, models, clips.clips)


def _note_chance(unpruned: Mapping[str, Any], classes: int) -> None:
    """Print a note if a model is not better than guessing one of the labels of the clips."""
    if classes > 1 and unpruned["metric"] == "accuracy" and unpruned["value"] <= 1 / classes:
        notify(
            "note",
            f"{unpruned['model']}: accuracy is not above chance ({1 / classes:.1%} for {classes} "
            "labels), so its changes mean nothing. The labels of the clips may have another "
            "meaning for this model.",
        )


def _announce(
    group: _Group, clips: Manifest, batch_size: int, rounds: int, budget: float, compiles: bool
) -> None:
    """Say how long a group takes; measured on one clip. Compilation may use the whole budget."""
    from ..evaluation.sweep_duration import sweep_duration

    runners = [variant.runner for variant in group.variants]
    if expected := sweep_duration(runners, clips.clips, batch_size, rounds):
        rows = f"{len(clips.clips)} clips with {len(runners)} rows of {group.title}"
        timing = budget if compiles else min(expected.timing, budget)
        announce((expected.clips, rows), (timing, "timing"))


def _model_groups(
    names: list[str],
    loading: LoadingWithCompile,
    out: Path,
    pruning: dict[str, Any],
    with_recommended: bool,
) -> Iterator[_Group]:
    """A group for each PyTorch model; one model is in memory at a time."""
    from ..evaluation.sweep_files import slug
    from ..evaluation.variants import variants_of

    for name in dict.fromkeys(names):
        loaded = loading.classifier(name)
        recommended = recommended_plan(name, loaded.recommendation) if with_recommended else None
        note_unused_plan(name, loaded, recommended)
        variants = variants_of(loaded, name, recommended=recommended, **pruning)
        partial = out / f".partial-{slug(name)}.npz"
        yield _Group(name, variants, "its unpruned self", partial)


def _file_group(
    names: list[str], backend: str | None, loading: LoadingWithCompile
) -> Iterator[_Group]:
    """All exported files as one group."""
    from ..evaluation.variants import Variant

    for name in names:
        if not is_onnx(name):
            raise SpectrimError(
                f"--model {name}: ONNX files are compared with the first file, PyTorch models "
                "with their unpruned self. Sweep them separately, or export this model too."
            )
    files = [Variant(name, loading.onnx_model(name, backend)) for name in dict.fromkeys(names)]
    yield _Group("ONNX files", files, "the first file")
