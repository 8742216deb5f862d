"""The second pass: a model runs, unpruned and pruned, and its patches and attention are counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..common.errors import not_finite
from ..models.transformer import SpectrogramTransformer
from ..pruning.components import part_name
from ..pruning.context import Context
from ..pruning.defaults import DEFAULT_REDUCTION, RECOMMENDED
from ..pruning.plan import Plan
from ..pruning.stage import Stage
from ..pruning.tokens import Tokens
from .clusters import Clusters
from .counts.attention_counts import ReceivedAttention, TauCounts
from .counts.base import BatchStats
from .counts.histograms import JointHistogram
from .counts.retention import Retention
from .patch_statistics import View


class PrunedModel:
    """A pruned model and its counts.

    Attributes:
        score: the score that ranks, "none" for a reduction that ranks by itself; for a model's
            own plan, the score of its first stage; "recommended" for its recommended plan.
        reduction: of the first stage.
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
        stages = model.plan.stages
        self.reduction = part_name(stages[0].reduction) if stages else DEFAULT_REDUCTION
        self._num_tokens = self._num_clips = 0
        self.view = View.of(model.config)
        self.blocks: list[int | str] = [stage.at for stage in stages]
        self.retention = Retention(self.view, len(self.blocks))
        self.joint = JointHistogram(clusters, len(self.blocks))
        self.received = ReceivedAttention(len(self.blocks))
        self.tau = TauCounts(model.config.depth) if count_tau else None
        self._order = self.view.order_of(model)

    @property
    def label(self) -> str:
        """In figures: "attention" for keep-top, "evit by attention", "tome"."""
        if self.reduction == DEFAULT_REDUCTION:
            return self.score
        if self.score == RECOMMENDED:
            return f"{self.reduction} ({RECOMMENDED})"
        return self.reduction if self.score == "none" else f"{self.reduction} by {self.score}"

    @property
    def patches_left(self) -> float:
        """Patch tokens after the last block: the mean over clips if they keep different numbers."""
        return round(self._num_tokens / max(1, self._num_clips), 1)

    @property
    def drops(self) -> bool:
        """Whether any patch was dropped; a patch that was merged into a token was not."""
        sums = self.retention.by("mean").sum((0, 2, 3))
        return bool((sums[1:] < sums[0]).any())

    def add(self, features: Tensor, valid: Tensor, stats: BatchStats) -> None:
        """Run the model on a batch and count."""
        self._count(0, stats, np.ones_like(stats.patches.sound))

        def watch(before: Tokens, context: Context, stage: Stage | None, after: Tokens) -> None:
            if stage is None and self.tau is None:
                return
            arrived = self._order[before.origin.cpu().numpy()]
            present = np.ones_like(arrived, bool)
            if before.present is not None:
                present = before.present.cpu().numpy()
            received = None
            if context.has_attention:  # not at the input
                received = _received(context)
                if self.tau is not None and context.place == "between":
                    self.tau.add(int(context.block), stats, arrived, received, present)
            if stage is None:
                return
            number = self.model.plan.stages.index(stage)
            kept = self._held(after)
            self._count(number + 1, stats, kept)
            kept_of_arrived = np.take_along_axis(kept, arrived, 1)
            if received is not None and (present & ~kept_of_arrived).any():
                self.received.add(number, stats, received, kept_of_arrived, present)

        tokens = self.model.encode(features, valid, watch=watch)
        counts = tokens.present.sum() if tokens.present is not None else tokens.origin.numel()
        self._num_tokens += int(counts)
        self._num_clips += len(features)

    def _held(self, tokens: Tokens) -> np.ndarray:
        """(clips, patches) bool in the order of the view: a token holds the patch."""
        is_held = tokens.holders(self.view.grid.count).cpu().numpy() >= 0
        in_view = np.empty_like(is_held)
        in_view[:, self._order] = is_held
        return in_view

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
            if context.place == "between" and context.block != "input":
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
