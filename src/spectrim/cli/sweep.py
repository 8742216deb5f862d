"""`spectrim sweep`: the table and figure of accuracy, cost and speed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.errors import SpectrimError
from ..pruning.defaults import DEFAULT_REDUCTION, SWEEP_KEEP_RATES, SWEEP_SCORES
from .options import (
    BLOCKS,
    DEFAULT_MODELS,
    Backend,
    BatchSize,
    DataPart,
    Loading,
    ManifestPath,
    Rounds,
    allow_trusted_code,
    blocks_of,
    comma_separated,
    is_onnx,
    listed,
    model_option,
    note_unused_plan,
    pruning_option,
    rates_of,
    refuse_for_onnx,
)
from .output import Output, begins_anew, complain, end_with_failures, goes_on, sweep_progress
from .sweep_table import print_rows

if TYPE_CHECKING:
    from ..data.manifest import Manifest
    from ..deploy.onnx_model import OnnxModel
    from ..evaluation.sweep import Sweep

EXAMPLE = "Example: spectrim sweep --model ast-digits --data fsdd-digit.csv --keep-rates 1.0,0.5"

KEEP_RATES = comma_separated(SWEEP_KEEP_RATES)
SCORES = comma_separated(SWEEP_SCORES)
TIMING = 60.0  # seconds for all timed pairs together; each row gets at least three rounds


def command(
    data_part: DataPart,
    loading: Loading,
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
    keep_rates: Annotated[
        str | None,
        pruning_option(
            help="Keep rates above 0 and at most 1, comma-separated; the paper's are 0.9,0.8,0.7,"
            f"0.6,0.5,0.4. Default: {KEEP_RATES}."
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
        pruning_option(
            help="Blocks that prune, counted from 0, or 'input'; comma-separated. "
            f"Default: {BLOCKS}."
        ),
    ] = None,
    reduction: Annotated[
        str | None,
        pruning_option(
            help="How patches are removed: keep-top or package.module:name. "
            f"Default: {DEFAULT_REDUCTION}."
        ),
    ] = None,
    seed: Annotated[int, pruning_option(help="Seed of the random score.")] = 0,
    batch_size: BatchSize = 16,
    rounds: Rounds = 20,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("spectrim-sweep"),
) -> None:
    """Measure accuracy, MACs and time of models at several keep rates and scores."""
    from ..common.files import make_folder
    from ..data.builtin import sample_pack
    from ..data.manifest import read_data
    from ..evaluation.results import save_sweeps, slug
    from ..evaluation.sweep import sweep, variants_of
    from ..evaluation.sweep_files import sweep_files

    score_names = listed(scores or SCORES, str, "--scores")
    reduction_name = reduction or DEFAULT_REDUCTION
    allow_trusted_code(*score_names, reduction_name)
    rates = rates_of(keep_rates or KEEP_RATES)
    block_list = blocks_of(blocks or BLOCKS)
    manifest = read_data(data or sample_pack())
    split = data_part.split
    if split is None and any(clip.split == "test" for clip in manifest.clips):
        split = "test"
        complain("note", f"{manifest.source}: using split 'test' only; --split all uses all rows.")
    elif split is None and (there := sorted({c.split for c in manifest.clips if c.split})):
        complain(
            "note",
            f"{manifest.source}: no split is called 'test', so all rows are used "
            f"({', '.join(there)}), perhaps also those that the model was trained on. Choose one "
            "with --split.",
        )
    manifest = manifest.select(None if split == "all" else split, data_part.fold)
    make_folder(out)
    if (out / "results.json").exists():
        complain("note", f"replacing the results of an earlier sweep in {out}; use another --out "
                 "to keep both.")  # fmt: skip
    sweeps: dict[str, Sweep] = {}
    names = model or list(DEFAULT_MODELS)
    exported = [name for name in names if is_onnx(name)]
    if exported:
        refuse_for_onnx({"--keep-rates": keep_rates, "--scores": scores, "--blocks": blocks,
                         "--reduction": reduction})  # fmt: skip
        opened = _opened(names, backend, loading)
        clips = _labels_if_known(exported[0], opened[exported[0]].labels, manifest, data)
        timed = rounds * max(1, len(opened) - 1)
        with begins_anew(), sweep_progress("ONNX files", len(manifest.clips), timed) as steps:
            sweeps = sweep_files(opened, clips, batch_size=batch_size, rounds=rounds, steps=steps)
    elif backend is not None:
        raise SpectrimError("--backend is for ONNX files; the models given run with PyTorch.")
    partials = {name: out / f".partial-{slug(name)}.npz" for name in names if not exported}
    for name, partial in partials.items():
        loaded = loading.classifier(name)
        note_unused_plan(name, loaded)
        clips = _labels_if_known(name, loaded.labels, manifest, data)
        variants = variants_of(loaded, rates, score_names, block_list, seed, reduction_name)
        timed = rounds * max(1, len(variants) - 1)
        with goes_on(), sweep_progress(name, len(manifest.clips), timed) as steps:
            sweeps[name] = sweep(
                loaded,
                name,
                clips,
                variants,
                batch_size=batch_size,
                rounds=rounds,
                budget=TIMING / len(names),
                partial=partial,
                steps=steps,
            )
    paths = save_sweeps(out, sweeps, manifest.source)
    for partial in partials.values():  # only now: if a later model fails, the others are kept
        partial.unlink(missing_ok=True)
    rows = [row for result in sweeps.values() for row in result.rows]
    output.emit({"rows": rows}, lambda: print_rows(rows))
    complain("written", ", ".join(str(path) for path in paths))
    failures = dict.fromkeys(f for result in sweeps.values() for f in result.failures)
    end_with_failures(message for _, message in failures)


def _labels_if_known(
    name: str, labels: list[str], manifest: Manifest, data: Path | None
) -> Manifest:
    """The clips; without labels if they are the sample pack's and the model does not know them."""
    if data is not None or set(labels) >= manifest.labels():
        return manifest
    reference = "the first file" if is_onnx(name) else "its unpruned self"
    complain(
        "note",
        f"{name} does not know the sample pack's digits, so it is compared with {reference} only. "
        "Give your own clips with --data.",
    )
    return manifest.unlabelled()


def _opened(names: list[str], backend: str | None, loading: Loading) -> dict[str, OnnxModel]:
    for name in names:
        if not is_onnx(name):
            raise SpectrimError(
                f"--model {name}: ONNX files are compared with the first file, PyTorch models "
                "with their unpruned self. Sweep them separately, or export this model too."
            )
    return {name: loading.onnx_model(name, backend) for name in names}
