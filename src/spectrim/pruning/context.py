"""The arguments of scores and reductions: tensors of their block and of the clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..audio.filterbank import pad_with_minimum
from ..common.errors import SpectrimError
from ..common.splitmix import GOLDEN, mixed, signed, unit
from .attention import (
    Attention,
    attention_map,
    class_row,
    class_rows,
    explicit_attention,
)
from .patches import PatchGrid
from .tokens import Tokens

NO_ATTENTION = (
    "there is no attention before the first block. Rank the stage at 'input' by 'intensity', "
    "'variation' or 'random', or move it to a block."
)


@dataclass
class Clips:
    """The input of one forward pass, and values that are computed from it once.

    Attributes:
        features: (batch, frames, mels) normalised log-mel, float32.
        valid: (batch,) number of frames that contain sound; the rest is padding.
        grid: the grid of patches.
        has_class_token: whether the model's head reads prefix tokens (AST) or patches (AudioMAE).
        seed: of the plan.
        depth: number of blocks of the model.
    """

    features: Tensor
    valid: Tensor
    grid: PatchGrid
    has_class_token: bool
    seed: int = 0
    depth: int = 12
    _cache: dict[str, Tensor] = field(default_factory=dict)

    def once(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """The result of `compute`, which runs once per forward pass."""
        if name not in self._cache:
            self._cache[name] = compute()
        return self._cache[name]

    def patches(self) -> Tensor:
        """(batch, input patches, values of a patch) float32, padding at the clip's own minimum.

        The padding of the network's input is not used: zeros before normalising are louder than
        most sound and would be ranked first.
        """

        def cut() -> Tensor:
            return self.grid.cut(pad_with_minimum(self.features.float(), self.valid))

        return self.once("patches", cut)

    def mean_and_std(self) -> tuple[Tensor, Tensor]:
        """Two tensors (batch, input patches) float32: statistics of the valid frames of patches.

        Patches without a valid frame have the clip's minimum and 0.
        """

        def statistics() -> Tensor:
            padded = pad_with_minimum(self.features.float(), self.valid)
            return torch.stack(self.grid.mean_and_std(padded, self.valid))

        mean, std = self.once("mean and std", statistics).unbind()
        return mean, std

    def fingerprint(self) -> Tensor:
        """(batch,) int64 checksum of each clip's features."""

        def checksum() -> Tensor:
            bits = self.features.float().contiguous().view(torch.int32).flatten(1).long()
            odd = torch.arange(bits.shape[1], device=bits.device) * 2 + 1
            return (mixed(bits) * odd).sum(1)

        return self.once("fingerprint", checksum)


class Context:
    """Input of a score or a reduction; everything is computed on demand.

    Attributes:
        block: index of the block from 0, or "input" before the first one.
        tokens: the tokens that are ranked, after attention and its residual.
        clips: the input of this forward pass.
        place: "before" the block's attention, "between" attention and MLP, or "after" the MLP.
        losses: append a scalar to add it to the training loss.
        scores: (batch, patches) scores of the stage in this block; None if it did not rank.
        counts: (batch,) number of patches that a stage keeps of each clip, where clips have
            absent tokens; None: the same number of all clips.
        requested: the same before it is limited to the patches that arrive.
    """

    def __init__(
        self,
        clips: Clips,
        tokens: Tokens,
        block: int | str,
        attention: Attention | None = None,
        place: str = "between",
        block_input: Tensor | None = None,
    ) -> None:
        self.clips = clips
        self.tokens = tokens
        self.block = block
        self.place = place
        self.losses: list[Tensor] = []
        self.scores: Tensor | None = None
        self.counts: Tensor | None = None
        self.requested: Tensor | None = None
        self._attention = attention
        self._block_input = block_input
        self._before_mlp: Tensor | None = None

    def after_mlp(self, before: Tokens, after: Tokens) -> Context:
        """The context of a stage after the MLP, given the tokens before and after it."""
        # The block's input, queries and keys belong to the tokens that arrived at it. After a
        # reduction between attention and MLP, tokens and rows no longer correspond.
        same = before.count == self.tokens.count and before.members is self.tokens.members
        attention, block_input = (self._attention, self._block_input) if same else (None, None)
        context = Context(self.clips, after, self.block, attention, "after", block_input)
        context._before_mlp = before.x
        return context

    @property
    def has_attention(self) -> bool:
        """Whether the attention of this block belongs to the tokens that are ranked."""
        return self._attention is not None

    @property
    def attention(self) -> Attention:
        """Queries, keys and values of this block.

        Raises:
            SpectrimError: at the input, before any block; after a reduction in the same block.
        """
        self._check_rows()
        assert self._attention is not None
        return self._attention

    def _check_rows(self) -> None:
        """Refuse where the rows of this block's attention do not belong to the ranked tokens."""
        if self._attention is None and self.block != "input":
            raise SpectrimError(
                f"the attention of block {self.block} belongs to other tokens than the stage "
                f"{self.place!r} ranks. Put the stage between attention and MLP."
            )
        if self._attention is None:
            raise SpectrimError(NO_ATTENTION)

    @property
    def q(self) -> Tensor:
        """(batch, heads, tokens, width / heads) queries, prefix tokens first."""
        return self.attention.q

    @property
    def k(self) -> Tensor:
        """(batch, heads, tokens, width / heads) keys."""
        return self.attention.k

    @property
    def v(self) -> Tensor:
        """(batch, heads, tokens, width / heads) values."""
        return self.attention.v

    @property
    def valid(self) -> Tensor:
        """(batch,) number of frames that contain sound."""
        return self.clips.valid

    def carry(self, values: Tensor) -> Tensor:
        """(batch, input patches) values to (batch, patches) values of the current tokens."""
        return values.gather(1, self.tokens.origin)

    def patches(self) -> Tensor:
        """(batch, patches, values of a patch) log-mel of the patches that are ranked, float32."""
        patches = self.clips.patches()
        rows = self.tokens.origin[..., None].expand(-1, -1, patches.shape[2])
        return patches.gather(1, rows)

    def holds_sound(self) -> Tensor:
        """(batch, patches) bool: the patch holds at least one valid frame."""
        return self.carry(self.clips.grid.hold_sound(self.valid))

    def class_row(self) -> Tensor:
        """(batch, patches) attention of the class token, mean over heads (eq. 2b), float32.

        Raises:
            SpectrimError: the model has no prefix token.
        """
        self._check_class_token()
        return class_row(self.attention, self.tokens)

    def column_mean(self) -> Tensor:
        """(batch, patches) attention received from patches, mean over heads and queries.

        Eq. 2a, float32. Cheap if the score declares `needs_attention_map = True`: the block then
        computes the softmax explicitly and uses it for its own output too.
        """
        if self.attention.column_mean is None:
            return explicit_attention(self.attention, self.tokens)[1]
        return self.attention.column_mean

    def attention_received(self) -> Tensor:
        """(batch, patches) the paper's attention score: eq. 2b for AST, 2a for AudioMAE."""
        return self.class_row() if self.clips.has_class_token else self.column_mean()

    def class_rows(self) -> Tensor:
        """(batch, heads, patches) attention of the class token in each head, at least float32.

        Raises:
            SpectrimError: the model has no prefix token.
        """
        self._check_class_token()
        return class_rows(self.attention, self.tokens)

    def _check_class_token(self) -> None:
        if self.tokens.num_prefix_tokens == 0:
            raise SpectrimError(
                "the score reads the attention of a class token, but the model has none. Use "
                "context.attention_received(), or the score 'attention'."
            )

    def attention_map(self) -> Tensor:
        """(batch, heads, tokens, tokens) softmaxed attention, queries first, at least float32.

        Computed on demand, in addition to the block's fused attention. Absent keys have weight 0;
        queries of absent tokens stand for no patch.
        """
        return attention_map(self.attention)

    def block_input(self) -> Tensor:
        """(batch, tokens, width): what entered the block, before its attention and first norm.

        Raises:
            SpectrimError: at the input, before any block; after a reduction in the same block.
        """
        if self.place == "before":
            return self.tokens.x
        self._check_rows()
        assert self._block_input is not None
        return self._block_input

    def mlp_update(self) -> Tensor:
        """(batch, patches, width): what the MLP added to each patch.

        Raises:
            SpectrimError: the stage does not stand after the MLP.
        """
        if self._before_mlp is None:
            raise SpectrimError("the output of the MLP is known to stages with place='after' only.")
        return (self.tokens.x - self._before_mlp)[:, self.tokens.num_prefix_tokens :]

    def uniform(self) -> Tensor:
        """(batch, patches) random numbers from [0, 1), the same for a clip in any batch, float32.

        A counter-based generator (splitmix64's mixing) over the plan's seed, the clip's
        features, the block and the patch. Integer arithmetic gives the same numbers on every
        device and works in compiled models.
        """
        return unit(mixed(self._keys()[:, None] + self.tokens.origin * GOLDEN))

    def generators(self) -> list[torch.Generator]:
        """One seeded CPU generator per clip, for distributions other than `uniform`."""
        return [torch.Generator().manual_seed(key & (2**63 - 1)) for key in self._keys().tolist()]

    def _keys(self) -> Tensor:
        block = -1 if isinstance(self.block, str) else self.block
        return mixed(self.clips.fingerprint() + signed(self.clips.seed * 0x10001 + block))
