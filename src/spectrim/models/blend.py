"""Average the weights of a model before and after a training."""

from __future__ import annotations

import copy

from ..common.errors import SpectrimError
from .transformer import SpectrogramTransformer

OTHER_START = "Pass the model that the training started from."
KEEP_STATISTICS = (
    "Training replaces the mean and std of its start by those of its own clips. To blend, train "
    "with those of the start: model.mean={0.mean} model.std={0.std}"
)


def blend(
    start: SpectrogramTransformer, trained: SpectrogramTransformer, fraction: float = 0.5
) -> SpectrogramTransformer:
    """A model whose weights lie between those before and after fine-tuning.

    The blend keeps much of the accuracy before fine-tuning, and most of what fine-tuning adds.
    Formula: weights = (1 - fraction) * start + fraction * trained. Source: Wortsman et al.,
    "Robust fine-tuning of zero-shot models" (CVPR 2022, arXiv 2109.01903), who recommend 0.5.

    Args:
        start: the model that the training started from.
        trained: the model after the training.
        fraction: of `trained`, 0 to 1.

    Returns:
        A new model with the configuration, plan and trained range of `trained`.

    Raises:
        SpectrimError: a fraction out of range; other classes, normalisation or shapes of weights.
    """
    if not 0 <= fraction <= 1:
        raise SpectrimError(f"fraction is {fraction!r}; expected 0 to 1.")
    for key in ("labels", "mean", "std", "padding", "front_end", "sample_rate"):
        first, second = getattr(start.config, key), getattr(trained.config, key)
        if first != second:
            raise SpectrimError(
                f"the two models differ in {key}, so an average of their weights has no meaning. "
                + (KEEP_STATISTICS.format(start.config) if key in ("mean", "std") else OTHER_START)
            )
    before, after = start.state_dict(), trained.state_dict()
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after or before[name].shape != after[name].shape:
            raise SpectrimError(f"the two models differ in the weights {name}. {OTHER_START}")
    result = copy.deepcopy(trained)
    weights = {
        name: before[name].to(value).lerp(value, fraction) if value.is_floating_point() else value
        for name, value in after.items()
    }
    result.load_state_dict(weights)
    return result
