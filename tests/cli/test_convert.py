"""`spectrim convert`: folders of Spectrim and of transformers, their cards, and bad calls."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.integrations.folders import save_folder

PRUNED = ("--keep-rate", "0.5", "--score", "intensity", "--blocks", "2,4")


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip(
        "transformers", reason="needs transformers: pip install -e '.[transformers]'"
    )


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_of_spectrim_holds_the_model_with_its_plan(run, folder, tmp_path):
    done = run("convert", "model", *PRUNED, "--out", tmp_path / "half", "--json")
    assert done.returncode == 0, done.stderr
    model = spectrim.prune(spectrim.load(folder / "model"), 0.5, "intensity", [2, 4])
    saved = spectrim.load(tmp_path / "half")
    assert saved.plan == model.plan
    features = model.features([folder / "clips" / "0.wav"])
    with torch.no_grad():
        assert torch.equal(saved(*features), model(*features))
    (row,) = json.loads(done.stdout)["rows"]
    assert row["gmacs"] == spectrim.macs(model) / 1e9 and row["measured"] is None
    card = ModelCard.load(tmp_path / "half" / "README.md")
    assert card.data.library_name == "spectrim" and "| measured | no |" in card.text
    assert str(model.plan) in card.text and "eval_results" not in card.data.to_dict()
    assert str(folder) not in card.content  # no path of this machine


def test_a_pruned_folder_of_transformers_answers_as_tag_does(run, folder, tmp_path, transformers):
    done = run("convert", "model", *PRUNED, "--to", "transformers", "--out", tmp_path / "half",
               "--data", "clips.csv")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"accuracy \d+\.\d% \(unpruned \d+\.\d%\)", done.stdout)
    pipeline = transformers.pipeline("audio-classification", model=str(tmp_path / "half"))
    sound = np.random.default_rng(3).normal(0, 0.1, 9_000).astype(np.float32)
    model = spectrim.prune(spectrim.load(folder / "model"), 0.5, "intensity", [2, 4])
    (row,) = spectrim.tag(model, (sound, 16_000))
    answers = {answer["label"]: answer["score"] for answer in pipeline(sound)}
    assert answers == pytest.approx(
        {label["label"]: label["probability"] for label in row["labels"]}, abs=2e-6
    )
    card = ModelCard.load(tmp_path / "half" / "README.md")
    (result,) = card.data.eval_results
    tags = spectrim.tag(model, [folder / "clips" / f"{n}.wav" for n in range(4)], top=1)
    answers = [row["labels"][0]["label"] for row in tags if row["start"] == 0]  # first windows
    hits = [answer == ["low", "high"][n % 2] for n, answer in enumerate(answers)]
    assert (result.metric_type, result.metric_value) == ("accuracy", sum(hits) / 4)
    assert "import spectrim.integrations.transformers" in card.text


def test_an_unpruned_ast_is_plain(run, tmp_path, transformers):
    done = run("convert", "model", "--to", "transformers", "--keep-rate", "1", "--load",
               "padding=zero", "--out", tmp_path / "plain", "--json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["rows"]
    assert row["needs_spectrim"] is False and row["plan"]["stages"] == []
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert config["model_type"] == "audio-spectrogram-transformer"
    assert "spectrim.integrations" not in (tmp_path / "plain" / "README.md").read_text()
    other = run("convert", "model", "--to", "transformers", "--out", tmp_path / "other")
    assert other.returncode == 0 and "padding 'minimum', not 'zero'" in other.stderr


def test_a_converted_folder_can_be_converted(run, tmp_path, transformers):
    for source, to, out in (
        ("model", "transformers", "a"), (tmp_path / "a", "spectrim", "b"),
        (tmp_path / "b", "transformers", "c"),
    ):  # fmt: skip
        done = run("convert", source, "--to", to, "--out", tmp_path / out)
        assert done.returncode == 0, done.stderr
    a, b, c = (spectrim.load(tmp_path / name) for name in "abc")
    assert a.plan == b.plan == c.plan
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]) and torch.equal(value, c.state_dict()[name])


def test_every_copy_of_a_builtin_model_states_its_licence(run, tmp_path, transformers):
    """Through transformers, back, and again: the licence travels with the weights."""
    row = "| licence of the base model's training recordings | CC BY-SA 4.0 |"
    assert (
        run("convert", "ast-digits", "--to", "transformers", "--out", tmp_path / "a").returncode
        == 0
    )
    auto = transformers.AutoModelForAudioClassification
    auto.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert (
        run("convert", tmp_path / "b", "--keep-rate", "1", "--out", tmp_path / "c").returncode == 0
    )
    for name in "abc":
        assert row in (tmp_path / name / "README.md").read_text()
    assert "| base model | ast-digits |" in (tmp_path / "b" / "README.md").read_text()
    assert run("convert", "model", "--out", tmp_path / "d").returncode == 0
    assert "licence" not in (tmp_path / "d" / "README.md").read_text()


def test_nothing_is_written_over(run, tmp_path):
    assert run("convert", "model", "--out", tmp_path / "a").returncode == 0
    before = files_of(tmp_path / "a")
    done = run("convert", "model", *PRUNED, "--out", tmp_path / "a")
    assert done.returncode == 2 and "holds files, and nothing was changed" in done.stderr
    assert files_of(tmp_path / "a") == before
    (tmp_path / "file").write_text("mine")
    done = run("convert", "model", "--out", tmp_path / "file")
    assert done.returncode == 2 and "is a file" in done.stderr
    (tmp_path / "empty").mkdir()
    assert run("convert", "model", "--out", tmp_path / "empty").returncode == 0


def test_a_failed_conversion_leaves_nothing(make, tmp_path, monkeypatch):
    def fail(*arguments):
        raise SpectrimError("the card cannot be written.")

    monkeypatch.setattr("spectrim.integrations.folders.save_card", fail)
    with pytest.raises(SpectrimError, match="the card"):
        save_folder(make("ast", depth=1), tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "onnx"], "no format is called 'onnx'. Known: spectrim, transformers"),
        (["--split", "test"], "--split and --fold require --data"),
        (["--data", "absent.csv"], "absent.csv: no such file"),
        (["--score", "intensity"], "requires --keep-rate"),
    ],
)
def test_wrong_calls_write_nothing(run, tmp_path, words, message):
    done = run("convert", "model", "--out", tmp_path / "new", *words)
    assert done.returncode == 2 and message in " ".join(done.stderr.split())
    assert not (tmp_path / "new").exists()


def test_a_learned_plan_stays_in_the_format_of_spectrim(
    run, folder, tmp_path, monkeypatch, transformers
):
    (tmp_path / "learned_score.py").write_text(
        "import torch\n\n\nclass Score(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.weight = torch.nn.Parameter(torch.ones(()))\n\n"
        "    def forward(self, context):\n"
        "        return context.tokens.patches.mean(-1) * self.weight\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    model = spectrim.prune(spectrim.load(folder / "model"), 0.5, "learned_score:Score")
    model.save(tmp_path / "model")
    trusted = ("convert", tmp_path / "model", "--load", "trust_code=true")
    done = run(*trusted, "--to", "transformers", "--out", tmp_path / "a")
    assert done.returncode == 2 and "is learned" in done.stderr and not (tmp_path / "a").exists()
    assert run(*trusted, "--out", tmp_path / "b").returncode == 0
    assert spectrim.load(tmp_path / "b", trust_code=True).plan.modules()


def test_an_onnx_file_is_refused(run, tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"")
    done = run("convert", tmp_path / "a.onnx", "--out", tmp_path / "new")
    assert done.returncode == 2 and "ONNX file, which torch cannot load" in done.stderr


def test_unreadable_clips_are_named_and_the_folder_is_written(run, folder, tmp_path):
    (folder / "clips" / "bad.wav").write_text("no sound")
    rows = ["path,label", *(f"{folder}/clips/{n},low" for n in ("0.wav", "bad.wav"))]
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    done = run("convert", "model", "--out", tmp_path / "new", "--data", tmp_path / "clips.csv")
    (folder / "clips" / "bad.wav").unlink()
    assert done.returncode == 1 and "bad.wav" in done.stderr
    assert "1 clips" in (tmp_path / "new" / "README.md").read_text()


def test_without_transformers_the_extra_is_named(run, tmp_path, monkeypatch):
    import sys

    for name in [name for name in sys.modules if name.startswith("spectrim.integrations.trans")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    done = run("convert", "model", "--to", "transformers", "--out", tmp_path / "new")
    assert done.returncode == 2 and ".[transformers]" in done.stderr
    assert not (tmp_path / "new").exists()
