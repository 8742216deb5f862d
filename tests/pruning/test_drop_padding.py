"""`drop_padding=True`: the patches without sound are removed from each clip before all stages."""

from __future__ import annotations

import json
import math

import numpy as np
import oracle
import pytest
import torch

import spectrim
from parameters import each_value
from spectrim.common.errors import SpectrimError
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.models.build import prune, shape_of
from spectrim.models.provenance import plan_record
from spectrim.pruning.cost import macs_of_counts
from spectrim.pruning.plan import Plan
from spectrim.pruning.reductions import REDUCTIONS
from spectrim.pruning.saved_plans import method_of, plan_columns
from spectrim.pruning.stage import Stage

FAMILIES = ("ast", "audiomae")
each_family = pytest.mark.parametrize("family", FAMILIES)
VALID = (128, 17, 48, 5)  # frames: all 8 columns, 2, 3, and 1
COLUMNS = [math.ceil(frames / 16) for frames in VALID]
DROP = Plan(drop_padding=True)


@pytest.fixture(scope="module")
def padded():
    """Features of 128 frames whose last ones are padding, louder than all sound."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(VALID), 128, 128, generator=generator) * 0.5
    valid = torch.tensor(VALID)
    is_padding = torch.arange(128) >= valid[:, None]
    return torch.where(is_padding[..., None], 3.0, features), valid


def close(one, other):
    return torch.allclose(one, other, atol=1e-5, rtol=1e-5)


@each_family
def test_it_equals_the_slow_removal_of_patches(make, padded, family):
    model = make(family, dtype=torch.float64)
    features, valid = padded
    logits = prune(model, 1.0, drop_padding=True)(features, valid)
    grid = model.config.grid
    for row, columns in enumerate(COLUMNS):

        def remove(pieces, _, columns=columns):
            return [p for p in pieces if int(grid.locate(torch.tensor(p.origin))[0]) < columns]

        expected = oracle.forward(model, features[row], {"input": remove})
        assert close(logits[row].double(), expected)
    full = model(features, valid)
    assert close(logits[0], full[0]) and not close(logits[1], full[1])


@each_family
def test_a_clip_of_whole_patches_equals_the_model_of_its_length(make, padded, family):
    """`with_frames` keeps the positions of patches, and never sees the padding."""
    model = make(family)
    features, valid = padded
    one = slice(2, 3)
    expected = model.with_frames(48)(features[one, :48], valid[one])
    assert close(model.with_plan(DROP)(features[one], valid[one]), expected)


@each_value(reduction=list(REDUCTIONS), family=FAMILIES)
def test_reductions_in_a_batch_equal_each_clip_alone(make, padded, family, reduction):
    model = make(family, dtype=torch.float64)
    features, valid = padded
    pruned = prune(model, 0.6, reduction=reduction, drop_padding=True)
    together = pruned(features, valid)
    for row in range(len(VALID)):
        one = slice(row, row + 1)
        assert close(together[row], pruned(features[one], valid[one])[0])


@pytest.mark.parametrize("score", ["intensity", "random"])
def test_a_stage_at_the_input_ranks_what_is_left(make, padded, score):
    model = make("ast")
    features, valid = padded
    plan = Plan((Stage("input", 0.5, score=score),), drop_padding=True)
    trace = model.with_plan(plan).trace(features, valid)
    kept, present = trace.kept["input"], trace.present["input"]
    for row, columns in enumerate(COLUMNS):
        places = kept[row][present[row]]
        assert len(places) == math.ceil(8 * columns / 2)
        assert places[:, 0].max() < columns


@each_family
def test_clips_without_padding_and_valid_none_change_nothing(make, padded, family):
    model = make(family)
    features, _ = padded
    assert torch.equal(model.with_plan(DROP)(features), model(features))
    assert close(prune(model, 0.5, drop_padding=True)(features), prune(model, 0.5)(features))


def test_a_clip_without_a_valid_frame_keeps_its_first_column(make, padded):
    model = make("ast").with_plan(DROP)
    features, _ = padded
    silent = model(features[:2], torch.tensor([0, 48]))
    assert silent.isfinite().all()
    assert close(silent[:1], model(features[:1], torch.tensor([1])))


@each_family
def test_training_computes_gradients(make, padded, family):
    torch.manual_seed(0)
    model = spectrim.create(f"{family}-tiny", frames=128, classes=3).train()
    features, valid = padded
    prune(model, 0.7, drop_padding=True).train()(features, valid).sum().backward()
    assert model.positions.grad is None or model.positions.grad.isfinite().all()
    assert model.patch.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("keep_rate", [1.0, 0.5])
def test_macs_are_counted_for_each_clip(make, keep_rate):
    model = prune(make("ast"), keep_rate, drop_padding=True)
    runner = TorchRunner(model)
    assert runner.is_adaptive and runner.macs == spectrim.macs(prune(make("ast"), keep_rate))
    rng = np.random.default_rng(0)
    waveforms = [rng.normal(0, 0.1, 400 + 160 * (frames - 1)).astype(np.float32)
                 for frames in VALID]  # fmt: skip
    prediction = runner.predict(runner.shared_inputs(waveforms))
    shape = shape_of(model.config)
    for columns, macs, kept in zip(COLUMNS, prediction.macs, prediction.kept, strict=True):
        count = 8 * columns
        pairs = []
        for block in range(12):
            left = math.ceil(round(count * keep_rate, 6)) if block in (3, 6, 9) else count
            pairs.append((count, left))
            count = left
        assert macs == macs_of_counts(shape, pairs)
        assert kept.sum() == count
    together = runner.probabilities(waveforms)
    for row, waveform in enumerate(waveforms):
        np.testing.assert_allclose(runner.probabilities([waveform])[0], together[row], atol=1e-6)


def test_pieces_of_a_batch_hold_clips_of_similar_length(make, monkeypatch):
    runner = TorchRunner(make("audiomae").with_plan(DROP), patches_at_once=128)
    assert runner.clips_at_once == 2
    rng = np.random.default_rng(0)
    lengths = (20_000, 3_000, 19_000, 2_900, 9_000)
    waveforms = [rng.normal(0, 0.1, length).astype(np.float32) for length in lengths]
    alone = np.concatenate([runner.probabilities([waveform]) for waveform in waveforms])
    embedded = np.concatenate([runner.embeddings([waveform]) for waveform in waveforms])
    pieces = []
    features = runner.model.features_from_waveforms
    monkeypatch.setattr(
        runner.model, "features_from_waveforms",
        lambda piece: pieces.append([len(w) for w in piece]) or features(piece),
    )  # fmt: skip
    np.testing.assert_allclose(runner.probabilities(waveforms), alone, atol=1e-6)
    assert pieces == [[2_900, 3_000], [9_000, 19_000], [20_000]]
    np.testing.assert_allclose(runner.embeddings(waveforms), embedded, atol=1e-5)


def test_a_sweep_does_not_share_blocks_with_the_padded_model(make, padded):
    model, pruned = make("ast"), prune(make("ast"), 0.5, drop_padding=True)
    waveforms = [np.ones(2000, np.float32) * 0.1, np.ones(20_000, np.float32) * 0.1]
    full, runner = TorchRunner(model), TorchRunner(pruned)
    inputs = full.shared_inputs(waveforms)
    full.predict(inputs)
    other = TorchRunner(prune(model, 0.5))
    other.predict(inputs)  # puts the blocks before its first stage aside
    alone = runner.predict(runner.shared_inputs(waveforms))
    np.testing.assert_array_equal(runner.predict(inputs).outputs, alone.outputs)


def test_saved_plans_have_a_version_of_their_own(make, tmp_path):
    plan = prune(make("ast"), 0.5, drop_padding=True).plan
    data = json.loads(json.dumps(plan.to_dict()))
    assert (data["version"], data["drop_padding"]) == (3, True)
    assert Plan.from_dict(data) == plan
    assert plan_record(plan) == plan.to_dict()
    plain = prune(make("ast"), 0.5).plan.to_dict()
    assert plain["version"] == 2 and "drop_padding" not in plain, "earlier versions read it"
    make("ast").with_plan(plan).save(tmp_path)
    assert spectrim.load(tmp_path).plan == plan
    assert plan.with_keep_rate(0.7).drop_padding
    with pytest.raises(SpectrimError, match="drop_padding is 'yes'"):
        Plan.from_dict(data | {"drop_padding": "yes"})
    with pytest.raises(SpectrimError, match="reads versions 1 to 3"):
        Plan.from_dict(data | {"version": 4})


def test_a_plan_in_words():
    assert str(DROP) == "padding dropped"
    assert str(Plan((Stage(3, 0.5),), drop_padding=True)).startswith("padding dropped; keep-top")
    assert method_of(plan_columns(DROP.to_dict())) == "drop-padding"
    assert method_of(plan_columns(Plan().to_dict())) == "unpruned"


def test_export_and_compilation_name_the_way_out(make, tmp_path):
    model = make("ast").with_plan(DROP)
    for call in (lambda: spectrim.export(model, tmp_path / "a.onnx"), model.compile):
        with pytest.raises(SpectrimError, match=r"Use a shorter length instead: .*frames="):
            call()
    assert list(tmp_path.iterdir()) == []
