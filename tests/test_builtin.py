"""What comes with the package: it is small, it is what its card says, and it works."""

from __future__ import annotations

import re

import pytest
import soundfile
import torch

import spectrim
from sample_pack import PACK_VARIANTS, SAMPLES, TRAIN_VARIANTS
from spectrim.audio.decode import read
from spectrim.data.builtin import sample_pack
from spectrim.data.corpora import CORPORA
from spectrim.data.manifest import Manifest, read_data
from spectrim.models.builtin_models import builtin_names, card

DIGITS = "ast-digits"


def accuracies(model, manifest: Manifest, rates: list[float]) -> list[float]:
    """Percent at each keep rate, pruned by attention."""
    clips, variants = manifest.clips, [spectrim.prune(model, rate) for rate in rates]
    right = torch.zeros(len(rates))
    for start in range(0, len(clips), 300):  # a part of 5 s clips takes 80 MB of features
        part = clips[start : start + 300]
        truth = torch.tensor([model.labels.index(clip.labels[0]) for clip in part])
        sounds = [(read(clip.path, clip.start, clip.end), 16_000) for clip in part]
        with torch.inference_mode():
            features = model.features(sounds)
            logits = torch.stack([variant(*features) for variant in variants])
        right += (logits.argmax(2) == truth).sum(1)
    return (100 * right / len(clips)).tolist()


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


# Held-out clips of each kind of model: folder and corpus, manifest, split, fold; and the lowest
# accuracy that a model of this kind must have without pruning.
HELD_OUT = {
    "digits": ("FSDD", "fsdd", "fsdd-digit", "test", None, 97),
    "words": ("ArabicSpeechCommands", "arabicspeechcommands", "words", "test", None, 85),
    "esc50": ("ESC-50", "esc50", "esc50", None, "5", 40),
}


@pytest.mark.parametrize("name", ["ast-digits", "audiomae-digits"])
def test_digits_on_the_pack(name):
    """At least 90 %; the card's figures for the pack are those measured here."""
    model, manifest = spectrim.load(name), read_data(sample_pack())
    lines = card(name).text.splitlines()
    stated = stated_accuracies(lines, "sample pack")
    measured = accuracies(model, manifest, list(stated))
    assert measured[0] >= 90 and set(stated) >= {1.0, 0.7, 0.5}
    assert measured == pytest.approx(list(stated.values()), abs=1.0)  # or one clip


def stated_accuracies(lines: list[str], clips: str) -> dict[float, float]:
    """By keep rate, accuracies by attention in the table whose rows or header name these clips."""
    header: list[str] = []
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if "keep rate" in line:
            header = cells
        is_here = clips in cells[0] or (header and clips in header[0])
        by_other = any(score in cells[0] for score in ("intensity", "variation"))
        if is_here and not by_other and re.fullmatch(r"[\d.]+", cells[-1]) and cells != header:
            rates = [float(cell.removeprefix("keep rate ")) for cell in header[1:]]
            return dict(zip(rates, map(float, cells[1:]), strict=True))
    raise AssertionError(f"no accuracies on {clips}")


@pytest.mark.slow
@pytest.mark.parametrize("name", builtin_names())
def test_a_model_keeps_its_card(name, data):
    """Accuracy on the held-out clips, as `spectrim models` shows it."""
    folder, corpus, manifest, split, fold, least = HELD_OUT[name.split("-")[1]]
    if not (data / folder).is_dir():
        pytest.skip(f"{data / folder} is absent")
    clips = CORPORA[corpus](data / folder).manifests[manifest]
    held_out = Manifest(data, tuple(clips)).select(split, fold)
    assert f"{len(held_out.clips):,}" in card(name).held_out
    stated = {float(rate): value for rate, value in card(name).accuracy.items()}
    assert set(stated) >= {1.0, 0.7, 0.5}
    measured = accuracies(spectrim.load(name), held_out, list(stated))
    assert measured[0] >= least
    # At most one clip, where a cut is a tie.
    assert measured == pytest.approx(list(stated.values()), abs=1.3)


def test_every_kind_of_model_has_an_ast_and_an_audiomae():
    kinds = {name.split("-")[1] for name in builtin_names()}
    assert builtin_names() == sorted(f"{family}-{kind}" for family in ("ast", "audiomae")
                                     for kind in kinds)  # fmt: skip
    assert kinds <= set(HELD_OUT)
    for name in builtin_names():
        assert not spectrim.load(name).plan.stages
