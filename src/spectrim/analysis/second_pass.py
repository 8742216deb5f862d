"""The second pass: a model runs, unpruned and pruned, and its patches and attention are counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..common.errors import not_finite
from ..models.transformer import SpectrogramTransformer
from ..pruning.context import Context
from ..pruning.plan import Plan
from ..pruning.stage import Stage
from ..pruning.tokens import Tokens
from .clusters import Clusters
from .counts.attention import ReceivedAttention, TauCounts
from .counts.base import BatchStats
from .counts.histograms import JointHistogram
from .counts.retention import Retention
from .patches import View


class PrunedModel:
    """A pruned model and its counts.

    Attributes:
        score: the score that ranks; for a model's own plan, the score of its first stage.
        model: with its plan.
        blocks: where its stages stand, from 0, or "input".
        retention, joint, received: see their classes.
        tau: of the patches that reach each block; None unless it was asked for.
    """

    def __init__(
        self,
        score: str,
        model: SpectrogramTransformer,
        clusters: tuple[Clusters, ...],
        count_tau: bool = False,
    ) -> None:
        self.score, self.model = score, model
        self.view = View.of(model.config)
        self.blocks: list[int | str] = [stage.at for stage in model.plan.stages]
        self.retention = Retention(self.view, len(self.blocks))
        self.joint = JointHistogram(clusters, len(self.blocks))
        self.received = ReceivedAttention(len(self.blocks))
        self.tau = TauCounts(model.config.depth) if count_tau else None
        self._order = self.view.order_of(model)

    @property
    def patches_left(self) -> int:
        """Patches after the last stage."""
        return self.model.plan.counts(self.view.grid.count, self.model.config.depth)[-1][1]

    @property
    def drops(self) -> bool:
        """Whether the plan drops any patch at all."""
        return self.patches_left < self.view.grid.count

    def add(self, features: Tensor, valid: Tensor, stats: BatchStats) -> None:
        """Run the model on a batch and count."""
        self._count(0, stats, np.ones_like(stats.patches.sound))

        def watch(before: Tokens, context: Context, stage: Stage | None, after: Tokens) -> None:
            if stage is None and self.tau is None:
                return
            arrived = self._order[before.origin.cpu().numpy()]
            received = None
            if context.block != "input":  # the input has no attention
                received = _received(context)
                if self.tau is not None:
                    self.tau.add(int(context.block), stats, arrived, received)
            if stage is None:
                return
            number = self.blocks.index(stage.at)
            kept = np.zeros_like(stats.patches.sound)
            np.put_along_axis(kept, self._order[after.origin.cpu().numpy()], True, 1)
            self._count(number + 1, stats, kept)
            if received is not None and after.count < before.count:
                kept_of_arrived = np.take_along_axis(kept, arrived, 1)
                self.received.add(number, stats, received, kept_of_arrived)

        self.model.encode(features, valid, watch=watch)

    def _count(self, stage: int, stats: BatchStats, kept: np.ndarray) -> None:
        self.retention.add(stage, stats, kept)
        self.joint.add(stage, stats, kept)


class AnalyzedModel:
    """A model, unpruned for Figure 4, and pruned by each score.

    Attributes:
        name: of the model.
        unpruned: the model without pruning; tau: its counts.
        pruned: one model a score.
    """

    def __init__(
        self, name: str, model: SpectrogramTransformer, pruned: Sequence[PrunedModel]
    ) -> None:
        self.name = name
        self.view = View.of(model.config)
        self.unpruned = model.with_plan(Plan()).eval()
        self.pruned = list(pruned)
        self.tau = TauCounts(model.config.depth)
        self._order = self.view.order_of(model)

    def add(self, features: Tensor, valid: Tensor, stats: BatchStats) -> None:
        """Run the model, unpruned and pruned, on a batch and count."""

        def watch(before: Tokens, context: Context, stage: Stage | None, after: Tokens) -> None:
            if context.block != "input":
                arrived = self._order[before.origin.cpu().numpy()]
                self.tau.add(int(context.block), stats, arrived, _received(context))

        self.unpruned.encode(features, valid, watch=watch)
        for pruned in self.pruned:
            pruned.add(features, valid, stats)


def _received(context: Context) -> np.ndarray:
    """(clips, arriving) attention that the patches receive in the block."""
    values: np.ndarray = context.attention_received().float().cpu().numpy()
    if np.isnan(values).any():  # minus infinity is allowed: it marks patches that must not be kept
        raise not_finite("attention")
    return values
