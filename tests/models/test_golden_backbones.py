"""Every backbone computes what its original code computes, pruned and unpruned."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from backbone_cases import (
    CASES,
    GOLDEN,
    HALF,
    SSAST,
    Case,
    assert_same_set,
    blocks_of,
    kept_patches,
)

import spectrim
from spectrim.common.errors import SpectrimNotice


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
        if kept_patches(pruned, trace) == arrays["kept_sorted"].tolist():
            torch.testing.assert_close(trace.logits, pruned_logits, atol=5e-6, rtol=0)
        saved = spectrim.load(pruned.save(tmp_path / "saved"))
        assert saved.config == model.config
        torch.testing.assert_close(saved(features), trace.logits, atol=0, rtol=0)
        three = torch.cat([torch.zeros_like(features), features, features.flip(1)])
        torch.testing.assert_close(saved(three)[1:2], trace.logits, atol=5e-6, rtol=0)


@pytest.mark.parametrize(("pool", "prefix"), [("prefix", "prunedcls_"), ("normalised-patches", "")])
def test_a_pre_trained_ssast_gets_its_head_and_prunes_by_either_score(pool, prefix):
    """NOTES.md: the pre-trained file is what the fine-tuned one was made from."""
    case = SSAST[0]
    arrays, features = case.arrays(), case.features(case.arrays())
    model = spectrim.load(
        GOLDEN / "ssast" / "ssast_pretrained_patch.pth", labels=10, heads=3, pool=pool
    )
    tuned = case.model()
    model.head.load_state_dict(tuned.head.state_dict())
    model.head_norm.load_state_dict(tuned.head_norm.state_dict())
    expected = arrays["logits" if pool != "prefix" else "logits_ft_cls"]
    with torch.no_grad():
        torch.testing.assert_close(model(features), expected, atol=5e-6, rtol=0)
        pruned = spectrim.prune(model, **HALF)
        kept = kept_patches(pruned, pruned.trace(features))
        assert_same_set(kept, arrays[f"{prefix}kept_sorted"].tolist(), near_tie=False)
        if prefix:  # the class token ranks, the patches are pooled
            scored = spectrim.prune(tuned, score=class_attention, **HALF)
            torch.testing.assert_close(
                scored(features), arrays["prunedcls_logits"], atol=5e-6, rtol=0
            )


def test_a_pre_trained_ssast_at_stride_10_stretches_its_positions():
    """The official fine-tuning scripts use stride 10: 12 x 101 patches."""
    arrays = Case("ssast", "stride10").arrays()  # skips in a plain clone
    tuned = SSAST[0].model()
    features = SSAST[0].features(SSAST[0].arrays())
    model = spectrim.load(
        GOLDEN / "ssast" / "ssast_pretrained_patch.pth", labels=10, heads=3, stride=10
    )
    model.head.load_state_dict(tuned.head.state_dict())
    model.head_norm.load_state_dict(tuned.head_norm.state_dict())
    rows = model.positions[:, ::10]
    torch.testing.assert_close(rows, arrays["pos_embed_used_every_10th"], atol=1e-6, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(model(features), arrays["logits"], atol=5e-6, rtol=0)
        pruned = spectrim.prune(model, **HALF)
        trace = pruned.trace(features)
        assert_same_set(kept_patches(pruned, trace), arrays["kept_sorted"].tolist(), False)
        torch.testing.assert_close(trace.logits, arrays["pruned_logits"], atol=5e-6, rtol=0)


def class_attention(context):
    return context.class_row()


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.source != "ced_original.pt"], ids=str
)
def test_from_the_waveform_logits_are_the_originals(case):
    """Features within 1e-3, those of Kaldi, which move near silence, within 2e-3."""
    arrays = case.arrays()
    model, features = case.model(), case.features(arrays)
    config = model.config
    waves = np.load(GOLDEN / f"waves_{config.sample_rate // 1000}k.npz")
    waveform = waves[case.file.split("_")[-1]]
    ours, _ = model.features((waveform, config.sample_rate))
    apart = (ours - features[:, : config.frames]).abs()
    limit = 2e-3 if config.front_end == "kaldi" else 1e-3
    assert (apart <= limit).double().mean() >= 0.9999
    with torch.no_grad():
        torch.testing.assert_close(model(ours), arrays[case.logits[0]], atol=2e-4, rtol=0)
