"""Augmentation against planted waveforms, torch.roll, and the statistics that were asked for."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from spectrim.data.augment import Draw, FeatureAugment, WaveformAugment, apply

RNG = np.random.default_rng


def noises(*lengths: int) -> list[np.ndarray]:
    """Waveforms of other lengths and offsets."""
    rng = RNG(0)
    return [
        (rng.standard_normal(length) + number).astype(np.float32)
        for number, length in enumerate(lengths)
    ]


def centred(waveform: np.ndarray) -> np.ndarray:
    return waveform - waveform.astype(np.float64).mean()


def drawn(augment: WaveformAugment, waves: list[np.ndarray], position: int, seed: int):
    return augment(waves.__getitem__, position, len(waves), RNG(seed))


def unrolled(waveform: np.ndarray, source: np.ndarray) -> int:
    """By how much `source` was turned: the peak of the circular cross-correlation."""
    spectrum = np.fft.rfft(waveform) * np.fft.rfft(source).conj()
    return int(np.fft.irfft(spectrum, len(source)).argmax())


# ---- waveforms


def test_what_is_off_is_exactly_off():
    waves = noises(500, 400)
    for seed in range(20):
        waveform, parts = drawn(WaveformAugment(), waves, 1, seed)
        assert parts == [(1, 1.0)]
        assert waveform.dtype == np.float32
        assert np.array_equal(waveform, waves[1] - waves[1].mean())


def test_the_source_is_never_written_to():
    waves = noises(300, 200)
    before = [wave.copy() for wave in waves]
    for wave in waves:
        wave.flags.writeable = False  # as a memory map is
    for seed in range(30):
        drawn(WaveformAugment(True, True, 1.0), waves, seed % 2, seed)
    assert all(np.array_equal(*pair) for pair in zip(before, waves, strict=True))


def test_a_roll_is_circular_by_any_amount():
    (wave,) = noises(64)
    shifts = []
    for seed in range(600):
        waveform, _ = drawn(WaveformAugment(roll=True), [wave], 0, seed)
        shift = unrolled(waveform, centred(wave))
        assert waveform == pytest.approx(np.roll(centred(wave), shift), abs=1e-5)
        assert (waveform**2).sum() == pytest.approx((centred(wave) ** 2).sum(), rel=1e-5)
        shifts.append(shift)
    counts = np.bincount(shifts, minlength=64)
    assert counts.min() > 0  # of 600 draws over 64 amounts; none of them misses
    assert np.mean(shifts) == pytest.approx(31.5, abs=5 * 18.5 / 600**0.5)


def test_a_gain_is_beta_10_10_plus_a_half():
    (wave,) = noises(50)
    gains = []
    for seed in range(3000):
        waveform, _ = drawn(WaveformAugment(gain=True), [wave], 0, seed)
        gain = float(waveform[7] / centred(wave)[7])
        assert waveform == pytest.approx(gain * centred(wave), abs=1e-5)
        gains.append(gain)
    assert 0.5 < min(gains) < max(gains) < 1.5
    assert np.mean(gains) == pytest.approx(1.0, abs=5 * (1 / 84 / 3000) ** 0.5)
    assert np.var(gains) == pytest.approx(1 / 84, rel=0.15)  # of Beta(10, 10): 1 / (4 * 21)


@pytest.mark.parametrize("share", [0.5, 0.6, 1.0])
def test_so_many_clips_are_mixed(share):
    waves, draws = noises(60, 60, 60), 2000
    parts = [drawn(WaveformAugment(mixup=share), waves, 1, seed)[1] for seed in range(draws)]
    mixed = [part for part in parts if len(part) == 2]
    spread = (share * (1 - share) / draws) ** 0.5
    assert len(mixed) / draws == pytest.approx(share, abs=5 * spread + 1e-9)
    assert all(part == [(1, 1.0)] for part in parts if len(part) == 1)
    assert all(part[0][0] == 1 for part in mixed)
    partners = np.bincount([part[1][0] for part in mixed], minlength=3) / len(mixed)
    assert partners == pytest.approx([1 / 3] * 3, abs=5 * (2 / 9 / len(mixed)) ** 0.5)


def test_shares_are_beta_distributed_and_add_to_one():
    waves = noises(60, 60)
    for alpha in (10.0, 1.0):
        augment = WaveformAugment(mixup=1.0, alpha=alpha)
        parts = [drawn(augment, waves, 0, seed)[1] for seed in range(2000)]
        first, second = np.array([[share for _, share in part] for part in parts]).T
        assert np.abs(first + second - 1).max() < 1e-12
        variance = 1 / (4 * (2 * alpha + 1))
        assert first.mean() == pytest.approx(0.5, abs=5 * (variance / 2000) ** 0.5)
        assert first.var() == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("lengths", [(300, 300), (300, 200), (200, 300), (300, 1), (400, 7000)])
def test_the_second_is_cut_or_padded_to_the_first(lengths):
    """Least squares over both waveforms, made as long as the first by hand, gives the shares."""
    waves = noises(*lengths)
    augment = WaveformAugment(mixup=1.0)
    seen = 0
    for seed in range(40):
        mixed, parts = drawn(augment, waves, 0, seed)
        if parts[1][0] != 1:
            continue
        seen += 1
        assert len(mixed) == lengths[0] and mixed.dtype == np.float32
        assert abs(mixed.mean()) < 1e-6
        second = np.zeros(lengths[0])
        rest = centred(waves[1])[: lengths[0]]
        second[: len(rest)] = rest
        basis = np.stack([centred(waves[0]), second, np.ones(lengths[0])], 1)
        found, error, *_ = np.linalg.lstsq(basis, mixed.astype(np.float64), rcond=None)
        shares = [share for _, share in parts]
        assert found[0] == pytest.approx(shares[0], abs=1e-5)
        if lengths[1] > 1:  # one sample, its mean subtracted, is silence
            assert found[1] == pytest.approx(shares[1], abs=1e-5)
        assert error.sum() < 1e-8
    assert seen > 10


def test_each_of_a_mixture_is_turned_and_scaled_by_itself():
    waves = noises(256, 256)
    augment = WaveformAugment(roll=True, gain=True, mixup=1.0)
    shifts = set()
    for seed in range(40):
        mixed, parts = drawn(augment, waves, 0, seed)
        if parts[1][0] == 0:
            continue
        turns = [unrolled(mixed, centred(wave)) for wave in waves]
        basis = np.stack(
            [np.roll(centred(wave), turn) for wave, turn in zip(waves, turns, strict=True)], 1
        )
        found, error, *_ = np.linalg.lstsq(basis, mixed.astype(np.float64), rcond=None)
        assert error.sum() < 1e-6
        gains = found / [share for _, share in parts]
        assert ((gains > 0.5) & (gains < 1.5)).all() and gains[0] != pytest.approx(gains[1])
        shifts.add(tuple(turns))
    assert len(shifts) > 10 and any(one != other for one, other in shifts)


@pytest.mark.parametrize(
    "augment", [WaveformAugment(True, True, 0.5), WaveformAugment(mixup=1.0)]
)  # fmt: skip
def test_the_same_seed_gives_the_same_waveform(augment):
    waves = noises(200, 300, 100)
    (one, parts), (same, same_parts) = (drawn(augment, waves, 0, 7) for _ in range(2))
    assert np.array_equal(one, same) and parts == same_parts
    assert any(drawn(augment, waves, 0, seed)[1] != parts for seed in range(8, 20))


def test_silence_stays_silence():
    waves = [np.zeros(400, np.float32), np.full(500, 0.25, np.float32)]
    for seed in range(10):
        waveform, _ = drawn(WaveformAugment(True, True, 0.5), waves, 0, seed)
        assert not waveform.any()


@pytest.mark.parametrize("join", [0, 50, 150, 1000])
def test_short_waveforms_are_followed_by_others_until_the_window_is_full(join):
    waves = noises(60, 90, 70)
    followers = set()
    for seed in range(20):
        waveform, parts = drawn(WaveformAugment(join=join), waves, 0, seed)
        assert parts == [(0, 1.0)] and waveform.dtype == np.float32
        assert len(waveform) == max(join, 60)
        assert np.array_equal(waveform[:60], waves[0] - waves[0].mean())
        at = 60
        while at < len(waveform):  # what follows begins as one of the clips does
            (clip,) = (
                number
                for number, wave in enumerate(waves)
                if waveform[at] == (wave - wave.mean())[0]
            )
            whole = waves[clip] - waves[clip].mean()
            assert np.array_equal(waveform[at : at + len(whole)], whole[: len(waveform) - at])
            at += len(whole)
            followers.add(clip)
    assert followers == (set() if join <= 60 else {0, 1, 2})


# ---- features


def masked(time: tuple[int, int], frequency: tuple[int, int], shift: int = 0) -> Draw:
    return Draw(time, frequency, None, shift)


def widths(augment: FeatureAugment, frames: int, draws: int = 3000):
    rng = RNG(0)
    found = [augment.draw(frames, 128, True, rng) for _ in range(draws)]
    return np.array([[d.time, d.frequency] for d in found])


@pytest.mark.parametrize(
    ("time", "frequency", "frames"), [(192, 48, 1024), (48, 48, 128), (96, 24, 512)]
)
def test_masks_are_up_to_the_largest_width_anywhere(time, frequency, frames):
    spans = widths(FeatureAugment(time, frequency), frames)
    assert (spans[..., 0] >= 0).all() and (spans[..., 0] <= spans[..., 1]).all()
    for axis, largest, size in ((0, time, frames), (1, frequency, 128)):
        begin, end = spans[:, axis].T
        width = end - begin
        assert end.max() <= size
        # A real width up to the largest, cut to an integer: 0 to largest - 1, all alike.
        assert (width.min(), width.max()) == (0, largest - 1)
        spread = (largest**2 / 12 / len(spans)) ** 0.5
        assert width.mean() == pytest.approx((largest - 1) / 2, abs=5 * spread)
        assert np.bincount(width).std() < 2 * (len(spans) / largest) ** 0.5
        # The place is uniform over what is left.
        share = begin / (size - width)
        assert share.mean() == pytest.approx(0.5, abs=0.03)
        assert share.var() == pytest.approx(1 / 12, rel=0.15)
    assert abs(np.corrcoef((spans[..., 1] - spans[..., 0]).T)[0, 1]) < 5 / len(spans) ** 0.5


def test_masks_are_those_of_torchaudio_drawn_by_other_numbers():
    """Its `mask_along_axis`, written out: value = rand * param; min = rand * (size - value)."""
    generator = torch.Generator().manual_seed(0)
    value = torch.rand(20_000, generator=generator) * 48
    begin = (torch.rand(20_000, generator=generator) * (128 - value)).long()
    end = begin + value.long()
    spans = widths(FeatureAugment(48, 48), 128, 20_000)[:, 0]
    for column, oracle in zip(spans.T, (begin, end), strict=True):
        quantiles = np.linspace(0.05, 0.95, 10)
        expected = np.quantile(oracle.numpy(), quantiles)
        assert np.quantile(column, quantiles) == pytest.approx(expected, abs=2)


def test_a_width_larger_than_the_clip_is_cut():
    spans = widths(FeatureAugment(5000, 5000), 64, 500)
    assert spans[:, 0].max() <= 64 and spans[:, 1].max() <= 128


def test_without_spec_nothing_is_masked():
    rng = RNG(0)
    for _ in range(50):
        draw = FeatureAugment(192, 48, 0.1, 10).draw(128, 128, False, rng)
        assert draw.time == draw.frequency == (0, 0)
        assert draw.noise is not None


def test_with_all_off_the_features_are_the_same_tensor_bit_for_bit():
    features, valid = torch.randn(3, 64, 128), torch.tensor([64, 10, 33])
    for augment, spec in ((FeatureAugment(), True), (FeatureAugment(16, 16), False)):
        draws = [augment.draw(64, 128, spec, RNG(seed)) for seed in range(3)]
        for draw in draws:
            assert draw.time[0] == draw.time[1] and draw.frequency[0] == draw.frequency[1]
            assert draw.noise is None and draw.shift == 0
        changed, sound = apply(features, valid, draws, -5.0)
        assert torch.equal(changed, features) and torch.equal(sound, valid)


def test_masks_fill_one_span_of_each_axis_with_zero_log_mel():
    """Against a loop over clips, frames and bins; de-normalised, what is masked is 0."""
    mean, std = -4.2677393, 4.5689974
    features = torch.randn(3, 32, 128, generator=torch.Generator().manual_seed(0))
    draws = [masked((3, 7), (100, 128)), masked((0, 0), (0, 0)), masked((31, 32), (0, 5))]
    before = features.clone()
    changed, valid = apply(features, torch.full((3,), 32), draws, -mean / (2 * std))
    assert torch.equal(features, before) and changed.dtype == torch.float32
    for clip, draw in enumerate(draws):
        for frame in range(32):
            for mel in range(128):
                hit = draw.time[0] <= frame < draw.time[1]
                hit |= draw.frequency[0] <= mel < draw.frequency[1]
                value = changed[clip, frame, mel].item()
                if hit:
                    assert value * 2 * std + mean == pytest.approx(0, abs=1e-5)
                else:
                    assert value == before[clip, frame, mel].item()
    assert valid.tolist() == [32] * 3


def test_noise_is_uniform_below_an_amplitude_of_each_clip():
    augment, rng = FeatureAugment(noise=0.1), RNG(0)
    noises = np.stack([augment.draw(64, 128, True, rng).noise for _ in range(400)])
    assert noises.dtype == np.float32 and noises.shape == (400, 64, 128)
    assert noises.min() >= 0 and noises.max() <= 0.1
    # A clip's largest of 8192 draws is its amplitude, its mean half of it: one for all values.
    amplitude = noises.max((1, 2))
    assert noises.mean((1, 2)) == pytest.approx(amplitude / 2, rel=0.05)
    assert noises.var((1, 2)) == pytest.approx(amplitude**2 / 12, rel=0.1)
    assert amplitude.mean() == pytest.approx(0.05, abs=5 * (0.01 / 12 / 400) ** 0.5)
    assert amplitude.std() == pytest.approx(0.1 / 12**0.5, rel=0.1)


def test_noise_is_added_clip_by_clip():
    features = torch.randn(2, 32, 128)
    draws = [FeatureAugment(noise=0.1).draw(32, 128, True, RNG(seed)) for seed in (0, 1)]
    changed, _ = apply(features, torch.tensor([32, 5]), draws, 0.0)
    for clip, draw in enumerate(draws):
        assert torch.equal(changed[clip], features[clip] + torch.from_numpy(draw.noise))
    assert not np.array_equal(draws[0].noise, draws[1].noise)


def test_a_shift_lies_between_minus_10_and_plus_9():
    rng = RNG(0)
    shifts = [FeatureAugment(shift=10).draw(128, 128, True, rng).shift for _ in range(4000)]
    counts = np.bincount(np.array(shifts) + 10, minlength=20)
    assert len(counts) == 20
    assert np.abs(counts / 4000 - 0.05).max() < 5 * (0.05 * 0.95 / 4000) ** 0.5


def test_a_shift_is_torchs_roll_of_each_clip():
    shifts = [-10, 9, 0, 3, -1]
    features = torch.randn(5, 64, 128)
    draws = [masked((0, 0), (0, 0), shift) for shift in shifts]
    changed, _ = apply(features, torch.full((5,), 64), draws, 0.0)
    for clip, shift in enumerate(shifts):
        assert torch.equal(changed[clip], features[clip].roll(shift, 0))


@pytest.mark.parametrize("shift", range(-10, 10))
@pytest.mark.parametrize("valid", [1, 5, 12, 40, 58, 63, 64])
def test_the_sounds_end_moves_with_a_shift(valid, shift):
    """Where a clip's last sound frame lies, found by rolling a strip of ones."""
    strip = torch.zeros(64)
    strip[:valid] = 1
    end = valid + shift  # of the sound, did it not go around the edge
    expected = 64 if valid == 64 else min(max(end, 1), 64)
    features = torch.zeros(1, 64, 128)
    _, found = apply(features, torch.tensor([valid]), [masked((0, 0), (0, 0), shift)], 0.0)
    assert found.tolist() == [expected]
    rolled = strip.roll(shift)
    if shift >= 0 and end <= 64:  # nothing goes around: all sound lies before the end
        assert rolled[int(found) :].sum() == 0 and rolled[int(found) - 1] == 1
    if shift < 0 and end >= 1 and valid < 64:  # what went around counts as padding
        assert rolled[:end].sum() == end


def test_masks_then_noise_then_shift():
    """The mask's place and the noise turn with the features; noise lies on the mask too."""
    features = torch.randn(1, 32, 128)
    noise = RNG(0).random((32, 128), dtype=np.float32)
    draw = Draw((4, 8), (10, 20), noise, 5)
    changed, _ = apply(features, torch.tensor([32]), [draw], -3.0)
    by_hand = features[0].clone()
    by_hand[4:8] = -3.0
    by_hand[:, 10:20] = -3.0
    by_hand = (by_hand + torch.from_numpy(noise)).roll(5, 0)
    assert torch.equal(changed[0], by_hand)


def test_the_same_seed_draws_the_same():
    augment = FeatureAugment(48, 48, 0.1, 10)
    one, same = (augment.draw(128, 128, True, RNG(5)) for _ in range(2))
    assert (one.time, one.frequency, one.shift) == (same.time, same.frequency, same.shift)
    assert np.array_equal(one.noise, same.noise)
    others = [augment.draw(128, 128, True, RNG(seed)) for seed in range(6, 12)]
    assert len({other.time for other in [one, *others]}) > 3
