"""The plans that a model was trained for, and whether a plan lies outside of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ..common.errors import SpectrimError
from .plan import Plan
from .stage import check_keep_rate, kept


@dataclass(frozen=True)
class TrainedRange:
    """What elastic training pruned: any keep rate from 1.0 to `low`, drawn for each block.

    Attributes:
        low: lowest keep rate of a stage.
        blocks: that were pruned, as `Stage.at`.
        scores: names of the scores that ranked the patches.
        reduction: name of the reduction.

    Raises:
        SpectrimError: `low` is not above 0 and at most 1.
    """

    low: float
    blocks: tuple[int | str, ...]
    scores: tuple[str, ...]
    reduction: str

    def __post_init__(self) -> None:
        check_keep_rate(self.low)
        object.__setattr__(self, "blocks", tuple(self.blocks))
        object.__setattr__(self, "scores", tuple(self.scores))

    def contains(self, plan: Plan, patches: int) -> bool:
        """Whether no stage keeps fewer of its patches than in training, or prunes another block.

        The score and the reduction may differ: elastic training by one score also improves
        pruning by others.

        Args:
            patches: of a clip, at the input.
        """
        remaining = patches
        for stage in plan.stages:
            arriving, remaining = remaining, stage.leaves(remaining)
            count = stage.stays(arriving)
            if count == arriving:
                continue
            if stage.at not in self.blocks or count < kept(self.low, arriving):
                return False
        return True

    def __str__(self) -> str:
        blocks = ", ".join(map(str, self.blocks))
        return f"keep rates from 1.0 to {self.low:g} in blocks {blocks}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"blocks": list(self.blocks), "scores": list(self.scores)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TrainedRange:
        """Read what `to_dict` wrote.

        Raises:
            SpectrimError: a key is missing or unknown, or a value cannot be.
        """
        try:
            return cls(**data)
        except TypeError as error:
            raise SpectrimError(f"a trained range of {data!r} cannot be read ({error}).") from error
