"""Converter for EAT (arXiv 2401.03497) and SSLAM: hub folders and fine-tuned fairseq files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ...common.errors import SpectrimError
from ...common.values import from_mapping, number
from ...pruning.patches import PATCH, PatchGrid
from ..config import MAX_DEPTH, MAX_WIDTH, activation_of
from ..presets import from_family
from . import timm_names as timm
from .checkpoint import FRESH_HEAD, Checkpoint, Converted, State, Support, Weights, fresh_head
from .infer import assumed_labels, check_supported, labels_for, stored_labels

NAME = "EAT and SSLAM"
SUPPORT = (
    Support(
        family="eat",
        models="EAT base, large; SSLAM base",
        sources="hub folders, fairseq .pt without foreign classes",
        licence="MIT",
        verified="original code at commit 06c1c34 (SSLAM shares it)",
    ),
)
MELS, FRAMES = 128, 1024
HUB_EPS = 1e-5  # of the norm before the head: PyTorch's default in the hub's code
HUB, FAIRSEQ = "model.", "model.modality_encoders.IMAGE."


@dataclass(frozen=True)
class Settings:
    """What is read from config.json; the defaults are those of EATConfig."""

    embed_dim: int = number(768, least=1, most=MAX_WIDTH)
    depth: int = number(12, least=1, most=MAX_DEPTH)
    num_heads: int = number(12, least=1)
    norm_eps: float = number(timm.EPS, least=0)
    img_size: Any = (FRAMES, MELS)
    mlp_ratio: Any = 4
    qkv_bias: Any = True
    patch_size: Any = PATCH
    stride: Any = PATCH
    layer_norm_first: Any = False
    norm_affine: Any = True
    hidden_act: Any = "gelu"  # absent from published files
    id2label: dict[Any, Any] | None = None


SUPPORTED: dict[str, tuple[Any, ...]] = {
    "mlp_ratio": (4,),
    "qkv_bias": (True,),
    "patch_size": (PATCH,),
    "stride": (PATCH,),
    "layer_norm_first": (False,),
    "norm_affine": (True,),
    "hidden_act": ("gelu",),
}


def fits(checkpoint: Checkpoint) -> bool:
    """Whether the keys are of this format."""
    return checkpoint.weights.has(f"{HUB}local_encoder.", FAIRSEQ)


def read(checkpoint: Checkpoint) -> Converted:
    """`model.*` of the hub or `model.modality_encoders.IMAGE.*` of fairseq to ours.

    The class token has no position. The fixed table is longer than the window; its first columns
    are used, as many as `frames` asks for.
    """
    weights, where = checkpoint.weights, checkpoint.where
    is_fairseq = weights.has(FAIRSEQ)
    inner = FAIRSEQ if is_fairseq else HUB
    kernel = weights.take(f"{inner}local_encoder.proj.weight", None, 1, PATCH, PATCH)
    width = len(kernel)
    settings = _settings(checkpoint, width)
    table = weights.take(f"{inner}fixed_positional_encoder.positions", 1, None, width)
    grid = _grid(checkpoint, settings, table.shape[1])
    depth, state = timm.take_blocks(weights, "model.", width)
    timm.check_depth(checkpoint, depth)
    state |= {
        "patch.weight": kernel,  # (time, frequency), as ours
        "patch.bias": weights.take(f"{inner}local_encoder.proj.bias", width),
        "prefix_tokens": weights.take(f"{inner}extra_tokens", 1, 1, width),
        "positions": torch.nn.functional.pad(table[:, : grid.count], (0, 0, 1, 0)),
    }
    before = "context_encoder.norm" if is_fairseq else "pre_norm"
    state |= weights.layer("embedding_norm", f"{inner}{before}", width)
    head, classes = _head(weights, "" if is_fairseq else HUB, width)
    weights.close()
    names = stored_labels(settings.id2label, classes, where)
    labels = labels_for(checkpoint.labels, classes, where, names)
    assumed = {} if names is not None else assumed_labels(labels)
    if classes is None:
        head, assumed["head"] = fresh_head(width, len(labels)) | head, FRESH_HEAD
    config = from_family(
        "eat", name=where, labels=labels, width=width, depth=depth, heads=settings.num_heads,
        frames=grid.frames, eps=settings.norm_eps,
        head_eps=timm.EPS if is_fairseq else HUB_EPS, **activation_of(len(labels)),
    )  # fmt: skip
    return Converted(config, state | head, assumed)


def _settings(checkpoint: Checkpoint, width: int) -> Settings:
    where = checkpoint.where
    if checkpoint.config is None:
        heads = timm.heads_of(width, where, checkpoint.heads)
        return Settings(embed_dim=width, num_heads=heads)
    settings = from_mapping(Settings, checkpoint.config, where, "in config.json")
    check_supported(settings, SUPPORTED | {"embed_dim": (width,)}, where)
    return settings


def _grid(checkpoint: Checkpoint, settings: Settings, patches: int) -> PatchGrid:
    """The window: as passed, else that of config.json; at most what the table covers."""
    size = settings.img_size
    if not isinstance(size, (list, tuple)) or len(size) != 2 or size[1] != MELS:
        raise SpectrimError(
            f"{checkpoint.where}: img_size is {size!r} in config.json; Spectrim supports (frames, "
            f"{MELS})."
        )
    frames = checkpoint.frames or size[0]
    if not isinstance(frames, int) or frames < PATCH:
        raise SpectrimError(
            f"{checkpoint.where}: {frames!r} frames; expected an integer of at least {PATCH}."
        )
    longest = patches // (MELS // PATCH) * PATCH
    return PatchGrid(min(frames, longest + PATCH - 1), MELS, frequency_major=False)


def _head(weights: Weights, prefix: str, width: int) -> tuple[State, int | None]:
    """The norm and the linear layer, as far as the file has them, and the number of classes."""
    state: State = {}
    if weights.has(f"{prefix}fc_norm."):
        state |= weights.layer("head_norm", f"{prefix}fc_norm", width)
    if not weights.has(f"{prefix}head."):
        return state, None
    state |= weights.layer("head", f"{prefix}head", None, width)
    return state, len(state["head.bias"])
