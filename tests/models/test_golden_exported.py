"""Exported graphs compute what the original code of every backbone computes, in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from backbone_cases import CASES, HALF, assert_same_set
from torch import Tensor

import spectrim
from spectrim.deploy.export import write_onnx
from spectrim.deploy.graph import FromFeatures
from spectrim.pruning.plan import Plan

pytestmark = [
    pytest.mark.slow,  # an export for every case
    pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice"),
]


class WithPatches(FromFeatures):
    """The graph that `export` writes, with two more outputs: logits unpruned, and kept patches."""

    outputs = (*FromFeatures.outputs, "unpruned", "kept")

    def forward(  # type: ignore[override]  # five outputs, not three
        self, features: Tensor, valid: Tensor
    ) -> tuple[Tensor, ...]:
        tokens = self.model.encode(features, valid, plan=Plan())
        unpruned = self.model.head(self.model.pool(tokens))
        kept = self.model.encode(features, valid).origin
        return *super().forward(features, valid), unpruned, kept


@pytest.mark.parametrize("case", CASES, ids=str)
def test_logits_and_kept_patches_are_the_originals_in_batches_of_1_and_3(case, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra export")
    arrays = case.arrays()
    model, features = case.model(), case.features(arrays)
    pruned = spectrim.prune(model, **HALF)
    features = features[:, : model.config.frames].numpy()
    logits, pruned_logits = (arrays[name].numpy() for name in case.logits)
    write_onnx(pruned, WithPatches, tmp_path / "model.onnx", "features", None)
    session = onnxruntime.InferenceSession(
        tmp_path / "model.onnx", providers=["CPUExecutionProvider"]
    )
    other = np.ascontiguousarray(features[:, ::-1])
    for batch, row in (
        (features, 0),
        (np.concatenate([np.zeros_like(features), features, other]), 1),
    ):
        valid = np.full(len(batch), model.config.frames)
        outputs = session.run(None, {"features": batch, "valid": valid})
        results = dict(zip(WithPatches.outputs, outputs, strict=True))
        np.testing.assert_allclose(results["unpruned"][row : row + 1], logits, atol=5e-6, rtol=0)
        kept = sorted(results["kept"][row].tolist())
        assert_same_set(kept, arrays["kept_sorted"].tolist(), case.near_tie)
        if kept == arrays["kept_sorted"].tolist():
            pruned_row = results["logits"][row : row + 1]
            np.testing.assert_allclose(pruned_row, pruned_logits, atol=5e-6, rtol=0)
            expected = model.probabilities(torch.from_numpy(pruned_logits)).numpy()
            np.testing.assert_allclose(
                results["probabilities"][row : row + 1], expected, atol=5e-6, rtol=0
            )
