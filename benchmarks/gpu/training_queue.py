"""Run the queue of training jobs, several at once, and pack what is worth taking home.

    python benchmarks/gpu/training_queue.py --out OUT --audio .gpu-1 .gpu-2 .gpu-3 --seconds 470
    python benchmarks/gpu/training_queue.py --unpack OUT RUNS          # at home

Jobs start when the jobs they need are finished, in the order of `queue.yaml`. A job that is stopped
by its limit, or by the end of the time, saves its state. OUT gets `training_queue.json` and the
parts of one archive: a half-precision model and the records of every finished job, and the whole
run folder of an unfinished one. Unpack them into the folder of runs on the next occasion, or at
home; there, the same command resumes an unfinished job.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GRACE = 12.0  # seconds before the end at which running jobs are told to save and stop
PACKING = 10.0  # seconds that packing takes
PART = 15 * 2**20  # bytes of an archive's part
ARCHIVE = 62 * 2**20  # bytes of the archive: a machine returns 64 MiB in eight files
RECORDS = ("summary.json", "epochs.jsonl", "recipe.yaml", "settled.json", "log.txt")
REHEARSAL_CLIPS = 12  # of each manifest


class Queue:
    """The jobs, their processes, and what became of them.

    Attributes:
        runs: folder of runs.
        jobs: by name, in the order of the file.
        states: by name: "waiting", "running", "finished", "stopped", "failed" or "blocked".
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.began = time.monotonic()
        self.args = args
        self.runs: Path = args.runs
        self.runs.mkdir(parents=True, exist_ok=True)
        content = yaml.safe_load(args.queue.read_text(encoding="utf-8"))
        self.changes: list[str] = content["changes"]
        chosen = args.jobs
        if args.rehearsal:
            self.changes = [*self.changes, *content["rehearsal"]]
            chosen = chosen or content["rehearsal_jobs"]
        self.jobs: dict[str, dict[str, Any]] = {
            job["name"]: job for job in content["jobs"] if not chosen or job["name"] in chosen
        }
        self.values = {"runs": str(self.runs), "data": str(args.scratch)}
        self.values |= manifests(args.audio, args.scratch if args.rehearsal else None)
        self.states = {name: "finished" if self.finished(name) else "waiting" for name in self.jobs}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.started: dict[str, float] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.closing = False

    def left(self) -> float:
        """Seconds until jobs must stop."""
        return float(self.args.seconds) - GRACE - PACKING - (time.monotonic() - self.began)

    def finished(self, name: str) -> bool:
        """Whether a job has its result."""
        if "command" in self.jobs[name]:
            return (self.runs / name / "done").is_file()
        return (self.runs / name / "summary.json").is_file()

    def line(self, name: str) -> list[str]:
        """The command of a job."""
        job = self.jobs[name]
        if "command" in job:
            script, *arguments = job["command"]
            return [sys.executable, str(ROOT / script), *map(self.filled, arguments)]
        kind = "train" if "train" in job else "pretrain"
        changes = [self.filled(change) for change in [*self.changes, *job.get("changes", ())]]
        if self.args.rehearsal:  # a job's own values give way, but for its manifest and its start
            changes = [c for c in changes if not c.startswith("epochs=")] + ["epochs=1"]
        command = [sys.executable, "-m", "spectrim", kind, str(ROOT / job[kind]), *changes]
        return [*command, "--out", str(self.runs / name)]

    def filled(self, text: str) -> str:
        """A text of the queue with the packed manifests and folders in place of their names.

        Raises:
            KeyError: a manifest was not packed.
        """
        for key in ("words", "fsdd-digit", "esc50-shareable", "espeak-words", "runs", "data"):
            if f"{{{key}}}" in text:
                text = text.replace(f"{{{key}}}", self.values[key])
        return text

    def start(self, name: str) -> None:
        """Start a job."""
        (self.runs / name).mkdir(parents=True, exist_ok=True)
        try:
            line = self.line(name)
        except KeyError as missing:
            self.states[name] = "failed"
            self.rows[name] = {"reason": f"no packed manifest {missing}"}
            return
        with (self.runs / name / "log.txt").open("ab") as log:
            self.running[name] = subprocess.Popen(
                line, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.states[name] = "running"
        self.started[name] = time.monotonic()
        print(f"training_queue: {name} started, {self.left():.0f} s left", flush=True)

    def look(self, name: str) -> None:
        """Note the end of a job, or stop it after its limit."""
        process, seconds = self.running[name], time.monotonic() - self.started[name]
        status = process.poll()
        if status is None:
            limit = 60 * float(self.jobs[name]["minutes"])
            told = "told_to_stop" in self.rows.get(name, {})
            # Once: a second signal would end a job before its state is saved.
            if (self.closing or seconds > limit) and not told:
                process.send_signal(signal.SIGTERM)
                self.rows.setdefault(name, {})["told_to_stop"] = True
            return
        del self.running[name]
        if status == 0 and "command" in self.jobs[name]:
            (self.runs / name / "done").touch()
        stopped = "told_to_stop" in self.rows.get(name, {})
        self.states[name] = "finished" if status == 0 else "stopped" if stopped else "failed"
        row = self.rows.setdefault(name, {})
        row |= {"exit_status": status, "seconds": round(seconds, 1)}
        with contextlib.suppress(OSError):
            row["log"] = (self.runs / name / "log.txt").read_text(errors="replace")[-600:]
        print(f"training_queue: {name} {self.states[name]} after {seconds:.0f} s", flush=True)

    def run(self) -> None:
        """Run jobs until all are done or the time is up."""
        closed = 0.0
        while True:
            if self.left() <= 0 and not self.closing:
                self.closing, closed = True, time.monotonic()
            for name in list(self.running):
                self.look(name)
            if self.closing and (not self.running or time.monotonic() - closed > GRACE):
                break
            if not self.closing:
                self._start_ready()
                if not self.running:
                    break
            time.sleep(0.1)
        for name, process in list(self.running.items()):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            self.rows.setdefault(name, {})["told_to_stop"] = True
            self.look(name)
        for name, state in self.states.items():
            if state == "waiting":
                needed = [self.states.get(need) for need in self.jobs[name].get("needs", ())]
                self.states[name] = "blocked" if "failed" in needed else "waiting"

    def _start_ready(self) -> None:
        for name, state in self.states.items():
            if len(self.running) >= self.args.at_once:
                return
            needs = self.jobs[name].get("needs", ())
            if state == "waiting" and all(self.done(need) for need in needs):
                self.start(name)

    def done(self, name: str) -> bool:
        """Whether a job is finished; one that is not in this queue has its folder of an earlier."""
        if name in self.states:
            return self.states[name] == "finished"
        return (self.runs / name).is_dir()

    def report(self) -> dict[str, Any]:
        """The content of `training_queue.json`."""
        jobs = {}
        for name, state in self.states.items():
            jobs[name] = {"state": state} | self.rows.get(name, {})
            with contextlib.suppress(OSError, ValueError, IndexError):
                lines = (self.runs / name / "epochs.jsonl").read_text().splitlines()
                epochs = [json.loads(line) for line in lines]
                jobs[name]["last_epoch"] = epochs[-1]
                rates = sorted(epoch["clips_per_s"] for epoch in epochs)
                jobs[name]["median_clips_per_s"] = rates[len(rates) // 2]
        failed = {name: row for name, row in jobs.items() if row["state"] == "failed"}
        import torch

        cuda = torch.cuda.is_available()
        return {
            "piece": "training_queue",
            "rehearsal": self.args.rehearsal,
            "device": torch.cuda.get_device_name() if cuda else "cpu",
            "at_once": self.args.at_once,
            "seconds": round(time.monotonic() - self.began, 1),
            "complete": all(state == "finished" for state in self.states.values()),
            "failed": failed,
            "jobs": jobs,
        }

    def pack(self, out: Path) -> list[str]:
        """Write the parts of the archive; returns the jobs that did not fit."""
        needed = {
            need
            for name, state in self.states.items()
            if state != "finished"
            for need in self.jobs[name].get("needs", ())
        }
        results = [n for n, s in self.states.items() if s == "finished" and self.wanted(n, needed)]
        # Final models first, then states, which only their job can make; then models that other
        # jobs start from.
        final = [name for name in results if self.jobs[name].get("keep", True)]
        unfinished = [n for n, s in self.states.items() if s in ("stopped", "failed")]
        starts = [name for name in results if name not in final]
        whole, left_out = io.BytesIO(), []
        with tarfile.open(fileobj=whole, mode="w") as archive:
            for name in [*final, *unfinished, *starts]:
                with tempfile.TemporaryDirectory() as aside:
                    folder = Path(aside) / name
                    if name in results:
                        self.copy_result(name, folder)
                    else:
                        shutil.copytree(self.runs / name, folder)
                        for part in ("best", "last", "waveforms"):
                            shutil.rmtree(folder / part, ignore_errors=True)
                    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                    if whole.tell() + size + 2**18 > ARCHIVE:
                        left_out.append(name)
                        continue
                    archive.add(folder, arcname=name)
        content = whole.getvalue()
        for number, start in enumerate(range(0, len(content), PART)):
            (out / f"runs.tar.{number}").write_bytes(content[start : start + PART])
        return left_out

    def wanted(self, name: str, needed: set[str]) -> bool:
        """Whether the result of a finished job is packed."""
        return (self.runs / name / "last").is_dir() and (
            bool(self.jobs[name].get("keep", True)) or name in needed
        )

    def copy_result(self, name: str, folder: Path) -> None:
        """The last model in half precision, and the records of a run."""
        import spectrim

        folder.mkdir()
        spectrim.load(self.runs / name / "last").half().save(folder / "last")
        for record in RECORDS:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(self.runs / name / record, folder / record)


def manifests(folders: list[Path], scratch: Path | None) -> dict[str, str]:
    """Packed manifests by name, separated by commas.

    Args:
        scratch: folder for manifests of a few clips each, for a rehearsal; None: the whole ones.
    """
    paths: dict[str, list[str]] = {}
    for folder in folders:
        for file in sorted(folder.resolve().glob("*.csv")):
            path = file if scratch is None else few_clips(file, scratch)
            paths.setdefault(file.stem, []).append(str(path))
    return {name: ",".join(files) for name, files in paths.items()}


def few_clips(manifest: Path, scratch: Path) -> Path:
    """A manifest of some clips of another one."""
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rows = random.Random(0).sample(rows, min(REHEARSAL_CLIPS, len(rows)))
    labels = {row["label"] for row in rows if row.get("split", "train") == "train"}
    rows = [row for row in rows if row["label"] in labels]
    scratch.mkdir(parents=True, exist_ok=True)
    few = scratch / f"{manifest.parent.name.lstrip('.')}-{manifest.name}"
    with few.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"path": str(manifest.parent / row["path"])} for row in rows)
    return few


def unpack(out: Path, runs: Path) -> None:
    """Join the parts of an archive and extract it; a run whose end is missing is left out."""
    parts = sorted(out.glob("runs.tar.*"), key=lambda path: int(path.suffix[1:]))
    if not parts:
        sys.exit(f"{out}: no runs.tar.0, runs.tar.1, ...")
    content = io.BytesIO(b"".join(path.read_bytes() for path in parts))
    with tarfile.open(fileobj=content) as archive:
        members: dict[str, list[tarfile.TarInfo]] = {}
        cut = ""
        try:
            for member in archive:
                cut = member.name.split("/")[0]
                end = member.offset_data + member.size
                if end > len(content.getbuffer()):
                    break
                members.setdefault(cut, []).append(member)
            else:
                cut = ""
        except tarfile.ReadError:
            pass
        if cut:
            members.pop(cut, None)
            print(f"left out: {cut}, the archive ends within it or right after it", file=sys.stderr)
        for name, files in members.items():
            archive.extractall(runs, files, filter="data")
            print(f"{runs / name}")


def main() -> None:
    """Parse, run, pack."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--queue", type=Path, default=HERE / "queue.yaml")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="Result folder.")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "queue", help="Run folders.")
    parser.add_argument("--scratch", type=Path, default=ROOT / "runs" / "queue-data")
    parser.add_argument("--audio", type=Path, nargs="*", default=None, help="Packed folders.")
    parser.add_argument("--data", type=Path, help="Of other pieces; holds packed-* folders.")
    parser.add_argument("--committed", type=Path, help="Of other pieces; not used.")
    parser.add_argument("--seconds", type=float, default=1e9, help="Until everything is packed.")
    parser.add_argument("--at-once", type=int, default=6, help="Jobs that run at the same time.")
    parser.add_argument("--jobs", nargs="*", help="Names of jobs; default: all.")
    parser.add_argument("--rehearsal", action="store_true", help="A few jobs, one epoch, the CPU.")
    parser.add_argument("--unpack", type=Path, nargs=2, metavar=("OUT", "RUNS"))
    args = parser.parse_args()
    if args.unpack:
        unpack(*args.unpack)
        return
    if args.audio is None:
        args.audio = sorted(ROOT.glob(".gpu-[0-9]"))
        if args.data:
            args.audio += sorted(args.data.glob("packed-[0-9]"))
    if not args.audio:
        sys.exit("training_queue: no packed audio; see TRAINING in benchmarks/gpu/prepare.sh")
    args.out.mkdir(parents=True, exist_ok=True)
    args.runs, args.scratch = args.runs.resolve(), args.scratch.resolve()
    if args.rehearsal:
        folder = tempfile.mkdtemp()
        args.runs, args.scratch = Path(folder) / "runs", Path(folder) / "data"
    # Random numbers of several processes do not depend on their threads; clips are decoded by
    # threads of their own.
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    queue = Queue(args)
    queue.run()
    left_out = queue.pack(args.out)
    result = queue.report() | {"not_packed": left_out}
    aside = args.out / "training_queue.tmp"
    aside.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    os.replace(aside, args.out / "training_queue.json")
    if args.rehearsal:
        shutil.rmtree(args.runs.parent, ignore_errors=True)
    states = ", ".join(f"{name} {state}" for name, state in queue.states.items())
    print(f"training_queue: {states}", flush=True)
    sys.exit(1 if result["failed"] else 0)


if __name__ == "__main__":
    main()
