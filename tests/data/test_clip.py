"""Names that tell clips apart."""

from __future__ import annotations

from pathlib import Path

from spectrim.data.clip import Clip, clip_names


def test_names_tell_clips_apart_wherever_the_corpus_lies():
    for root in (Path("/data/a"), Path("/elsewhere/b")):
        plain = [Clip(root / "bed" / "1.wav"), Clip(root / "cat" / "2.wav")]
        assert clip_names(plain) == ["1.wav", "2.wav"]
        words = [Clip(root / "bed" / "1.wav"), Clip(root / "cat" / "1.wav")]
        assert clip_names(words) == ["bed/1.wav", "cat/1.wav"]
        parts = [Clip(root / "1.wav", start=0.0, end=1.0), Clip(root / "1.wav", start=1.0)]
        assert clip_names([*parts, parts[0]]) == [
            "1.wav 0.0-1.0", "1.wav 1.0-None", "1.wav 0.0-1.0 #2"
        ]  # fmt: skip
    assert clip_names([]) == []
