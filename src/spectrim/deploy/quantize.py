"""int8 for the linear layers of the blocks; features, norms and scores stay float32."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..common.errors import SpectrimError

# Weights in 7 bits. In 8, the sum of two products overflows its 16 bits on CPUs that have AVX2 or
# AVX-512 but no VNNI: probabilities then moved up to 7 times as far as with VNNI. What 7 bits cost
# where there is VNNI: docs/deploy.md.
REDUCE_RANGE = True


def quantized(
    proto: Any,
    folder: Path,
    calibration: Iterable[dict[str, np.ndarray]] | None,
) -> Any:
    """A graph with the products of `linear_layers` in int8.

    Weights are signed, a scale a column; activations are unsigned, a scale a tensor: measured on
    each input (dynamic), or fixed by `calibration` (static, between QuantizeLinear and
    DequantizeLinear, which any runtime folds into its own int8 products).

    Args:
        proto: an onnx.ModelProto as `export` traces it.
        folder: for files in between.
        calibration: batches, each the graph's inputs by name; None: dynamic.

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
                # Products leave as float32: rounding them too costs accuracy and saves nothing.
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
            "the graph has no linear layer of a block to quantise. Export it without int8."
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
