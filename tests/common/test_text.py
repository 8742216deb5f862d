"""How numbers, lists, tables and colours are written."""

from __future__ import annotations

import pytest

from spectrim.common.markdown import table
from spectrim.common.palette import COLOURS, score_styles, series_styles
from spectrim.common.text import shortened, significant, with_error


def test_numbers_have_three_significant_digits():
    assert [significant(x) for x in (0.08689, 48.57, 131.2, 0)] == ["0.0869", "48.6", "131", "0.00"]


def test_values_stand_with_their_errors():
    assert with_error(0.523, 0.0149) == "0.52 ±0.01"
    assert with_error(0.523, None) == "0.52"
    assert with_error(None, None) == "-"
    assert with_error(0.0312, 0.01, 100, 1, "+") == "+3.1 ±1.0"
    assert with_error(-0.0312, 0.01, 100, 1, "+") == "-3.1 ±1.0"


def test_no_zero_is_negative():
    assert with_error(-0.0004, 0.01, 100, 1) == "0.0 ±1.0"
    assert with_error(-0.0004, 0.01, 100, 1, "+") == "+0.0 ±1.0"


def test_long_lists_are_shortened():
    assert shortened("abc") == "'a', 'b', 'c'"
    assert shortened("abcd") == "'a', 'b', 'c' and 1 more"
    assert shortened("abc", total=7) == "'a', 'b', 'c' and 4 more"
    assert shortened([]) == ""


def test_tables_are_markdown():
    assert table([["x|y", 1]], ["name", "count"]).splitlines() == [
        "| name | count |",
        "| --- | --- |",
        "| x\\|y | 1 |",
    ]
    assert table([], ["a", "b", "c", "d"], "lrc-").splitlines()[1] == "| :-- | --: | :-: | --- |"
    with pytest.raises(ValueError, match="3 cells under a header of 2"):
        table([[1, 2, 3]], ["a", "b"])


def test_built_in_scores_have_their_own_colours_and_others_get_the_rest():
    styles = score_styles(["mine", "random", "attention", "yours"])
    assert styles["attention"] == score_styles(["attention"])["attention"]
    assert len(set(styles.values())) == 4
    assert list(styles) == ["mine", "random", "attention", "yours"]


def test_no_two_of_36_series_look_alike():
    styles = series_styles(map(str, range(36)))
    assert len(set(styles.values())) == 36
    assert [colour for colour, _ in styles.values()][:6] == list(COLOURS)
