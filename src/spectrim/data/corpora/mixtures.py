"""Mixtures of two clips: a multi-label task for those who cannot download AudioSet.

A mixture has the labels of both clips. They belong to one fold, so folds stay disjoint, and to
two classes. Each clip is mixed with two partners, at levels from -5 to +5 dB. The random draws
depend on the names of the clips only, so everybody gets the same mixtures.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile

from ...audio.constants import SAMPLE_RATE, SHIFT
from ...audio.decode import read
from ...common.errors import SpectrimError
from ...common.files import save
from ..clip import Clip

PARTNERS = 2
LEVELS = (-5.0, 5.0)  # dB
SEED = 20250401
PEAK = 0.99
QUIET = 1e-4  # -40 dB below the energy of the loudest frame
CACHED = 128  # decoded clips; a fold of ESC-10 has 80, which take 26 MB


@dataclass(frozen=True)
class Mixture:
    """Two clips to mix.

    Attributes:
        name: file name of the mixture.
        first, second: clips of one fold, with different labels.
        level: level of the second clip relative to the first, in dB.
    """

    name: str
    first: Clip
    second: Clip
    level: float

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of both clips."""
        return (*self.first.labels, *self.second.labels)


def plan_mixtures(clips: Sequence[Clip]) -> list[Mixture]:
    """Draw partners and levels; a clip gets fewer partners if its fold has few other classes.

    The order of `clips` does not matter. A pair may occur twice, in both orders and at two levels.
    """
    ordered = sorted(clips, key=lambda clip: (clip.fold or "", clip.path.stem))
    mixtures = []
    for clip in ordered:
        others = [
            other
            for other in ordered
            if other.fold == clip.fold and not set(other.labels) & set(clip.labels)
        ]
        generator = np.random.default_rng([SEED, zlib.crc32(clip.path.stem.encode())])
        count = min(PARTNERS, len(others))
        picks = generator.choice(len(others), count, replace=False).tolist() if count else []
        levels = generator.uniform(*LEVELS, count)
        for pick, level in zip(picks, levels, strict=True):
            name = f"{clip.path.stem}+{others[pick].path.stem}.flac"
            mixtures.append(Mixture(name, clip, others[pick], float(level)))
    return mixtures


def write_mixtures(
    mixtures: Sequence[Mixture], folder: Path, tick: Callable[[], object]
) -> tuple[list[Clip], list[str]]:
    """Write mixtures as 16 kHz mono 16-bit FLAC.

    Args:
        folder: folder of the files; existing files are replaced.
        tick: called after each mixture.

    Returns:
        The clips that were written, and a message for each source that cannot be read; its
        mixtures are left out.
    """

    @lru_cache(CACHED)
    def sound(path: Path) -> np.ndarray | SpectrimError:
        try:
            return read(path)
        except SpectrimError as error:
            return error

    clips: list[Clip] = []
    failures: dict[Path, str] = {}
    for mixture in mixtures:
        sources = [mixture.first.path, mixture.second.path]
        first, second = (sound(path) for path in sources)
        bad = {p: str(s) for p, s in zip(sources, (first, second), strict=True)
               if isinstance(s, SpectrimError)}  # fmt: skip
        failures |= bad
        if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
            path = _write(folder / mixture.name, mix(first, second, mixture.level))
            clips.append(replace(mixture.first, path=path, labels=mixture.labels))
        tick()
    return clips, list(failures.values())


def mix(first: np.ndarray, second: np.ndarray, level: float) -> np.ndarray:
    """The sum of two sounds, the second `level` dB louder than the first.

    The louder sound keeps its gain unless the sum would clip. The shorter is padded with silence.

    Args:
        first, second: (samples,) float32.

    Returns:
        (samples,) float32 with a peak of at most 0.99.
    """
    gain = 10 ** (level / 20) * _loudness(first) / _loudness(second)
    mixed = np.zeros(max(len(first), len(second)))
    mixed[: len(first)] += first * max(1.0, 1 / gain)
    mixed[: len(second)] += second * max(1.0, gain)
    return (mixed * min(1.0, PEAK / max(float(np.abs(mixed).max()), 1e-9))).astype(np.float32)


def _loudness(samples: np.ndarray) -> float:
    """Root mean square of the frames within 40 dB of the loudest; 1 for silence.

    Many clips of ESC are a short sound followed by silence, which must not lower the loudness.
    """
    frames = samples[: len(samples) // SHIFT * SHIFT].reshape(-1, SHIFT)
    energy = np.square(frames, dtype=np.float64).mean(1)
    heard = energy[energy > QUIET * energy.max()]
    return float(np.sqrt(heard.mean())) if len(heard) else 1.0


def _write(path: Path, samples: np.ndarray) -> Path:
    return save(
        path,
        lambda aside: soundfile.write(aside, samples, SAMPLE_RATE, "PCM_16", format="FLAC"),
    )
