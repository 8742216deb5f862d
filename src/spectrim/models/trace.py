"""Scores and kept patches of a forward pass."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..pruning.context import Context
from ..pruning.patches import PatchGrid
from ..pruning.plan import Plan
from ..pruning.scores import Score
from ..pruning.stage import Stage
from ..pruning.tokens import Tokens


@dataclass
class Trace:
    """Recorded by `model.trace`.

    Attributes:
        logits: (batch, classes).
        scores: scores[i] (batch, patches that reach block i), for every block from 0; minus
            infinity for padding ranked by intensity or variation, and for absent tokens. A
            reduction that ranks by itself has no scores; attention is recorded then.
        positions: positions[i] (batch, patches that reach block i, 2), in the order of
            scores[i]: integer (time column, frequency row).
        kept: kept[i] (batch, kept, 2), for every block that prunes (and kept["input"] for a
            stage at the input), after its last stage: the patch that each token comes from, in
            the order of the tokens; for "keep-top" highest score first.
        present: present[i] (batch, kept) bool if clips keep different numbers, else None.
        members: members[i] (batch, input patches): position of the kept token that holds each
            patch, -1 if the patch was dropped.
        losses: terms that scores and reductions added to the training loss.
    """

    grid: PatchGrid
    plan: Plan
    score: Score
    place: str
    always: bool
    logits: Tensor = field(init=False)
    scores: list[Tensor] = field(default_factory=list)
    positions: list[Tensor] = field(default_factory=list)
    kept: dict[int | str, Tensor] = field(default_factory=dict)
    present: dict[int | str, Tensor | None] = field(default_factory=dict)
    members: dict[int | str, Tensor] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)

    def watch(self, before: Tokens, context: Context, stage: Stage | None, after: Tokens) -> None:
        """Record the tokens before and after a (possible) stage."""
        self.losses.extend(context.losses)  # before scores that only the trace asks for
        rank = None if stage is None or self.always else stage.rank
        # A stage before the block ranks in its place, if it ranks at all.
        is_early = context.place == "before" and rank is not None and self.place == "between"
        is_first = context.block == len(self.scores)  # False at "input" too
        if is_first and (context.place == self.place or is_early):
            ranks = rank is not None and context.scores is not None
            scores = context.scores if ranks else (rank or self.score)(context)
            assert scores is not None
            if before.present is not None:
                scores = torch.where(before.present, scores, -math.inf)
            self.scores.append(scores)
            self.positions.append(self.grid.locate(before.origin))
        if stage is not None:
            self.kept[context.block] = self.grid.locate(after.origin)
            self.present[context.block] = after.present
            self.members[context.block] = after.holders(self.grid.count)

    def finish(self, logits: Tensor) -> Trace:
        """Add the logits."""
        self.logits = logits
        return self


def new_trace(plan: Plan, grid: PatchGrid, score: str | Score | None) -> Trace:
    """An empty trace for a plan; `score` as in `SpectrogramTransformer.trace`."""
    if score is None:
        for stage in plan.stages:
            if stage.at != "input" and stage.rank is not None:
                place = "after" if stage.place == "after" else "between"
                return Trace(grid, plan, stage.rank, place, always=False)
    stage = Stage(0, keep_rate=1.0, score="attention" if score is None else score)
    assert stage.rank is not None
    return Trace(grid, plan, stage.rank, stage.place or "between", always=score is not None)
