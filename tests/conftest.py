"""Shared fixtures: real clips, and small models whose attention is not uniform."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from calls import call_spectrim
from spectrim.data.builtin import sample_pack
from spectrim.data.manifest import read_data
from spectrim.models import transformer
from spectrim.models.presets import from_family
from spectrim.models.transformer import SpectrogramTransformer

TESTS = Path(__file__).parent
hypothesis.settings.register_profile("busy", deadline=None)  # a machine may be busy
hypothesis.settings.load_profile("busy")
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, which compilers do too
with contextlib.suppress(ValueError):  # not in the main thread
    # A shell that starts tests in the background makes them, and their children, ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # the models are tiny; more threads only wait for one another

CLIPS = {
    "dog": "ESC-10/001 - Dog bark/1-100032-A.ogg",  # 5 s, mostly digital silence
    "rain": "ESC-10/002 - Rain/1-17367-A.ogg",  # 5 s, noise throughout
    "clock": "ESC-10/005 - Clock tick/1-21934-A.ogg",
    "digit": "FSDD/recordings/0_george_0.wav",  # 0.3 s: short, padded
    "word": "FSDD/recordings/7_jackson_0.wav",
}


@pytest.fixture(scope="session", autouse=True)
def cache_of_exports(tmp_path_factory: pytest.TempPathFactory):
    """Exported files are not cached in the user's home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPECTRIM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `gpu` where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real recordings."""
    folder = data_folder()
    if not (folder / "ESC-10").is_dir():
        pytest.skip(f"no real recordings: {folder}/ESC-10 is absent; set SPECTRIM_DATA")
    return folder


def data_folder() -> Path:
    """Where the real recordings are, if they are anywhere."""
    return Path(os.environ.get("SPECTRIM_DATA", TESTS.parent.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A handful of clips by name: dog, rain, clock (5 s); digit, word (short).

    Real recordings where they are at hand; on a plain clone clips of the same kind, made from the
    built-in sample pack.
    """
    if (data_folder() / "ESC-10").is_dir():
        return {name: data_folder() / path for name, path in CLIPS.items()}
    return clips_from_sample_pack(tmp_path_factory.mktemp("clips"))


def clips_from_sample_pack(folder: Path) -> dict[str, Path]:
    """Write clips like those of `CLIPS`: as long, as silent and as noisy."""
    pack = {clip.path.stem: clip for clip in read_data(sample_pack()).clips}

    def samples(name: str) -> np.ndarray:
        return soundfile.read(pack[name].path, dtype="float32")[0]

    def word(name: str) -> np.ndarray:
        start, end = pack[name].target_start, pack[name].target_end
        return samples(name)[int(start * 16_000) : int(end * 16_000)]

    five_seconds = 80_000
    silence = np.zeros(five_seconds, np.float32)
    waveforms = {
        "dog": np.concatenate([samples("two-00"), silence])[:five_seconds],
        "rain": np.concatenate([samples(f"six-{n:02}") for n in range(4)])[:five_seconds],
        "clock": np.concatenate([samples(f"nine-{n:02}") for n in range(4)])[:five_seconds],
        "digit": word("six-00"),
        "word": word("seven-00"),
    }
    for name, waveform in waveforms.items():
        soundfile.write(folder / f"{name}.wav", waveform, 16_000)
    return {name: folder / f"{name}.wav" for name in waveforms}


@cache
def _make(family: str, frames: int, stride: int, depth: int, dtype: torch.dtype, padding: str):
    torch.manual_seed(len(family) + depth)
    config = from_family(
        family, name="test", labels=("a", "b", "c", "d", "e"), width=64, heads=4, depth=depth,
        frames=frames, stride=stride, padding=padding,
    )  # fmt: skip
    model = SpectrogramTransformer(config).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                value.add_(torch.randn_like(value), alpha=0.1)
            if name.endswith("weight") and "norm" not in name:
                value.mul_(12 if "qkv" in name else 3)
    return model.to(dtype)


@pytest.fixture(scope="session")
def make() -> Callable[..., SpectrogramTransformer]:
    """`make(family, ...)`: a narrow model with random weights, scaled so that it attends.

    Made once and shared: a test that changes one copies it first.
    """

    def make(family, *, frames=128, stride=16, depth=12, dtype=torch.float32, padding="minimum"):
        with torch.inference_mode(False):
            return _make(family, frames, stride, depth, dtype, padding)

    return make


@pytest.fixture(scope="session")
def heard(clips: dict[str, Path], make: Callable[..., SpectrogramTransformer]):
    """`heard("dog", "digit", frames=512)`: features and valid frames of real clips."""

    @cache
    def heard(*names: str, frames: int = 128, padding: str = "minimum") -> tuple[Tensor, Tensor]:
        model = make("ast", frames=frames, depth=1, padding=padding)
        with torch.inference_mode(False):  # they outlive the test that asks first
            return model.features([clips[name] for name in names])

    return heard


@pytest.fixture
def run_spectrim(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`run_spectrim("train", ...)`: run a command in the test's own folder."""
    return lambda *words: call_spectrim(words, tmp_path)


@pytest.fixture
def compilations(monkeypatch):
    """Batch sizes in the order of their compilation; the code runs as PyTorch would run it."""
    sizes = []

    def backend(graph, inputs):
        sizes.append(max(value.shape[0] for value in inputs if getattr(value, "ndim", 0) == 3))
        return graph

    real = transformer.compiled_forward
    monkeypatch.setattr(
        transformer, "compiled_forward",
        lambda model, **options: real(model, **({"backend": backend, "fullgraph": True} | options)),
    )  # fmt: skip
    return sizes
