"""Timelines: the columns of the spectrogram, and what is drawn under it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import soundfile
import torch
from matplotlib.figure import Figure

from spectrim.analysis.figures import timeline
from spectrim.analysis.figures.timeline import clock, draw_timeline, log_mel_columns
from spectrim.audio.filterbank import FilterBank
from spectrim.deploy.events import Event

RATE = 16_000


@pytest.fixture
def sound(tmp_path):
    samples = np.random.default_rng(0).normal(0, 0.1, 40 * RATE + 123)
    soundfile.write(tmp_path / "noise.wav", samples, RATE, subtype="FLOAT")
    return tmp_path / "noise.wav", samples.astype(np.float32)


@pytest.mark.parametrize("most", [1500, 150])
def test_columns_are_means_of_the_energies_of_frames(sound, monkeypatch, most):
    """40 s are 3,998 frames: 3 or 27 in each column."""
    path, samples = sound
    monkeypatch.setattr(timeline, "MOST_COLUMNS", most)
    columns, seconds = log_mel_columns(path, (0, len(samples) / RATE))
    features, _ = FilterBank()(torch.from_numpy(samples)[None])
    energies = features[0].double().exp().numpy()
    size = math.ceil(len(energies) / most)
    expected = [energies[i : i + size].mean(0) for i in range(0, len(energies), size)]
    assert len(columns) == len(expected) <= most
    np.testing.assert_allclose(np.exp(columns), expected, rtol=1e-2)
    assert seconds == pytest.approx(len(samples) / RATE, abs=0.02)


def test_a_part_of_a_recording_and_a_damaged_one(sound, tmp_path):
    path, samples = sound
    part, _ = log_mel_columns(path, (10.0, 12.0))
    whole, _ = log_mel_columns((samples[10 * RATE : 12 * RATE], RATE), (0.0, 2.0))
    np.testing.assert_allclose(part, whole, atol=1e-4)
    samples[20 * RATE] = np.nan
    soundfile.write(tmp_path / "bad.wav", samples, RATE, subtype="FLOAT")
    columns, seconds = log_mel_columns(tmp_path / "bad.wav", (0.0, 40.0))
    assert 0 < seconds <= 20.1 and np.isfinite(columns).all()


def drawn(monkeypatch, path, sound, events, span):
    figures = []
    monkeypatch.setattr(timeline, "save_png", lambda path, figure: figures.append(figure))
    draw_timeline(path, sound, events, span)
    (figure,) = figures
    assert isinstance(figure, Figure)
    return figure


def test_bars_lie_where_the_events_are(sound, monkeypatch, tmp_path):
    events = [Event("dog", 1.0, 4.0, 0.9, 0.7), Event("$rain$", 2.0, 2.01, 0.5, 0.5),
              Event("dog", 30.0, 40.0, 0.6, 0.6)]  # fmt: skip
    figure = drawn(monkeypatch, tmp_path / "a.png", sound[0], events, (0.0, 40.0))
    spectrogram, bars, _, peaks = figure.axes
    assert peaks.get_ylabel() == "peak"
    opacity = [bar.get_facecolor()[3] for bar in bars.patches]  # of peaks 0.9, 0.6 and 0.5
    assert opacity == sorted(opacity, reverse=True) and len(set(opacity)) == 3
    assert [text.get_text() for text in bars.get_yticklabels()] == ["dog", "$rain$"]
    boxes = [(bar.get_x(), bar.get_width(), bar.get_y() + 0.35) for bar in bars.patches]
    np.testing.assert_allclose(boxes, [(1, 3, 0), (30, 10, 0), (2, 0.12, 1)], atol=1e-9)
    assert bars.get_xlim() == spectrogram.get_xlim() == (0, 40)
    assert bars.get_xlabel() == "time (s)"
    empty = drawn(monkeypatch, tmp_path / "a.png", sound[0], [], (0.0, 40.0))
    assert [text.get_text() for text in empty.axes[1].texts] == ["no event"]


def test_only_the_labels_with_the_highest_peaks_are_drawn(sound, monkeypatch, tmp_path):
    events = [Event(f"class {i}", i / 10, i / 10 + 1, 0.5 + i / 100, 0.5) for i in range(25)]
    bars = drawn(monkeypatch, tmp_path / "a.png", sound[0], events, (0.0, 40.0)).axes[1]
    names = [text.get_text() for text in bars.get_yticklabels()]
    assert names == [f"class {i}" for i in range(5, 25)]
    assert "5 more labels with lower peaks are not shown" in bars.get_xlabel()


def test_times_of_long_recordings():
    assert [clock(value) for value in (0, 59.6, 150, 3600, 3750)] == [
        "0:00", "1:00", "2:30", "1:00:00", "1:02:30",
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_files_are_written(sound, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    assert draw_timeline(path, sound[0], [], (0.0, 3.0)) == path
    assert path.stat().st_size > 5_000
