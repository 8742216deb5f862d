"""Events, against a finder that walks through a recording millisecond by millisecond."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

import spectrim
from loudness import RATE, Loudness
from spectrim.audio.decode import read
from spectrim.common.errors import SpectrimError
from spectrim.data.builtin import sample_pack
from spectrim.data.manifest import read_data
from spectrim.deploy.events import Event, EventRule, find_events, reason_for_no_event

SIZE = 100  # milliseconds of a window


def slow_events(starts, values, threshold, low, merge_gap, min_duration):
    """Start, end, peak and mean of the events of one class; starts in ms, of windows of `SIZE`.

    A millisecond belongs to the window with the nearest centre among those that cover it.
    """
    owners = []
    for tick in range(starts[-1] + SIZE):
        covering = [i for i, s in enumerate(starts) if s <= tick < s + SIZE]
        owners.append(
            min(covering, key=lambda i: abs(starts[i] + SIZE / 2 - (tick + 0.5)), default=None)
        )
    level = [None if owner is None else values[owner] for owner in owners]
    runs = []
    for tick, value in enumerate(level):
        if value is None or value < low:
            continue
        if runs and runs[-1][1] == tick:
            runs[-1][1] = tick + 1
        else:
            runs.append([tick, tick + 1])
    runs = [run for run in runs if any(level[t] >= threshold for t in range(*run))]
    events = []
    for start, end in runs:
        if events and start - events[-1][1] <= merge_gap:
            events[-1][1] = end
        else:
            events.append([start, end])
    result = []
    for start, end in events:
        if end - start >= min_duration:
            inside = [values[i] for i in dict.fromkeys(owners[start:end]) if i is not None]
            result.append((start / 1000, end / 1000, max(inside), sum(inside) / len(inside)))
    return result


def test_events_equal_those_of_the_slow_finder():
    rng = np.random.default_rng(0)
    num_events = num_merged = 0
    for _ in range(150):
        hop = int(rng.choice([10, 20, 50, 76, 100]))
        starts = np.arange(0, int(rng.integers(1, 25)) * hop, hop)
        starts = starts[rng.random(len(starts)) > 0.1]  # windows whose output was not finite
        if not len(starts):
            continue
        table = rng.random((len(starts), 2)).round(2)
        thresholds = rng.choice([0.3, 0.5, 0.9], 2)
        release = float(rng.choice([0.4, 0.8, 1.0]))
        gap, shortest = int(rng.choice([0, 20, 76, 150])), int(rng.choice([0, 50, 120]))
        events = find_events(
            starts / 1000, (starts + SIZE) / 1000, table, ["a", "b"],
            thresholds=list(thresholds), release=release,
            merge_gap=gap / 1000, min_duration=shortest / 1000,
        )  # fmt: skip
        for column, label in enumerate("ab"):
            expected = slow_events(
                starts.tolist(), table[:, column].tolist(), thresholds[column],
                release * thresholds[column], gap, shortest,
            )  # fmt: skip
            rows = [(e.start, e.end, e.peak, e.mean) for e in events if e.label == label]
            np.testing.assert_allclose(rows, expected, atol=1e-6) if expected else None
            assert len(rows) == len(expected)
            num_events += len(rows)
        assert [event.start for event in events] == sorted(event.start for event in events)
        plain = find_events(starts / 1000, (starts + SIZE) / 1000, table, ["a", "b"],
                            thresholds=list(thresholds), release=release)  # fmt: skip
        num_merged += len(plain) > len(events)
    assert num_events > 300 and num_merged > 40, "the cases are not trivial"


def test_the_example_of_the_docstring():
    starts, ends = [0, 4, 8], [10, 14, 18]
    (event,) = find_events(starts, ends, [[0.1], [0.9], [0.2]], ["dog"])
    assert event == Event("dog", 7.0, 11.0, 0.9, 0.9)
    table = [[0.6], [0.4], [0.6]]
    assert [(e.start, e.end) for e in find_events(starts, ends, table, ["dog"])] == [
        (0.0, 7.0), (11.0, 18.0),
    ]  # fmt: skip
    whole = Event("dog", 0.0, 18.0, 0.6, round(1.6 / 3, 6))
    assert find_events(starts, ends, table, ["dog"], release=0.8) == [whole]
    assert find_events(starts, ends, table, ["dog"], merge_gap=4) == [whole]
    assert find_events(starts, ends, table, ["dog"], min_duration=7.1) == []


def test_neighbours_without_overlap_and_a_short_last_window():
    """A window of 10 s, and a tail of 6 s: the event ends where the sound does."""
    (event,) = find_events([0, 10], [10, 16], [[0.2], [0.7]], ["dog"])
    assert (event.start, event.end) == (10.0, 16.0)


def test_thresholds_of_classes():
    table = np.full((2, 3), 0.45)
    labels, places = ["a", "b", "c"], ([0, 1], [1, 2])
    assert find_events(*places, table, labels) == []
    events = find_events(*places, table, labels, thresholds={"a": 0.45, "c": 0.4})
    assert [event.label for event in events] == ["a", "c"]
    assert len(find_events(*places, table, labels, thresholds=0.4)) == 3
    never = {"a": None, "b": 0.0, "c": None}
    assert [e.label for e in find_events(*places, table, labels, thresholds=never)] == ["b"]
    assert find_events([], [], [], labels) == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"release": 0.0}, "more than 0 and at most 1"),
        ({"release": 1.2}, "more than 0 and at most 1"),
        ({"merge_gap": -1}, "merge_gap is -1; expected a number of seconds from 0"),
        ({"min_duration": float("nan")}, "min_duration is nan"),
        ({"thresholds": 1.5}, "expected numbers from 0 to 1"),
        ({"thresholds": [0.5, 0.5, 0.5]}, "3 values for 2 classes"),
        ({"thresholds": {"dgo": 0.5}}, "Did you mean 'dog'"),
        ({"thresholds": {"dog": "high"}}, "threshold of 'dog' is 'high'"),
        ({"thresholds": {"dog": True}}, "threshold of 'dog' is True"),
    ],
)
def test_values_out_of_range(options, reason):
    with pytest.raises(SpectrimError, match=reason):
        find_events([0], [1], [[0.5, 0.5]], ["dog", "rain"], **options)


@pytest.mark.parametrize(
    ("starts", "ends", "table", "reason"),
    [
        ([0, 1], [1], [[0.5]], "2 starts, 1 ends and 1 rows"),
        ([0], [1], [[0.5, 0.5]], r"expected \(windows, 1\)"),
        ([0], [1], [[np.nan]], "not finite"),
        ([1, 0], [2, 1], [[0.5], [0.5]], "not in order"),
        ([1], [1], [[0.5]], "not in order"),
    ],
)
def test_windows_that_do_not_fit(starts, ends, table, reason):
    with pytest.raises(SpectrimError, match=reason):
        find_events(starts, ends, table, ["dog"])


def test_the_reason_names_the_class_that_comes_closest():
    table = [[0.3, 0.1], [0.44, 0.2]]
    rule = EventRule({"dog": 0.9, "rain": 0.25})
    reason = reason_for_no_event(rule, [0, 5], table, ["dog", "rain"])
    assert reason.endswith("The closest is 'rain' at 5.0 s with 0.2 of 0.25")
    rule = EventRule(0.4, min_duration=30)
    assert "shorter than 30 s" in reason_for_no_event(rule, [0, 5], table, ["dog", "rain"])
    rule = EventRule({"dog": None, "rain": None})
    assert "exclude every class" in reason_for_no_event(rule, [0, 5], table, ["dog", "rain"])


def test_planted_bursts_are_reported_where_they_are(tmp_path):
    """`Loudness` gives the largest magnitude of a window of 1 s, here of bursts of known level."""
    samples = np.zeros(20 * RATE, np.float32)
    for start, level in ((5.0, 0.8), (11.5, 0.6)):
        samples[round(start * RATE) : round((start + 2) * RATE)] = level
    path = tmp_path / "bursts.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    rows = spectrim.tag_events(Loudness(), path, thresholds={"peak": 0.5, "mean": None}, hop=0.1)
    # A window contains a part of a burst if its centre is up to 0.5 s before or after it.
    spans = [(row["start"], row["end"]) for row in rows]
    np.testing.assert_allclose(spans, [(4.5, 7.5), (11.0, 14.0)], atol=0.1001)
    assert [row["peak"] for row in rows] == pytest.approx([0.8, 0.6], abs=1e-6)
    # A window's mean reaches 0.4 with half a second of the first burst, two thirds of the second.
    rows = spectrim.tag_events(Loudness(), path, thresholds={"peak": None, "mean": 0.4}, hop=0.1)
    spans = [(5, 7), (11.5 + 1 / 6, 13.5 - 1 / 6)]
    np.testing.assert_allclose([(row["start"], row["end"]) for row in rows], spans, atol=0.1001)
    assert rows[0]["file"] == str(path) and rows[0]["label"] == "mean"


def test_digits_of_the_sample_pack_are_reported_where_they_were_planted():
    clips = [clip for clip in read_data(sample_pack()).clips if clip.labels][:24]
    chosen = list({clip.labels[0]: clip for clip in clips}.values())[:5]
    model = spectrim.load("ast-digits")
    sounds = [read(clip.path) for clip in chosen]
    places, time = [], 0.0
    for sound in sounds:
        places.append((time, time + len(sound) / RATE))
        time += len(sound) / RATE
    rows = spectrim.tag_events(
        model, (np.concatenate(sounds), RATE), thresholds=0.6, hop=0.2, min_duration=0.2
    )
    for clip, (start, end) in zip(chosen, places, strict=True):
        centres = [(r["start"] + r["end"]) / 2 for r in rows if r["label"] == clip.labels[0]]
        assert any(start <= centre <= end for centre in centres), clip.labels


def test_failures_and_the_default_hop(tmp_path):
    (tmp_path / "bad.wav").write_text("no sound")
    with pytest.raises(SpectrimError, match=r"bad\.wav"):
        spectrim.tag_events(Loudness(), tmp_path / "bad.wav")
    failures = []
    assert spectrim.tag_events(Loudness(), tmp_path / "bad.wav", failures=failures) == []
    assert len(failures) == 1
    samples = np.zeros(3 * RATE, np.float32)
    samples[round(1.6 * RATE)] = 0.9  # in the windows from 1 s and from 1.5 s on
    (row,) = spectrim.tag_events(Loudness(), (samples, RATE), thresholds={"mean": None})
    assert (row["start"], row["end"]) == (1.25, 2.25)
