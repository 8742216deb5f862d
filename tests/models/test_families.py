"""Every family: its cost, its score, its folder and its exported file. New families join in."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import spectrim
from parameters import each_value
from spectrim.models.build import macs, shape_of
from spectrim.models.loading.formats import FORMATS
from spectrim.models.presets import FAMILIES, PRESETS, from_family
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.cost import ranking_macs


def small(family: str, **changes) -> SpectrogramTransformer:
    torch.manual_seed(0)
    values = {"width": 96, "heads": 3, "depth": 3, "frames": 150} | changes
    config = from_family(family, name="t", labels=tuple("abcd"), **values)
    model = SpectrogramTransformer(config).eval()
    for name, value in model.named_parameters():
        if name.endswith("weight") and "norm" not in name:
            value.data.mul_(12 if "qkv" in name else 3)
    return model


@pytest.mark.parametrize("keep_rate", [1.0, 0.5])
@pytest.mark.parametrize("family", FAMILIES)
def test_macs_are_what_torch_counts(family, keep_rate):
    model = spectrim.prune(small(family).to("meta"), keep_rate, blocks=[0, 1])
    config = model.config
    features = torch.empty(1, config.frames, config.mels, device="meta")
    with FlopCounterMode(display=False) as counter:
        model(features)
    ranking = ranking_macs(shape_of(config), model.plan, config.has_class_token)
    assert counter.get_total_flops() == 2 * (macs(model) + ranking)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_score_is_the_class_row_or_the_mean_over_queries(family):
    """From a softmax written out, of the block's own queries and keys."""
    model = small(family)
    config, features = model.config, torch.randn(1, 150, model.config.mels)
    scores = model.trace(features).scores[1]
    x, block = model.encode(features, stop=1).x, model.blocks[1]
    x = block.norm1(x) if config.norm_first else x
    q, k, _ = block.qkv(x)[0].split(96, -1)
    prefix, rows = config.num_prefix_tokens, []
    for head in (slice(0, 32), slice(32, 64), slice(64, 96)):
        weights = torch.softmax(q[:, head] @ k[:, head].T / 32**0.5, -1)
        patches = weights[:, prefix:]
        rows.append(patches[0] if config.pool == "prefix" else patches[prefix:].mean(0))
    torch.testing.assert_close(scores[0], torch.stack(rows).mean(0), atol=1e-6, rtol=1e-4)


@each_value(score=["attention", "intensity", "variation", "random"], family=list(FAMILIES))
def test_every_score_prunes_every_family_and_a_folder_keeps_the_result(family, score, tmp_path):
    model = spectrim.prune(small(family), 0.5, score, blocks=[1])
    features, valid = torch.randn(3, 150, model.config.mels), torch.tensor([150, 90, 17])
    logits = model(features, valid)
    assert logits.shape == (3, 4) and logits.isfinite().all()
    again = spectrim.load(model.save(tmp_path / "saved"))
    assert again.config == model.config
    torch.testing.assert_close(again(features, valid), logits, atol=0, rtol=0)
    alone = torch.cat([model(features[n, None], valid[n, None]) for n in range(3)])
    torch.testing.assert_close(alone, logits, atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_an_exported_file_gives_the_same_logits(family, tmp_path):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"export needs {name}")
    import onnxruntime

    model = spectrim.prune(small(family), 0.5, blocks=[1])
    path = spectrim.export(model, tmp_path / "model.onnx", input="features")
    session = onnxruntime.InferenceSession(str(path))
    for batch in (1, 3):
        features = torch.randn(batch, 150, model.config.mels)
        valid = np.full(batch, 150)
        logits = session.run(["logits"], {"features": features.numpy(), "valid": valid})[0]
        torch.testing.assert_close(torch.from_numpy(logits), model(features), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("head_norm", ["layer", "batch"])
def test_the_norm_before_the_head(head_norm, tmp_path):
    """M2D has a BatchNorm without scale and shift there."""
    model = small("ast", head_norm=head_norm)
    if head_norm == "batch":
        model.head_norm.running_mean.normal_()
        model.head_norm.running_var.uniform_(0.5, 2.0)
    features = torch.randn(2, 150, 128)
    pooled = model.norm(model.encode(features).x[:, :2]).mean(1)
    if head_norm == "batch":
        norm = model.head_norm
        normalised = (pooled - norm.running_mean) / (norm.running_var + 1e-6).sqrt()
    else:
        centred = pooled - pooled.mean(1, keepdim=True)
        normalised = centred / (centred.square().mean(1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(model.embed(features), normalised, atol=1e-4, rtol=1e-4)
    again = spectrim.load(model.save(tmp_path / "saved"))
    torch.testing.assert_close(again(features), model(features), atol=0, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_has_presets_and_a_format(family):
    assert any(values["family"] == family for values in PRESETS.values())
    assert any(support.family == family for known in FORMATS for support in known.SUPPORT)


@pytest.mark.parametrize(("std_factor", "expected"), [(1.0, 2.0), (2.0, 1.0)])
def test_normalisation_by_one_or_two_standard_deviations(std_factor, expected):
    model = small("ast", mean=-4.0, std=3.0, std_factor=std_factor)
    assert model.normalise(torch.full((1, 2, 128), 2.0)).eq(expected).all()


def test_config_values_that_do_not_fit_together():
    for changes, message in (
        ({"mel_scale": [1.0, 2.0]}, "mel_scale has 2 numbers; expected 128"),
        ({"mel_shift": [float("nan")] * 128}, "mel_shift has 128 numbers; expected 128, finite"),
        ({"front_end": "mfcc"}, "no front end is called 'mfcc'"),
        (
            {"front_end": "passt-mel"},
            "sample_rate is 16000, but the front end 'passt-mel' takes 32000",
        ),
        ({"pool": "max"}, "pool is 'max'"),
    ):
        with pytest.raises(spectrim.SpectrimError, match=message):
            small("ast", **changes)


def test_patches_of_another_shape(tmp_path):
    """64 bins by 4 frames, as Dasheng and ATST have them: everything follows the shape."""
    model = small("ced", patch=(64, 4), stride=(64, 4), frames=42)
    config, features = model.config, torch.randn(2, 42, 64)
    assert (model.grid.rows, model.grid.columns) == (1, 10)
    valid = torch.tensor([42, 10])  # the second clip ends in the middle of its third patch
    for column in range(10):
        patch = features[0, column * 4 : column * 4 + 4]
        token = (model.patch.weight[:, 0] * patch).sum((1, 2)) + model.patch.bias
        token = token + model.positions[0, column]
        ours = model.tokenize(features).x[0, column]
        torch.testing.assert_close(ours, token, atol=1e-4, rtol=1e-4)
        assert model.grid.cut(features)[0, column].equal(patch.flatten())
    for score, statistic in (("intensity", torch.mean), ("variation", torch.std)):
        scores = model.trace(features, valid, score=score).scores[0]
        expected = statistic(features[0, 4:8])
        torch.testing.assert_close(scores[0, 1], expected, atol=1e-5, rtol=1e-4)
        expected = statistic(features[1, 8:10])  # valid frames only
        torch.testing.assert_close(scores[1, 2], expected, atol=1e-5, rtol=1e-4)
        assert scores[1, 3:].eq(-torch.inf).all()
    pruned = spectrim.prune(model, 0.5, blocks=[1])
    without_numbers = spectrim.load(pruned.save(tmp_path / "meta")).to("meta")
    with FlopCounterMode(display=False) as counter:
        without_numbers(features[:1].to("meta"))
    assert counter.get_total_flops() == 2 * macs(pruned)
    again = spectrim.load(pruned.save(tmp_path / "saved"))
    assert again.config == config and again(features, valid).equal(pruned(features, valid))
    shorter = model.with_frames(20)
    assert shorter(features[:, :20]).shape == (2, 4) and shorter.grid.count == 5


@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_of_a_family_that_is_learned_gets_a_gradient(family):
    model = small(family).train()
    features = torch.randn(4, 150, model.config.mels)
    torch.nn.functional.cross_entropy(model(features), torch.tensor([0, 1, 2, 3])).backward()
    for name, value in model.named_parameters():
        if value.requires_grad and value.numel():
            assert value.grad is not None and value.grad.abs().sum() > 0, name
    assert model.positions.requires_grad == model.config.learned_positions
