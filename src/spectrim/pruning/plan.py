"""A plan: which patches are dropped where, as immutable data."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn

from ..common.errors import SpectrimError, nearest
from .context import Context
from .reductions import REDUCTIONS, Reduction
from .scores import SCORES, Score, wants_map
from .tokens import Tokens

PLAN_VERSION = 1
DEFAULT_BLOCKS = (3, 6, 9)


def kept(rate: float, arriving: int) -> int:
    """How many of the patches that arrive stay: ceil(rate * arriving), at least 1.

    Rounded to six decimals first, so that 0.55 of 100 is 55.
    """
    return max(1, math.ceil(round(rate * arriving, 6)))


@dataclass(frozen=True)
class Stage:
    """One ranking and what it leaves.

    Attributes:
        at: block index from 0 (between its attention and its MLP), or "input".
        keep_rate: share of the arriving patches that stays, above 0 and at most 1; or
        count: how many stay (all, where fewer arrive).
        score: "attention", "intensity", "variation", "random", "module:name", a function of
            the context, or a module.
        reduction: "keep-top", "module:name", or a callable.
        score_options, reduction_options: keyword arguments for the above.

    Raises:
        SpectrimError: a value out of range, or a name that nothing bears.
    """

    at: int | str
    keep_rate: float | None = None
    count: int | None = None
    score: str | Score = "attention"
    reduction: str | Reduction = "keep-top"
    score_options: Mapping[str, Any] = field(default_factory=dict)
    reduction_options: Mapping[str, Any] = field(default_factory=dict)
    rank: Score = field(init=False, repr=False, compare=False)
    reduce: Reduction = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.at != "input" and (not _is_int(self.at) or int(self.at) < 0):
            raise SpectrimError(f"a stage at {self.at!r}; wanted 'input' or a block from 0.")
        if (self.keep_rate is None) == (self.count is None):
            raise SpectrimError("a stage has either a keep-rate or a count.")
        if self.keep_rate is not None:
            check_keep_rate(self.keep_rate)
        if self.count is not None and (not _is_int(self.count) or self.count < 1):
            raise SpectrimError(f"a count of {self.count!r}; wanted an integer of at least 1.")
        rank = _resolve("score", self.score, SCORES, self.score_options)
        reduce = _resolve("reduction", self.reduction, REDUCTIONS, self.reduction_options)
        object.__setattr__(self, "rank", rank)
        object.__setattr__(self, "reduce", reduce)

    def with_keep_rate(self, keep_rate: float) -> Stage:
        """The same stage with another keep-rate, and the same score: one that learns keeps on."""
        check_keep_rate(keep_rate)
        stage = copy.copy(self)
        object.__setattr__(stage, "keep_rate", keep_rate)
        return stage

    def stays(self, arriving: int) -> int:
        """How many of `arriving` patches this stage asks to keep."""
        if self.count is not None:
            return min(self.count, arriving)
        assert self.keep_rate is not None
        return kept(self.keep_rate, arriving)

    def leaves(self, arriving: int) -> int:
        """How many tokens stand after this stage, special ones not counted."""
        stays = self.stays(arriving)
        if stays >= arriving:
            return arriving
        after = getattr(self.reduce, "tokens_after", None)
        return stays if after is None else int(after(arriving, stays))

    def wants_map(self, arriving: int, reads_class: bool) -> bool:
        """Whether its block should compute the attention map: it drops, and ranks by the map."""
        return self.leaves(arriving) < arriving and wants_map(self.rank, reads_class)

    def __call__(self, tokens: Tokens, context: Context) -> Tokens:
        """Rank the patches and leave fewer of them, the best first."""
        arriving, name = tokens.count, name_of(self.score)
        scores = self.rank(context)
        if scores.shape != tokens.origin.shape:
            raise SpectrimError(
                f"score {name} gave shape {tuple(scores.shape)}; wanted (batch, patches) = "
                f"{tuple(tokens.origin.shape)}."
            )
        context.scores = scores
        left = self.reduce(tokens, scores, self.stays(arriving), context)
        if left.count != self.leaves(arriving):
            raise SpectrimError(
                f"reduction {name_of(self.reduction)} left {left.count} tokens of {arriving}, "
                f"and said {self.leaves(arriving)}; give it tokens_after(arriving, count)."
            )
        if tokens.present is not None and left.present is not None:
            # Clips that arrive with fewer patches keep their own share, as they would alone.
            shares = [self.stays(n) if n else 0 for n in tokens.present.sum(1).tolist()]
            limits = torch.tensor(shares, device=left.x.device)[:, None]
            places = torch.arange(left.count, device=left.x.device)
            left = replace(left, present=left.present & (places < limits))
        return left

    def to_dict(self) -> dict[str, Any]:
        """Plain data.

        Raises:
            SpectrimError: the score or reduction is an object that no text names.
        """
        data: dict[str, Any] = {"at": self.at}
        data |= {"count": self.count} if self.keep_rate is None else {"keep_rate": self.keep_rate}
        for key, value in (("score", self.score), ("reduction", self.reduction)):
            if not isinstance(value, str):
                raise SpectrimError(
                    f"the {key} {name_of(value)} is an object in memory; to save the plan, "
                    "give it as text 'package.module:name'."
                )
            data[key] = value
            if options := getattr(self, f"{key}_options"):
                data[f"{key}_options"] = dict(options)
        return data


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
                f"stages at {[s.at for s in self.stages]}; wanted each place once, in the order "
                "of the blocks, 'input' first."
            )
        if not _is_int(self.seed):
            raise SpectrimError(f"a seed of {self.seed!r}; wanted an integer.")

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
        """The same plan with another keep-rate in every stage that has one, or one each."""
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
        parts = [part for stage in self.stages for part in (stage.rank, stage.reduce)]
        parts = [part.func if isinstance(part, functools.partial) else part for part in parts]
        return list(dict.fromkeys(part for part in parts if isinstance(part, nn.Module)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data with a version number."""
        stages = [stage.to_dict() for stage in self.stages]
        return {"version": PLAN_VERSION, "seed": self.seed, "stages": stages}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], own_code: bool = False) -> Plan:
        """Read what `to_dict` wrote.

        Args:
            own_code: whether "module:name" may be imported; not from files of strangers.
        """
        if data.get("version") != PLAN_VERSION:
            raise SpectrimError(
                f"a plan of version {data.get('version')!r}; this Spectrim reads version "
                f"{PLAN_VERSION}."
            )
        for stage in data["stages"]:
            for key in ("score", "reduction"):
                if ":" in stage[key] and not own_code:
                    raise SpectrimError(
                        f"the saved plan names code outside Spectrim, {key} {stage[key]!r}; "
                        "load it with own_code=True if you trust it."
                    )
        return cls(tuple(Stage(**stage) for stage in data["stages"]), data.get("seed", 0))

    def __str__(self) -> str:
        return (
            ", ".join(
                f"{name_of(s.score)} {s.keep_rate if s.count is None else s.count} at {s.at}"
                for s in self.stages
            )
            or "no pruning"
        )


def paper_plan(
    keep_rate: float | Sequence[float],
    score: str | Score = "attention",
    blocks: Sequence[int | str] = DEFAULT_BLOCKS,
    reduction: str | Reduction = "keep-top",
    seed: int = 0,
) -> Plan:
    """The paper's plan: the same ranking in a few blocks, one keep-rate or one each."""
    rates = _one_each(keep_rate, len(blocks))
    stages = (
        Stage(at=block, keep_rate=rate, score=score, reduction=reduction)
        for block, rate in zip(blocks, rates, strict=True)
    )
    return Plan(tuple(stages), seed)


def check_keep_rate(rate: Any) -> None:
    """Refuse what is not a number above 0 and at most 1."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= 1:
        raise SpectrimError(f"a keep-rate of {rate!r}; wanted a number above 0 and at most 1.")


def name_of(part: str | Callable[..., Any]) -> str:
    """How messages and result rows call a score or reduction."""
    if isinstance(part, str):
        return part
    return str(getattr(part, "__name__", type(part).__name__))


def _one_each(keep_rate: float | Sequence[float], stages: int) -> list[float]:
    if isinstance(keep_rate, (str, bytes)) or not isinstance(keep_rate, Sequence):
        return [keep_rate] * stages  # type: ignore[list-item]
    if len(keep_rate) != stages:
        raise SpectrimError(f"{len(keep_rate)} keep-rates for {stages} stages; one each is wanted.")
    return list(keep_rate)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _resolve(
    kind: str, spec: Any, known: Mapping[str, Callable[..., Any]], options: Mapping[str, Any]
) -> Any:
    """A name, "module:name" or callable to a callable that has its options."""
    found = spec
    if isinstance(spec, str):
        found = known.get(spec) or (_imported(kind, spec) if ":" in spec else None)
        if found is None:
            raise SpectrimError(
                f"no {kind} is called {spec!r}.{nearest(spec, known)} Your own is "
                "'package.module:name'."
            )
    if not callable(found):
        raise SpectrimError(f"a {kind} is a name or a callable, not {type(found).__name__}.")
    if inspect.isclass(found):
        return found(**options)
    return functools.partial(found, **options) if options else found


def _imported(kind: str, spec: str) -> Any:
    module, _, name = spec.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SpectrimError(f"{kind} {spec!r} cannot be imported: {error}.") from error
