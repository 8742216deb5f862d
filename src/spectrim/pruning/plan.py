"""A plan: the stages that drop patches, as immutable data."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from ..common.errors import SpectrimError, SpectrimNotice
from .defaults import DEFAULT_BLOCKS, DEFAULT_REDUCTION, DEFAULT_SCORE
from .reductions import Reduction
from .saved_plans import PLAN_VERSION, upgrade
from .scores import Score
from .stage import Stage, is_int, part_name


@dataclass(frozen=True)
class Plan:
    """Stages in the order of the blocks, and the seed of random scores."""

    stages: tuple[Stage, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        places = [-1 if s.at == "input" else int(s.at) for s in self.stages]
        if places != sorted(set(places)):
            raise SpectrimError(
                f"stages at {[s.at for s in self.stages]}; expected each block at most once, in "
                "order, 'input' first."
            )
        if not is_int(self.seed):
            raise SpectrimError(f"a seed of {self.seed!r}; expected an integer.")

    def at(self, place: int | str) -> Stage | None:
        """The stage at a block or at "input"."""
        return next((stage for stage in self.stages if stage.at == place), None)

    def counts(self, patches: int, depth: int) -> list[tuple[int, int]]:
        """Patches at the attention and at the MLP of each of `depth` blocks."""
        counts = []
        stage = self.at("input")
        left = stage.leaves(patches) if stage else patches
        for block in range(depth):
            stage = self.at(block)
            arriving, left = left, stage.leaves(left) if stage else left
            counts.append((arriving, left))
        return counts

    def with_keep_rate(self, keep_rate: float | Sequence[float]) -> Plan:
        """The same plan with another keep rate for all stages with a rate, or one per stage."""
        rated = [stage for stage in self.stages if stage.keep_rate is not None]
        rates = iter(_one_each(keep_rate, len(rated)))
        return replace(
            self,
            stages=tuple(
                stage if stage.keep_rate is None else stage.with_keep_rate(next(rates))
                for stage in self.stages
            ),
        )

    def modules(self) -> list[nn.Module]:
        """Scores and reductions that are modules, whose parameters a model must hold."""
        functions = [part for stage in self.stages for part in (stage.rank, stage.reduce)]
        functions = [
            part.func if isinstance(part, functools.partial) else part for part in functions
        ]
        return list(dict.fromkeys(part for part in functions if isinstance(part, nn.Module)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with a version number."""
        stages = [stage.to_dict() for stage in self.stages]
        return {"version": PLAN_VERSION, "seed": self.seed, "stages": stages}

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], trust_code: bool = False, *, own_code: bool | None = None
    ) -> Plan:
        """Read what `to_dict` wrote.

        Args:
            trust_code: whether "module:name" may be imported. Set it only for files you trust.
            own_code: deprecated name of `trust_code`.
        """
        if own_code is not None:
            text = "Plan.from_dict(own_code=...) is deprecated: write trust_code=... instead."
            warnings.warn(SpectrimNotice(text), stacklevel=2)
            trust_code = trust_code or own_code
        data = upgrade(data)
        for stage in data["stages"]:
            for key in ("score", "reduction"):
                if ":" in stage[key] and not trust_code:
                    raise SpectrimError(
                        f"the saved plan names code outside Spectrim, {key} {stage[key]!r}. Load "
                        "it with trust_code=True if you trust it."
                    )
        return cls(tuple(Stage(**stage) for stage in data["stages"]), data.get("seed", 0))

    def __str__(self) -> str:
        return (
            ", ".join(
                f"{part_name(s.score)} {s.keep_rate if s.count is None else s.count} at {s.at}"
                for s in self.stages
            )
            or "no pruning"
        )


def paper_plan(
    keep_rate: float | Sequence[float],
    score: str | Score = DEFAULT_SCORE,
    blocks: Sequence[int | str] = DEFAULT_BLOCKS,
    reduction: str | Reduction = DEFAULT_REDUCTION,
    seed: int = 0,
) -> Plan:
    """The paper's plan: the same score in a few blocks, one keep rate for all or one per block."""
    rates = _one_each(keep_rate, len(blocks))
    stages = (
        Stage(at=block, keep_rate=rate, score=score, reduction=reduction)
        for block, rate in zip(blocks, rates, strict=True)
    )
    return Plan(tuple(stages), seed)


def _one_each(keep_rate: float | Sequence[float], stages: int) -> list[float]:
    if isinstance(keep_rate, (str, bytes)) or not isinstance(keep_rate, Sequence):
        return [keep_rate] * stages  # type: ignore[list-item]
    if len(keep_rate) != stages:
        raise SpectrimError(
            f"{len(keep_rate)} keep rates for {stages} stages; pass one rate, or one per stage."
        )
    return list(keep_rate)
