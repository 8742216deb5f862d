"""What goes wrong is said in a sentence, and the last good state is intact."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.torch import load_file, save_file
from test_resume import same, steps_saved

import spectrim
from spectrim.common.locks import claim
from tones import write_recipe, write_tones


def refused(done, *said: str) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    for text in said:
        assert text in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A manifest that a test may damage."""
    (tmp_path / "own").mkdir()
    return write_tones(tmp_path / "own", train=4, valid=1, test=1)


def changed(manifest: Path, old: str, new: str) -> Path:
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new, 1))
    return manifest


def test_a_row_without_its_file_is_named_before_anything_runs(own, tmp_path, run_spectrim) -> None:
    (own.parent / "low-train-1.wav").unlink()
    done = run_spectrim("train", write_recipe(tmp_path, own), "--out", tmp_path / "run")
    refused(done, "tones.csv", "1 of 18 files are missing", "row 3", "low-train-1.wav")
    assert not (tmp_path / "run" / "last").exists()


@pytest.mark.parametrize("name", ["https://host.org/a.wav", "n" * 300 + ".wav"])
def test_rows_with_addresses_and_refused_names_are_missing_files(own, tmp_path, run_spectrim, name):
    changed(own, "low-train-1.wav", name)
    done = run_spectrim("train", write_recipe(tmp_path, own), "--out", tmp_path / "run")
    refused(done, "1 of 18 files are missing", "row 3")
    assert name in "".join(done.stderr.split())


def test_a_label_that_the_recipe_does_not_know_is_named(own, tmp_path, run_spectrim) -> None:
    recipe = write_recipe(tmp_path, changed(own, "high,test", "hihg,test"))
    refused(
        run_spectrim("train", recipe), "'hihg' is not a class of the model", "Did you mean 'high'"
    )
    done = run_spectrim("train", recipe, "data.labels=[low,high]")
    refused(done, "'middle' is not a class of the model", "row")


def test_names_that_yaml_takes_for_something_else_are_to_be_quoted(
    own, tmp_path, run_spectrim
) -> None:
    recipe = write_recipe(tmp_path, own)
    refused(run_spectrim("train", recipe, "data.labels=[low,off]"), "contains False", "quotes")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("load.frames=96", "no key 'frames'"),
        ("load.strde=16", "Did you mean 'stride'"),
        ("load.mean=much", "mean is 'much'"),
        ("data.manifest=", "data.manifest is empty"),
    ],
)
def test_values_that_cannot_be_are_refused(change, said, own, tmp_path, run_spectrim) -> None:
    refused(run_spectrim("train", write_recipe(tmp_path, own), "init=ast-digits", change), said)


def test_a_row_without_a_label_is_named(own, tmp_path, run_spectrim) -> None:
    recipe = write_recipe(tmp_path, changed(own, "low-train-0.wav,low", "low-train-0.wav,"))
    refused(run_spectrim("train", recipe), "row 2", "low-train-0.wav", "no label", "pretrain")


def test_several_labels_do_not_go_with_accuracy(own, tmp_path, run_spectrim) -> None:
    recipe = write_recipe(tmp_path, changed(own, "wav,low,", "wav,low;high,"))
    refused(run_spectrim("train", recipe, "select.metric=accuracy"), "2 labels", "row 2")
    refused(run_spectrim("train", recipe, "loss.name=ce"), "2 labels", "row 2")


def test_validation_that_is_not_there_is_said_before_an_epoch_is_trained(
    own, tmp_path, run_spectrim
) -> None:
    recipe = write_recipe(tmp_path, own)
    done = run_spectrim("train", recipe, "data.valid_split=dev", "select.split=valid", "--dry-run")
    refused(done, "select.split is 'valid'", "data.holdout=0.1")


def test_a_fold_that_is_not_there_is_named(own, tmp_path, run_spectrim) -> None:
    refused(
        run_spectrim("train", write_recipe(tmp_path, own), "data.test_fold=7"),
        "test_fold is 7",
        "no column",
    )


@pytest.mark.parametrize("start", ["nowhere", "ast-tiny", "nothing.pth"])
def test_a_start_that_is_not_there(start, own, tmp_path, run_spectrim) -> None:
    done = run_spectrim("train", write_recipe(tmp_path, own), f"init={start}")
    refused(done, start)


def test_a_start_of_another_shape_is_named(own, tmp_path, run_spectrim) -> None:
    folder = spectrim.load("ast-digits").save(tmp_path / "bad")
    weights = load_file(folder / "model.safetensors")
    weights["blocks.4.fc1.weight"] = weights["blocks.4.fc1.weight"][:100].clone()
    save_file(weights, folder / "model.safetensors")
    done = run_spectrim("train", write_recipe(tmp_path, own), f"init={folder}")
    refused(done, "blocks.4.fc1.weight", "(100, 128)")


def test_a_teacher_of_other_classes_is_refused(own, tmp_path, run_spectrim) -> None:
    done = run_spectrim("train", write_recipe(tmp_path, own), "teacher.model=ast-digits")
    refused(done, "teacher.model ast-digits", "only one of the two has")


def test_a_folder_of_another_run_is_refused_and_left_alone(own, tmp_path, run_spectrim) -> None:
    recipe, out = write_recipe(tmp_path, own), tmp_path / "run"
    assert run_spectrim("train", recipe, "--out", out).returncode == 0
    before = (out / "last" / "model.safetensors").read_bytes()
    done = run_spectrim("train", recipe, "optim.lr=1e-4", "--out", out)
    refused(done, "another recipe", "optim.lr: 0.001 there, 0.0001 now", "--out")
    assert (out / "last" / "model.safetensors").read_bytes() == before
    (out / "settled.json").rename(tmp_path / "settled.json")
    refused(run_spectrim("train", recipe, "--out", out), "settled.json is gone", "--out")
    (tmp_path / "settled.json").rename(out / "settled.json")
    settled = (out / "settled.json").read_text()
    (out / "settled.json").write_text(settled.replace('"precision": "no"', '"precision": "bf16"'))
    refused(
        run_spectrim("train", recipe, "--out", out), "started in precision 'bf16'", "resume in 'no'"
    )
    (out / "settled.json").write_text(settled)
    same_again = run_spectrim("train", recipe, "run.save_every=1", "data.workers=1", "--out", out)
    assert same_again.returncode == 0  # what changes nothing may differ


@pytest.mark.parametrize("old, new", [("wav,low,", "wav,deep,"), ("low-train-0.wav,low,train", "")])
def test_a_run_does_not_go_on_with_other_clips_or_classes(old, new, own, tmp_path, run_spectrim):
    recipe, out = write_recipe(tmp_path, own), tmp_path / "run"
    assert run_spectrim("train", recipe, "--out", out).returncode == 0
    own.write_text(own.read_text().replace(old, new))
    refused(run_spectrim("train", recipe, "--out", out), "other clips or labels", "--out")


def test_two_processes_do_not_train_in_one_folder(own, tmp_path, run_spectrim) -> None:
    out = tmp_path / "run"
    with claim(out / ".running"):
        done = run_spectrim("train", write_recipe(tmp_path, own), "--out", out)
    refused(done, "trains there already", str(os.getpid()))


def test_what_is_left_out_is_said(own, tmp_path, run_spectrim) -> None:
    (own.parent / "high-valid-0.wav").write_bytes(b"no sound")
    text = own.read_text().replace("low-train-0.wav,low,train", "low-train-0.wav,low,dev")
    own.write_text(text.replace("high-train-0.wav,high,", "high-train-0.wav,hihg,"))
    recipe = write_recipe(tmp_path, own)
    done = run_spectrim("train", recipe, "--out", tmp_path / "run")
    said = " ".join(done.stderr.split())
    assert "1 clips of split dev are not used" in said
    assert "1 clips of valid cannot be read" in said
    assert "only one training clip each: hihg" in said
    dry = run_spectrim("train", recipe, "--dry-run")
    assert "1 files cannot be read as audio" in dry.stdout and "high-valid-0.wav" in dry.stdout


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_state(
    own, tmp_path, run_spectrim
) -> None:
    recipe, out = write_recipe(tmp_path, own), tmp_path / "run"
    words = ["optim.lr=1e25", "optim.clip=null", "optim.warmup_epochs=0", "run.save_every=0"]
    done = run_spectrim("train", recipe, *words, "--out", out)
    refused(done, "is nan at step", "stopped", "intact", "optim.lr")
    for path in (out / "state").glob("step-*"):
        for value in load_file(path / "weights.safetensors").values():
            assert np.isfinite(value.numpy()).all()


def test_silent_clips_only_are_refused(own, tmp_path, run_spectrim) -> None:
    for path in own.parent.glob("*.wav"):
        soundfile.write(path, np.zeros(9000), 16_000)
    done = run_spectrim("train", write_recipe(tmp_path, own))
    refused(done, "all 12 training clips that were measured are silent", "contain sound")
    own.write_text("path\n" + "\n".join(path.name for path in own.parent.glob("*.wav")) + "\n")
    recipe = write_recipe(tmp_path, own, "data: {manifest: MANIFEST}\noptim: {lr: 0.001}\n")
    refused(run_spectrim("pretrain", recipe), "18 training clips that were measured are silent")


def test_names_of_classes_that_cannot_be_learned_are_named(own, tmp_path, run_spectrim) -> None:
    recipe = write_recipe(tmp_path, own)
    done = run_spectrim("train", recipe, "data.labels=[low,middle,high,middle]")
    refused(done, "data.labels names 'middle' more than once")
    done = run_spectrim("train", recipe, "data.labels=[low,middle,high,'low;high']", "--dry-run")
    text = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 0, done.stderr
    assert "no row of a CSV manifest can have the class 'low;high'" in text
    own.write_text(own.read_text().replace(",middle,", ",low,").replace(",high,", ",low,"))
    done = run_spectrim("train", recipe, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "the only class is low" in " ".join((done.stdout + done.stderr).split())


@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_a_checkpoint_with_two_classes_of_one_name(own, tmp_path, run_spectrim) -> None:
    """It gets a fresh head, and cannot be a teacher: by name, its logits cannot be assigned."""
    labels = ["low", "middle", "high", "low"]
    folder = spectrim.create("ast-tiny", frames=64, labels=labels).save(tmp_path / "twice")
    recipe = write_recipe(tmp_path, own)
    done = run_spectrim("train", recipe, f"init={folder}", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "its head of 4 classes is replaced" in " ".join((done.stdout + done.stderr).split())
    done = run_spectrim("train", recipe, f"teacher.model={folder}")
    refused(done, "several of its classes have the name 'low'", "teacher.load.labels")


def test_the_channel_of_the_command_line_is_trained_on(own, tmp_path, run_spectrim) -> None:
    """Channel 1 holds the tone, channel 0 its negative: their mean is silent."""
    for path in own.parent.glob("*.wav"):
        samples, rate = soundfile.read(path)
        soundfile.write(path, np.stack([-samples, samples], 1), rate)
    recipe = write_recipe(tmp_path, own)
    words = ("train", recipe, "--dry-run", "--json")
    refused(run_spectrim(*words), "are silent")
    one = run_spectrim(*words, "--channel", "1")
    assert one.returncode == 0, one.stderr
    assert json.loads(one.stdout)["recipe"]["data"]["channel"] == "1"
    by_key = run_spectrim(*words, "data.channel=1")
    assert json.loads(by_key.stdout) == json.loads(one.stdout)
    for channel, text in (("2", "no channel 2; it has 2"), ("left", "a channel of 'left'")):
        refused(run_spectrim("train", recipe, "--channel", channel), text)


def test_a_full_disk_stops_the_run_and_it_goes_on_from_the_last_state(
    own, tmp_path, run_spectrim, monkeypatch
) -> None:
    recipe, out = write_recipe(tmp_path, own), tmp_path / "run"
    write, saved = Path.write_bytes, []

    def full(self: Path, data: bytes) -> int:
        saved.append(self)
        if self.name == "optimiser.safetensors" and len(saved) > 4:
            write(self, data[:1000])  # some of it fits
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    done = run_spectrim("train", recipe, "run.save_every=0", "--out", out)
    refused(done, "cannot save the state", "No space left on device", "intact", "Free disk space")
    monkeypatch.undo()
    (kept,) = steps_saved(out)
    done = run_spectrim("train", recipe, "run.save_every=0", "--out", out)
    assert done.returncode == 0, done.stderr
    assert f"resumes from step {kept}" in done.stderr
    assert run_spectrim("train", recipe, "--out", tmp_path / "whole").returncode == 0
    assert same(out / "last", tmp_path / "whole" / "last")
    assert [path for path in (out / "state").iterdir() if path.name.startswith(".")] == []


def test_a_damaged_clip_is_left_out_and_named_and_the_rest_is_trained_on(
    own, tmp_path, run_spectrim
) -> None:
    (own.parent / "low-train-1.wav").write_bytes(b"RIFF, and nothing more")
    soundfile.write(own.parent / "high-test-0.wav", np.full(9000, np.nan), 16_000, "FLOAT")
    out = tmp_path / "run"
    recipe = write_recipe(tmp_path, own)
    done = run_spectrim("train", recipe, "augment.mixup=0", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "low-train-1.wav" in done.stderr and "left out" in done.stderr
    rows = [json.loads(line) for line in (out / "epochs.jsonl").read_text().splitlines()]
    assert [row["unreadable"] for row in rows] == [1, 1]
    assert len(np.load(out / "last" / "predictions.npz")["test_paths"]) == 2  # of three


def test_a_dry_run_writes_nothing_and_tells_all(own, tmp_path, run_spectrim) -> None:
    recipe = write_recipe(tmp_path, own)
    before = sorted(tmp_path.rglob("*"))
    done = run_spectrim("train", recipe, "--dry-run", "--json")
    assert sorted(tmp_path.rglob("*")) == before
    found = json.loads(done.stdout)
    assert (found["steps_per_epoch"], found["steps"]) == (2, 4)  # 12 clips in batches of 8
    assert found["recipe"]["optim"]["clip"] == 1.0
    assert found["recipe"]["model"]["padding"] == "minimum"  # a default, written out
    first, second = found["epochs"]
    assert first["keep_rate"] == [1.0, 1.0] and first["masking"]
    assert second["keep_rate"] == pytest.approx([0.8, 0.6])  # by hand: halfway, at the end
    assert second["gmacs"] < first["gmacs"] and not second["masking"]
    count = sum(p.numel() for p in spectrim.create("ast-tiny", frames=64, classes=3).parameters())
    assert sum(group["parameters"] for group in found["groups"]) == count
    table = run_spectrim("train", recipe, "--dry-run").stdout
    for text in ("optim:", "weight decay", "1.000 to 1.000", "2 steps per epoch, 4 in total"):
        assert text in table


def test_without_the_extra_the_way_out_is_said(own, tmp_path, run_spectrim, monkeypatch) -> None:
    for name in [name for name in sys.modules if name.startswith("spectrim.training")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "omegaconf", None)
    done = run_spectrim("train", write_recipe(tmp_path, own))
    refused(done, "training requires the package omegaconf", "-e '.[train]'")
