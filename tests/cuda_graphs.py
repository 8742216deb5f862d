"""Capture a model in a CUDA graph, after a call in which any synchronisation is an error."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.inference_mode()
def replayed_logits(model: nn.Module, features: Tensor, valid: Tensor) -> Tensor:
    """The logits of a replayed CUDA graph of the model, on the inputs of its capture."""
    model(features, valid)  # compiles kernels and fills caches
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(features, valid)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        logits = model(features, valid)
    graph.replay()
    return logits.clone()
