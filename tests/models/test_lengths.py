"""frames="auto": each clip at the shortest length that holds it, over one set of weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.deploy.by_length import (
    ByLength,
    length_of_most,
    short_clips_note,
    shorter_length,
    torch_runner,
)
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.models.lengths import lengths_of

RATE = 16_000


def waveforms(*seconds: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(0, 0.1, round(RATE * s)).astype(np.float32) for s in seconds]


@pytest.mark.parametrize(
    ("frames", "stride", "expected"),
    [
        (1024, 16, (256, 512, 768, 1024)),
        (1024, 10, (256, 512, 768, 1024)),
        (998, 16, (256, 512, 752, 998)),
        (128, 16, (32, 64, 96, 128)),
        (40, 16, (16, 32, 40)),
        (16, 16, (16,)),
    ],
)
def test_at_most_four_lengths(make, frames, stride, expected):
    model = make("ast", frames=frames, stride=stride, depth=1)
    assert lengths_of(model.config) == expected


@pytest.mark.parametrize("family", ["ast", "audiomae"])
@pytest.mark.parametrize("stride", [16, 10])
def test_a_shorter_model_is_the_full_one_without_the_padded_patches(make, family, stride):
    """The oracle drops the patches of the padding from the full model's input with `keep`."""
    full = make(family, frames=128, stride=stride, depth=3)
    short = full.with_frames(64)
    features, valid = short.features_from_waveforms(waveforms(0.6, 0.3))
    padded, same = full.features_from_waveforms(waveforms(0.6, 0.3))
    assert torch.equal(valid, same) and torch.equal(features, padded[:, :64])
    keep = torch.zeros(2, full.grid.count, dtype=torch.bool)
    for column in range(short.grid.columns):
        for row in range(full.grid.rows):
            keep[:, full.grid.index(column, row)] = True
    with torch.inference_mode():
        assert torch.allclose(short(features, valid), full(padded, valid, keep=keep), atol=1e-5)
        assert torch.allclose(
            short.embed(features, valid),
            full.pool(full.encode(padded, valid, keep=keep)),
            atol=1e-5,
        )


@pytest.mark.parametrize("name", ["ast-digits", "audiomae-digits"])
def test_adapted_equals_load_with_frames(name):
    model, loaded = spectrim.load(name), spectrim.load(name, frames=80)
    features, valid = loaded.features_from_waveforms(waveforms(0.7))
    with torch.inference_mode():
        assert torch.equal(model.adapted(80)(features, valid), loaded(features, valid))


@pytest.fixture(scope="module")
def several():
    return spectrim.load("ast-digits", frames="auto")


def test_the_result_of_a_clip_is_the_same_in_any_batch_and_at_its_own_length(several):
    clips = waveforms(0.03, 0.2, 0.33, 0.5, 0.64, 0.7, 1.0, 2.0)
    runner = torch_runner(several)
    assert isinstance(runner, ByLength) and several.lengths == (32, 64, 96, 128)
    together = runner.probabilities(clips)
    embedded = runner.embeddings(clips)
    # 1 + (samples - 400) // 160 frames: 1, 18, 31, 48, 62, 68, 98, 128 (cut)
    lengths = [32, 32, 32, 64, 64, 96, 128, 128]
    for clip, length, values, embedding in zip(clips, lengths, together, embedded, strict=True):
        alone = TorchRunner(several.with_frames(length))
        assert np.abs(alone.probabilities([clip])[0] - values).max() < 1e-6
        assert np.abs(runner.probabilities([clip])[0] - values).max() < 1e-6
        assert np.abs(runner.embeddings([clip])[0] - embedding).max() < 1e-5
        assert runner.macs_of(clip) == spectrim.macs(several.with_frames(length))
    assert runner.context("x", 8)["lengths"] == [32, 64, 96, 128]
    rows = spectrim.tag(several, [(clip, RATE) for clip in clips])
    assert rows[0]["labels"][0]["probability"] == pytest.approx(together[0].max(), abs=1e-5)


def test_python_calls_choose_the_length_of_the_longest_clip(several):
    for seconds, length in (((0.2,), 32), ((0.2, 0.6), 64), ((1.5, 0.2), 128)):
        clips = [(clip, RATE) for clip in waveforms(*seconds)]
        features, valid = several.features(clips)
        assert features.shape == (len(clips), length, 128)
        one = several.with_frames(length)
        with torch.inference_mode():
            assert torch.equal(several(features, valid), one(features, valid))
            assert torch.equal(several.embed(features, valid), one.embed(features, valid))
            trace = several.trace(features, valid)
        assert torch.equal(trace.logits, one.trace(features, valid).logits)
    with pytest.raises(SpectrimError, match=r"expects .*\(batch, 128, 128\)"):
        several(torch.zeros(1, 48, 128))


def test_plans_dtypes_and_copies(several):
    pruned = spectrim.prune(several, 0.5, "intensity")
    assert pruned.lengths == several.lengths
    clip = waveforms(0.3)
    expected = TorchRunner(spectrim.prune(several.with_frames(32), 0.5, "intensity"))
    got = torch_runner(pruned).probabilities(clip)
    assert np.abs(got - expected.probabilities(clip)).max() < 1e-6
    assert not np.array_equal(got, torch_runner(several).probabilities(clip))
    moved = spectrim.load("ast-digits", frames="auto")
    features, valid = moved.features_from_waveforms(clip)
    moved(features, valid)
    moved.to(torch.float64)  # the shorter model, which exists already, follows
    with torch.inference_mode():
        assert torch.allclose(moved(features, valid), several(features, valid), atol=1e-4)
    assert moved.of_length(32).blocks[0].norm1.weight is moved.blocks[0].norm1.weight


def test_what_is_refused(several, tmp_path):
    with pytest.raises(SpectrimError, match="frames is 'long'; expected a number or 'auto'"):
        spectrim.load("ast-digits", frames="long")
    for frames in (15, 129):
        with pytest.raises(SpectrimError, match="expected 16 to 128, the window"):
            several.with_frames(frames)
    with pytest.raises(SpectrimError, match="one length: load the model with frames=512"):
        spectrim.export(several, tmp_path / "a.onnx")


def test_the_work_of_a_shorter_length_is_counted_by_macs():
    """48 % at stride 16 and 44 % at stride 10, for 5 s clips of a 10 s window."""
    for stride, percent in ((16, "48 %"), (10, "44 %")):
        model = spectrim.create("ast-base", frames=1024, stride=stride)
        assert shorter_length(model, 5.0) == (
            512,
            spectrim.macs(model.with_frames(512)) / spectrim.macs(model),
        )
        note = short_clips_note(model, 5.0)
        assert note.startswith("95 % of your clips are at most 5 s of a 10.3 s window:")
        assert f"--frames 512 needs {percent} of the MACs" in note
        assert short_clips_note(model, 9.0) is short_clips_note(model, 30.0) is None
        assert shorter_length(model, 0.0) is None


def test_most_clips():
    assert length_of_most({}) == 0.0
    assert length_of_most({5.0: 3}) == 5.0
    assert length_of_most({1.0: 95, 9.0: 5}) == 1.0
    assert length_of_most({1.0: 94, 9.0: 6}) == 9.0
