"""Running an exported file: what it says, what a wrong one gets, int8, and no torch."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from cuts import ties

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.deploy.onnx_model import load_onnx

RATE = 16_000


def test_the_file_says_what_a_caller_needs(pruned, digits):
    said = load_onnx(digits).metadata
    assert said.labels == pruned.labels
    assert (said.sampling_rate, said.frames, said.window_samples) == (RATE, 128, 127 * 160 + 400)
    assert [stage["keep_rate"] for stage in said.plan["stages"]] == [0.7] * 3
    assert (said.activation, said.metric, said.input) == ("softmax", "accuracy", "waveform")
    assert said.macs == spectrim.macs(pruned) and said.quantization == "none"


def test_the_metadata_is_where_onnx_puts_it(digits):
    """Any runtime's own reader finds the same texts."""
    import onnxruntime

    session = onnxruntime.InferenceSession(digits, providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    assert texts == load_onnx(digits).metadata.to_texts()
    assert [(i.name, i.type) for i in session.get_inputs()] == [
        ("waveforms", "tensor(float)"),
        ("lengths", "tensor(int64)"),
    ]
    assert [o.name for o in session.get_outputs()] == ["probabilities", "logits", "embedding"]


def test_embeddings_are_those_of_torch(pruned, digits, sounds):
    waveforms = sounds[:6]
    with torch.inference_mode():
        features, valid = pruned.features_from_waveforms(waveforms)
        expected = pruned.embed(features, valid)
    assert not ties(pruned, features, valid).any()
    for backend in ("onnxruntime", "openvino"):
        if backend == "openvino" and importlib.util.find_spec("openvino") is None:
            continue
        runner = load_onnx(digits, backend)
        values = torch.from_numpy(runner.embeddings(waveforms))
        torch.testing.assert_close(values, expected, atol=1e-4, rtol=1e-4)
        assert runner.embedding_width == expected.shape[1]


def test_the_labels_are_beside_the_file(pruned, digits):
    assert json.loads(digits.with_suffix(".labels.json").read_text()) == pruned.labels


def test_nothing_of_who_exported_stays_in_the_file(digits):
    content = digits.read_bytes()
    assert b".py" not in content and b"stack_trace" not in content


def test_tags_are_those_of_torch(pruned, digits):
    whole = np.random.default_rng(0).normal(0, 0.1, 5 * RATE).astype(np.float32)
    for one_row in (None, "mean"):
        expected = spectrim.tag(pruned, (whole, RATE), one_row=one_row)
        found = spectrim.tag(spectrim.load_onnx(digits), (whole, RATE), one_row=one_row)
        for ours, theirs in zip(found, expected, strict=True):
            assert (ours["start"], ours["end"]) == (theirs["start"], theirs["end"])
            assert [e["label"] for e in ours["labels"]] == [e["label"] for e in theirs["labels"]]
            assert [e["probability"] for e in ours["labels"]] == pytest.approx(
                [e["probability"] for e in theirs["labels"]], abs=1e-4
            )


def test_running_imports_no_torch(digits):
    code = (
        "import sys, numpy, spectrim\n"
        f"model = spectrim.load_onnx({str(digits)!r})\n"
        "rows = spectrim.tag(model, (numpy.zeros(16000, 'float32'), 16000))\n"
        "model.context('m', 1)\n"
        "assert len(rows) == 1\n"
        "assert not {'torch', 'onnx', 'sklearn'} & set(sys.modules), 'heavy'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_paths_that_are_no_file_are_named(tmp_path):
    for path, problem in (
        (tmp_path, "is a folder"), (tmp_path / "x.onnx", "no such file"),
        (tmp_path / ("n" * 300 + ".onnx"), "File name too long"),
        ("/dev/zero", "is a device"), ("https://host.org/x.onnx", "addresses are not fetched"),
    ):  # fmt: skip
        with pytest.raises(SpectrimError, match=problem):
            spectrim.load_onnx(path)


def test_no_clips_give_no_rows(digits):
    assert spectrim.load_onnx(digits).probabilities([]).shape == (0, 10)


def test_wrong_files_are_named(digits, tmp_path):
    import onnx

    whole = digits.read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.onnx").write_text("no model at all")
    (tmp_path / "empty.onnx").write_bytes(b"")
    sides = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    identity = onnx.helper.make_node("Identity", ["x"], ["y"])
    foreign = onnx.helper.make_model(
        onnx.helper.make_graph([identity], "g", sides[:1], sides[1:]),
        ir_version=10,
        opset_imports=[onnx.helper.make_opsetid("", 20)],
    )
    onnx.save(foreign, tmp_path / "foreign.onnx")
    for name, key, value in (("newer", "format_version", "2"), ("odd", "labels", "[")):
        changed = onnx.load(digits)
        for entry in changed.metadata_props:
            if entry.key == key:
                entry.value = value
        onnx.save(changed, tmp_path / f"{name}.onnx")
    broken = onnx.load(digits)
    broken.graph.node[5].op_type = "Nonsense"
    onnx.save(broken, tmp_path / "broken.onnx")
    for name, said in {
        "missing": "no such file",
        "cut": "ONNX Runtime cannot read it",
        "text": "ONNX Runtime cannot read it",
        "empty": "ONNX Runtime cannot read it",
        "foreign": "not one that `spectrim export` wrote",
        "newer": "format version 2",
        "odd": "'labels' is '\\['",
        "broken": "ONNX Runtime cannot read it",
    }.items():
        with pytest.raises(SpectrimError, match=rf"{name}\.onnx: .*{said}"):
            spectrim.load_onnx(tmp_path / f"{name}.onnx")
    with pytest.raises(SpectrimError, match="is a folder"):
        spectrim.load_onnx(tmp_path)
    with pytest.raises(SpectrimError, match="is an ONNX file"):
        spectrim.load(digits)
    with pytest.raises(SpectrimError, match="Did you mean 'onnxruntime'"):
        spectrim.load_onnx(digits, "onnxruntim")


def test_openvino_reads_the_same_metadata_without_onnx_runtime(digits):
    pytest.importorskip("openvino", reason="openvino is an extra: pip install 'spectrim[openvino]'")
    code = (
        "import sys\nsys.modules['onnxruntime'] = None\nimport spectrim\n"
        f"print(spectrim.load_onnx({str(digits)!r}, 'openvino').metadata.to_texts())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ast.literal_eval(done.stdout) == load_onnx(digits).metadata.to_texts()


def test_a_missing_extra_says_what_to_install(digits, monkeypatch):
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(SpectrimError, match=f"requires the package {name}"):
            spectrim.load_onnx(digits, name)


@pytest.mark.parametrize("calibrated", [pytest.param(False, marks=pytest.mark.slow), True])
def test_int8_agrees_with_float32(make, sounds, tmp_path, calibrated):
    """Close, smaller, and the filter bank, norms and scores untouched."""
    import onnx
    from onnx import numpy_helper

    model = spectrim.prune(make("ast", depth=1), 0.5, blocks=[0])
    calibration = [sounds[at : at + 8] for at in range(0, 24, 8)] if calibrated else None
    path = spectrim.export(model, tmp_path / "int8.onnx", quantize="int8", calibration=calibration)
    said = load_onnx(path).metadata.quantization
    assert said == ("int8 static" if calibrated else "int8 dynamic")
    proto = onnx.load(path)
    stored = {entry.name: entry.data_type for entry in proto.graph.initializer}
    kept = [name for name, kind in stored.items() if kind == onnx.TensorProto.FLOAT]
    for part in ("fourier", "mel", "patch.weight", "head.weight"):
        assert any(part in name for name in kept), part
    eight = [name for name, kind in stored.items() if kind == onnx.TensorProto.INT8]
    assert len([name for name in eight if "scale" not in name and "zero" not in name]) == 4
    # On AVX2 two products of 8-bit weights would overflow their sum.
    largest = [
        int(np.abs(numpy_helper.to_array(entry).astype(int)).max())
        for entry in proto.graph.initializer
        if entry.data_type == onnx.TensorProto.INT8
    ]
    assert 60 <= max(largest) <= 64
    found = spectrim.load_onnx(path).logits(sounds)
    expected = model(*model.features_from_waveforms(sounds)).detach().numpy()
    correlation = np.corrcoef(found.ravel(), expected.ravel())[0, 1]
    assert correlation > 0.98
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.85


@pytest.mark.slow
def test_int8_of_features_is_calibrated_by_features(make, sounds, tmp_path):
    """The same ranges, whichever end of the graph the clips come in at."""
    onnxruntime = pytest.importorskip("onnxruntime")
    model = make("ast", depth=1)
    paths = [
        spectrim.export(
            model, tmp_path / f"{input}.onnx", input=input, quantize="int8",
            calibration=[sounds[:8], sounds[8:16]],
        )
        for input in ("waveform", "features")
    ]  # fmt: skip
    features, valid = (part.numpy() for part in model.features_from_waveforms(sounds))
    session = onnxruntime.InferenceSession(str(paths[1]))
    (found,) = session.run(["logits"], {"features": features, "valid": valid})
    np.testing.assert_allclose(found, spectrim.load_onnx(paths[0]).logits(sounds), atol=2e-2)
