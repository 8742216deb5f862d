"""What a sweep does beyond what its command shows."""

from __future__ import annotations

import pytest

import spectrim
from spectrim.data.builtin import sample_pack
from spectrim.data.manifest import Manifest, read_data
from spectrim.evaluation import sweep as module
from spectrim.evaluation.sweep import sweep, variants_of
from spectrim.evaluation.timing import Timing


def test_a_spent_budget_leaves_three_rounds_of_timing():
    model = spectrim.load("ast-digits")
    pack = read_data(sample_pack())
    few = Manifest(pack.source, pack.clips[:4])
    variants = variants_of(model, [1.0, 0.5], ["attention"], [3, 6, 9], 0)
    found = sweep(model, "ast-digits", few, variants, batch_size=4, rounds=20, budget=0.0)
    assert [row["timing_rounds"] for row in found.rows[1:]] == [3]


def test_milliseconds_are_of_a_clip(monkeypatch):
    times = [Timing(0.8, 1.0, 3), Timing(0.4, 2.0, 3)]
    monkeypatch.setattr(module, "interleaved", lambda *words, **more: times)
    model = spectrim.load("ast-digits")
    pack = read_data(sample_pack())
    few = Manifest(pack.source, pack.clips[:4])
    variants = variants_of(model, [0.5], ["attention"])
    found = sweep(model, "ast-digits", few, variants, batch_size=4)
    assert [row["ms_per_clip"] for row in found.rows] == pytest.approx([200, 100])
