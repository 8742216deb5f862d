"""A plan: the stages that drop patches, as immutable data."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from ..common.errors import SpectrimError, SpectrimNotice
from .components import declared, part_name, resolve
from .defaults import DEFAULT_REDUCTION, DEFAULT_SCORE
from .reductions import REDUCTIONS, Reduction
from .reductions.registry import papers_blocks
from .saved_plans import DROP_PADDING_VERSION, PLAN_VERSION, upgrade
from .scores import SCORES, Score
from .stage import PLACES, Stage, is_int


@dataclass(frozen=True)
class Plan:
    """Stages in the order of the blocks.

    Attributes:
        stages: at most one for each place of a block, "input" first.
        seed: of random scores.
        round_to: prefix tokens plus kept patches are rounded up to a multiple of this, as far as
            so many arrive. Matrix units of GPUs are fastest with multiples of 8.
        drop_padding: whether patches without a valid frame are removed from each clip before the
            first stage, also before one at "input". Keep rates then apply to the patches that are
            left. Such a plan can neither be exported nor compiled.
    """

    stages: tuple[Stage, ...] = ()
    seed: int = 0
    round_to: int = 1
    drop_padding: bool = False

    def __post_init__(self) -> None:
        if not is_int(self.seed):
            raise SpectrimError(f"a seed of {self.seed!r}; expected an integer.")
        if not is_int(self.round_to) or self.round_to < 1:
            raise SpectrimError(f"round_to is {self.round_to!r}; expected an integer from 1.")
        if not isinstance(self.drop_padding, bool):
            raise SpectrimError(f"drop_padding is {self.drop_padding!r}; expected True or False.")
        stages = (
            stage if stage.round_to == self.round_to else stage.with_round_to(self.round_to)
            for stage in self.stages
        )
        object.__setattr__(self, "stages", tuple(stages))
        order = [_order(stage) for stage in self.stages]
        if order != sorted(set(order)):
            raise SpectrimError(
                f"stages at {[s.at for s in self.stages]}; expected each block at most once, in "
                "order, 'input' first (or once for each place in a block)."
            )

    @property
    def is_built_in(self) -> bool:
        """Whether Spectrim itself has all scores and reductions; a user's own code may change."""
        return all(
            isinstance(stage.reduction, str)
            and stage.reduction in REDUCTIONS
            and (stage.score is None or (isinstance(stage.score, str) and stage.score in SCORES))
            for stage in self.stages
        )

    def at(self, block: int | str, place: str = "between") -> Stage | None:
        """The stage at a block, or at "input"."""
        return next(
            (s for s in self.stages if s.at == block and (block == "input" or s.place == place)),
            None,
        )

    def blocks_before(self, depth: int) -> int:
        """Number of blocks that run on all patches; `depth` if none is ever removed."""
        if self.drop_padding:
            return 0
        first = [0 if stage.at == "input" else int(stage.at) for stage in self.stages[:1]]
        return first[0] if first else depth

    def counts(self, patches: int, depth: int, num_prefix_tokens: int = 0) -> list[tuple[int, int]]:
        """Patches at the attention and at the MLP of each of `depth` blocks.

        An adaptive reduction counts with the most patches that it may leave, and `drop_padding`
        with a clip without padding.
        """
        counts = []

        def after(stage: Stage | None, arriving: int) -> int:
            return stage.leaves(arriving, num_prefix_tokens) if stage else arriving

        remaining = after(self.at("input"), patches)
        for block in range(depth):
            attended = after(self.at(block, "before"), remaining)
            transformed = after(self.at(block), attended)
            counts.append((attended, transformed))
            remaining = after(self.at(block, "after"), transformed)
        return counts

    @property
    def is_adaptive(self) -> bool:
        """Whether clips may keep different numbers of patches."""
        return self.drop_padding or any(stage.is_adaptive for stage in self.stages)

    def with_keep_rate(self, keep_rate: float | Sequence[float]) -> Plan:
        """The same plan with another keep rate for all stages with a rate, or one per stage."""
        rated = [stage for stage in self.stages if stage.keep_rate is not None]
        rates = iter(_rate_per_stage(keep_rate, len(rated)))
        return replace(
            self,
            stages=tuple(
                stage if stage.keep_rate is None else stage.with_keep_rate(next(rates))
                for stage in self.stages
            ),
        )

    def modules(self) -> list[nn.Module]:
        """Scores and reductions that are modules, whose parameters a model must hold."""
        functions: list[Any] = [
            part.func if isinstance(part, functools.partial) else part
            for stage in self.stages
            for part in (stage.rank, stage.reduce)
        ]
        return list(dict.fromkeys(part for part in functions if isinstance(part, nn.Module)))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with a version number."""
        stages = [stage.to_dict() for stage in self.stages]
        return {"version": PLAN_VERSION, "seed": self.seed, "stages": stages} | self.options()

    def options(self) -> dict[str, Any]:
        """What `to_dict` adds for values that are not the defaults."""
        data: dict[str, Any] = {} if self.round_to == 1 else {"round_to": self.round_to}
        if self.drop_padding:
            data |= {"version": DROP_PADDING_VERSION, "drop_padding": True}
        return data

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
                if ":" in (stage[key] or "") and not trust_code:
                    raise SpectrimError(
                        f"the saved plan names code outside Spectrim, {key} {stage[key]!r}. Load "
                        "it with trust_code=True if you trust it."
                    )
        stages = tuple(Stage(**stage) for stage in data["stages"])
        rounding, drops = data.get("round_to", 1), data.get("drop_padding", False)
        return cls(stages, data.get("seed", 0), rounding, drops)

    def __str__(self) -> str:
        # Stages that differ in their block only are named together.
        groups: dict[str, list[int | str]] = {}
        for stage in self.stages:
            groups.setdefault(_description(stage), []).append(stage.at)
        texts = ["padding dropped"] if self.drop_padding else []
        texts += [f"{text} at {_blocks_text(blocks)}" for text, blocks in groups.items()]
        text = "; ".join(texts)
        rounding = f", rounded to {self.round_to}" if self.round_to > 1 else ""
        return f"{text}{rounding}" if text else "no pruning"


def _order(stage: Stage) -> tuple[int, int]:
    place = PLACES.index(stage.place or "between")
    return (-1, 0) if stage.at == "input" else (int(stage.at), place)


def _description(stage: Stage) -> str:
    """Such as "keep-top by attention 0.7" or "tome 0.9"."""
    ranking = "" if stage.score is None else f" by {part_name(stage.score)}"
    amount = stage.keep_rate if stage.count is None else f"{stage.count} patches"
    return f"{part_name(stage.reduction)}{ranking} {amount}"


def _blocks_text(blocks: Sequence[int | str]) -> str:
    """Block numbers; four or more in a row as a range: "0-11"."""
    numbers = [block for block in blocks if isinstance(block, int)]
    is_range = numbers == list(range(numbers[0], numbers[0] + len(blocks))) if numbers else False
    if is_range and len(blocks) > 3:
        return f"{blocks[0]}-{blocks[-1]}"
    return ", ".join(map(str, blocks))


def paper_plan(
    keep_rate: float | Sequence[float],
    score: str | Score | None = None,
    blocks: Sequence[int | str] | str | None = None,
    reduction: str | Reduction = DEFAULT_REDUCTION,
    seed: int = 0,
    *,
    depth: int = 12,
    round_to: int = 1,
    drop_padding: bool = False,
    score_options: Mapping[str, Any] | None = None,
    reduction_options: Mapping[str, Any] | None = None,
) -> Plan:
    """The same score and reduction in some blocks, by default as in the paper.

    Args:
        keep_rate: one for all blocks, or one per block.
        score: None: the reduction's default score, else "attention".
        blocks: indices from 0, or "input" first; "every": all; None: the reduction's default.
        depth: number of blocks of the model.
    """
    reduction_options = reduction_options or {}
    reduce = resolve("reduction", reduction, REDUCTIONS, reduction_options)
    if score is None:
        score = declared(reduce, "default_score", DEFAULT_SCORE)
    if blocks is None:
        blocks = declared(reduce, "blocks", papers_blocks)(depth)
    elif isinstance(blocks, str):
        if blocks != "every":
            raise SpectrimError(f"blocks is {blocks!r}; expected a list of blocks, or 'every'.")
        blocks = range(depth)
    rates = _rate_per_stage(keep_rate, len(blocks))
    stages = (
        Stage(
            at=block,
            keep_rate=rate,
            score=score,
            reduction=reduction,
            score_options=score_options or {},
            reduction_options=reduction_options,
        )
        for block, rate in zip(blocks, rates, strict=True)
    )
    return Plan(tuple(stages), seed, round_to, drop_padding)


def _rate_per_stage(keep_rate: float | Sequence[float], stages: int) -> list[float]:
    if isinstance(keep_rate, (str, bytes)) or not isinstance(keep_rate, Sequence):
        return [keep_rate] * stages  # type: ignore[list-item]
    if len(keep_rate) != stages:
        raise SpectrimError(
            f"{len(keep_rate)} keep rates for {stages} stages; pass one rate, or one per stage."
        )
    return list(keep_rate)
