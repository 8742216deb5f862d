"""Speed of AST and AudioMAE base on a GPU, beside transformers' AST.

Ten-second clips, random weights, bf16. Timed are the front end (waveforms on the device to
features), the model (features to logits) and both (waveforms on the device to probabilities), each
eager, replayed as a CUDA graph of the eager call, or compiled (by `compiled.py`). Calls of one case
take turns, and a bf16 product of two 8192 x 8192 matrices takes its turn among them. It gives the
card's rate, of which each row states its fraction.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from piece import Piece, features_on_device
from timing import interleaved

import spectrim

MEAN, STD = -4.2677393, 4.5689974  # of AudioSet
RATE = 16_000  # samples per second
COMPILE_SECONDS = 40.0  # that compiling one model takes at most, usually
Subject = tuple[str, float]  # model ("ast", "audiomae", "transformers") and keep rate
Call = Callable[[], object]


class Models:
    """The models of one stride, made when first asked for, in bf16 on the device."""

    def __init__(self, piece: Piece, stride: int) -> None:
        self.piece, self.stride = piece, stride
        self.size, self.frames = ("tiny", 128) if piece.rehearsal else ("base", 1024)
        self.samples = RATE if piece.rehearsal else 10 * RATE  # of a clip

    @functools.cached_property
    def transformers(self) -> Any:
        """transformers' AST with scaled dot product attention."""
        from transformers import ASTConfig, ASTForAudioClassification

        small = {"hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512}
        config = ASTConfig(
            frequency_stride=self.stride,
            time_stride=self.stride,
            max_length=self.frames,
            num_labels=527,
            **(small if self.piece.rehearsal else {}),
        )
        model = ASTForAudioClassification(config).eval()
        return model.to(self.piece.device, torch.bfloat16)

    @functools.cached_property
    def ast(self) -> Any:
        """AST with the weights of `transformers`."""
        return spectrim.from_transformers(
            self.transformers, mean=MEAN, std=STD, padding="zero", dtype="bfloat16"
        )

    @functools.cached_property
    def audiomae(self) -> Any:
        """AudioMAE."""
        model = spectrim.create(f"audiomae-{self.size}", stride=self.stride, frames=self.frames)
        return model.to(self.piece.device, torch.bfloat16)

    def pruned(self, subject: Subject) -> Any:
        """The Spectrim model of a subject; for transformers, the AST of the same shape."""
        name, rate = subject
        model = self.audiomae if name == "audiomae" else self.ast
        return model if rate == 1.0 else spectrim.prune(model, rate)

    def call(self, subject: Subject) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Features and valid frames to logits."""
        if subject[0] != "transformers":
            return self.pruned(subject)
        theirs = self.transformers
        return lambda features, valid: theirs(features.to(torch.bfloat16)).logits

    def compiled(self, subject: Subject) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """The same, compiled when first called."""
        backend = "eager" if self.piece.rehearsal else "inductor"
        if subject[0] == "transformers":
            theirs = torch.compile(self.transformers, dynamic=False, backend=backend)
            return lambda features, valid: theirs(features.to(torch.bfloat16)).logits
        model = self.pruned(subject)
        return torch.compile(model, fullgraph=True, dynamic=False, backend=backend)


class Group:
    """Calls of one stride and batch size that are timed in turns."""

    def __init__(self, piece: Piece, models: Models, batch: int) -> None:
        self.piece, self.models, self.batch = piece, models, batch
        self.calls: dict[str, Call] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.failed: dict[str, str] = {}
        noise = torch.randn(batch, models.samples, device=piece.device) * 0.1
        lengths = torch.full((batch,), models.samples, device=piece.device)
        self.sounds = noise, lengths
        self.features, self.valid = features_on_device(models.ast, noise, lengths)

    def front_end(self, compiled: bool = False) -> None:
        """Add waveforms to features."""
        model, sounds = self.models.ast, self.sounds
        mode, extract = "eager", functools.partial(features_on_device, model, *sounds)
        if compiled:
            mode, extract = "compiled", functools.partial(self._compiled_front_end, *sounds)
        self._add(extract, part="front end", mode=mode)

    def model(self, subject: Subject, mode: str = "eager") -> None:
        """Add features to logits; `mode` is "eager", "compiled" or "graph"."""
        forward = self._forward(subject, mode)
        if forward is None:
            return
        call: Call = functools.partial(forward, self.features, self.valid)
        self._add(call, subject, part="model", mode=mode)

    def whole(self, subject: Subject, mode: str = "eager") -> None:
        """Add waveforms to probabilities."""
        forward = self._forward(subject, mode)
        if forward is None:
            return
        model, sounds = self.models.pruned(subject), self.sounds
        compiled = mode == "compiled"
        extract: Any = functools.partial(features_on_device, model)
        if compiled:
            extract = self._compiled_front_end

        def run() -> torch.Tensor:
            return model.probabilities(forward(*extract(*sounds)).float())

        self._add(run, subject, part="waveforms to probabilities", mode=mode)

    def graph(self, subject: Subject) -> None:
        """Add a CUDA graph of the eager model; its replay costs no launches."""
        forward = self.models.call(subject)
        call = functools.partial(forward, self.features, self.valid)
        if self.piece.device.type != "cuda":
            return
        try:
            replay = captured(call)
        except RuntimeError as error:
            self.failed[f"graph of {subject}"] = f"{type(error).__name__}: {error}"[:500]
            torch.cuda.synchronize()
            return
        self._add(replay, subject, part="model", mode="graph")

    def compile(self, subjects: Iterable[Subject]) -> None:
        """Compile models, as far as there is time, and measure how long it takes."""
        for subject in subjects:
            if not self.piece.rehearsal and self.piece.left() < COMPILE_SECONDS:
                self.failed[f"compile {subject}"] = "not enough time left"
                continue
            forward = self.models.compiled(subject)
            began = time.monotonic()
            try:
                forward(self.features, self.valid)
                self._synchronize()
            except Exception as error:
                self.failed[f"compile {subject}"] = f"{type(error).__name__}: {error}"[:1500]
                continue
            self._compiled[subject] = forward
            gap = forward(self.features, self.valid) - self.models.call(subject)(
                self.features, self.valid
            )
            self.differences[f"{subject[0]} {subject[1]}"] = float(gap.float().abs().max())
            self.compile_seconds[f"{subject[0]} {subject[1]}"] = round(time.monotonic() - began, 1)

    @functools.cached_property
    def _compiled(self) -> dict[Subject, Any]:
        return {}

    @functools.cached_property
    def differences(self) -> dict[str, float]:
        """Model and keep rate to the largest difference of compiled and eager logits."""
        return {}

    @functools.cached_property
    def compile_seconds(self) -> dict[str, float]:
        """Model and keep rate to seconds of the first call."""
        return {}

    @functools.cached_property
    def _compiled_front_end(self) -> Any:
        backend = "eager" if self.piece.rehearsal else "inductor"
        extract = functools.partial(features_on_device, self.models.ast)
        forward = torch.compile(extract, fullgraph=True, dynamic=False, backend=backend)
        began = time.monotonic()
        forward(*self.sounds)
        self._synchronize()
        self.compile_seconds["front end"] = round(time.monotonic() - began, 1)
        return forward

    def _forward(self, subject: Subject, mode: str) -> Any:
        return self._compiled.get(subject) if mode == "compiled" else self.models.call(subject)

    def _synchronize(self) -> None:
        if self.piece.device.type == "cuda":
            torch.cuda.synchronize()

    def _add(self, call: Call, subject: Subject | None = None, **about: str) -> None:
        name = " ".join([*map(str, subject or ()), *about.values()])
        self.calls[name] = call
        self.rows[name] = {"model": subject[0] if subject else None}
        self.rows[name] |= {"keep_rate": subject[1] if subject else None} | about

    def timed(self, budget: float = 4.0) -> dict[str, Any]:
        """Time all calls in turns; returns what the result file stores."""
        device, side = self.piece.device, 256 if self.piece.rehearsal else 8192
        left, right = torch.randn(2, side, side, device=device, dtype=torch.bfloat16)
        product = functools.partial(torch.matmul, left, right)
        rounds = 2 if self.piece.rehearsal else 15
        times = interleaved(
            self.calls | {"product": product}, device, rounds, budget, min(3, rounds)
        )
        rate = 2 * side**3 / times["product"]["ms"] * 1e3
        rows = []
        for name, about in self.rows.items():
            row = about | times[name]
            if "ms" in row:
                row["clips_per_s"] = float(f"{self.batch / row['ms'] * 1000:.5g}")
            if "ms" in row and row["part"] != "front end":
                macs = spectrim.macs(self.models.pruned((row["model"], row["keep_rate"])))
                row["gmacs"] = round(macs / 1e9, 4)
                fraction = 2 * macs * self.batch / row["ms"] * 1e3 / rate
                row["of_product_rate"] = round(fraction, 4)
            rows.append(row)
        result: dict[str, Any] = {"stride": self.models.stride, "batch": self.batch}
        result |= {"product_tflop_per_s": round(rate / 1e12, 1), "rows": rows}
        if self.compile_seconds:
            result["compile_seconds"] = self.compile_seconds
            result["logits_from_eager"] = self.differences
        if self.failed:
            result |= {"failed": self.failed}
            result["partial"] = any("time left" in text for text in self.failed.values())
        return result


def captured(call: Call) -> Call:
    """Capture a call as a CUDA graph; returns its replay."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = call()
    # The output belongs to the graph's memory, which must live as long as the replay.
    return lambda: (graph.replay(), output)[1]


def eager(piece: Piece, models: Models, batch: int, rates: tuple[float, ...]) -> Any:
    """Everything eager, at one stride and batch size."""
    group = Group(piece, models, batch)
    group.front_end()
    for rate in rates:
        for name in ("ast", "audiomae"):
            group.model((name, rate))
    group.model(("transformers", 1.0))
    for subject in (("ast", 1.0), ("ast", 0.5), ("audiomae", 0.5), ("transformers", 1.0)):
        group.whole(subject)
    return group.timed()


def graphs(piece: Piece, models: Models, batch: int) -> Any:
    """CUDA graphs beside the eager calls."""
    group = Group(piece, models, batch)
    subjects = [("ast", 1.0), ("ast", 0.5), ("audiomae", 1.0), ("audiomae", 0.5)]
    for subject in [*subjects, ("transformers", 1.0)]:
        group.model(subject)
        group.graph(subject)
    return group.timed()


def rounded(piece: Piece, models: Models, batch: int) -> dict[str, Any]:
    """Numbers of tokens rounded up to multiples of 8, beside the plain ones, eager."""
    group = Group(piece, models, batch)
    calls, rows = {}, {}
    for rate in (0.7, 0.5):
        for multiple in (1, 8):
            name = f"keep rate {rate}, round_to {multiple}"
            model = spectrim.prune(models.ast, rate, round_to=multiple)
            calls[name] = functools.partial(model, group.features, group.valid)
            rows[name] = {"keep_rate": rate, "round_to": multiple}
            rows[name] |= {"gmacs": round(spectrim.macs(model) / 1e9, 4)}
    rounds = 2 if piece.rehearsal else 15
    times = interleaved(calls, piece.device, rounds, 4.0, min(3, rounds))
    timed = [row | times[name] for name, row in rows.items()]
    return {"stride": models.stride, "batch": batch, "rows": timed}


def card(piece: Piece) -> dict[str, Any]:
    """The card's own rates: a bf16 product and a copy on the device."""
    side = 256 if piece.rehearsal else 8192
    left, right = torch.randn(2, side, side, device=piece.device, dtype=torch.bfloat16)
    source = torch.randn(side, side * 4, device=piece.device)
    target = torch.empty_like(source)
    calls: dict[str, Call] = {
        "product": lambda: torch.matmul(left, right),
        "copy": lambda: target.copy_(source),
    }
    times = interleaved(calls, piece.device, rounds=10, budget=2.0)
    return {
        "product_tflop_per_s": round(2 * side**3 / times["product"]["ms"] / 1e9, 1),
        "copy_tb_per_s": round(2 * source.nbytes / times["copy"]["ms"] / 1e9, 2),
    }


def their_extractor(piece: Piece, batch: int) -> dict[str, Any]:
    """transformers' own feature extractor, which runs on the host."""
    from transformers import ASTFeatureExtractor

    extractor = ASTFeatureExtractor()
    sounds = list((torch.randn(batch, 10 * RATE) * 0.1).numpy())
    extractor(sounds[:1], sampling_rate=RATE, return_tensors="pt")
    began = time.perf_counter()
    extractor(sounds, sampling_rate=RATE, return_tensors="pt")
    seconds = time.perf_counter() - began
    return {"clips_per_s": round(batch / seconds, 1), "threads": torch.get_num_threads()}


def main() -> None:
    """Measure the most informative cases first."""
    piece = Piece(__file__, __doc__)
    torch.manual_seed(0)
    tiny = piece.rehearsal
    sixteen, ten = Models(piece, 16), Models(piece, 10)
    most, some, all_rates = (
        (1, (1.0, 0.5), (1.0, 0.5)) if tiny else (128, (1.0, 0.5), (1.0, 0.7, 0.5))
    )
    part = functools.partial
    plan: list[tuple[str, Callable[[], Any], float]] = [
        ("card", part(card, piece), 3),
        (f"stride 16, batch {most}, eager", part(eager, piece, sixteen, most, all_rates), 12),
        ("stride 16, batch 1, graphs", part(graphs, piece, sixteen, 1), 12),
        (f"stride 16, batch {most}, graphs", part(graphs, piece, sixteen, most), 12),
        (f"stride 16, batch {most}, round_to", part(rounded, piece, sixteen, most), 8),
    ]
    if not tiny:
        plan += [
            ("stride 10, batch 128, eager", part(eager, piece, ten, 128, all_rates), 15),
            ("stride 16, batch 32, eager", part(eager, piece, sixteen, 32, all_rates), 10),
            ("stride 16, batch 256, eager", part(eager, piece, sixteen, 256, all_rates), 12),
            ("stride 16, batch 1, eager", part(eager, piece, sixteen, 1, all_rates), 10),
            ("stride 10, batch 32, eager", part(eager, piece, ten, 32, some), 12),
            ("stride 10, batch 1, eager", part(eager, piece, ten, 1, some), 10),
            ("stride 10, batch 256, eager", part(eager, piece, ten, 256, some), 20),
            ("stride 10, batch 1, graphs", part(graphs, piece, ten, 1), 12),
        ]
    plan.append(
        ("transformers, feature extractor", part(their_extractor, piece, 2 if tiny else 32), 5)
    )
    with torch.inference_mode():
        for name, measure, needs in plan:
            piece.case(name, measure, needs)
            if piece.device.type == "cuda":
                torch.cuda.empty_cache()
    piece.finish()


if __name__ == "__main__":
    main()
