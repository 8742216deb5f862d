"""What a sweep does beyond what its command shows."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.common.interruption import Stopped
from spectrim.data.builtin import sample_pack
from spectrim.data.manifest import Manifest, read_data
from spectrim.evaluation import runner_times as module
from spectrim.evaluation.predict import growing_batches
from spectrim.evaluation.sweep import evaluate, sweep, with_times
from spectrim.evaluation.timing import Timing
from spectrim.evaluation.variants import variants_of


@pytest.fixture
def few():
    pack = read_data(sample_pack())
    return Manifest(pack.source, pack.clips[:4])


def test_a_budget_of_0_times_nothing(few, monkeypatch):
    def never(*words, **more):
        raise AssertionError("timed")

    monkeypatch.setattr(module, "interleaved_within", never)
    variants = variants_of(spectrim.load("ast-digits"), "x", [0.5], ["attention"])
    rows = sweep(variants, few, batch_size=4, budget=0).rows
    for row in rows:
        assert (row["ms_per_clip"], row["speedup"], row["timing_rounds"]) == (None, None, 0)
        assert row["agreement"]["clips"] == 4


def test_variants_are_timed_in_the_order_of_their_importance(few, monkeypatch):
    """The last of the order does not fit: its row keeps its agreement and has no time."""
    times = [Timing(0.8, 1.0, 3), Timing(0.4, 2.0, 3), None]
    monkeypatch.setattr(module, "interleaved_within", lambda *words, **more: times)
    variants = variants_of(spectrim.load("ast-digits"), "x", [0.9, 0.7, 0.5], ["attention"])
    result = evaluate(variants, few, batch_size=4)
    timed = with_times(result, variants, few, batch_size=4, budget=9, order=[3, 1])
    assert [row["speedup"] for row in timed.rows] == [1.0, None, None, 2.0]
    assert [row["agreement"] for row in timed.rows] == [row["agreement"] for row in result.rows]


def test_ctrl_c_in_timing_keeps_the_times_so_far(few, monkeypatch):
    def interrupt(*words, **more):
        raise Stopped([Timing(0.8, 1.0, 1), Timing(0.4, 2.0, 1), None])

    monkeypatch.setattr(module, "interleaved_within", interrupt)
    variants = variants_of(spectrim.load("ast-digits"), "x", [0.9, 0.5], ["attention"])
    with pytest.raises(Stopped) as stopped:
        sweep(variants, few, batch_size=4)
    assert [row["speedup"] for row in stopped.value.result.rows] == [1.0, 2.0, None]


def test_ctrl_c_among_the_clips_keeps_the_rows_of_the_clips_so_far(few):
    """After the first batch, which is one clip; before it nothing is known."""
    variants = variants_of(spectrim.load("ast-digits"), "x", [0.5], ["attention"])

    def interrupt_at(batch):
        calls = []

        def steps(kind, done):
            calls.append(done)
            if len(calls) == batch + 1:  # the first call reports the resumed clips
                raise KeyboardInterrupt

        return steps

    with pytest.raises(Stopped) as stopped:
        sweep(variants, few, batch_size=2, steps=interrupt_at(1))
    pack = Manifest(few.source, few.clips[:1])
    expected = evaluate(variants, pack, batch_size=2).rows
    assert stopped.value.result.rows == [row | {"clips_asked": len(few.clips)} for row in expected]
    with pytest.raises(KeyboardInterrupt) as nothing:
        sweep(variants, few, batch_size=2, steps=interrupt_at(0))
    assert not isinstance(nothing.value, Stopped)


def test_milliseconds_are_of_a_clip(monkeypatch):
    times = [Timing(0.8, 1.0, 3), Timing(0.4, 2.0, 3)]
    monkeypatch.setattr(module, "interleaved_within", lambda *words, **more: times)
    model = spectrim.load("ast-digits")
    pack = read_data(sample_pack())
    few = Manifest(pack.source, pack.clips[:4])
    variants = variants_of(model, "ast-digits", [0.5], ["attention"])
    found = sweep(variants, few, batch_size=4)
    assert [row["ms_per_clip"] for row in found.rows] == pytest.approx([200, 100])


def test_rows_hold_each_variant_against_the_unpruned_model():
    model = spectrim.load("ast-digits")
    pack = read_data(sample_pack())
    clips = pack.clips[:24]
    variants = variants_of(model, "x", [0.3], ["attention", "intensity"])
    rows = evaluate(variants, Manifest(pack.source, clips), batch_size=5).rows
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
        module,
        "interleaved_within",
        lambda calls, *words, **more: [Timing(1.0, 1.0, 3)] * len(calls),
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


def test_batches_grow_and_a_resumed_pass_has_the_same():
    pack = read_data(sample_pack()).clips[:50]

    def sizes(start):
        batches = growing_batches(pack, 16, 0.1, start)
        return [(first + batch.positions[0], len(batch.positions)) for first, batch in batches]

    whole = sizes(0)
    assert whole == [(0, 1), (1, 2), (3, 4), (7, 8), (15, 16), (31, 16), (47, 3)]
    for done, (start, _) in enumerate(whole):
        assert sizes(start) == whole[done:]
    few = growing_batches(pack[:10], 3, 0.1)
    assert [len(batch.positions) for _, batch in few] == [1, 2, 3, 3, 1]
