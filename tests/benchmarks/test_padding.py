"""Which removed tokens were padding, silence or sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import spectrim


@pytest.fixture
def padding(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks" / "reductions")
    import padding

    return padding


def test_a_token_that_holds_sound_removed_the_others(padding):
    held = np.array([0, 0, 0, 1, 1, 2, 2, 3, 4, 4])
    kind = np.array([0, 0, 2, 1, 2, 2, 2, 0, 0, 1])
    # Token 0: one sound, one padding; 1: one padding; 2: one padding; 3: none; 4: one silence.
    assert padding.removed(held, kind).tolist() == [1, 1, 3]
    assert padding.removed(held, kind).sum() == len(held) - 5


def test_kinds_of_patches_of_a_planted_clip(padding):
    """Loud noise, then faint noise, then nothing; in columns of 16 frames of 10 ms."""
    model = spectrim.create("ast-tiny", frames=128, classes=2)
    noise = np.random.default_rng(0).normal(0, 1, 14_400).astype(np.float32)
    noise[:6_400] *= 0.3
    noise[6_400:] *= 1e-4  # 70 dB less
    kinds = padding.kinds_of(model, *model.features([(noise, 16_000)]))
    columns = model.grid.locate(torch.arange(64))[:, 0].numpy()
    assert (kinds[0, columns <= 1] == 0).all()
    assert (kinds[0, (columns >= 3) & (columns <= 4)] == 1).all()
    assert (kinds[0, columns >= 6] == 2).all()
