"""A model on a data set: what the second pass counts while it runs."""

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
from .counts.batch import Look
from .counts.histograms import Joint
from .counts.received import Received
from .counts.retention import Retention
from .counts.tau import TauCounts
from .patches import View


class Run:
    """A pruned model, and what is counted of it.

    Attributes:
        score: what ranks; for a model's own plan, that of its first stage.
        model: with its plan.
        places: where its stages stand.
        retention, joint, received: see their classes.
        tau: with ranks that follow the tokens; None where it was not asked for.
    """

    def __init__(
        self,
        score: str,
        model: SpectrogramTransformer,
        clusters: tuple[Clusters, ...],
        tau: bool = False,
    ) -> None:
        self.score, self.model = score, model
        self.view = View.of(model.config)
        self.places: list[int | str] = [stage.at for stage in model.plan.stages]
        self.retention = Retention(self.view, len(self.places))
        self.joint = Joint(clusters, len(self.places))
        self.received = Received(len(self.places))
        self.tau = TauCounts(model.config.depth) if tau else None
        self._order = self.view.places(model)

    def add(self, features: Tensor, valid: Tensor, look: Look) -> None:
        """Run the model on a batch and count."""
        self._count(0, look, look.everything)

        def watch(before: Tokens, context: Context, stage: Stage | None, after: Tokens) -> None:
            received = None
            if context.block != "input" and (self.tau or stage):
                received = _numbers(context.attention_received())
            if self.tau and received is not None:
                here = self._order[before.origin.cpu().numpy()]
                self.tau.add(int(context.block), look, here, received)
            if stage is None:
                return
            number = self.places.index(stage.at)
            stays = np.zeros_like(look.patches.sound)
            np.put_along_axis(stays, self._order[after.origin.cpu().numpy()], True, 1)
            self._count(number + 1, look, stays)
            if received is not None and after.count < before.count:
                here = self._order[before.origin.cpu().numpy()]
                kept = np.take_along_axis(stays, here, 1)
                self.received.add(number, look, received, kept)

        self.model.encode(features, valid, watch=watch)

    def _count(self, place: int, look: Look, stays: np.ndarray) -> None:
        self.retention.add(place, look, stays)
        self.joint.add(place, look, stays)


class Subject:
    """A model, unpruned for Figure 4, and pruned by each score.

    Attributes:
        name: of the model.
        plain: the model without pruning; tau: what was counted of it.
        runs: the pruned ones.
    """

    def __init__(
        self,
        name: str,
        model: SpectrogramTransformer,
        runs: Sequence[Run],
    ) -> None:
        self.name = name
        self.view = View.of(model.config)
        self.plain = model.with_plan(Plan()).eval()
        self.runs = list(runs)
        self.tau = TauCounts(model.config.depth)
        self._order = self.view.places(model)

    def add(self, features: Tensor, valid: Tensor, look: Look) -> None:
        """Run the model and its pruned selves on a batch and count."""

        def watch(before: Tokens, context: Context, stage: Stage | None, after: Tokens) -> None:
            if context.block != "input":
                here = self._order[before.origin.cpu().numpy()]
                received = _numbers(context.attention_received())
                self.tau.add(int(context.block), look, here, received)

        self.plain.encode(features, valid, watch=watch)
        for run in self.runs:
            run.add(features, valid, look)


def _numbers(scores: Tensor) -> np.ndarray:
    values: np.ndarray = scores.float().cpu().numpy()
    if np.isnan(values).any():  # what is scored out is minus infinity
        raise not_finite("attention")
    return values
