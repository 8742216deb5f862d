"""Parameters of tests: one fast case for each value, and the full product as slow cases."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest


def each_value(*also: tuple[Any, ...], **values: Sequence[Any]) -> pytest.MarkDecorator:
    """Parametrize a test with every combination, most of them marked slow.

    `each_value(family=["ast", "audiomae"], score=["attention", "intensity", "random"])` gives six
    cases. Three are fast: ast-attention, audiomae-intensity and ast-random. Fast case i has value
    i of every parameter. A parameter with fewer values starts again from its first.

    Args:
        also: additional combinations that are fast.
        values: the values of each parameter, by its name.
    """
    counts = [len(choices) for choices in values.values()]
    fast = {tuple(number % count for count in counts) for number in range(max(counts))}
    cases = []
    for indices in product(*map(range, counts)):
        case = tuple(choices[i] for choices, i in zip(values.values(), indices, strict=True))
        is_fast = indices in fast or case in also
        cases.append(pytest.param(*case, marks=() if is_fast else pytest.mark.slow))
    return pytest.mark.parametrize(tuple(values), cases)
