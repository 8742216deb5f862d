"""What a ranking may ask: of the block that it ranks in, and of the clip itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..audio.filterbank import pad_with_minimum
from ..common.errors import SpectrimError
from .patches import PatchGrid
from .tokens import Tokens

MAP_ELEMENTS = 1_500_000  # of the attention maps that are computed at a time, 6 MB

NO_ATTENTION = (
    "there is no attention before the first block; rank a stage at 'input' by 'intensity', "
    "'variation' or 'random', or move the stage to a block."
)


@dataclass
class Clips:
    """The input of one forward pass, and what was computed from it once.

    Attributes:
        features: (batch, frames, mels) normalised log-mel, float32.
        valid: (batch,) frames that are sound.
        grid: where the patches lie.
        has_class_token: whether the model's head reads prefix tokens (AST) or patches (AudioMAE).
        seed: the plan's.
    """

    features: Tensor
    valid: Tensor
    grid: PatchGrid
    has_class_token: bool
    seed: int = 0
    _cache: dict[str, Tensor] = field(default_factory=dict)

    def once(self, name: str, compute: Callable[[], Tensor]) -> Tensor:
        """What `compute` gives, computed at the first stage of a forward pass that asks."""
        if name not in self._cache:
            self._cache[name] = compute()
        return self._cache[name]

    def patches(self) -> Tensor:
        """(batch, input patches, 256) float32, padding at the clip's own minimum.

        Whatever the network is fed: padding with zero before normalising lies above most
        sound, and would be ranked first.
        """

        def cut() -> Tensor:
            return self.grid.cut(pad_with_minimum(self.features.float(), self.valid))

        return self.once("patches", cut)

    def fingerprint(self) -> Tensor:
        """(batch,) int64 checksum of each clip's features."""

        def checksum() -> Tensor:
            bits = self.features.float().contiguous().view(torch.int32).flatten(1).long()
            odd = torch.arange(bits.shape[1], device=bits.device) * 2 + 1
            return (_mixed(bits) * odd).sum(1)

        return self.once("fingerprint", checksum)


@dataclass
class Attention:
    """Queries, keys and values of a block, (batch, heads, tokens, width / heads) each.

    `column_mean`: (batch, patches) where the block computed the softmax explicitly because a
    ranking wants it; None where attention ran fused.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    bias: Tensor | None
    column_mean: Tensor | None = None


class Context:
    """What a score or a reduction may ask; everything is computed when asked for.

    Attributes:
        block: index of the block from 0, or "input" before the first one.
        tokens: the tokens that reach the ranking, attention and its residual done.
        clips: the input of this forward pass.
        losses: append a scalar to add it to the training loss.
        scores: (batch, patches) what the stage here ranked by; None where it did not rank.
    """

    def __init__(
        self,
        clips: Clips,
        tokens: Tokens,
        block: int | str,
        attention: Attention | None = None,
    ) -> None:
        self.clips = clips
        self.tokens = tokens
        self.block = block
        self.losses: list[Tensor] = []
        self.scores: Tensor | None = None
        self._attention = attention

    @property
    def attention(self) -> Attention:
        """Queries, keys and values of this block.

        Raises:
            SpectrimError: at the input, before any block.
        """
        if self._attention is None:
            raise SpectrimError(NO_ATTENTION)
        return self._attention

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
        """(batch,) number of frames that are sound."""
        return self.clips.valid

    def carry(self, values: Tensor) -> Tensor:
        """(batch, input patches) values of the input to (batch, patches) of the tokens here."""
        return values.gather(1, self.tokens.origin)

    def patches(self) -> Tensor:
        """(batch, patches, 256) log-mel of the patches that reach this ranking, float32."""
        patches = self.clips.patches()
        rows = self.tokens.origin[..., None].expand(-1, -1, patches.shape[2])
        return patches.gather(1, rows)

    def holds_sound(self) -> Tensor:
        """(batch, patches) bool: the patch holds at least one valid frame."""
        return self.carry(self.clips.grid.hold_sound(self.valid))

    def class_row(self) -> Tensor:
        """(batch, patches) attention of the class token, mean over heads (eq. 2b), float32."""
        a = self.attention
        if not a.q.is_meta and torch.is_autocast_enabled(a.q.device.type):
            with torch.autocast(a.q.device.type, enabled=False):
                return self.class_row()
        logits = (a.k.float() @ a.q[:, :, 0, :, None].float())[..., 0] * a.q.shape[-1] ** -0.5
        row = (logits if a.bias is None else logits + a.bias[:, :, 0].float()).softmax(-1)
        return row.mean(1)[:, self.tokens.num_prefix_tokens :]

    def column_mean(self) -> Tensor:
        """(batch, patches) attention received from patches, mean over heads and queries.

        Eq. 2a, float32. Cheap where the score declares `attention_map = True`: the block then
        computes the softmax explicitly and uses it for its own output too.
        """
        a = self.attention
        if a.column_mean is None:
            return explicit_attention(a, self.tokens)[1]
        return a.column_mean

    def attention_received(self) -> Tensor:
        """(batch, patches) the paper's attention score: eq. 2b for AST, 2a for AudioMAE."""
        return self.class_row() if self.clips.has_class_token else self.column_mean()

    def uniform(self) -> Tensor:
        """(batch, patches) draws from [0, 1), the same for a clip in any batch, float32.

        A counter-based generator (splitmix64's mixing) over the plan's seed, the clip's
        features, the block and the patch; plain integer arithmetic, so that every device
        draws the same numbers and a compiled model can hold it.
        """
        bits = _mixed(self._keys()[:, None] + self.tokens.origin * _GOLDEN)
        return ((bits >> 40) & 0xFFFFFF).float() / 2**24

    def generators(self) -> list[torch.Generator]:
        """One seeded generator a clip, for what `uniform` does not give; on the CPU."""
        return [torch.Generator().manual_seed(key & (2**63 - 1)) for key in self._keys().tolist()]

    def _keys(self) -> Tensor:
        block = -1 if isinstance(self.block, str) else self.block
        return _mixed(self.clips.fingerprint() + _signed(self.clips.seed * 0x10001 + block))


def explicit_attention(a: Attention, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """Attention through its softmaxed map, and what patches receive in it.

    A few heads at a time, whose maps fit the processor's cache: at 1212 patches this takes
    half the time of all maps at once (`benchmarks/explicit.py`).

    Returns:
        mixed: (batch, heads, tokens, width / heads), what fused attention gives.
        received: (batch, patches) column mean over heads and patch queries (eq. 2a), float32.
    """
    if torch.compiler.is_compiling():
        return _explicit_at_once(a, tokens)
    batch, heads, count, _ = a.q.shape
    at_once = max(1, MAP_ELEMENTS // count**2)
    scaled = a.q * a.q.shape[-1] ** -0.5
    parts = [part.flatten(0, 1).split(at_once) for part in (scaled, a.k, a.v)]
    biases: Sequence[Tensor | None] = [None] * len(parts[0])
    if a.bias is not None:
        biases = a.bias.expand(-1, heads, -1, -1).flatten(0, 1).split(at_once)
    present: Sequence[Tensor | None] = [None] * len(parts[0])
    if tokens.present is not None:
        rows = tokens.present[:, None].expand(-1, heads, -1).flatten(0, 1)
        present = rows[..., None].split(at_once)
    mixed, received = [], []
    for q, k, v, bias, queries in zip(*parts, biases, present, strict=True):
        logits = q @ k.transpose(1, 2)
        weights = (logits if bias is None else logits + bias).softmax(-1)
        mixed.append(weights @ v)
        patches = weights[:, tokens.num_prefix_tokens :, tokens.num_prefix_tokens :]
        patches = patches if queries is None else patches * queries
        received.append(patches.sum(1, dtype=torch.float32))
    total = torch.cat(received).unflatten(0, (batch, heads)).mean(1)
    queries_of = tokens.count if tokens.present is None else tokens.present.sum(1, keepdim=True)
    return torch.cat(mixed).unflatten(0, (batch, heads)), total / queries_of


def _explicit_at_once(a: Attention, tokens: Tokens) -> tuple[Tensor, Tensor]:
    """The same for compilers and exporters: they do their own tiling, of any batch."""
    logits = (a.q * a.q.shape[-1] ** -0.5) @ a.k.transpose(-2, -1)
    weights = (logits if a.bias is None else logits + a.bias).softmax(-1)
    patches = weights[:, :, tokens.num_prefix_tokens :, tokens.num_prefix_tokens :]
    queries_of: Tensor | int = tokens.count
    if tokens.present is not None:
        patches = patches * tokens.present[:, None, :, None]
        queries_of = tokens.present.sum(1, keepdim=True)
    return weights @ a.v, patches.sum(2, dtype=torch.float32).mean(1) / queries_of


def _signed(value: int) -> int:
    """The 64-bit two's complement of `value`."""
    return (value + 2**63) % 2**64 - 2**63


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_FIRST = _signed(0xBF58476D1CE4E5B9)
_SECOND = _signed(0x94D049BB133111EB)


def _mixed(x: Tensor) -> Tensor:
    """splitmix64's finaliser on int64, whose products wrap."""
    x = (x ^ ((x >> 30) & (2**34 - 1))) * _FIRST
    x = (x ^ ((x >> 27) & (2**37 - 1))) * _SECOND
    return x ^ ((x >> 31) & (2**33 - 1))
