"""ONNX translations of torch operations that its exporter lacks or translates inefficiently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def translations() -> dict[Any, Callable[..., Any]]:
    """The `custom_translation_table` of torch.onnx.export."""
    import onnxscript

    op: Any = onnxscript.opset20

    def stable_sort(
        values: Any, stable: bool | None = None, dim: int = -1, descending: bool = False
    ) -> Any:
        # ONNX's top-k puts the lower index first among equal values. (OpenVINO's does not.)
        size = op.Gather(op.Shape(values), op.Constant(value_ints=[dim]))
        return op.TopK(values, size, axis=dim, largest=int(descending), sorted=1)

    def attention(
        query: Any,
        key: Any,
        value: Any,
        attn_mask: Any = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        # The default translation computes shapes at run time and scales both factors. Runtimes
        # recognise and fuse this form.
        width = query.shape[-1]
        factor = op.Constant(value_float=float(scale or width**-0.5))
        logits = op.MatMul(op.Mul(query, factor), op.Transpose(key, perm=[0, 1, 3, 2]))
        if attn_mask is not None:
            logits = op.Add(logits, attn_mask)
        return op.MatMul(op.Softmax(logits, axis=-1), value)

    return {
        torch.ops.aten.sort.stable: stable_sort,
        torch.ops.aten.scaled_dot_product_attention.default: attention,
    }
