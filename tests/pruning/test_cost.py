"""Multiply-accumulates: the paper's Table II, and what torch counts on the real model."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import spectrim
from parameters import each_value
from spectrim.assets.published import paper_file
from spectrim.models.build import macs, prune, shape_of
from spectrim.models.presets import from_family
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.cost import Shape, ranking_macs
from spectrim.pruning.cost import macs as macs_of
from spectrim.pruning.plan import Plan, paper_plan
from spectrim.pruning.stage import Stage

CLASSES = {64: 35, 256: 50, 512: 527}
FAMILIES = ("ast", "audiomae")
PLANS = {
    "none": Plan(),
    "0.7": paper_plan(0.7),
    "list": paper_plan([0.9, 0.5, 0.35], blocks=(1, 3, 4)),
    "1.0": paper_plan(1.0),
    "variation": paper_plan(0.55, "variation"),
    "input": Plan((Stage("input", 0.5, score="intensity"), Stage(3, count=17), Stage(4, 0.8))),
}


def table() -> list[dict]:
    return paper_file("table2_macs")["rows"]


def test_audiomae_lies_within_a_tenth_of_every_cell_of_table_2():
    rows = table()
    assert len(rows) >= 14
    for row in rows:
        shape = Shape(row["tokens"], 1, 768, 12, CLASSES[row["tokens"]])
        ours = macs_of(shape, paper_plan(row["keep_rate"])) / 1e9
        assert abs(ours - row["gmac"]) <= 0.1, row


def test_asts_second_special_token_adds_about_a_tenth_at_most():
    for row in table():
        plan, classes = paper_plan(row["keep_rate"]), CLASSES[row["tokens"]]
        one, two = (
            macs_of(Shape(row["tokens"], num_prefix_tokens, 768, 12, classes), plan)
            for num_prefix_tokens in (1, 2)
        )
        assert 0.08e9 < two - one < 0.11e9
    # Exactly: 12 D^2 a block for the token itself, and 2 D ((T + 1)^2 - T^2) for its attention.
    one, two = (
        macs_of(Shape(64, num_prefix_tokens, 768, 12, 35), Plan()) for num_prefix_tokens in (1, 2)
    )
    assert two - one == 12 * (12 * 768**2 + 2 * 768 * (66**2 - 65**2))


def counted(model, features) -> int:
    with FlopCounterMode(display=False) as counter:
        model(features)
    return counter.get_total_flops()


@pytest.mark.parametrize("family", FAMILIES)
@each_value(plan=list(PLANS), stride=[16, 10])
def test_macs_equal_what_torch_counts(family, stride, plan):
    config = from_family(family, name="t", labels=tuple("abc"), width=192, heads=3, depth=10,
                         frames=200, stride=stride)  # fmt: skip
    model = SpectrogramTransformer(config, PLANS[plan]).eval().to("meta")
    features = torch.empty(1, 200, 128, device="meta")
    ranking = ranking_macs(shape_of(config), model.plan, config.has_class_token)
    assert counted(model, features) == 2 * (macs(model) + ranking)
    drops = plan in ("0.7", "list")  # by attention
    assert (ranking > 0) == (family == "ast" and (drops or plan == "input"))


@pytest.mark.parametrize("family", FAMILIES)
def test_macs_equal_what_torch_counts_on_a_real_clip(make, heard, family):
    model = make(family)
    features, _ = heard("dog")
    for keep_rate in (1.0, 0.7, 0.4):
        pruned = prune(model, keep_rate)
        ranking = ranking_macs(shape_of(model.config), pruned.plan, model.config.has_class_token)
        with sdpa_kernel(SDPBackend.MATH):
            assert counted(pruned, features) == 2 * (macs(pruned) + ranking)


def test_the_face_counts_the_base_presets():
    model = spectrim.create("audiomae-base", frames=512, classes=50).to("meta")
    assert abs(spectrim.macs(model) / 1e9 - 23.1) <= 0.1
    assert isinstance(spectrim.macs(spectrim.prune(model, 0.5)), int)
