"""Checkpoints as others write them, with random weights, and plain readings of those."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

WIDTH, HEADS, DEPTH, CLASSES = 128, 2, 2, 5
SMALL = 1e-3  # embeddings so small that the epsilon of a LayerNorm shows in the logits


def timm_state(
    patches: int, num_prefix_tokens: tuple[str, ...], seed: int = 0
) -> dict[str, Tensor]:
    """What timm's vision transformer would hold: no end, no head."""
    torch.manual_seed(seed)
    state = {name: torch.randn(1, 1, WIDTH) * SMALL for name in num_prefix_tokens}
    state["pos_embed"] = torch.randn(1, len(num_prefix_tokens) + patches, WIDTH) * SMALL
    state["patch_embed.proj.weight"] = torch.randn(WIDTH, 1, 16, 16) * SMALL / 16
    state["patch_embed.proj.bias"] = torch.randn(WIDTH) * SMALL
    for block in (f"blocks.{index}" for index in range(DEPTH)):
        state |= norm(f"{block}.norm1") | linear(f"{block}.attn.qkv", 3 * WIDTH, WIDTH, 2)
        state |= linear(f"{block}.attn.proj", WIDTH, WIDTH) | norm(f"{block}.norm2")
        state |= linear(f"{block}.mlp.fc1", 4 * WIDTH, WIDTH)
        state |= linear(f"{block}.mlp.fc2", WIDTH, 4 * WIDTH)
    return state


def norm(name: str, scale: float = 1.0) -> dict[str, Tensor]:
    weight, bias = 1 + 0.1 * torch.randn(WIDTH), 0.1 * torch.randn(WIDTH)
    return {f"{name}.weight": weight * scale, f"{name}.bias": bias * scale}


def linear(name: str, outs: int, ins: int, scale: float = 1.0) -> dict[str, Tensor]:
    weight = torch.randn(outs, ins) * scale / ins**0.5
    return {f"{name}.weight": weight, f"{name}.bias": 0.1 * torch.randn(outs)}


def official_ast(patches: int = 64, seed: int = 0) -> dict[str, Tensor]:
    """An official AST, ImageNet's heads still inside, saved under DataParallel."""
    state = timm_state(patches, ("cls_token", "dist_token"), seed) | norm("norm", 3 * SMALL)
    state |= linear("head", 10, WIDTH) | linear("head_dist", 10, WIDTH)
    state = {f"v.{name}": value for name, value in state.items()}
    state |= norm("mlp_head.0") | linear("mlp_head.1", CLASSES, WIDTH)
    return {f"module.{name}": value for name, value in state.items()}


def audiomae(patches: int = 64, head: bool = True, seed: int = 0) -> dict[str, Tensor]:
    """An AudioMAE: fine-tuned with fc_norm and head, or pre-trained with decoder and the rest."""
    state = timm_state(patches, ("cls_token",), seed) | norm("norm")
    if head:
        return state | norm("fc_norm") | linear("head", CLASSES, WIDTH)
    state |= {"mask_token": torch.randn(1, 1, 64), "decoder_pos_embed": torch.randn(1, 65, 64)}
    return state | linear("decoder_embed", 64, WIDTH) | linear("decoder_blocks.0.mlp.fc1", 9, 8)


def layer(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return state[f"{name}.weight"], state[f"{name}.bias"]


def run_blocks(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """timm's blocks, attention written out; (batch, tokens, width) to the same."""
    for block in (f"blocks.{index}" for index in range(DEPTH)):
        hidden = functional.layer_norm(x, (WIDTH,), *layer(state, f"{block}.norm1"), 1e-6)
        qkv = functional.linear(hidden, *layer(state, f"{block}.attn.qkv"))
        heads = []
        for head in range(HEADS):
            q, k, v = (part[..., head * 64 : head * 64 + 64] for part in qkv.split(WIDTH, -1))
            heads.append(torch.softmax(q @ k.transpose(1, 2) / 8, -1) @ v)
        x = x + functional.linear(torch.cat(heads, -1), *layer(state, f"{block}.attn.proj"))
        hidden = functional.layer_norm(x, (WIDTH,), *layer(state, f"{block}.norm2"), 1e-6)
        hidden = functional.gelu(functional.linear(hidden, *layer(state, f"{block}.mlp.fc1")))
        x = x + functional.linear(hidden, *layer(state, f"{block}.mlp.fc2"))
    return x


def run_official_ast(
    state: dict[str, Tensor], features: Tensor, stride: tuple[int, int] = (16, 16)
) -> Tensor:
    """(batch, frames, mels) to logits, as YuanGongND/ast's `ASTModel.forward` does."""
    state = {name.removeprefix("module."): value for name, value in state.items()}
    v = {name.removeprefix("v."): value for name, value in state.items()}
    image = features.unsqueeze(1).transpose(2, 3)
    patches = functional.conv2d(image, *layer(v, "patch_embed.proj"), stride=stride)
    tokens = [v[name].expand(len(features), -1, -1) for name in ("cls_token", "dist_token")]
    x = torch.cat([*tokens, patches.flatten(2).transpose(1, 2)], 1) + v["pos_embed"]
    x = functional.layer_norm(run_blocks(v, x), (WIDTH,), *layer(v, "norm"), 1e-6)
    x = functional.layer_norm((x[:, 0] + x[:, 1]) / 2, (WIDTH,), *layer(state, "mlp_head.0"))
    return functional.linear(x, *layer(state, "mlp_head.1"))


def audiomae_mean(state: dict[str, Tensor], features: Tensor) -> Tensor:
    """(batch, frames, mels) to (batch, width): AudioMAE's mean of the patches, before fc_norm."""
    patches = functional.conv2d(features[:, None], *layer(state, "patch_embed.proj"), stride=16)
    x = patches.flatten(2).transpose(1, 2) + state["pos_embed"][:, 1:]
    start = (state["cls_token"] + state["pos_embed"][:, :1]).expand(len(features), -1, -1)
    return run_blocks(state, torch.cat([start, x], 1))[:, 1:].mean(1)


def run_audiomae(state: dict[str, Tensor], features: Tensor) -> Tensor:
    """(batch, frames, mels) to logits, as AudioMAE's `models_vit` does when fine-tuned."""
    x = audiomae_mean(state, features)
    x = functional.layer_norm(x, (WIDTH,), *layer(state, "fc_norm"), 1e-6)
    return functional.linear(x, *layer(state, "head"))
