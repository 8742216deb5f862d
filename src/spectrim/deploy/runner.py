"""`Runner`: anything that turns waveforms into probabilities; this module imports no torch."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from ..audio.constants import SAMPLE_RATE, seconds_to_read
from ..audio.front_ends import KALDI, FrontEnd
from ..common.errors import SpectrimError

if TYPE_CHECKING:
    import torch

    from ..pruning.patches import PatchGrid


class Prediction(NamedTuple):
    """What a runner returns for a batch.

    Attributes:
        outputs: (batch, classes) float32, which `Runner.activate` turns into probabilities.
        kept: (batch, patches of `Runner.grid`) bool: a token at the end holds the patch, alone or
            merged with others; None: not known.
        macs: (batch,) multiply-accumulates of each clip; None: `Runner.macs` for all.
    """

    outputs: np.ndarray
    kept: np.ndarray | None = None
    macs: np.ndarray | None = None


class Runner(ABC):
    """A model ready to run: waveforms in, probabilities out.

    Tagging needs `labels`, `window`, `probabilities` and `context`. The rest serves a sweep, which
    runs several runners on the same clips. By default a sweep runs and times `probabilities`;
    a runner may override `shared_inputs`, `predict` and `activate` to share work with the others.

    Attributes:
        labels: names of the classes, in the order of the probabilities.
        window: longest input in samples; longer waveforms are cut.
        sample_rate: of the waveforms, in Hz.
        metric: "mAP" or "accuracy".
        plan: plain data, as `models.provenance.plan_record` returns it.
        macs: multiply-accumulates for one clip; the most for any clip if they differ.
        quantization: of an exported file, "none" or its kind of int8; None: not an exported file.
        timed: what a sweep times, in words.
        device: device to synchronise when timing; None: the CPU.
        is_adaptive: whether clips may keep different numbers of patches.
        is_compiled: whether each new batch size costs a compilation, see `compile_for`.
        grid: grid of patches that `predict` reports positions on; None: it reports none.
        audio: the front end, for the times of the grid's columns.
    """

    labels: list[str]
    window: int
    metric: str
    plan: dict[str, Any]
    macs: int
    sample_rate: int = SAMPLE_RATE
    quantization: str | None = None
    timed: ClassVar[str] = "waveforms to probabilities"
    device: torch.device | None = None
    grid: PatchGrid | None = None
    audio: FrontEnd = KALDI
    is_adaptive: bool = False
    is_compiled: bool = False

    @property
    def seconds_to_read(self) -> float:
        """Seconds to decode of a clip: the window and the edge of the resampler."""
        return seconds_to_read(self.window, self.sample_rate)

    @abstractmethod
    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Waveforms (samples,) float32, mono at `sample_rate`, to (batch, classes) float32."""

    @property
    def embedding_width(self) -> int:
        """Number of values of an embedding; raises as `embeddings`."""
        raise self._no_embeddings()

    def embeddings(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Waveforms as for `probabilities`, to (batch, width) float32, the input of the head.

        Raises:
            SpectrimError: this kind of model has none.
        """
        raise self._no_embeddings()

    def fingerprint(self) -> str:
        """A digest that differs between models with other weights."""
        settings = [self.labels, self.window, self.metric, self.plan, self.macs]
        return hashlib.blake2b(json.dumps(settings).encode(), digest_size=16).hexdigest()

    @abstractmethod
    def context(self, name: str, batch_size: int) -> dict[str, Any]:
        """How a result was computed: plan, batch size, threads, device, dtype, versions."""

    def shared_inputs(self, waveforms: Sequence[np.ndarray]) -> Any:
        """What `predict` takes; computed once for all runners of a sweep."""
        return waveforms

    def predict(self, inputs: Any) -> Prediction:
        """Run on what `shared_inputs` returned."""
        return Prediction(self.probabilities(inputs))

    def timed_predict(self, inputs: Any) -> object:
        """The part of `predict` that a sweep times."""
        return self.probabilities(inputs)

    def compile_for(self, waveforms: Sequence[np.ndarray]) -> float:
        """Compile what `probabilities` runs for a batch of this size.

        Returns:
            The seconds that it took, now or earlier; 0 for a runner without compilation.
        """
        return 0.0

    def compile_timed(self, inputs: Any) -> float:
        """As `compile_for`, for what `timed_predict` runs."""
        return 0.0

    def activate(self, outputs: np.ndarray) -> np.ndarray:
        """(clips, classes) outputs of `predict` to probabilities."""
        return outputs

    def _no_embeddings(self) -> SpectrimError:
        return SpectrimError("this model has no output for embeddings. Use a PyTorch model.")
