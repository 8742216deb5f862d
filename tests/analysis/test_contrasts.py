"""H against L with standard errors: against a jackknife written out clip by clip."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from spectrim.analysis.ablation.contrasts import contrasts

AFTER = (1, 9)
CLIPS, CLASSES = 24, 3


def oracle(name, outputs, truth):
    if name == "accuracy":
        return np.mean([truth[row, outputs[row].argmax()] for row in range(len(truth))])
    there = truth.any(0)
    return np.mean(
        [average_precision_score(truth[:, c], outputs[:, c]) for c in np.flatnonzero(there)]
    )


@pytest.fixture
def made():
    """Outputs by cut; one clip has no patch left without L, another none without H."""
    rng = np.random.default_rng(3)
    truth = np.eye(CLASSES, dtype=bool)[rng.integers(0, CLASSES, CLIPS)]
    clear = truth + rng.normal(0, 0.3, truth.shape)
    found = {(None, None): clear}
    for blocks in AFTER:
        found["low", blocks] = clear + rng.normal(0, 0.3, truth.shape)
        found["high", blocks] = rng.random(truth.shape)
        found["low", blocks][4] = np.nan
        found["high", blocks][7] = np.nan
    return found, truth


@pytest.mark.parametrize("name", ["accuracy", "mAP"])
def test_each_contrast_and_its_error(made, name):
    outputs, truth = made
    groups = np.random.default_rng(0).permutation(CLIPS)  # a clip a group
    found = contrasts(name, lambda *cut: outputs[cut], truth, groups, AFTER)
    left = [clip for clip in range(CLIPS) if clip not in (4, 7)]
    assert found["clips"] == len(left)

    def of(clips):
        base = oracle(name, outputs[None, None][clips], truth[clips])
        low, high = (
            np.array([base - oracle(name, outputs[which, b][clips], truth[clips]) for b in AFTER])
            for which in ("low", "high")
        )
        return np.array([low, high, high - low])

    whole = of(left)
    without = np.array([of([c for c in left if c != clip]) for clip in left])
    count = len(left)

    def error(values):
        return np.sqrt((count - 1) / count * ((values - values.mean(0)) ** 2).sum(0))

    for at, key in enumerate(("loss_low", "loss_high", "high_less_low")):
        for place, blocks in enumerate(AFTER):
            entry = found["blocks"][place]
            assert entry["after"] == blocks
            assert entry[key]["value"] == pytest.approx(whole[at, place])
            assert entry[key]["error"] == pytest.approx(error(without[:, at, place]))
        assert found["mean"][key]["value"] == pytest.approx(whole[at].mean())
        assert found["mean"][key]["error"] == pytest.approx(error(without[:, at].mean(1)))
    assert found["mean"]["high_less_low"]["value"] > 0, "planted: without H all is guessing"


def test_against_as_many_random_patches(made):
    outputs, truth = made
    rng = np.random.default_rng(5)
    for blocks in AFTER:
        for which in ("low", "high"):
            lot = outputs[None, None] + rng.normal(0, 0.5, truth.shape)
            outputs[f"random-{which}", blocks] = lot
    groups = np.arange(CLIPS)
    found = contrasts(
        "accuracy", lambda *cut: outputs[cut], truth, groups, AFTER, random_control=True
    )
    left = [clip for clip in range(CLIPS) if clip not in (4, 7)]
    for place, blocks in enumerate(AFTER):
        for which in ("low", "high"):
            lost = oracle("accuracy", outputs[which, blocks][left], truth[left])
            lot = oracle("accuracy", outputs[f"random-{which}", blocks][left], truth[left])
            base = oracle("accuracy", outputs[None, None][left], truth[left])
            entry = found["blocks"][place]
            assert entry[f"loss_random_{which}"]["value"] == pytest.approx(base - lot)
            assert entry[f"{which}_less_random"]["value"] == pytest.approx(lot - lost)


def test_one_clip_has_no_error_and_no_clip_no_contrast(made):
    outputs, truth = made
    one = {cut: values[:1] for cut, values in outputs.items()}
    found = contrasts("accuracy", lambda *cut: one[cut], truth[:1], np.array([17]), AFTER)
    assert found["clips"] == 1 and found["mean"]["loss_low"]["error"] is None
    lost = {cut: values[4:5] for cut, values in outputs.items()}
    assert contrasts("mAP", lambda *cut: lost[cut], truth[4:5], np.array([0]), AFTER) is None
