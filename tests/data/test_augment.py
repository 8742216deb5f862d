"""Augmentation against loops over clips with numpy, and the statistics that were asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from spectrim.common.errors import SpectrimError
from spectrim.data.augment import Augmentation, Draws
from spectrim.data.clip_bank import ClipBank, clip_bank

RNG = np.random.default_rng
CPU = torch.device("cpu")
NONE = torch.zeros(1, 0, dtype=torch.long)


def noises(*lengths: int) -> list[np.ndarray]:
    """Waveforms of other lengths and offsets."""
    rng = RNG(0)
    return [
        (rng.standard_normal(length) + number).astype(np.float32)
        for number, length in enumerate(lengths)
    ]


def bank_of(waves: list[np.ndarray]) -> ClipBank:
    """An empty waveform stands for a clip that could not be read."""
    return clip_bank([wave if len(wave) else SpectrimError("empty.") for wave in waves], CPU)


def centred(waveform: np.ndarray) -> np.ndarray:
    return waveform - waveform.astype(np.float64).mean()


def draws_of(augment: Augmentation, clips: int, seed: int = 0, frames: int = 128) -> Draws:
    return augment.draw(clips, frames, RNG(seed))


def slow_waveform(
    augment: Augmentation,
    waves: list[np.ndarray],
    draws: Draws,
    position: int,
    followers: list[int],
    samples: int,
) -> tuple[np.ndarray, int, float]:
    """One clip by np.roll, np.concatenate and slices: (samples,), its length and its share."""

    def changed(clip: int) -> np.ndarray:
        wave = centred(waves[clip]) if len(waves[clip]) else waves[clip]
        if augment.roll and len(wave):
            wave = np.roll(wave, int(draws.roll[clip] * len(wave)))
        return wave * (draws.gain[clip].item() if augment.gain else 1.0)

    first = np.concatenate([changed(clip) for clip in (position, *followers)])[:samples]
    second = changed(int(draws.partner[position]))[: len(first)]
    share = draws.share[position].item() if len(second) else 1.0
    if augment.mixup:
        first = share * first
        first[: len(second)] += (1 - share) * second
    return np.pad(first, (0, samples - len(first))), len(first), share


# ---- waveforms


@pytest.mark.parametrize("roll", [False, True])
@pytest.mark.parametrize("gain", [False, True])
@pytest.mark.parametrize("mixup", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("samples", [250, 700])
def test_a_batch_is_what_a_loop_over_its_clips_gives(roll, gain, mixup, samples):
    """Among the clips are one of a single sample and one that could not be read."""
    waves = [*noises(300, 200, 641, 1, 400), np.zeros(0, np.float32), *noises(500)]
    augment = Augmentation(roll, gain, mixup)
    bank = bank_of(waves)
    for seed in range(5):
        draws = draws_of(augment, len(waves), seed)
        positions = torch.tensor([2, 0, 4, 1, 6, 3, 0])
        followers = torch.tensor([[0, 1], [5, 2], [3, 3], [6, 0], [1, 5], [2, 2], [0, 0]])
        for after in (followers, followers[:, :0]):
            result = augment.waveforms(bank, draws, positions, after, samples)
            for row, position in enumerate(positions.tolist()):
                slow = slow_waveform(augment, waves, draws, position, after[row].tolist(), samples)
                assert result[0][row].numpy() == pytest.approx(slow[0], abs=1e-5)
                assert (result[1][row].item(), result[2][row].item()) == slow[1:]


def test_what_is_off_is_exactly_off():
    waves = noises(500, 400)
    augment = Augmentation()
    for seed in range(20):
        draws = draws_of(augment, 2, seed)
        (waveform,), _, share = augment.waveforms(
            bank_of(waves), draws, torch.tensor([1]), NONE, 400
        )
        assert share.item() == 1.0 and waveform.dtype == torch.float32
        assert np.array_equal(waveform.numpy(), waves[1] - waves[1].mean())


def test_the_bank_is_never_written_to():
    bank = bank_of(noises(300, 200))
    before = bank.samples.clone()
    augment = Augmentation(True, True, 1.0)
    for seed in range(30):
        augment.waveforms(bank, draws_of(augment, 2, seed), torch.tensor([seed % 2]), NONE, 300)
    assert torch.equal(bank.samples, before)


def test_a_roll_is_circular_by_any_amount():
    """The amount is where the peak of the circular cross-correlation with the clip lies."""
    (wave,) = noises(64)
    augment = Augmentation(roll=True)
    draws, positions = draws_of(augment, 600), torch.arange(600)
    bank = bank_of([wave] * 600)
    rolled = augment.waveforms(bank, draws, positions, NONE.expand(600, -1), 64)[0].numpy()
    spectrum = np.fft.rfft(rolled) * np.fft.rfft(centred(wave)).conj()
    counts = np.bincount(np.fft.irfft(spectrum, 64).argmax(1), minlength=64)
    assert counts.min() > 0  # of 600 draws over 64 amounts; none of them misses
    assert (rolled**2).sum(1) == pytest.approx([(centred(wave) ** 2).sum()] * 600, rel=1e-5)
    assert draws.roll.mean().item() == pytest.approx(0.5, abs=5 * (1 / 12 / 600) ** 0.5)


def test_a_gain_is_beta_10_10_plus_a_half():
    gains = draws_of(Augmentation(gain=True), 3000).gain
    assert 0.5 < gains.min() < gains.max() < 1.5
    assert gains.mean().item() == pytest.approx(1.0, abs=5 * (1 / 84 / 3000) ** 0.5)
    assert gains.var().item() == pytest.approx(1 / 84, rel=0.15)  # Beta(10, 10): 1 / (4 * 21)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.6, 1.0])
def test_so_many_clips_are_mixed(share):
    draws = draws_of(Augmentation(mixup=share), 6000)
    mixed = draws.share < 1
    spread = (share * (1 - share) / 6000) ** 0.5
    assert mixed.float().mean().item() == pytest.approx(share, abs=5 * spread + 1e-9)
    assert torch.equal(draws.partner[~mixed], torch.arange(6000)[~mixed])
    if share:  # partners are uniform over all clips, whichever clip they are mixed with
        partner, clip = draws.partner[mixed].numpy(), torch.arange(6000)[mixed].numpy()
        thirds = np.bincount(partner // 2000, minlength=3) / len(partner)
        assert thirds == pytest.approx([1 / 3] * 3, abs=5 * (2 / 9 / len(partner)) ** 0.5)
        assert abs(np.corrcoef(partner, clip)[0, 1]) < 5 / len(partner) ** 0.5


@pytest.mark.parametrize("alpha", [10.0, 1.0])
def test_shares_are_beta_distributed(alpha):
    shares = draws_of(Augmentation(mixup=1.0, mixup_alpha=alpha), 4000).share
    variance = 1 / (4 * (2 * alpha + 1))
    assert shares.mean().item() == pytest.approx(0.5, abs=5 * (variance / 4000) ** 0.5)
    assert shares.var().item() == pytest.approx(variance, rel=0.15)


def test_numbers_of_different_kinds_are_independent():
    draws = draws_of(Augmentation(True, True, 1.0, 10.0, 48, 48, 0.1, 10), 4000)
    columns = [
        draws.roll, draws.gain, draws.partner, draws.share, draws.time[:, 0], draws.shift,
        draws.frequency[:, 0], draws.amplitude, draws.key >> 32,
    ]  # fmt: skip
    correlation = np.corrcoef([column.double().numpy() for column in columns])
    assert np.abs(correlation - np.eye(len(columns))).max() < 5 / 4000**0.5


def test_the_same_seed_gives_the_same_numbers():
    augment = Augmentation(True, True, 0.5, 10.0, 48, 48, 0.1, 10)
    one, same, other = (vars(draws_of(augment, 50, seed)) for seed in (7, 7, 8))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_switching_one_change_on_leaves_the_numbers_of_the_others():
    plain = vars(draws_of(Augmentation(), 50))
    noisy = vars(draws_of(Augmentation(roll=True, spec_time=20, noise=0.1, shift=5), 50))
    changed = {name for name in plain if not torch.equal(plain[name], noisy[name])}
    assert changed == {"time", "amplitude", "shift"}


def test_silence_stays_silence():
    waves = [np.zeros(400, np.float32), np.full(500, 0.25, np.float32)]
    augment = Augmentation(True, True, 0.5)
    for seed in range(10):
        draws = draws_of(augment, 2, seed)
        result = augment.waveforms(
            bank_of(waves), draws, torch.tensor([0, 1]), NONE.expand(2, -1), 500
        )
        assert not result[0].any()


# ---- features


def planted(time=(0, 0), frequency=(0, 0), shift=0, amplitude=0.0, key=0) -> Draws:
    """Draws of one clip."""
    draws = draws_of(Augmentation(), 1)
    return replace(
        draws, time=torch.tensor([time]), frequency=torch.tensor([frequency]),
        shift=torch.tensor([shift]), amplitude=torch.tensor([amplitude]), key=torch.tensor([key]),
    )  # fmt: skip


def stacked(draws: list[Draws]) -> Draws:
    return Draws(
        *(
            torch.cat(values)
            for values in zip(*(vars(draw).values() for draw in draws), strict=True)
        )
    )


ALL_ON = Augmentation(spec_time=48, spec_frequency=48, noise=0.1, shift=10)


def applied(
    features: torch.Tensor, valid: list[int], draws: Draws, augment=ALL_ON, masked=True, fill=0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    positions = torch.arange(len(features))
    return augment.features(features, torch.tensor(valid), draws, positions, masked, fill)


def widths(augment: Augmentation, frames: int, clips: int = 3000) -> np.ndarray:
    draws = draws_of(augment, clips, frames=frames)
    return torch.stack([draws.time, draws.frequency], 1).numpy()


@pytest.mark.parametrize(
    ("time", "frequency", "frames"), [(192, 48, 1024), (48, 48, 128), (96, 24, 512)]
)
def test_masks_are_up_to_the_largest_width_anywhere(time, frequency, frames):
    spans = widths(Augmentation(spec_time=time, spec_frequency=frequency), frames)
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
    spans = widths(Augmentation(spec_time=48, spec_frequency=48), 128, 20_000)[:, 0]
    for column, oracle in zip(spans.T, (begin, end), strict=True):
        quantiles = np.linspace(0.05, 0.95, 10)
        expected = np.quantile(oracle.numpy(), quantiles)
        assert np.quantile(column, quantiles) == pytest.approx(expected, abs=2)


def test_a_width_larger_than_the_clip_is_cut():
    spans = widths(Augmentation(spec_time=5000, spec_frequency=5000), 64, 500)
    assert spans[:, 0].max() <= 64 and spans[:, 1].max() <= 128


def test_with_all_off_the_features_are_the_same_tensor_bit_for_bit():
    features, valid = torch.randn(3, 64, 128), [64, 10, 33]
    masks = Augmentation(spec_time=16, spec_frequency=16)
    for augment, masked in ((Augmentation(), True), (masks, False)):
        draws = draws_of(augment, 3, frames=64)
        changed, sound = applied(features, valid, draws, augment, masked, -5.0)
        assert torch.equal(changed, features) and sound.tolist() == valid


def test_masks_fill_one_span_of_each_axis_with_zero_log_mel():
    """Against a loop over clips, frames and bins; de-normalised, what is masked is 0."""
    mean, std = -4.2677393, 4.5689974
    features = torch.randn(3, 32, 128, generator=torch.Generator().manual_seed(0))
    draws = [planted((3, 7), (100, 128)), planted(), planted((31, 32), (0, 5))]
    before = features.clone()
    changed, valid = applied(features, [32] * 3, stacked(draws), fill=-mean / (2 * std))
    assert torch.equal(features, before) and changed.dtype == torch.float32
    for clip, draw in enumerate(draws):
        for frame in range(32):
            for mel in range(128):
                hit = draw.time[0, 0] <= frame < draw.time[0, 1]
                hit |= draw.frequency[0, 0] <= mel < draw.frequency[0, 1]
                value = changed[clip, frame, mel].item()
                if hit:
                    assert value * 2 * std + mean == pytest.approx(0, abs=1e-5)
                else:
                    assert value == before[clip, frame, mel].item()
    assert valid.tolist() == [32] * 3


def test_noise_is_uniform_below_an_amplitude_of_each_clip():
    augment = Augmentation(noise=0.1)
    draws = draws_of(augment, 400, frames=63)
    noises = applied(torch.zeros(400, 63, 128), [63] * 400, draws, augment)[0].numpy()
    assert noises.dtype == np.float32 and noises.min() >= 0 and noises.max() <= 0.1
    # A clip's largest of 8064 numbers is its amplitude, its mean half of it.
    amplitude = draws.amplitude.numpy()
    assert noises.max((1, 2)) == pytest.approx(amplitude, rel=0.01)
    assert noises.mean((1, 2)) == pytest.approx(amplitude / 2, rel=0.05)
    assert noises.var((1, 2)) == pytest.approx(amplitude**2 / 12, rel=0.1)
    assert amplitude.mean() == pytest.approx(0.05, abs=5 * (0.01 / 12 / 400) ** 0.5)
    assert amplitude.std() == pytest.approx(0.1 / 12**0.5, rel=0.1)
    # Neighbours, the two halves that share integers, and clips are independent.
    flat = noises.reshape(400, -1) / amplitude[:, None] - 0.5
    half = flat.shape[1] // 2
    for one, other in (
        (flat[:, 1:], flat[:, :-1]), (flat[:, :half], flat[:, half:]), (flat[1:], flat[:-1])
    ):  # fmt: skip
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / one.size**0.5


def test_noise_of_a_clip_does_not_depend_on_the_batch():
    draws = draws_of(ALL_ON, 9, frames=32)
    augment, features = Augmentation(noise=0.1), torch.zeros(3, 32, 128)
    positions = torch.tensor([4, 0, 8])
    together = augment.features(features, torch.full((3,), 32), draws, positions, True, 0.0)[0]
    for row in range(3):
        alone = augment.features(
            features[:1], torch.tensor([32]), draws, positions[row : row + 1], True, 0.0
        )
        assert torch.equal(alone[0][0], together[row])
    assert not torch.equal(together[0], together[1])


def test_a_shift_lies_between_minus_10_and_plus_9():
    shifts = draws_of(Augmentation(shift=10), 4000).shift.numpy()
    counts = np.bincount(shifts + 10, minlength=20)
    assert len(counts) == 20
    assert np.abs(counts / 4000 - 0.05).max() < 5 * (0.05 * 0.95 / 4000) ** 0.5


def test_a_shift_is_torchs_roll_of_each_clip():
    shifts = [-10, 9, 0, 3, -1]
    features = torch.randn(5, 64, 128)
    draws = stacked([planted(shift=shift) for shift in shifts])
    changed, _ = applied(features, [64] * 5, draws)
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
    augment = Augmentation(shift=10)
    _, moved = applied(torch.zeros(1, 64, 128), [valid], planted(shift=shift), augment)
    assert moved.tolist() == [expected]
    rolled = strip.roll(shift)
    if shift >= 0 and end <= 64:  # nothing goes around: all sound lies before the end
        assert rolled[int(moved) :].sum() == 0 and rolled[int(moved) - 1] == 1
    if shift < 0 and end >= 1 and valid < 64:  # what went around counts as padding
        assert rolled[:end].sum() == end


def test_masks_then_noise_then_shift():
    """The mask's place and the noise turn with the features; noise lies on the mask too."""
    features = torch.randn(1, 32, 128)
    noisy = planted(amplitude=1.0, key=77)
    noise = applied(torch.zeros(1, 32, 128), [32], noisy)[0][0]
    draws = planted((4, 8), (10, 20), 5, 1.0, 77)
    changed, _ = applied(features, [32], draws, fill=-3.0)
    by_hand = features[0].clone()
    by_hand[4:8] = -3.0
    by_hand[:, 10:20] = -3.0
    assert noise.std() > 0.2 and torch.equal(changed[0], (by_hand + noise).roll(5, 0))
