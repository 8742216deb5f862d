"""The filter bank against Kaldi's code and the definition, on real clips; batches and dtypes."""

from __future__ import annotations

import copy

import numpy as np
import oracles
import pytest
import torch
from torch import nn

from spectrim.audio.constants import LOG_FLOOR
from spectrim.audio.decode import read
from spectrim.audio.filterbank import FilterBank
from spectrim.audio.front_ends import KALDI
from spectrim.audio.log_mel import CACHED

ROUNDING = 2e-3  # of float32 sums in another order, in bins 60 dB and more under the loudest


@pytest.fixture(scope="module")
def bank() -> FilterBank:
    return FilterBank()


def features_of(bank: FilterBank, waveform: np.ndarray) -> np.ndarray:
    features, valid = bank(torch.from_numpy(waveform)[None])
    assert valid.tolist() == [features.shape[1]]
    return features[0].numpy()


def assert_equals_oracles(bank: FilterBank, corpus: str, every: int = 1) -> None:
    bins = 0
    beyond = {oracles.by_kaldi: 0, oracles.by_definition: 0}
    largest = dict.fromkeys(beyond, 0.0)
    for path in oracles.recordings(corpus, every):
        waveform = read(path)
        ours = features_of(bank, waveform)
        bins += ours.size
        for oracle in beyond:
            theirs = oracle(waveform)
            assert ours.shape == theirs.shape, path
            error = np.abs(ours - theirs)
            beyond[oracle] += int((error > 1e-3).sum())
            largest[oracle] = max(largest[oracle], float(error.max()))
    for oracle in beyond:
        share = beyond[oracle] / bins
        told = f"{corpus}, {oracle.__name__}: {share:.2e} of {bins} bins beyond 1e-3"
        told += f", largest {largest[oracle]:.2e}"
        print(told)
        assert share <= 1e-4, told
        assert largest[oracle] <= 1e-2, told


@pytest.mark.parametrize(("corpus", "every"), [("ESC-10", 20), ("FSDD", 150)])
def test_a_sample_of_real_clips_equals_kaldi_and_the_definition(bank, corpus, every):
    assert_equals_oracles(bank, corpus, every)


@pytest.mark.slow
@pytest.mark.parametrize("corpus", oracles.CORPORA)
def test_every_real_clip_equals_kaldi_and_the_definition(bank, corpus):
    assert_equals_oracles(bank, corpus)


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.02, 0.1, samples).astype(np.float32)


def test_synthetic_sound_equals_kaldi_without_the_recordings(bank):
    t = np.arange(16000) / 16000
    sweep = (0.5 * np.sin(2 * np.pi * (50 * t + 3900 * t * t))).astype(np.float32)
    for waveform, allowed in (
        (noise(16000), 1e-3),
        (noise(400), 1e-3),
        (noise(5000) + np.float32(0.5), 1e-3),
        (sweep, 2e-2),  # a pure tone: all other bins hold rounding errors only, Kaldi's also
    ):
        ours = features_of(bank, waveform)
        assert np.abs(ours - oracles.by_kaldi(waveform)).max() < allowed
        assert np.abs(ours - oracles.by_definition(waveform)).max() < allowed / 2


@pytest.mark.parametrize("level", [0.0, 0.25])
def test_silence_is_the_floor(bank, level):
    """Digital silence, with or without an offset: finite, and the same everywhere."""
    features = features_of(bank, np.full(16000, level, np.float32))
    assert np.all(features == np.float32(np.log(LOG_FLOOR)))


@pytest.mark.parametrize(
    ("samples", "frames"),
    [(0, 0), (79, 0), (80, 0), (399, 0), (400, 1), (559, 1), (560, 2), (719, 2), (720, 3)],
)
def test_frames_at_the_boundaries(bank, samples, frames):
    assert KALDI.num_frames(samples) == frames
    for width in {samples, 720}:  # alone, and as part of a longer batch
        features, valid = bank(torch.zeros(1, width), torch.tensor([samples]))
        assert features.shape == (1, KALDI.num_frames(width), 128)
        assert valid.tolist() == [frames]
        assert features.isfinite().all()
    if frames:
        assert KALDI.num_frames(KALDI.num_samples(frames)) == frames
        assert KALDI.num_frames(KALDI.num_samples(frames) - 1) == frames - 1


def test_a_batch_of_lengths_gives_each_clip_what_it_gets_alone(bank):
    lengths = [16000, 12345, 400, 559, 560, 8000]
    clips = [noise(length, seed) for seed, length in enumerate(lengths)]
    batch = torch.full((len(clips), max(lengths)), float("nan"))  # nothing past the end may count
    for row, clip in zip(batch, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip)
    features, valid = bank(batch, torch.tensor(lengths))
    assert valid.tolist() == [KALDI.num_frames(length) for length in lengths]
    assert features.isfinite().all()
    for row, clip, frames in zip(features, clips, valid.tolist(), strict=True):
        assert np.abs(row[:frames].numpy() - features_of(bank, clip)).max() < ROUNDING


@pytest.mark.parametrize("rest", [0.0, 0.9, float("inf"), float("nan")])
def test_what_lies_past_the_end_changes_no_bit(bank, rest):
    batch = torch.from_numpy(noise(3 * 8000).reshape(3, 8000))
    lengths = torch.tensor([8000, 4000, 4001])
    other = batch.clone()
    other[1, 4000:] = other[2, 4001:] = rest
    features, valid = bank(batch, lengths)
    again, _ = bank(other, lengths)
    for row in range(3):
        assert torch.equal(features[row, : valid[row]], again[row, : valid[row]])


class Model(nn.Module):
    """Something with a filter bank in it, that is moved about."""

    def __init__(self) -> None:
        super().__init__()
        self.filterbank = FilterBank()
        self.head = nn.Linear(4, 4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_bank_stays_float32_whatever_the_model_becomes(bank, dtype):
    model = Model().to(dtype)
    assert model.head.weight.dtype == dtype
    waveforms = torch.from_numpy(noise(8000))[None]
    wanted, _ = bank(waveforms)
    for moved in (model, copy.deepcopy(model), model.to("cpu")):
        assert moved.filterbank.mel.dtype == moved.filterbank.fourier.dtype == torch.float32
        got, _ = moved.filterbank(waveforms)
        assert torch.equal(got, wanted)


def test_a_move_to_another_device_builds_the_matrices_anew(bank):
    """The meta device stands for a GPU: what lies there cannot be copied back."""
    model = Model().bfloat16().to("meta")
    assert model.filterbank.mel.device.type == "meta"
    assert model.filterbank.mel.dtype == torch.float32
    model.to_empty(device="cpu")
    assert torch.equal(model.filterbank.mel, bank.mel)
    assert torch.equal(model.filterbank.fourier, bank.fourier)


def test_autocast_does_not_reach_the_bank(bank):
    waveforms = torch.from_numpy(noise(8000))[None]
    wanted, _ = bank(waveforms)
    with torch.autocast("cpu", torch.bfloat16):
        got, _ = bank(waveforms)
        assert torch.is_autocast_enabled("cpu")
    assert got.dtype == torch.float32
    assert torch.equal(got, wanted)


def test_input_may_be_float64_or_half(bank):
    waveforms = torch.from_numpy(noise(8000))[None]
    wanted, _ = bank(waveforms)
    assert torch.equal(bank(waveforms.double())[0], wanted)
    half, _ = bank(waveforms.half())
    assert half.dtype == torch.float32
    assert torch.equal(half, bank(waveforms.half().float())[0])


def test_the_bank_adds_nothing_to_a_checkpoint():
    assert list(Model().state_dict()) == ["head.weight", "head.bias"]


def test_it_compiles_without_a_break_and_carries_gradients(bank):
    waveforms = torch.from_numpy(noise(1600))[None].requires_grad_()
    whole = torch.compile(bank, fullgraph=True, backend="eager")
    features, valid = whole(waveforms, torch.tensor([1600]))
    assert torch.equal(features, bank(waveforms)[0])
    assert valid.tolist() == [8]
    features.sum().backward()
    assert waveforms.grad.isfinite().all()


SECONDS = np.arange(32000) / 16000


@pytest.mark.parametrize(
    ("low", "allowed"),
    [
        # Each frame an offset of its own: Kaldi's code is off by 5e-3 here itself.
        (0.5 * np.sign(np.sin(2 * np.pi * 1.5 * SECONDS)), 1e-2),
        (0.9 * np.sin(2 * np.pi * 5 * SECONDS), 3e-3),
        (0.9 * np.sin(2 * np.pi * 15 * SECONDS), 3e-3),
        (np.full(32000, 0.9), 3e-3),
    ],
    ids=["steps", "5 Hz", "15 Hz", "offset"],
)
def test_a_loud_rumble_leaves_the_quiet_rest(bank, low, allowed):
    """Noise 60 dB under what the frames' means take away, or nearly so."""
    quiet = np.random.default_rng(0).normal(0, 1e-3, low.shape)
    waveform = (low + quiet).astype(np.float32)
    error = np.abs(features_of(bank, waveform) - oracles.by_definition(waveform))
    assert error.max() < allowed
    assert np.median(error) < 1e-4


def test_a_batch_larger_than_the_cache_gives_the_same_as_the_whole_at_once(bank):
    """What is worked on a few clips at a time, by FFT, equals what compilers and GPUs get."""
    lengths = torch.tensor([CACHED // 3, 20000, 400, 0, 16000, 1, CACHED // 3])
    batch = torch.from_numpy(np.stack([noise(CACHED // 3, seed) for seed in range(7)]))
    features, valid = bank(batch, lengths)
    whole = bank._log_mel(batch, lengths)
    assert features.shape == whole.shape == (7, KALDI.num_frames(CACHED // 3), 128)
    for row, other, frames in zip(features, whole, valid.tolist(), strict=True):
        assert torch.allclose(row[:frames], other[:frames], rtol=0, atol=ROUNDING)
    assert features.isfinite().all()
    assert bank(batch[:0], lengths[:0])[0].shape == (0, KALDI.num_frames(CACHED // 3), 128)


def test_gradients_are_those_of_differences(bank):
    waveforms = torch.from_numpy(noise(1600)).requires_grad_()
    bank(waveforms[None])[0].sum().backward()
    way = torch.from_numpy(noise(1600, 1))
    by = 1e-5
    ends = [
        oracles.by_definition((waveforms.detach().double() + side * by * way).numpy())
        .clip(-15)
        .sum()
        for side in (-1, 1)
    ]
    assert float(waveforms.grad @ way) == pytest.approx((ends[1] - ends[0]) / (2 * by), rel=0.02)
