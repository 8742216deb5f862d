"""Mixtures: two classes of one fold, in proportion, the same for everybody."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data import trees
from spectrim.audio.decode import read
from spectrim.data.clip import Clip
from spectrim.data.corpora import prepare
from spectrim.data.corpora.mixtures import mix, plan_mixtures, plan_scenes
from spectrim.data.manifest import read_data


def fitted(path, sources):
    """How much of each source is in a mixture, and the share of energy that neither explains."""
    mixed = read(path)
    sounds = np.zeros((len(mixed), len(sources)))
    for column, source in enumerate(sources):
        samples = read(source)
        sounds[: len(samples), column] = samples
    gains, *_ = np.linalg.lstsq(sounds, mixed, rcond=None)
    return gains, np.square(mixed - sounds @ gains).sum() / np.square(mixed).sum()


def check(folder, out, expected):
    """Mixtures in `out` are sums of clips in `folder`; returns them."""
    clips_path, path = prepare("esc10", folder, out).paths
    source = {clip.path.stem: clip for clip in read_data(clips_path).clips}
    clips = read_data(path).clips
    assert len(clips) == expected
    partners = defaultdict(set)
    for number, clip in enumerate(clips):
        first, second = (source[stem] for stem in clip.path.stem.split("+"))
        assert clip.labels == first.labels + second.labels and len(set(clip.labels)) == 2
        assert clip.fold == first.fold == second.fold
        partners[first.path].add(second.path)
        if number % 40 == 0 or expected < 100:
            gains, left = fitted(clip.path, [first.path, second.path])
            assert (gains > 0).all() and left < 1e-5
    assert all(len(others) == 2 for others in partners.values()), "two different partners each"
    return clips


def test_mixtures_are_sums_of_two_clips(tmp_path):
    clips = check(trees.esc10(tmp_path / "esc"), tmp_path / "out", 24)
    for clip in clips:
        info = soundfile.info(clip.path)
        assert (info.format, info.subtype, info.samplerate, info.channels) == (
            "FLAC", "PCM_16", 16_000, 1,
        )  # fmt: skip
        assert np.abs(read(clip.path)).max() <= 0.991


@pytest.mark.slow
def test_real_esc10(data, tmp_path):
    clips = check(data / "ESC-10", tmp_path, 800)
    assert Counter(c.fold for c in clips) == dict.fromkeys("12345", 160)
    counts = Counter(c.fold for c in read_data(tmp_path / "esc10.csv").clips)
    assert counts == dict.fromkeys("12345", 80)


def test_everybody_gets_the_same(tmp_path):
    folder = trees.esc10(tmp_path / "esc")
    clips = check(folder, tmp_path / "a", 24)
    again = check(folder, tmp_path / "b", 24)
    for one, other in zip(clips, again, strict=True):
        assert one.path.name == other.path.name
        assert one.path.read_bytes() == other.path.read_bytes()
    sources = list(read_data(tmp_path / "a" / "esc10.csv").clips)
    plan = plan_mixtures(sources)
    random.Random(0).shuffle(sources)
    assert plan_mixtures(sources) == plan
    assert [m.name for m in plan] == [clip.path.name for clip in clips]


def test_levels_are_drawn_from_the_whole_range():
    clips = [Clip(Path(f"{n}.wav"), (str(n % 4),), fold="1") for n in range(400)]
    levels = [m.sounds[1].level for m in plan_mixtures(clips)]
    assert len(levels) == 800 and -5 <= min(levels) < -4.9 and 4.9 < max(levels) <= 5


@pytest.mark.parametrize("level", [-5.0, 0.0, 5.0])
def test_the_level_is_that_of_what_sounds(level):
    """A short sound in silence is as loud as one that lasts; neither clips."""
    rng = np.random.default_rng(0)
    steady = rng.normal(0, 0.02, 16_000).astype("f4")
    short = np.zeros(8_000, "f4")
    short[:1600] = rng.normal(0, 0.3, 1600)
    mixed = mix([steady, short], [0.0, level])
    sounds = np.stack([steady, np.pad(short, (0, 8000))], 1)
    a, b = np.linalg.lstsq(sounds, mixed, rcond=None)[0]
    ratio = (b * short[:1600].std()) / (a * steady.std())
    assert 20 * np.log10(ratio) == pytest.approx(level, abs=0.1)
    assert np.abs(mixed).max() <= 0.99 + 1e-6


def test_silence_mixes_without_a_fault():
    mixed = mix([np.zeros(800, "f4"), np.full(400, 0.5, "f4")], [0.0, 0.0])
    assert np.isfinite(mixed).all() and mixed[400:].max() == 0
    assert not mix([np.zeros(800, "f4")] * 2, [0.0, 3.0]).any()


def test_scenes_place_each_sound_at_its_time():
    rng = np.random.default_rng(0)
    sounds = [rng.normal(0, 0.1, 80_000).astype("f4") for _ in range(3)]
    levels, starts = [0.0, -5.0, 4.0], [1.5, 0.0, 5.0]
    mixed = mix(sounds, levels, starts, 10.0)
    assert len(mixed) == 160_000
    columns = np.zeros((160_000, 3))
    for column, (sound, start) in enumerate(zip(sounds, starts, strict=True)):
        columns[int(start * 16_000) : int(start * 16_000) + 80_000, column] = sound
    gains, *_ = np.linalg.lstsq(columns, mixed, rcond=None)
    assert np.square(mixed - columns @ gains).sum() < 1e-9 * np.square(mixed).sum()
    rms = gains * [sound.std() for sound in sounds]
    assert 20 * np.log10(rms / rms[0]) == pytest.approx(levels, abs=0.1)
    late = mix(sounds[:2], [0.0, 0.0], [0.0, 8.0], 10.0)  # the second is cut after 2 s
    assert len(late) == 160_000 and late[-1] != 0


def test_scenes_have_two_or_three_classes_of_one_fold():
    named = [
        (f"{fold}-{n}", Clip(Path("all.ogg"), (str(n % 4),), None, fold, 5.0 * n, 5.0 * n + 5))
        for fold in "12345"
        for n in range(80)
    ]
    scenes = plan_scenes(named)
    assert sorted(scene.name.split("+")[0] for scene in scenes) == sorted(n for n, _ in named)
    assert len({scene.name for scene in scenes}) == len(scenes)
    counts = Counter(len(scene.sounds) for scene in scenes)
    assert set(counts) == {2, 3} and min(counts.values()) > 150
    for scene in scenes:
        clip = scene.clip(Path(scene.name))
        assert len(set(clip.labels)) == len(clip.labels) == len(scene.sounds)
        assert {part.clip.fold for part in scene.sounds} == {clip.fold}
        assert scene.seconds == 10 and all(0 <= part.start <= 5 for part in scene.sounds)
    starts = [part.start for scene in scenes for part in scene.sounds]
    assert min(starts) < 0.1 and max(starts) > 4.9
    shuffled = list(named)
    random.Random(0).shuffle(shuffled)
    assert plan_scenes(shuffled) == scenes


def test_a_scene_states_the_licences_of_its_sounds(tmp_path):
    folder = trees.esc50_packed(tmp_path / "esc")
    (path,) = prepare("esc50-mixtures", folder, tmp_path / "out").paths
    clips = read_data(path).clips
    assert {c.licence for c in clips} >= {"CC0", "CC-BY and CC0"}
    assert all(len(c.labels) == 2 and soundfile.info(c.path).duration == 10 for c in clips)
    (part,) = prepare("esc50-mixtures", folder, tmp_path / "out", shareable=True).paths
    assert part.name == "esc50-mixtures-shareable.csv"
    shareable = [c for c in clips if "NC" not in c.licence]
    assert [c.path.name for c in read_data(part).clips] == [c.path.name for c in shareable]


def test_both_layouts_of_esc50_give_the_same_scenes(tmp_path):
    published, packed = trees.esc50(tmp_path / "a"), tmp_path / "b"
    rows = ["path,label,fold,start,end,clip"]
    for number, (label, category) in enumerate((("Dog", "dog"), ("Rain", "rain"), ("Pig", "pig"))):
        files = [published / "audio" / f"{fold}-{number}00-A-{number}.wav" for fold in range(1, 6)]
        for take, file in enumerate(files):
            start = take * 0.05
            times, name = f"{start},{start + 0.05}", file.stem.removesuffix(f"-{number}")
            rows.append(f"{category}.wav,{label},{take + 1},{times},{name}")
        packed.mkdir(exist_ok=True)
        together = np.concatenate([read(file) for file in files])
        soundfile.write(packed / f"{category}.wav", together, 16_000)
    trees.text(packed / "esc50.csv", *rows)
    manifests = [
        prepare("esc50-mixtures", folder, tmp_path / f"out-{folder.name}").paths[0]
        for folder in (published, packed)
    ]
    names = [[clip.path.name for clip in read_data(path).clips] for path in manifests]
    labels = [[clip.labels for clip in read_data(path).clips] for path in manifests]
    assert names[0] == names[1] and labels[0] == labels[1] and len(names[0]) == 15


def test_a_fold_of_one_class_has_none(tmp_path):
    trees.sound(tmp_path / "esc" / "001 - Dog bark" / "1-1-A.ogg")
    trees.sound(tmp_path / "esc" / "001 - Dog bark" / "1-1-B.ogg")
    assert [p.name for p in prepare("esc10", tmp_path / "esc", tmp_path / "out").paths] == [
        "esc10.csv"
    ]


def test_an_unreadable_source_is_said_and_the_rest_mixed(tmp_path):
    folder = trees.esc10(tmp_path / "esc")
    (folder / "002 - Rain" / "1-200-A.ogg").write_bytes(b"no sound")
    ticks = []
    result = prepare(
        "esc10", folder, tmp_path / "out", tick=lambda done, total: ticks.append((done, total))
    )
    assert ticks == [(n, 24) for n in range(1, 25)]
    (failure,) = result.failures
    assert "1-200-A.ogg: not readable" in failure
    left = read_data(result.paths[1]).clips
    assert 12 <= len(left) < 24 and not any("1-200-A" in c.path.name for c in left)
