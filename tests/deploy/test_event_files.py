"""Label tracks and selection tables, read as the manuals of Audacity and Raven describe them."""

from __future__ import annotations

import csv
import os

import pytest

from spectrim.common.errors import SpectrimError
from spectrim.deploy.event_files import write_events
from spectrim.deploy.events import Event

EVENTS = [
    Event("Vehicle horn, car horn", 0.0, 6.419, 0.8482, 0.7567),
    Event("caf\u00e9\tor\nbar", 3725.5, 3730.25, 1.0, 0.5),
]


def test_audacity_reads_start_end_and_label(tmp_path):
    path = write_events(tmp_path / "a.txt", EVENTS, "long.wav")
    assert path.read_bytes().decode("utf-8") == (
        "0.000000\t6.419000\tVehicle horn, car horn\n3725.500000\t3730.250000\tcaf\u00e9 or bar\n"
    )
    assert write_events(tmp_path / "none.txt", [], "long.wav").read_bytes() == b""


@pytest.mark.parametrize(("channel", "number"), [("mix", "1"), ("loudest", "1"), (2, "3")])
def test_raven_reads_a_selection_table(tmp_path, channel, number):
    recording = tmp_path / "two  spaces.wav"
    path = write_events(tmp_path / "a.Selections.txt", EVENTS, str(recording), channel)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    required = ["Selection", "View", "Channel", "Begin Time (s)", "End Time (s)",
                "Low Freq (Hz)", "High Freq (Hz)"]  # fmt: skip
    assert list(rows[0])[:7] == required
    assert [row["Selection"] for row in rows] == ["1", "2"]
    assert {row["Channel"] for row in rows} == {number}
    assert {row["View"] for row in rows} == {"Spectrogram 1"}
    assert [(float(r["Begin Time (s)"]), float(r["End Time (s)"])) for r in rows] == [
        (event.start, event.end) for event in EVENTS
    ]
    assert {(r["Low Freq (Hz)"], r["High Freq (Hz)"]) for r in rows} == {("0.0", "8000.0")}
    assert [row["Label"] for row in rows] == ["Vehicle horn, car horn", "caf\u00e9 or bar"]
    assert {row["Begin Path"] for row in rows} == {str(recording)}


def test_a_name_that_no_text_can_hold(tmp_path):
    path = write_events(tmp_path / "a.selections.txt", EVENTS, os.fsdecode(b"/latin\xfc.wav"))
    assert "\t/latin\\udcfc.wav\t" in path.read_text(encoding="utf-8")


def test_existing_files_and_other_suffixes_are_refused(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("corrected by hand")
    with pytest.raises(SpectrimError, match="exists and may contain corrections"):
        write_events(path, EVENTS, "long.wav")
    assert path.read_text() == "corrected by hand"
    with pytest.raises(SpectrimError, match="Audacity label track"):
        write_events(tmp_path / "a.lab", EVENTS, "long.wav")
