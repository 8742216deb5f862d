"""The filter bank against kaldi-native-fbank, torchaudio's Kaldi port and transformers' numpy.

    python benchmarks/filterbank.py [--torchaudio-kaldi PATH] [--rounds 20] [--out FILE]

Times ten-second sounds in batches of 8 and 1, interleaved with each reference implementation. One
of these is our matrix product, which exported graphs and GPUs run. Reports the median of the
pairwise ratios and the largest feature difference from kaldi-native-fbank. Uses ESC-10 clips if
available, otherwise noise. torchaudio need not be installed, because only one file of it is timed:

    pip download --no-deps torchaudio -d DIR
    unzip -d DIR DIR/torchaudio-*.whl torchaudio/compliance/kaldi.py

PATH is DIR/torchaudio/compliance/kaldi.py; without it, the torchaudio row is omitted. The reference
implementations take one clip at a time, because they accept no batches. kaldi-native-fbank uses one
thread.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import types
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

# numpy's threads would otherwise spin for about 50 ms after a reference implementation returns,
# which slows the call timed next.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import kaldi_native_fbank as knf
import numpy as np
import torch
import transformers
from transformers import ASTFeatureExtractor
from transformers.models.audio_spectrogram_transformer import (
    feature_extraction_audio_spectrogram_transformer as extraction,
)

from spectrim.audio.decode import read
from spectrim.audio.filterbank import FilterBank
from spectrim.common.files import save_json
from spectrim.evaluation.timing import interleaved
from spectrim.models.provenance import versions

ROOT = Path(__file__).resolve().parents[1]
CORPUS = Path(os.environ.get("SPECTRIM_DATA", ROOT.parent / "shared" / "data")) / "ESC-10"
SAMPLES = 160_000


def sounds(batch: int) -> tuple[np.ndarray, str]:
    """(batch, 160000) sounds of two five-second ESC-10 clips each, or noise; and the source."""
    files = sorted(CORPUS.glob("*/*.ogg"))
    if not files:
        noise = np.random.default_rng(0).normal(0, 0.1, (batch, SAMPLES))
        return noise.astype(np.float32), "noise"
    clips = [read(file) for file in files[:: len(files) // (2 * batch)]]
    pairs = [np.concatenate(clips[2 * i : 2 * i + 2]) for i in range(batch)]
    return np.stack([np.resize(pair, SAMPLES) for pair in pairs]), "ESC-10"


def by_kaldi(waveforms: np.ndarray) -> np.ndarray:
    """(batch, samples) to (batch, frames, 128)."""
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.window_type = "hanning"
    options.mel_opts.num_bins = 128
    options.use_energy = False
    options.htk_compat = True
    features = []
    for waveform in waveforms:
        computer = knf.OnlineFbank(options)
        computer.accept_waveform(16_000, waveform - waveform.mean())
        computer.input_finished()
        frames = range(computer.num_frames_ready)
        features.append(np.stack([computer.get_frame(i) for i in frames]))
    return np.stack(features)


def torchaudio_kaldi(path: Path) -> Any:
    """torchaudio/compliance/kaldi.py as a separate module; `fbank` requires only torch."""
    spec = importlib.util.spec_from_file_location("torchaudio_kaldi", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    there = sys.modules.get("torchaudio")
    sys.modules["torchaudio"] = types.ModuleType(
        "torchaudio"
    )  # kaldi.py imports it, but fbank does not use it
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules["torchaudio"]
        if there is not None:
            sys.modules["torchaudio"] = there
    return module


def by_torchaudio(module: Any, waveforms: torch.Tensor) -> torch.Tensor:
    """(batch, samples) to (batch, frames, 128), called as official AST does."""
    options = {"window_type": "hanning", "num_mel_bins": 128, "dither": 0.0, "htk_compat": True}
    clips = [module.fbank((clip - clip.mean())[None], **options) for clip in waveforms]
    return torch.stack(clips)


def by_product(bank: FilterBank, waveforms: torch.Tensor) -> torch.Tensor:
    """(batch, samples) to (batch, frames, 128), clip by clip, which is faster on a CPU."""
    lengths = torch.full((1,), SAMPLES)
    return torch.cat([bank._log_mel(clip[None], lengths) for clip in waveforms])


def main() -> None:
    """Measure and print; write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torchaudio-kaldi", type=Path, help="torchaudio's compliance/kaldi.py")
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 1])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--budget", type=float, default=60.0, help="seconds a batch size")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", "At least one mel filter has all zero values")
    # The numpy path, also where torchaudio is installed.
    extraction.is_speech_available = lambda: False
    torch.set_num_threads(args.threads)
    module = torchaudio_kaldi(args.torchaudio_kaldi) if args.torchaudio_kaldi else None
    bank, extractor = FilterBank(), ASTFeatureExtractor()
    rows = []
    print(f"{'ten-second clips':18s} {'program':24s} {'ms':>8s} {'ours ms':>8s} {'ratio':>7s}")
    for batch in args.batch:
        waveforms, source = sounds(batch)
        tensor = torch.from_numpy(waveforms)
        lengths = torch.full((batch,), SAMPLES)
        references: dict[str, Callable[[], Any]] = {
            "kaldi-native-fbank": partial(by_kaldi, waveforms)
        }
        if module is not None:
            references["torchaudio kaldi.py"] = partial(by_torchaudio, module, tensor)
        extract = partial(extractor, list(waveforms), sampling_rate=16_000, return_tensors="np")
        references["transformers, numpy"] = extract
        references["Spectrim, matrix product"] = partial(by_product, bank, tensor)
        with torch.inference_mode():
            ours = partial(bank, tensor, lengths)
            gap = float(np.abs(ours()[0].numpy() - by_kaldi(waveforms)).max())
            for name, reference in references.items():
                theirs, timing = interleaved([reference, ours], args.rounds, args.budget, least=20)
                row = {
                    "batch": batch,
                    "program": name,
                    "seconds": theirs.seconds,
                    "spectrim_seconds": timing.seconds,
                    "ratio": timing.speedup,
                    "quartiles": [timing.low, timing.high],
                    "pairs": timing.rounds,
                }
                rows.append(row)
                print(
                    f"{f'batch {batch}':18s} {name:24s} {theirs.seconds * 1e3:8.1f} "
                    f"{timing.seconds * 1e3:8.2f} {timing.speedup:6.2f}x",
                    flush=True,
                )
        rows[-len(references)]["features_differ_by"] = gap
        print(f"{'':18s} differs from kaldi-native-fbank by {gap:.1e} at most")
    record = {
        "rows": rows,
        "sound": source,
        "threads": torch.get_num_threads(),
        "versions": versions()
        | {"transformers": transformers.__version__, "kaldi-native-fbank": knf.__version__},
    }
    if args.out:
        save_json(args.out, record)


if __name__ == "__main__":
    main()
