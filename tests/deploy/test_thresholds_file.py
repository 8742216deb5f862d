"""Files of thresholds: what is read, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest

import spectrim
from loudness import Loudness
from spectrim.common.errors import SpectrimError
from spectrim.deploy.read_thresholds import class_thresholds, plain_thresholds, read_thresholds

LABELS = ["Dog", "Vehicle horn, car horn", "Rain"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'label,threshold\nDog,0.25\n"Vehicle horn, car horn",\n'),
        ("a.csv", '\ufefff1,threshold,label\r\n1,0.25,Dog\r\n1,,"Vehicle horn, car horn"\r\n'),
        ("a.json", '{"Dog": 0.25, "Vehicle horn, car horn": null}'),
        ("a.json", json.dumps({"format_version": 1, "rows": [
            {"label": "Dog", "threshold": 0.25, "f1": 1.0},
            {"label": "Vehicle horn, car horn", "threshold": None},
        ]})),
    ],
)  # fmt: skip
def test_both_formats_give_the_same_thresholds(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text.encode())
    thresholds = read_thresholds(path)
    assert thresholds == {"Dog": 0.25, "Vehicle horn, car horn": None}
    values = class_thresholds(thresholds, LABELS, 0.7)
    assert values.tolist() == [0.25, np.inf, 0.7]
    assert plain_thresholds(values, LABELS) == dict(zip(LABELS, [0.25, None, 0.7], strict=True))


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ('Label;Threshold\r\nDog;0,25\r\n"Vehicle horn, car horn";\r\n', "utf-8-sig"),
        ("sep=\t\nlabel\tTHRESHOLD\t\nDog\t0,25\t\nVehicle horn, car horn\t\t\n", "utf-8"),
        ('label,threshold\rDog,0.25\r"Vehicle horn, car horn",\r', "utf-16"),
        ("threshold|label\n0.25|Dog\n|Vehicle horn, car horn\n", "utf-32"),
    ],
)
def test_tables_of_spreadsheets_are_read(tmp_path, text, encoding):
    path = tmp_path / "a.csv"
    path.write_bytes(text.encode(encoding))
    assert read_thresholds(path) == {"Dog": 0.25, "Vehicle horn, car horn": None}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.csv", "label,threshold\nDog,é\n".encode("latin-1"), "line 2 has the byte 0xe9"),
        ("a.csv", "x" * 200_000, "not a CSV file"),
        ("a.csv", "label,threshold\nDog,\0\n", "bytes of value 0"),
        ("a.csv", "label,label,threshold\nDog,a,0.5\n", "'label' occurs more than once"),
        ("a.txt", "", "ends in .csv or .json"),
        ("a.csv", "", "no column 'label', 'threshold'"),
        ("a.csv", "label,value\nDog,1\n", "no column 'threshold'"),
        ("a.csv", "label,threshold\n", "contains no threshold"),
        ("a.csv", "label,threshold\nDog\n", "row 2: a cell is missing"),
        ("a.csv", "label,threshold\nhorn, car,0.5\n", "row 2: too many cells"),
        ("a.csv", "label,threshold\nDog,1.5\n", "row 2: threshold of 'Dog' is '1.5'"),
        ("a.csv", "label,threshold\nDog,nan\n", "expected a number from 0 to 1"),
        ("a.csv", "label,threshold\nDog,0.1\nDog,0.2\n", "row 3: label 'Dog' occurs twice"),
        ("a.json", "[0.5]", "expected an object such as"),
        ("a.json", '{"rows": [{"label": "Dog"}]}', "expected an object such as"),
        ("a.json", '{"Dog": "high"}', "key 'Dog': threshold of 'Dog' is 'high'"),
        ("a.json", "{", "not valid JSON"),
    ],
)
def test_wrong_files_are_named_with_their_row(tmp_path, name, text, reason):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpectrimError) as error:
        read_thresholds(path)
    assert reason in str(error.value) and str(path) in str(error.value)


def test_unknown_labels_get_the_nearest_names():
    with pytest.raises(SpectrimError) as error:
        class_thresholds({"Dgo": 0.5, "Dog": 0.1, "Ran": 0.2}, LABELS, source="a.csv")
    text = str(error.value)
    assert text.startswith("a.csv: 2 labels are not a class of the model: 'Dgo', 'Ran'.")
    assert "Did you mean 'Dog'" in text


def test_tag_applies_thresholds_of_classes():
    sound = (np.full(16_000, 0.5, np.float32), 16_000)  # mean 0.5 and peak 0.5
    rows = spectrim.tag(Loudness(), sound, threshold={"mean": 0.6})
    assert [label["label"] for label in rows[0]["labels"]] == ["peak"]
    rows = spectrim.tag(Loudness(), sound, threshold={"mean": None, "peak": 0.51})
    assert rows[0]["labels"] == []
