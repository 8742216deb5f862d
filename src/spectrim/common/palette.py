"""Colours and markers of every figure: Okabe and Ito's palette, safe for colour-blind readers.

Markers tell the lines apart in print too.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
)  # fmt: skip
GREY = "#7F7F7F"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")

Style = tuple[str, str]  # colour and marker

SCORE_STYLES: dict[str, Style] = {
    "attention": (BLUE, "o"),
    "intensity": (VERMILION, "s"),
    "variation": (GREEN, "^"),
    "intensity-padded": (VERMILION, "v"),
    "variation-padded": (GREEN, "P"),
    "random": (GREY, "x"),
}
OTHER_STYLES: tuple[Style, ...] = (
    (PURPLE, "D"), (ORANGE, "v"), (SKY, "P"), (PURPLE, "s"), (ORANGE, "^"), (SKY, "o"),
)  # fmt: skip


def score_styles(scores: Iterable[str]) -> dict[str, Style]:
    """(colour, marker) of each score: built-in ones have their own, others take what is left."""
    others = cycle(OTHER_STYLES)
    return {
        score: SCORE_STYLES.get(score) or next(others)
        for score in dict.fromkeys(scores)
    }  # fmt: skip


def series_styles(names: Iterable[str]) -> dict[str, Style]:
    """(colour, marker) of each of several series, such as models; 36 of them all differ."""
    # From the seventh on, markers are shifted by one against the colours, and so on.
    return {
        name: (
            COLOURS[index % len(COLOURS)],
            MARKERS[(index + index // len(COLOURS)) % len(MARKERS)],
        )
        for index, name in enumerate(dict.fromkeys(names))
    }
