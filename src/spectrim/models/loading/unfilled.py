"""Models without memory for their weights, which a file's tensors replace."""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ...pruning.plan import Plan
from ..config import ModelConfig
from ..transformer import SpectrogramTransformer


class _Unfilled(TorchFunctionMode):
    """While active, `torch.empty` makes tensors that have a shape but no memory.

    Layers allocate their weights by `torch.empty` and then draw random values into them. For a
    model whose weights come from a file that costs seconds. On the "meta" device both are free,
    and `load_state_dict(assign=True)` puts the file's tensors in their place afterwards. Tensors
    that are computed, not drawn (the filter bank's matrices), come from other functions and keep
    their values; `torch.device("meta")` as a context would lose those too.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def without_memory(config: ModelConfig, plan: Plan) -> SpectrogramTransformer:
    """A model whose weights have shapes but no values yet."""
    with _Unfilled():
        return SpectrogramTransformer(config, plan)
