"""What a sweep does beyond what its command shows."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.data.builtin import sample_pack
from spectrim.data.manifest import Manifest, read_data
from spectrim.evaluation import sweep as module
from spectrim.evaluation.sweep import sweep, variants_of
from spectrim.evaluation.timing import Timing


def test_a_spent_budget_leaves_three_rounds_of_timing():
    model = spectrim.load("ast-digits")
    pack = read_data(sample_pack())
    few = Manifest(pack.source, pack.clips[:4])
    variants = variants_of(model, "ast-digits", [1.0, 0.5], ["attention"], [3, 6, 9], 0)
    found = sweep(variants, few, batch_size=4, rounds=20, budget=0.0)
    assert [row["timing_rounds"] for row in found.rows[1:]] == [3]


def test_milliseconds_are_of_a_clip(monkeypatch):
    times = [Timing(0.8, 1.0, 3), Timing(0.4, 2.0, 3)]
    monkeypatch.setattr(module, "interleaved", lambda *words, **more: times)
    model = spectrim.load("ast-digits")
    pack = read_data(sample_pack())
    few = Manifest(pack.source, pack.clips[:4])
    variants = variants_of(model, "ast-digits", [0.5], ["attention"])
    found = sweep(variants, few, batch_size=4)
    assert [row["ms_per_clip"] for row in found.rows] == pytest.approx([200, 100])


def test_rows_hold_each_variant_against_the_unpruned_model(monkeypatch):
    monkeypatch.setattr(
        module, "interleaved", lambda calls, *words, **more: [Timing(1.0, 1.0, 3)] * len(calls)
    )
    model = spectrim.load("ast-digits")
    pack = read_data(sample_pack())
    clips = pack.clips[:12]
    variants = variants_of(model, "x", [0.3], ["attention", "intensity"])
    rows = sweep(variants, Manifest(pack.source, clips), batch_size=5).rows
    centres = 0.0875 + 0.16 * np.arange(8)  # seconds, of the columns of 16 frames
    spans = [(clip.target_start <= centres) & (centres <= clip.target_end) for clip in clips]
    truth = np.array([model.labels.index(clip.labels[0]) for clip in clips])
    with torch.no_grad():
        heard = model.features([clip.path for clip in clips])
        plain = model(*heard).argmax(1).numpy()
        for row, score in zip(rows[1:], ["attention", "intensity"], strict=True):
            trace = spectrim.prune(model, 0.3, score).trace(*heard)
            own = trace.logits.argmax(1).numpy()
            same = row["agreement"]["top1"]["value"]
            assert same == (own == plain).mean() < 1
            assert row["value"] == (own == truth).mean()
            change = (own == truth).mean() - (plain == truth).mean()
            assert row["difference"]["value"] == pytest.approx(change) and change < 0
            columns = trace.kept[9][..., 0].tolist()
            shares = [span[kept].mean() for span, kept in zip(spans, columns, strict=True)]
            assert row["kept_on_target"] == pytest.approx(np.mean(shares))
            assert row["all_on_target"] == pytest.approx(np.mean(spans))
            assert abs(row["kept_on_target"] - row["all_on_target"]) > 0.01
    assert rows[0]["kept_on_target"] == pytest.approx(np.mean(spans))
    assert (rows[0]["agreement"]["top1"]["value"], rows[0]["difference"]["value"]) == (1, 0)


def test_the_channel_of_the_clips_is_read_and_recorded(monkeypatch, tmp_path):
    """Words in one of three channels, noise in another: rows equal those of the words alone."""
    monkeypatch.setattr(
        module, "interleaved", lambda calls, *words, **more: [Timing(1.0, 1.0, 3)] * len(calls)
    )
    model, clips = spectrim.load("ast-digits"), read_data(sample_pack()).clips[:3]
    noise = np.random.default_rng(0)
    lines = ["path,label"]
    for number, clip in enumerate(clips):
        word, rate = soundfile.read(clip.path, dtype="float32")
        other = noise.normal(0, 0.3, len(word)).astype(np.float32)
        many = np.stack([other, word, other], 1)
        soundfile.write(tmp_path / f"{number}.wav", many, rate, subtype="FLOAT")
        lines.append(f"{number}.wav,{clip.labels[0]}")
    (tmp_path / "m.csv").write_text("\n".join(lines))
    manifest = read_data(tmp_path / "m.csv")
    variants = variants_of(model, "x", [0.5], ["variation"])

    def probabilities(data):
        result = sweep(variants, data, batch_size=2)
        assert {str(row["channel"]) for row in result.rows} == {str(data.channel)}
        return np.stack(result.probabilities)

    alone = probabilities(Manifest(manifest.source, clips))
    np.testing.assert_allclose(probabilities(manifest.with_channel("1")), alone, atol=1e-6)
    assert np.abs(probabilities(manifest) - alone).max() > 0.05
    assert np.abs(probabilities(manifest.with_channel("loudest")) - alone).max() > 0.05
    with pytest.raises(SpectrimError, match="a channel of -1"):
        manifest.with_channel(-1)
