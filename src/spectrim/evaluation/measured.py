"""What a model with its plan gives on clips, for its card and its recommended plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..data.manifest import Manifest
from ..deploy.torch_runner import TorchRunner
from ..models.transformer import SpectrogramTransformer
from ..pruning.plan import Plan
from ..pruning.saved_plans import Measured
from .sweep import BATCH_SIZE, Steps, evaluate
from .variants import Variant


def measure(
    model: SpectrogramTransformer,
    name: str,
    manifest: Manifest,
    batch_size: int = BATCH_SIZE,
    steps: Steps = lambda label, done: None,
) -> tuple[Measured, list[tuple[str, str]]]:
    """The metric of a model with its plan and of the unpruned model on the same clips.

    Args:
        name: of the model, for messages.
        steps: progress, as in `evaluate`.

    Returns:
        Measured: the metric; without labels, the agreement with the unpruned model.
        failures: (path, message) of clips that could not be read.

    Raises:
        SpectrimError: see `evaluate`.
    """
    variants = [
        Variant(name, TorchRunner(model.with_plan(plan).eval())) for plan in (Plan(), model.plan)
    ]
    result = evaluate(variants, manifest, batch_size=batch_size, steps=steps)
    unpruned, pruned = result.rows
    title = f"{manifest.source.name}, {pruned['clips']} clips"
    return measured_of(unpruned, pruned, title), result.failures


def measured_of(unpruned: Mapping[str, Any], pruned: Mapping[str, Any], title: str) -> Measured:
    """What two rows of a sweep say about the plan of the second.

    Where clips keep different numbers of patches, MACs are the mean of the clips.
    """
    return Measured(
        data=title,
        clips=pruned["clips"],
        metric=pruned["metric"],
        unpruned=unpruned["value"],
        pruned=pruned["value"],
        agreement=pruned["agreement"]["top1"]["value"],
        mac_ratio=unpruned["gmacs"] / pruned.get("mean_gmacs", pruned["gmacs"]),
    )
