"""`OnnxModel`: an exported file as a runner, with ONNX Runtime or OpenVINO; imports no torch."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..audio.windows import padded
from ..common.errors import SpectrimError, first_line, missing_package, nearest
from ..common.paths import FILE, PROBLEMS, file_type
from ..common.versions import RESULT_VERSION, package_versions
from .onnx_metadata import metadata_from
from .runner import Runner

Infer = Callable[[np.ndarray, np.ndarray, str], np.ndarray]
"""The two inputs of the graph and the name of an output, to that output."""


class OnnxModel(Runner):
    """A file that `spectrim export` wrote, ready to run on the CPU.

    Attributes:
        path: the file. backend: "onnxruntime" or "openvino".
        metadata: what the file stores about itself.
        threads: CPU threads; None: the runtime chooses.
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
        if (kind := file_type(Path(path))) != FILE:
            raise SpectrimError(
                f"{path}: {PROBLEMS[kind]}; expected an ONNX file of `spectrim export`."
            )
        self.backend = backend
        self.threads = threads
        self._infer, texts = BACKENDS[backend](self.path, threads)
        self.metadata = metadata_from(self.path, texts)
        self.labels = self.metadata.labels
        self.window = self.metadata.window_samples
        self.sample_rate = self.metadata.sampling_rate
        self.metric = self.metadata.metric
        self.plan = self.metadata.plan
        self.macs = self.metadata.macs
        self.quantization = self.metadata.quantization

    def __reduce__(self) -> tuple[Any, ...]:
        # A session cannot be pickled, so a worker in another process opens the file itself.
        return type(self), (os.path.abspath(self.path), self.backend, self.threads)

    def probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Waveforms (samples,) float32, mono at `sample_rate`, to (batch, classes) float32.

        Raises:
            SpectrimError: the file takes features.
        """
        return self.run(*self._inputs(waveforms))

    def logits(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """As `probabilities`, before the activation."""
        return self.run(*self._inputs(waveforms), "logits")

    @property
    def embedding_width(self) -> int:
        """Number of values of an embedding.

        Raises:
            SpectrimError: an earlier Spectrim exported the file without embeddings.
        """
        if not self.metadata.embedding_width:
            raise SpectrimError(
                f"{self.path}: Spectrim {self.metadata.spectrim} exported it without an output for "
                "embeddings. Export the model again."
            )
        return self.metadata.embedding_width

    def embeddings(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Waveforms as for `probabilities`, to (batch, width) float32, the input of the head."""
        assert self.embedding_width
        return self.run(*self._inputs(waveforms), "embedding")

    def run(
        self, values: np.ndarray, counts: np.ndarray, output: str = "probabilities"
    ) -> np.ndarray:
        """Run the graph on its own inputs.

        Args:
            values: (batch, samples) waveforms or (batch, frames, mels) features, float32.
            counts: (batch,) int64, samples or frames of each clip before its padding.
            output: "probabilities", "logits" or "embedding".

        Returns:
            (batch, classes) float32; (batch, width) of "embedding".
        """
        if not len(values):
            columns = self.embedding_width if output == "embedding" else len(self.labels)
            return np.zeros((0, columns), np.float32)
        try:
            return self._infer(values, counts, output)
        except Exception as error:
            raise SpectrimError(
                f"{self.path}: {self.backend} failed on inputs of shapes {values.shape} and "
                f"{counts.shape}: {first_line(error)}"
            ) from error

    def fingerprint(self) -> str:
        """A digest of the file."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def context(self, name: str, batch_size: int) -> dict[str, Any]:
        """How a result was computed."""
        return {
            "model": name,
            "plan": self.plan,
            "batch_size": batch_size,
            "threads": self.threads or os.cpu_count(),
            "device": "cpu",
            "dtype": "float32" if self.quantization == "none" else self.quantization,
            "frames": self.metadata.frames,
            "versions": package_versions(self.backend),
            "format_version": RESULT_VERSION,
            "backend": self.backend,
        }

    def _inputs(self, waveforms: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        if self.metadata.input != "waveform":
            raise SpectrimError(
                f"{self.path}: its graph takes {self.metadata.input}, not waveforms. Export it "
                "with --input waveform."
            )
        return padded(waveforms, self.window)


def load_onnx(
    path: str | os.PathLike[str], backend: str = "onnxruntime", threads: int | None = None
) -> OnnxModel:
    """Open a file that `spectrim export` wrote; torch is not needed.

    Args:
        path: the ONNX file.
        backend: "onnxruntime" or "openvino"; each is an optional dependency.
        threads: CPU threads; None: the runtime chooses.

    Raises:
        SpectrimError: the file is missing, damaged, not written by `spectrim export`, or of another
            version; the backend is not installed.
    """
    return OnnxModel(path, backend, threads)


def _onnxruntime(path: str, threads: int | None) -> tuple[Infer, Mapping[str, str]]:
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_package("this file", "onnxruntime", "export") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only; they are raised with the same text
    # By default, worker threads wait actively for the next call and take cores from everything that
    # runs between calls: decoding, other files that are timed in turn, other services.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _refused(path, "ONNX Runtime", error) from error
    names = [entry.name for entry in session.get_inputs()]

    def infer(values: np.ndarray, counts: np.ndarray, output: str) -> np.ndarray:
        return session.run([output], dict(zip(names, (values, counts), strict=True)))[0]

    return infer, session.get_modelmeta().custom_metadata_map


def _openvino(path: str, threads: int | None) -> tuple[Infer, Mapping[str, str]]:
    try:
        import openvino
    except ImportError as error:
        raise missing_package("this backend", "openvino", "openvino") from error
    # By default OpenVINO computes in bfloat16 where the CPU can, which moves the log-mel by 1.7.
    hints: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        hints["INFERENCE_NUM_THREADS"] = threads
    try:
        core = openvino.Core()
        graph = core.read_model(path)
        model = core.compile_model(graph, "CPU", hints)
    except Exception as error:
        raise _refused(path, "OpenVINO", error) from error

    def infer(values: np.ndarray, counts: np.ndarray, output: str) -> np.ndarray:
        # A request for each call, so that several threads may call at once.
        outputs = model.create_infer_request().infer([values, counts])
        return np.array(outputs[output])

    # OpenVINO stores the metadata of an ONNX file under "framework".
    texts = graph.get_rt_info("framework").value if graph.has_rt_info("framework") else {}
    return infer, texts


BACKENDS: dict[str, Callable[[str, int | None], tuple[Infer, Mapping[str, str]]]] = {
    "onnxruntime": _onnxruntime,
    "openvino": _openvino,
}


def _refused(path: str, name: str, error: Exception) -> SpectrimError:
    return SpectrimError(
        f"{path}: {name} cannot read it ({first_line(error)}). Copy or export it again."
    )
