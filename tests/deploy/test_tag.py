"""Tagging: windows, rows, and bad items among good ones."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

import spectrim
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.data.builtin import sample_pack
from spectrim.deploy.runner import Runner
from spectrim.deploy.torch_runner import TorchRunner

RATE = 16_000
WINDOW = 127 * 160 + 400  # samples of 128 frames


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = spectrim.create("ast-tiny", frames=128, labels=["low", "mid", "high"])
    with torch.no_grad():
        made.head.weight.mul_(50)
    return made


def sound(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def test_each_window_is_tagged_as_if_it_were_alone(model):
    whole = sound(3 * WINDOW / RATE + 0.9)
    rows = spectrim.tag(model, (whole, RATE), top=3, batch_size=2)
    starts = [0, WINDOW, 2 * WINDOW, 3 * WINDOW]  # the tail is over half a window
    assert [row["start"] for row in rows] == [round(s / RATE, 3) for s in starts]
    assert rows[-1]["end"] == round(len(whole) / RATE, 3)
    for row, start in zip(rows, starts, strict=True):
        alone = whole[start : start + WINDOW]
        values = model.probabilities(model(*model.features((alone, RATE))))[0]
        assert [entry["label"] for entry in row["labels"]] == [
            model.labels[i] for i in values.argsort(descending=True)
        ]
        found = {entry["label"]: entry["probability"] for entry in row["labels"]}
        for label, value in zip(model.labels, values.tolist(), strict=True):
            assert found[label] == pytest.approx(value, abs=1e-4)


def test_pruned_models_and_thresholds(model):
    pruned = spectrim.prune(model, 0.5)
    (row,) = spectrim.tag(pruned, (sound(1), RATE), top=1)
    assert len(row["labels"]) == 1
    (row,) = spectrim.tag(pruned, (sound(1), RATE), threshold=1.0)
    assert row["labels"] == []


@pytest.mark.parametrize(("how", "reduce"), [("maximum", np.max), ("mean", np.mean)])
def test_one_row_a_file(model, how, reduce):
    whole = (sound(4), RATE)
    windows = spectrim.tag(model, whole, top=3)
    values = [{e["label"]: e["probability"] for e in row["labels"]} for row in windows]
    (row,) = spectrim.tag(model, whole, top=3, one_row=how)
    assert (row["start"], row["end"]) == (0, 4)
    for entry in row["labels"]:
        expected = reduce([v[entry["label"]] for v in values])
        assert entry["probability"] == pytest.approx(expected, abs=1e-5)


def test_a_bad_file_does_not_stop_the_others(model, tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(1), RATE)
    (tmp_path / "b.wav").write_text("no sound")
    soundfile.write(tmp_path / "c.flac", sound(2, 1), RATE)
    files = [tmp_path / name for name in ("a.wav", "b.wav", "missing.wav", "c.flac")]
    failures = []
    rows = spectrim.tag(model, files, failures=failures)
    assert {row["file"] for row in rows} == {str(files[0]), str(files[3])}
    assert [name for name, _ in failures] == [str(files[1]), str(files[2])]
    with pytest.raises(SpectrimError, match=r"b\.wav"):
        spectrim.tag(model, files)


@pytest.mark.parametrize(
    "wrong", [{"top": 0}, {"threshold": 2}, {"one_row": "median"}, {"hop": 0}, {"hop": 99}]
)
def test_values_out_of_range(model, wrong):
    with pytest.raises(SpectrimError, match="expected"):
        spectrim.tag(model, (sound(1), RATE), **wrong)


def test_silence_is_tagged(model):
    (row,) = spectrim.tag(spectrim.prune(model, 0.5, "intensity"), (np.zeros(RATE), RATE))
    assert all(np.isfinite(entry["probability"]) for entry in row["labels"])


def test_a_batch_in_pieces_says_what_each_clip_alone_says(model, monkeypatch):
    waveforms = [sound(seconds, seed) for seed, seconds in enumerate((1.2, 0.4, 0.9, 1.3, 0.1))]
    alone = np.concatenate([TorchRunner(model).probabilities([one]) for one in waveforms])
    calls = []
    heard = model.features_from_waveforms
    monkeypatch.setattr(type(model), "features_from_waveforms",
                        lambda self, part: calls.append(len(part)) or heard(part))  # fmt: skip
    together = TorchRunner(model, 2 * model.config.grid.count).probabilities(waveforms)
    assert calls == [2, 2, 1]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert TorchRunner(model).probabilities([]).shape == (0, 3)


def test_sounds_of_one_name_have_a_row_each(model):
    """Sounds in memory are all called alike."""
    sounds = [(sound(2, seed), RATE) for seed in range(3)]
    rows = spectrim.tag(model, sounds, top=3, one_row="mean")
    alone = [spectrim.tag(model, one, top=3, one_row="mean")[0] for one in sounds]
    assert [row["labels"] for row in rows] == [row["labels"] for row in alone]


@pytest.mark.parametrize("one_row", [None, "mean"])
def test_an_answer_that_is_no_number_fails_its_file_alone(one_row):
    class Overflows(Runner):
        """Like a model in float16: loud sounds are too much for it."""

        labels, window = ("low", "high"), WINDOW

        def probabilities(self, waveforms):
            return np.array([[0.5, np.nan if abs(w).max() > 1 else 0.5] for w in waveforms])

        def context(self, name, batch_size):
            return {}

    loud = np.concatenate([sound(3), 30 * sound(3, 1)])
    failures = []
    sounds = [(sound(1), RATE), (loud, RATE), (sound(2), RATE)]
    rows = spectrim.tag(Overflows(), sounds, failures=failures, one_row=one_row)
    assert all(entry["probability"] == 0.5 for row in rows for entry in row["labels"])
    assert len(rows) >= 2 and all(len(row["labels"]) == 2 for row in rows)
    ((_, said),) = failures
    assert "not finite" in said
    with pytest.raises(SpectrimError, match="not finite"):
        spectrim.tag(Overflows(), sounds, one_row=one_row)


def test_a_channel_is_chosen_and_recorded(tmp_path):
    model = spectrim.load("ast-digits")
    word, rate = soundfile.read(sample_pack().parent / "seven-03.ogg", dtype="float32")
    stereo = np.stack([np.zeros_like(word), word, -word], 1)
    path = tmp_path / "three.wav"
    soundfile.write(path, stereo, rate, subtype="FLOAT")
    alone = spectrim.tag(model, (word, rate))[0]["labels"]
    for channel in (1, "1", "loudest"):
        (row,) = spectrim.tag(model, path, channel=channel)
        assert row["labels"] == alone and str(row["channel"]) == str(channel)
        features, _ = model.features(path, channel=channel)
        assert torch.equal(features, model.features((word, rate))[0])
    with pytest.warns(SpectrimNotice, match="the mean of its 3 channels keeps 0.0%"):
        (row,) = spectrim.tag(model, path)
    assert row["labels"] != alone and row["channel"] == "mix"
    failures = []
    assert spectrim.tag(model, path, channel=3, failures=failures) == []
    assert "no channel 3; it has 3" in failures[0][1]
    with pytest.raises(SpectrimError, match="a channel of 'left'"):
        spectrim.tag(model, path, channel="left")


@pytest.mark.parametrize("sound", [None, 5, object()])
def test_what_is_no_sound_gets_a_sentence(sound):
    with pytest.raises(SpectrimError, match="a sound is a path, bytes, an open file, "):
        spectrim.tag(spectrim.load("ast-digits"), sound)


def test_channels_first_and_bytes_of_every_kind():
    model = spectrim.load("ast-digits")
    with pytest.raises(SpectrimError, match="Transpose channels-first"):
        spectrim.tag(model, (np.zeros((2, RATE)), RATE))
    with pytest.raises(SpectrimError, match="Pass an array together with its sampling rate"):
        spectrim.tag(model, torch.zeros(2, RATE))
    data = (sample_pack().parent / "seven-03.ogg").read_bytes()
    labels = [
        spectrim.tag(model, kind(data))[0]["labels"] for kind in (bytes, bytearray, memoryview)
    ]
    assert labels[0] == labels[1] == labels[2]
