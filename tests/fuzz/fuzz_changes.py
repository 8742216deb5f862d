"""Changes of bytes and of JSON texts, which make bad inputs of good ones."""

from __future__ import annotations

import json
import random
from typing import Any

NUMBERS = [0, 1, 0x7F, 0x80, 0xFF]
ODD_VALUES = [None, True, -1, 0, 2**31, 1e400, 0.5, "x", "", [], {}, [1], {"a": 1}, "\0", "n" * 99]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """A few changes of bytes: set, removed, repeated, inserted, cut; most near the beginning."""
    values = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        if not values:
            break
        near = min(len(values), rng.choice([64, 1024, len(values)]))
        start, length = rng.randrange(near), rng.choice([1, 1, 2, 4, 8, 200])
        change = rng.randrange(6)
        if change == 0:
            values[start : start + length] = bytes(
                rng.randrange(256) for _ in values[start : start + length]
            )
        elif change == 1:
            del values[start : start + length]
        elif change == 2:
            values[start:start] = values[start : start + length]
        elif change == 3:
            del values[start if rng.random() < 0.3 else len(values) - start :]
        elif change == 4:
            filled = bytes([rng.choice(NUMBERS)]) * length
            values[start : start + length] = filled[: len(values) - start]
        else:
            values[start] ^= 1 << rng.randrange(8)
    return bytes(values)


def changed_json(data: bytes, rng: random.Random) -> bytes:
    """A JSON text with one value of it, at any depth, replaced or removed."""
    value = json.loads(data)
    places: list[tuple[Any, Any]] = []

    def collect(inner: Any) -> None:
        items = inner.items() if isinstance(inner, dict) else enumerate(inner)
        for key, item in list(items):
            places.append((inner, key))
            if isinstance(item, (dict, list)):
                collect(item)

    collect(value)
    for inner, key in rng.sample(places, min(len(places), rng.choice([1, 1, 2]))):
        if isinstance(inner, dict) and rng.random() < 0.2:
            inner.pop(key, None)
        elif isinstance(inner, dict) or key < len(inner):
            inner[key] = rng.choice(ODD_VALUES)
    return json.dumps(value).encode()
