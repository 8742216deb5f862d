"""int8 for the linear layers of the blocks; features, norms and scores stay float32."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import SpectrimError

# Weights use 7 bits. With 8 bits, the sum of two products overflows 16 bits on CPUs with AVX2 or
# AVX-512 but without VNNI; the error of probabilities was then up to 7 times that with VNNI.
# docs/deploy.md has the cost of 7 bits on CPUs with VNNI.
REDUCE_RANGE = True


def quantized(
    proto: Any,
    folder: Path,
    calibration: Iterable[dict[str, np.ndarray]] | None,
) -> Any:
    """A graph with the products of `linear_layers` in int8.

    Weights are signed, with one scale per column. Activations are unsigned, with one scale per
    tensor. Dynamic int8 measures that scale on each input. Static int8 fixes it by `calibration`
    and stores QuantizeLinear and DequantizeLinear nodes; runtimes fuse these into int8 products.

    Args:
        proto: an onnx.ModelProto as `export` traces it.
        folder: folder for temporary files.
        calibration: batches of the graph's inputs by name; None: dynamic.

    Returns:
        An onnx.ModelProto.
    """
    import onnx
    from onnxruntime import quantization

    before, after = folder / "float.onnx", folder / "int8.onnx"
    nodes = linear_layers(proto)
    onnx.save(proto, before)
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # silences advice on a preprocessing step that export does
    try:
        if calibration is None:
            quantization.quantize_dynamic(
                before,
                after,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=nodes,
                per_channel=True,
                reduce_range=REDUCE_RANGE,
                weight_type=quantization.QuantType.QInt8,
            )
        else:
            quantization.quantize_static(
                before,
                after,
                _reader(calibration),
                quant_format=quantization.QuantFormat.QDQ,
                op_types_to_quantize=["MatMul"],
                nodes_to_quantize=nodes,
                per_channel=True,
                reduce_range=REDUCE_RANGE,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                calibrate_method=quantization.CalibrationMethod.MinMax,
                # Outputs of products stay float32: rounding them costs accuracy and saves no time.
                extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
            )
    finally:
        root.setLevel(level)
    return onnx.load(after)


def linear_layers(proto: Any) -> list[str]:
    """Names of the matrix products in the blocks with a weight on one side."""
    weights = {entry.name for entry in proto.graph.initializer}
    names = [
        node.name
        for node in proto.graph.node
        if node.op_type == "MatMul" and "blocks." in node.name and node.input[1] in weights
    ]
    if not names:
        raise SpectrimError(
            "the blocks of the graph have no linear layer to quantise. Export it without int8."
        )
    return names


def _reader(calibration: Iterable[dict[str, np.ndarray]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(calibration)

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.batches, None)

    return Reader()
