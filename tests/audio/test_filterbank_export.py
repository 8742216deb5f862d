"""Front ends exported to ONNX give the same numbers in ONNX Runtime and OpenVINO."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectrim.audio.front_ends import FRONT_ENDS
from spectrim.audio.log_mel import LogMel

SHAPES = ((3, 16000), (1, 16000), (5, 5555), (1, 400), (2, 560))  # batch and samples, both free
ROUNDING = 2e-3


@pytest.fixture(scope="module", params=["kaldi", "htk-mel", "slaney-mel", "passt-mel"])
def exported(request, tmp_path_factory):
    """A front end and its ONNX file."""
    bank = FRONT_ENDS[request.param].filter_bank(64).eval()
    for needed in ("onnx", "onnxscript"):
        pytest.importorskip(needed, reason=f"export needs {needed}: pip install {needed}")
    path = tmp_path_factory.mktemp("export") / "filterbank.onnx"
    samples = torch.export.Dim("samples", min=400)
    batch = torch.export.Dim("batch")
    torch.onnx.export(
        bank,
        (torch.randn(3, 16000), torch.tensor([16000, 9000, 400])),
        path,
        input_names=["waveforms", "lengths"],
        output_names=["features", "valid"],
        dynamic_shapes=({0: batch, 1: samples}, {0: batch}),
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    return bank, path


def assert_same(bank: LogMel, run) -> None:
    torch.manual_seed(1)
    for batch, samples in SHAPES:
        waveforms = torch.randn(batch, samples) * 0.1
        lengths = torch.randint(400, samples + 1, (batch,))
        features, valid = bank(waveforms, lengths)
        theirs, their_valid = run(waveforms.numpy(), lengths.numpy())
        assert theirs.shape == tuple(features.shape)
        assert their_valid.tolist() == valid.tolist()
        for row in range(batch):
            error = np.abs(features[row].numpy() - theirs[row])[: valid[row]]
            assert error.max() < ROUNDING, (batch, samples)


@pytest.mark.slow
def test_onnx_runtime_gives_the_same_numbers(exported):
    runtime = pytest.importorskip(
        "onnxruntime", reason="running ONNX needs onnxruntime: pip install onnxruntime"
    )
    bank, path = exported
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    assert_same(bank, lambda w, n: session.run(None, {"waveforms": w, "lengths": n}))


@pytest.mark.slow
def test_openvino_gives_the_same_numbers(exported):
    openvino = pytest.importorskip(
        "openvino", reason="running in OpenVINO needs openvino: pip install openvino"
    )
    bank, path = exported
    hints = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    model = openvino.Core().compile_model(str(path), "CPU", hints)

    def run(waveforms, lengths):
        result = model([waveforms, lengths])
        return result[0], result[1]

    assert_same(bank, run)
