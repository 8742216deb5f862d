"""Mixtures of clips: a multi-label task for those who cannot download AudioSet.

A mixture has the labels of all its sounds. They belong to one fold, so folds stay disjoint, and to
different classes. Levels differ by up to 5 dB. The random draws depend on the names of the clips
only, so everybody gets the same mixtures.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
SCENE_SEED = 20261127
SCENE_SECONDS = 10.0  # as long as AudioSet's clips
SHARE_OF_THREE = 0.5  # fraction of the scenes that have three sounds
PEAK = 0.99
QUIET = 1e-4  # -40 dB below the energy of the loudest frame
CACHED = 512  # decoded clips; a fold of ESC-50 has 400, which take 128 MB


@dataclass(frozen=True)
class MixedSound:
    """One sound of a mixture.

    Attributes:
        clip: where the sound is read from.
        level: relative to the first sound, in dB; 0 for the first.
        start: seconds of the mixture at which it begins.
    """

    clip: Clip
    level: float = 0.0
    start: float = 0.0


@dataclass(frozen=True)
class Mixture:
    """Clips of one fold and of different classes, to be added up.

    Attributes:
        name: file name of the mixture.
        sounds: in the order of their start.
        seconds: its length; None: that of the longest sound.
    """

    name: str
    sounds: tuple[MixedSound, ...]
    seconds: float | None = None

    def clip(self, path: Path) -> Clip:
        """The mixture as a clip, with the labels, the fold and the licences of its sounds."""
        clips = [part.clip for part in self.sounds]
        licences = sorted({clip.licence for clip in clips if clip.licence})
        return Clip(
            path,
            tuple(label for clip in clips for label in clip.labels),
            split=clips[0].split,
            fold=clips[0].fold,
            licence=" and ".join(licences) or None,
        )


def plan_mixtures(clips: Sequence[Clip]) -> list[Mixture]:
    """Pairs: each clip with two partners, both from the start of the mixture.

    A clip gets fewer partners if its fold has few other classes. The order of `clips` does not
    matter. A pair may occur twice, in both orders and at two levels.
    """
    ordered = sorted(clips, key=lambda clip: (clip.fold or "", clip.path.stem))
    mixtures = []
    for clip in ordered:
        others = [other for other in ordered if _may_mix(clip, other)]
        generator = np.random.default_rng([SEED, zlib.crc32(clip.path.stem.encode())])
        count = min(PARTNERS, len(others))
        picks = generator.choice(len(others), count, replace=False).tolist() if count else []
        levels = generator.uniform(*LEVELS, count)
        for pick, level in zip(picks, levels, strict=True):
            name = f"{clip.path.stem}+{others[pick].path.stem}.flac"
            mixtures.append(
                Mixture(name, (MixedSound(clip), MixedSound(others[pick], float(level))))
            )
    return mixtures


def plan_scenes(clips: Sequence[tuple[str, Clip]]) -> list[Mixture]:
    """Ten-second scenes: each clip with one or two partners, each at a random time.

    Args:
        clips: unique names and clips. The order does not matter.

    Returns:
        One scene per clip that has a partner in its fold.
    """
    ordered = sorted(clips, key=lambda pair: (pair[1].fold or "", pair[0]))
    scenes = []
    for name, clip in ordered:
        generator = np.random.default_rng([SCENE_SEED, zlib.crc32(name.encode())])
        count = 3 if generator.random() < SHARE_OF_THREE else 2
        chosen = [(name, clip)]
        for _ in range(count - 1):
            others = [
                pair for pair in ordered if all(_may_mix(known, pair[1]) for _, known in chosen)
            ]
            if others:
                chosen.append(others[int(generator.integers(len(others)))])
        sounds = []
        for number, (_, sound) in enumerate(chosen):
            level = float(generator.uniform(*LEVELS)) if number else 0.0
            latest = max(0.0, SCENE_SECONDS - clip_seconds(sound))
            start = round(float(generator.uniform(0, latest)), 2)
            sounds.append(MixedSound(sound, level, start))
        if len(sounds) > 1:
            file = "+".join(stem for stem, _ in chosen) + ".flac"
            scenes.append(Mixture(file, tuple(sounds), SCENE_SECONDS))
    return scenes


def clip_seconds(clip: Clip) -> float:
    """Length of a clip of ESC, which lasts 5 s unless the manifest says otherwise."""
    return 5.0 if clip.end is None else clip.end - (clip.start or 0.0)


def _may_mix(clip: Clip, other: Clip) -> bool:
    return clip.fold == other.fold and not set(clip.labels) & set(other.labels)


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
    def sound(clip: Clip) -> np.ndarray | SpectrimError:
        try:
            return read(clip.path, clip.start, clip.end)
        except SpectrimError as error:
            return error

    clips: list[Clip] = []
    failures: dict[str, None] = {}  # in order, each message once
    for mixture in mixtures:
        sounds = [sound(part.clip) for part in mixture.sounds]
        waveforms = [one for one in sounds if isinstance(one, np.ndarray)]
        failures |= {str(one): None for one in sounds if isinstance(one, SpectrimError)}
        if len(waveforms) == len(sounds):
            levels = [part.level for part in mixture.sounds]
            starts = [part.start for part in mixture.sounds]
            mixed = mix(waveforms, levels, starts, mixture.seconds)
            clips.append(mixture.clip(_write(folder / mixture.name, mixed)))
        tick()
    return clips, list(failures)


def mix(
    sounds: Sequence[np.ndarray],
    levels: Sequence[float],
    starts: Sequence[float] = (),
    seconds: float | None = None,
) -> np.ndarray:
    """The sum of sounds at given levels.

    No sound is made quieter unless the sum would clip. Silence fills the rest.

    Args:
        sounds: (samples,) float32 each.
        levels: of each sound relative to the first, in dB.
        starts: seconds at which each sound begins; empty: 0.
        seconds: length of the mixture, which cuts sounds that last longer; None: that of the
            longest sound.

    Returns:
        (samples,) float32 with a peak of at most 0.99.
    """
    gains = [
        10 ** (level / 20) * _loudness(sounds[0]) / _loudness(sound)
        for sound, level in zip(sounds, levels, strict=True)
    ]
    offsets = [round(start * SAMPLE_RATE) for start in starts] or [0] * len(sounds)
    ends = [offset + len(sound) for offset, sound in zip(offsets, sounds, strict=True)]
    mixed = np.zeros(max(ends) if seconds is None else round(seconds * SAMPLE_RATE))
    for sound, gain, offset in zip(sounds, gains, offsets, strict=True):
        target = mixed[offset : offset + len(sound)]
        target += sound[: len(target)] * (gain / min(gains))
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
