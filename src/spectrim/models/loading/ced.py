"""Converter for CED (arXiv 2308.11957): its original files and the hub folders `mispeech/ced-*`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ...audio.constants import SAMPLE_RATE
from ...common.errors import SpectrimError
from ...common.values import from_mapping, number
from ...pruning.patches import PATCH, PatchGrid
from ..config import MAX_DEPTH, MAX_FRAMES, MAX_WIDTH, activation_of
from ..presets import from_family
from . import timm_names as timm
from .checkpoint import (
    FRESH_HEAD,
    NO_CONVERTER,
    Checkpoint,
    Converted,
    Support,
    Weights,
    fresh_head,
    unsupported,
)
from .infer import assumed_labels, check_supported, labels_for, stored_labels

NAME = "CED"
SUPPORT = (
    Support(
        family="ced",
        models="CED tiny, mini, small, base",
        sources="hub mispeech/ced-*, original .pt",
        licence="Apache-2.0 (hub), GPL-3.0 (repository)",
        verified="original code at commit 60a0f54",
    ),
)
MELS = 64
DASHENG_PATCH = (MELS, 4)  # Dasheng's checkpoints have the names of CED's
BATCH_NORM_EPS = 1e-5  # PyTorch's default
KNOWN_FRAMES = 1012  # of the published models: 63 columns, with 4 frames left over
LEFTOVERS = ("front_end.", "init_bn.num_batches_tracked")


@dataclass(frozen=True)
class Settings:
    """What is read from config.json; the defaults are those of transformers' CedConfig."""

    embed_dim: int = number(768, least=1, most=MAX_WIDTH)
    depth: int = number(12, least=1, most=MAX_DEPTH)
    num_heads: int = number(12, least=1)
    target_length: int = number(KNOWN_FRAMES, least=PATCH, most=MAX_FRAMES)
    mlp_ratio: Any = 4
    qkv_bias: Any = True
    patch_size: Any = PATCH
    patch_stride: Any = PATCH
    pooling: Any = "mean"
    n_mels: Any = MELS
    n_fft: Any = 512
    win_size: Any = 512
    hop_size: Any = 160
    f_min: Any = 0
    f_max: Any = 8000
    center: Any = True
    hidden_act: Any = "gelu"  # absent from published files
    id2label: dict[Any, Any] | None = None


@dataclass(frozen=True)
class FeatureExtractor:
    """Values in preprocessor_config.json; the defaults are those of the published files."""

    sampling_rate: Any = SAMPLE_RATE
    feature_size: Any = MELS
    n_fft: Any = 512
    win_size: Any = 512
    hop_size: Any = 160
    f_min: Any = 0
    f_max: Any = None
    center: Any = True


SPECTROGRAM: dict[str, tuple[Any, ...]] = {
    "n_fft": (512,),
    "win_size": (512,),
    "hop_size": (160,),
    "f_min": (0,),
    "f_max": (8000, None),
    "center": (True,),
}
SUPPORTED: dict[str, tuple[Any, ...]] = SPECTROGRAM | {
    "mlp_ratio": (4,),
    "qkv_bias": (True,),
    "patch_size": (PATCH,),
    "patch_stride": (PATCH,),
    "pooling": ("mean",),
    "n_mels": (MELS,),
    "hidden_act": ("gelu",),
}


def fits(checkpoint: Checkpoint) -> bool:
    """Whether the keys are of this format."""
    return checkpoint.weights.has(
        "time_pos_embed", "encoder.time_pos_embed"
    ) and checkpoint.weights.has("init_bn.", "encoder.init_bn.")


def read(checkpoint: Checkpoint) -> Converted:
    """timm's names, under `encoder.` in a hub folder, with `init_bn` and `outputlayer` to ours.

    The tables of positions along time and frequency are added up once.
    """
    weights, where = checkpoint.weights, checkpoint.where
    prefix = "encoder." if weights.has("encoder.") else ""
    batch_norm = f"{prefix}init_bn.1" if weights.has(f"{prefix}init_bn.1.") else f"{prefix}init_bn"
    _check_extractor(checkpoint)
    weights.drop(*LEFTOVERS, f"{batch_norm}.num_batches_tracked")
    name = f"{prefix}patch_embed.proj.weight"
    if weights.require(name, None, 1, None, None).shape[2:] == DASHENG_PATCH:
        raise unsupported(where, f"Dasheng. {NO_CONVERTER}")
    kernel = weights.take(name, None, 1, PATCH, PATCH)
    width = len(kernel)
    time = weights.take(f"{prefix}time_pos_embed", 1, width, 1, None)
    frequency = weights.take(f"{prefix}freq_pos_embed", 1, width, MELS // PATCH, 1)
    settings = _settings(checkpoint, width, time.shape[3])
    depth, state = timm.take_blocks(weights, prefix, width)
    timm.check_depth(checkpoint, depth)
    state |= {
        "patch.weight": kernel.transpose(2, 3),  # theirs is (frequency, time)
        "patch.bias": weights.take(f"{prefix}patch_embed.proj.bias", width),
        "prefix_tokens": torch.zeros(1, 0, width),
        # (1, width, rows, columns) to (1, rows * columns, width): frequency-major.
        "positions": (time.float() + frequency.float()).flatten(2).transpose(1, 2),
    }
    state |= weights.layer("norm", f"{prefix}norm", width)
    scale, shift = _per_mel(weights, batch_norm)
    classes = None
    if has_head := weights.has("outputlayer."):
        state |= weights.layer("head_norm", "outputlayer.0", width)
        head = weights.layer("head", "outputlayer.1", None, width)
        state, classes = state | head, len(head["head.bias"])
    weights.close()
    names = stored_labels(settings.id2label, classes, where)
    labels = labels_for(checkpoint.labels, classes, where, names)
    assumed = {} if names is not None else {"labels": assumed_labels(labels)["labels"]}
    if not has_head:
        state |= fresh_head(width, len(labels))
        assumed["head"] = FRESH_HEAD
    config = from_family(
        "ced", name=where, labels=labels, width=width, depth=depth, heads=settings.num_heads,
        frames=settings.target_length, eps=timm.EPS, head_eps=timm.HEAD_EPS, mean=0.0, std=1.0,
        std_factor=1.0, mel_scale=scale, mel_shift=shift,
        **({} if has_head else activation_of(len(labels))),
    )  # fmt: skip
    return Converted(config, state, assumed)


def _settings(checkpoint: Checkpoint, width: int, columns: int) -> Settings:
    """Of config.json; of a file without one, from its tensors."""
    where = checkpoint.where
    if checkpoint.config is None:
        known = PatchGrid(KNOWN_FRAMES, MELS)
        frames = KNOWN_FRAMES if known.columns == columns else columns * PATCH
        heads = timm.heads_of(width, where, checkpoint.heads)
        return Settings(embed_dim=width, num_heads=heads, target_length=frames)
    settings = from_mapping(Settings, checkpoint.config, where, "in config.json")
    check_supported(settings, SUPPORTED | {"embed_dim": (width,)}, where)
    if PatchGrid(settings.target_length, MELS).columns != columns:
        raise SpectrimError(
            f"{where}: target_length is {settings.target_length} in config.json, but the positions "
            f"have {columns} columns of {PATCH} frames."
        )
    return settings


def _check_extractor(checkpoint: Checkpoint) -> None:
    """Refuse a folder whose preprocessor_config.json describes other features."""
    location = "in preprocessor_config.json"
    stored = from_mapping(
        FeatureExtractor, checkpoint.preprocessor or {}, checkpoint.where, location
    )
    expected = SPECTROGRAM | {"sampling_rate": (SAMPLE_RATE,), "feature_size": (MELS,)}
    check_supported(stored, expected, checkpoint.where, location)


def _per_mel(weights: Weights, name: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and shift of a BatchNorm over mel bins in eval mode.

    (x - running_mean) / sqrt(running_var + eps) * weight + bias = x * scale + shift.
    """
    weight, bias, mean, variance = (
        weights.take(f"{name}.{part}", MELS).double()
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / (variance + BATCH_NORM_EPS).sqrt()
    shift = bias - mean * scale
    if not (scale.isfinite().all() and shift.isfinite().all()):
        raise SpectrimError(
            f"{weights.where}: the BatchNorm {name!r} has numbers that are not finite, or a "
            "negative variance. Download the file again."
        )
    return tuple(scale.tolist()), tuple(shift.tolist())
