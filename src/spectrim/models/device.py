"""Moving a model to a device and a dtype."""

from __future__ import annotations

import torch

from ..common.errors import SpectrimError, first_line, nearest
from .transformer import SpectrogramTransformer

DTYPES = ("float32", "float16", "bfloat16", "float64")


def to_device(
    model: SpectrogramTransformer,
    device: str | torch.device | None,
    dtype: str | torch.dtype | None,
) -> SpectrogramTransformer:
    """Move a model to a device and a dtype, in place; returns the same model.

    Args:
        device: such as "cuda"; "auto": "cuda" if available, else "cpu"; None: the CPU.
        dtype: one of `DTYPES`; None: float32.

    Raises:
        SpectrimError: an unknown device or dtype, or one that this machine does not support.
    """
    to_device, to_dtype = _device(device), _dtype(dtype)
    try:
        return model.to(to_device, to_dtype)
    except (RuntimeError, AssertionError) as error:
        text = f"the model cannot be moved to {device}: {first_line(error)}."
        raise SpectrimError(text) from error


def _device(device: str | torch.device | None) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device("cpu" if device is None else device)
        if chosen.type == "meta":
            raise RuntimeError("it has shapes and no numbers")
    except RuntimeError as error:
        raise SpectrimError(
            f"no device is called {device!r}; expected 'cpu', 'cuda', 'cuda:1' or 'mps'."
        ) from error
    return chosen


def _dtype(dtype: str | torch.dtype | None) -> torch.dtype:
    name = "float32" if dtype is None else str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise SpectrimError(f"no dtype for models is called {name!r}.{nearest(name, DTYPES)}")
    torch_dtype: torch.dtype = getattr(torch, name)
    return torch_dtype
