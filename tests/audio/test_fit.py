"""Cutting and padding features to a fixed number of frames."""

from __future__ import annotations

import pytest
import torch

from spectrim.audio.filterbank import fit_to_frames, pad_with_minimum, sound

LENGTHS = (1, 5, 12)


@pytest.fixture
def features():
    """Three clips of 12 frames; what is not sound is far lower than any sound."""
    torch.manual_seed(0)
    features = torch.randn(3, 12, 8)
    for row, length in enumerate(LENGTHS):
        features[row, length:] = -1000
    return features, torch.tensor(LENGTHS)


@pytest.mark.parametrize("frames", [16, 12, 8, 3, 1])
@pytest.mark.parametrize("padding", ["minimum", "zero"])
def test_fit_against_one_clip_at_a_time(features, frames, padding):
    before, valid = features
    kept = before.clone()
    fitted, now = fit_to_frames(before, valid, frames, padding)
    assert torch.equal(before, kept), "the input was changed"
    assert fitted.shape == (3, frames, 8)
    assert now.tolist() == [min(length, frames) for length in LENGTHS]
    for row, length in enumerate(now.tolist()):
        own = before[row, :length]
        rest = own.min() if padding == "minimum" else torch.tensor(0.0)
        assert torch.equal(fitted[row, :length], own)
        assert (fitted[row, length:] == rest).all()


def test_the_minimum_is_that_of_the_frames_that_stay():
    """A clip is cut before its minimum is taken; the clip beside it does not count."""
    features = torch.tensor([[3.0, 2.0, -9.0], [7.0, 8.0, 0.0]])[..., None]
    fitted, _ = fit_to_frames(features, torch.tensor([3, 1]), 2, "minimum")
    assert fitted[..., 0].tolist() == [[3, 2], [7, 7]]


@pytest.mark.parametrize("padding", ["minimum", "zero"])
def test_a_clip_without_any_frame_stays_finite(padding):
    fitted, valid = fit_to_frames(torch.full((2, 0, 4), 1.0), torch.tensor([0, 0]), 3, padding)
    assert valid.tolist() == [0, 0]
    assert torch.equal(fitted, torch.zeros(2, 3, 4))


def test_padding_ignores_what_it_replaces():
    features = torch.tensor([[1.0, 2.0, float("nan"), float("-inf")]])[..., None]
    assert pad_with_minimum(features, torch.tensor([2]))[0, :, 0].tolist() == [1, 2, 1, 1]
    assert sound(features, torch.tensor([2]))[0, :, 0].tolist() == [True, True, False, False]
