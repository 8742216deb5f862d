"""What comes with the package: it is small, it is what its card says, and it works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import soundfile
import torch

import spectrim
from sample_pack import PACK_VARIANTS, SAMPLES, TRAIN_VARIANTS
from spectrim.data.builtin import sample_pack
from spectrim.data.corpora import prepare
from spectrim.data.manifest import Manifest, read_data
from spectrim.models import load as loading

DIGITS = "ast-digits"
CARD = Path(loading.__file__).parents[1] / "assets" / "models" / DIGITS


def accuracy(model, manifest: Manifest) -> float:
    clips = manifest.clips
    with torch.inference_mode():
        logits = model(*model.features([clip.path for clip in clips]))
    truth = torch.tensor([model.labels.index(clip.labels[0]) for clip in clips])
    return float((logits.argmax(1) == truth).float().mean())


def test_the_pack_is_what_it_should_be():
    manifest = read_data(sample_pack())
    files = list(sample_pack().parent.iterdir())
    assert sum(file.stat().st_size for file in files) <= 2e6
    assert len(manifest.clips) >= 100
    assert {clip.labels for clip in manifest.clips} == {
        (word,) for word in spectrim.load(DIGITS).labels
    }
    for clip in manifest.clips:
        info = soundfile.info(clip.path)
        assert (info.frames, info.samplerate, info.channels) == (SAMPLES, 16_000, 1)
        assert 0 <= clip.target_start < clip.target_end <= SAMPLES / 16_000
    assert not set(TRAIN_VARIANTS) & set(PACK_VARIANTS), "voices that training saw"


def test_the_words_are_where_the_manifest_says():
    """Sound is louder on the target than off it, in nearly every clip."""
    louder = 0
    manifest = read_data(sample_pack())
    for clip in manifest.clips:
        samples, rate = soundfile.read(clip.path)
        start, end = round(clip.target_start * rate), round(clip.target_end * rate)
        outside = [*samples[:start] ** 2, *samples[end:] ** 2]
        louder += (samples[start:end] ** 2).mean() > sum(outside) / len(outside)
    assert louder >= 0.95 * len(manifest.clips)


def test_ast_digits_keeps_its_card():
    """At least 90 % on the pack; the card's figures for it are those measured here."""
    model = spectrim.load(DIGITS)
    files = list(CARD.iterdir())
    assert sum(file.stat().st_size for file in files) <= 5.5e6
    said = re.search(
        r"sample pack \| ([\d.]+) \| ([\d.]+) \| ([\d.]+)", (CARD / "README.md").read_text()
    )
    manifest = read_data(sample_pack())
    assert accuracy(model, manifest) >= 0.90
    for rate, percent in zip((1.0, 0.7, 0.5), said.groups(), strict=True):
        found = accuracy(spectrim.prune(model, rate), manifest) * 100
        assert found == pytest.approx(float(percent), abs=1.0)  # one clip is 0.8 points


def test_ast_digits_on_official_test_recordings(data, tmp_path):
    """At least 95 % of FSDD's official test clips."""
    path, _ = prepare("fsdd", data / "FSDD", tmp_path).paths
    manifest = read_data(path).select("test")
    assert len(manifest.clips) == 300
    assert accuracy(spectrim.load(DIGITS), manifest) >= 0.95
