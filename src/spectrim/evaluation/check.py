"""Verify that a model loads correctly, find how far it can be pruned, measure the speed-up."""

from __future__ import annotations

import importlib.util
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ..common.errors import SpectrimError, SpectrimNotice, first_line
from ..common.interruption import Stopped
from ..data.batches import Batch, batches
from ..data.clip import Clip
from ..data.manifest import Manifest
from ..metrics.intervals import Z95
from ..models.builtin_models import builtin_names
from ..models.config import ModelConfig
from ..models.provenance import RESULT_VERSION, versions
from ..models.transformer import SpectrogramTransformer
from ..pruning.defaults import KEEP_RATES, SWEEP_SCORES
from ..pruning.plan import Plan
from ..pruning.saved_plans import is_unpruned, mean_gmacs, method_of
from .short_clips import compare_lengths
from .sweep import TIMING_BUDGET, Steps, Sweep, evaluate, with_times
from .training_clips import training_clips
from .variants import variants_of

PARITY_CLIPS = 8
PARITY_SECONDS = 10.0  # no further clip is compared after this time
# Largest differences between two implementations of the same network and filter bank in float32;
# larger ones mean that the model was read wrongly. In half precision: relative to the largest
# logit.
LOGITS_TOLERANCE = 1e-3
FEATURES_TOLERANCE = 2e-2
HALF_TOLERANCE = 0.1
MIN_SPEEDUP = 1.05  # below this, pruning is not recommended
CONTROL = "random"  # measured for comparison and never recommended

Report = Callable[[str, dict[str, Any]], None]
"""Called when a section of the result is complete: its key, and the result so far."""


def check(
    model: SpectrogramTransformer,
    name: str,
    manifest: Manifest,
    *,
    agreement: float = 0.95,
    keep_rates: Sequence[float] = KEEP_RATES,
    scores: Sequence[str] = SWEEP_SCORES,
    blocks: Sequence[int | str] | str | None = None,
    reduction: str = "keep-top",
    recommended: Plan | None = None,
    batch_size: int = 8,
    rounds: int = 20,
    budget: float = TIMING_BUDGET,
    compile: bool = False,
    steps: Steps = lambda label, done: None,
    report: Report = lambda section, result: None,
) -> dict[str, Any]:
    """Compare with transformers, prune by several scores and keep rates, recommend a plan.

    The sections are computed in the order of what a user needs first: "model", "parity",
    "lengths" if the clips are much shorter than the window (see `compare_lengths`), "rows".
    The plans that may be recommended are timed first.

    Args:
        name: name that the model was loaded by; transformers loads the same.
        keep_rates, scores, blocks, reduction, recommended: what is pruned, see `variants_of`.
        agreement: minimum fraction of clips whose top-1 class must not change.
        rounds, budget: of timing, see `sweep.with_times`; a budget of 0 times nothing.
        compile: time compiled models. Parity and agreement are those of the uncompiled ones.
        steps: progress, as for `sweep`.
        report: called after each section.

    Returns:
        {"model", "clips", "parity", "rows", "recommendation", "failures", ...}, plain data.

    Raises:
        SpectrimError: an agreement outside 0 to 1; no clip can be read.
        Stopped: Ctrl-C; its result is what was computed so far, with "stopped": True. Without
            a single batch of clips it has no "rows" and no "recommendation".
    """
    if not 0 < agreement <= 1:
        raise SpectrimError(
            f"an agreement of {agreement}; expected a number above 0 and at most 1."
        )
    variants = variants_of(
        model, name, keep_rates, scores, blocks,
        reduction=reduction, compile=compile, recommended=recommended,
    )  # fmt: skip
    manifest = manifest.unlabelled()
    config = model.config
    result: dict[str, Any] = {
        "name": name,
        "model": {
            "config": config.name,
            "family": config.family,
            "width": config.width,
            "blocks": config.depth,
            "patches": config.grid.count,
            "stride": list(config.stride),
            "frames": config.frames,
            "classes": len(config.labels),
            "activation": config.activation,
            "front_end": config.front_end,
            "sample_rate": config.sample_rate,
            "mels": config.mels,
            "mean": config.mean,
            "std": config.std,
            "padding": config.padding,
            "parameters": sum(p.numel() for p in model.parameters()),
        },
        "recommended_plan": model.recommendation.to_dict() | {"text": str(model.recommendation)},
        "data": str(manifest.source),
        "channel": manifest.channel,
        "training_clips": training_clips(name, manifest),
        "versions": versions(),
        "format_version": RESULT_VERSION,
    }

    def add(measured: Sweep) -> None:
        failures = [{"path": path, "error": error} for path, error in measured.failures]
        recommendation = recommend(measured.rows, agreement)
        result.update(rows=measured.rows, recommendation=recommendation, failures=failures)

    try:
        report("model", result)
        result["parity"] = parity(model, name, manifest.clips)
        report("parity", result)
        if (lengths := compare_lengths(model, manifest.clips, batch_size)) is not None:
            result["lengths"] = lengths
            report("lengths", result)
        measured = evaluate(variants, manifest, batch_size=batch_size, steps=steps)
        add(measured)
        order = order_of_timing(measured.rows, agreement)
        measured = with_times(
            measured, variants, manifest, batch_size=batch_size, rounds=rounds, budget=budget,
            order=order, steps=steps,
        )  # fmt: skip
        add(measured)
        report("rows", result)
    except KeyboardInterrupt as interrupt:
        if isinstance(interrupt, Stopped):
            add(interrupt.result)
        raise Stopped(result | {"stopped": True}) from None
    return result


def candidates(rows: Sequence[dict[str, Any]], agreement: float) -> list[dict[str, Any]]:
    """For each score, the row of the lowest keep rate that may be recommended, if there is one.

    It and all keep rates above it preserve the top class on the required fraction of clips: the
    lower end of the 95 % interval is not below it, so few clips recommend nothing.
    """
    best = []
    pruned = [row for row in rows if not is_unpruned(row) and row["score"] != CONTROL]
    for method in dict.fromkeys(map(method_of, pruned)):
        chosen = None
        of_method = [row for row in pruned if method_of(row) == method]
        # A recommended plan stands alone; its stages may have several keep rates.
        for row in sorted(of_method, key=lambda row: -(row["keep_rate"] or 0.0)):
            if row["agreement"]["top1"]["low"] < agreement:
                break
            chosen = row
        if chosen is not None:
            best.append(chosen)
    return best


def recommend(rows: Sequence[dict[str, Any]], agreement: float) -> dict[str, Any]:
    """The fastest of the `candidates`; the unpruned row if none is `MIN_SPEEDUP` faster.

    Without times, MACs are compared.

    Returns:
        {"asked": the agreement, "keep_rate", "score", "agreement", "speedup", "gmacs" (the mean of
        the clips) of the chosen row, "recommended": whether it is the model's recommended plan,
        "mac_ratio": its reduction of MACs, "clips_needed": see `clips_needed`}.
    """
    full = rows[0]
    best = candidates(rows, agreement)
    timed = [row for row in best if row["speedup"] is not None]

    def gain(row: dict[str, Any]) -> float:
        return float(row["speedup"] if timed else mean_gmacs(full) / mean_gmacs(row))

    chosen = max(timed or best, key=gain, default=full)
    if chosen is not full and gain(chosen) < MIN_SPEEDUP:
        chosen = full
    return {
        "asked": agreement,
        "keep_rate": chosen["keep_rate"],
        "keep_rate_of_stages": chosen.get("keep_rate_of_stages", chosen["keep_rate"]),
        "score": chosen["score"],
        "reduction": chosen.get("reduction"),
        "recommended": chosen.get("recommended", False),
        "agreement": chosen["agreement"]["top1"],
        "speedup": chosen["speedup"],
        "gmacs": mean_gmacs(chosen),
        "mac_ratio": mean_gmacs(full) / mean_gmacs(chosen),
        "clips_needed": clips_needed(agreement),
    }


def clips_needed(agreement: float) -> int | None:
    """The smallest number of clips that can show an agreement; None for 1.0, which none can.

    If all n clips agree, the lower end of the 95 % Wilson interval is n / (n + 1.96^2).
    """
    return None if agreement >= 1 else math.ceil(Z95**2 * agreement / (1 - agreement))


def order_of_timing(rows: Sequence[dict[str, Any]], agreement: float) -> list[int]:
    """Positions of the rows to time: candidates by MACs, the rest of the table, the control."""
    first = sorted(candidates(rows, agreement), key=mean_gmacs)
    rest = [row for row in rows if row not in first and row["score"] != CONTROL]
    control = [row for row in rows if row["score"] == CONTROL]
    return [rows.index(row) for row in [*first, *rest, *control]]


def parity(model: SpectrogramTransformer, name: str, clips: Sequence[Clip]) -> dict[str, Any]:
    """Compare features and logits with transformers, if it is installed and can read `name`.

    Returns:
        {"status": "same" | "different" | "not checked", "reason" unless the same, and the largest
        differences: "features", "logits" (both with our features), "end_to_end" (each with its own
        features)}. The status depends on "features" and "logits" only. Clips are compared one by
        one, the first readable `PARITY_CLIPS` at most, until `PARITY_SECONDS` have passed. Of a
        model whose feature extractor is code in its folder (MAEST), only "logits" are compared.
    """
    if name in builtin_names():
        return {"status": "not checked", "reason": "the model is Spectrim's own"}
    if importlib.util.find_spec("transformers") is None:
        return {"status": "not checked", "reason": "transformers is not installed"}
    try:
        theirs, extract = _transformers(name, model.device, model.dtype)
        if model.config.front_end != "kaldi":
            extract = None
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = "transformers reads only Hugging Face's AST, and cannot read "
        reason += f"{name}: {first_line(error)}"
        return {"status": "not checked", "reason": reason}
    if theirs.config.max_length != model.config.frames:
        reason = f"transformers' length is {theirs.config.max_length}, not {model.config.frames}"
        return {"status": "not checked", "reason": reason}
    compared = _differences(model, theirs, extract, clips)
    if not compared:
        return {"status": "not checked", "reason": "none of the first clips can be read"}
    differences: dict[str, float] = {
        key: float(np.max([entry[key] for entry in compared]))  # NaN stays NaN
        for key in ("features", "logits", "end_to_end")
        if key in compared[0]
    }
    differences["top1_same"] = float(np.mean([entry["top1_same"] for entry in compared]))
    largest_logit = max(entry["largest_logit"] for entry in compared)
    is_full_precision = model.dtype in (torch.float32, torch.float64)
    allowed = LOGITS_TOLERANCE if is_full_precision else HALF_TOLERANCE * largest_logit
    wrong = [
        part
        for fine, part in (
            (differences["logits"] <= allowed, "the networks, given the same features"),
            (
                differences.get("features", 0.0) <= FEATURES_TOLERANCE,
                "the features (mean, std or padding)",
            ),
        )
        if not fine  # NaN counts as different
    ]
    result: dict[str, Any] = {
        "status": "different" if wrong else "same",
        "clips": len(compared),
        **differences,
    }
    return result | ({"reason": " and ".join(wrong)} if wrong else {})


def _differences(
    model: SpectrogramTransformer,
    theirs: Any,
    extract: Callable[..., torch.Tensor] | None,
    clips: Sequence[Clip],
) -> list[dict[str, float]]:
    """Differences from transformers for each of the first readable clips."""
    compared: list[dict[str, float]] = []
    began = time.perf_counter()
    for batch in _batches_without_notes(clips, model.config):
        for waveform in batch.waveforms:
            waveform = waveform[: model.config.window_samples]
            ours, valid = model.features_from_waveforms([waveform])
            with torch.inference_mode():
                logits = model(ours, valid)
                their_logits = end_to_end = theirs(ours.to(model.dtype)).logits.float()
                entry: dict[str, float] = {
                    "logits": float((logits - their_logits).abs().max()),
                    "largest_logit": float(their_logits.abs().max()),
                }
                if extract is not None:
                    features = extract([waveform]).to(ours)
                    end_to_end = theirs(features.to(model.dtype)).logits.float()
                    entry["features"] = float((ours - features).abs().max())
                    entry["end_to_end"] = float((logits - end_to_end).abs().max())
            entry["top1_same"] = float((logits.argmax(1) == end_to_end.argmax(1)).float().mean())
            compared.append(entry)
        if len(compared) >= PARITY_CLIPS or time.perf_counter() - began > PARITY_SECONDS:
            break
    return compared


def _batches_without_notes(clips: Sequence[Clip], config: ModelConfig) -> Iterator[Batch]:
    """Batches of one clip; notes about them come when all clips are read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectrimNotice)
        yield from batches(clips, 1, config.seconds_to_read, rate=config.sample_rate)


def _transformers(
    name: str, device: torch.device, dtype: torch.dtype
) -> tuple[Any, Callable[..., torch.Tensor] | None]:
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
        values = extractor(sounds, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        return values["input_values"]

    return theirs, extract
