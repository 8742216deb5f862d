"""Checkpoints of other backbones as their authors write them, with a slow, plain forward pass."""

from __future__ import annotations

import torch
from foreign import CLASSES, DEPTH, HEADS, WIDTH, layer, linear, norm, run_blocks, timm_state
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
