"""Verify that a model loads correctly, find how far it can be pruned, measure the speed-up."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ..audio.constants import SAMPLE_RATE, num_samples
from ..audio.decode import read
from ..common.errors import SpectrimError
from ..data.clip import Clip
from ..data.manifest import Manifest
from ..models.builtin import builtin_names
from ..models.provenance import RESULT_VERSION, versions
from ..models.transformer import SpectrogramTransformer
from ..pruning.defaults import DEFAULT_BLOCKS, KEEP_RATES
from .sweep import Steps, sweep, variants_of

PARITY_CLIPS = 8
# Largest differences between two implementations of the same network and filter bank in float32;
# larger ones mean that the model was read wrongly. In half precision: relative to the largest
# logit.
LOGITS_TOLERANCE = 1e-3
FEATURES_TOLERANCE = 2e-2
HALF_TOLERANCE = 0.1
MIN_SPEEDUP = 1.05  # below this, pruning is not recommended


def check(
    model: SpectrogramTransformer,
    name: str,
    manifest: Manifest,
    *,
    agreement: float = 0.95,
    keep_rates: Sequence[float] = KEEP_RATES,
    score: str = "attention",
    blocks: Sequence[int | str] = DEFAULT_BLOCKS,
    reduction: str = "keep-top",
    batch_size: int = 8,
    rounds: int = 10,
    compile: bool = False,
    steps: Steps = lambda kind, done: None,
) -> dict[str, Any]:
    """Compare with transformers, prune at several keep rates, recommend one; plain data.

    Args:
        name: name that the model was loaded by; transformers loads the same.
        keep_rates, score, blocks, reduction: what is pruned, as for `prune`.
        agreement: minimum fraction of clips whose top-1 class must not change.
        compile: compile every model. Parity is checked with the uncompiled one.
        steps: progress, as for `sweep`.

    Returns:
        {"model", "clips", "parity", "rows", "recommendation", "failures", ...}.

    Raises:
        SpectrimError: an agreement outside 0 to 1; no clip can be read.
    """
    if not 0 < agreement <= 1:
        raise SpectrimError(
            f"an agreement of {agreement}; expected a number above 0 and at most 1."
        )
    result = sweep(
        variants_of(model, name, keep_rates, [score], blocks, reduction=reduction, compile=compile),
        manifest.unlabelled(),
        batch_size=batch_size,
        rounds=rounds,
        steps=steps,
    )
    readable = [manifest.clips[index] for index in result.positions[:PARITY_CLIPS]]
    config = model.config
    return {
        "name": name,
        "model": {
            "config": config.name,
            "width": config.width,
            "blocks": config.depth,
            "patches": config.grid.count,
            "stride": list(config.stride),
            "frames": config.frames,
            "classes": len(config.labels),
            "activation": config.activation,
            "mean": config.mean,
            "std": config.std,
            "padding": config.padding,
            "parameters": sum(p.numel() for p in model.parameters()),
        },
        "data": str(manifest.source),
        "channel": manifest.channel,
        "parity": parity(model, name, readable),
        "rows": result.rows,
        "recommendation": recommend(result.rows, agreement),
        "failures": [{"path": path, "error": error} for path, error in result.failures],
        "versions": versions(),
        "format_version": RESULT_VERSION,
    }


def recommend(rows: Sequence[dict[str, Any]], agreement: float) -> dict[str, Any]:
    """The lowest keep rate that, like all rates above it, keeps the required agreement.

    Returns 1.0 if there is none, or if its speed-up is below `MIN_SPEEDUP`.
    """
    full, *pruned = sorted(rows, key=lambda row: -row["keep_rate"])
    chosen = full
    for row in pruned:
        if row["agreement"]["top1"]["value"] < agreement:
            break
        chosen = row
    if chosen["speedup"] < MIN_SPEEDUP:
        chosen = full
    return {
        "asked": agreement,
        "keep_rate": chosen["keep_rate"],
        "score": chosen["score"],
        "agreement": chosen["agreement"]["top1"],
        "speedup": chosen["speedup"],
        "gmacs": chosen["gmacs"],
    }


def parity(model: SpectrogramTransformer, name: str, clips: Sequence[Clip]) -> dict[str, Any]:
    """Compare features and logits with transformers, if it is installed and can read `name`.

    Returns:
        {"status": "same" | "different" | "not checked", "reason" unless the same, and the largest
        differences: "features", "logits" (both with our features), "end_to_end" (each with its own
        features)}. The status depends on "features" and "logits" only.
    """
    if name in builtin_names():
        return {"status": "not checked", "reason": "the model is Spectrim's own"}
    if importlib.util.find_spec("transformers") is None:
        return {"status": "not checked", "reason": "transformers is not installed"}
    try:
        theirs, extract = _transformers(name, model.device, model.dtype)
    except (OSError, ValueError, KeyError, ImportError) as error:
        message = str(error).splitlines()[0].rstrip(".")
        reason = f"transformers reads Hugging Face's AST only, and cannot read {name}: {message}"
        return {"status": "not checked", "reason": reason}
    if theirs.config.max_length != model.config.frames:
        reason = f"transformers' length is {theirs.config.max_length}, not {model.config.frames}"
        return {"status": "not checked", "reason": reason}
    seconds = num_samples(model.config.frames) / SAMPLE_RATE
    sounds = [read(c.path, c.start, c.end_within(seconds), c.channel) for c in clips]
    ours, valid = model.features_from_waveforms(sounds)
    features = extract(sounds).to(ours)
    with torch.inference_mode():
        logits = model(ours, valid)
        their_logits = theirs(ours.to(model.dtype)).logits.float()
        end_to_end = theirs(features.to(model.dtype)).logits.float()
    differences = {
        "features": float((ours - features).abs().max()),
        "logits": float((logits - their_logits).abs().max()),
        "end_to_end": float((logits - end_to_end).abs().max()),
        "top1_same": float((logits.argmax(1) == end_to_end.argmax(1)).float().mean()),
    }
    is_full_precision = model.dtype in (torch.float32, torch.float64)
    allowed = (
        LOGITS_TOLERANCE if is_full_precision else HALF_TOLERANCE * float(their_logits.abs().max())
    )
    wrong = [
        part
        for fine, part in (
            (differences["logits"] <= allowed, "the networks, given the same features"),
            (differences["features"] <= FEATURES_TOLERANCE, "the features (mean, std or padding)"),
        )
        if not fine  # NaN counts as different
    ]
    result = {"status": "different" if wrong else "same", "clips": len(clips), **differences}
    return result | ({"reason": " and ".join(wrong)} if wrong else {})


def _transformers(
    name: str, device: torch.device, dtype: torch.dtype
) -> tuple[Any, Callable[..., torch.Tensor]]:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, AutoConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # Nothing is downloaded: the model is in a folder or already in the hub's cache.
    config = AutoConfig.from_pretrained(name, local_files_only=True)
    if not isinstance(config, ASTConfig):
        raise ValueError(f"it is a {type(config).__name__}, not an ASTConfig")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on empty bins of its numpy filter bank
        extractor = ASTFeatureExtractor.from_pretrained(name, local_files_only=True)
    theirs = ASTForAudioClassification.from_pretrained(name, local_files_only=True).eval()
    theirs.to(device, dtype)

    def extract(sounds: list[np.ndarray]) -> torch.Tensor:
        values = extractor(sounds, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return values["input_values"]

    return theirs, extract
