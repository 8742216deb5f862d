"""The sequence that runs through a transformer, each token knowing where it came from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..common.errors import SpectrimError


@dataclass(frozen=True)
class Tokens:
    """Special tokens, which are never ranked nor dropped, then patches.

    Attributes:
        x: (batch, num_prefix_tokens + patches, width).
        num_prefix_tokens: how many prefix tokens stand in front.
        origin: (batch, patches) index of the input patch that each token stands for.
        sizes: (batch, patches) how many input patches each token stands for; None: one each.
            Attention and mean pooling weigh a token by it.
        present: (batch, patches) bool, where clips of a batch have lost different numbers of
            patches; the absent are kept out of attention, ranking and pooling. None: all are.
        members: (batch, input patches) position of the token that carries each input patch,
            -1 where none does; None until a reduction merges: each token carries its origin.
    """

    x: Tensor
    num_prefix_tokens: int
    origin: Tensor
    sizes: Tensor | None = None
    present: Tensor | None = None
    members: Tensor | None = None

    @property
    def count(self) -> int:
        """Patches in the sequence, prefix tokens not counted."""
        return self.x.shape[1] - self.num_prefix_tokens

    @property
    def patches(self) -> Tensor:
        """(batch, patches, width)."""
        return self.x[:, self.num_prefix_tokens :]

    def with_x(self, x: Tensor) -> Tokens:
        """The same tokens with other values."""
        return replace(self, x=x)

    def bias(self) -> Tensor | None:
        """(batch, 1, 1, tokens) to add to attention logits, or None where nothing is to add.

        The logarithm of the size, as in ToMe (arXiv 2210.09461, eq. 1); minus infinity where
        a token is absent.
        """
        if self.sizes is None and self.present is None:
            return None
        bias = torch.zeros_like(self.origin, dtype=torch.float32)
        if self.sizes is not None:
            bias = self.sizes.float().log()
        if self.present is not None:
            bias = torch.where(self.present, bias, -math.inf)
        bias = torch.nn.functional.pad(bias, (self.num_prefix_tokens, 0))
        return bias[:, None, None].to(self.x.dtype)

    def weights(self) -> Tensor | None:
        """(batch, patches) weight of each patch in a mean, or None where all are equal."""
        if self.sizes is None and self.present is None:
            return None
        weights = torch.ones_like(self.origin) if self.sizes is None else self.sizes
        weights = weights.to(self.x.dtype)
        return weights if self.present is None else weights * self.present

    def take(self, index: Tensor) -> Tokens:
        """The patches at `index` (batch, kept), in that order; prefix tokens stay in front."""
        rows = index[..., None].expand(-1, -1, self.x.shape[2])
        kept = self.patches.gather(1, rows)
        return Tokens(
            x=torch.cat([self.x[:, : self.num_prefix_tokens], kept], 1),
            num_prefix_tokens=self.num_prefix_tokens,
            origin=self.origin.gather(1, index),
            sizes=None if self.sizes is None else self.sizes.gather(1, index),
            present=None if self.present is None else self.present.gather(1, index),
            members=None if self.members is None else _follow(self.members, index, self.count),
        )

    def only(self, keep: Tensor) -> Tokens:
        """Drop the patches whose origin `keep` (batch, input patches) bool does not hold.

        Equal counts are gathered; of unequal ones the most are gathered, and the rest of the
        shorter clips is marked absent.

        Raises:
            SpectrimError: a clip that would be left without any patch.
        """
        here = keep.to(self.origin.device).gather(1, self.origin)
        if self.present is not None:
            here = here & self.present
        counts = here.sum(1)
        fewest, most = int(counts.min()), int(counts.max())
        if fewest == 0:
            empty = torch.nonzero(counts == 0).flatten().tolist()
            raise SpectrimError(f"keep leaves no patch in clips {empty} of the batch; omit them.")
        index = here.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        present = torch.arange(most, device=counts.device) < counts[:, None]
        return replace(self.take(index), present=present if fewest < most else None)


def _follow(members: Tensor, index: Tensor, count: int) -> Tensor:
    """Where each input patch is after the tokens at `index` were taken out of `count`."""
    places = torch.arange(index.shape[1], device=index.device).expand_as(index)
    # One place more, at the end, which position -1 (carried by none) reads.
    moved = torch.full_like(members[:, :1].expand(-1, count + 1), -1).scatter(1, index, places)
    return moved.gather(1, torch.where(members < 0, count, members))
