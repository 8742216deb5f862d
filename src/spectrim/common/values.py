"""Types, ranges and choices of values: declared on dataclass fields, checked in one place.

Model configs, recipes, the metadata of exported files and the configs of other projects are all
read into dataclasses, and all pass through `check_values`.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Any, TypeVar

from .errors import SpectrimError, nearest

Schema = TypeVar("Schema")


@dataclass(frozen=True)
class Range:
    """Numbers between bounds; `least` and `most` are inside the range, `above` and `below` not."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        bounds = {
            "at least": self.least,
            "more than": self.above,
            "at most": self.most,
            "less than": self.below,
        }
        return " and ".join(
            f"{words} {b if isinstance(b, int) else format(b, 'g')}"
            for words, b in bounds.items()
            if math.isfinite(b)
        )


def number(default: Any = MISSING, **bounds: float) -> Any:
    """A field whose value lies in a `Range`; None passes where the type allows it."""
    return field(default=default, metadata={"range": Range(**bounds)})


def one_of(*choices: str) -> Any:
    """A field whose value is one of some names; the first is the default."""
    return field(default=choices[0], metadata={"choices": choices})


def required_choice(*choices: str) -> Any:
    """As `one_of`, for a field without a default."""
    return field(metadata={"choices": choices})


def check_values(part: Any, where: str = "", prefix: str = "", location: str = "") -> None:
    """Refuse values outside the types and limits of their fields, in a dataclass and its parts.

    The metadata of a field may hold "range" (a `Range`), "length" (of a list whose numbers lie in
    the range), "choices" (of names) and "keys" (of a dictionary).

    Args:
        where: file or change, for the message; empty: the message starts with the key.
        prefix: of the keys, such as "optim.".
        location: of the value, such as "in config.json".

    Raises:
        SpectrimError: names the key, the value and what is accepted.
    """
    start = f"{where}: " if where else ""
    end = f" {location}" if location else ""
    hints = typing.get_type_hints(type(part))
    for entry in fields(part):
        key, value, limits = prefix + entry.name, getattr(part, entry.name), entry.metadata
        if is_dataclass(value):
            check_values(value, where, key + ".", location)
            continue
        if not has_type(value, hints[entry.name]):
            expected = type_in_words(hints[entry.name])
            bounds = f" of {limits['range']}" if str(limits.get("range", "")) else ""
            raise SpectrimError(f"{start}{key} is {value!r}{end}; expected {expected}{bounds}.")
        if "choices" in limits and value not in limits["choices"]:
            raise SpectrimError(
                f"{start}{key} is {value!r}{end}.{nearest(value, limits['choices'])}"
            )
        for name in value if "keys" in limits else ():
            if name not in limits["keys"]:
                raise SpectrimError(
                    f"{start}{key} has no key {name!r}.{nearest(name, limits['keys'])}"
                )
        if isinstance(value, (int, float)) and not _is_finite(value):
            raise SpectrimError(f"{start}{key} is {value}{end}; expected a finite number.")
        if "length" in limits:
            inside = all(one in limits["range"] for one in value)
            if not inside or len(value) != limits["length"]:
                text = f"expected {limits['length']} numbers, each {limits['range']}"
                raise SpectrimError(f"{start}{key} is {value}{end}; {text}.")
        elif "range" in limits and value is not None and value not in limits["range"]:
            raise SpectrimError(f"{start}{key} is {value}{end}; expected {limits['range']}.")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the range of floating-point numbers
        return False


def from_mapping(
    schema: type[Schema], data: Mapping[str, Any], where: str, location: str = ""
) -> Schema:
    """A dataclass from the values of a foreign config; keys that it does not have are ignored.

    Raises:
        SpectrimError: a value has another type or lies outside its range.
    """
    known = [entry.name for entry in fields(schema)]  # type: ignore[arg-type]
    part = schema(**{key: data[key] for key in known if key in data})
    check_values(part, where, location=location)
    return part


def has_type(value: Any, hint: Any) -> bool:
    """Whether a value has the type of a field, such as `int | None` or `tuple[str, ...]`.

    True and False are not numbers. An integer is accepted where a float is expected.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(has_type(value, option) for option in inner)
    if hint is None or hint is type(None):
        return value is None
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    if origin is tuple and Ellipsis not in inner:
        return (
            isinstance(value, tuple)
            and len(value) == len(inner)
            and all(map(has_type, value, inner))
        )
    if origin is None:
        return isinstance(value, hint)
    if not isinstance(value, origin):
        return False
    if isinstance(value, Mapping):
        return all(has_type(k, inner[0]) and has_type(v, inner[1]) for k, v in value.items())
    return all(has_type(item, inner[0]) for item in value)


WORDS = {int: "an integer", float: "a number", str: "a text", bool: "true or false"}
PLURALS = {int: "integers", float: "numbers", str: "texts", bool: "true or false"}


def type_in_words(hint: Any) -> str:
    """What a message expects, such as "a number or null" for `float | None`."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(type_in_words, inner))
    if hint is None or hint is type(None):
        return "null"
    if origin in (tuple, list):
        count = f"{len(inner)} " if origin is tuple and Ellipsis not in inner else ""
        item = inner[0]
        return f"a list of {count}{PLURALS.get(item) or f'lists ({type_in_words(item)})'}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "keys and values"
    return WORDS.get(hint) or f"keys and values ({getattr(hint, '__name__', hint)})"


def duplicates(names: Collection[str]) -> list[str]:
    """Names that occur more than once, in the order of their first occurrence."""
    seen: set[str] = set()
    repeated: dict[str, None] = {}
    for name in names:
        if name in seen:
            repeated[name] = None
        seen.add(name)
    return list(repeated)
