"""`spectrim sweep`: the table and figure of accuracy, cost and speed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.errors import SpectrimError
from ..pruning.defaults import SWEEP_KEEP_RATES, SWEEP_SCORES
from .options import (
    DEFAULT_MODELS,
    Backend,
    BatchSize,
    Device,
    Dtype,
    Fold,
    Frames,
    Load,
    Split,
    Threads,
    allow_trusted_code,
    blocks_of,
    fixed_in_file,
    is_onnx,
    listed,
    load_model,
    load_onnx_model,
    rates_of,
)
from .output import TableOrJson, begins_anew, complain, goes_on, print_json, sweep_progress
from .sweep_table import print_rows

if TYPE_CHECKING:
    from ..data.manifest import Manifest
    from ..deploy.onnx_model import OnnxModel
    from ..evaluation.sweep import Sweep

EXAMPLE = "Example: spectrim sweep --model ast-digits --data fsdd-digit.csv --keep-rates 1.0,0.5"

KEEP_RATES = ",".join(map(str, SWEEP_KEEP_RATES))
SCORES = ",".join(SWEEP_SCORES)
TIMING = 60.0  # seconds that all timed pairs may take, but for three rounds each


def command(
    model: Annotated[
        list[str] | None,
        typer.Option(help="Built in, hub id, folder or file; .onnx has its own plan; repeatable."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="A manifest, or a folder of sound files; else the built-in sample pack."),
    ] = None,
    split: Split = None,
    fold: Fold = None,
    keep_rates: Annotated[
        str | None, typer.Option(help=f"Comma-separated; else {KEEP_RATES}.")
    ] = None,
    scores: Annotated[
        str | None,
        typer.Option(help=f"Comma-separated; your own is package.module:name; else {SCORES}."),
    ] = None,
    blocks: Annotated[str | None, typer.Option(help="Comma-separated; else 3,6,9.")] = None,
    reduction: Annotated[
        str | None, typer.Option(help="keep-top; your own is package.module:name.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random scores.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for results.")] = Path("spectrim-sweep"),
    format: Annotated[TableOrJson, typer.Option()] = TableOrJson.table,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    frames: Frames = None,
    load: Load = None,
    batch_size: BatchSize = 16,
    rounds: Annotated[
        int, typer.Option(min=1, help="Timed pairs a row, at most; fewer on a slow machine.")
    ] = 20,
    device: Device = "auto",
    dtype: Dtype = "float32",
    threads: Threads = None,
    backend: Backend = None,
) -> None:
    """Measure models at several keep-rates and scores: accuracy, MACs, time.

    Without --model: the built-in ast-digits and audiomae-digits.
    """
    from ..common.files import make_folder
    from ..data.builtin import sample_pack
    from ..data.manifest import read_data
    from ..evaluation.results import save_sweeps, slug
    from ..evaluation.sweep import sweep, variants_of
    from ..evaluation.sweep_files import sweep_files

    wanted = listed(SCORES if scores is None else scores, str, "--scores")
    how = "keep-top" if reduction is None else reduction
    allow_trusted_code(*wanted, how)
    rates = rates_of(KEEP_RATES if keep_rates is None else keep_rates)
    places = blocks_of("3,6,9" if blocks is None else blocks)
    manifest = read_data(data or sample_pack())
    if split is None and any(clip.split == "test" for clip in manifest.clips):
        split = "test"
        complain("note", f"{data}: rows of split 'test' only; --split all takes every row.")
    elif split is None and (parts := sorted({c.split for c in manifest.clips if c.split})):
        complain(
            "note",
            f"{data}: no split is called 'test', so rows of all count ({', '.join(parts)}), those "
            "the model may have learned from too; --split takes one.",
        )
    manifest = manifest.select(None if split == "all" else split, fold)
    make_folder(out)
    if (out / "results.json").exists():
        complain("note", f"replaces the results of an earlier sweep in {out}; --out keeps both.")
    sweeps: dict[str, Sweep] = {}
    names = model or list(DEFAULT_MODELS)
    exported = [name for name in names if is_onnx(name)]
    if exported:
        fixed_in_file({"--keep-rates": keep_rates, "--scores": scores, "--blocks": blocks,
                       "--reduction": reduction, "--frames": frames, "--load": load})  # fmt: skip
        opened = _opened(names, backend, threads, device, dtype)
        clips = _known(exported[0], opened[exported[0]].labels, manifest, data)
        timed = rounds * max(1, len(opened) - 1)
        with begins_anew(), sweep_progress("ONNX files", len(manifest.clips), timed) as steps:
            sweeps = sweep_files(opened, clips, batch_size=batch_size, rounds=rounds, steps=steps)
    elif backend is not None:
        raise SpectrimError("--backend is for ONNX files, not for models of torch.")
    partials = {name: out / f".partial-{slug(name)}.npz" for name in names if not exported}
    for name, partial in partials.items():
        loaded = load_model(name, device, dtype, threads, frames, load)
        if loaded.plan.stages:
            complain(
                "note", f"{name}: its saved plan ({loaded.plan}) is not used; a sweep has its own."
            )
        clips = _known(name, loaded.labels, manifest, data)
        variants = variants_of(loaded, rates, wanted, places, seed, how)
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
    for partial in partials.values():  # only now: a later model's failure loses no earlier one
        partial.unlink(missing_ok=True)
    rows = [row for result in sweeps.values() for row in result.rows]
    if json or format is TableOrJson.json:
        print_json({"rows": rows})
    else:
        print_rows(rows)
    complain("written", ", ".join(str(path) for path in paths))
    failures = dict.fromkeys(f for result in sweeps.values() for f in result.failures)
    for _, message in failures:
        complain("failed", message)
    if failures:
        raise typer.Exit(1)


def _known(name: str, labels: list[str], manifest: Manifest, data: Path | None) -> Manifest:
    """The clips, without their labels where a model does not know the sample pack's."""
    if data is not None or set(labels) >= manifest.labels():
        return manifest
    complain(
        "note",
        f"{name} does not know the sample pack's digits: comparing it with "
        f"{'the first file' if is_onnx(name) else 'its unpruned self'} alone; name your own clips "
        "with --data.",
    )
    return manifest.unlabelled()


def _opened(
    names: list[str], backend: str | None, threads: int | None, device: str, dtype: str
) -> dict[str, OnnxModel]:
    for name in names:
        if not is_onnx(name):
            raise SpectrimError(
                f"--model {name}: ONNX files are compared with the first of them, a model of torch "
                "with its own unpruned self; sweep them apart, or export it too."
            )
    return {name: load_onnx_model(name, backend, threads, device, dtype) for name in names}
