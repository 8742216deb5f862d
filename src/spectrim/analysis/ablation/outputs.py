"""Outputs of a model with patches dropped after a block, and the buffer that stores them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...common.errors import SpectrimError, not_finite
from ...models.transformer import SpectrogramTransformer


@dataclass(frozen=True)
class Cut:
    """Patches that are dropped once `after` blocks are done.

    `dropped`: "low" (clusters C1, C2), "high" (C4, C5), "random-low" or "random-high" (as many
    random patches of each clip); None: nothing, the unpruned model.
    """

    dropped: str | None
    after: int | None


def cut_outputs(
    model: SpectrogramTransformer,
    features: Tensor,
    valid: Tensor,
    cuts: Sequence[Cut],
    kept: dict[str, Tensor],
) -> Iterator[np.ndarray]:
    """Probabilities of the unpruned model and of each cut, (clips, classes) each.

    Clips that a cut leaves without any patch are NaN there.

    Args:
        kept: by what is dropped, (clips, patches) bool: the patches that stay.

    Raises:
        SpectrimError: an output of the model is not finite.
    """
    yield _finite(model.probabilities(model(features, valid)), "unpruned")
    for cut in cuts:
        assert cut.dropped is not None and cut.after is not None
        keep = kept[cut.dropped]
        has_patches = keep.any(1)
        output = np.full((len(features), len(model.labels)), np.nan, np.float32)
        if has_patches.any():
            logits = model(
                features[has_patches],
                valid[has_patches],
                keep=keep[has_patches],
                keep_after=cut.after,
            )
            name = f"{cut.dropped} dropped after {cut.after} blocks"
            output[has_patches.cpu().numpy()] = _finite(model.probabilities(logits), name)
        yield output


def _finite(probabilities: Tensor, name: str) -> np.ndarray:
    values: np.ndarray = probabilities.cpu().numpy()
    if not np.isfinite(values).all():
        raise not_finite(name)
    return values


def random_patches(kept: Tensor, generators: Sequence[np.random.Generator]) -> Tensor:
    """(clips, patches) bool: random patches, as many of each clip as in `kept`."""
    chosen = torch.zeros_like(kept)
    for clip, generator in enumerate(generators):
        patches = generator.permutation(kept.shape[1])[: int(kept[clip].sum())]
        chosen[clip, torch.from_numpy(patches)] = True
    return chosen


class OutputBuffer:
    """(variants, clips, classes) float32 in a temporary file that is deleted when closed.

    527 classes of AudioSet's 18,886 clips under 13 variants are half a gigabyte, of which one
    variant at a time is read.
    """

    def __init__(self, variants: int, clips: int, classes: int) -> None:
        self.shape = (variants, clips, classes)
        try:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by close)
        except OSError as error:
            raise self._full(error) from error

    def put(self, variant: int, clip: int, values: np.ndarray) -> None:
        """Write (n, classes) values of a variant, from a clip on."""
        _, clips, classes = self.shape
        try:
            self._file.seek((variant * clips + clip) * classes * 4)
            self._file.write(values.astype(np.float32).tobytes())
        except OSError as error:
            raise self._full(error) from error

    def get(self, variant: int, clips: int) -> np.ndarray:
        """(clips, classes) the first clips of a variant."""
        _, capacity, classes = self.shape
        self._file.seek(variant * capacity * classes * 4)
        data = self._file.read(clips * classes * 4)
        return np.frombuffer(data, np.float32).reshape(clips, classes)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()

    @staticmethod
    def _full(error: OSError) -> SpectrimError:
        return SpectrimError(
            f"cannot write to the temporary folder {tempfile.gettempdir()}: "
            f"{error.strerror or error}. Set the variable TMPDIR to another folder."
        )
