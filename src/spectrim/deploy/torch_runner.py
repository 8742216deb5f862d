"""`TorchRunner`: a PyTorch model as a runner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..models.build import macs, shape_of
from ..models.clip_counts import ClipCounts
from ..models.provenance import context_of, plan_record, weights_digest
from ..models.transformer import SpectrogramTransformer
from ..pruning.cost import macs_of_counts
from ..pruning.tokens import Tokens
from .runner import Prediction, Runner

PATCHES_AT_ONCE = 1024
"""Patches that a CPU computes at a time, as a mean over blocks. With more, the activations of the
MLP leave the cache, and every layer requests their memory from the system again.
`benchmarks/pieces.py` measures the gain."""


class TorchRunner(Runner):
    """Runs a model with its own plan, device and dtype; on a CPU, `probabilities` splits batches.

    In a sweep the variants of one model share its features and the blocks before their first
    stages, and the model alone is timed.

    Args:
        patches_at_once: see `PATCHES_AT_ONCE`; the size of the pieces of a batch on a CPU.
    """

    timed = "features to logits"

    def __init__(
        self, model: SpectrogramTransformer, patches_at_once: int = PATCHES_AT_ONCE
    ) -> None:
        self.model = model
        self.patches_at_once = patches_at_once
        self.labels = model.labels
        self.window = model.config.window_samples
        self.sample_rate = model.config.sample_rate
        self.metric = model.config.metric
        self.plan = plan_record(model.plan)
        self.macs = macs(model)
        self.device = model.device
        self.grid, self.audio = model.config.grid, model.config.audio
        self.is_compiled = model.compiled is not None
        self.is_adaptive = model.plan.is_adaptive

    @property
    def clips_at_once(self) -> int | None:
        """Clips in one piece of a batch; None: a batch is not split."""
        if self.model.device.type != "cpu":
            return None
        config = self.model.config
        counts = self.model.plan.counts(config.grid.count, config.depth, config.num_prefix_tokens)
        mean = sum(transformed for _, transformed in counts) / len(counts)
        return max(1, round(self.patches_at_once / mean))

    @torch.inference_mode()
    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Waveforms (samples,) float32, mono at `sample_rate`, to (batch, classes) float32."""
        logits = self._in_pieces(self.model, waveforms)
        return self.model.probabilities(logits).cpu().numpy()

    @property
    def embedding_width(self) -> int:
        """The width of the model."""
        return self.model.config.width

    @torch.inference_mode()
    def embeddings(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Waveforms as for `probabilities`, to (batch, width) float32."""
        return self._in_pieces(self.model.embed, waveforms).float().cpu().numpy()

    def _in_pieces(
        self, compute: Callable[..., torch.Tensor], waveforms: Sequence[np.ndarray]
    ) -> torch.Tensor:
        """Outputs of a batch that is computed in pieces, which fit the cache of a CPU.

        Args:
            compute: features and valid frames to (clips, any).
        """
        count = max(1, len(waveforms))
        size = self.clips_at_once or count
        order = list(range(len(waveforms)))
        if self.model.plan.drop_padding:
            # Clips of similar length together: the tokens of a piece are those of its longest clip.
            order.sort(key=lambda row: len(waveforms[row]))
        outputs = []
        for start in range(0, count, size):
            piece = [waveforms[row] for row in order[start : start + size]]
            outputs.append(compute(*self.model.features_from_waveforms(piece)))
        rows = torch.cat(outputs)
        # Clip i is computed as number argsort(order)[i].
        return rows[np.argsort(order)] if self.model.plan.drop_padding else rows

    def fingerprint(self) -> str:
        """A digest of config and weights."""
        return weights_digest(self.model)

    @torch.inference_mode()
    def compile_for(self, waveforms: Sequence[np.ndarray]) -> float:
        """Compile for the size of a batch as `probabilities` splits it; see `Runner`."""
        piece = list(waveforms[: self.clips_at_once or len(waveforms)])
        return self.compile_timed(self.shared_inputs(piece))

    def compile_timed(self, inputs: SharedBlocks) -> float:
        """See `Runner`."""
        if self.model.compiled is None:
            return 0.0
        return self.model.compiled.prepare(inputs.features, inputs.valid)

    def context(self, name: str, batch_size: int) -> dict[str, Any]:
        """How a result was computed."""
        return context_of(self.model, name, batch_size) | {"backend": "torch"}

    @torch.inference_mode()
    def shared_inputs(self, waveforms: Sequence[np.ndarray]) -> SharedBlocks:
        """Features and valid frames."""
        return SharedBlocks(*self.model.features_from_waveforms(list(waveforms)))

    @torch.inference_mode()
    def predict(self, inputs: SharedBlocks) -> Prediction:
        """Features and valid frames to logits, kept patches and the cost of each clip.

        A compiled model runs uncompiled here, because a sweep would otherwise compile all of its
        models before it reports a result. `timed_predict` runs the compiled one.
        """
        model = self.model
        counts = ClipCounts(model.grid.count, model.config.depth)
        tokens = model.encode(
            inputs.features,
            inputs.valid,
            start=inputs.before_first_stage(model),
            watch=counts.watch if self.is_adaptive else None,
        )
        logits = model.head(model.pool(tokens)).float()
        kept = tokens.holders(model.grid.count) >= 0
        macs = self._macs_of_clips(counts.counts()) if self.is_adaptive else None
        return Prediction(logits.cpu().numpy(), kept.cpu().numpy(), macs)

    def _macs_of_clips(self, counts: torch.Tensor) -> np.ndarray:
        """(blocks, 2, batch) patches to (batch,) multiply-accumulates."""
        pairs = [(attended, transformed) for attended, transformed in counts.cpu().numpy()]
        return macs_of_counts(shape_of(self.model.config), pairs)

    @torch.inference_mode()
    def timed_predict(self, inputs: SharedBlocks) -> object:
        """The model alone, with all its blocks; its logits stay on the device."""
        return self.model(inputs.features, inputs.valid)

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """(clips, classes) logits to probabilities."""
        return self.model.probabilities(torch.from_numpy(outputs)).numpy()


@dataclass
class SharedBlocks:
    """Inputs of a batch, and its tokens after the blocks that several plans share.

    Attributes:
        features, valid: as `SpectrogramTransformer.features` returns them.
        tokens: after a number of unpruned blocks, by the weights and that number.
    """

    features: torch.Tensor
    valid: torch.Tensor
    tokens: dict[tuple[int, int], Tokens] = field(default_factory=dict)

    def before_first_stage(self, model: SpectrogramTransformer) -> tuple[int, Tokens] | None:
        """The blocks before a model's first stage, and the tokens that come out of them.

        Models that share weights compute them once. None if no block stands before the stage, or
        if there is no stage.
        """
        blocks = model.plan.blocks_before(model.config.depth)
        if blocks == 0 or not model.plan.stages:
            return None
        weights = id(model.prefix_tokens)  # `with_plan` shares the parameters themselves
        if (weights, blocks) not in self.tokens:
            unpruned = model.encode(self.features, self.valid, stop=blocks)
            self.tokens[weights, blocks] = unpruned
        return blocks, self.tokens[weights, blocks]
