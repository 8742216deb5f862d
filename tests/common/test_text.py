"""How numbers, lists, tables and colours are written."""

from __future__ import annotations

import pytest

from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.common.markdown import table
from spectrim.common.palette import COLOURS, score_styles, series_styles
from spectrim.common.text import message_text, printable, shortened, significant, with_error


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x9b2J \x7f", "\\x9b2J \\x7f"),
        ("right \u202eto left", "right \\u202eto left"),
        ("Käse 日本 🎵 a\u0301", "Käse 日本 🎵 a\u0301"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown


def test_messages_are_one_line_and_cut_long_values():
    assert message_text("not YAML:\n  line 3\x1b") == "not YAML: line 3\\x1b"
    long = "x" * 10_000
    for text in (repr(long), f'"{long}"', f"[{long}]"):
        cut = message_text(f"key is {text}; expected a number.")
        assert len(cut) < 300 and cut.endswith("; expected a number.")
        assert "x" * 200 + "... (10,000 characters)" in cut
    nested = message_text(f"a score is {['y' * 300, 'z' * 300]}. Way out.")
    assert len(nested) < 400 and nested.endswith("]. Way out.")


def test_paths_commands_and_prose_stay_whole():
    path = "/a" * 700
    command = "spectrim export model --out " + "m" * 300
    prose = "the model's head isn't the teacher's. " * 20
    for text in (f"{path}: no such file.", f"{path!r} is a folder.", f"Run: {command}", prose):
        assert message_text(text) == text.strip()


def test_errors_and_notices_are_such_messages():
    for kind in (SpectrimError, SpectrimNotice):
        text = str(kind(f"label {'x' * 999!r}\x07 is unknown."))
        assert len(text) < 300 and "\\x07 is unknown." in text
