"""--frames auto, and the sentences of `tag` and `check` about clips shorter than the window."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import spectrim
from spectrim.models.provenance import plan_record

RATE = 16_000
MODEL = ("--model", "ast-digits", "--keep-rate", "1")


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Four clips of 0.5 s; the window of the built-in models is 1.3 s."""
    folder = tmp_path_factory.mktemp("short")
    for number in range(4):
        samples = np.random.default_rng(number).normal(0, 0.1, RATE // 2)
        soundfile.write(folder / f"{number}.wav", samples, RATE)
    return folder


def test_tag_says_it_and_auto_does_it(run, short, tmp_path):
    model = spectrim.load("ast-digits")
    work = spectrim.macs(model.with_frames(48)) / spectrim.macs(model)
    sentence = f"at most 0.5 s of a 1.29 s window: --frames 48 needs {100 * work:.0f} % of the MACs"
    for more in ((), ("--out", tmp_path / "tags.csv")):
        done = run("tag", short, *MODEL, *more)
        assert done.returncode == 0 and sentence in done.stderr
    done = run("tag", short, *MODEL, "--frames", "auto", "--format", "json")
    assert "window" not in done.stderr
    result = json.loads(done.stdout)
    assert result["lengths"] == [32, 64, 96, 128]
    files = sorted(short.glob("*.wav"))
    expected = spectrim.tag(spectrim.load("ast-digits", frames="auto"), files)
    assert [row["labels"] for row in result["rows"]] == [row["labels"] for row in expected]
    by_number = run("tag", short, *MODEL, "--frames", "48", "--format", "json")
    assert json.loads(by_number.stdout)["frames"] == 48


def test_a_table_of_another_length_is_another_job(run, short, tmp_path):
    out = tmp_path / "tags.csv"
    assert run("tag", short, *MODEL, "--out", out).returncode == 0
    done = run("tag", short, *MODEL, "--out", out, "--frames", "auto")
    assert done.returncode == 2 and "lengths" in done.stderr


def test_check_compares_the_shorter_models(run, short):
    done = run("check", "ast-digits", "--data", short, "--no-timing", "--keep-rates", "1.0",
               "--format", "json")  # fmt: skip
    lengths = json.loads(done.stdout)["lengths"]
    assert lengths["clip_seconds"] == 0.5
    full, files = spectrim.load("ast-digits"), sorted(short.glob("*.wav"))
    top = [row["labels"][0]["label"] for row in spectrim.tag(full, files)]
    for row, frames in zip(lengths["rows"], (48, "auto"), strict=True):
        other = spectrim.tag(spectrim.load("ast-digits", frames=frames), files)
        same = np.mean(
            [line["labels"][0]["label"] == top[index] for index, line in enumerate(other)]
        )
        assert row["frames"] == frames
        assert row["agreement"]["top1"]["value"] == same
        length = 48 if frames == 48 else 64  # 0.5 s are 48 frames
        work = spectrim.macs(full.with_frames(length)) / spectrim.macs(full)
        assert row["work"] == pytest.approx(work)
    shown = run("check", "ast-digits", "--data", short, "--no-timing", "--keep-rates", "1.0")
    assert "Length: 95 % of your clips are at most 0.5 s of a 1.29 s window." in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sweep", "--frames", "auto"), "--frames auto works in tag, embed and thresholds only"),
        (("macs", "ast-digits", "--frames", "9"), "--frames '9'; expected a number of at least 16"),
        (("tag", "a.wav", "--frames", "x"), "--frames 'x'; expected a number"),
    ],
)
def test_wrong_lengths(run, arguments, words):
    done = run(*arguments)
    assert done.returncode == 2 and words in done.stderr


def test_tag_drops_padding(run, short, tmp_path):
    """With the recommended plan, with another one, and refused where it cannot work."""
    model = spectrim.load("ast-digits")
    files = sorted(short.glob("*.wav"))[:5]
    words = ("tag", *files, "--model", "ast-digits", "--drop-padding", "--top", "1", "--json")
    for plan, options in (
        (model.recommended_plan, ()),
        (spectrim.prune(model, 1.0).plan, ("--keep-rate", "1")),
        (spectrim.prune(model, 0.6).plan, ("--keep-rate", "0.6")),
    ):
        done = run(*words, *options)
        assert "of the MACs, and --frames auto" not in done.stderr
        result = json.loads(done.stdout)
        dropping = spectrim.prune(model, plan=replace(plan, drop_padding=True))
        assert result["plan"] == plan_record(dropping.plan)
        expected = spectrim.tag(dropping, files, top=1)
        for row, other in zip(result["rows"], expected, strict=True):
            (one,), (two,) = row["labels"], other["labels"]
            assert one["label"] == two["label"]
            assert one["probability"] == pytest.approx(two["probability"], abs=2e-6)
    done = run("export", "ast-digits", "--drop-padding", "--out", tmp_path / "a.onnx")
    assert done.returncode == 2 and "Use a shorter length instead" in done.stderr
    done = run("tag", files[0], "--model", "a.onnx", "--drop-padding")
    assert done.returncode == 2 and "--drop-padding applies to PyTorch models only" in done.stderr
    done = run("tag", files[0], "--model", "ast-digits", "--drop-padding", "--compile")
    assert done.returncode == 2 and "cannot be compiled" in done.stderr
