"""An exported model at work, in ONNX Runtime or OpenVINO; torch is never imported here."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..common.errors import SpectrimError, nearest
from ..common.versions import RESULT_VERSION, versions
from .onnx_metadata import Metadata, read_metadata
from .runner import Runner, padded

Run = Callable[[np.ndarray, np.ndarray, str], np.ndarray]
"""The two inputs and the name of the output wanted, to that output."""


class OnnxModel(Runner):
    """A file that `spectrim export` wrote, ready to run on the CPU.

    Attributes:
        path: the file. backend: "onnxruntime" or "openvino".
        metadata: what the file says about itself.
        threads: of the processor; None: as many as the runtime sees fit.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        backend: str = "onnxruntime",
        threads: int | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise SpectrimError(f"no backend is called {backend!r}.{nearest(backend, BACKENDS)}")
        self.path = os.fspath(path)
        self.backend = backend
        self.threads = threads
        self.metadata: Metadata = read_metadata(path)
        self.labels = self.metadata.labels
        self.window = self.metadata.window_samples
        self._run = BACKENDS[backend](self.path, threads)

    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Waveforms (samples,) float32, 16 kHz mono, to (batch, classes) float32.

        Raises:
            SpectrimError: the file takes features.
        """
        return self.run(*self._heard(waveforms))

    def logits(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """As `probabilities`, before the activation."""
        return self.run(*self._heard(waveforms), "logits")

    def run(
        self, values: np.ndarray, counts: np.ndarray, output: str = "probabilities"
    ) -> np.ndarray:
        """Run the graph on its own inputs.

        Args:
            values: (batch, samples) waveforms or (batch, frames, mels) features, float32.
            counts: (batch,) int64, the samples or frames of each clip that are sound.
            output: "probabilities" or "logits".

        Returns:
            (batch, classes) float32.
        """
        if not len(values):
            return np.zeros((0, len(self.labels)), np.float32)
        try:
            return self._run(values, counts, output)
        except Exception as error:
            raise SpectrimError(
                f"{self.path}: {self.backend} failed on inputs of shapes {values.shape} and "
                f"{counts.shape}: {_first_line(error)}"
            ) from error

    def context(self, name: str, batch_size: int) -> dict[str, Any]:
        """What a result says about its making."""
        said = self.metadata
        return {
            "model": name,
            "plan": said.plan,
            "batch_size": batch_size,
            "threads": self.threads or os.cpu_count(),
            "device": "cpu",
            "dtype": "float32" if said.quantization == "none" else said.quantization,
            "frames": said.frames,
            "versions": versions(self.backend),
            "format_version": RESULT_VERSION,
            "backend": self.backend,
        }

    def _heard(self, waveforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        if self.metadata.input != "waveform":
            raise SpectrimError(
                f"{self.path}: takes features, not sound; export it with --input waveform."
            )
        return padded(waveforms, self.window)


def load_onnx(
    path: str | os.PathLike[str], backend: str = "onnxruntime", threads: int | None = None
) -> OnnxModel:
    """Open a file that `spectrim export` wrote; torch is not needed.

    Args:
        path: the ONNX file.
        backend: "onnxruntime" or "openvino"; each is an extra to install.
        threads: of the processor.

    Raises:
        SpectrimError: missing, damaged, not of `spectrim export`, or of another version; the
            backend is not installed.
    """
    return OnnxModel(path, backend, threads)


def _onnxruntime(path: str, threads: int | None) -> Run:
    try:
        import onnxruntime
    except ImportError as error:
        raise _missing("ONNX Runtime", "onnxruntime", "export") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only: they come as exceptions with the same words
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _refused(path, "ONNX Runtime", error) from error
    names = [given.name for given in session.get_inputs()]

    def run(values: np.ndarray, counts: np.ndarray, output: str) -> np.ndarray:
        return session.run([output], dict(zip(names, (values, counts), strict=True)))[0]

    return run


def _openvino(path: str, threads: int | None) -> Run:
    try:
        import openvino
    except ImportError as error:
        raise _missing("OpenVINO", "openvino", "openvino") from error
    # On processors that have it OpenVINO would take bfloat16, which moves the log-mel by 1.7.
    hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        hints["INFERENCE_NUM_THREADS"] = threads
    try:
        model = openvino.Core().compile_model(path, "CPU", hints)
    except Exception as error:
        raise _refused(path, "OpenVINO", error) from error

    def run(values: np.ndarray, counts: np.ndarray, output: str) -> np.ndarray:
        # A request of its own for each call, so that threads may run at a time.
        found = model.create_infer_request().infer([values, counts])
        return np.array(found[output])

    return run


BACKENDS: dict[str, Callable[[str, int | None], Run]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def _missing(name: str, package: str, extra: str) -> SpectrimError:
    return SpectrimError(
        f"{name} is not installed; install it: pip install {package}, or the extra: "
        f"pip install 'spectrim[{extra}]'."
    )


def _refused(path: str, name: str, error: Exception) -> SpectrimError:
    return SpectrimError(
        f"{path}: {name} does not take it ({_first_line(error)}). Export it again."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
