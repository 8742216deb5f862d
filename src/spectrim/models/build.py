"""Models by name: made from a preset, or pruned by another plan."""

from __future__ import annotations

from collections.abc import Sequence

from ..common.errors import SpectrimError
from ..pruning.cost import Shape
from ..pruning.cost import macs as macs_of
from ..pruning.defaults import DEFAULT_BLOCKS
from ..pruning.plan import Plan, paper_plan
from ..pruning.reductions import Reduction
from ..pruning.scores import Score
from .config import AUDIOSET_CLASSES, ModelConfig, activation_of, preset, with_overrides
from .labels import audioset_labels, numbered
from .transformer import SpectrogramTransformer


def create(
    name: str,
    *,
    frames: int = 1024,
    classes: int | None = None,
    labels: Sequence[str] | None = None,
    stride: int | tuple[int, int] = 16,
    activation: str | None = None,
    metric: str | None = None,
    mean: float | None = None,
    std: float | None = None,
    padding: str | None = None,
) -> SpectrogramTransformer:
    """A preset with random weights: "ast-base", "ast-small", "ast-tiny", "audiomae-base", ...

    Args:
        frames: length of a clip, 10 ms each.
        classes: how many, instead of `labels`; 527 (the default) are AudioSet's.
        stride: of the patches, 16 or 10, or (frequency, time).
        activation, metric: by default sigmoid and mAP for 527 classes, else softmax and
            accuracy.
        mean, std: of the log-mel, by default AudioSet's; padding: "minimum" by default.

    Raises:
        SpectrimError: no such preset, or a value out of range.
    """
    if labels is None:
        labels = default_labels(AUDIOSET_CLASSES if classes is None else classes)
    elif classes not in (None, len(labels)):
        raise SpectrimError(f"{classes} classes and {len(labels)} labels; give one of the two.")
    values = activation_of(len(labels))
    config = preset(name, tuple(labels), frames=frames, stride=stride, **values)
    overrides = {"activation": activation, "metric": metric, "mean": mean, "std": std}
    return SpectrogramTransformer(with_overrides(config, overrides | {"padding": padding})).eval()


def default_labels(classes: int) -> tuple[str, ...]:
    """AudioSet's names for 527 classes, else "class 0", "class 1", ..."""
    return audioset_labels() if classes == AUDIOSET_CLASSES else numbered(classes)


def prune(
    model: SpectrogramTransformer,
    keep_rate: float | Sequence[float] = 0.7,
    score: str | Score = "attention",
    blocks: Sequence[int | str] = DEFAULT_BLOCKS,
    *,
    reduction: str | Reduction = "keep-top",
    seed: int = 0,
    plan: Plan | None = None,
) -> SpectrogramTransformer:
    """Another plan over the same weights; `model` keeps its own.

    Args:
        keep_rate: share of the arriving patches that stays in each of `blocks`; one for all,
            or one each.
        score: "attention", "intensity", "variation", "random", a function of the context, a
            module, or "package.module:name".
        blocks: indices from 0 (the paper's 4, 7 and 10 are 3, 6 and 9), or "input" first.
        reduction: "keep-top" or your own.
        seed: of random scores.
        plan: a whole plan, instead of all the above.

    Raises:
        SpectrimError: a keep-rate outside (0, 1], an unknown name, a block that the model
            does not have.
    """
    if not isinstance(model, SpectrogramTransformer):
        raise SpectrimError(
            f"prune wants a Spectrim model, not {type(model).__name__}; "
            "spectrim.from_transformers takes a transformers model."
        )
    if plan is None:
        plan = paper_plan(keep_rate, score, blocks, reduction, seed)
    return model.with_plan(plan)


def shape_of(config: ModelConfig) -> Shape:
    """What the cost of a model depends on."""
    return Shape(
        config.grid.count, config.num_prefix_tokens, config.width, config.depth, len(config.labels)
    )


def macs(model: SpectrogramTransformer) -> int:
    """Multiply-accumulates for one clip, ranking not counted; see `pruning.cost.macs`."""
    return macs_of(shape_of(model.config), model.plan)
