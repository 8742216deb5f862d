"""Where clips keep different numbers of patches, a sweep measures what each of them costs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import spectrim
from parameters import each_value
from spectrim.cli.sweep_table import print_rows
from spectrim.data.builtin import sample_pack
from spectrim.data.manifest import Manifest, read_data
from spectrim.deploy.torch_runner import SharedBlocks, TorchRunner
from spectrim.evaluation.predict import predict
from spectrim.evaluation.resume import Partial
from spectrim.evaluation.sweep import evaluate
from spectrim.evaluation.variants import variants_of
from spectrim.pruning.plan import Plan
from spectrim.pruning.stage import Stage

PLANS = {
    "ats": Plan(tuple(Stage(b, 0.8, score="random", reduction="ats") for b in (3, 5, 7))),
    "ats at the input and before a block": Plan(
        (
            Stage("input", 0.8, score="random", reduction="ats"),
            Stage(4, 0.9, score="random", reduction="ats", place="before"),
            Stage(4, 0.7, score="random"),
            Stage(6, 0.9, score="random", reduction="ats", place="after"),
        )
    ),
}


@each_value(plan=list(PLANS), family=["ast", "audiomae"])
def test_the_cost_of_a_clip_is_what_torch_counts_for_it_alone(make, heard, family, plan):
    """A clip alone has no absent tokens, so every multiplication counts."""
    model = make(family).with_plan(PLANS[plan])
    features, valid = heard("dog", "rain", "digit")
    measured = TorchRunner(model).predict(SharedBlocks(features, valid)).macs
    assert len(set(measured.tolist())) > 1 and (measured < spectrim.macs(model)).all()
    for clip in range(3):
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(features[clip, None], valid[clip, None])
        assert counter.get_total_flops() == 2 * measured[clip]


def test_clips_that_keep_the_same_numbers_cost_what_the_model_costs(make, heard):
    pruned = spectrim.prune(make("ast"), 0.7)
    runner = TorchRunner(pruned)
    assert runner.predict(SharedBlocks(*heard("dog", "digit"))).macs is None


def test_a_compiled_model_keeps_different_numbers_for_each_clip(make, heard, compilations):
    model = make("ast", depth=4)
    plain, compiled = (spectrim.prune(model, 0.8, blocks=(1, 2), reduction="ats") for _ in "ab")
    compiled.compile()
    pair = heard("dog", "rain", "digit")
    with torch.no_grad():
        torch.testing.assert_close(compiled(*pair), plain(*pair), rtol=0, atol=1e-5)
    assert compilations == [3]  # one graph: it trims nothing


@pytest.fixture(scope="module")
def swept():
    pack = read_data(sample_pack())
    few = Manifest(pack.source, pack.clips[:5])
    model = spectrim.load("ast-digits")
    variants = variants_of(model, "x", [0.7], ["attention"], reduction=["keep-top", "ats"])
    return variants, few, evaluate(variants, few, batch_size=2)


def test_rows_show_the_mean_beside_the_bound(swept, capsys):
    variants, few, result = swept
    unpruned, top, ats = result.rows
    assert "mean_gmacs" not in unpruned and "mean_gmacs" not in top
    model = variants[2].runner.model
    assert ats["gmacs"] == spectrim.macs(model) / 1e9
    alone = [
        TorchRunner(model).predict(SharedBlocks(*model.features([clip.path]))).macs
        for clip in few.clips
    ]
    assert ats["mean_gmacs"] == pytest.approx(np.mean(alone) / 1e9)
    print_rows(result.rows)
    table = capsys.readouterr().out.splitlines()
    header = next(line for line in table if line.startswith("method"))
    assert "max GMACs" in header and "mean GMACs" in header
    print_rows(result.rows[:2])
    table = capsys.readouterr().out
    assert "GMACs" in table and "max GMACs" not in table


def test_a_resumed_sweep_has_the_same_mean(swept, tmp_path):
    variants, few, result = swept
    models = [variant.runner.model for variant in variants]
    partial = Partial(tmp_path / "x.npz", models, few.clips)
    evaluate(variants, few, batch_size=2, keeper=partial)  # saves when it ends
    with pytest.warns(match="5 clips are done"):
        again = evaluate(variants, few, batch_size=2, keeper=partial)
    assert again.rows[2]["mean_gmacs"] == result.rows[2]["mean_gmacs"]


def test_predictions_of_a_runner_of_ones_own_may_leave_costs_out(swept):
    """A runner that returns outputs and kept patches only costs `macs` for every clip."""
    variants, few, _ = swept

    class Plain(TorchRunner):
        def predict(self, inputs):
            outputs, kept, _ = super().predict(inputs)
            return outputs, kept

    runner = Plain(variants[2].runner.model)
    predictions = predict([runner], few.clips, 2)
    assert set(np.concatenate(predictions.macs[0])) == {runner.macs}


def test_macs_says_that_it_counts_the_most(run_spectrim):
    done = run_spectrim("macs", "ast-tiny", "--reduction", "ats", "--keep-rates", "0.8")
    assert "max GMACs/clip" in done.stdout and "max patches left" in done.stdout
    done = run_spectrim("macs", "ast-tiny", "--keep-rates", "0.8")
    assert "GMACs/clip" in done.stdout and "max" not in done.stdout
