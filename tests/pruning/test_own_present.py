"""A score and a reduction of a user's own that handle clips with different numbers of patches."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from ragged import GRID, ragged

import extensions
import spectrim
from calls import call_spectrim
from spectrim.models.build import prune
from spectrim.pruning.plan import Plan
from spectrim.pruning.stage import Stage, kept

OWN = {"score": "extensions:distinct", "reduction": "extensions:join"}


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("counts", [(30, 30), (39, 22, 7, 1)])
def test_join_equals_a_slow_loop(counts, merged):
    for prefix in (0, 1, 2):
        batch = ragged(counts, prefix, seed=prefix, merged=merged)
        left = batch.run(Stage(1, 0.5, score=extensions.distinct, reduction=extensions.join))
        for clip, count in enumerate(counts):
            keys = batch.attention.k[clip, :, prefix : prefix + count].mean(0)
            scores = [float((key - keys.mean(0)).norm()) for key in keys]
            order = sorted(range(count), key=lambda j: -scores[j])
            best = order[: kept(0.5, count)]
            if len(best) == count:  # nothing leaves: the order stays
                best = list(range(count))
            groups = {j: [j] for j in best}
            x = batch.tokens.patches[clip]
            for j in order:
                if j not in groups:
                    cosine = {i: float(x[i] @ x[j] / x[i].norm() / x[j].norm()) for i in best}
                    groups[max(cosine, key=cosine.__getitem__)].append(j)
            held = batch.tokens.holders(GRID.count)[clip].tolist()
            now = left.holders(GRID.count)[clip].tolist()
            present = left.count if left.present is None else int(left.present[clip].sum())
            assert present == len(best)
            for place, j in enumerate(best):
                sizes = [held.count(i) for i in groups[j]]
                mean = sum(x[i] * s for i, s in zip(groups[j], sizes, strict=True)) / sum(sizes)
                torch.testing.assert_close(left.patches[clip, place], mean, rtol=0, atol=1e-12)
                assert left.origin[clip, place] == batch.tokens.origin[clip, j]
                patches = [p for p, at in enumerate(held) if at in groups[j]]
                assert [p for p, at in enumerate(now) if at == place] == patches


@pytest.mark.parametrize("family", ["ast", "audiomae"])
def test_a_clip_of_a_batch_is_the_clip_alone(make, heard, family):
    """After ATS and with unequal masks of patches."""
    model = make(family, dtype=torch.float64, depth=5)
    sampled = Stage(1, 0.9, score="random", reduction="ats")
    model = model.with_plan(Plan((sampled, *(Stage(block, 0.7, **OWN) for block in (2, 3)))))
    features, valid = heard("dog", "rain", "digit")
    generator = torch.Generator().manual_seed(0)
    ranks = torch.rand(3, 64, generator=generator).argsort(1)
    keep = ranks < torch.tensor([[64], [31], [12]])
    together = model(features, valid, keep=keep)
    for clip in range(3):
        one = slice(clip, clip + 1)
        alone = model(features[one], valid[one], keep=keep[one])
        torch.testing.assert_close(together[one], alone, rtol=0, atol=1e-6)


def test_it_is_swept_by_name(tmp_path, clips):
    (tmp_path / "clips").mkdir()
    for name in ("digit", "word"):
        (tmp_path / "clips" / f"{name}.wav").write_bytes(clips[name].read_bytes())
    parts = ("--reductions", OWN["reduction"], "--scores", OWN["score"])
    sweep = ("sweep", "--model", "ast-digits", "--data", "clips", "--no-timing", "--json")
    done = call_spectrim((*sweep, "--keep-rates", "0.5", *parts), tmp_path)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["rows"][-1]
    pruned = prune(spectrim.load("ast-digits"), 0.5, **OWN)
    assert row["gmacs"] == spectrim.macs(pruned) / 1e9


@pytest.mark.slow
def test_it_is_analyzed_by_name(tmp_path, clips):
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "digit.wav").write_bytes(clips["digit"].read_bytes())
    parts = ("--reduction", OWN["reduction"], "--scores", OWN["score"], "--examples", "0")
    words = ("analyze", "--model", "ast-digits", "--data", "clips", "--sample", "100", *parts)
    done = call_spectrim(words, tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "spectrim-analysis" / "results.json").read_text())
    assert {row["reduction"] for row in results["rows"]} <= {OWN["reduction"], None}
    assert any(row["reduction"] for row in results["rows"])


@pytest.mark.slow
def test_it_is_exported(make, heard, tmp_path):
    pytest.importorskip("onnxruntime", reason="export needs onnxruntime")
    pytest.importorskip("onnxscript", reason="export needs onnxscript")
    pruned = prune(make("ast", depth=2), 0.6, blocks=(0,), **OWN)
    path = spectrim.export(pruned, tmp_path / "own.onnx", input="features")
    features, valid = heard("dog", "rain")
    with torch.inference_mode():
        expected = pruned(features, valid).numpy()
    logits = spectrim.load_onnx(path, threads=1).run(features.numpy(), valid.numpy(), "logits")
    np.testing.assert_allclose(logits, expected, atol=1e-3)
