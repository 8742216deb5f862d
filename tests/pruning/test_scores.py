"""Where kept patches lie, ties, padding and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from parameters import each_value
from spectrim.models.build import prune
from spectrim.pruning.plan import Plan
from spectrim.pruning.stage import Stage

FAMILIES = ("ast", "audiomae")
each_family = pytest.mark.parametrize("family", FAMILIES)
BY_VALUE = ("intensity", "variation", "intensity-padded", "variation-padded")
by_value = pytest.mark.parametrize("score", BY_VALUE)


def places(trace, model, block, row=0):
    """Indices of the kept patches, in their order."""
    return [model.grid.index(int(c), int(r)) for c, r in trace.kept[block][row]]


@pytest.mark.parametrize("stride", [16, 10])
@by_value
@each_family
def test_energy_in_one_patch_is_found_there(make, family, score, stride):
    model = make(family, frames=160, stride=stride, depth=1)
    finder = model.with_plan(Plan((Stage(0, count=1, score=score),)))
    chequers = torch.ones(16, 16)
    chequers[::2, ::2] = chequers[1::2, 1::2] = -1
    last = model.grid.columns - 1, model.grid.rows - 1
    for column, row in [(0, 0), (3, 1), (last[0], 2), (2, last[1]), last]:
        features = torch.full((1, 160, 128), -1.0)
        features[0, column * stride : column * stride + 16, row * stride : row * stride + 16] = (
            chequers * 3 + 2
        )
        assert finder.trace(features).kept[0].tolist() == [[[column, row]]]


@each_family
def test_a_tone_is_found_at_its_time_and_pitch(make, family):
    model = make(family, depth=1)
    finder = model.with_plan(Plan((Stage(0, count=1, score="intensity"),)))
    time = torch.arange(20_700) / 16_000
    for column, row in [(2, 3), (5, 6)]:
        # The mel bin in the middle of the patch, on Kaldi's scale from 20 Hz to 8 kHz.
        mel = [1127 * math.log(1 + hz / 700) for hz in (20, 8000)]
        middle = mel[0] + (mel[1] - mel[0]) * (row * 16 + 8.5) / 129
        tone = torch.sin(2 * math.pi * 700 * (math.exp(middle / 1127) - 1) * time)
        inside = (time > column * 0.16) & (time < column * 0.16 + 0.17)
        samples = torch.where(inside, 0.5 * tone, 0.0).numpy()
        features, valid = model.features([(samples, 16_000)])
        assert finder.trace(features, valid).kept[0].tolist() == [[[column, row]]]


@by_value
@each_family
def test_ties_keep_the_lower_patch_index_in_every_stage(make, family, score):
    model = make(family)
    silence = torch.full((2, 128, 128), -1.27)
    trace = prune(model, 0.6, score).trace(silence)
    for block, count in ((3, 39), (6, 24), (9, 15)):
        assert places(trace, model, block, 1) == list(range(count))


@each_family
def test_ties_after_another_order_keep_the_lower_patch_index(make, heard, family):
    model = make(family, depth=4)
    plan = Plan((Stage(1, count=40, score="random"), Stage(2, count=9, score="intensity")))
    trace = model.with_plan(plan).trace(torch.full((1, 128, 128), -1.27))
    drawn = places(trace, model, 1)
    assert drawn != sorted(drawn)
    assert places(trace, model, 2) == sorted(drawn)[:9]


@each_value(score=BY_VALUE, family=FAMILIES)
@pytest.mark.parametrize("padding", ["zero", "minimum"])
def test_padding_is_never_kept_before_sound(make, heard, family, score, padding):
    model = make(family, frames=1008, depth=3, padding=padding)
    features, valid = heard("clock", "dog", "rain", frames=1008, padding=padding)
    assert ((valid > 496) & (valid < 499)).all()  # 5 s in a 10 s model
    if padding == "zero":  # fed to the network as it was trained, and louder than most sound
        assert features[0, 600].unique().item() > features[0, :497].median()
    trace = prune(model, 0.6, score, (0, 1)).trace(features, valid)
    sound = math.ceil(497 / 16) * 8
    for block, count in ((0, 303), (1, 182)):
        is_sound = trace.kept[block][..., 0] * 16 < 497
        assert (is_sound.sum(1) == min(count, sound)).all()
        assert is_sound[:, : min(count, sound)].all()  # and they stand in front
    assert trace.scores[0].isneginf().sum() == 3 * (504 - sound)


@pytest.mark.parametrize("stride", [16, 10])
@each_family
def test_a_patch_holds_sound_if_one_valid_frame_lies_in_it(make, family, stride):
    model = make(family, frames=96, stride=stride, depth=1)
    valid = torch.tensor([1, 10, 11, 15, 16, 17, 32, 95, 96])
    features = torch.randn(1, 96, 128).expand(len(valid), -1, -1)
    scores = model.trace(features, valid, score="intensity").scores[0]
    for row, frames in enumerate(valid.tolist()):
        columns = model.grid.locate(torch.arange(model.grid.count))[:, 0]
        assert torch.equal(scores[row].isneginf(), columns * stride >= frames)


@pytest.mark.parametrize("stride", [16, 10])
def test_the_edge_of_the_padding_is_no_variation(make, stride):
    """A constant sound has no variation and one intensity, wherever the clip ends."""
    model = make("ast", frames=96, stride=stride, depth=1)
    valid = torch.tensor([1, 7, 11, 15, 16, 17, 33, 95, 96])
    features = torch.full((len(valid), 96, 128), 0.3)
    features[:, 0, 0] = -1.0  # the minimum, and so the padding, lies far below the sound
    starts = model.grid.locate(torch.arange(model.grid.count))[:, 0] * stride
    elsewhere = torch.arange(model.grid.count) > 0  # the first patch holds that minimum
    inside = (starts < valid[:, None]) & elsewhere
    straddles = inside & (valid[:, None] < starts + 16)
    assert straddles.any(1).tolist() == [True] * 3 + [True, stride == 10, True, True, True, False]
    for score, expected in (("intensity", 0.3), ("variation", 0.0)):
        scores = model.trace(features, valid, score=score).scores[0]
        assert (scores[inside] == expected).all()
        padded = model.trace(features, valid, score=f"{score}-padded").scores[0]
        assert torch.equal(inside & ((padded - scores).abs() > 1e-4), straddles)


def test_the_last_frames_of_a_clip_count_as_if_they_filled_their_patch(make):
    """Intensity and variation of a straddling patch equal those of its frames alone."""
    model = make("audiomae", frames=64, depth=1)
    features = torch.randn(1, 64, 128, generator=torch.Generator().manual_seed(3))
    valid = torch.tensor([37])
    last = features[0, 32:37]
    for score, statistic in (("intensity", torch.mean), ("variation", torch.std)):
        scores = model.trace(features, valid, score=score).scores[0][0]
        for row in range(8):
            values = last[:, row * 16 : row * 16 + 16].double()
            expected = statistic(values).item()
            assert scores[model.grid.index(2, row)].item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("padding", ["zero", "minimum"])
@by_value
@each_family
def test_digital_silence_is_kept_before_the_padding_after_it(make, family, score, padding):
    model = make(family, frames=256, depth=2, padding=padding)
    features, valid = model.features([(torch.zeros(16_000).numpy(), 16_000)])
    assert valid.tolist() == [98]
    trace = prune(model, [0.4, 0.4], score, (0, 1)).trace(features, valid)
    sound = [i for i in range(128) if model.grid.locate(torch.tensor(i))[0] * 16 < 98]
    padded = [i for i in range(128) if i not in sound]
    assert places(trace, model, 0) == (sound + padded)[:52]
    assert places(trace, model, 1) == sound[:21]


@each_family
def test_random_draws_the_same_for_a_clip_in_any_batch(make, heard, family):
    model = make(family)
    features, valid = heard("dog", "rain", "digit", "clock")
    pruned = prune(model, 0.5, "random")
    together = pruned.trace(features, valid)
    order = [2, 0, 3]
    shuffled = pruned.trace(features[order], valid[order])
    again = pruned.trace(features, valid)
    other = prune(model, 0.5, "random", seed=1).trace(features, valid)
    for block in (3, 6, 9):
        assert torch.equal(shuffled.kept[block], together.kept[block][order])
        assert torch.equal(again.kept[block], together.kept[block])
        for row in range(4):
            alone = pruned.trace(features[row : row + 1], valid[row : row + 1])
            assert torch.equal(alone.kept[block][0], together.kept[block][row])
            assert set(places(other, model, block, row)) != set(places(together, model, block, row))
        assert len({tuple(sorted(places(together, model, block, row))) for row in range(4)}) == 4


@each_family
def test_random_draws_the_same_beside_a_clip_of_another_length(make, clips, family):
    """From the waveforms on: a clip of 25 ms has one frame, whose product is a row alone."""
    pruned = prune(make(family), 0.5, "random")
    noise = np.random.default_rng(5).normal(0.01, 0.1, 30_000).astype(np.float32)
    lengths = (400, 560, 721, 1040, 5000, 12_345)
    sounds = [(noise[:length], 16_000) for length in lengths] + [clips["digit"], clips["dog"]]
    together = pruned(*pruned.features(sounds))
    for row, sound in enumerate(sounds):
        alone = pruned(*pruned.features(sound))
        assert torch.allclose(alone[0], together[row], atol=1e-5, rtol=0), row
        pair = pruned(*pruned.features([sounds[0], sound]))
        assert torch.allclose(alone[0], pair[1], atol=1e-5, rtol=0), row


def test_random_is_uniform_and_independent_between_blocks(make):
    model = make("audiomae", depth=3)
    clips, kept = 300, torch.zeros(64)
    features = torch.randn(clips, 128, 128, generator=torch.Generator().manual_seed(0))
    trace = prune(model, 0.25, "random", (2,)).trace(features)
    assert [s.shape for s in trace.scores] == [(clips, 64)] * 3
    for row in range(clips):
        kept[places(trace, model, 2, row)] += 1
    # Each patch is kept in a quarter of the clips; 63 degrees of freedom, p = 0.001 at 103.4.
    expected = clips / 4
    chi_square = ((kept - expected) ** 2).sum() / (expected * 0.75) * 63 / 64
    assert chi_square < 103.4
    draws = torch.stack([s.flatten() for s in trace.scores])
    counts = torch.stack([draw.histc(20, 0, 1) for draw in draws])
    assert (((counts - clips * 3.2) ** 2 / (clips * 3.2)).sum(1) < 43.8).all()  # 19 degrees
    between = torch.corrcoef(draws) - torch.eye(3)
    assert between.abs().max() < 4 / (clips * 64) ** 0.5
    neighbours = torch.corrcoef(torch.stack([draws[0][:-1], draws[0][1:]]))[0, 1]
    assert neighbours.abs() < 4 / (clips * 64) ** 0.5
