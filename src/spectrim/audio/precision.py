"""Matrix products in full float32, whatever precision PyTorch is allowed to use.

Users allow TF32 (`torch.set_float32_matmul_precision("high")`), because it makes networks faster at
little cost. In a filter bank it costs a lot: a quiet band beside a loud one is the small difference
of large products, and log-mel is wrong by up to 0.34 (results/gpu). The setting belongs to the
whole process, so changing it around a product would change the products of other threads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

REDUCED = ("tf32", "bf16")
UPPER_HALF = -(2**16)  # of an int32, as a mask: the sign, the exponent and 7 bits of the mantissa


def float32_product(values: Tensor, matrix: Tensor) -> Tensor:
    """(..., n) values times (n, m) matrix; in float32 as exact as without TF32.

    Other dtypes are multiplied as PyTorch does it, and so is everything under autocast.
    """
    plain = values.dtype != torch.float32 or torch.is_autocast_enabled(values.device.type)
    if plain or torch.compiler.is_exporting():
        return values @ matrix
    if torch.compiler.is_compiling():
        # A compiler cannot look at the setting, so the operator does when it runs.
        product: Tensor = _operator(values, matrix)
        return product
    return _by_setting(values, matrix)


def _by_setting(values: Tensor, matrix: Tensor) -> Tensor:
    return _in_pieces(values, matrix) if _is_reduced(values.device.type) else values @ matrix


def _is_reduced(device_type: str) -> bool:
    """Whether PyTorch may compute products of float32 with less precision."""
    backends: Any = torch.backends
    libraries = {"cuda": backends.cuda, "cpu": backends.mkldnn}
    if device_type not in libraries:
        return False
    setting = libraries[device_type].matmul.fp32_precision
    return (backends.fp32_precision if setting == "none" else setting) in REDUCED


def _in_pieces(values: Tensor, matrix: Tensor) -> Tensor:
    """The product as a sum of products of short numbers, which TF32 and bfloat16 hold exactly.

    A float32 has 24 bits. With a = a1 + a2 + a3 and b = b1 + b2 + b3 of 8 bits each,
        a b = a1 b1 + (a1 b2 + a2 b1) + (a1 b3 + a2 b2 + a3 b1) + terms below 2**-24 of a b.
    The smallest terms are added first.
    """
    a1, a2, a3 = _pieces(values)
    b1, b2, b3 = _pieces(matrix)
    small = a1 @ b3 + a2 @ b2 + a3 @ b1
    return a1 @ b1 + (a1 @ b2 + a2 @ b1 + small)


def _pieces(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three tensors of 8 significant bits that add up to the values exactly."""
    first = _upper_bits(values)
    second = _upper_bits(values - first)
    return first, second, values - first - second


def _upper_bits(values: Tensor) -> Tensor:
    return (values.contiguous().view(torch.int32) & UPPER_HALF).view(torch.float32)


@torch.library.custom_op("spectrim::float32_product", mutates_args=())
def _operator(values: Tensor, matrix: Tensor) -> Tensor:
    return _by_setting(values, matrix)


@_operator.register_fake
def _(values: Tensor, matrix: Tensor) -> Tensor:
    return values.new_empty(*values.shape[:-1], matrix.shape[1])


def _keep_factors(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of both factors; of each only if it is asked for."""
    values, matrix = ctx.saved_tensors
    to_values = grad @ matrix.T if ctx.needs_input_grad[0] else None
    flat = values.flatten(0, -2).T @ grad.flatten(0, -2) if ctx.needs_input_grad[1] else None
    return to_values, flat


_operator.register_autograd(_backward, setup_context=_keep_factors)
