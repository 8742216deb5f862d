"""Sounds as other libraries hold them: rows of datasets, inputs of pipelines, tensors, archives."""

from __future__ import annotations

import gzip
import io
import types
import zipfile

import numpy as np
import pytest
import soundfile
import torch

from spectrim.audio.decode import duration_of, read, sound_name
from spectrim.common.errors import SpectrimError
from spectrim.deploy.tag import tag

RATE = 8000
rng = np.random.default_rng(0)
STEREO = rng.normal(0, 0.1, (RATE, 2)).astype(np.float32)  # (samples, channels)
MONO = STEREO[:, 0].copy()


def rows(samples: np.ndarray) -> list[dict]:
    """Channels first, as datasets and transformers hold them."""
    return [
        {"array": samples, "sampling_rate": RATE},
        {"path": "a.wav", "array": samples, "sampling_rate": RATE},
        {"raw": samples, "sampling_rate": RATE},
        {"array": torch.from_numpy(samples.copy()), "sampling_rate": torch.tensor(RATE)},
        {"array": samples.tolist(), "sampling_rate": RATE},
    ]


def test_rows_equal_the_array():
    expected = read((MONO, RATE))
    for row in rows(MONO) + rows(MONO[None]):
        assert np.array_equal(read(row), expected)
        assert np.array_equal(read(row, 0.25, 0.75), read((MONO, RATE), 0.25, 0.75))
        assert duration_of(row) == 1.0
    assert sound_name(rows(MONO)[0]) == "(samples, rate)"
    assert sound_name(rows(MONO)[1]) == "a.wav"
    for channel in (0, 1, "mix", "loudest"):
        for row in rows(STEREO.T):
            assert np.array_equal(read(row, channel=channel), read((STEREO, RATE), channel=channel))


def test_tensors_are_channels_first_and_arrays_samples_first():
    for channel in (0, 1, "mix"):
        expected = read((STEREO, RATE), channel=channel)
        tensor = torch.from_numpy(STEREO.T.copy())
        for sound in (tensor, tensor.double(), tensor.requires_grad_()):
            assert np.array_equal(read((sound, RATE), channel=channel), expected)
    for tensor in (torch.from_numpy(MONO), torch.from_numpy(MONO)[None]):
        assert np.array_equal(read((tensor, RATE)), read((MONO, RATE)))
    with pytest.raises(SpectrimError, match=r"shape \(8000, 2\); tensors.*\(channels, samples\)"):
        read((torch.from_numpy(STEREO), RATE))
    with pytest.raises(SpectrimError, match=r"shape \(8000, 2\).*Transpose"):
        read({"array": STEREO, "sampling_rate": RATE})
    with pytest.raises(SpectrimError, match="Transpose channels-first arrays"):
        read((STEREO.T, RATE))


def test_integers_of_rows_and_tensors_are_scaled():
    pcm = np.round(STEREO.T * 32768).astype(np.int16)
    expected = read((pcm.T.astype(np.float32) / 32768, RATE))
    for sound in ((torch.from_numpy(pcm), RATE), {"array": pcm, "sampling_rate": RATE}):
        assert np.abs(read(sound) - expected).max() < 1e-7
    with pytest.raises(SpectrimError, match="type int64"):
        read((torch.from_numpy(pcm).long(), RATE))


def test_rows_that_are_not_decoded_and_decoders_of_torchcodec(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, STEREO, RATE, subtype="FLOAT")
    expected = read(path)
    for row in (
        {"bytes": path.read_bytes(), "path": "a.wav"},
        {"bytes": None, "path": str(path)},
        {"path": str(path)},
    ):
        assert np.array_equal(read(row), expected)
    assert duration_of({"path": str(path)}) == 1.0
    samples = types.SimpleNamespace(data=torch.from_numpy(STEREO.T.copy()), sample_rate=RATE)
    decoder = types.SimpleNamespace(get_all_samples=lambda: samples)
    assert np.array_equal(read(decoder), expected)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"audio": {"array": MONO, "sampling_rate": RATE}, "label": 3}, r"Pass row\['audio'\]"),
        ({"array": MONO}, r"keys 'array' is not a sound\. Expected \{'array', 'sampling_rate'\}"),
        ({"array": MONO, "sampling_rate": 0}, "rate of 100 to"),
        ({"array": [[1.0], [1.0, 2.0]], "sampling_rate": RATE}, "cannot be converted"),
        ({"array": np.zeros((2, 2, 2)), "sampling_rate": RATE}, r"shape \(2, 2, 2\)"),
        ({}, "an empty dictionary is not a sound"),
        ("https://host/a.wav", "addresses are not fetched. Download"),
    ],
)
def test_what_is_refused(row, words):
    with pytest.raises(SpectrimError, match=words):
        read(row)


def test_members_of_archives(tmp_path):
    file = io.BytesIO()
    soundfile.write(file, STEREO, RATE, format="FLAC")
    expected = read(file.getvalue())
    path = tmp_path / "a.zip"
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(path, "w", kind) as archive:
            archive.writestr("folder/a.flac", file.getvalue())
        with zipfile.ZipFile(path) as archive, archive.open("folder/a.flac") as member:
            for channel in ("mix", "loudest"):  # the loudest channel needs a second reading
                assert len(read(member, channel=channel)) == len(expected)
            assert np.array_equal(read(member), expected)
            assert sound_name(member) == "folder/a.flac"
        with zipfile.ZipFile(path) as archive:
            for wrong in (archive, zipfile.Path(archive, "folder/a.flac")):
                with pytest.raises(SpectrimError, match=r"Pass one of its members: archive\.open"):
                    read(wrong)
    data = bytearray(path.read_bytes())
    data[200] ^= 0xFF  # within the member
    path.write_bytes(data)
    damaged = pytest.raises(SpectrimError, match=r"folder/a\.flac: cannot be decompressed")
    with zipfile.ZipFile(path) as archive, archive.open("folder/a.flac") as member, damaged:
        read(member)
    with gzip.open(tmp_path / "a.gz", "wb") as packed:
        packed.write(file.getvalue())
    with gzip.open(tmp_path / "a.gz") as packed:
        assert np.array_equal(read(packed), expected)


def test_features_and_tag_take_every_kind(make):
    model = make("ast")
    row, pair = {"array": MONO, "sampling_rate": RATE}, (torch.from_numpy(MONO)[None], RATE)
    expected, valid = model.features((MONO, RATE))
    for sounds in (row, pair, [row], (row for _ in range(1))):
        features, frames = model.features(sounds)
        assert torch.equal(features, expected) and torch.equal(frames, valid)
    by_row, by_array = tag(model, [row, row]), tag(model, (MONO, RATE))
    assert [line["labels"] for line in by_row] == [by_array[0]["labels"]] * 2
