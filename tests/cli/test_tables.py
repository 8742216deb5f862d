"""Tables on narrow and wide terminals, and in pipes."""

from __future__ import annotations

import pytest

from spectrim.cli import tables
from spectrim.cli.tables import elided, print_table

LONG = "a-very-long-name-of-a-sound-recorded-in-a-very-long-street-on-a-very-long-day-take-07.wav"
COLUMNS = ["model", "score", "keep rate", "ms/clip"]
ROWS = [[LONG, "attention", "0.9", "12.34"], None, ["short", "package.module:name", "0.5", "1.00"]]


@pytest.fixture
def lines(monkeypatch, capsys):
    """`lines(width, ...)`: what `print_table` prints on a terminal of that width; None: a pipe."""

    def lines(width, *words, **options):
        monkeypatch.setattr(tables, "terminal_width", lambda: width)
        print_table(*words, **options)
        return capsys.readouterr().out.splitlines()

    return lines


@pytest.mark.parametrize("width", [80, 100])
def test_a_long_name_is_shortened_and_its_row_stays_one_line(lines, width):
    printed = lines(width, COLUMNS, ROWS, left=["score"])
    assert all(len(line) <= width for line in printed)
    header, _, first, _, last = printed
    assert header.split() == ["model", "score", "keep", "rate", "ms/clip"]
    assert first.startswith("a-very-long-name") and "take-07.wav  attention" in first
    assert "…" in first and first.split()[-2:] == ["0.9", "12.34"]
    assert last.split() == ["short", "package.module:name", "0.5", "1.00"]


def test_in_a_pipe_a_row_is_one_whole_line(lines):
    caption = "The caption of a table is a long sentence, too. " * 4
    printed = lines(None, COLUMNS, ROWS, caption, left=["score"])
    assert len(printed) == 6 and LONG in printed[2]
    assert printed[-1].strip() == caption.strip()


@pytest.mark.parametrize("width", [80, 100])
def test_a_list_continues_on_the_next_line_between_its_items(lines, width):
    labels = [f"Motor vehicle (road), kind-{number} 0.{number}1" for number in range(9)]
    row = [LONG, "0.00", "10.00", "; ".join(labels)]
    printed = lines(width, ["file", "start s", "end s", "labels"], [row], wrapped={"labels": "; "})
    assert all(len(line) <= width for line in printed)
    assert all(any(label in line for line in printed) for label in labels)
    assert "take-07.wav" in printed[2]


@pytest.mark.parametrize("width", [80, 100])
def test_columns_that_do_not_fit_are_left_out_and_named(lines, width):
    columns = ["name", *(f"measurement-{number}" for number in range(10))]
    printed = lines(width, columns, [[LONG, *("1234567890.12" for _ in range(10))]])
    assert all(len(line) <= width for line in printed)
    assert "…" in printed[2] and "1234567890.12" in printed[2]
    note = " ".join(printed[3:])
    assert "Not shown" in note and "measurement-9" in note and "measurement-0" not in note


def test_a_shortened_text_keeps_both_ends():
    assert elided("recording-of-a-dog.wav", 12) == "record…g.wav"
    assert elided("dog.wav", 12) == "dog.wav"
    assert elided("犬犬犬犬犬犬犬犬.wav", 12) == "犬犬犬….wav"  # each takes two places
