"""A stage: a ranking at one block, and a reduction of the tokens."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..common.errors import SpectrimError, nearest
from .context import NO_ATTENTION, Context
from .reductions import REDUCTIONS, Reduction
from .scores import SCORES, Score, declared, needs_attention_map
from .tokens import Tokens


def kept(rate: float, arriving: int) -> int:
    """Number of `arriving` patches that are kept: ceil(rate * arriving), at least 1.

    The product is rounded to six decimals first: 0.55 * 100 is 55.00000000000001 otherwise.
    """
    return max(1, math.ceil(round(rate * arriving, 6)))


@dataclass(frozen=True)
class Stage:
    """One ranking of the patches, and the reduction that follows it.

    Attributes:
        at: block index from 0 (between its attention and its MLP), or "input".
        keep_rate: fraction of the arriving patches that is kept, above 0 and at most 1; or
        count: number of patches to keep (all, if fewer arrive).
        score: "attention", "intensity", "variation", "intensity-padded", "variation-padded",
            "random", "module:name", a function of the context, or a module.
        reduction: "keep-top", "module:name", or a callable; see `reductions`.
        score_options, reduction_options: keyword arguments for the above.

    Raises:
        SpectrimError: a value out of range, or an unknown name.
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
        if self.at != "input" and (not is_int(self.at) or int(self.at) < 0):
            raise SpectrimError(f"a stage at {self.at!r}; expected 'input' or a block from 0.")
        if (self.keep_rate is None) == (self.count is None):
            raise SpectrimError("a stage has either a keep rate or a count.")
        if self.keep_rate is not None:
            check_keep_rate(self.keep_rate)
        if self.count is not None and (not is_int(self.count) or self.count < 1):
            raise SpectrimError(f"a count of {self.count!r}; expected an integer of at least 1.")
        rank = _resolve("score", self.score, SCORES, self.score_options)
        reduce = _resolve("reduction", self.reduction, REDUCTIONS, self.reduction_options)
        if self.at == "input" and declared(rank, "needs_block", False):
            raise SpectrimError(NO_ATTENTION)
        object.__setattr__(self, "rank", rank)
        object.__setattr__(self, "reduce", reduce)

    def with_keep_rate(self, keep_rate: float) -> Stage:
        """The same stage with another keep rate; a learned score is shared, not copied."""
        check_keep_rate(keep_rate)
        stage = copy.copy(self)
        object.__setattr__(stage, "keep_rate", keep_rate)
        return stage

    def stays(self, arriving: int) -> int:
        """Number of patches that the reduction is asked to keep."""
        if self.count is not None:
            return min(self.count, arriving)
        assert self.keep_rate is not None
        return kept(self.keep_rate, arriving)

    def leaves(self, arriving: int) -> int:
        """Number of tokens after this stage, without prefix tokens."""
        stays = self.stays(arriving)
        if stays >= arriving:
            return arriving
        after = getattr(self.reduce, "tokens_after", None)
        return stays if after is None else int(after(arriving, stays))

    def needs_attention_map(self, arriving: int, has_class_token: bool) -> bool:
        """Whether its block should compute the attention map: it drops patches by that map."""
        drops = self.leaves(arriving) < arriving
        return drops and needs_attention_map(self.rank, has_class_token)

    def __call__(self, tokens: Tokens, context: Context) -> Tokens:
        """Rank the patches, then reduce the tokens."""
        arriving, name = tokens.count, part_name(self.score)
        scores = self._scores(context)
        if scores.shape != tokens.origin.shape:
            raise SpectrimError(
                f"score {name} gave shape {tuple(scores.shape)}; expected (batch, patches) = "
                f"{tuple(tokens.origin.shape)}."
            )
        context.scores = scores
        left = self._reduced(tokens, scores, context)
        if left.count != self.leaves(arriving):
            raise SpectrimError(
                f"reduction {part_name(self.reduction)} left {left.count} tokens of {arriving}, "
                f"but {self.leaves(arriving)} were expected; declare "
                "tokens_after(arriving, count) on it."
            )
        if tokens.present is not None and left.present is not None:
            # A clip with fewer patches than the others keeps the same number as if it were alone.
            kept_counts = [self.stays(n) if n else 0 for n in tokens.present.sum(1).tolist()]
            limits = torch.tensor(kept_counts, device=left.x.device)[:, None]
            places = torch.arange(left.count, device=left.x.device)
            left = replace(left, present=left.present & (places < limits))
        return left

    def _scores(self, context: Context) -> Tensor:
        if isinstance(self.score, str) and self.score in SCORES:
            return self.rank(context)
        with naming_errors("score", self.score):
            return self.rank(context)

    def _reduced(self, tokens: Tokens, scores: Tensor, context: Context) -> Tokens:
        count = self.stays(tokens.count)
        if isinstance(self.reduction, str) and self.reduction in REDUCTIONS:
            return self.reduce(tokens, scores, count, context)
        with naming_errors("reduction", self.reduction):
            return self.reduce(tokens, scores, count, context)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data.

        Raises:
            SpectrimError: the score or reduction is an object, not a name.
        """
        data: dict[str, Any] = {"at": self.at}
        data |= {"count": self.count} if self.keep_rate is None else {"keep_rate": self.keep_rate}
        for key, value in (("score", self.score), ("reduction", self.reduction)):
            if not isinstance(value, str):
                raise SpectrimError(
                    f"the {key} {part_name(value)} is an object in memory and cannot be saved. "
                    "Pass it as the text 'package.module:name' instead."
                )
            data[key] = value
            if options := getattr(self, f"{key}_options"):
                data[f"{key}_options"] = dict(options)
        return data


@contextlib.contextmanager
def naming_errors(kind: str, part: str | Callable[..., Any]) -> Iterator[None]:
    """Turn any error of a user's score or reduction into a SpectrimError that names it."""
    try:
        yield
    except SpectrimError:
        raise
    except Exception as error:
        raise SpectrimError(
            f"the {kind} {part_name(part)} failed: {type(error).__name__}: {error}."
        ) from error


def check_keep_rate(rate: Any) -> None:
    """Refuse a keep rate that is not a number above 0 and at most 1."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= 1:
        raise SpectrimError(f"a keep rate of {rate!r}; expected a number above 0 and at most 1.")


def part_name(part: str | Callable[..., Any]) -> str:
    """Name of a score or reduction in messages and result rows."""
    if isinstance(part, str):
        return part
    return str(getattr(part, "__name__", type(part).__name__))


def is_int(value: object) -> bool:
    """Whether a value is an integer; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _resolve(
    kind: str, spec: Any, known: Mapping[str, Callable[..., Any]], options: Mapping[str, Any]
) -> Any:
    """Turn a name, "module:name" or callable into a callable with its options applied."""
    function = spec
    if isinstance(spec, str):
        function = known.get(spec) or (_imported(kind, spec) if ":" in spec else None)
        if function is None:
            raise SpectrimError(
                f"no {kind} is called {spec!r}.{nearest(spec, known)} Name your own as "
                "'package.module:name'."
            )
    if not callable(function):
        raise SpectrimError(
            f"a {kind} must be a name or a callable, not {type(function).__name__}."
        )
    if inspect.isclass(function):
        return function(**options)
    return functools.partial(function, **options) if options else function


def _imported(kind: str, spec: str) -> Any:
    module, _, name = spec.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except Exception as error:  # importing a module may raise anything
        reason = f"{type(error).__name__}: {error}".rstrip(".")
        raise SpectrimError(f"{kind} {spec!r} cannot be imported: {reason}.") from error
