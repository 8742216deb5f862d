"""`spectrim macs`: what a model costs under pruning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..common.text import significant
from ..pruning.defaults import KEEP_RATES
from .output import Output
from .plan_options import Pruning, note_unused_plan, recommended_plan
from .shared_options import (
    KEEP_RATES_HELP,
    ModelSettings,
    StrideOfPreset,
    comma_separated,
    model_option,
    pruning_option,
    rates_of,
)
from .tables import print_table

if TYPE_CHECKING:
    from ..models.config import ModelConfig
    from ..models.transformer import SpectrogramTransformer

RATES = comma_separated(KEEP_RATES)
EXAMPLE = "Example: spectrim macs ast-base --frames 1024 --stride 10 --keep-rates 1.0,0.7,0.5"


def command(
    model: Annotated[
        str,
        typer.Argument(help="A preset, built-in name, Hugging Face hub id, folder or file."),
    ],
    settings: ModelSettings,
    pruning: Pruning,
    output: Output,
    stride: StrideOfPreset = None,
    classes: Annotated[
        int | None, model_option(min=1, help="Number of classes of a preset. Default: 527.")
    ] = None,
    keep_rates: Annotated[
        str | None,
        pruning_option(
            help=f"{KEEP_RATES_HELP} Default: {RATES}. Without pruning options, the recommended "
            "plan of the model comes first."
        ),
    ] = None,
) -> None:
    """Count multiply-accumulates (MACs) per clip and the patches left at each keep rate.

    If clips keep different numbers of patches (--reduction ats), both are the maximum for any
    clip. `spectrim sweep` measures the mean over your clips.
    """
    from ..models.build import shape_of
    from ..models.provenance import RESULT_VERSION, plan_record, versions
    from ..pruning.cost import macs, ranking_macs
    from ..pruning.plan import Plan, paper_plan
    from ..pruning.recommendation import generic
    from ..pruning.saved_plans import plan_columns, plan_label

    config, loaded = _config(model, stride, classes, settings)
    pruning.check()
    shape = shape_of(config)
    plans = [
        paper_plan(rate, pruning.score, pruning.blocks, pruning.reduction, depth=shape.depth)
        for rate in rates_of(keep_rates or RATES)
    ]
    recommended = None
    if not pruning.is_given(keep_rates):
        recommendation = generic(config.depth) if loaded is None else loaded.recommendation
        recommended = recommended_plan(model, recommendation)
        plans.insert(1, recommended)
    if loaded is not None:
        note_unused_plan(model, loaded, recommended)
    rows: list[dict[str, Any]] = []
    for plan in plans:
        counts = plan.counts(shape.patches, shape.depth, shape.num_prefix_tokens)
        rows.append(
            {
                "model": model,
                "frames": config.frames,
                "keep_rate": plan_columns(plan_record(plan))["keep_rate"],
                "macs": macs(shape, plan),
                "gmacs": macs(shape, plan) / 1e9,
                "ranking_macs": ranking_macs(shape, plan, config.has_class_token),
                "patches": shape.patches,
                "patches_left": counts[-1][1],
                "adaptive": plan.is_adaptive,
                "plan": plan_record(plan),
                "versions": versions(),
                "format_version": RESULT_VERSION,
            }
            | ({"recommended": True} if plan is recommended else {})
        )
    unpruned = macs(shape, Plan())
    lines = [
        [
            f"{plan_label(row['plan'])} (recommended)"
            if row.get("recommended")
            else str(row["keep_rate"]),
            significant(row["gmacs"]),
            f"{row['macs'] / unpruned:.1%}",
            f"{row['patches_left']} of {row['patches']}",
        ]
        for row in rows
    ]
    most = "max " if any(row["adaptive"] for row in rows) else ""
    columns = ["keep", f"{most}GMACs/clip", "of unpruned", f"{most}patches left"]
    caption = f"{model}, {config.frames} frames, stride {config.stride[0]}"
    output.emit({"rows": rows}, lambda: print_table(columns, lines, caption))


def _config(
    model: str, stride: int | None, classes: int | None, settings: ModelSettings
) -> tuple[ModelConfig, SpectrogramTransformer | None]:
    """The config of a preset, which has no model yet, or of a loaded model, and the model."""
    from ..common.errors import SpectrimError, nearest
    from ..models.build import default_labels
    from ..models.builtin_models import builtin_names, check_retired
    from ..models.presets import PRESETS, preset

    if model in PRESETS:
        changes = {"frames": settings.num_frames, "stride": stride}
        created = preset(
            model,
            default_labels(527 if classes is None else classes),
            **{key: value for key, value in changes.items() if value is not None},
        )
        return created, None
    if stride is not None or classes is not None:
        raise SpectrimError(
            f"--stride and --classes apply to presets only; {model} has its own. Use --load "
            "stride= for a checkpoint that does not store its stride."
        )
    if not Path(model).exists() and "/" not in model and model not in builtin_names():
        check_retired(model)
        known = nearest(model, [*PRESETS, *builtin_names()])
        raise SpectrimError(f"no preset, built-in model or file is called {model!r}.{known}")
    loaded = settings.model(model)
    return loaded.config, loaded
