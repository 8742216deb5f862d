"""Creating a model from a preset, and pruning a model with another plan."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from ..common.errors import SpectrimError, SpectrimNotice
from ..pruning.components import part_name
from ..pruning.cost import Shape
from ..pruning.cost import macs as macs_of
from ..pruning.plan import Plan, paper_plan
from ..pruning.reductions import Reduction
from ..pruning.scores import Score
from .config import (
    AUDIOSET_CLASSES,
    ModelConfig,
    activation_of,
    label_notes,
    with_overrides,
)
from .labels import audioset_labels, numbered
from .presets import preset
from .transformer import SpectrogramTransformer


def create(
    name: str,
    *,
    frames: int | None = None,
    classes: int | None = None,
    labels: Sequence[str] | None = None,
    stride: int | tuple[int, int] | None = None,
    activation: str | None = None,
    metric: str | None = None,
    mean: float | None = None,
    std: float | None = None,
    padding: str | None = None,
) -> SpectrogramTransformer:
    """Create a model with random weights from a preset.

    Args:
        name: a preset, such as "ast-base" or "ced-tiny"; `models.presets.PRESETS` has them all.
        frames: length of a clip in frames; default: the preset's, about 10 s for most.
        classes: number of classes, instead of `labels`; 527 (the default) are AudioSet's.
        stride: of the patches, 16, 10 or (frequency, time); default: the preset's.
        activation, metric: default: sigmoid and mAP for 527 classes, else softmax and accuracy.
        mean, std: of the log-mel features; default: the preset's.
        padding: "minimum" (default) or "zero".

    A `SpectrimNotice` names labels that occur twice or that a manifest cannot hold.

    Raises:
        SpectrimError: no such preset, or a value out of range.
    """
    if labels is None:
        labels = default_labels(AUDIOSET_CLASSES if classes is None else classes)
    elif classes not in (None, len(labels)):
        raise SpectrimError(f"{classes} classes and {len(labels)} labels; give one of the two.")
    sizes = {"frames": frames, "stride": stride}
    values = activation_of(len(labels)) | {k: v for k, v in sizes.items() if v is not None}
    config = preset(name, tuple(labels), **values)
    for note in label_notes(config.labels):
        warnings.warn(SpectrimNotice(note), stacklevel=2)
    overrides = {"activation": activation, "metric": metric, "mean": mean, "std": std}
    return SpectrogramTransformer(with_overrides(config, overrides | {"padding": padding})).eval()


def default_labels(classes: int) -> tuple[str, ...]:
    """AudioSet's names for 527 classes, else "class 0", "class 1", ..."""
    return audioset_labels() if classes == AUDIOSET_CLASSES else numbered(classes)


def prune(
    model: SpectrogramTransformer,
    keep_rate: float | Sequence[float] = 0.7,
    score: str | Score | None = None,
    blocks: Sequence[int | str] | str | None = None,
    *,
    reduction: str | Reduction = "keep-top",
    seed: int = 0,
    round_to: int = 1,
    drop_padding: bool = False,
    score_options: Mapping[str, Any] | None = None,
    reduction_options: Mapping[str, Any] | None = None,
    plan: Plan | None = None,
) -> SpectrogramTransformer:
    """Return a model with the same weights and another plan; `model` keeps its own plan.

    A `SpectrimNotice` says if the plan lies outside the range that the model was trained for.

    Args:
        keep_rate: fraction of the arriving patches that each of `blocks` keeps; one number for
            all blocks, or one per block.
        score: a name such as "attention", "intensity", "variation" or "random"; a function of the
            context; a module; or "package.module:name". None: the reduction's own default, else
            "attention".
        blocks: indices from 0 (the paper's 4, 7 and 10 are 3, 6 and 9), or "input" first;
            "every": all blocks. None: the reduction's own, for "keep-top" 3, 6 and 9.
        reduction: a name such as "keep-top", "evit" or "tome"; a callable; or
            "package.module:name".
        seed: of random scores.
        round_to: round prefix tokens plus kept patches up to a multiple of this, such as 8.
        drop_padding: remove the patches without sound from each clip before all stages, for clips
            shorter than the model's window. Keep rates apply to the patches that are left. Not for
            exported and compiled models.
        score_options, reduction_options: keyword arguments of the score and the reduction.
        plan: a complete plan, such as `model.recommended_plan`; replaces all arguments above.

    Raises:
        SpectrimError: a keep rate outside (0, 1], an unknown name or option, a block that the
            model does not have.
    """
    if not isinstance(model, SpectrogramTransformer):
        raise SpectrimError(
            f"prune takes a Spectrim model, not {type(model).__name__}. "
            "Convert a transformers model with spectrim.from_transformers first."
        )
    if plan is None:
        plan = paper_plan(
            keep_rate,
            score,
            blocks,
            reduction,
            seed,
            depth=model.config.depth,
            round_to=round_to,
            drop_padding=drop_padding,
            score_options=score_options,
            reduction_options=reduction_options,
        )
        _note_limits(model.config, plan)
    pruned = model.with_plan(plan)
    if note := range_note(pruned):
        warnings.warn(SpectrimNotice(note), stacklevel=2)
    return pruned


def range_note(model: SpectrogramTransformer) -> str | None:
    """A note if the plan of a model lies outside the range that the model was trained for.

    None for a plan whose effect was measured on the model.
    """
    trained_range = model.config.trained_range
    if trained_range is None or trained_range.contains(model.plan, model.grid.count):
        return None
    if model.recommendation.measured is not None and model.plan == model.recommended_plan:
        return None
    return (
        f"the model was trained to be pruned at {trained_range}. The plan lies outside this range "
        "and may lose more accuracy."
    )


def _note_limits(config: ModelConfig, plan: Plan) -> None:
    """Note stages that leave more patches than their keep rate asks for."""
    prefix = config.num_prefix_tokens
    arriving = config.grid.count
    for stage in plan.stages:
        left = stage.leaves(arriving, prefix)
        if left > stage.stays(arriving, prefix) + 1:  # one more is a fused token
            text = (
                f"{part_name(stage.reduction)} merges at most half of the patches at once: block "
                f"{stage.at} leaves {left} of {arriving} patches, not "
                f"{stage.stays(arriving, prefix)}."
            )
            warnings.warn(SpectrimNotice(text), stacklevel=3)
            return
        arriving = left


def shape_of(config: ModelConfig) -> Shape:
    """The sizes that determine the cost of a model."""
    return Shape(
        config.grid.count, config.num_prefix_tokens, config.width, config.depth, len(config.labels),
        patch_size=config.grid.patch_size,
    )  # fmt: skip


def macs(model: SpectrogramTransformer) -> int:
    """Multiply-accumulates for one clip, ranking not counted; see `pruning.cost.macs`.

    Where clips keep different numbers of patches (the reduction "ats"), it is the most that any
    clip can cost; `sweep` measures the mean of your clips.
    """
    return macs_of(shape_of(model.config), model.plan)
