"""What the features ought to be: Kaldi's own code, and the definition in float64."""

from __future__ import annotations

import math
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from spectrim.data.builtin import sample_pack

CORPORA = {"ESC-10": "*/*.ogg", "FSDD": "recordings/*.wav"}


def recordings(corpus: str, every: int = 1) -> list[Path]:
    """Every `every`-th clip of a corpus, in order; of the sample pack where it is absent."""
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("SPECTRIM_DATA", default)) / corpus
    files = sorted(folder.glob(CORPORA[corpus]))
    if files:
        return files[::every]
    return sorted(sample_pack().parent.glob("*.ogg"))[::every]


def by_kaldi(waveform: np.ndarray, mels: int = 128) -> np.ndarray:
    """(frames, mels) from (samples,) at 16 kHz, by kaldi-native-fbank."""
    fbank = pytest.importorskip("kaldi_native_fbank")
    options = fbank.FbankOptions()
    options.frame_opts.samp_freq = 16000
    options.frame_opts.dither = 0
    options.frame_opts.window_type = "hanning"
    options.frame_opts.snip_edges = True
    options.mel_opts.num_bins = mels
    options.use_energy = False
    options.htk_compat = True
    computer = fbank.OnlineFbank(options)
    computer.accept_waveform(16000, waveform - waveform.mean())
    computer.input_finished()
    frames = [computer.get_frame(i) for i in range(computer.num_frames_ready)]
    return np.array(frames).reshape(-1, mels)


def by_definition(waveform: np.ndarray) -> np.ndarray:
    """The same from the definition, in float64, with a true FFT."""
    waveform = waveform.astype(np.float64)
    waveform = waveform - waveform.mean()
    frames = np.lib.stride_tricks.sliding_window_view(waveform, 400)[::160]
    frames = frames - frames.mean(1, keepdims=True)
    previous = np.concatenate([frames[:, :1], frames[:, :-1]], 1)
    frames = (frames - 0.97 * previous) * hanning()
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    return np.log(np.maximum(power @ filters(), 2.0**-23))


@cache
def hanning() -> np.ndarray:
    """Kaldi's "hanning": symmetric, zero at both ends (its "hann" is the periodic one)."""
    return np.array([0.5 - 0.5 * math.cos(2 * math.pi * i / 399) for i in range(400)])


@cache
def filters() -> np.ndarray:
    """(257, 128) triangles, equally spaced in mel between 20 Hz and Nyquist, bin by bin."""

    def mel(hz: float) -> float:
        return 1127.0 * math.log(1 + hz / 700)

    low, high = mel(20), mel(8000)
    step = (high - low) / 129
    weights = np.zeros((257, 128))
    for j in range(128):
        left, centre, right = (low + (j + i) * step for i in range(3))
        for k in range(256):
            at = mel(k * 16000 / 512)
            if left < at <= centre:
                weights[k, j] = (at - left) / (centre - left)
            elif centre < at < right:
                weights[k, j] = (right - at) / (right - centre)
    return weights
