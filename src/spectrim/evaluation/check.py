"""One's own model on one's own clips: does it load right, what may be pruned, what is won."""

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
# Of two implementations of one network and one filter bank, in float32; beyond these something
# was read wrongly. Half precision may be off by a share of the largest logit.
LOGITS_TOLERANCE = 1e-3
FEATURES_TOLERANCE = 2e-2
HALF_TOLERANCE = 0.1
WORTH = 1.05  # the least speed-up for which pruning is recommended


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
    steps: Steps = lambda what, done: None,
) -> dict[str, Any]:
    """Compare with transformers, prune at the usual keep-rates, recommend one; plain data.

    Args:
        name: what the model was loaded by; transformers is asked for the same.
        keep_rates, score, blocks, reduction: what is pruned, as for `prune`.
        agreement: least share of clips whose top class must stay as without pruning.
        steps: progress, as for `sweep`.

    Returns:
        {"model", "clips", "parity", "rows", "recommendation", "failures", ...}.

    Raises:
        SpectrimError: an agreement outside 0 to 1; no clip that can be read.
    """
    if not 0 < agreement <= 1:
        raise SpectrimError(f"an agreement of {agreement}; wanted above 0 and at most 1.")
    result = sweep(
        variants_of(model, name, keep_rates, [score], blocks, reduction=reduction),
        manifest.unlabelled(),
        batch_size=batch_size,
        rounds=rounds,
        steps=steps,
    )
    readable = [manifest.clips[at] for at in result.positions[:PARITY_CLIPS]]
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
        "parity": parity(model, name, readable),
        "rows": result.rows,
        "recommendation": recommend(result.rows, agreement),
        "failures": [{"path": path, "error": error} for path, error in result.failures],
        "versions": versions(),
        "format_version": RESULT_VERSION,
    }


def recommend(rows: Sequence[dict[str, Any]], agreement: float) -> dict[str, Any]:
    """The lowest keep-rate such that it and all above it keep the agreement asked for.

    1.0 where none does, or where what does is not faster by `WORTH`.
    """
    full, *pruned = sorted(rows, key=lambda row: -row["keep_rate"])
    chosen = full
    for row in pruned:
        if row["agreement"]["top1"]["value"] < agreement:
            break
        chosen = row
    if chosen["speedup"] < WORTH:
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
    """Features and logits against transformers' own, where it is installed and can read `name`.

    Returns:
        {"status": "same" | "different" | "not checked", "reason" unless the same, and the largest
        differences: "features", "logits" (both fed our features), "end_to_end" (each its own
        features)}. The same are they whose features and logits are; end to end follows.
    """
    if name in builtin_names():
        return {"status": "not checked", "reason": "the model is Spectrim's own"}
    if importlib.util.find_spec("transformers") is None:
        return {"status": "not checked", "reason": "transformers is not installed"}
    try:
        theirs, extract = _transformers(name, model.device, model.dtype)
    except (OSError, ValueError, KeyError, ImportError) as error:
        said = str(error).splitlines()[0].rstrip(".")
        reason = f"it reads Hugging Face's AST only, and {name} says: {said}"
        return {"status": "not checked", "reason": reason}
    if theirs.config.max_length != model.config.frames:
        reason = f"transformers' length is {theirs.config.max_length}, this is another"
        return {"status": "not checked", "reason": reason}
    seconds = num_samples(model.config.frames) / SAMPLE_RATE
    sounds = [read(c.path, c.start, min(c.end or np.inf, (c.start or 0) + seconds)) for c in clips]
    ours, valid = model.features_from_waveforms(sounds)
    features = extract(sounds).to(ours)
    with torch.inference_mode():
        own = model(ours, valid)
        same = theirs(ours.to(model.dtype)).logits.float()
        whole = theirs(features.to(model.dtype)).logits.float()
    differences = {
        "features": float((ours - features).abs().max()),
        "logits": float((own - same).abs().max()),
        "end_to_end": float((own - whole).abs().max()),
        "top1_same": float((own.argmax(1) == whole.argmax(1)).float().mean()),
    }
    whole_precision = model.dtype in (torch.float32, torch.float64)
    allowed = LOGITS_TOLERANCE if whole_precision else HALF_TOLERANCE * float(same.abs().max())
    wrong = [
        what
        for fine, what in (
            (differences["logits"] <= allowed, "the networks, fed alike"),
            (differences["features"] <= FEATURES_TOLERANCE, "the features (mean, std or padding)"),
        )
        if not fine  # as is a difference that is no number
    ]
    found = {"status": "different" if wrong else "same", "clips": len(clips), **differences}
    return found | ({"reason": " and ".join(wrong)} if wrong else {})


def _transformers(
    name: str, device: torch.device, dtype: torch.dtype
) -> tuple[Any, Callable[..., torch.Tensor]]:
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification, AutoConfig
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    # Nothing is fetched: what was loaded lies in a folder or in the hub's cache by now.
    config = AutoConfig.from_pretrained(name, local_files_only=True)
    if not isinstance(config, ASTConfig):
        raise ValueError(f"it is a {type(config).__name__}, not an ASTConfig")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about its numpy filter bank's empty bins
        extractor = ASTFeatureExtractor.from_pretrained(name, local_files_only=True)
    theirs = ASTForAudioClassification.from_pretrained(name, local_files_only=True).eval()
    theirs.to(device, dtype)

    def extract(sounds: list[np.ndarray]) -> torch.Tensor:
        values = extractor(sounds, sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return values["input_values"]

    return theirs, extract
