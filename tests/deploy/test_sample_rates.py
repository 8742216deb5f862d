"""A 32 kHz model from file to result: every path reads sound at the model's own sample rate."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import soxr
import torch

import spectrim
from spectrim.audio.decode import read
from spectrim.audio.front_ends import front_end
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.data.batches import batches
from spectrim.data.cache import Waveforms
from spectrim.data.clip import Clip
from spectrim.data.one_pass import read_spans
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.evaluation.predict import column_centres, predict
from spectrim.models.config import ModelConfig
from spectrim.models.presets import preset
from spectrim.models.transformer import SpectrogramTransformer

RATE = 32_000
LABELS = ("a", "b", "c")


def model_of(name: str, rate: int, mels: int) -> SpectrogramTransformer:
    torch.manual_seed(0)
    config = preset(
        "ast-tiny", LABELS, depth=2, frames=64, mels=mels, front_end=name, sample_rate=rate,
        mean=-4.5, std=5.0, std_factor=1.0,
    )  # fmt: skip
    return SpectrogramTransformer(config).eval()


@pytest.fixture(scope="module")
def model() -> SpectrogramTransformer:
    return model_of("passt-mel", RATE, 128)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Two seconds of noise at 44.1 kHz."""
    path = tmp_path_factory.mktemp("sounds") / "noise.wav"
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * 44_100)
    soundfile.write(path, noise, 44_100)
    return path


def at_rate(path, rate: int) -> np.ndarray:
    """Decoded by other code than Spectrim's."""
    samples, stored = soundfile.read(path, dtype="float32")
    return soxr.resample(samples, stored, rate, quality="HQ")


def test_sound_is_resampled_to_the_model(model, sound):
    waveform = at_rate(sound, RATE)
    settings = front_end("passt-mel")
    window = waveform[: settings.num_samples(64)]
    expected, _ = settings.filter_bank(128)(torch.from_numpy(window)[None])
    features, valid = model.features(sound)
    assert valid.tolist() == [64]
    assert torch.allclose(features, (expected[:, :64] + 4.5) / 5, atol=1e-3)
    assert model.config.window_seconds == pytest.approx((63 * 320 + 400 + 1) / RATE)


def test_windows_have_the_seconds_of_the_model(model, sound):
    rows = spectrim.tag(model, sound, top=3)
    window = front_end("passt-mel").num_samples(64)
    starts = [0.0, window / RATE, 2 * window / RATE]
    assert [row["start"] for row in rows[:-1]] == pytest.approx(starts, abs=1e-3)
    # The tail is shorter than half a window: the last window moves back.
    assert rows[-1]["start"] == pytest.approx(2.0 - window / RATE, abs=1e-3)
    assert rows[-1]["end"] == pytest.approx(2.0, abs=1e-3)
    waveform = at_rate(sound, RATE)
    probabilities = TorchRunner(model).probabilities([waveform[window : 2 * window]])
    expected = sorted(zip(LABELS, probabilities[0].tolist(), strict=True), key=lambda p: -p[1])
    tagged = [(label["label"], label["probability"]) for label in rows[1]["labels"]]
    assert [label for label, _ in tagged] == [label for label, _ in expected]
    assert [p for _, p in tagged] == pytest.approx([p for _, p in expected], abs=1e-4)
    with pytest.raises(SpectrimError, match="hop"):
        spectrim.tag(model, sound, hop=2 * window / RATE)


def test_evaluation_reads_at_the_rate_of_its_runner(model, sound):
    runner = TorchRunner(model)
    clip = Clip(sound, target_start=0.1, target_end=0.2)
    outputs = predict([runner], [clip], 1).outputs[0][0]
    expected = runner.predict(runner.shared_inputs([at_rate(sound, RATE)])).outputs
    assert np.abs(outputs - expected).max() < 1e-3
    centres = column_centres(model.config.grid, model.config.audio)
    # The middle of 16 frames, 10 ms each, whose first is centred on the first sample.
    assert centres == pytest.approx([0.075 + 0.16 * column for column in range(4)])


def test_models_of_two_rates_do_not_share_a_pass(model, sound):
    other = TorchRunner(model_of("htk-mel", 16_000, 64))
    with pytest.raises(SpectrimError, match="16000 and 32000 Hz"):
        predict([TorchRunner(model), other], [Clip(sound)], 1)


def test_a_cache_holds_a_clip_at_each_rate(sound, tmp_path):
    lengths = {
        rate: len(Waveforms([Clip(sound)], tmp_path, 1.0, rate)[0]) for rate in (RATE, 16_000)
    }
    assert lengths == {RATE: RATE, 16_000: 16_000}
    for rate, length in lengths.items():  # from the cache now
        assert len(Waveforms([Clip(sound)], tmp_path, 1.0, rate)[0]) == length
        (batch,) = batches([Clip(sound)], 1, 1.0, cache=tmp_path, rate=rate)
        assert len(batch.waveforms[0]) == length
        parts = read_spans(sound, [(0.0, 0.5), (0.5, 1.5)], rate)
        assert [len(part) for part in parts] == [rate // 2, rate]


def test_the_cache_of_an_earlier_version_is_used(sound, tmp_path):
    """The name of a file at 16 kHz, as release 0.1 computed it."""
    import hashlib
    import os

    status = sound.stat()
    source = (2, os.path.abspath(sound), status.st_size, status.st_mtime_ns)
    text = repr((*source, None, 1.0, "mix")).encode()
    digest = hashlib.blake2b(text, digest_size=16).hexdigest()
    file = tmp_path / digest[:2] / f"{digest}.npy"
    file.parent.mkdir()
    np.save(file, np.full(9, 0.5, np.float32))
    assert Waveforms([Clip(sound)], tmp_path, 1.0)[0].tolist() == [0.5] * 9


@pytest.mark.parametrize(
    ("stored", "target", "is_said"),
    [(16_000, RATE, True), (RATE, RATE, False), (44_100, RATE, False), (8_000, 16_000, False)],
)
def test_a_lower_rate_than_the_models_is_said(stored, target, is_said):
    """A 32 kHz model finds nothing above 8 kHz in 16 kHz sound."""
    samples = np.random.default_rng(0).normal(0, 0.1, stored).astype(np.float32)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        waveform = read((samples, stored), rate=target)
    assert len(waveform) == target
    notes = [str(w.message) for w in caught if w.category is SpectrimNotice]
    assert len(notes) == is_said
    if is_said:
        assert "16000 Hz is resampled to the model's 32000 Hz" in notes[0]
        assert "above 8000 Hz" in notes[0]


@pytest.mark.parametrize("rate", [16_000, RATE])
def test_the_shortest_sound_is_25_ms_at_any_rate(rate):
    samples = np.zeros(rate // 40, np.float32)
    assert len(read((samples, rate), rate=rate)) == rate // 40
    with pytest.raises(SpectrimError, match=r"lasts 24\.\d ms"):
        read((samples[:-10], rate), rate=rate)


def test_a_saved_model_keeps_its_front_end(model, sound, tmp_path):
    loaded = spectrim.load(model.save(tmp_path / "model"))
    assert loaded.config == model.config and loaded.config.sample_rate == RATE
    assert torch.equal(loaded.features(sound)[0], model.features(sound)[0])


def test_an_old_config_means_16_khz_and_kaldi(model):
    data = preset("ast-tiny", LABELS).to_dict()
    assert "front_end" not in data and "sample_rate" not in data
    config = ModelConfig.from_dict(data)
    assert (config.front_end, config.sample_rate) == ("kaldi", 16_000)


def test_a_rate_that_is_not_the_front_ends_is_refused(model):
    with pytest.raises(SpectrimError, match="'passt-mel' takes 32000 Hz"):
        replace(model.config, sample_rate=16_000)
    with pytest.raises(SpectrimError, match="no front end is called 'mel'"):
        replace(model.config, front_end="mel")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rate", "mels"), [("passt-mel", RATE, 128), ("htk-mel", 16_000, 64)]
)
def test_an_exported_file_stores_rate_and_front_end(name, rate, mels, sound, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs the extra export")
    pytest.importorskip("onnxscript", reason="needs the extra export")
    from spectrim.deploy.export import export

    model = model_of(name, rate, mels)
    exported = spectrim.load_onnx(export(model, tmp_path / "model.onnx"))
    assert exported.metadata.sampling_rate == exported.sample_rate == rate
    assert exported.metadata.front_end == name
    assert exported.window == model.config.window_samples
    waveforms = [at_rate(sound, rate), at_rate(sound, rate)[: rate // 5]]
    difference = exported.probabilities(waveforms) - TorchRunner(model).probabilities(waveforms)
    assert np.abs(difference).max() < 1e-4
    ours, theirs = spectrim.tag(model, sound, top=1), spectrim.tag(exported, sound, top=1)
    assert [(row["start"], row["labels"][0]["label"]) for row in ours] == [
        (row["start"], row["labels"][0]["label"]) for row in theirs
    ]
