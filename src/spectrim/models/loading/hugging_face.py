"""The door for transformers' AST: a folder that it wrote, or a model in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from ...audio.constants import MELS
from ...common.errors import SpectrimError
from ...pruning.patches import PATCH, PatchGrid
from ..config import activation_of, from_family
from .infer import Labels, labels_for
from .preprocessor import hearing
from .state_dict import FRESH_HEAD, Arrival, State, Weights, assumed_labels, fresh_head

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


def fits(names: Iterable[str]) -> bool:
    """Whether these names are of this format."""
    return any(name.startswith((PREFIX, "embeddings.patch_embeddings.")) for name in names)


def read(
    weights: Weights,
    config: Mapping[str, Any],
    preprocessor: Mapping[str, Any] | None = None,
    stride: Any = None,
    labels: Labels | None = None,
) -> Arrival:
    """Names `audio_spectrogram_transformer.*` and `classifier.*` to ours.

    An ASTModel, which has no classifier and no prefix, gets a fresh head.

    Args:
        weights: what the file or the model holds.
        config: config.json, or `model.config.to_dict()`.
        preprocessor: preprocessor_config.json; None: there is none.
        stride: must be None or the config's own.
        labels: names or, without a head, a count.

    Raises:
        SpectrimError: a key that is missing, unexpected or of a wrong shape; a config of
            another architecture.
    """
    where = weights.where
    size = {key: _integer(config, key, default, where) for key, default in DEFAULTS.items()}
    width, depth = size["hidden_size"], size["num_hidden_layers"]
    _check(config, width, where)
    pair = (size["frequency_stride"], size["time_stride"])
    if stride is not None and stride not in (pair, pair[0] if pair[0] == pair[1] else pair):
        raise SpectrimError(f"{where}: config.json says stride {pair}, so {stride} cannot be had.")
    count = PatchGrid(size["max_length"], MELS, pair).count
    prefix = PREFIX if any(name.startswith(PREFIX) for name in weights.names) else ""
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
    bias = bool(config.get("qkv_bias", True))
    for index in range(depth):
        state |= _block(weights, prefix, index, width, bias)
    state |= weights.layer("norm", f"{prefix}layernorm", width)
    classes = None
    if has_head := any(name.startswith("classifier.") for name in weights.names):
        state |= weights.layer("head_norm", "classifier.layernorm", width)
        head = weights.layer("head", "classifier.dense", None, width)
        state, classes = state | head, len(head["head.bias"])
    weights.close()
    names = labels_for(labels, classes, where, _names(config, classes, where))
    sound, assumed = hearing(preprocessor, where)
    if not has_head:
        state |= fresh_head(width, len(names))
        assumed |= assumed_labels(names) | {"head": FRESH_HEAD}
    eps = float(config.get("layer_norm_eps", 1e-12))
    ours = from_family(
        "ast", name=where, labels=names, width=width, depth=depth,
        heads=size["num_attention_heads"], frames=size["max_length"], stride=pair, eps=eps,
        head_eps=eps, **sound, **_probabilities(config, len(names)),
    )  # fmt: skip
    return Arrival(ours, state, assumed)


def _block(weights: Weights, prefix: str, index: int, width: int, bias: bool) -> State:
    old = any(name.startswith(f"{prefix}encoder.layer.") for name in weights.names)
    style = ON_DISK if old else IN_MEMORY
    theirs = {part: prefix + name.format(index) for part, name in style.items()}
    ours = f"blocks.{index}"
    qkv = [weights.take(f"{theirs[part]}.weight", width, width) for part in "qkv"]
    biases = [
        weights.take(f"{theirs[part]}.bias", width) if bias else torch.zeros(width)
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
    """Refuse what our transformer does not compute."""
    wanted = {
        "model_type": (MODEL_TYPE,),
        "patch_size": (PATCH, [PATCH, PATCH], (PATCH, PATCH)),
        "hidden_act": ("gelu",),
        "num_mel_bins": (MELS,),
        "intermediate_size": (4 * width,),
    }
    for key, values in wanted.items():
        if config.get(key, values[0]) not in values:
            raise SpectrimError(
                f"{where}: config.json says {key} {config[key]!r}; Spectrim reads {values[0]!r} "
                "only."
            )
    if width % (heads := _integer(config, "num_attention_heads", 12, where)):
        raise SpectrimError(
            f"{where}: config.json says num_attention_heads {heads!r}, into which a hidden_size "
            f"of {width} does not divide."
        )


def _integer(config: Mapping[str, Any], key: str, default: int, where: str) -> int:
    value = config.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise SpectrimError(f"{where}: config.json says {key} {value!r}; wanted a whole number.")
    return value


def _names(config: Mapping[str, Any], classes: int | None, where: str) -> tuple[str, ...] | None:
    """Label names in the order of the logits; None where the config or the head is silent."""
    table = config.get("id2label")
    if classes is None or not isinstance(table, Mapping):
        return None
    named = {str(index): str(name) for index, name in table.items()}
    if set(named) != {str(index) for index in range(classes)}:
        raise SpectrimError(
            f"{where}: config.json names {len(named)} labels in id2label; the head has {classes} "
            f"classes, so 0 to {classes - 1} are wanted."
        )
    return tuple(named[str(index)] for index in range(classes))


def _probabilities(config: Mapping[str, Any], classes: int) -> dict[str, str]:
    """Sigmoid for problems with several labels; else what the number of classes suggests."""
    problem = config.get("problem_type")
    if problem == "multi_label_classification":
        return {"activation": "sigmoid", "metric": "mAP"}
    if problem == "single_label_classification":
        return {"activation": "softmax", "metric": "accuracy"}
    return activation_of(classes)
