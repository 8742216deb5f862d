"""`spectrim convert`: a model as a folder, of Spectrim or of Hugging Face transformers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..common.text import significant
from .output import Output, begins_anew, end_with_failures, notify, sweep_progress
from .plan_options import NewPlan
from .shared_options import BatchSize, DataSelection, ModelName, ModelSettings, data_option
from .tables import print_text

if TYPE_CHECKING:
    from ..models.transformer import SpectrogramTransformer
    from ..pruning.saved_plans import Measured

EXAMPLE = "Example: spectrim convert ast-digits --to transformers --keep-rate 0.7 --out digits"


def command(
    model: ModelName,
    out: Annotated[Path, typer.Option(help="The folder to write. It must be new or empty.")],
    settings: ModelSettings,
    new_plan: NewPlan,
    selection: DataSelection,
    output: Output,
    to: Annotated[
        str,
        typer.Option(
            help="spectrim: a folder that Spectrim loads. transformers: a folder for Hugging Face "
            "transformers."
        ),
    ] = "spectrim",
    data: Annotated[
        Path | None,
        data_option(
            help="Manifest or folder of sound files on which the model is measured for its model "
            "card. Default: not measured."
        ),
    ] = None,
    batch_size: BatchSize = 16,
) -> None:
    """Write a model with its plan and a model card to a folder.

    transformers reads an unpruned AST with zero padding without Spectrim. For other models, first
    run this line in Python: import spectrim.integrations.transformers.
    """
    from ..common.errors import SpectrimError
    from ..common.versions import RESULT_VERSION, package_versions
    from ..integrations.folders import check_format, check_new_folder, not_plain, save_folder
    from ..integrations.model_card import TRANSFORMERS
    from ..models.build import macs
    from ..models.has_recommendation import prunes
    from ..models.provenance import plan_record
    from ..pruning.plan import Plan

    check_format(to)
    check_new_folder(out)
    if data is None and (selection.split or selection.fold):
        raise SpectrimError("--split and --fold require --data.")
    load = settings.model if to == "spectrim" else settings.classifier
    loaded = new_plan.apply(load(model))
    if not prunes(loaded.plan):
        loaded = loaded.with_plan(Plan())  # stages at keep rate 1.0 would look like pruning
    with begins_anew():
        measured, failures = (
            (None, []) if data is None else _measure(loaded, model, data, selection, batch_size)
        )
        written = save_folder(loaded, out, to, source=model, measured=measured)
    if written is TRANSFORMERS and not prunes(loaded.plan):
        notify("note", "transformers reads this folder only with Spectrim, because the model is "
                 f"not a plain AST: {', '.join(not_plain(loaded))}.")  # fmt: skip
    cost = macs(loaded) / 1e9
    row = {
        "folder": str(out),
        "to": to,
        "needs_spectrim": written.needs_spectrim,
        "model": model,
        "plan": plan_record(loaded.plan),
        "frames": loaded.config.frames,
        "gmacs": cost,
        "measured": None if measured is None else measured.to_dict(),
        "versions": package_versions("transformers")
        if to == "transformers"
        else package_versions(),
        "format_version": RESULT_VERSION,
    }
    text = (
        f"{out}: {len(loaded.labels)} classes; {loaded.plan}; {significant(cost)} GMACs per clip."
    )
    if measured is not None:
        text += f" {measured}."
    output.emit({"rows": [row]}, lambda: print_text(text))
    notify("note", f"{out / 'README.md'} shows how to use the folder.")
    end_with_failures(f"{path}: {message}" for path, message in failures)


def _measure(
    model: SpectrogramTransformer, name: str, data: Path, selection: DataSelection, batch_size: int
) -> tuple[Measured, list[tuple[str, str]]]:
    from ..data.manifest import read_data
    from ..evaluation.choice_of_clips import clips_to_evaluate
    from ..evaluation.measured import measure

    manifest = clips_to_evaluate(read_data(data), selection.split, selection.fold)
    with sweep_progress(name, len(manifest.clips), 0) as steps:
        return measure(model, name, manifest, batch_size, steps)
