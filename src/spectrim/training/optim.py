"""Parameter groups with layer-wise learning rates, and the two optimisers."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .recipe import OptimPart

TOKENS = ("prefix_tokens", "positions", "mask_token")


def parameter_groups(
    module: nn.Module, depth: int, optim: OptimPart, prefix: str = "model."
) -> list[dict[str, Any]]:
    """Parameter groups, each with a weight decay and a factor of the learning rate.

    The factor is layer_decay ** (depth + 1 - layer): layer 0 holds the patch embedding, prefix
    tokens and positions, layer i + 1 holds block i, and layer depth + 1 everything else (as in BEiT
    and MAE). Biases, norms and tokens do not decay unless `decay_all`.

    Args:
        module: the module to train; names of the transformer's parameters start with `prefix`.
        depth: blocks of the transformer.

    Returns:
        dicts of "params", "names", "layer", "scale", "weight_decay", in the order of layers.
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        layer = layer_of(name.removeprefix(prefix), depth)
        is_exempt = parameter.ndim <= 1 or name.rsplit(".", 1)[-1] in TOKENS
        decays = optim.decay_all or not is_exempt
        group = groups.setdefault(
            (layer, decays),
            {
                "params": [],
                "names": [],
                "layer": layer,
                "scale": optim.layer_decay ** (depth + 1 - layer),
                "weight_decay": optim.weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return [groups[key] for key in sorted(groups)]


def layer_of(name: str, depth: int) -> int:
    """The layer of a transformer's parameter, 0 to depth + 1."""
    first, _, rest = name.partition(".")
    if first in ("prefix_tokens", "positions", "patch", "embedding_norm"):
        return 0
    return int(rest.split(".", 1)[0]) + 1 if first == "blocks" else depth + 1


def optimiser(groups: list[dict[str, Any]], optim: OptimPart) -> torch.optim.Optimizer:
    """Adam or AdamW over the groups; `set_lr` gives their rates before each step."""
    optimizer = torch.optim.AdamW if optim.name == "adamw" else torch.optim.Adam
    plain = [{key: group[key] for key in ("params", "weight_decay", "scale")} for group in groups]
    on_gpu = all(parameter.is_cuda for group in groups for parameter in group["params"])
    # One kernel for all parameters: on a GPU, small models are limited by the number of kernels.
    return optimizer(plain, lr=0.0, betas=(optim.betas[0], optim.betas[1]), fused=on_gpu or None)


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group: `lr` times the factor of the group."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group["scale"]
