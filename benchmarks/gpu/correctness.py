"""Does a GPU compute what the CPU computes? Built-in models on real clips.

The reference is the same model on the CPU in float32, its features included. Differences of logits
are also taken from a float64 model on the CPU, beside those of the CPU's own float32.
"""

from __future__ import annotations

import csv
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from piece import Piece, features_on_device
from speed import captured

import spectrim

MODELS = {"ast-digits": "fsdd", "audiomae-digits": "fsdd", "ast-esc50": "esc10"}
SCORES = ("attention", "intensity", "variation", "random")
KEEP_RATE = 0.5


class Clips:
    """Real clips of one corpus: paths, and the labels that the manifest gives."""

    def __init__(self, folder: Path, most: int) -> None:
        with open(folder / "manifest.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        rows = rows[:: max(1, len(rows) // most)][:most]
        self.paths = [folder / row["path"] for row in rows]
        self.labels = [row["label"] for row in rows]


class Pair:
    """One built-in model on the CPU and on the device, and its clips."""

    def __init__(self, piece: Piece, name: str) -> None:
        assert piece.data is not None
        self.device = piece.device
        self.clips = Clips(piece.data / MODELS[name], 4 if piece.rehearsal else 40)
        self.name = name
        self.cpu = spectrim.load(name, device="cpu")
        self.gpu = spectrim.load(name, device=piece.device)
        self.features, self.valid = self.cpu.features(self.clips.paths)
        self.here = self.features.to(piece.device), self.valid.to(piece.device)

    @functools.cached_property
    def truth(self) -> torch.Tensor:
        """Class index of each clip."""
        return torch.tensor([self.cpu.labels.index(label) for label in self.clips.labels])

    def accuracy(self, logits: torch.Tensor) -> float:
        """Fraction of clips whose top class is the labelled one."""
        return round(float((logits.argmax(1).cpu() == self.truth).float().mean()), 4)


def difference(other: torch.Tensor, reference: torch.Tensor) -> dict[str, float]:
    """Largest absolute and relative (norm) difference of finite values."""
    other, reference = other.detach().double().cpu(), reference.detach().double().cpu()
    finite = reference.isfinite()
    gap = torch.where(finite, other - reference, 0.0)
    norm = torch.where(finite, reference, 0.0).norm().clamp(min=1e-12)
    return {"largest": float(gap.abs().max()), "relative": float(gap.norm() / norm)}


def same(other: torch.Tensor, reference: torch.Tensor) -> float:
    """Fraction of clips with the same top class."""
    return round(float((other.argmax(1).cpu() == reference.argmax(1).cpu()).float().mean()), 4)


def features(pair: Pair) -> dict[str, Any]:
    """Features of the same sounds from files and from waveforms on the device."""
    ours, valid = pair.gpu.features(pair.clips.paths)
    result: dict[str, Any] = {
        "device": str(ours.device.type),
        "same_valid": bool((valid.cpu() == pair.valid).all()),
        "against_cpu": difference(ours, pair.features),
    }
    # Users often allow TF32; log-mel must not lose by it.
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        coarse, _ = pair.gpu.features(pair.clips.paths)
    finally:
        torch.set_float32_matmul_precision(before)
    result["against_cpu_with_tf32_allowed"] = difference(coarse, pair.features)
    return result


def features_against_float64(piece: Piece) -> dict[str, Any]:
    """The front end against torchaudio's Kaldi features in float64, on noise with a rumble."""
    from torchaudio.compliance import kaldi

    model = spectrim.load("ast-esc50", device=piece.device)
    seconds = torch.arange(5 * 16_000, dtype=torch.float64) / 16_000
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(8, len(seconds), generator=generator, dtype=torch.float64)
    loudness = torch.logspace(-4, -0.5, 8, dtype=torch.float64)[:, None]
    sounds = (noise * loudness + 0.3 * torch.sin(2 * torch.pi * 30 * seconds)).float()
    reference = torch.stack(
        [
            kaldi.fbank(
                (sound.double() - sound.double().mean())[None],
                htk_compat=True,
                sample_frequency=16_000,
                use_energy=False,
                window_type="hanning",
                num_mel_bins=128,
                dither=0.0,
                frame_shift=10,
            )
            for sound in sounds
        ]
    )
    mean, std = model.config.mean, model.config.std
    reference = (reference - mean) / (2 * std)
    lengths = torch.full((8,), sounds.shape[1])
    result = {"reference_dtype": str(reference.dtype)}
    for name, device in {"device": piece.device, "cpu": torch.device("cpu")}.items():
        moved = model.to(device)
        ours, _ = features_on_device(moved, sounds.to(device), lengths.to(device))
        count = min(reference.shape[1], ours.shape[1])
        result[name] = difference(ours[:, :count], reference[:, :count])
    return result


def pruned(pair: Pair, score: str) -> dict[str, Any]:
    """Scores in every block, kept patches, logits and labels, from the same features."""
    cpu = spectrim.prune(pair.cpu, KEEP_RATE, score)
    gpu = spectrim.prune(pair.gpu, KEEP_RATE, score)
    with torch.inference_mode():
        reference = cpu.trace(pair.features, pair.valid)
        trace = gpu.trace(*pair.here)
        logits = gpu(*pair.here)
        exact = spectrim.prune(spectrim.load(pair.name, dtype="float64"), KEEP_RATE, score)(
            pair.features, pair.valid
        )
    stages = {}
    agree = torch.ones(len(pair.features), dtype=torch.bool)
    aligned = agree.clone()
    for block, kept in trace.kept.items():
        ours, theirs = (places.cpu() for places in (kept, reference.kept[block]))
        code = torch.tensor([1000, 1])
        sets = ((t * code).sum(-1).sort(1).values for t in (ours, theirs))
        equal = torch.eq(*sets).all(1)
        agree &= equal
        ordered = (ours == theirs).flatten(1).all(1)
        aligned &= ordered
        stages[str(block)] = {
            "kept": ours.shape[1],
            "same_set": round(float(equal.float().mean()), 4),
            "same_order": round(float(ordered.float().mean()), 4),
        }
    # Scores are compared patch by patch, in clips that keep the same patches in the same order.
    scores = [
        difference(ours[aligned.to(ours.device)], theirs[aligned])
        for ours, theirs in zip(trace.scores, reference.scores, strict=True)
    ]
    return {
        "stages": stages,
        "clips_with_the_same_patches": round(float(agree.float().mean()), 4),
        "scores_largest_relative": max(score["relative"] for score in scores),
        "scores_bitwise_equal": all(
            bool((ours.cpu() == theirs)[aligned].all())
            for ours, theirs in zip(trace.scores, reference.scores, strict=True)
        ),
        "logits": difference(trace.logits, reference.logits),
        "logits_where_patches_agree": difference(
            trace.logits[agree.to(trace.logits.device)], reference.logits[agree]
        ),
        "forward_equals_trace": bool(torch.equal(logits, trace.logits)),
        "same_top_class": same(trace.logits, reference.logits),
        "accuracy": {
            "cpu": pair.accuracy(reference.logits),
            "device": pair.accuracy(trace.logits),
        },
        "logits_against_float64": {
            "device": difference(trace.logits, exact),
            "cpu": difference(reference.logits, exact),
        },
    }


def unpruned(pair: Pair) -> dict[str, Any]:
    """Logits and labels of the unpruned model, from files to the end on each side."""
    with torch.inference_mode():
        reference = pair.cpu(pair.features, pair.valid)
        logits = pair.gpu(*pair.gpu.features(pair.clips.paths))
        masks = torch.rand(pair.features.shape[0], pair.cpu.grid.count) < 0.5
        masked = pair.cpu(pair.features, pair.valid, keep=masks, keep_after=4)
        masked_here = pair.gpu(*pair.here, keep=masks, keep_after=4)
        # PyTorch lets cuDNN compute float32 convolutions in TF32 unless told otherwise.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            exact = pair.gpu(*pair.here)
            exact_scores = pair.gpu.trace(*pair.here).scores
        scores = pair.cpu.trace(pair.features, pair.valid).scores
        coarse_scores = pair.gpu.trace(*pair.here).scores
    return {
        "logits_without_tf32_convolution": difference(exact, reference),
        "attention_scores": difference(coarse_scores[-1], scores[-1]),
        "attention_scores_without_tf32_convolution": difference(exact_scores[-1], scores[-1]),
        "logits": difference(logits, reference),
        "same_top_class": same(logits, reference),
        "accuracy": {"cpu": pair.accuracy(reference), "device": pair.accuracy(logits)},
        "logits_with_unequal_keep_masks": difference(masked_here, masked),
    }


def half(pair: Pair, dtype: str) -> dict[str, Any]:
    """A half-precision model against float32 on the CPU, unpruned and pruned by each score."""
    model = spectrim.load(pair.name, device=pair.device, dtype=dtype)
    result = {}
    for rate, score in [(1.0, "attention"), *((KEEP_RATE, score) for score in SCORES)]:
        with torch.inference_mode():
            reference = spectrim.prune(pair.cpu, rate, score)(pair.features, pair.valid)
            logits = spectrim.prune(model, rate, score)(*pair.here)
        result[f"{score} {rate}"] = {
            "finite": bool(logits.isfinite().all()),
            "logits": difference(logits, reference),
            "same_top_class": same(logits, reference),
            "accuracy": {"cpu": pair.accuracy(reference), "device": pair.accuracy(logits)},
        }
    return result


def autocast(pair: Pair) -> dict[str, Any]:
    """A float32 model under autocast to bf16."""
    model = spectrim.prune(pair.gpu, KEEP_RATE)
    with torch.inference_mode():
        reference = spectrim.prune(pair.cpu, KEEP_RATE)(pair.features, pair.valid)
        with torch.autocast(pair.device.type, dtype=torch.bfloat16):
            logits = model(*pair.here)
    return {
        "finite": bool(logits.isfinite().all()),
        "logits": difference(logits, reference),
        "same_top_class": same(logits, reference),
    }


def graph(pair: Pair, score: str, dtype: str, reduction: str = "keep-top") -> dict[str, Any]:
    """Replays of a captured forward pass, on clips it was not captured with, against eager."""
    model = spectrim.load(pair.name, device=pair.device, dtype=dtype)
    model = spectrim.prune(model, KEEP_RATE, score, reduction=reduction)
    features, valid = (value.clone() for value in pair.here)
    with torch.inference_mode():
        replay: Callable[[], Any] = captured(lambda: model(features, valid))
        features.copy_(pair.here[0].flip(0))
        valid.copy_(pair.here[1].flip(0))
        logits = replay().clone()
        eager = model(features, valid)
    return {
        "bitwise_equal": bool(torch.equal(logits, eager)),
        "logits": difference(logits, eager),
        "same_top_class": same(logits, eager),
    }


def compiled(pair: Pair, score: str, backend: str) -> dict[str, Any]:
    """A compiled forward pass, fullgraph, against eager."""
    model = spectrim.prune(pair.gpu, KEEP_RATE, score)
    with torch.inference_mode():
        eager = model(*pair.here)
        forward = torch.compile(model, fullgraph=True, dynamic=False, backend=backend)
        logits = forward(*pair.here)
    return {"logits": difference(logits, eager), "same_top_class": same(logits, eager)}


def compiled_bf16(pair: Pair, backend: str) -> dict[str, Any]:
    """The same in bf16, features included."""
    model = spectrim.prune(pair.gpu, KEEP_RATE).to(pair.device)
    model = spectrim.prune(
        spectrim.load(pair.name, device=pair.device, dtype="bfloat16"), KEEP_RATE
    )
    sounds = torch.randn(8, 16_000, device=pair.device) * 0.1
    lengths = torch.full((8,), 16_000, device=pair.device)

    def whole(sounds: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        features, valid = features_on_device(model, sounds, lengths)
        return model.probabilities(model(features, valid))

    with torch.inference_mode():
        eager = whole(sounds, lengths)
        forward = torch.compile(whole, fullgraph=True, dynamic=False, backend=backend)
        answers = forward(sounds, lengths)
    return {"probabilities": difference(answers, eager), "finite": bool(answers.isfinite().all())}


def moves(pair: Pair) -> dict[str, Any]:
    """A pruned model shares its weights, so a move of the original moves both."""
    model = spectrim.load(pair.name, device="cpu")
    other = spectrim.prune(model, KEEP_RATE)
    model.to(pair.device)
    with torch.inference_mode():
        logits = other(*pair.here)
        features, _ = other.features(pair.clips.paths[:2])
    return {
        "weights": str(other.device.type),
        "features": str(features.device.type),
        "logits": str(logits.device.type),
    }


def tagging(pair: Pair) -> dict[str, Any]:
    """`spectrim.tag` on the device against the CPU."""
    tables = []
    for model in (pair.cpu, pair.gpu):
        rows = list(spectrim.tag(spectrim.prune(model, 0.7), pair.clips.paths[:8]))
        tables.append([row["labels"][0] for row in rows])
    gaps = [abs(a["probability"] - b["probability"]) for a, b in zip(*tables, strict=True)]
    labels = [a["label"] == b["label"] for a, b in zip(*tables, strict=True)]
    return {"same_top_label": all(labels), "probability_largest_gap": max(gaps)}


def training_step(pair: Pair) -> dict[str, Any]:
    """Gradients of one pruned step, float32, against the CPU."""
    gradients = []
    for model, (features, valid) in (
        (pair.cpu, (pair.features, pair.valid)),
        (pair.gpu, pair.here),
    ):
        model = spectrim.prune(model, KEEP_RATE, "variation").train()
        targets = pair.truth.to(features.device)
        torch.nn.functional.cross_entropy(model(features, valid), targets).backward()
        parts = [p.grad.flatten().cpu() for p in model.parameters() if p.grad is not None]
        gradients.append(torch.cat(parts))
        model.zero_grad(set_to_none=True)
    return {"gradients": difference(gradients[1], gradients[0])}


def main() -> None:
    """Run the cases, the cheapest of the most valuable first."""
    piece = Piece(__file__, __doc__)
    warnings.simplefilter("ignore", spectrim.SpectrimNotice)
    torch.manual_seed(0)
    torch._dynamo.config.recompile_limit = 64
    backend = "eager" if piece.rehearsal else "inductor"
    names = list(MODELS)[:2] if piece.rehearsal else list(MODELS)
    pairs = {name: Pair(piece, name) for name in names}
    cuda = piece.device.type == "cuda"
    for name, pair in pairs.items():
        piece.case(f"{name}: features", lambda pair=pair: features(pair))
        piece.case(f"{name}: unpruned", lambda pair=pair: unpruned(pair))
        for score in SCORES:
            piece.case(f"{name}: {score}", lambda pair=pair, score=score: pruned(pair, score))
    for name, pair in pairs.items():
        for dtype in ("bfloat16", "float16"):
            piece.case(f"{name}: {dtype}", lambda pair=pair, dtype=dtype: half(pair, dtype))
        piece.case(f"{name}: autocast", lambda pair=pair: autocast(pair))
        piece.case(f"{name}: moves", lambda pair=pair: moves(pair))
        piece.case(f"{name}: tag", lambda pair=pair: tagging(pair))
        piece.case(f"{name}: training step", lambda pair=pair: training_step(pair))
        variants = [(score, "keep-top") for score in SCORES]
        variants += [("attention", reduction) for reduction in ("evit", "tome")]
        for score, reduction in variants:
            case = f"{name}: graph, {score if reduction == 'keep-top' else reduction}"
            arguments = pair, score, "bfloat16", reduction
            if cuda:
                piece.case(case, functools.partial(graph, *arguments))
            else:
                piece.skip(case, "CUDA graphs need a CUDA device.")
    try:
        import torchaudio  # noqa: F401
    except ImportError:
        piece.skip("features against float64", "torchaudio is not installed.")
    else:
        piece.case("features against float64", lambda: features_against_float64(piece))
    for name in names[:2]:
        pair = pairs[name]
        piece.case(
            f"{name}: compiled, attention",
            lambda pair=pair: compiled(pair, "attention", backend),
            needs=25,
        )
    piece.case(
        f"{names[1]}: compiled, bf16, with features",
        lambda: compiled_bf16(pairs[names[1]], backend),
        needs=25,
    )
    for score in () if piece.rehearsal else ("variation", "random"):
        piece.case(
            f"{names[0]}: compiled, {score}",
            lambda score=score: compiled(pairs[names[0]], score, backend),
            needs=25,
        )
    piece.finish()


if __name__ == "__main__":
    main()
