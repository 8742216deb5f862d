"""Counter-based random numbers on tensors: splitmix64's mixing of 64-bit integers.

Integer arithmetic gives the same numbers on every device, in any batch, and in compiled models.
"""

from __future__ import annotations

import torch
from torch import Tensor


def signed(value: int) -> int:
    """The 64-bit two's complement of `value`."""
    return (value + 2**63) % 2**64 - 2**63


GOLDEN = signed(0x9E3779B97F4A7C15)  # the step between the counters of one generator
_FIRST = signed(0xBF58476D1CE4E5B9)
_SECOND = signed(0x94D049BB133111EB)


def mixed(x: Tensor) -> Tensor:
    """splitmix64's finaliser on int64, whose products wrap."""
    x = (x ^ ((x >> 30) & (2**34 - 1))) * _FIRST
    x = (x ^ ((x >> 27) & (2**37 - 1))) * _SECOND
    return x ^ ((x >> 31) & (2**33 - 1))


def numbers(keys: Tensor, count: int) -> Tensor:
    """(batch,) int64 keys to (batch, count) random int64."""
    steps = torch.arange(1, count + 1, device=keys.device) * GOLDEN
    return mixed(keys[:, None] + steps)


def unit(bits: Tensor, shift: int = 40) -> Tensor:
    """Random int64 to float32 from [0, 1), by the 24 bits above bit `shift` (16 or 40)."""
    return ((bits >> shift) & 0xFFFFFF).float() / 2**24
