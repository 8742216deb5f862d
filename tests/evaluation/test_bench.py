"""The benchmark: which rows it has, how they follow from times, and which calls it refuses."""

from __future__ import annotations

import copy
import json
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

import spectrim
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.evaluation.bench.bench import bench
from spectrim.evaluation.bench.candidates import PlannedModel
from spectrim.evaluation.bench.exports import export_within, exportable
from spectrim.evaluation.bench.machine import matrix_product
from spectrim.evaluation.bench.memory import peak_memory
from spectrim.evaluation.bench.transformers_ast import Transformers
from spectrim.evaluation.timing import Timing
from spectrim.models.device import to_device
from spectrim.models.provenance import plan_record
from spectrim.pruning.plan import paper_plan

MEASURED = ("ms_per_clip", "clips_per_s", "gmac_per_s", "machine_gmac_per_s", "speedup")
QUICK = {"rounds": 1, "budget": 1e9, "matmul_size": 64, "memory": False, "threads": 1}


def test_there_is_a_row_for_each_batch_size_and_keep_rate(make):
    model = make("ast", depth=2)
    seen = []
    result = bench(model, "test", backends=["torch"], keep_rates=[0.5], blocks=[0],
                   batch_sizes=[1, 2], steps=seen.append, **QUICK)  # fmt: skip
    json.dumps(result, allow_nan=False)
    rows = result["rows"]
    assert [(r["batch_size"], r["keep_rate"]) for r in rows] == [
        (1, 1.0), (1, 0.5), (2, 1.0), (2, 0.5),
    ]  # fmt: skip
    pruned = spectrim.prune(model, 0.5, blocks=[0])
    for row in rows:
        assert row["pairs"] == 1
        assert all(math.isfinite(row[key]) and row[key] > 0 for key in MEASURED)
    assert rows[0]["mac_ratio"] == rows[2]["mac_ratio"] == 1
    assert rows[1]["mac_ratio"] == spectrim.macs(model) / spectrim.macs(pruned)
    assert [part["stage"] for part in result["stages"]] == [
        "decode", "resample", "filter bank", "model",
    ]  # fmt: skip
    for key in ("threads", "device", "dtype", "frames", "versions", "format_version"):
        assert key in result
    assert seen


def test_rows_are_reckoned_from_what_was_timed(make, monkeypatch):
    """Of planted times: unpruned, pruned, product; and the other program, unpruned, pruned."""
    planted = [
        [Timing(0.5, 1.0, 3), Timing(0.2, 2.5, 3, 2.0, 3.0), Timing(0.001, 500.0, 3)],
        [Timing(0.9, 1.0, 3), Timing(0.6, 1.5, 3), Timing(0.25, 3.6, 3, 3.5, 4.0)],
    ]
    timed = []

    def plant(calls, *words, **more):
        timed.append(calls)
        return planted[len(timed) - 1]

    class Reference:
        description = "another program"

        def call(self, waveforms):
            return len(waveforms)

    monkeypatch.setattr("spectrim.evaluation.bench.timed_rows.interleaved_within", plant)
    monkeypatch.setattr("spectrim.evaluation.bench.bench.stages", lambda *words: [])
    monkeypatch.setattr("spectrim.evaluation.bench.bench.reference_of", lambda *words: Reference())
    model = make("ast", depth=1)
    result = bench(model, "test", backends=["torch"], keep_rates=[0.5], blocks=[0],
                   batch_sizes=[2], against="another",
                   **(QUICK | {"matmul_size": 200}))  # fmt: skip
    assert timed[0][2]().shape == (200, 200) and timed[1] == [2, *timed[0][:2]]
    plain, pruned = result["rows"]
    costs = [spectrim.macs(model), spectrim.macs(spectrim.prune(model, 0.5, blocks=[0]))]
    numbers = ("ms_per_clip", "clips_per_s", "speedup", "speedup_against", "machine_gmac_per_s")
    # 200^3 multiply-accumulates in a millisecond are 8 GMAC/s.
    assert [plain[key] for key in numbers] == pytest.approx([250, 4, 1, 1.5, 8])
    assert [pruned[key] for key in numbers] == pytest.approx([100, 10, 2.5, 3.6, 8])
    assert pruned["speedup_quartiles"] == [2.0, 3.0]
    assert pruned["speedup_against_quartiles"] == [3.5, 4.0]
    assert plain["gmac_per_s"] == pytest.approx(costs[0] * 4 / 1e9)
    assert pruned["share_of_machine"] == pytest.approx(costs[1] * 10 / 8e9)
    assert result["machine_gmac_per_s"] == pytest.approx(8)


def test_against_transformers(make):
    pytest.importorskip("transformers", reason="its AST is what is compared with")
    result = bench(make("ast", depth=1), "test", backends=["torch"], keep_rates=[1.0],
                   against="transformers", batch_sizes=[1], **QUICK)  # fmt: skip
    (row,) = result["rows"]
    assert row["speedup_against"] > 0 and "filter bank" in result["against"]
    with pytest.raises(SpectrimError, match="of family 'audiomae'"):
        bench(make("audiomae", depth=1), "test", against="transformers", **QUICK)


@pytest.mark.parametrize(
    "wrong",
    [{"backends": ["openvino"], "quantize": ["int8"]}, {"backends": ["tensorflow"]},
     {"quantize": ["none", "int8"]},
     {"quantize": ["int4"]}, {"against": "keras"},
     {"batch_sizes": [0]}, {"keep_rates": [2.0]}],
)  # fmt: skip
def test_wrong_values(make, wrong):
    with pytest.raises(SpectrimError):
        bench(make("ast", depth=1), "test", **({"backends": ["torch"]} | wrong), **QUICK)


def test_every_backend_is_given_as_many_threads_as_torch_has(make, monkeypatch):
    pytest.importorskip("onnxruntime", reason="it is what is given them")
    given = []

    def stop(path, backend, threads):
        given.append(threads)
        raise SpectrimError("enough")

    monkeypatch.setattr(
        "spectrim.evaluation.bench.bench.export_within", lambda *given: {"1.0": Path("file")}
    )
    monkeypatch.setattr("spectrim.evaluation.bench.candidates.load_onnx", stop)
    with pytest.raises(SpectrimError, match="enough"):
        bench(make("ast", depth=1), "test", backends=["onnxruntime"], keep_rates=[1.0],
              **(QUICK | {"threads": None}))  # fmt: skip
    assert given == [torch.get_num_threads()]


def killed(*task):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_has_no_peak(tmp_path, monkeypatch):
    """As where memory ends; all that was timed before is not lost for it."""
    monkeypatch.setattr("spectrim.evaluation.bench.memory._peak", killed)
    assert peak_memory(tmp_path, "torch", 16_000, 1, 1) is None


@pytest.mark.slow
def test_int8_with_clips_to_calibrate_by(make):
    pytest.importorskip("onnxruntime", reason="int8 runs in it")
    clips = [[np.random.default_rng(0).normal(0, 0.1, 20_000).astype(np.float32)]]
    result = bench(make("ast", depth=1), "test", backends=["onnxruntime"], keep_rates=[1.0],
                   quantize=["int8"], calibration=clips, batch_sizes=[1],
                   **QUICK)  # fmt: skip
    assert [row["quantization"] for row in result["rows"]] == ["int8"]


def test_what_cannot_run_is_said_before_anything_is_timed(make, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("timed")

    monkeypatch.setattr("spectrim.evaluation.bench.bench.stages", never)
    for wrong, said in (
        ({"backends": ["torch", "openvino"]}, "the backend openvino requires the package openvino"),
        ({"backends": ["openvino"], "quantize": ["int8"]}, "Add --calibrate"),
        ({"backends": ["torch", "onnxruntime"], "score": "random"}, "cannot be exported"),
    ):
        with monkeypatch.context() as patch:
            if "openvino" in wrong["backends"]:
                patch.setattr(
                    "importlib.util.find_spec", lambda name: True if name == "torch" else None
                )
            with pytest.raises(SpectrimError, match=said):
                bench(make("ast", depth=1), "test", keep_rates=[0.5], blocks=[0], **wrong, **QUICK)


def test_a_model_in_half_precision_is_timed_as_it_is(make):
    """By torch alone; the machine's rate, the other program and the memory in its dtype too."""
    pytest.importorskip("transformers", reason="its AST is what is compared with")
    model = to_device(copy.deepcopy(make("ast", depth=1)), "cpu", "bfloat16")
    result = bench(model, "test", keep_rates=[0.5], blocks=[0], batch_sizes=[2],
                   against="transformers", **QUICK)  # fmt: skip
    assert [row["backend"] for row in result["rows"]] == ["torch", "torch"]
    assert (result["dtype"], result["device"]) == ("bfloat16", "cpu")
    assert all(row["speedup_against"] > 0 for row in result["rows"])
    for backend in ("onnxruntime", "openvino"):
        with pytest.raises(SpectrimError, match=r"on cpu in bfloat16.*--backends"):
            bench(model, "test", backends=["torch", backend], **QUICK)
    with pytest.raises(SpectrimError, match="int8 is for exported files"):
        bench(model, "test", quantize=["int8"], **QUICK)
    left, right = matrix_product(8, torch.device("cpu"), torch.bfloat16).__closure__
    assert left.cell_contents.dtype == right.cell_contents.dtype == torch.bfloat16


def test_the_other_program_computes_what_it_is_given_in_its_dtype(make):
    pytest.importorskip("transformers", reason="its AST is what is compared with")
    model = make("ast", depth=1)
    sounds = [np.random.default_rng(at).normal(0, 0.1, 9_000).astype(np.float32) for at in (0, 1)]
    reference = Transformers(model)
    exact = reference.call(sounds)()
    reference.model.to(torch.bfloat16)
    half = reference.call(sounds)()
    assert exact.dtype == half.dtype == np.float32 and exact.shape == half.shape
    np.testing.assert_allclose(half, exact, atol=0.02)
    assert (half != exact).any()


@pytest.mark.slow
def test_memory_of_a_score_of_ones_own(make):
    """The process that measures loads the pruned model from where the benchmark saved it."""
    result = bench(make("ast", depth=1), "test", backends=["torch"], keep_rates=[0.5], blocks=[0],
                   batch_sizes=[1], score="extensions:peak", reduction="extensions:merge",
                   **(QUICK | {"memory": True}))  # fmt: skip
    assert all(row["peak_mb"] > 50 for row in result["rows"])


@pytest.mark.slow
def test_peak_memory_of_an_exported_model_knows_no_torch(make, tmp_path):
    model = make("ast", depth=1)
    path = spectrim.export(model, tmp_path / "model.onnx")
    model.save(tmp_path / "model")
    exported = peak_memory(path, "onnxruntime", 20_000, 1, 1)
    own = peak_memory(tmp_path / "model", "torch", 20_000, 1, 1)
    assert exported is not None and own is not None
    assert 20 < exported < own < 2000


def test_the_recommended_plan_has_rows_of_its_own(make):
    """Also where keep-top has the same keep rate."""
    model = make("ast", depth=2)
    plan = paper_plan(0.5, reduction="tome", depth=2)
    result = bench(model, "test", backends=["torch"], keep_rates=[0.5], blocks=[0],
                   recommended=plan, batch_sizes=[1], **QUICK)  # fmt: skip
    unpruned, recommended, pruned = result["rows"]
    assert recommended["recommended"] is True and recommended["keep_rate"] == 0.5
    assert recommended["plan"] == plan_record(plan)
    merged = spectrim.prune(model, plan=plan)
    assert recommended["mac_ratio"] == spectrim.macs(model) / spectrim.macs(merged)
    assert recommended["mac_ratio"] != pruned["mac_ratio"] and pruned["keep_rate"] == 0.5
    assert "recommended" not in unpruned | pruned
    assert (result["score"], result["blocks"]) == ("attention", [0])


def test_a_recommended_plan_that_cannot_be_exported_is_timed_with_torch(make, monkeypatch):
    exports = []

    def fail(model, file, **options):
        if model is not plain:
            raise SpectrimError("it keeps different numbers of patches.")
        exports.append(file.name)

    monkeypatch.setattr("spectrim.evaluation.bench.exports.export", fail)
    monkeypatch.setattr("spectrim.evaluation.bench.exports.keep_in_cache", lambda key, file: None)
    plain = make("ast", depth=1)
    adaptive = spectrim.prune(plain, 0.5, blocks=(0,), reduction="ats")
    models = [PlannedModel("1.0", 1.0, plain), PlannedModel("recommended", 0.5, adaptive)]
    with pytest.warns(SpectrimNotice, match="timed with torch only: it keeps different numbers"):
        files = export_within(models, "none", None, Path(), 1e9, print)
    assert list(files) == ["1.0"] and exports == ["1.0-none.onnx"]
    others = [*models[:1], PlannedModel("0.5", 0.5, adaptive)]
    with pytest.raises(SpectrimError, match="different numbers"):
        export_within(others, "none", None, Path(), 1e9, print)
    # What declares that it cannot be exported is known before.
    by_lot = spectrim.prune(plain, 0.5, "random", blocks=(0,))
    with pytest.warns(SpectrimNotice, match="recommended plan is timed with torch only"):
        assert exportable([*models[:1], PlannedModel("recommended", 0.5, by_lot)]) == models[:1]
    with pytest.raises(SpectrimError, match="cannot be exported"):
        exportable([PlannedModel("0.5", 0.5, by_lot)])
