"""What is exported gives PyTorch's logits, in every runtime, for clips of any length."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from cuts import ties

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.deploy.graph import keep_top_in_order
from spectrim.models.build import prune
from spectrim.pruning.plan import Plan
from spectrim.pruning.reductions import keep_top
from spectrim.pruning.stage import Stage
from spectrim.pruning.tokens import Tokens

CLOSE = 1e-4
BACKENDS = ("onnxruntime", "openvino")


def stages(*parts: tuple[int | str, str, float]) -> Plan:
    return Plan(tuple(Stage(at=at, score=score, keep_rate=rate) for at, score, rate in parts))


MIXED = stages((0, "attention", 0.7), (1, "intensity", 0.7), (2, "variation", 0.5))
AT_INPUT = stages(("input", "variation", 0.7), (0, "attention", 0.5), (1, "intensity", 0.5))
# Two or three blocks test tracing as well as twelve, in a fraction of the time.
CASES = {  # family, stride, padding, depth, plan
    "ast-16": ("ast", 16, "minimum", 3, MIXED),
    "ast-10-unpruned": ("ast", 10, "zero", 3, stages((0, "attention", 1.0))),
    "audiomae-10": ("audiomae", 10, "zero", 2, AT_INPUT),
}


def backend_or_skip(name: str) -> None:
    pytest.importorskip(name, reason=f"{name} is an extra: pip install 'spectrim[{name}]'")


def assert_same(model, path, backend, sounds, most_ties) -> None:
    """Logits within 1e-4 in batches of 8, 1 and 5, but for clips whose cut is a tie."""
    runner = spectrim.load_onnx(path, backend, threads=1)
    at, sizes = 0, iter((8, 1, 5) * len(sounds))
    worst, tied = 0.0, 0
    while at < len(sounds):
        batch = sounds[at : at + next(sizes)]
        at += len(batch)
        features, valid = model.features_from_waveforms(batch)
        with torch.inference_mode():
            expected = model(features, valid)
        apart = ties(model, features, valid).numpy()
        found = runner.logits(batch)
        probabilities = runner.probabilities(batch)
        assert found.shape == probabilities.shape == expected.shape
        torch.testing.assert_close(
            torch.from_numpy(probabilities), model.probabilities(torch.from_numpy(found))
        )
        errors = np.abs(found - expected.numpy()).max(1)
        worst = max(worst, float(errors[~apart].max(initial=0.0)))
        tied += int(apart.sum())
    assert worst < CLOSE
    assert tied <= most_ties, f"{tied} clips whose cut is a tie; the comparison says little"


@pytest.fixture(scope="module")
def exported(needed, make, tmp_path_factory):
    """`exported("audiomae-10")`: a model and its file, made once."""
    folder, made = tmp_path_factory.mktemp("cases"), {}

    def exported(name):
        if name not in made:
            family, stride, padding, depth, plan = CASES[name]
            model = make(family, stride=stride, depth=depth, padding=padding).with_plan(plan)
            made[name] = model, spectrim.export(model, folder / f"{name}.onnx")
        return made[name]

    return exported


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "name",
    [
        "ast-16",  # as the built-in model is
        "audiomae-10",
        "ast-10-unpruned",
    ],
)
@pytest.mark.slow  # test_onnx_model.py compares the built-in model
def test_logits_are_those_of_torch(exported, sounds, name, backend):
    backend_or_skip(backend)
    assert_same(*exported(name), backend, sounds, most_ties=5)


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_built_in_model_is_the_same_too(pruned, digits, sounds, backend):
    backend_or_skip(backend)
    assert_same(pruned, digits, backend, sounds, most_ties=2)


@pytest.mark.slow
@pytest.mark.parametrize("score", ["attention", "intensity", "variation"])
@pytest.mark.parametrize("keep_rate", [1.0, 0.7, 0.5])
@pytest.mark.parametrize("stride", [16, 10])
@pytest.mark.parametrize("family", ["ast", "audiomae"])
def test_every_preset_plan(needed, sounds, tmp_path, family, stride, keep_rate, score):
    torch.manual_seed(0)
    model = spectrim.create(f"{family}-tiny", frames=128, classes=7, stride=stride)
    model = spectrim.prune(model, keep_rate, score)
    path = spectrim.export(model, tmp_path / "model.onnx")
    for backend in BACKENDS:
        # Random weights attend to all alike, so that cuts by attention are nearer than real ones.
        assert_same(model, path, backend, sounds, most_ties=20)


@pytest.mark.parametrize("seed", range(20))
def test_in_order_keeps_what_keep_top_keeps(seed):
    """Few different values: most cuts go through ties, which the lower index wins."""
    generator = torch.Generator().manual_seed(seed)
    batch, patches, width = 3, 40, 4
    count = int(torch.randint(1, patches, (), generator=generator))
    scores = torch.randint(0, 4, (batch, patches), generator=generator).float()
    scores[scores == 0] = -torch.inf
    origin = torch.arange(patches).expand(batch, -1)
    tokens = Tokens(torch.randn(batch, patches + 2, width, generator=generator), 2, origin)
    expected = keep_top(tokens, scores, count, None)
    found = keep_top_in_order(tokens, scores, count, None)
    assert torch.equal(found.origin, expected.origin.sort(1).values)
    assert torch.equal(found.patches, tokens.patches.gather(1, found.origin[..., None].expand(
        -1, -1, width)))  # fmt: skip


@pytest.mark.slow
def test_runtimes_break_ties_alike(needed, make, tmp_path):
    """Whole numbers as features: means of patches tie exactly, in every arithmetic."""
    model = make("ast", depth=1).with_plan(stages(("input", "intensity", 0.3)))
    path = spectrim.export(model, tmp_path / "ties.onnx", input="features")
    values = torch.randint(0, 3, (6, 8, 8), generator=torch.Generator().manual_seed(1)).float()
    features = values.repeat_interleave(16, 1).repeat_interleave(16, 2)
    valid = torch.tensor([128, 128, 100, 64, 16, 0])
    with torch.inference_mode():
        expected = model(features, valid).numpy()
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is not None:
            runner = spectrim.load_onnx(path, backend, threads=1)
            found = runner.run(features.numpy(), valid.numpy(), "logits")
            np.testing.assert_allclose(found, expected, atol=CLOSE)
            with pytest.raises(SpectrimError, match="--input waveform"):
                runner.probabilities([np.zeros(16_000, np.float32)])


def spread(context):
    """A score of one's own that traces."""
    return context.k.mean(1)[:, context.tokens.num_prefix_tokens :].norm(dim=-1)


def branching(context):
    """One that does not: it looks at values."""
    scores = context.class_row()
    return scores if scores.sum() > 0 else -scores


def searching(context):
    """One with an operation that ONNX lacks."""
    scores = context.class_row()
    return torch.searchsorted(scores.sort(1).values.contiguous(), scores).float()


def masking(tokens, scores, count, context):
    """A reduction that calls a function of Spectrim which reads values."""
    return tokens.only(scores > 0)


def fixing(context):
    """One that takes the batch as a number."""
    return context.class_row() * torch.ones(len(context.tokens.x), 1)


@pytest.mark.slow
def test_a_score_of_ones_own_is_exported(needed, make, sounds, tmp_path):
    plan = Plan((Stage(at=0, score=spread, keep_rate=0.5),))
    model = make("ast", depth=1).with_plan(plan)
    path = spectrim.export(model, tmp_path / "own.onnx")
    assert_same(model, path, "onnxruntime", sounds[:14], most_ties=2)


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (
            branching,
            r"in your own code \(\S*branching; \S+test_export\.py, line \d+\): Could not guard",
        ),
        pytest.param(
            searching,
            r"there is no ONNX function for aten\.searchsorted\. .*searching",
            marks=pytest.mark.slow,
        ),
        pytest.param(fixing, r"fixing\) fixes", marks=pytest.mark.slow),
    ],
)
def test_a_score_that_does_not_trace_is_named(needed, make, tmp_path, score, said):
    model = make("ast", depth=1).with_plan(Plan((Stage(at=0, score=score, keep_rate=0.5),)))
    with pytest.raises(SpectrimError, match=said):
        spectrim.export(model, tmp_path / "own.onnx", input="features")
    assert not list(tmp_path.iterdir())


def test_spectrims_own_code_is_not_called_the_users(needed, make, tmp_path):
    stage = Stage(at=0, score="attention", keep_rate=0.5, reduction=masking)
    model = make("ast", depth=1).with_plan(Plan((stage,)))
    with pytest.raises(SpectrimError, match=r"failed in Spectrim \(.*tokens\.py, line") as error:
        spectrim.export(model, tmp_path / "own.onnx", input="features")
    assert "failed in your own code" not in str(error.value)
    assert "masking" in str(error.value) and "\n" not in str(error.value)


def test_what_cannot_be_exported(needed, make, tmp_path):
    model = make("ast", depth=3)
    out = tmp_path / "no.onnx"
    with pytest.raises(SpectrimError, match="'random', which cannot be exported"):
        spectrim.export(model.with_plan(stages((0, "random", 0.5))), out)
    with pytest.raises(SpectrimError, match="Did you mean 'waveform'"):
        spectrim.export(model, out, input="waveforms")
    with pytest.raises(SpectrimError, match="Did you mean 'int8'"):
        spectrim.export(model, out, quantize="int4")
    with pytest.raises(SpectrimError, match="quantize='int8'"):
        spectrim.export(model, out, calibration=[])
    with pytest.raises(SpectrimError, match="holds no batch"):
        spectrim.export(model, out, quantize="int8", calibration=[])
    with pytest.raises(SpectrimError, match="float32 model on the CPU"):
        spectrim.export(make("ast", depth=3, dtype=torch.bfloat16), out)
    assert not out.exists()


def test_export_leaves_the_model_as_it_was(exported):
    model, _ = exported("audiomae-10")
    assert all(stage.reduce is keep_top for stage in model.plan.stages)


@pytest.mark.parametrize(
    "reduction",
    [
        "segments",
        # Each export takes 10 s or more.
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("tome", "evit", "pitome", "diffrate", "adjacent")
        ),
    ],
)
def test_reductions_give_the_same_logits_when_exported(needed, make, heard, tmp_path, reduction):
    """On real clips, two of which are padded.

    Padding holds near-equal patches. Rounding decides which of them merge, so the
    logits are less close.
    """
    model = prune(make("ast", depth=2), 0.8, blocks=(0, 1), reduction=reduction)
    path = spectrim.export(model, tmp_path / "merged.onnx", input="features")
    features, valid = heard("dog", "digit", "word")
    with torch.inference_mode():
        expected = model(features, valid).numpy()
    logits = spectrim.load_onnx(path, threads=1).run(features.numpy(), valid.numpy(), "logits")
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    assert np.ptp(expected) > 0.5
    assert (logits.argmax(1) == expected.argmax(1)).all()


def test_what_cannot_be_exported_says_why(make, tmp_path):
    model = prune(make("ast", depth=3), 0.8, blocks=(0, 2), reduction="ats")
    reason = "different numbers of patches"
    with pytest.raises(SpectrimError, match=f"ats.*cannot be exported.*{reason}"):
        spectrim.export(model, tmp_path / "none.onnx")
