"""Commands with odd words, in a folder with a model, clips and files of random bytes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import soundfile

import spectrim

ROOT = Path(__file__).parents[2]


class Refused(Exception):
    """A command ended with a sentence."""


ODD = ["0", "-1", "1.5", "nan", "inf", "1e400", "", " ", ",", "0.5", "0.5,0.7", "3,6", "input",
       "every", "attention", "random", "tome", "/dev/zero", "n" * 300, "~nosuchuser/x", "clips",
       "clips.csv", "model", "a.wav", "é\u202e", "nowhere:x", "mix", "loudest", "json", "csv",
       "max", "cpu", "cuda:9", "float16", "std=0", "labels=a", "mean=x", "-", "--", "--json",
       "99999999999999999999", "junk.bin", "labels=junk.bin", "junk.csv", "junk.wav", "junk.json",
       "1e-9", "true", "C:\\\\x", "https://x.org/a.wav", "none", "*", "clips/*.wav", "model/model",
       "a.wav/b", "1,1", "é.csv", "0x10", "00", "1_0", "new.png", "new.txt",
       "file:///x/a.wav", "labels=é.txt", "transformers", "spectrim", "auto", "new.parquet",
       "new.TextGrid", "\x1b[2J", "a" * 5000]  # fmt: skip
OPTIONS = ["--model", "--data", "--keep-rate", "--keep-rates", "--score", "--scores", "--blocks",
           "--reduction", "--reductions", "--channel", "--load", "--frames", "--dtype",
           "--device", "--hop", "--aggregate", "--format", "--split", "--fold", "--batch-size",
           "--threads", "--top", "--agreement", "--aggregate", "--threshold", "--workers",
           "--examples", "--sample", "--seed", "--after", "--clip", "--input", "--against",
           "--backends", "--backend", "--batch-sizes", "--quantize", "--budget", "--rounds",
           "--workers", "--out", "--thresholds", "--release", "--merge-gap", "--min-duration",
           "--plot", "--precision", "--to", "--calibrate", "--keep-rate"]  # fmt: skip
COMMANDS = [
    ["tag", "a.wav"], ["macs", "model"], ["macs"], ["models"], ["data", "stats"],
    ["data", "stats", "clips.csv"], ["sweep", "--no-timing", "--data", "clips"],
    ["check", "model", "--no-timing", "--data", "clips"], ["data", "prepare", "fsdd"],
    ["train", "recipe.yaml", "--dry-run"], ["nothing"], ["embed", "a.wav", "--model", "model"],
    ["analyze", "--model", "model", "--data", "clips.csv", "--examples", "1"],
    ["ablate", "--model", "model", "--data", "clips.csv"],
    ["export", "model", "--out", "new"], ["grid", "list", "grid.yaml"],
    ["bench", "--model", "model", "--budget", "0.5", "--no-memory", "--matmul-size", "64"],
    ["grid", "report", "grid.yaml"], ["tag", "clips", "--out", "tags.csv"],
    ["tag", "a.wav", "--events"], ["tag", "clips", "--events", "--out", "events.csv"],
    ["thresholds", "model", "--data", "clips.csv", "--out", "thresholds.json"],
    ["convert", "model", "--out", "new"],
    ["convert", "model", "--to", "transformers", "--out", "new"],
    ["embed", "clips", "--model", "model", "--out", "embeddings.csv"], ["models", "model"],
]  # fmt: skip


def write_place(place: Path) -> None:
    (place / "clips").mkdir(parents=True)
    model = spectrim.create("ast-tiny", frames=32, labels=["low", "high"])
    model.save(place / "model")
    for name in ("a.wav", "clips/b.wav"):
        soundfile.write(place / name, np.random.default_rng(0).normal(0, 0.1, 6000), 16_000)
    (place / "clips.csv").write_text("path,label\na.wav,low\nclips/b.wav,high\n")
    shutil.copy(ROOT / "recipes" / "finetune.yaml", place / "recipe.yaml")
    shutil.copy(ROOT / "grids" / "table1-tiny.yaml", place / "grid.yaml")
    (place / "é.txt").write_bytes("zw\xf6lf\nelf\n".encode("latin-1"))
    rng = random.Random(0)
    for suffix in ("bin", "csv", "wav", "json"):
        (place / f"junk.{suffix}").write_bytes(bytes(rng.randrange(256) for _ in range(300)))


def make_arguments(rng: random.Random, folder: Path) -> tuple[Path, list[str]]:
    """Words of a command, most of them odd, and a fresh folder to run it in."""
    whole, place = folder / "whole", folder / "place"
    if not whole.exists():
        write_place(whole)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(whole, place)
    words = list(rng.choice(COMMANDS))
    for _ in range(rng.randrange(4)):
        words += [rng.choice(OPTIONS), rng.choice(ODD)] if rng.random() < 0.8 else [rng.choice(ODD)]
    if "--model" not in words and words[0] in ("tag", "sweep", "bench"):
        words += ["--model", "model"]
    return place, words


def read_arguments(call: tuple[Path, list[str]]) -> None:
    from calls import call_spectrim

    place, words = call
    done = call_spectrim(tuple(words), place)
    assert done.returncode in (0, 1, 2), done.returncode
    assert "Traceback" not in done.stderr, done.stderr
    if done.returncode:
        assert done.stderr.strip()
        raise Refused
