"""Every backbone computes what its original code computes, pruned and unpruned."""

from __future__ import annotations

import warnings

import pytest
import torch
from backbone_cases import HALF, Case, assert_same_set, blocks_of, kept_patches

import spectrim
from spectrim.common.errors import SpectrimNotice

CED = [
    Case("ced", file, source, {"frames": frames} | options)
    for file, frames in (("full", 1001), ("short3", 301), ("short1", 101))
    for source, options in ((None, {}), ("ced_original.pt", {"heads": 3, "labels": 10}))
]
CASES = [*CED]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectrimNotice)
        yield


@pytest.mark.parametrize("case", CASES, ids=str)
def test_from_the_stored_features_logits_blocks_and_kept_patches_are_the_originals(case, tmp_path):
    arrays = case.arrays()
    model, features = case.model(), case.features(arrays)
    logits, pruned_logits = (arrays[name] for name in case.logits)
    with torch.no_grad():
        names = ["tokens", *(f"block_{index}" for index in range(model.config.depth))]
        for name, state in zip(names, blocks_of(model, features), strict=True):
            if name in arrays:
                torch.testing.assert_close(state, arrays[name], atol=2e-5, rtol=0)
        torch.testing.assert_close(model(features), logits, atol=5e-6, rtol=0)
        pruned = spectrim.prune(model, **HALF)
        trace = pruned.trace(features)
        if "scores" in arrays:
            torch.testing.assert_close(trace.scores[1][0], arrays["scores"], atol=1e-6, rtol=1e-4)
        assert_same_set(kept_patches(pruned, trace), arrays["kept_sorted"].tolist(), case.near_tie)
        if not case.near_tie:
            torch.testing.assert_close(trace.logits, pruned_logits, atol=5e-6, rtol=0)
        saved = spectrim.load(pruned.save(tmp_path / "saved"))
        assert saved.config == model.config
        torch.testing.assert_close(saved(features), trace.logits, atol=0, rtol=0)
        three = torch.cat([torch.zeros_like(features), features, features.flip(1)])
        torch.testing.assert_close(saved(three)[1:2], trace.logits, atol=5e-6, rtol=0)
