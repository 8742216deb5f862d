"""Clips of one file, decoded in one pass, are those that `read` returns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from spectrim.audio.decode import read
from spectrim.common.errors import SpectrimError
from spectrim.data import one_pass
from spectrim.data.clip import Clip
from spectrim.data.one_pass import decode_clips, read_spans


def write(path: Path, seconds: float, rate: int = 16_000, seed: int = 0) -> Path:
    noise = np.random.default_rng(seed).uniform(-0.4, 0.4, int(seconds * rate))
    soundfile.write(path, noise, rate)
    return path


def same(one, other) -> bool:
    if isinstance(one, SpectrimError):
        return str(one) == str(other)
    return one.dtype == np.float32 and np.array_equal(one, other)


def expected(path, span):
    try:
        return read(path, *span)
    except SpectrimError as error:
        return error


SPANS = [
    (2.0, 3.0), (0.0, 1.0), (1.0, 2.0), (2.5, 3.5), (2.0, 3.0), (3.0, None), (0.123, 0.4567),
    (3.9, 9.0), (7.0, 8.0), (1.0, 1.001),
]  # fmt: skip


@pytest.mark.parametrize("name", ["a.wav", "a.ogg", "a.flac"])
@pytest.mark.parametrize("rate", [16_000, 44_100, 8000])
def test_parts_are_those_that_read_returns(tmp_path, name, rate):
    path = write(tmp_path / name, 4.0, rate)
    parts = read_spans(path, SPANS)
    assert len(parts) == len(SPANS)
    for part, span in zip(parts, SPANS, strict=True):
        assert same(part, expected(path, span)), span
    assert [isinstance(part, SpectrimError) for part in parts] == [False] * 8 + [True, True]


def test_a_file_is_decoded_once_and_its_clips_keep_their_order(tmp_path, monkeypatch):
    paths = [write(tmp_path / f"{n}.ogg", 3.0, seed=n) for n in range(2)]
    clips = [Clip(paths[n % 2], start=n // 2 * 0.5, end=n // 2 * 0.5 + 0.5) for n in range(12)]
    wanted = [read(clip.path, clip.start, clip.end) for clip in clips]
    passes = []

    def blocks(path, rate):
        passes.append(path)
        return decoder(path, rate=rate)

    decoder = one_pass.blocks
    monkeypatch.setattr(one_pass, "blocks", blocks)
    monkeypatch.setattr(one_pass, "read", None)
    with ThreadPoolExecutor(2) as pool:
        decoded = list(decode_clips(clips, pool))
    assert sorted(passes) == paths
    assert all(same(*pair) for pair in zip(decoded, wanted, strict=True))


def test_a_few_clips_of_a_long_file_are_sought(tmp_path, monkeypatch):
    path = write(tmp_path / "long.flac", 30.0)
    spans = [(1.0, 2.0), (28.0, 29.0)]
    wanted = [read(path, *span) for span in spans]
    monkeypatch.setattr(one_pass, "blocks", None)
    assert all(same(*pair) for pair in zip(read_spans(path, spans), wanted, strict=True))


def test_the_limit_of_seconds_holds_for_each_clip(tmp_path):
    path = write(tmp_path / "a.wav", 4.0)
    clips = [Clip(path, start=1.0, end=3.0), Clip(path, start=3.0), Clip(path)]
    with ThreadPoolExecutor(1) as pool:
        decoded = list(decode_clips(clips, pool, 1.5))
    assert [len(waveform) for waveform in decoded] == [24_000, 16_000, 24_000]


def test_clips_that_cannot_be_read_give_their_errors(tmp_path):
    good = write(tmp_path / "good.wav", 2.0)
    bad = tmp_path / "bad.ogg"
    bad.write_bytes(b"no sound at all")
    damaged = write(tmp_path / "damaged.flac", 4.0)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2 :] = b"\xff" * (len(content) - len(content) // 2)
    damaged.write_bytes(content)
    clips = [Clip(bad, start=float(n), end=n + 1.0) for n in range(2)]
    clips += [Clip(damaged, start=float(n), end=n + 1.0) for n in range(4)]
    clips += [Clip(tmp_path / "gone.wav"), Clip(good, start=0.0, end=1.0)]
    with ThreadPoolExecutor(2) as pool:
        decoded = list(decode_clips(clips, pool))
    for waveform, clip in zip(decoded, clips, strict=True):
        assert same(waveform, expected(clip.path, (clip.start, clip.end))), clip
    assert isinstance(decoded[0], SpectrimError) and "bad.ogg" in str(decoded[0])
    assert isinstance(decoded[2], np.ndarray) and isinstance(decoded[5], SpectrimError)
    assert "gone.wav" in str(decoded[6]) and len(decoded[7]) == 16_000
