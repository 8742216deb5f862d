"""Converter for transformers' AST: a folder that it wrote, or a model in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ...audio.constants import MELS
from ...common.errors import SpectrimError
from ...pruning.patches import PATCH, PatchGrid
from ..config import activation_of, from_family
from .checkpoint import FRESH_HEAD, Checkpoint, Converted, State, Weights, fresh_head
from .infer import assumed_labels, labels_for, normalisation_of

NAME = "AST (transformers)"
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
DEFAULTS = {  # ASTConfig's, for keys that a config.json leaves out
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "frequency_stride": 10, "time_stride": 10, "max_length": 1024, "num_mel_bins": MELS,
}  # fmt: skip


def fits(weights: Weights) -> bool:
    """Whether these names are of this format."""
    return weights.has(PREFIX, "embeddings.patch_embeddings.")


def read(checkpoint: Checkpoint) -> Converted:
    """Names `audio_spectrogram_transformer.*` and `classifier.*` to ours.

    An ASTModel, which has no classifier and no prefix, gets a fresh head. A `stride` of the user
    must be the config's own.
    """
    weights, where, config = checkpoint.weights, checkpoint.where, checkpoint.config
    if config is None:
        raise SpectrimError(
            f"{where} holds weights of a transformers AST and needs its config.json beside it. "
            "Pass the folder that save_pretrained wrote."
        )
    size = {key: _integer(config, key, default, where) for key, default in DEFAULTS.items()}
    width, depth = size["hidden_size"], size["num_hidden_layers"]
    _check(config, width, where)
    stride = (size["frequency_stride"], size["time_stride"])
    if checkpoint.stride not in (None, stride):
        raise SpectrimError(
            f"{where}: the stride is {stride} in config.json and cannot become {checkpoint.stride}."
        )
    count = PatchGrid(size["max_length"], MELS, stride).count
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
    has_bias = bool(config.get("qkv_bias", True))
    for index in range(depth):
        state |= _block(weights, prefix, index, width, has_bias)
    state |= weights.layer("norm", f"{prefix}layernorm", width)
    classes = None
    if has_head := weights.has("classifier."):
        state |= weights.layer("head_norm", "classifier.layernorm", width)
        head = weights.layer("head", "classifier.dense", None, width)
        state, classes = state | head, len(head["head.bias"])
    weights.close()
    labels = labels_for(checkpoint.labels, classes, where, _labels(config, classes, where))
    normalisation, assumed = normalisation_of(checkpoint.preprocessor, where)
    if not has_head:
        state |= fresh_head(width, len(labels))
        assumed |= assumed_labels(labels) | {"head": FRESH_HEAD}
    eps = float(config.get("layer_norm_eps", 1e-12))
    ours = from_family(
        "ast", name=where, labels=labels, width=width, depth=depth,
        heads=size["num_attention_heads"], frames=size["max_length"], stride=stride, eps=eps,
        head_eps=eps, **normalisation, **_probabilities(config, len(labels)),
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


def _check(config: Mapping[str, Any], width: int, where: str) -> None:
    """Refuse settings that Spectrim's transformer does not support."""
    supported = {
        "model_type": (MODEL_TYPE,),
        "patch_size": (PATCH, [PATCH, PATCH], (PATCH, PATCH)),
        "hidden_act": ("gelu",),
        "num_mel_bins": (MELS,),
        "intermediate_size": (4 * width,),
    }
    for key, values in supported.items():
        if config.get(key, values[0]) not in values:
            raise SpectrimError(
                f"{where}: {key} is {config[key]!r} in config.json; Spectrim supports "
                f"{values[0]!r} only."
            )
    if width % (heads := _integer(config, "num_attention_heads", 12, where)):
        raise SpectrimError(
            f"{where}: in config.json, the hidden_size {width} does not divide into "
            f"num_attention_heads {heads!r}."
        )


def _integer(config: Mapping[str, Any], key: str, default: int, where: str) -> int:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpectrimError(f"{where}: {key} is {value!r} in config.json; expected an integer.")
    return value


def _labels(config: Mapping[str, Any], classes: int | None, where: str) -> tuple[str, ...] | None:
    """Label names in the order of the logits; None without `id2label` or without a head."""
    table = config.get("id2label")
    if classes is None or not isinstance(table, Mapping):
        return None
    named = {str(index): str(name) for index, name in table.items()}
    if set(named) != {str(index) for index in range(classes)}:
        raise SpectrimError(
            f"{where}: id2label in config.json has {len(named)} labels; the head has {classes} "
            f"classes, so it needs the keys 0 to {classes - 1}."
        )
    return tuple(named[str(index)] for index in range(classes))


def _probabilities(config: Mapping[str, Any], classes: int) -> dict[str, str]:
    """Activation and metric from `problem_type`, else from the number of classes."""
    problem = config.get("problem_type")
    if problem == "multi_label_classification":
        return {"activation": "sigmoid", "metric": "mAP"}
    if problem == "single_label_classification":
        return {"activation": "softmax", "metric": "accuracy"}
    return activation_of(classes)
