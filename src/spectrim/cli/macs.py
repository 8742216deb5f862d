"""`spectrim macs`: what a model costs under pruning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..common.text import significant
from .options import (
    Blocks,
    Frames,
    Load,
    Reduction,
    Score,
    allow_trusted_code,
    blocks_of,
    load_model,
    rates_of,
)
from .output import TableOrJson, complain, print_json, print_table

EXAMPLE = "Example: spectrim macs ast-base --frames 1024 --stride 10 --keep-rates 1.0,0.7,0.5"


def command(
    model: Annotated[str, typer.Argument(help="A preset, a built-in model, or a checkpoint.")],
    frames: Frames = None,
    stride: Annotated[int | None, typer.Option(help="Of a preset's patches: 16 or 10.")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Of a preset.")] = None,
    keep_rates: Annotated[str, typer.Option(help="Comma-separated.")] = (
        "1.0,0.9,0.8,0.7,0.6,0.5,0.4"
    ),
    score: Score = "attention",
    blocks: Blocks = "3,6,9",
    reduction: Reduction = "keep-top",
    load: Load = None,
    format: Annotated[TableOrJson, typer.Option()] = TableOrJson.table,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
) -> None:
    """Multiply-accumulates for one clip, and patches left, at each keep-rate."""
    from ..common.errors import SpectrimError, nearest
    from ..models.build import default_labels, shape_of
    from ..models.builtin import builtin_names
    from ..models.config import PRESETS, preset
    from ..models.provenance import RESULT_VERSION, plan_record, versions
    from ..pruning.cost import macs, ranking_macs
    from ..pruning.plan import paper_plan

    if model in PRESETS:
        changes = {"frames": frames, "stride": stride}
        config = preset(
            model,
            default_labels(527 if classes is None else classes),
            **{key: value for key, value in changes.items() if value is not None},
        )
    elif stride is not None or classes is not None:
        raise SpectrimError(
            f"--stride and --classes are for presets; {model} has its own, or --load stride= says."
        )
    elif not Path(model).exists() and "/" not in model and model not in builtin_names():
        known = nearest(model, [*PRESETS, *builtin_names()])
        raise SpectrimError(f"no preset, built-in model or file is called {model!r}.{known}")
    else:
        loaded = load_model(model, "cpu", frames=frames, texts=load, answers=False)
        config = loaded.config
        if loaded.plan.stages:
            complain("note", f"its saved plan ({loaded.plan}) is not used: see --keep-rates.")
    allow_trusted_code(score, reduction)
    rows: list[dict[str, Any]] = []
    for rate in rates_of(keep_rates):
        plan = paper_plan(rate, score, blocks_of(blocks), reduction)
        shape = shape_of(config)
        counts = plan.counts(shape.patches, shape.depth)
        rows.append(
            {
                "model": model,
                "frames": config.frames,
                "keep_rate": rate,
                "macs": macs(shape, plan),
                "gmacs": macs(shape, plan) / 1e9,
                "ranking_macs": ranking_macs(shape, plan, config.has_class_token),
                "patches": shape.patches,
                "patches_left": counts[-1][1],
                "plan": plan_record(plan),
                "versions": versions(),
                "format_version": RESULT_VERSION,
            }
        )
    if json or format is TableOrJson.json:
        print_json({"rows": rows})
        return
    from ..pruning.plan import Plan

    full = macs(shape_of(config), Plan())
    print_table(
        ["keep-rate", "GMACs", "of unpruned", "patches left"],
        [
            [
                str(row["keep_rate"]),
                significant(row["gmacs"]),
                f"{row['macs'] / full:.1%}",
                f"{row['patches_left']} of {row['patches']}",
            ]
            for row in rows
        ],
        caption=f"{model}, {config.frames} frames, stride {config.stride[0]}",
    )
