"""Settings that a checkpoint does not store, from `--load KEY=VALUE`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..common.errors import SpectrimError, nearest
from ..common.paths import is_file, user_path
from .output import notify


def load_options(texts: list[str] | None) -> dict[str, Any]:
    """Arguments of `spectrim.load` from `--load` options such as "padding=minimum"."""
    conversions: dict[str, Callable[[str], Any]] = {
        "mean": float,
        "std": float,
        "padding": str,
        "stride": int,
        "activation": str,
        "metric": str,
        "heads": int,
        "pool": str,
        "labels": _labels,
        "trust_code": lambda text: {"true": True, "false": False}[text.lower()],
    }
    options = {}
    for text in texts or []:
        key, _, value = text.partition("=")
        if key == "own_code":
            notify("note", "--load own_code is deprecated: use --load trust_code.")
            key = "trust_code"
        if key not in conversions:
            raise SpectrimError(
                f"--load {text!r}: there is no key {key!r}.{nearest(key, conversions)}"
            )
        try:
            options[key] = conversions[key](value)
        except SpectrimError:  # is a ValueError, with a better text
            raise
        except (ValueError, KeyError):
            raise SpectrimError(f"--load {text!r}: {value!r} is not a value of {key}.") from None
    return options


def _labels(text: str) -> list[str] | int:
    """Class names in the order of the logits: comma-separated, in a file, or AudioSet's.

    A whole number is the number of classes of a file without a head.
    """
    from ..models.labels import audioset_labels, labels_in

    if text == "audioset":
        return list(audioset_labels())
    if is_file(user_path(text)):
        return labels_in(user_path(text))
    if text.isdecimal():
        return int(text)
    if "," not in text:
        raise SpectrimError(
            f"--load 'labels={text}': {text!r} is not a value of labels. Expected names separated "
            "by commas, a file with a name in each line, audioset or, for a file without a head, "
            "the number of classes."
        )
    return [name.strip() for name in text.split(",")]
