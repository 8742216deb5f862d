"""One piece of the GPU agenda: its arguments, its deadline and its result file.

A piece is a script that measures a list of named cases. The result file is written after each
case, so a killed piece keeps what it finished. A case is skipped if the result of an earlier run
with the same code version and the same device holds it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

import spectrim

HERE = Path(__file__).resolve().parent
PACKAGES = ("torch", "triton", "transformers", "numpy", "accelerate", "soundfile", "typer")
TRACEBACK_LINES = 12  # of a failed case, kept in the result file


class Piece:
    """Arguments, deadline and results of one script.

    Attributes:
        name: of the script and of its result file.
        device: "cuda" where there is one; the CPU is for rehearsals.
        rehearsal: run every case in a tiny setting.
        data: folder with `fsdd/manifest.csv` and `esc10/manifest.csv`.
    """

    def __init__(self, script: str, description: str | None) -> None:
        self.began = time.monotonic()
        parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
        parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="Result folder.")
        parser.add_argument("--committed", type=Path, help="Folder of earlier results.")
        parser.add_argument("--data", type=Path, help="Folder of packed audio.")
        parser.add_argument("--seconds", type=float, default=1e9, help="Start no case after this.")
        parser.add_argument("--rehearsal", action="store_true", help="Tiny setting on the CPU.")
        args = parser.parse_args()
        self.name = Path(script).stem
        self.rehearsal: bool = args.rehearsal
        self.data: Path | None = args.data
        self.seconds: float = args.seconds
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.device.type == "cpu" and not self.rehearsal:
            sys.exit("No CUDA device is available. Pass --rehearsal to run on the CPU.")
        args.out.mkdir(parents=True, exist_ok=True)
        self.path: Path = args.out / f"{self.name}.json"
        self.result: dict[str, Any] = {
            "piece": self.name,
            "rehearsal": self.rehearsal,
            "code_version": code_version(Path(script)),
            "device": device_name(self.device),
            "versions": versions(),
            "cases": {},
            "failed": {},
            "not_reached": [],
            "skipped": {},
        }
        for folder in filter(None, (args.committed, args.out)):
            self._adopt(folder / self.path.name)

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.seconds - (time.monotonic() - self.began)

    def case(self, name: str, measure: Callable[[], Any], needs: float = 5.0) -> Any:
        """Measure a case and save the result file.

        Args:
            measure: returns what JSON can store. A dictionary with a true value of "partial" is
                measured again in the next run.
            needs: seconds that the case usually takes. It is not started with less time left.

        Returns:
            What was measured now or earlier; None where the case failed or was not reached.
        """
        if name in self.result["cases"]:
            return self.result["cases"][name]
        if not self.rehearsal and self.left() < needs:
            self.result["not_reached"].append(name)
            self.save()
            return None
        began = time.monotonic()
        try:
            value = measure()
        except Exception:
            lines = traceback.format_exc().splitlines()[-TRACEBACK_LINES:]
            self.result["failed"][name] = lines
            print(f"{self.name}: {name} failed: {lines[-1]}", flush=True)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            self.save()
            return None
        self.result["cases"][name] = value
        seconds = time.monotonic() - began
        self.result.setdefault("case_seconds", {})[name] = round(seconds, 1)
        print(f"{self.name}: {name} took {seconds:.1f} s", flush=True)
        self.save()
        return value

    def wait_for_others(self) -> None:
        """Wait until no other piece runs beside this one: it would disturb timing."""
        while any(
            file.name != f".{self.name}.running" for file in self.path.parent.glob(".*.running")
        ):
            time.sleep(0.2)

    def skip(self, name: str, reason: str) -> None:
        """Record that a case cannot run here."""
        self.result["skipped"][name] = reason
        self.save()

    def save(self) -> None:
        """Write the result file."""
        self.result["piece_seconds"] = round(time.monotonic() - self.began, 1)
        aside = self.path.with_suffix(".tmp")
        aside.write_text(json.dumps(self.result, indent=1) + "\n", encoding="utf-8")
        os.replace(aside, self.path)

    def finish(self) -> None:
        """Write the result file, mark whether nothing is left to measure, and end the process.

        The exit status is 0 if no case failed.
        """
        complete = not self.result["not_reached"] and not self.result["failed"]
        self.result["complete"] = complete
        self.save()
        failed = len(self.result["failed"])
        print(
            f"{self.name}: {len(self.result['cases'])} cases measured, {failed} failed, "
            f"{len(self.result['not_reached'])} not reached, {time.monotonic() - self.began:.0f} s",
            flush=True,
        )
        sys.exit(1 if failed else 0)

    def _adopt(self, earlier: Path) -> None:
        """Take over the cases that an earlier run measured with the same code and device."""
        if not earlier.is_file():
            return
        result = json.loads(earlier.read_text(encoding="utf-8"))
        if all(result.get(key) == self.result[key] for key in ("code_version", "device")):
            whole = {
                name: value
                for name, value in result["cases"].items()
                if not (isinstance(value, dict) and value.get("partial"))
            }
            self.result["cases"] |= whole
            self.result["case_seconds"] = result.get("case_seconds", {})


def code_version(script: Path) -> str:
    """Twelve hex digits that identify Spectrim's source and a script."""
    package = Path(spectrim.__file__).parent
    digest = hashlib.sha256()
    for file in [*sorted(package.rglob("*.py")), script.resolve(), HERE / "timing.py"]:
        name = file.relative_to(package) if file.is_relative_to(package) else file.name
        digest.update(str(name).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def versions() -> dict[str, str]:
    """Versions of what computes the numbers."""
    known = {"spectrim": spectrim.__version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return known | {"cuda": str(torch.version.cuda)}


def device_name(device: torch.device) -> str:
    """Name of the card, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def features_on_device(
    model: Any, waveforms: torch.Tensor, lengths: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of (batch, samples) waveforms that are already on the device."""
    return model.features_from_batch(waveforms, lengths)
