"""Clips made for the analysis: noise, silence, and a tone whose place is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from spectrim.data.clip import Clip
from spectrim.data.manifest import Manifest

RATE = 16_000
LABELS = ("a", "b", "c", "d", "e")


def noise(seconds=1.3, level=0.1, seed=0):
    return np.random.default_rng(seed).normal(0, level, round(seconds * RATE))


def silence(seconds=1.3):
    return np.zeros(round(seconds * RATE))


def burst(hertz, start, end, seconds=1.3):
    """Faint noise with a loud tone at a frequency, between two times."""
    time = np.arange(round(seconds * RATE)) / RATE
    here = (time >= start) & (time < end)
    return noise(seconds, 1e-4) + 0.5 * np.sin(2 * np.pi * hertz * time) * here


def manifest(folder: Path, waveforms: Sequence[np.ndarray], labelled: bool = True) -> Manifest:
    """The waveforms as files, with labels in turn."""
    folder.mkdir(exist_ok=True)
    clips = []
    for number, waveform in enumerate(waveforms):
        path = folder / f"{number}.wav"
        soundfile.write(path, waveform, RATE, subtype="FLOAT")
        labels = (LABELS[number % len(LABELS)],) if labelled else ()
        clips.append(Clip(path, labels, row=number + 2))
    return Manifest(folder / "clips.csv", tuple(clips))
