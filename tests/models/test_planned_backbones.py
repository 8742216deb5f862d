"""M2D, ATST-Frame and Dasheng need a converter and nothing else: three converters of a few lines,
registered here, against what the original code computed."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from backbone_cases import GOLDEN, HALF, Case, assert_same_set, kept_patches

import spectrim
from spectrim.common.errors import SpectrimNotice
from spectrim.models.config import ModelConfig
from spectrim.models.loading import formats
from spectrim.models.loading.checkpoint import Converted, fresh_head
from spectrim.models.loading.timm_names import take_blocks

M2D_FOLDER = "m2d/m2d_as_vit_base-80x1001p16x16-golden"
LABELS = tuple("abcdefghij")
SHARED = {
    "name": "t", "labels": LABELS, "pool": "normalised-patches", "depth": 4, "eps": 1e-6,
    "positions_kept": "first", "std_factor": 1.0, "head_eps": 1e-5, "padding": "zero",
}  # fmt: skip


def m2d(checkpoint):
    """80 mels, one class token that only attends, a BatchNorm before the head."""
    weights, inner = checkpoint.weights, "ar.runtime.backbone."
    mean, std = weights.take(f"{inner}norm_stats", 2).tolist()
    _, state = take_blocks(weights, inner, 96)
    state |= weights.layer("norm", f"{inner}norm", 96)
    state |= {
        "patch.weight": weights.take(f"{inner}patch_embed.proj.weight", 96, 1, 16, 16).mT,
        "patch.bias": weights.take(f"{inner}patch_embed.proj.bias", 96),
        "prefix_tokens": weights.take(f"{inner}cls_token", 1, 1, 96),
        "positions": weights.take(f"{inner}pos_embed", 1, 311, 96),
        "head_norm.running_mean": weights.take("head.norm.running_mean", 96),
        "head_norm.running_var": weights.take("head.norm.running_var", 96),
        "head_norm.num_batches_tracked": weights.take(
            "head.norm.num_batches_tracked", floating=False
        ),
        **weights.layer("head", "head.mlp.mlp.0", 10, 96),
    }
    config = ModelConfig(
        **SHARED, family="m2d", width=96, heads=3, frames=1001, mels=80, num_prefix_tokens=1,
        front_end="m2d-mel", mean=mean, std=std, head_norm="batch",
    )  # fmt: skip
    return weights, config, state


def atst_frame(checkpoint):
    """Columns of 64 mels by 4 frames, no prefix tokens, no bias of queries, keys and values."""
    weights, inner = checkpoint.weights, "model.teacher.encoder."
    weights.drop("model.student.", "model.teacher.projector.", f"{inner}mask_embed")
    for index in range(4):  # a bias of zeros is none
        weights._left[f"{inner}blocks.{index}.attn.qkv.bias"] = torch.zeros(3 * 64)
    _, state = take_blocks(weights, inner, 64)
    state |= weights.layer("norm", f"{inner}norm_frame", 64)
    kernel = weights.take(f"{inner}patch_embed.patch_embed.weight", 64, 64 * 4)
    head = torch.load(GOLDEN / "atst_frame" / "head.pt", weights_only=True)
    state |= {
        "patch.weight": kernel.reshape(64, 1, 64, 4).mT,  # (mel, frame) to (frame, mel)
        "patch.bias": weights.take(f"{inner}patch_embed.patch_embed.bias", 64),
        "prefix_tokens": torch.zeros(1, 0, 64),
        "positions": weights.take(f"{inner}pos_embed", 1, 251, 64)[:, 1:],
        **{f"head_norm.{key}": head[f"head.norm.{key}"]
           for key in ("running_mean", "running_var", "num_batches_tracked")},
        "head.weight": head["head.linear.weight"], "head.bias": head["head.linear.bias"],
    }  # fmt: skip
    low, high = -79.6482, 50.6842
    config = ModelConfig(
        **SHARED, family="atst", width=64, heads=2, frames=1001, mels=64, patch=(64, 4),
        stride=(64, 4), num_prefix_tokens=0, front_end="atst-mel", mean=(low + high) / 2,
        std=(high - low) / 2, head_norm="batch",
    )  # fmt: skip
    return weights, config, state


def dasheng(checkpoint):
    """Columns of 64 mels by 4 frames, positions by time, a BatchNorm over mels, no classifier."""
    weights = checkpoint.weights
    weights.drop("front_end.", "init_bn.1.num_batches_tracked")
    weight, bias, mean, variance = (
        weights.take(f"init_bn.1.{name}", 64).double()
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / (variance + 1e-5).sqrt()
    time = weights.take("time_pos_embed", 1, 64, 1, None)
    positions = time + weights.take("freq_pos_embed", 1, 64, 1, 1)
    _, state = take_blocks(weights, "", 64)
    state |= weights.layer("norm", "norm", 64) | fresh_head(64, 10)
    state |= {
        "patch.weight": weights.take("patch_embed.proj.weight", 64, 1, 64, 4).mT,
        "patch.bias": weights.take("patch_embed.proj.bias", 64),
        "prefix_tokens": torch.zeros(1, 0, 64),
        "positions": positions.flatten(2).mT,
    }
    config = ModelConfig(
        **SHARED, family="dasheng", width=64, heads=2, frames=4 * time.shape[3], mels=64,
        patch=(64, 4), stride=(64, 4), num_prefix_tokens=0, front_end="htk-mel", mean=0.0, std=1.0,
        mel_scale=tuple(scale.tolist()), mel_shift=tuple((bias - mean * scale).tolist()),
    )  # fmt: skip
    return weights, config, state


def registered(convert):
    def read(checkpoint):
        weights, config, state = convert(checkpoint)
        weights.close()
        return Converted(config, state)

    return SimpleNamespace(NAME=convert.__name__, SUPPORT=(), fits=lambda given: True, read=read)


M2D_FILE = f"{M2D_FOLDER}/weights_ep69it3124-0.47998.pth"
MODELS = [
    (m2d, M2D_FILE, {"full": 1001, "short3": 304, "short1": 112}),  # whole columns, but 1001
    (atst_frame, "atst_frame/atst_frame.ckpt", {"full": 1001, "short3": 301, "short1": 101}),
    (dasheng, "dasheng/dasheng.pt", {"full": 1001, "short3": 301, "short1": 101}),
]
CASES = [(*model[:2], clip, frames) for model in MODELS for clip, frames in model[2].items()]


@pytest.mark.parametrize(
    ("convert", "file", "clip", "frames"), CASES, ids=lambda value: getattr(value, "__name__", None)
)
def test_a_converter_is_enough(convert, file, clip, frames, monkeypatch, tmp_path):
    arrays = Case(convert.__name__, clip).arrays()  # skips in a plain clone
    monkeypatch.setattr(formats, "FORMATS", (registered(convert),))
    monkeypatch.setattr(formats, "UNSUPPORTED", {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectrimNotice)
        model = spectrim.load(GOLDEN / file, frames=frames)
    stored = arrays["features"][0].mT  # (1, frames, mels)
    waveform = np.load(GOLDEN / "waves_16k.npz")[clip]
    ours, _ = model.features((waveform, 16_000))
    assert ((ours[:, : stored.shape[1]] - stored).abs() <= 1e-3).double().mean() >= 0.9999
    features = torch.nn.functional.pad(stored, (0, 0, 0, frames - stored.shape[1]))
    pruned = spectrim.load(spectrim.prune(model, **HALF).save(tmp_path / "saved"))
    with torch.no_grad():
        tokens, trace = model.encode(features), pruned.trace(features)
        torch.testing.assert_close(model.tokenize(features).x, arrays["tokens"], atol=2e-5, rtol=0)
        torch.testing.assert_close(trace.scores[1][0], arrays["scores"], atol=1e-6, rtol=1e-4)
        assert_same_set(kept_patches(pruned, trace), arrays["kept_sorted"].tolist(), False)
        if "logits" in arrays:
            assert_close = torch.testing.assert_close
            assert_close(model(features), arrays["logits"], atol=5e-6, rtol=0)
            assert_close(trace.logits, arrays["pruned_logits"], atol=5e-6, rtol=0)
        else:  # Dasheng
            mean = model.norm(tokens.patches).mean(1)
            torch.testing.assert_close(mean, arrays["pooled"], atol=2e-5, rtol=0)
            mean = pruned.norm(pruned.encode(features).patches).mean(1)
            torch.testing.assert_close(mean, arrays["pruned_pooled"], atol=2e-5, rtol=0)
