"""Every command of Spectrim on the device: exit status, the end of its output, its answers.

Commands run as a user runs them, each in a process of its own, several at a time. Those that a
comparison needs also run on the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from piece import HERE, Piece

LIMIT = 100  # seconds that one command may take
KEPT = 1500  # characters of output kept
AT_ONCE = max(1, min(6, (os.cpu_count() or 1) // 2))  # commands
ALL = (
    "sweep", "tag", "check", "analyze", "ablate", "bench", "train", "pretrain", "export", "macs",
    "models", "grid run", "data prepare",
)  # fmt: skip


def run(arguments: list[str], folder: Path, limit: float = LIMIT) -> dict[str, Any]:
    """Run `spectrim` with some arguments in a folder."""
    began = time.monotonic()
    line = [sys.executable, "-m", "spectrim", *arguments]
    environment = {"OMP_NUM_THREADS": "2"} | os.environ | {"COLUMNS": "200"}
    try:
        done = subprocess.run(
            line, cwd=folder, capture_output=True, text=True, timeout=limit, env=environment
        )
        status, out, err = done.returncode, done.stdout, done.stderr
    except subprocess.TimeoutExpired as error:
        status, out, err = 124, _text(error.stdout), _text(error.stderr)
    return {
        "arguments": arguments,
        "exit_status": status,
        "seconds": round(time.monotonic() - began, 1),
        "stderr": err[-KEPT:],
        "stdout": out,
    }


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def command_lines(piece: Piece, folder: Path) -> dict[str, list[str]]:
    """Name of a case to arguments; the device of a comparison is part of the name."""
    assert piece.data is not None
    device = piece.device.type
    digits = str((piece.data / "fsdd" / "manifest.csv").resolve())
    if piece.rehearsal:
        lines = Path(digits).read_text(encoding="utf-8").splitlines()
        few = folder / "few.csv"
        rows = [f"{Path(digits).parent}/{line}" for line in lines[1 :: max(1, len(lines) // 10)]]
        few.write_text("\n".join(["path,label", *rows]) + "\n", encoding="utf-8")
        digits = str(few)
    clip = str(next(iter(sorted((piece.data / "fsdd").glob("*.wav")))).resolve())
    recipes = HERE.parents[1] / "recipes"
    few_rounds = ["--rounds", "2"]
    train = ["train", str(recipes / "finetune.yaml"), f"data.manifest={digits}", "init=ast-digits"]
    train += ["keep_rate=0.7", "epochs=1", "schedule.start=0", "schedule.length=0"]
    pretrain = ["pretrain", str(recipes / "pretrain-digits.yaml"), f"data.manifest={digits}"]
    lines = {
        f"sweep, {device}": ["sweep", "--model", "ast-digits", "--model", "audiomae-digits",
                             "--data", digits, "--keep-rates", "1.0,0.5", *few_rounds],
        "sweep, cpu": ["sweep", "--model", "ast-digits", "--model", "audiomae-digits", "--data",
                       digits, "--keep-rates", "1.0,0.5", *few_rounds],
        f"tag, {device}": ["tag", clip, "--model", "ast-digits", "--keep-rate", "0.7", "--json"],
        f"tag, {device}, bfloat16": ["tag", clip, "--model", "audiomae-digits", "--keep-rate",
                                     "0.7", "--dtype", "bfloat16", "--json"],
        "tag, cpu": ["tag", clip, "--model", "ast-digits", "--keep-rate", "0.7", "--json"],
        f"check, {device}": ["check", "audiomae-digits", "--data", digits, *few_rounds],
        f"analyze, {device}": ["analyze", "--model", "ast-digits", "--data", digits],
        f"ablate, {device}": ["ablate", "--model", "audiomae-digits", "--data", digits,
                              "--by-lot", "--after", "1,6"],
        f"bench, {device}": ["bench", "--model", "ast-tiny" if piece.rehearsal else "ast-base",
                             "--keep-rates", "1.0,0.5", "--budget", "5", "--dtype", "bfloat16",
                             "--batch-sizes", "8", "--against", "transformers", "--product",
                             "256" if piece.rehearsal else "4096", *few_rounds, "--json"],
        "train": [*train, "--out", "run"],
        "pretrain": [*pretrain, "epochs=1", "--out", "prerun"],
    }  # fmt: skip
    if piece.rehearsal:
        lines = {name: lines[name] for name in ("sweep, cpu", "tag, cpu", "train")}
        short = ["--scores", "attention", "--rounds", "1", "--keep-rates", "1.0,0.5"]
        lines["sweep, cpu"] = ["sweep", "--model", "ast-digits", "--data", digits, *short]
    for name, line in lines.items():
        where = next((part for part in name.split(", ") if part in ("cuda", "cpu")), None)
        if where:
            line += ["--device", where]
        if line[0] in ("sweep", "analyze", "ablate"):
            line += ["--out", name.replace(", ", "-")]
    return lines


def summary(done: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What is kept of a command: answers instead of the whole output where there are some."""
    out = done.pop("stdout")
    line = done["arguments"]
    if "--json" in line and done["exit_status"] == 0:
        answer = json.loads(out)
        done["device"] = answer.get("device")
        if line[0] == "tag":
            done["labels"] = answer["rows"][0]["labels"][:2]
        if line[0] == "bench":
            done["rows"] = [
                {key: row[key] for key in ("keep_rate", "batch_size", "clips_per_s", "peak_mb")}
                for row in answer["rows"]
            ]
            done["against"] = answer.get("against")
        return done
    if line[0] == "sweep" and done["exit_status"] == 0:
        answer = json.loads((folder / line[-1] / "results.json").read_text(encoding="utf-8"))
        rows = answer.get("rows", [])
        keys = ("model", "score", "keep_rate", "value", "device")
        done["rows"] = [
            {key: row[key] for key in keys} | {"same_top_class": row["agreement"]["top1"]["value"]}
            for row in rows
        ]
    done["stdout"] = out[-KEPT:]
    return done


def without_device(folder: Path) -> list[str]:
    """Commands whose help does not name the option `--device`."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        texts = pool.map(lambda name: run([*name.split(), "--help"], folder, 60)["stdout"], ALL)
        return [name for name, text in zip(ALL, texts, strict=True) if "--device" not in text]


def main() -> None:
    """Run all commands, several at a time; save each as it ends."""
    piece = Piece(__file__, __doc__)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lines = {
            case: line
            for case, line in command_lines(piece, folder).items()
            if case not in piece.result["cases"]
        }
        limit = min(LIMIT, max(10.0, piece.left() - 5))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            running = {case: pool.submit(run, line, folder, limit) for case, line in lines.items()}
            for case, future in running.items():

                def ended(case: str = case, future: Any = future) -> dict[str, Any]:
                    done = summary(future.result(), folder)
                    if done["exit_status"] != 0:
                        piece.result.setdefault("exit_status", {})[case] = done["exit_status"]
                    return done

                piece.case(case, ended, needs=-1e9)
        if not piece.rehearsal:
            piece.case("commands without --device", lambda: without_device(folder), needs=20)
    piece.finish()


if __name__ == "__main__":
    main()
