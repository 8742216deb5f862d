"""The commands as a person or a program would call them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import spectrim
from models import foreign
from spectrim.cli.main import main

FEW = ("--keep-rates", "1.0,0.5", "--scores", "attention,random", "--rounds", "2")


def test_importing_and_help_do_not_import_torch():
    code = (
        "import sys, spectrim, spectrim.cli.main as m\n"
        "try: m.app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, f'{heavy} imported by --help; import it inside the command'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command", ["sweep", "tag", "check", "export", "bench", "macs", "data", "data prepare"]
)
def test_help_has_an_example(run, command):
    done = run(*command.split(), "--help")
    assert done.returncode == 0
    assert f"Example: spectrim {command}" in " ".join(done.stdout.split())


def test_sweep_writes_rows_probabilities_and_a_figure(run, folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    earlier, other = out / "probabilities-earlier.npz", out / "probabilities-kept.npz"
    earlier.touch()
    other.touch()  # no sweep's that is listed there
    (out / "results.json").write_text(json.dumps({"rows": [{"model": "earlier"}]}))
    done = run("sweep", "--model", "model", "--data", "clips.csv", "--out", str(out), *FEW)
    assert done.returncode == 0, done.stderr
    assert not earlier.exists() and other.exists()
    assert "attention" in done.stdout and "speed-up" in done.stdout
    results = json.loads((out / "results.json").read_text())
    rows = results["rows"]
    assert [(r["score"], r["keep_rate"]) for r in rows] == [
        (None, 1.0), ("attention", 0.5), ("random", 0.5),
    ]  # fmt: skip
    model = spectrim.load(folder / "model")
    pruned = spectrim.prune(model, 0.5, "random")
    clips = sorted((folder / "clips").glob("*.wav"))
    expected = pruned.probabilities(pruned(*pruned.features(clips))).detach().numpy()
    with np.load(out / "probabilities-model.npz") as saved:
        np.testing.assert_allclose(saved["random-0.5"], expected, atol=1e-5)
        assert [p.split("/")[-1] for p in saved["paths"]] == [p.name for p in clips]
    truth = np.array([0, 1, 0, 1])
    assert rows[2]["value"] == (expected.argmax(1) == truth).mean()
    assert rows[2]["gmacs"] == spectrim.macs(pruned) / 1e9
    columns = pruned.trace(*pruned.features(clips)).kept[9][..., 0]
    assert rows[2]["kept_on_target"] == pytest.approx((columns == 1).double().mean().item())
    assert rows[0]["kept_on_target"] == 0.25
    for row in rows:
        # Of columns centred at 0.0875, 0.2475, 0.4075 and 0.5675 s one lies in 0.1 to 0.4 s.
        assert row["all_on_target"] == 0.25
        for key in ("model", "plan", "batch_size", "threads", "device", "dtype", "frames",
                    "versions", "format_version", "metric", "ms_per_clip", "speedup"):  # fmt: skip
            assert key in row
    assert (out / "metric-macs.png").stat().st_size > 10_000
    assert not list(out.glob(".*")), "nothing half-written stays"


def test_sweep_without_labels_measures_agreement(run, tmp_path):
    done = run(
        "sweep", "--model", "model", "--data", "clips", "--out", str(tmp_path), *FEW, "--json"
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert rows[0]["metric"] == "agreement" and rows[0]["value"] == 1.0
    assert rows[1]["agreement"]["top1"]["low"] <= rows[1]["value"]


def test_sweep_options_do_what_they_say(run, tmp_path):
    done = run("sweep", "--model", "model", "--data", "clips", "--out", str(tmp_path), "--json",
               "--keep-rates", "0.7", "--scores", "intensity", "--blocks", "input,2",
               "--batch-size", "3", "--threads", "1", "--dtype", "bfloat16", "--device", "cpu",
               "--rounds", "1", "--frames", "32")  # fmt: skip
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)["rows"][1]
    assert [s["at"] for s in row["plan"]["stages"]] == ["input", 2]
    assert (row["batch_size"], row["threads"], row["dtype"]) == (3, 1, "bfloat16")
    assert (row["device"], row["frames"]) == ("cpu", 32)


def test_tag_speaks_every_format(run):
    done = run("tag", "clips/0.wav", "--model", "model", "--format", "json", "--keep-rate", "0.5")
    whole = json.loads(done.stdout)
    assert len(whole["rows"]) == 2 and whole["plan"]["stages"][0]["keep_rate"] == 0.5
    done = run("tag", "clips", "--model", "model", "--format", "csv", "--aggregate", "mean")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 8 and {row["label"] for row in rows} == {"low", "high"}
    done = run("tag", "clips/0.wav", "--model", "model", "--top", "1")
    assert "clips/0.wav" in done.stdout and done.stderr == ""


def test_macs_of_presets_and_checkpoints(run, folder):
    done = run("macs", "audiomae-base", "--keep-rates", "1.0,0.5", "--json")
    rows = json.loads(done.stdout)["rows"]
    full = spectrim.create("audiomae-base")
    assert rows[0]["macs"] == spectrim.macs(full)
    assert rows[1]["macs"] == spectrim.macs(spectrim.prune(full, 0.5))
    done = run("macs", "model", "--frames", "32")
    assert done.returncode == 0 and "of 16" in done.stdout and "of 32" not in done.stdout
    assert "of 32" in run("macs", "model").stdout
    assert "of 1212" in run("macs", "ast-base", "--stride", "10").stdout


def test_check_is_one_page_and_json(run, tmp_path):
    done = run("check", "model", "--data", "clips", "--rounds", "1", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "Parity with transformers: not checked" in done.stdout
    assert "Recommendation" in done.stdout
    saved = json.loads((tmp_path / "check.json").read_text())
    assert {row["score"] for row in saved["rows"]} == {
        None, "attention", "intensity", "variation", "random"
    }  # fmt: skip
    # Even if all four clips agree, the lower end of the interval is far below 95 %.
    assert saved["recommendation"]["keep_rate"] == 1.0
    assert saved["recommendation"]["command"] is None
    assert "4 clips are too few" in " ".join(done.stdout.split()) and "at least 73" in done.stdout


def test_check_without_a_keep_rate_below_one_recommends_none(run):
    done = run("check", "model", "--data", "clips.csv", "--keep-rates", "1.0", "--rounds", "1")
    assert "no keep rate below 1.0 was tried" in " ".join(done.stdout.split()), done.stderr


def test_a_name_that_the_terminal_cannot_write_stops_nothing(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "argv", ["spectrim", "--version"])
    with pytest.raises(SystemExit):
        main()
    stream.write("caf\udce9.wav")
    stream.flush()
    assert stream.buffer.getvalue().endswith(b"caf\\udce9.wav")


def test_data_prepare_prints_what_it_wrote(run, tmp_path):
    (tmp_path / "recordings").mkdir()
    (tmp_path / "recordings" / "3_theo_0.wav").write_bytes(b"")
    out = tmp_path.parent / f"{tmp_path.name}-manifests"
    done = run("data", "prepare", "fsdd", str(tmp_path), "--out", str(out))
    assert done.stdout.split() == [str(out / "fsdd-digit.csv"), str(out / "fsdd-speaker.csv")]


def test_models_of_other_sounds_run_on_the_pack_without_its_labels(run, tmp_path):
    done = run("sweep", "--model", "model", "--out", str(tmp_path), *FEW, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"][0]["metric"] == "agreement"
    assert "does not know the sample pack's digits" in " ".join(done.stderr.split())
    done = run("check", "model", *FEW, "--no-timing")
    assert done.returncode == 0, done.stderr


def test_what_a_checkpoint_does_not_say_is_told_with_load(run):
    words = ("tag", "clips/0.wav", "--model", "model", "--json")
    told = run(*words, "--load", "mean=3", "--load", "std=1.5", "--load", "activation=sigmoid")
    plain, other = (json.loads(done.stdout)["rows"] for done in (run(*words), told))
    assert plain[0]["labels"] != other[0]["labels"]


def test_classes_are_named_with_load(run, folder, tmp_path):
    """As for the paper's checkpoints, whose files name none: an official AST, say."""
    state = foreign.official_ast(64)
    torch.save(state, tmp_path / "ast.pth")
    classes = len(state["module.mlp_head.1.bias"])
    names = ["low", "high", *map(str, range(classes - 2))]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n")
    words = ("sweep", "--model", "ast.pth", "--data", str(folder / "clips.csv"), "--blocks", "0",
             "--scores", "attention", "--keep-rates", "0.5", "--rounds", "1",
             "--json")  # fmt: skip
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 2 and "--load labels=" in done.stderr
    for text in (",".join(names), "names.txt"):
        done = run(*words, "--load", f"labels={text}", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["rows"][0]["metric"] == "accuracy"
    done = run(*words, "--load", "labels=dog", cwd=tmp_path)
    assert done.returncode == 2 and "'dog' is not a value of labels" in done.stderr
    assert "a file with a name in each line" in " ".join(done.stderr.split())
    done = run("macs", "ast.pth", "--blocks", "0", "--load", f"labels={classes + 1}", cwd=tmp_path)
    assert done.returncode == 2 and f"{classes + 1} labels for a head of" in done.stderr


def test_macs_take_what_a_file_does_not_say(run, tmp_path):
    state = foreign.official_ast(60)
    torch.save(state, tmp_path / "ast.pth")
    words = ("macs", "./ast.pth", "--blocks", "0")
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 2 and "Pass stride=" in done.stderr
    done = run(*words, "--load", "stride=12", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"][0]["patches"] == 60


@pytest.mark.parametrize("command", ["sweep", "check", "macs", "tag", "bench"])
def test_a_score_and_a_reduction_of_ones_own_run_everywhere(run, folder, tmp_path, command):
    own = ("--reduction", "extensions:merge")
    data = ("--data", str(folder / "clips.csv"), "--rounds", "1")
    quick = ("--rounds", "1", "--budget", "60", "--matmul-size", "64", "--no-memory")
    quick += ("--batch-sizes", "1")
    words = {
        "sweep": ("--model", "model", "--scores", "extensions:peak", *data, "--out", str(tmp_path)),
        "check": ("model", "--score", "extensions:peak", *data),
        "macs": ("./model", "--score", "extensions:peak"),
        "tag": ("clips/0.wav", "--model", "model", "--score", "extensions:peak"),
        "bench": ("--model", "model", "--score", "extensions:peak", "--backends", "torch", *quick),
    }[command]
    rate = ("--keep-rate", "0.4") if command == "tag" else ("--keep-rates", "1.0,0.4")
    done = run(command, *words, *rate, *own, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    if command == "tag":
        assert "extensions:merge" in json.dumps(found["plan"])
        return
    # Merging takes at most half at once, so that it leaves more than keep-top would.
    loaded = spectrim.load(folder / "model")
    merged = spectrim.prune(loaded, 0.4, "extensions:peak", reduction="extensions:merge")
    assert found["rows"][-1]["gmacs"] == pytest.approx(spectrim.macs(merged) / 1e9)
    assert spectrim.macs(merged) > spectrim.macs(spectrim.prune(loaded, 0.4))


def test_a_manifest_whose_test_rows_are_called_otherwise_is_said(run, folder, tmp_path):
    lines = (folder / "clips.csv").read_text().replace("clips/", f"{folder}/clips/").splitlines()
    rows = [lines[0] + ",split", *(f"{x},{'eval' if i else 'Train'}" for i, x in
                                   enumerate(lines[1:]))]  # fmt: skip
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    words = ("sweep", "--model", str(folder / "model"), "--data", "m.csv", "--scores", "attention",
             "--keep-rates", "0.5", "--rounds", "1", "--json")  # fmt: skip
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 0 and "no split is called 'test'" in done.stderr
    assert "Train, eval" in done.stderr and json.loads(done.stdout)["rows"][0]["clips"] == 4
    done = run(*words, "--split", "eval", cwd=tmp_path)
    assert "no split is called" not in done.stderr
    assert json.loads(done.stdout)["rows"][0]["clips"] == 3


@pytest.mark.slow
def test_models_of_different_metrics_have_a_table_each(run, tmp_path):
    done = run("sweep", "--model", "ast-digits", "--model", "model", "--out", str(tmp_path), *FEW)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout and "same top-1 (95 %)" in done.stdout
    assert {
        row["metric"] for row in json.loads((tmp_path / "results.json").read_text())["rows"]
    } == {"accuracy", "agreement"}
