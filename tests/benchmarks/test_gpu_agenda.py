import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from small_corpora import make_corpora

ROOT = Path(__file__).resolve().parents[2]
PIECES = (
    "kernels",
    "correctness",
    "speed",
    "compiled",
    "profiling",
    "training",
    "commands",
    "training_queue",
)


@pytest.mark.slow
def test_whole_agenda_runs_on_the_cpu_in_a_tiny_setting(tmp_path):
    corpora = make_corpora(tmp_path / "corpora")  # of the sample pack, as in CI
    packed, out = tmp_path / "data", tmp_path / "out"
    pack = [sys.executable, str(ROOT / "benchmarks/gpu/pack_audio.py"), str(corpora), str(packed)]
    subprocess.run([*pack, "12"], check=True, capture_output=True)
    bundles = [sys.executable, str(ROOT / "benchmarks/gpu/pack_bundles.py"), str(corpora)]
    subprocess.run([*bundles, str(packed / "packed")], check=True, capture_output=True)
    environment = os.environ | {
        "REHEARSAL": "1",
        "PYTHON": sys.executable,
        "DATA": str(packed),
        "OUT": str(out),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks/gpu/agenda.sh")],
        capture_output=True,
        text=True,
        env=environment,
    )
    log = (out / "agenda.log").read_text() if (out / "agenda.log").exists() else ""
    assert done.returncode == 0, done.stdout + done.stderr + log
    assert len(list(out.iterdir())) <= 8
    with tarfile.open(out / "results.tar") as results:
        results.extractall(out, filter="data")
    for name in PIECES:
        result = json.loads((out / f"{name}.json").read_text())
        assert result["complete"], result
        assert result["rehearsal"]
    evaluations = json.loads((out / "training_queue.json").read_text())["evaluations"]
    assert evaluations == {"words": 0}
    codes = json.loads((out / "commands.json").read_text())["cases"]
    assert all(case["exit_status"] == 0 for case in codes.values()), codes


@pytest.mark.slow
def test_finished_cases_are_skipped_the_next_time(tmp_path):
    line = [sys.executable, str(ROOT / "benchmarks/gpu/profiling.py"), "--rehearsal"]
    first = subprocess.run([*line, "--out", str(tmp_path / "a")], capture_output=True, text=True)
    assert "took" in first.stdout, first.stderr
    line += ["--out", str(tmp_path / "b"), "--committed", str(tmp_path / "a")]
    second = subprocess.run(line, capture_output=True, text=True)
    assert "took" not in second.stdout
    results = [json.loads((tmp_path / d / "profiling.json").read_text()) for d in "ab"]
    assert results[0]["cases"] == results[1]["cases"]
