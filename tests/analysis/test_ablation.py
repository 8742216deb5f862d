"""Table IV: masking equals really removing, clip by clip; empty clips are counted."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from parameters import each_value
from pruning import oracle
from sounds import burst, manifest, noise, silence
from spectrim.analysis.ablation.ablate import DROPPED, ablate
from spectrim.analysis.ablation.outputs import Cut, cut_outputs, random_patches
from spectrim.analysis.first_pass import first_pass
from spectrim.analysis.patch_statistics import View, patches_of
from spectrim.common.errors import SpectrimError

FAMILIES = ("ast", "audiomae")
each_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Of different loudness, so that clusters differ in size from clip to clip."""
    waves = [burst(300 * 2**n, 0.2 * n, 0.2 * n + 0.3) for n in range(4)]
    waves += [noise(1.3, level, 1) for level in (0.5, 0.02)] + [noise(0.5, 0.1, 3), silence()]
    return manifest(tmp_path_factory.mktemp("clips") / "x", waves)


def ranks_of(model, clips):
    """Features, valid frames, and the cluster of each patch in the model's order."""
    features, valid = model.features([clip.path for clip in clips.clips])
    view = View.of(model.config)
    clusters = first_pass({"m": model}, "x", clips).clusters[view][0]
    ranks = clusters.rank(patches_of(view, features, valid).values[0])[:, view.order_of(model)]
    return features, valid, torch.from_numpy(ranks)


@torch.inference_mode()
@each_value(after=[1, 11], family=FAMILIES)
def test_masking_equals_removing_clip_by_clip(make, clips, family, after):
    model = make(family, dtype=torch.float64)
    features, valid, ranks = ranks_of(model, clips)
    keeps = {which: ~torch.isin(ranks, torch.tensor(ids)) for which, ids in DROPPED.items()}
    for which, keep in keeps.items():
        assert len(set(keep.sum(1).tolist())) > 2, "clips lose different numbers of patches"
        _, together = cut_outputs(model, features, valid, [Cut(which, after)], keeps)
        for row in range(len(features)):
            if not keep[row].any():
                assert np.isnan(together[row]).all()
                continue

            def remove(pieces, _, row=row, keep=keep):
                return [piece for piece in pieces if keep[row, piece.origin]]

            logits = oracle.forward(model, features[row], {("after", after - 1): remove})
            alone = model.probabilities(logits[None])[0].numpy()
            np.testing.assert_allclose(together[row], alone, atol=1e-6)


@each_family
def test_rows_are_what_the_model_says_without_the_patches(make, clips, family):
    model = copy.deepcopy(make(family))
    model.config = replace(model.config, activation="softmax", metric="accuracy")
    found = ablate(model, "m", "x", clips, after=(1, 9), batch_size=3)
    assert [(row["dropped"], row["after_blocks"]) for row in found.rows] == [
        (None, None), ("low", 1), ("low", 9), ("high", 1), ("high", 9),
    ]  # fmt: skip
    features, valid, ranks = ranks_of(model, clips)
    truth = np.array(["abcde".index(clip.labels[0]) for clip in clips.clips])
    for row in found.rows[1:]:
        gone = torch.isin(ranks, torch.tensor(DROPPED[row["dropped"]]))
        some = ~gone.all(1)
        assert row["no_patch_left"] == int((~some).sum())
        assert row["clips"] == int(some.sum())
        assert row["patches_dropped"] == pytest.approx(gone.float().mean().item())
        logits = model(
            features[some], valid[some], keep=~gone[some], keep_after=row["after_blocks"]
        )
        right = logits.argmax(1).numpy() == truth[some.numpy()]
        assert row["value"] == pytest.approx(right.mean())
        plain = model(features[some], valid[some]).argmax(1).numpy() == truth[some.numpy()]
        assert row["unpruned"] == pytest.approx(plain.mean())
        assert row["difference"]["value"] == pytest.approx(right.mean() - plain.mean())
    assert found.rows[1]["no_patch_left"] == 1, "the silent clip lies in C1 alone"
    for key in ("model", "data", "plan", "batch_size", "versions", "format_version", "frames"):
        assert key in found.rows[0]


def test_the_random_control_drops_as_many_patches_and_other_ones(make, clips):
    model = make("ast")
    found = ablate(model, "m", "x", clips, after=(3,), random_control=True, batch_size=3)
    rows = {row["dropped"]: row for row in found.rows}
    assert list(rows) == [None, "low", "high", "random-low", "random-high"]
    for which in ("low", "high"):
        assert rows[f"random-{which}"]["patches_dropped"] == rows[which]["patches_dropped"]
        assert rows[f"random-{which}"]["clips"] == rows[which]["clips"]
        assert rows[f"random-{which}"]["value"] != rows[which]["value"], "other patches"
    again = ablate(model, "m", "x", clips, after=(3,), random_control=True, batch_size=2)
    assert [row["value"] for row in again.rows] == pytest.approx([r["value"] for r in found.rows])
    keep = torch.rand(4, 64) < torch.tensor([0.0, 0.2, 0.9, 1.1])[:, None]
    drawn = random_patches(keep, [np.random.default_rng(clip) for clip in range(4)])
    assert torch.equal(drawn.sum(1), keep.sum(1)) and not torch.equal(drawn, keep)
    generators = map(np.random.default_rng, range(3000))
    more = torch.stack([random_patches(keep[1:2], [one])[0] for one in generators])
    share = keep[1].float().mean()
    assert (more.float().mean(0) - share).abs().max() < 0.05, "every patch stays as often"


def test_without_labels_the_unpruned_model_is_the_measure(make, clips):
    found = ablate(make("ast"), "m", "x", clips.unlabelled(), after=(3,))
    assert [row["metric"] for row in found.rows] == ["agreement"] * 3
    assert found.rows[0]["value"] == 1.0


def test_silence_has_no_low_and_high(make, tmp_path):
    silent = manifest(tmp_path / "x", [silence()] * 2)
    with pytest.warns(match="1 different value"), pytest.raises(SpectrimError, match="silent"):
        ablate(make("ast"), "m", "x", silent, after=(1,))


def test_blocks_that_are_not_there(make, clips):
    with pytest.raises(SpectrimError, match="13 blocks; m has 12"):
        ablate(make("ast"), "m", "x", clips, after=(13,))


def test_an_ablation_has_standard_errors_and_contrasts(make, clips):
    """mAP by bootstrap; contrasts on the clips that every cut leaves, here all but the silent."""
    found = ablate(make("ast"), "m", "x", clips, after=(1, 9))
    assert found.rows[0]["metric"] == "mAP"
    assert all(row["error"] > 0 for row in found.rows)
    assert found.contrasts["clips"] == len(clips.clips) - 1
    rows = {(row["dropped"], row["after_blocks"]): row for row in found.rows}
    for entry in found.contrasts["blocks"]:
        low = rows["low", entry["after"]]  # which leaves out the silent clip too
        assert entry["loss_low"]["value"] == pytest.approx(low["unpruned"] - low["value"])
    model = copy.deepcopy(make("ast"))
    model.config = replace(model.config, activation="softmax", metric="accuracy")
    row = ablate(model, "m", "x", clips, after=(3,)).rows[0]
    share = row["value"]
    assert row["error"] == pytest.approx(np.sqrt(share * (1 - share) / len(clips.clips)))


def test_one_clip_is_measured_without_an_error(make, clips):
    one = type(clips)(clips.source, clips.clips[:1])
    found = ablate(make("ast"), "m", "x", one, after=(1,))
    assert [row["error"] for row in found.rows] == [None] * 3
    assert found.rows[0]["clips"] == 1


def test_agreement_has_contrasts_too(make, clips):
    found = ablate(make("audiomae"), "m", "x", clips.unlabelled(), after=(1,))
    low = next(row for row in found.rows if row["dropped"] == "low")
    (entry,) = found.contrasts["blocks"]
    assert found.contrasts["metric"] == "agreement"
    assert entry["loss_low"]["value"] == pytest.approx(1 - low["value"])


def test_every_clip_has_its_own_random_control(make, clips, monkeypatch):
    """Otherwise all lose the same places, and errors over clips do not cover the random choice."""
    drawn = []

    def watched(keep, generators):
        drawn.append(random_patches(torch.arange(keep.shape[1]).expand_as(keep) < 32, generators))
        return random_patches(keep, generators)

    monkeypatch.setattr("spectrim.analysis.ablation.ablate.random_patches", watched)
    ablate(make("ast"), "m", "x", clips, after=(3,), random_control=True, batch_size=3)
    places = torch.cat(drawn)
    assert len(places.unique(dim=0)) == len(places) == 2 * len(clips.clips)


@each_family
def test_outputs_that_are_not_finite_are_an_error(make, clips, family):
    """They would pass for clips that have lost all their patches."""
    model = copy.deepcopy(make(family, depth=2))
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    with pytest.raises(SpectrimError, match="unpruned: the model's output is not finite"):
        ablate(model, "m", "x", clips, after=[1])
