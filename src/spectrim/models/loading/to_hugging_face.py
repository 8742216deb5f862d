"""Spectrim's models as ASTs of transformers: the reverse of `hugging_face`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from typing import Any

from torch import Tensor

from ..config import ModelConfig
from ..presets import from_family
from .hugging_face import IN_MEMORY, ON_DISK, PREFIX

# Values that an AST of transformers stores itself, or in the file of its feature extractor.
FREE = (
    "name", "labels", "width", "depth", "heads", "frames", "stride", "eps", "mean", "std",
    "activation", "metric",
)  # fmt: skip

SAME = ("norm1", "proj", "norm2", "fc1", "fc2")  # layers of a block that only change their name


def ast_differences(config: ModelConfig) -> list[str]:
    """What of a config an AST of transformers cannot compute, such as "padding 'minimum'"."""
    if config.family != "ast":
        return [f"its family is {config.family!r}, not 'ast'"]
    plain = from_family(
        "ast",
        **{name: getattr(config, name) for name in FREE},
        head_eps=config.eps,
        padding="zero",
    )
    known = replace(config, trained_range=None)
    return [
        f"{field.name} {getattr(known, field.name)!r}, not {getattr(plain, field.name)!r}"
        for field in fields(ModelConfig)
        if getattr(known, field.name) != getattr(plain, field.name)
    ]


def ast_settings(config: ModelConfig) -> dict[str, Any]:
    """Arguments of `ASTConfig`, without labels."""
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": 4 * config.width,
        "layer_norm_eps": config.eps,
        "frequency_stride": config.stride[0],
        "time_stride": config.stride[1],
        "max_length": config.frames,
        "num_mel_bins": config.mels,
    }


def ast_state(
    state: Mapping[str, Tensor], config: ModelConfig, names: Collection[str]
) -> dict[str, Tensor]:
    """Weights under the names of `ASTForAudioClassification`.

    Args:
        state: under Spectrim's names.
        names: those of the installed transformers, which differ between its versions.
    """
    inner = f"{PREFIX}embeddings."
    prefix_tokens = state["prefix_tokens"]
    theirs = {
        f"{inner}cls_token": prefix_tokens[:, :1],
        f"{inner}distillation_token": prefix_tokens[:, 1:],
        f"{inner}position_embeddings": state["positions"],
        # Ours: (time, frequency).
        f"{inner}patch_embeddings.projection.weight": state["patch.weight"].transpose(2, 3),
        f"{inner}patch_embeddings.projection.bias": state["patch.bias"],
    }
    layers = {"norm": f"{PREFIX}layernorm", "head_norm": "classifier.layernorm"}
    layers["head"] = "classifier.dense"
    on_disk = any(name.startswith(f"{PREFIX}encoder.layer.") for name in names)
    style = ON_DISK if on_disk else IN_MEMORY
    for index in range(config.depth):
        block = {part: f"{PREFIX}{name.format(index)}" for part, name in style.items()}
        layers |= {f"blocks.{index}.{part}": block[part] for part in SAME}
        for parameter in ("weight", "bias"):
            qkv = state[f"blocks.{index}.qkv.{parameter}"].chunk(3)
            theirs |= {f"{block[part]}.{parameter}": qkv["qkv".index(part)] for part in "qkv"}
    for ours, name in layers.items():
        theirs |= {
            f"{name}.{parameter}": state[f"{ours}.{parameter}"] for parameter in ("weight", "bias")
        }
    return {name: value.clone().contiguous() for name, value in theirs.items()}
