"""The sequence of tokens in a transformer, each with the input patch it came from."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..common.errors import SpectrimError, SpectrimNotice


@dataclass(frozen=True)
class Tokens:
    """Prefix tokens, which are never ranked or dropped, then patches.

    Attributes:
        x: (batch, num_prefix_tokens + patches, width).
        num_prefix_tokens: number of prefix tokens (class, distillation) in front.
        origin: (batch, patches) index of the input patch of each token.
        sizes: (batch, patches) number of input patches merged into each token; None: one each.
            Attention and mean pooling weigh a token by it.
        present: (batch, patches) bool, for clips that keep different numbers of patches. Absent
            tokens are masked in attention, ranking and pooling. None: all are present.
        members: (batch, input patches) position of the token that holds each input patch, -1 if
            it was dropped; None until a reduction merges: each token holds its origin only.
        proportional: whether `sizes` also weigh attention, as in ToMe; else only mean pooling.
    """

    x: Tensor
    num_prefix_tokens: int
    origin: Tensor
    sizes: Tensor | None = None
    present: Tensor | None = None
    members: Tensor | None = None
    proportional: bool = True

    @property
    def count(self) -> int:
        """Patches in the sequence, prefix tokens not counted."""
        return self.x.shape[1] - self.num_prefix_tokens

    @property
    def specials(self) -> int:
        """Deprecated name of `num_prefix_tokens`."""
        text = "tokens.specials is deprecated: write tokens.num_prefix_tokens instead."
        warnings.warn(SpectrimNotice(text), stacklevel=2)
        return self.num_prefix_tokens

    @property
    def patches(self) -> Tensor:
        """(batch, patches, width)."""
        return self.x[:, self.num_prefix_tokens :]

    def with_x(self, x: Tensor) -> Tokens:
        """The same tokens with new values (batch, tokens, width)."""
        return replace(self, x=x)

    def bias(self) -> Tensor | None:
        """(batch, 1, 1, tokens) to add to attention logits; None if there is nothing to add.

        The logarithm of the size, as in ToMe (arXiv 2210.09461, eq. 1), if `proportional`; minus
        infinity where a token is absent.
        """
        sizes = self.sizes if self.proportional else None
        if sizes is None and self.present is None:
            return None
        dtype = at_least_float32(self.x.dtype)
        bias = torch.zeros_like(self.origin, dtype=dtype)
        if sizes is not None:
            bias = sizes.to(dtype).log()
        if self.present is not None:
            bias = torch.where(self.present, bias, -math.inf)
        bias = torch.nn.functional.pad(bias, (self.num_prefix_tokens, 0))
        return bias[:, None, None].to(self.x.dtype)

    def weights(self) -> Tensor | None:
        """(batch, patches) weight of each patch in a mean; None if all are equal."""
        if self.sizes is None and self.present is None:
            return None
        weights = torch.ones_like(self.origin) if self.sizes is None else self.sizes
        weights = weights.to(self.x.dtype)
        return weights if self.present is None else weights * self.present

    def take(self, index: Tensor) -> Tokens:
        """The patches at `index` (batch, kept), in that order; prefix tokens stay in front."""
        rows = index[..., None].expand(-1, -1, self.x.shape[2])
        kept = self.patches.gather(1, rows)
        return replace(
            self,
            x=torch.cat([self.x[:, : self.num_prefix_tokens], kept], 1),
            origin=self.origin.gather(1, index),
            sizes=None if self.sizes is None else self.sizes.gather(1, index),
            present=None if self.present is None else self.present.gather(1, index),
            members=None if self.members is None else _follow(self.members, index, self.count),
        )

    def with_present(self, present: Tensor) -> Tokens:
        """The same tokens, of which only those in `present` (batch, patches) bool are present."""
        members = self.members
        if members is not None:  # patches that an absent token holds are dropped
            is_held = (members >= 0) & present.gather(1, members.clamp(min=0))
            members = torch.where(is_held, members, -1)
        return replace(self, present=present, members=members)

    def holders(self, num_input_patches: int) -> Tensor:
        """(batch, input patches): position of the token that holds each one, -1 if dropped."""
        if self.members is not None:
            return self.members
        places = torch.arange(self.count, device=self.x.device).expand_as(self.origin)
        if self.present is not None:
            places = torch.where(self.present, places, -1)
        nobody = torch.full_like(self.origin[:, :1].expand(-1, num_input_patches), -1)
        return nobody.scatter(1, self.origin, places)

    def disagreement(self, arriving: Tokens, num_input_patches: int) -> str | None:
        """Which field has a wrong shape, given the tokens before a reduction; None if none has."""
        batch, width = arriving.x.shape[0], arriving.x.shape[2]
        if self.origin.dim() == 2 and self.origin.shape[1] != self.count:
            return (
                f"x of shape {tuple(self.x.shape)}, which holds {self.count} patches, and origin "
                f"of shape {tuple(self.origin.shape)}; expected the same number in both."
            )
        expected = {
            "x": (batch, self.num_prefix_tokens + self.count, width),
            "origin": (batch, self.count),
            "sizes": (batch, self.count),
            "present": (batch, self.count),
            "members": (batch, num_input_patches),
        }
        for name, shape in expected.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != shape:
                return f"{name} of shape {tuple(value.shape)}; expected {shape}."
        if arriving.present is not None and self.present is None:
            return "present=None, although some clips have absent tokens; expected (batch, count)."
        return None

    def trimmed(self) -> Tokens:
        """The tokens without trailing ones that are absent in every clip.

        Reads a number from the device. Where none is absent, `present` becomes None. A compiled
        graph keeps one shape, so it trims nothing.
        """
        if self.present is None or torch.compiler.is_compiling():
            return self
        counts = self.present.sum(1)
        most = int(counts.max())
        places = torch.arange(most, device=self.x.device).expand(len(counts), -1)
        shorter = self.take(places)
        return replace(shorter, present=None) if int(counts.min()) == most else shorter

    def restored(self, clips: Tensor, arriving: Tokens, num_input_patches: int) -> Tokens:
        """The tokens that arrived at a reduction in some clips, and these in the others.

        Args:
            clips: (batch,) bool: the clips that get the `arriving` tokens, of which no more are
                present than this sequence has places.
        """
        places = torch.arange(self.count, device=self.x.device).expand_as(self.origin)
        before = arriving.take(places)
        rows = clips[:, None]

        def either(one: Tensor, other: Tensor) -> Tensor:
            return torch.where(rows.unflatten(1, (1,) * (one.dim() - 1)), one, other)

        sizes = None
        if self.sizes is not None or before.sizes is not None:
            ones = torch.ones_like(self.origin)
            pair = (ones if tokens.sizes is None else tokens.sizes for tokens in (before, self))
            sizes = either(*pair)
        members = self.members
        if members is not None or before.members is not None:
            pair = (tokens.holders(num_input_patches) for tokens in (before, self))
            members = either(*pair)
        assert before.present is not None and self.present is not None
        return replace(
            self,
            x=either(before.x, self.x),
            origin=either(before.origin, self.origin),
            sizes=sizes,
            present=either(before.present, self.present),
            members=members,
        )

    def only(self, keep: Tensor) -> Tokens:
        """Drop the patches whose origin `keep` (batch, input patches) bool does not hold.

        If clips keep different numbers, the largest is gathered for all, and the surplus tokens of
        the other clips are marked absent. The number of tokens depends on the values of `keep`, so
        this waits for the device, and a CUDA graph cannot hold it.

        Raises:
            SpectrimError: a clip would have no patch left.
        """
        is_kept = keep.to(self.origin.device).gather(1, self.origin)
        if self.present is not None:
            is_kept = is_kept & self.present
        counts = is_kept.sum(1)
        fewest, most = int(counts.min()), int(counts.max())
        if fewest == 0:
            empty = torch.nonzero(counts == 0).flatten().tolist()
            raise SpectrimError(
                f"keep leaves no patch in clips {empty} of the batch. Omit these clips."
            )
        index = is_kept.int().argsort(dim=1, descending=True, stable=True)[:, :most]
        present = torch.arange(most, device=counts.device) < counts[:, None]
        kept = self.take(index)
        return kept.with_present(present) if fewest < most else replace(kept, present=None)


def at_least_float32(dtype: torch.dtype) -> torch.dtype:
    """The dtype of scores and of what is computed from them: float32, or float64 for a model in it.

    Half precision would rank near-equal patches in another order.
    """
    return torch.promote_types(dtype, torch.float32)


def _follow(members: Tensor, index: Tensor, count: int) -> Tensor:
    """`members` after the tokens at `index` are taken out of `count`.

    With count 4 and index (2, 0), the old positions 2 and 0 become 0 and 1, and 1 and 3 are
    dropped: moved is (1, -1, 0, -1, -1), and members (0, 2, 2, 3, -1) become (1, 0, 0, -1, -1).
    """
    places = torch.arange(index.shape[1], device=index.device).expand_as(index)
    # One more entry at the end stays -1; patches that no token holds (-1) look there.
    moved = torch.full_like(members[:, :1].expand(-1, count + 1), -1).scatter(1, index, places)
    return moved.gather(1, torch.where(members < 0, count, members))
