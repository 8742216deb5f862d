"""Short names that fit into figures, and stay apart."""

from __future__ import annotations

import pytest

from spectrim.analysis.inputs import short_names


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["ast-digits", "runs/esc10/last"], ["ast-digits", "last"]),
        (["runs/esc10/last", "runs/digits/last"], ["esc10/last", "digits/last"]),
        (["x/clips.csv", "y/other.json"], ["clips", "other"]),
        (["x/clips.csv", "y/clips.csv"], ["x/clips", "y/clips"]),
        (["clips.csv", "clips.json"], ["clips.csv", "clips.json"]),
        (["a", "b/a", "c/b/a"], ["a", "b/a", "c/b/a"]),
        (["."], ["."]),
    ],
)
def test_short_names(names, short):
    assert short_names(names) == short
