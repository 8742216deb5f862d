"""Checkpoints of other backbones as their authors write them, with a slow, plain forward pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from foreign import (
    CLASSES,
    DEPTH,
    HEADS,
    WIDTH,
    audiomae,
    layer,
    linear,
    norm,
    run_blocks,
    timm_state,
)
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional


def ced(columns: int = 8, seed: int = 0) -> dict[str, Tensor]:
    """CED's original layout: BatchNorm over mel bins, tables of time and frequency."""
    state = timm_state(1, (), seed) | norm("norm")
    del state["pos_embed"]
    state["time_pos_embed"] = torch.randn(1, WIDTH, 1, columns) * 0.1
    state["freq_pos_embed"] = torch.randn(1, WIDTH, 4, 1) * 0.1
    state |= {"init_bn.1.weight": 1 + 0.1 * torch.randn(64), "init_bn.1.bias": torch.randn(64)}
    state |= {"init_bn.1.running_mean": torch.randn(64) * 20 - 30}
    state |= {"init_bn.1.running_var": torch.rand(64) * 100 + 50}
    state |= {"init_bn.1.num_batches_tracked": torch.tensor(7)}
    state |= {"front_end.0.spectrogram.window": torch.ones(512)}
    return state | norm("outputlayer.0") | linear("outputlayer.1", CLASSES, WIDTH)


def ced_on_the_hub(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of transformers' CED."""
    renamed = {}
    for name, value in state.items():
        if name.startswith("front_end."):
            continue
        prefix = "" if name.startswith("outputlayer.") else "encoder."
        renamed[prefix + name.replace("init_bn.1.", "init_bn.")] = value
    return renamed


def layer_norm(x: Tensor, state: dict[str, Tensor], name: str, eps: float) -> Tensor:
    weight, bias = layer(state, name)
    return functional.layer_norm(x, (WIDTH,), weight, bias, eps)


def run_ced(state: dict[str, Tensor], decibels: Tensor) -> Tensor:
    """(batch, frames, 64) decibels to logits, one clip and one patch at a time."""
    rows = []
    for clip in decibels:
        image = (clip - state["init_bn.1.running_mean"]) / (
            state["init_bn.1.running_var"] + 1e-5
        ).sqrt() * state["init_bn.1.weight"] + state["init_bn.1.bias"]
        tokens = []
        for row in range(4):
            for column in range(len(clip) // 16):
                patch = image[column * 16 : column * 16 + 16, row * 16 : row * 16 + 16]
                token = (state["patch_embed.proj.weight"][:, 0] * patch.T).sum((1, 2))
                token = token + state["patch_embed.proj.bias"]
                token = token + state["time_pos_embed"][0, :, 0, column]
                tokens.append(token + state["freq_pos_embed"][0, :, row, 0])
        x = run_blocks(state, torch.stack(tokens)[None])
        x = layer_norm(x, state, "norm", 1e-6)[0]
        x = layer_norm(x.mean(0), state, "outputlayer.0", 1e-5)
        rows.append(functional.linear(x, *layer(state, "outputlayer.1")))
    return torch.stack(rows)


CED_CONFIG = {
    "model_type": "ced", "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS,
    "target_length": 131, "id2label": {str(n): f"sound {n}" for n in range(CLASSES)},
    "auto_map": {"AutoModel": "modeling_ced.CedModel"},
}  # fmt: skip


def passt(rows: int = 12, columns: int = 9, seed: int = 0) -> dict[str, Tensor]:
    """PaSST's layout: separate positions of prefix tokens, frequency rows and time columns."""
    state = timm_state(1, ("cls_token", "dist_token"), seed) | norm("norm")
    del state["pos_embed"]
    state["new_pos_embed"] = torch.randn(1, 2, WIDTH) * 0.1
    state["freq_new_pos_embed"] = torch.randn(1, WIDTH, rows, 1) * 0.1
    state["time_new_pos_embed"] = torch.randn(1, WIDTH, 1, columns) * 0.1
    state |= linear("head_dist", CLASSES, WIDTH)
    return state | norm("head.0") | linear("head.1", CLASSES, WIDTH)


def run_passt(state: dict[str, Tensor], features: Tensor, stride: int) -> Tensor:
    """(batch, frames, 128) to logits; a shorter clip uses the first columns of the time table."""
    weight, bias = layer(state, "patch_embed.proj")
    patches = functional.conv2d(features.transpose(1, 2)[:, None], weight, bias, stride)
    patches = patches + state["time_new_pos_embed"][..., : patches.shape[3]]
    patches = patches + state["freq_new_pos_embed"]
    prefix = [
        (state[name] + state["new_pos_embed"][:, index]).expand(len(features), -1, -1)
        for index, name in enumerate(("cls_token", "dist_token"))
    ]
    x = run_blocks(state, torch.cat([*prefix, patches.flatten(2).transpose(1, 2)], 1))
    x = layer_norm(x, state, "norm", 1e-6)
    x = layer_norm((x[:, 0] + x[:, 1]) / 2, state, "head.0", 1e-5)
    return functional.linear(x, *layer(state, "head.1"))


def eat(columns: int = 12, seed: int = 0) -> dict[str, Tensor]:
    """EAT's hub layout: a class token without position, a table longer than the window."""
    blocks = {k: v for k, v in timm_state(1, (), seed).items() if k.startswith("blocks.")}
    state = {
        "extra_tokens": torch.randn(1, 1, WIDTH),
        "local_encoder.proj.weight": torch.randn(WIDTH, 1, 16, 16) / 16,
        "local_encoder.proj.bias": torch.randn(WIDTH) * 0.1,
        "fixed_positional_encoder.positions": torch.randn(1, columns * 8, WIDTH) * 0.5,
    }
    state |= blocks | norm("pre_norm") | norm("fc_norm") | linear("head", CLASSES, WIDTH)
    return {f"model.{name}": value for name, value in state.items()}


def eat_of_fairseq(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of a fine-tuned fairseq file."""
    renamed = {}
    for name, value in state.items():
        inner = name.removeprefix("model.")
        if inner.startswith(("fc_norm.", "head.")):
            renamed[inner] = value
        elif inner.startswith("blocks."):
            renamed[name] = value
        else:
            inner = inner.replace("pre_norm.", "context_encoder.norm.")
            renamed[f"model.modality_encoders.IMAGE.{inner}"] = value
    return renamed


def run_eat(
    state: dict[str, Tensor], features: Tensor, eps: float, kept: int | None = None
) -> Tensor:
    """(1, frames, 128) to logits; `kept`: so many patches stay in block 0, the class token's best.

    x = norm1(x + attention(x)), patches are dropped here, x = norm2(x + mlp(x)).
    """
    m = {name.removeprefix("model."): value for name, value in state.items()}
    weight, bias = layer(m, "local_encoder.proj")
    patches = functional.conv2d(features[:, None], weight, bias, stride=16)
    x = patches.flatten(2).transpose(1, 2)  # time-major, as the image is (time, mel)
    x = x + m["fixed_positional_encoder.positions"][:, : x.shape[1]]
    x = layer_norm(torch.cat([m["extra_tokens"], x], 1), m, "pre_norm", 1e-6)
    for index, block in enumerate(f"blocks.{index}" for index in range(DEPTH)):
        qkv = functional.linear(x, *layer(m, f"{block}.attn.qkv"))
        heads, maps = [], []
        for head in range(HEADS):
            q, k, v = (part[..., head * 64 : head * 64 + 64] for part in qkv.split(WIDTH, -1))
            maps.append(torch.softmax(q @ k.transpose(1, 2) / 8, -1))
            heads.append(maps[-1] @ v)
        x = x + functional.linear(torch.cat(heads, -1), *layer(m, f"{block}.attn.proj"))
        x = layer_norm(x, m, f"{block}.norm1", 1e-6)
        if kept is not None and index == 0:
            row = torch.stack(maps).mean(0)[0, 0, 1:]
            best = row.argsort(descending=True)[:kept] + 1
            x = torch.cat([x[:, :1], x[:, best]], 1)
        hidden = functional.gelu(functional.linear(x, *layer(m, f"{block}.mlp.fc1")))
        x = x + functional.linear(hidden, *layer(m, f"{block}.mlp.fc2"))
        x = layer_norm(x, m, f"{block}.norm2", 1e-6)
    return functional.linear(layer_norm(x[:, 0], m, "fc_norm", eps), *layer(m, "head"))


EAT_CONFIG = {
    "model_type": "eat", "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS,
    "img_size": [128, 128], "norm_eps": 1e-6, "layer_norm_first": False,
    "auto_map": {"AutoModel": "modeling_eat.EATModel"},
}  # fmt: skip


def ssast(patches: int = 64, seed: int = 0) -> dict[str, Tensor]:
    """A pre-trained SSAST as published, saved under DataParallel."""
    state = timm_state(patches, ("cls_token", "dist_token"), seed) | norm("norm")
    state |= linear("head", 10, WIDTH) | linear("head_dist", 10, WIDTH)
    state = {f"v.{name}": value for name, value in state.items()}
    state |= {"p_input_fdim": torch.tensor(128), "p_input_tdim": torch.tensor(128)}
    state |= {"mask_embed": torch.randn(1, 1, WIDTH)}
    for name in ("cpredlayer", "gpredlayer"):
        state |= linear(f"{name}.0", WIDTH, WIDTH) | linear(f"{name}.2", 256, WIDTH)
    return {f"module.{name}": value for name, value in state.items()}


def run_ssast(state: dict[str, Tensor], features: Tensor) -> Tensor:
    """(batch, frames, 128) to (batch, width): the mean of the normalised patches."""
    v = {name.removeprefix("module.").removeprefix("v."): value for name, value in state.items()}
    weight, bias = layer(v, "patch_embed.proj")
    patches = functional.conv2d(features.transpose(1, 2)[:, None], weight, bias, stride=16)
    tokens = [v[name].expand(len(features), -1, -1) for name in ("cls_token", "dist_token")]
    x = torch.cat([*tokens, patches.flatten(2).transpose(1, 2)], 1) + v["pos_embed"]
    return layer_norm(run_blocks(v, x), v, "norm", 1e-6)[:, 2:].mean(1)


def hugging_face_ast(rows: int) -> dict[str, Tensor]:
    """An AST under the names that transformers writes; 9 columns at stride 10 in 96 frames."""
    state = timm_state(rows * 9, ("cls_token", "dist_token"))
    prefix = "audio_spectrogram_transformer."
    embeddings = f"{prefix}embeddings."
    renamed = {
        f"{embeddings}cls_token": state["cls_token"],
        f"{embeddings}distillation_token": state["dist_token"],
        f"{embeddings}position_embeddings": state["pos_embed"],
        f"{embeddings}patch_embeddings.projection.weight": state["patch_embed.proj.weight"],
        f"{embeddings}patch_embeddings.projection.bias": state["patch_embed.proj.bias"],
    }
    for block in range(DEPTH):
        theirs = f"{prefix}encoder.layer.{block}"
        for part in ("weight", "bias"):
            qkv = state[f"blocks.{block}.attn.qkv.{part}"].split(WIDTH)
            for name, value in zip(("query", "key", "value"), qkv, strict=True):
                renamed[f"{theirs}.attention.attention.{name}.{part}"] = value.clone()
            for name, old in (
                ("attention.output.dense", "attn.proj"), ("layernorm_before", "norm1"),
                ("layernorm_after", "norm2"), ("intermediate.dense", "mlp.fc1"),
                ("output.dense", "mlp.fc2"),
            ):  # fmt: skip
                renamed[f"{theirs}.{name}.{part}"] = state[f"blocks.{block}.{old}.{part}"]
    renamed |= norm(f"{prefix}layernorm") | norm("classifier.layernorm")
    return renamed | linear("classifier.dense", CLASSES, WIDTH)


EXTRACTOR = {"feature_extractor_type": "ASTFeatureExtractor", "mean": -4.2, "std": 4.5}
MAEST_EXTRACTOR = {"feature_extractor_type": "MAESTFeatureExtractor"}
AST_CONFIG = {
    "model_type": "audio-spectrogram-transformer", "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH, "num_attention_heads": HEADS, "max_length": 96,
    "intermediate_size": 4 * WIDTH,
}  # fmt: skip


HUB_FOLDERS = {
    "ced": (lambda: ced_on_the_hub(ced()), CED_CONFIG, None),
    "eat": (eat, EAT_CONFIG, None),
    "ast": (lambda: hugging_face_ast(12), AST_CONFIG, EXTRACTOR),
    "maest": (lambda: hugging_face_ast(9), AST_CONFIG | {"num_mel_bins": 96}, MAEST_EXTRACTOR),
    "audiomae": (
        audiomae, {"pretrained_cfg": {"input_size": [1, 128, 128]}}, EXTRACTOR,
    ),
}  # fmt: skip
"""Names of hub folders to a function that makes their weights, config.json and, if they have one,
preprocessor_config.json."""


def write_folder(
    folder: Path, state: dict[str, Tensor], config: dict[str, Any], extractor: dict[str, Any] | None
) -> Path:
    """Write a hub folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in state.items()}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    if extractor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(extractor))
    return folder
