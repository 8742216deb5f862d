"""The average of two models' weights."""

import dataclasses

import numpy as np
import pytest
import torch

import spectrim


def models():
    """A tiny model, and the same one with other weights, as after a training."""
    start = spectrim.create("ast-tiny", frames=64, labels=["a", "b"]).eval()
    trained = spectrim.prune(start, 0.5)
    with torch.no_grad():
        for index, weight in enumerate(trained.parameters()):
            weight += 0.01 * (index + 1)
    return start, trained


def test_each_weight_lies_between_those_of_the_two_models():
    start, trained = models()
    before, after = start.state_dict(), trained.state_dict()
    unchanged = {name: value.clone() for name, value in after.items()}
    blended = spectrim.blend(start, trained, 0.25).state_dict()
    assert list(blended) == list(after)
    for name, value in blended.items():
        expected = 0.75 * before[name].numpy() + 0.25 * after[name].numpy()
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(after[name], unchanged[name])


def test_the_ends_are_the_two_models_with_the_plan_of_the_trained_one(tmp_path):
    start, trained = models()
    for fraction, model in ((0.0, start), (1.0, trained)):
        blended = spectrim.blend(start, trained, fraction)
        for name, value in model.state_dict().items():
            torch.testing.assert_close(blended.state_dict()[name], value, rtol=0, atol=0)
        blended.save(tmp_path / "model")
        assert spectrim.load(tmp_path / "model").plan == trained.plan


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["a", "c"]}, "differ in labels"),
        ({"frames": 128, "labels": ["a", "b"]}, "differ in the weights pos"),
    ],
)
def test_models_that_do_not_belong_together_are_refused(change, message):
    start, _ = models()
    other = spectrim.create("ast-tiny", **({"frames": 64} | change))
    with pytest.raises(spectrim.SpectrimError, match=message):
        spectrim.blend(start, other)


def test_another_mean_is_refused_with_the_settings_that_keep_it():
    start, trained = models()
    trained.config = dataclasses.replace(trained.config, mean=-3.5)
    text = rf"differ in mean.*model\.mean={start.config.mean} model\.std={start.config.std}"
    with pytest.raises(spectrim.SpectrimError, match=text):
        spectrim.blend(start, trained)


def test_a_fraction_out_of_range_is_refused():
    start, trained = models()
    with pytest.raises(spectrim.SpectrimError, match="expected 0 to 1"):
        spectrim.blend(start, trained, 1.5)
