"""Types and limits of values, declared on dataclass fields."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from spectrim.common.errors import SpectrimError
from spectrim.common.values import (
    check_values,
    duplicates,
    from_mapping,
    has_type,
    number,
    one_of,
)


@dataclass
class Inner:
    rate: float = number(0.5, above=0, most=1)


@dataclass
class Outer:
    count: int = number(3, least=1, most=1000)
    limit: int | None = number(None, least=1)
    scale: float = 1.0
    name: str = "x"
    kind: str = one_of("a", "b")
    flag: bool = False
    labels: tuple[str, ...] = ("low", "high")
    pair: tuple[int, int] = (1, 2)
    options: dict[str, int] = field(default_factory=dict)
    anything: Any = None
    inner: Inner = field(default_factory=Inner)


GOOD = [
    {}, {"count": 1000}, {"limit": 5}, {"scale": 2}, {"labels": ()}, {"options": {"a": 1}},
    {"anything": object()}, {"inner": Inner(1.0)},
]  # fmt: skip
BAD: dict[str, list[Any]] = {
    "count": [True, 1.0, "3", None, 0, 1001, [], 10**30],
    "limit": [0, False, "x", 1.5],
    "scale": [True, "1", None, [], float("nan"), float("inf")],
    "name": [None, 3, ["x"], b"x"],
    "kind": ["c", 1, None, ["a"]],
    "flag": [0, 1, "true", None],
    "labels": ["low", ["low"], (1,), (None,), ("a", 2), None],
    "pair": [(1,), (1, 2, 3), (1, 2.0), (True, 1), 1],
    "options": [{"a": "b"}, {1: 1}, [], None],
    "inner": [None, {"rate": 1}, "x"],
}


@pytest.mark.parametrize("values", GOOD)
def test_good_values_pass(values):
    check_values(Outer(**values), "here")


@pytest.mark.parametrize(("key", "value"), [(k, v) for k, vs in BAD.items() for v in vs])
def test_bad_values_are_named_with_their_key_and_place(key, value):
    with pytest.raises(SpectrimError, match=f"^here: {key} is ") as error:
        check_values(Outer(**{key: value}), "here")
    assert "expected" in str(error.value) or "Known" in str(error.value)


def test_a_value_below_is_named_with_its_whole_key():
    with pytest.raises(SpectrimError, match=r"^inner\.rate is 0; expected more than 0 and at"):
        check_values(Outer(inner=Inner(0)))


def test_foreign_keys_are_ignored_and_foreign_values_are_not():
    assert from_mapping(Inner, {"rate": 0.25, "other": []}, "here") == Inner(0.25)
    with pytest.raises(SpectrimError, match="rate is None; expected a number"):
        from_mapping(Inner, {"rate": None}, "here")


def test_nested_lists_have_types():
    assert has_type([["a"], []], list[list[str]]) and not has_type([["a"], [1]], list[list[str]])


def test_duplicates_are_named_once():
    assert duplicates(["a", "b", "a", "c", "a", "b"]) == ["a", "b"]
