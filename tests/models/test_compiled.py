"""Compiled models give the logits of uncompiled ones; each is compiled once per batch size."""

from __future__ import annotations

import pytest
import torch

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.evaluation.bench.bench import bench


def inputs(model, batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, model.config.frames, 128, generator=generator)
    return features, torch.randint(20, model.config.frames, (batch,), generator=generator)


def fresh(make, family, score="attention"):
    return spectrim.prune(make(family, depth=2), 0.6, score, blocks=(0, 1))


@pytest.mark.parametrize(
    ("family", "score"), [("ast", "attention"), ("audiomae", "attention"), ("ast", "random")]
)
def test_logits_are_those_of_the_uncompiled_model(make, compilations, family, score):
    plain, model = fresh(make, family, score), fresh(make, family, score)
    model.compile()
    features, valid = inputs(model, 3)
    with torch.no_grad():
        torch.testing.assert_close(model(features, valid), plain(features, valid))
        torch.testing.assert_close(model(features), plain(features))
    assert set(compilations) == {3}


def test_a_smaller_batch_is_padded_and_a_larger_one_is_compiled(make, compilations):
    plain, model = fresh(make, "ast"), fresh(make, "ast")
    model.compile()
    for batch in (2, 1, 2, 3, 1):
        pair = inputs(model, batch, seed=batch)
        torch.testing.assert_close(model(*pair), plain(*pair).detach())
    assert compilations == [2, 3]
    assert set(model.compiled.seconds) == {2, 3}
    assert all(seconds > 0 for seconds in model.compiled.seconds.values())
    model.compiled.prepare(*inputs(model, 1))
    assert compilations == [2, 3, 1]


def test_more_models_than_pytorch_recompiles_one_function_for(make, compilations):
    models = [spectrim.prune(make("ast", depth=1), 0.5, blocks=(0,)) for _ in range(3)]
    pair = inputs(models[0], 2)
    with torch._dynamo.config.patch(recompile_limit=2):  # 8 by default
        for model in models:
            model.compile()
            model(*pair)
            model(*pair)
    assert len(compilations) == 3


def test_outputs_outlive_the_next_call(make, compilations):
    model = fresh(make, "ast")
    model.compile()
    first = model(*inputs(model, 2))
    kept = first.clone()
    model(*inputs(model, 2, seed=1))
    assert torch.equal(first, kept)


def test_pruning_a_compiled_model_gives_an_uncompiled_one(make, compilations):
    model = fresh(make, "audiomae")
    model.compile()
    pruned = spectrim.prune(model, 0.5, blocks=(1,))
    assert pruned.compiled is None and model.compiled is not None
    pruned(*inputs(model, 2))
    assert compilations == []


def test_training_and_other_keep_rates_run_uncompiled(make, compilations):
    model = fresh(make, "ast")
    model.compile()
    pair = inputs(model, 2)
    keep = torch.rand(2, model.grid.count) < 0.5
    expected = fresh(make, "ast")(*pair, keep=keep, keep_rate=0.9)
    torch.testing.assert_close(model(*pair, keep=keep, keep_rate=0.9), expected)
    assert model.train()(*pair).requires_grad
    assert compilations == []


def test_wrong_shapes_are_refused_before_compilation(make, compilations):
    model = fresh(make, "ast")
    model.compile()
    features, valid = inputs(model, 2)
    with pytest.raises(SpectrimError, match="features of shape"):
        model(features[:, 1:], valid)
    with pytest.raises(SpectrimError, match="one number of frames per clip"):
        model(features, valid[:1])
    assert compilations == []


def test_a_machine_without_a_compiler_is_a_sentence(make, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(SpectrimError, match=r"requires a C\+\+ compiler.*--compile"):
        fresh(make, "ast").compile()


def test_a_failing_compiler_is_a_sentence(make):
    def backend(graph, inputs):
        raise RuntimeError("no room on the device\nmore")

    model = fresh(make, "ast")
    model.compile(backend=backend)
    with pytest.raises(SpectrimError, match=r"cannot be compiled on this machine: .*--compile"):
        model(*inputs(model, 1))


def test_bench_compiles_each_batch_size(make, compilations):
    result = bench(make("ast", depth=2), "test", backends=["torch"], keep_rates=[0.5], blocks=[0],
                   batch_sizes=[2, 1], rounds=1, budget=600.0, matmul_size=64, memory=True,
                   threads=1, compile=True)  # fmt: skip
    assert [row["batch_size"] for row in result["rows"]] == [2, 2, 1, 1]
    assert all(row["compile_s"] > 0 and "peak_mb" not in row for row in result["rows"])
    assert sorted(compilations) == [1, 1, 2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["ast", "audiomae"])
def test_inductor_gives_the_same_logits(make, family):
    plain, model = fresh(make, family), fresh(make, family)
    model.compile(fullgraph=True)
    pair = inputs(model, 3)
    torch.testing.assert_close(model(*pair), plain(*pair).detach(), rtol=1e-4, atol=1e-5)
