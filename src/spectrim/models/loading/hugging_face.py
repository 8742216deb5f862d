"""Converter for transformers' AST: a folder that it wrote, or a model in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...audio.constants import MELS
from ...common.errors import SpectrimError
from ...common.values import from_mapping, number
from ...pruning.patches import PATCH, PatchGrid
from ..config import MAX_DEPTH, MAX_FRAMES, MAX_WIDTH, activation_of
from ..presets import from_family
from .checkpoint import FRESH_HEAD, Checkpoint, Converted, State, Support, Weights, fresh_head
from .infer import (
    assumed_labels,
    check_supported,
    labels_for,
    normalisation_of,
    stored_labels,
)

NAME = "AST (transformers)"
SUPPORT = (
    Support(
        family="ast",
        models="AST",
        sources="folders of transformers, hub ids",
        licence="BSD-3-Clause",
        verified="transformers",
    ),
)
MODEL_TYPE = "audio-spectrogram-transformer"
PREFIX = "audio_spectrogram_transformer."
ON_DISK = {  # and, up to transformers 4, in memory
    "norm1": "encoder.layer.{}.layernorm_before",
    "q": "encoder.layer.{}.attention.attention.query",
    "k": "encoder.layer.{}.attention.attention.key",
    "v": "encoder.layer.{}.attention.attention.value",
    "proj": "encoder.layer.{}.attention.output.dense",
    "norm2": "encoder.layer.{}.layernorm_after",
    "fc1": "encoder.layer.{}.intermediate.dense",
    "fc2": "encoder.layer.{}.output.dense",
}
IN_MEMORY = {  # from transformers 5 on
    "norm1": "layers.{}.layernorm_before",
    "q": "layers.{}.attention.q_proj",
    "k": "layers.{}.attention.k_proj",
    "v": "layers.{}.attention.v_proj",
    "proj": "layers.{}.attention.o_proj",
    "norm2": "layers.{}.layernorm_after",
    "fc1": "layers.{}.mlp.fc1",
    "fc2": "layers.{}.mlp.fc2",
}
SUPPORTED: dict[str, tuple[Any, ...]] = {  # besides intermediate_size and num_mel_bins
    "model_type": (MODEL_TYPE,),
    "patch_size": (PATCH, [PATCH, PATCH], (PATCH, PATCH)),
    "hidden_act": ("gelu",),
}
PROBLEMS = {
    "multi_label_classification": {"activation": "sigmoid", "metric": "mAP"},
    "single_label_classification": {"activation": "softmax", "metric": "accuracy"},
}
"""Values of `problem_type`; it is absent from most files."""


@dataclass(frozen=True)
class Settings:
    """What is read from config.json; the defaults are those of ASTConfig."""

    model_type: Any = MODEL_TYPE
    hidden_size: int = number(768, least=1, most=MAX_WIDTH)
    num_hidden_layers: int = number(12, least=1, most=MAX_DEPTH)
    num_attention_heads: int = number(12, least=1)
    intermediate_size: int | None = None
    frequency_stride: int = number(10, least=1, most=PATCH)
    time_stride: int = number(10, least=1, most=PATCH)
    max_length: int = number(1024, least=PATCH, most=MAX_FRAMES)
    num_mel_bins: Any = MELS
    patch_size: Any = PATCH
    hidden_act: Any = "gelu"
    qkv_bias: bool = True
    layer_norm_eps: float = number(1e-12, least=0)
    problem_type: str | None = None
    id2label: dict[Any, Any] | None = None


def fits(checkpoint: Checkpoint) -> bool:
    """Whether the keys are of this format."""
    return checkpoint.weights.has(PREFIX, "embeddings.patch_embeddings.")


def read(checkpoint: Checkpoint) -> Converted:
    """An AST, whose features are Kaldi's."""
    normalisation, assumed = normalisation_of(checkpoint.preprocessor, checkpoint.where)
    return convert(checkpoint, "ast", MELS, normalisation, assumed)


def convert(
    checkpoint: Checkpoint,
    family: str,
    mels: int,
    normalisation: Mapping[str, Any],
    assumed: Mapping[str, str],
) -> Converted:
    """Names `audio_spectrogram_transformer.*` and `classifier.*` to ours.

    An ASTModel, which has no classifier and no prefix, gets a fresh head. A `stride` of the user
    must be the config's own.

    Args:
        family, mels: of the model.
        normalisation: mean, std and padding; assumed: which of them the checkpoint does not store.
    """
    assumed = dict(assumed)
    weights, where, config = checkpoint.weights, checkpoint.where, checkpoint.config
    if config is None:
        raise SpectrimError(
            f"{where} holds weights of a transformers AST and needs its config.json beside it. "
            "Pass the folder that save_pretrained wrote."
        )
    settings = from_mapping(Settings, config, where, "in config.json")
    width, depth = settings.hidden_size, settings.num_hidden_layers
    _check(settings, mels, where)
    stride = (settings.frequency_stride, settings.time_stride)
    if checkpoint.stride not in (None, stride):
        raise SpectrimError(
            f"{where}: the stride is {stride} in config.json and cannot become {checkpoint.stride}."
        )
    count = PatchGrid(settings.max_length, mels, stride).count
    prefix = PREFIX if weights.has(PREFIX) else ""
    inner = f"{prefix}embeddings."
    tokens = [
        weights.take(f"{inner}{name}", 1, 1, width) for name in ("cls_token", "distillation_token")
    ]
    patch = weights.layer("patch", f"{inner}patch_embeddings.projection", width, 1, PATCH, PATCH)
    patch["patch.weight"] = patch["patch.weight"].transpose(2, 3)  # theirs: (frequency, time)
    state: State = patch | {
        "prefix_tokens": torch.cat(tokens, 1),
        "positions": weights.take(f"{inner}position_embeddings", 1, count + 2, width),
    }
    has_bias = settings.qkv_bias
    for index in range(depth):
        state |= _block(weights, prefix, index, width, has_bias)
    state |= weights.layer("norm", f"{prefix}layernorm", width)
    classes = None
    if has_head := weights.has("classifier."):
        state |= weights.layer("head_norm", "classifier.layernorm", width)
        head = weights.layer("head", "classifier.dense", None, width)
        state, classes = state | head, len(head["head.bias"])
    weights.close()
    labels = labels_for(
        checkpoint.labels, classes, where, stored_labels(settings.id2label, classes, where)
    )
    if not has_head:
        state |= fresh_head(width, len(labels))
        assumed |= assumed_labels(labels) | {"head": FRESH_HEAD}
    if classes == 1 and settings.problem_type is None:
        assumed["activation"] = "activation sigmoid for its one class"
    eps = settings.layer_norm_eps
    ours = from_family(
        family, name=where, labels=labels, width=width, depth=depth,
        heads=settings.num_attention_heads, frames=settings.max_length, stride=stride, eps=eps,
        mels=mels, head_eps=eps, **normalisation, **_probabilities(settings, len(labels), where),
    )  # fmt: skip
    return Converted(ours, state, assumed)


def _block(weights: Weights, prefix: str, index: int, width: int, has_bias: bool) -> State:
    style = ON_DISK if weights.has(f"{prefix}encoder.layer.") else IN_MEMORY
    theirs = {part: prefix + name.format(index) for part, name in style.items()}
    ours = f"blocks.{index}"
    qkv = [weights.take(f"{theirs[part]}.weight", width, width) for part in "qkv"]
    biases = [
        weights.take(f"{theirs[part]}.bias", width) if has_bias else torch.zeros(width)
        for part in "qkv"
    ]
    return {
        **weights.layer(f"{ours}.norm1", theirs["norm1"], width),
        f"{ours}.qkv.weight": torch.cat(qkv),
        f"{ours}.qkv.bias": torch.cat(biases),
        **weights.layer(f"{ours}.proj", theirs["proj"], width, width),
        **weights.layer(f"{ours}.norm2", theirs["norm2"], width),
        **weights.layer(f"{ours}.fc1", theirs["fc1"], 4 * width, width),
        **weights.layer(f"{ours}.fc2", theirs["fc2"], width, 4 * width),
    }


def _check(settings: Settings, mels: int, where: str) -> None:
    """Refuse settings that Spectrim's transformer does not support."""
    width, heads = settings.hidden_size, settings.num_attention_heads
    sizes = {"intermediate_size": (4 * width, None), "num_mel_bins": (mels,)}
    check_supported(settings, SUPPORTED | sizes, where)
    if width % heads:
        raise SpectrimError(
            f"{where}: in config.json, the hidden_size {width} does not divide into "
            f"num_attention_heads {heads!r}."
        )


def _probabilities(settings: Settings, classes: int, where: str) -> dict[str, str]:
    """Activation and metric from `problem_type`, else from the number of classes."""
    problem = settings.problem_type
    if problem is None:
        return activation_of(classes)
    if problem not in PROBLEMS:
        raise SpectrimError(
            f"{where}: problem_type is {problem!r} in config.json; Spectrim reads classifiers "
            f"({' or '.join(PROBLEMS)})."
        )
    return PROBLEMS[problem]
