"""`ByLength`: a model that runs each clip of a batch at the shortest length that holds it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..models.build import shape_of
from ..models.lengths import whole_patches
from ..models.transformer import SpectrogramTransformer
from ..pruning.cost import macs
from .torch_runner import TorchRunner

SHORT = 0.8  # fraction of the full work up to which a shorter length is worth a sentence
MOST = 0.95  # fraction of the clips that a shorter length must hold


def torch_runner(model: SpectrogramTransformer) -> TorchRunner:
    """A runner for tagging: `ByLength` for a model that was loaded with frames="auto"."""
    return ByLength(model) if model.lengths else TorchRunner(model)


class ByLength(TorchRunner):
    """As `TorchRunner`, for a model of several lengths.

    The length of a clip depends on nothing but the clip, so its result is the same in any batch.
    """

    def __init__(self, model: SpectrogramTransformer) -> None:
        super().__init__(model)
        self.runners = {frames: TorchRunner(model.of_length(frames)) for frames in model.lengths}

    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Waveforms (samples,) float32, mono at `sample_rate`, to (batch, classes) float32."""
        return self._by_length(TorchRunner.probabilities, waveforms)

    def embeddings(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Waveforms as for `probabilities`, to (batch, width) float32."""
        return self._by_length(TorchRunner.embeddings, waveforms)

    def macs_of(self, waveform: np.ndarray) -> int:
        """Multiply-accumulates for a clip at its length."""
        return self.runners[self._length_of(waveform)].macs

    def context(self, name: str, batch_size: int) -> dict[str, Any]:
        """How a result was computed; "lengths" are the frames among which each clip's is chosen."""
        return super().context(name, batch_size) | {"lengths": list(self.runners)}

    def _length_of(self, waveform: np.ndarray) -> int:
        """The length in frames at which a waveform runs."""
        return self.model.length_for(self.model.config.audio.num_frames(len(waveform)))

    def _by_length(
        self,
        outputs_of: Callable[[TorchRunner, Sequence[np.ndarray]], np.ndarray],
        waveforms: Sequence[np.ndarray],
    ) -> np.ndarray:
        """Outputs (batch, ...) of clips that are run in one batch per length."""
        lengths = [self._length_of(waveform) for waveform in waveforms]
        outputs: dict[int, np.ndarray] = {}
        for length in sorted(set(lengths)):
            rows = [row for row, other in enumerate(lengths) if other == length]
            batch = outputs_of(self.runners[length], [waveforms[row] for row in rows])
            outputs.update(zip(rows, batch, strict=True))
        return np.stack([outputs[row] for row in range(len(waveforms))])


def length_of_most(counts: Mapping[float, int]) -> float:
    """The shortest of these seconds that `MOST` clips do not exceed; 0 without clips.

    Args:
        counts: seconds to the number of clips that last so long.
    """
    needed = MOST * sum(counts.values())
    total = 0
    for seconds, count in sorted(counts.items()):
        total += count
        if total >= needed:
            return seconds
    return 0.0


def shorter_length(model: SpectrogramTransformer, seconds: float) -> tuple[int, float] | None:
    """A shorter length that holds clips of this many seconds, and what part of the work it does.

    Returns:
        Frames, and their multiply-accumulates by those of the window; None if it saves little.
    """
    audio = model.config.audio
    frames = whole_patches(audio.num_frames(round(seconds * audio.sample_rate)), model.config)
    shorter = replace(model.config, frames=frames)
    work = macs(shape_of(shorter), model.plan) / macs(shape_of(model.config), model.plan)
    return (frames, work) if seconds and work <= SHORT else None


def short_clips_note(model: SpectrogramTransformer, seconds: float) -> str | None:
    """A sentence if most clips, of at most `seconds`, are much shorter than the window, or None."""
    shorter = shorter_length(model, seconds)
    if model.lengths or model.plan.drop_padding or shorter is None:
        return None
    frames, work = shorter
    window = model.config.window_seconds
    return (
        f"{100 * MOST:.0f} % of your clips are at most {seconds:.3g} s of a {window:.3g} s window: "
        f"--frames {frames} needs {100 * work:.0f} % of the MACs, and --frames auto chooses a "
        "length for each clip. spectrim check compares them."
    )
