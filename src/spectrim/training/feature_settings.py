"""Settings of the features of a run: front end, length, mean and std."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..audio.constants import seconds_to_read
from ..audio.decode import duration_of
from ..audio.front_ends import KALDI, FrontEnd
from ..common.errors import SpectrimError
from ..data.clip import Clip
from ..data.stats import measure_clips
from ..models.config import ModelConfig
from ..models.loading.load import load_with_assumptions
from ..models.loading.options import LoadOptions
from ..models.presets import preset
from ..pruning.patches import PATCH
from .recipe import PretrainRecipe, Recipe

MEASURED_CLIPS = 2000  # maximum number of clips that mean and std are measured on
MAX_FRAMES = 1024  # maximum length chosen from the clips
Tick = Callable[[int], None]


def no_tick(clips: int) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class Features:
    """Settings of features.

    Attributes:
        frames: length of a clip; mean, std: see `ModelConfig`.
        audio: the front end, of the preset or checkpoint that the run starts from.
    """

    frames: int
    mean: float
    std: float
    audio: FrontEnd = KALDI

    @property
    def samples(self) -> int:
        """Samples of the network's window."""
        return self.audio.num_samples(self.frames)

    @property
    def seconds(self) -> float:
        """Seconds to read of each clip: the network's window and the resampler's edge."""
        return seconds_to_read(self.samples, self.audio.sample_rate)


def features_of(
    recipe: Recipe | PretrainRecipe,
    train: Sequence[Clip],
    measured: dict[str, float] | None,
    tick: Tick,
) -> tuple[Features, list[str]]:
    """Length, mean and std (from the recipe, else from the training clips), and notes.

    Args:
        measured: mean and std from an earlier start of the same run.

    Raises:
        SpectrimError: no such preset or checkpoint; all training clips are silent.
    """
    config = initial_config(recipe)
    notes, frames, audio = [], recipe.model.frames, config.audio
    if frames is None:
        frames, text = _length(train, audio)
        notes.append(text)
    mean, std = recipe.model.mean, recipe.model.std
    if config.mel_scale or config.mel_shift:
        # Statistics of each mel bin belong to the checkpoint: others would undo its training.
        mean = config.mean if mean is None else mean
        std = config.std if std is None else std
    if mean is None or std is None:
        if measured is None:
            unmeasured = Features(frames, 0.0, 1.0, audio)
            measured, text = _measured(recipe.seed, train, unmeasured, config, tick)
            notes.append(text)
        mean = measured["mean"] if mean is None else mean
        std = measured["std"] if std is None else std
    return Features(frames, float(mean), float(std), audio), notes


def initial_config(recipe: Recipe | PretrainRecipe) -> ModelConfig:
    """The config of the preset or checkpoint that a run starts from."""
    if recipe.init is None:
        return preset(recipe.model.preset, ("any",))
    options = dict(recipe.load) if isinstance(recipe, Recipe) else {}
    trust_code = options.pop("trust_code", False)
    loaded = load_with_assumptions(recipe.init, LoadOptions(**options), trust_code=trust_code)
    return loaded.model.config


def _measured(
    seed: int, train: Sequence[Clip], features: Features, config: ModelConfig, tick: Tick
) -> tuple[dict[str, float], str]:
    """Mean and std of the log-mel features of training clips, and a note."""
    order = np.random.default_rng(seed).permutation(len(train))
    sample = [train[position] for position in order[:MEASURED_CLIPS]]
    stats = measure_clips(
        sample, features.seconds, audio=features.audio, mels=config.mels, tick=tick
    )
    if round(stats.std, 4) == 0:
        raise SpectrimError(
            f"all {stats.clips} training clips that were measured are silent: the std of "
            "their log-mel features is 0. Check that the recordings contain sound."
        )
    measured = {"mean": round(stats.mean, 4), "std": round(stats.std, 4)}
    return measured, (
        f"mean {measured['mean']} and std {measured['std']} of the log-mel features, "
        f"measured on {len(sample)} training clips."
    )


def _length(clips: Sequence[Clip], audio: FrontEnd) -> tuple[int, str]:
    """The number of frames that holds 95 % of the clips, a multiple of a patch; and a note."""
    seconds = [
        clip.end - (clip.start or 0.0) if clip.end is not None
        else max(0.0, (duration_of(clip.path) or 0.0) - (clip.start or 0.0))
        for clip in clips
    ]  # fmt: skip
    frames = audio.num_frames(round(np.quantile(seconds, 0.95) * audio.sample_rate))
    frames = min(MAX_FRAMES, max(PATCH, -(-frames // PATCH) * PATCH))
    window = audio.seconds(frames)
    cut = sum(second > window + 0.01 for second in seconds)
    return frames, (
        f"{frames} frames ({window:.2f} s) for clips of {min(seconds):.2f} to "
        f"{max(seconds):.2f} s; the end of {cut} of {len(clips)} clips is cut off."
    )
