"""`export`, and `tag` and `sweep` of what it wrote."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from spectrim.models.presets import preset
from spectrim.models.transformer import SpectrogramTransformer

WORDS = ("export", "shallow", "--keep-rate", "0.5", "--blocks", "0")


@pytest.fixture(scope="module")
def exported(run, folder):
    """`pruned.onnx` of `shallow`, by the command line."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"export needs {package}: pip install {package}")
    # One block: what the command line does with a file does not depend on how many there are.
    config = preset("ast-tiny", ("low", "high"), frames=64, depth=1, activation="softmax",
                    metric="accuracy")  # fmt: skip
    SpectrogramTransformer(config).save(folder / "shallow")
    done = run(*WORDS, "--out", "pruned.onnx", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["plan"]["stages"] == [
        {"at": 0, "score": "attention", "reduction": "keep-top", "keep_rate": 0.5}
    ]
    assert row["bytes"] == (folder / "pruned.onnx").stat().st_size
    rows = [f"clips/{at}.wav,{label},{1 + at // 2}" for at, label in enumerate(["low", "high"] * 2)]
    (folder / "folds.csv").write_text("path,label,fold\n" + "\n".join(rows) + "\n")
    return folder


def test_tag_runs_the_file_without_torch(exported, run):
    words = ["tag", "clips/0.wav", "--model", "pruned.onnx", "--json", "--threads", "1"]
    code = (
        "import sys\nfrom spectrim.cli.main import main\n"
        f"sys.argv = ['spectrim', *{words!r}]\n"
        "main()\nassert 'torch' not in sys.modules, 'torch'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=exported, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    whole = json.loads(done.stdout)
    assert whole["backend"] == "onnxruntime" and whole["threads"] == 1
    expected = json.loads(
        run("tag", "clips/0.wav", "--model", "shallow", "--json", "--keep-rate", "0.5",
            "--blocks", "0").stdout
    )  # fmt: skip
    assert whole["plan"] == expected["plan"] and whole["frames"] == expected["frames"]
    for ours, theirs in zip(whole["rows"], expected["rows"], strict=True):
        assert ours["end"] == theirs["end"]
        assert ours["labels"][0]["label"] == theirs["labels"][0]["label"]
        assert ours["labels"][0]["probability"] == pytest.approx(
            theirs["labels"][0]["probability"], abs=1e-4
        )


def test_sweep_gives_one_row_a_file(exported, run, tmp_path):
    shutil.copy(exported / "pruned.onnx", exported / "same.onnx")
    words = ("sweep", "--model", "pruned.onnx", "--model", "same.onnx", "--rounds", "1",
             "--out", str(tmp_path))  # fmt: skip
    done = run(*words, "--data", "clips.csv", "--json")
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)["rows"]
    assert [first["model"], second["model"]] == ["pruned.onnx", "same.onnx"]
    assert (first["score"], first["keep_rate"], first["metric"]) == ("attention", 0.5, "accuracy")
    assert first["against"] == second["against"] == "pruned.onnx"
    assert first["agreement"]["top1"]["value"] == second["agreement"]["top1"]["value"] == 1.0
    assert second["ms_per_clip"] > 0 and second["gmacs"] == first["gmacs"]
    assert (tmp_path / "probabilities-same.onnx.npz").exists()
    done = run(*words, "--data", "clips")
    assert "pruned.onnx" in done.stdout and "same top-1" in done.stdout
    assert "waveforms to probabilities" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_a_file_is_quantized_and_compared(exported, run, tmp_path):
    done = run(*WORDS, "--out", "int8.onnx", "--quantize", "int8", "--calibrate", "folds.csv")
    assert done.returncode == 0, done.stderr
    assert "calibrating with 4 clips" in done.stderr and "--leave-out-fold" in done.stderr
    assert "int8 static" in " ".join(done.stdout.split())
    words = ("sweep", "--model", "pruned.onnx", "--model", "int8.onnx", "--no-timing", "--json",
             "--data", "clips.csv", "--out", str(tmp_path))  # fmt: skip
    done = run(*words)
    assert done.returncode == 0, done.stderr
    pruned, int8 = json.loads(done.stdout)["rows"]
    assert int8["quantization"] == "int8 static" and pruned["quantization"] == "none"
    assert int8["against"] == "pruned.onnx" and int8["gmacs"] == pruned["gmacs"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("tag", "clips/0.wav", "--model", "any.onnx", "--score", "variation"), "--score varia"),
        (("tag", "clips/0.wav", "--model", "any.onnx", "--blocks", "3"), "--blocks 3"),
        (("tag", "clips/0.wav", "--model", "model", "--score", "variation"), "requires --keep"),
        (("sweep", "--model", "any.onnx", "--scores", "random"), "--scores random"),
        (("export", "model", "--out", "x.onnx", "--quantize", "int8", "--calibrate", "clips.csv",
          "--leave-out-fold", "7"), "no fold 7"),
        (("bench", "--model", "model", "--quantize", "int8", "--backends", "openvino"),
         "Add --calibrate"),
        (("export", "model", "--out", "x.txt"), "ends in .onnx"),
        (("export", "model", "--out", "x.pth"), "For a folder, use spectrim convert"),
        (("export", "model", "--out", "x", "--quantize", "int8"), "--quantize requires an ONNX"),
        (("export", "model", "--out", "x.onnx", "--score", "variation"), "requires --keep"),
        (("export", "model", "--out", "x.onnx", "--blocks", "0"), "requires --keep"),
        (("export", "model", "--out", "x.onnx", "--input", "wave"), "Did you mean 'waveform'"),
        (("export", "model", "--out", "x.onnx", "--quantize", "int4"), "Did you mean 'int8'"),
        (("export", "model", "--out", "x.onnx", "--calibrate", "clips"), "--quantize int8"),
        (("export", "model", "--out", "x.onnx", "--keep-rate", "0.5", "--score", "random"),
         "'random', which cannot be exported"),
        (("export", "nowhere", "--out", "x.onnx"), "nowhere"),
        (("tag", "clips/0.wav", "--model", "nowhere.onnx"), "nowhere.onnx: no such file"),
        (("tag", "clips/0.wav", "--model", "clips.csv.onnx", "--keep-rate", "0.5"),
         "the settings that it was exported with"),
        (("tag", "clips/0.wav", "--model", "x.onnx", "--device", "cuda"), "--device cuda"),
        (("tag", "clips/0.wav", "--model", "model", "--backend", "openvino"), "--backend is for"),
        (("sweep", "--model", "model", "--model", "x.onnx"), "Sweep them separately"),
        (("sweep", "--model", "model", "--backend", "openvino"), "--backend is for"),
    ],
)  # fmt: skip
def test_wrong_calls_end_with_2_and_a_sentence(run, folder, words, said):
    done = run(*words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list(folder.glob("x*"))


@pytest.mark.slow
def test_calibration_leaves_a_fold_out(exported, run):
    words = ("export", "shallow", "--out", "part.onnx", "--quantize", "int8", "--calibrate",
             "folds.csv", "--leave-out-fold", "2")  # fmt: skip
    done = run(*words)
    assert done.returncode == 0 and "calibrating with 2 clips" in done.stderr, done.stderr
