"""A stage: a ranking at one block, and a reduction of the tokens."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..common.errors import SpectrimError
from .components import declared, naming_errors, part_name, resolve
from .context import NO_ATTENTION, Context
from .reductions import REDUCTIONS, Reduction
from .scores import SCORES, Score, needs_attention_map
from .tokens import Tokens

PLACES = ("before", "between", "after")
"""Where a stage may stand in its block: before the attention, between attention and MLP, or after
the MLP."""


def kept(rate: float, arriving: int) -> int:
    """Number of `arriving` patches that are kept: ceil(rate * arriving), at least 1.

    The product is rounded to six decimals first: 0.55 * 100 is 55.00000000000001 otherwise.
    """
    return max(1, math.ceil(round(rate * arriving, 6)))


@dataclass(frozen=True)
class Stage:
    """One ranking of the patches, and the reduction that follows it.

    Attributes:
        at: block index from 0, or "input", before the first block.
        keep_rate: fraction of the arriving patches that is kept, above 0 and at most 1; or
        count: number of patches to keep (all, if fewer arrive).
        score: a name (`scores.SCORES`), "module:name", a function of the context, or a module.
            A reduction that ranks by itself, such as "tome", has the score None.
        reduction: a name (`reductions.REDUCTIONS`), "module:name", or a callable.
        score_options, reduction_options: keyword arguments for the above.
        place: "before" the block's attention, "between" attention and MLP, or "after" the MLP;
            None: where the score needs it, else "between".
        round_to: round prefix tokens plus kept patches up to a multiple of this, such as 8 for
            matrix units of GPUs. A plan sets it.

    Raises:
        SpectrimError: a value out of range, or an unknown name.
    """

    at: int | str
    keep_rate: float | None = None
    count: int | None = None
    score: str | Score | None = "attention"
    reduction: str | Reduction = "keep-top"
    score_options: Mapping[str, Any] = field(default_factory=dict)
    reduction_options: Mapping[str, Any] = field(default_factory=dict)
    place: str | None = None
    round_to: int = 1
    rank: Score | None = field(init=False, repr=False, compare=False)
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
        reduce = resolve("reduction", self.reduction, REDUCTIONS, self.reduction_options)
        object.__setattr__(self, "reduce", reduce)
        if not declared(reduce, "needs_scores", True):
            object.__setattr__(self, "score", None)
            object.__setattr__(self, "score_options", {})
        elif self.score is None:
            raise SpectrimError(f"the reduction {part_name(self.reduction)} requires a score.")
        rank = None
        if self.score is not None:
            rank = resolve("score", self.score, SCORES, self.score_options)
        object.__setattr__(self, "rank", rank)
        object.__setattr__(self, "place", self._resolved_place())
        self._check_functions()

    def _resolved_place(self) -> str:
        """The place in the block: as given, or as the score requires."""
        required = None if self.rank is None else declared(self.rank, "place")
        place = self.place or required or "between"
        if place not in PLACES:
            raise SpectrimError(f"a place of {place!r}; expected one of {', '.join(PLACES)}.")
        if required not in (None, place):
            raise SpectrimError(
                f"the score {part_name(self.score or '')} ranks {required} the MLP only; the "
                f"stage stands {place!r}. Omit `place`."
            )
        return place

    def _check_functions(self) -> None:
        functions: list[Callable[..., Any]] = [self.reduce]
        functions += [] if self.rank is None else [self.rank]
        if any(declared(function, "needs_block", False) for function in functions):
            if self.at == "input":
                raise SpectrimError(NO_ATTENTION)
            if self.place == "before":
                raise SpectrimError(
                    f"a stage before block {self.at}: its attention is not computed there yet. "
                    "Use place='between', or 'after' the block before it."
                )
        negative = self.rank is not None and not declared(self.rank, "positive", True)
        if negative and declared(self.reduce, "needs_positive_scores", False):
            known = [name for name, score in SCORES.items() if declared(score, "positive", True)]
            raise SpectrimError(
                f"the reduction {part_name(self.reduction)} weighs patches by their scores, and "
                f"the score {part_name(self.score or '')} may be negative. Use one of "
                f"{', '.join(known)}."
            )

    def with_keep_rate(self, keep_rate: float) -> Stage:
        """The same stage with another keep rate; a learned score is shared, not copied."""
        check_keep_rate(keep_rate)
        stage = copy.copy(self)
        object.__setattr__(stage, "keep_rate", keep_rate)
        return stage

    def with_round_to(self, multiple: int) -> Stage:
        """The same stage with counts rounded up to another multiple; learned parts are shared."""
        stage = copy.copy(self)
        object.__setattr__(stage, "round_to", multiple)
        return stage

    @property
    def is_adaptive(self) -> bool:
        """Whether clips keep different numbers of patches, at most `leaves` of them."""
        return bool(declared(self.reduce, "adaptive", False))

    def requested(self, arriving: int, num_prefix_tokens: int = 0) -> int:
        """Number of patches that the reduction is asked to keep; may exceed `arriving`."""
        count = self.count
        if count is None:
            assert self.keep_rate is not None
            count = kept(self.keep_rate, arriving)
        rounded = math.ceil((num_prefix_tokens + count) / self.round_to) * self.round_to
        return rounded - num_prefix_tokens

    def stays(self, arriving: int, num_prefix_tokens: int = 0) -> int:
        """The same, at most `arriving`."""
        return min(self.requested(arriving, num_prefix_tokens), arriving)

    def acts(self, arriving: int, num_prefix_tokens: int = 0) -> bool:
        """Whether the stage does anything: it has patches to remove, or decides that itself."""
        if self.is_adaptive:
            return self.keep_rate is None or self.keep_rate < 1
        return self.stays(arriving, num_prefix_tokens) < arriving

    def leaves(self, arriving: int, num_prefix_tokens: int = 0) -> int:
        """Number of tokens after this stage, without prefix tokens; if adaptive, the most."""
        stays = self.stays(arriving, num_prefix_tokens)
        if not self.acts(arriving, num_prefix_tokens):
            return arriving
        after = declared(self.reduce, "tokens_after")
        return stays if after is None else int(after(arriving, stays))

    def needs_attention_map(
        self, arriving: int, num_prefix_tokens: int, has_class_token: bool
    ) -> bool:
        """Whether its block should compute the attention map: it drops patches by that map."""
        if self.rank is None or not self.acts(arriving, num_prefix_tokens):
            return False
        return needs_attention_map(self.rank, has_class_token)

    def __call__(self, tokens: Tokens, context: Context) -> Tokens:
        """Rank the patches, then reduce the tokens."""
        prefix = tokens.num_prefix_tokens
        context.scores = self._scores(tokens, context)
        context.counts = self._counts(tokens, self.stays)
        context.requested = self._counts(tokens, self.requested)
        count = self.requested(tokens.count, prefix)
        if not self.is_adaptive:
            count = min(count, tokens.count)
        remaining = self._reduced(tokens, context.scores, count, context)
        problem = remaining.disagreement(tokens, context.clips.grid.count)
        if problem is not None:
            raise SpectrimError(f"reduction {part_name(self.reduction)} returned {problem}")
        expected = self.leaves(tokens.count, prefix)
        if remaining.count != expected and not (self.is_adaptive and remaining.count < expected):
            raise SpectrimError(
                f"reduction {part_name(self.reduction)} left {remaining.count} tokens of "
                f"{tokens.count}, but {expected} were expected; declare "
                "tokens_after(arriving, count) on it."
            )
        if self.is_adaptive:
            return remaining.trimmed()
        if context.counts is not None and tokens.present is not None:
            # As when it is alone, a clip whose patches all stay keeps their order too.
            stays_whole = context.counts == tokens.present.sum(1)
            remaining = remaining.restored(stays_whole, tokens, context.clips.grid.count)
        return remaining

    def _counts(self, tokens: Tokens, of: Callable[[int, int], int]) -> Tensor | None:
        """(batch,) patches that each clip keeps, as if it were alone; None if all clips are equal.

        A table gives the count for every possible number of patches, without asking the device.
        """
        if tokens.present is None:
            return None
        prefix = tokens.num_prefix_tokens
        counts = [0, *(of(n, prefix) for n in range(1, tokens.count + 1))]
        table = torch.tensor(counts, device=tokens.x.device)
        return table[tokens.present.sum(1)]

    def _scores(self, tokens: Tokens, context: Context) -> Tensor | None:
        if self.rank is None or self.score is None:
            return None
        if isinstance(self.score, str) and self.score in SCORES and not self.score_options:
            scores = self.rank(context)
        else:
            with naming_errors("score", self.score):
                scores = self.rank(context)
        if scores.shape != tokens.origin.shape:
            raise SpectrimError(
                f"score {part_name(self.score)} gave shape {tuple(scores.shape)}; expected "
                f"(batch, patches) = {tuple(tokens.origin.shape)}."
            )
        if declared(self.reduce, "needs_positive_scores", False):
            self._check_positive(scores, tokens)
        return scores

    def _check_positive(self, scores: Tensor, tokens: Tokens) -> None:
        """Refuse negative scores where the reduction weighs patches by them.

        Scores that may be negative declare it, but a user's function may have forgotten to. Reading
        values from a GPU would stall it, and a compiled graph has no values: there is no check.
        """
        if scores.device.type != "cpu" or torch.compiler.is_compiling():
            return
        if tokens.present is not None:  # scores of absent tokens may be anything
            scores = torch.where(tokens.present, scores, 0.0)
        if bool((scores < 0).any()):
            raise SpectrimError(
                f"the score {part_name(self.score or '')} has negative values, and the reduction "
                f"{part_name(self.reduction)} weighs patches by their scores. Use another "
                "reduction, and set the score's attribute positive = False."
            )

    def _reduced(
        self, tokens: Tokens, scores: Tensor | None, count: int, context: Context
    ) -> Tokens:
        is_known = isinstance(self.reduction, str) and self.reduction in REDUCTIONS
        if is_known and not self.reduction_options:  # an option may be of a wrong type
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
            if value is not None and not isinstance(value, str):
                raise SpectrimError(
                    f"the {key} {part_name(value)} is an object in memory and cannot be saved. "
                    "Pass it as the text 'package.module:name' instead."
                )
            data[key] = value
            if options := getattr(self, f"{key}_options"):
                data[f"{key}_options"] = dict(options)
        if self.place != "between":
            data["place"] = self.place
        return data


def check_keep_rate(rate: Any) -> None:
    """Refuse a keep rate that is not a number above 0 and at most 1."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate <= 1:
        raise SpectrimError(f"a keep rate of {rate!r}; expected a number above 0 and at most 1.")


def is_int(value: object) -> bool:
    """Whether a value is an integer; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)
