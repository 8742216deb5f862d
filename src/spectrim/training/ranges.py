"""Ranges and choices of recipe values: declared on the dataclass fields, checked in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from ..common.errors import SpectrimError, nearest


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
        return " and ".join(f"{words} {b:g}" for words, b in bounds.items() if math.isfinite(b))


def number(default: float | None, **bounds: float) -> Any:
    """A field whose value lies in a `Range`; None passes where the type allows it."""
    return field(default=default, metadata={"range": Range(**bounds)})


def one_of(*choices: str) -> Any:
    """A field whose value is one of some names; the first is the default."""
    return field(default=choices[0], metadata={"choices": choices})


def check_values(part: Any, where: str, prefix: str = "") -> None:
    """Refuse values outside the limits of their fields, in a recipe and all its parts.

    The metadata of a field may hold "range" (a `Range`), "length" (of a list whose numbers lie in
    the range), "choices" (of names) and "keys" (of a dictionary).

    Args:
        where: file or change, for the message.
        prefix: of the keys, such as "optim.".

    Raises:
        SpectrimError: names the key, the value and what is accepted.
    """
    for entry in fields(part):
        key, value = prefix + entry.name, getattr(part, entry.name)
        if is_dataclass(value):
            check_values(value, where, key + ".")
            continue
        limits = entry.metadata
        if "choices" in limits and value not in limits["choices"]:
            raise SpectrimError(f"{where}: {key} is {value!r}.{nearest(value, limits['choices'])}")
        for name in value if "keys" in limits else ():
            if name not in limits["keys"]:
                raise SpectrimError(
                    f"{where}: {key} has no key {name!r}.{nearest(name, limits['keys'])}"
                )
        if isinstance(value, float) and not math.isfinite(value):
            raise SpectrimError(f"{where}: {key} is {value}; expected a finite number.")
        if "length" in limits:
            inside = all(one in limits["range"] for one in value)
            if not inside or len(value) != limits["length"]:
                text = f"expected {limits['length']} numbers, each {limits['range']}"
                raise SpectrimError(f"{where}: {key} is {value}; {text}.")
        elif "range" in limits and value is not None and value not in limits["range"]:
            raise SpectrimError(f"{where}: {key} is {value}; expected {limits['range']}.")
