"""What variants of a model say of many clips, on disk until the metric wants it."""

from __future__ import annotations

import tempfile

import numpy as np

from ...common.errors import SpectrimError


class Spool:
    """(variants, clips, classes) float32 in a file without a name, gone when closed.

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
        """Write (some, classes) values of a variant, from a clip on."""
        _, clips, classes = self.shape
        try:
            self._file.seek((variant * clips + clip) * classes * 4)
            self._file.write(values.astype(np.float32).tobytes())
        except OSError as error:
            raise self._full(error) from error

    def get(self, variant: int, clips: int) -> np.ndarray:
        """(clips, classes) the first clips of a variant."""
        _, every, classes = self.shape
        self._file.seek(variant * every * classes * 4)
        data = self._file.read(clips * classes * 4)
        return np.frombuffer(data, np.float32).reshape(clips, classes)

    def close(self) -> None:
        """Give the room back."""
        self._file.close()

    @staticmethod
    def _full(error: OSError) -> SpectrimError:
        return SpectrimError(
            f"cannot write to the temporary folder {tempfile.gettempdir()}: "
            f"{error.strerror or error}. Name another one in the variable TMPDIR."
        )
