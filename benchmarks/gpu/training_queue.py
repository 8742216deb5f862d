"""Run the queue of training jobs, several at once, and pack what is worth taking home.

    python benchmarks/gpu/training_queue.py --out OUT --audio .gpu-1 .gpu-2 .gpu-3 .gpu-4
    python benchmarks/gpu/training_queue.py --unpack OUT RUNS          # at home

Jobs start when the jobs they need are finished and their audio is there, in the order of
`queue.yaml`; a folder of --audio may arrive later. A job that is stopped
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
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
GRACE = 12.0  # seconds before the end at which running jobs are told to save and stop
EVALUATION = 60.0  # seconds for the evaluations after the jobs, where the queue has any
PACKING = 10.0  # seconds that packing takes
PART = 15 * 2**20  # bytes of an archive's part
ARCHIVE = 62 * 2**20  # bytes of the archive: a machine returns 64 MiB in eight files
RECORDS = ("done", "summary.json", "epochs.jsonl", "recipe.yaml", "settled.json", "log.txt")
REHEARSAL_CLIPS = 12  # of each manifest
REHEARSAL_LABELS = 3


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
        self.recipe_changes: dict[str, list[str]] = content.get("recipe_changes", {})
        chosen = args.jobs
        if args.rehearsal:
            self.changes = [*self.changes, *content["rehearsal"]]
            chosen = chosen or content["rehearsal_jobs"]
        self.jobs: dict[str, dict[str, Any]] = {
            job["name"]: job
            for job in with_seeds(content["jobs"])
            if not chosen or job["name"] in chosen
        }
        self.values = {"runs": str(self.runs), "data": str(args.scratch)}
        self.waiting_for = list(args.audio)
        self.evaluations: dict[str, dict[str, Any]] = content.get("evaluations", {})
        self.read_audio()
        self.states = {name: "finished" if self.finished(name) else "waiting" for name in self.jobs}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.started: dict[str, float] = {}
        self.rows: dict[str, dict[str, Any]] = {}
        self.closing = False
        self.evaluated: dict[str, int] = {}  # exit status by evaluation

    def left(self) -> float:
        """Seconds until jobs must stop."""
        after = GRACE + PACKING + (EVALUATION if self.evaluations else 0)
        return float(self.args.seconds) - after - (time.monotonic() - self.began)

    def read_audio(self) -> None:
        """Decode the manifests of packed folders that have arrived since the last look."""
        for folder in [folder for folder in self.waiting_for if folder.is_dir()]:
            self.waiting_for.remove(folder)
            self.values |= manifests(folder, self.args.scratch, self.args.rehearsal)

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
        of_recipe = self.recipe_changes.get(job[kind], [])
        changes = [*of_recipe, *self.changes, *job.get("changes", ())]
        changes = [self.filled(change) for change in changes]
        if self.args.rehearsal:  # a job's own values give way, but for its manifest and its start
            changes = [c for c in changes if not c.startswith("epochs=")] + ["epochs=1"]
        command = [sys.executable, "-m", "spectrim", kind, str(ROOT / job[kind]), *changes]
        return [*command, "--out", str(self.runs / name)]

    def filled(self, text: str) -> str:
        """A text of the queue with the packed manifests and folders in place of their names.

        Raises:
            KeyError: a manifest was not packed.
        """
        return re.sub(r"\{([\w-]+)\}", lambda match: self.values[match[1]], text)

    def arrived(self, name: str) -> bool:
        """Whether the audio that a job reads is there, or will never come."""
        with contextlib.suppress(KeyError):
            return bool(self.line(name))
        return not self.waiting_for

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
                self.read_audio()
                self._start_ready()
                if not self.running and not self.waiting_for:
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
            ready = all(self.done(need) for need in needs) and self.arrived(name)
            if state == "waiting" and ready:
                self.start(name)

    def done(self, name: str) -> bool:
        """Whether a job is finished; one that is not in this queue has its folder of an earlier."""
        if name in self.states:
            return self.states[name] == "finished"
        return (self.runs / name).is_dir()

    def evaluate(self) -> None:
        """Sweep the finished runs of each evaluation on its held-out clips, all at the same time.

        `sweeps/NAME` in the folder of runs gets the table and, instead of all probabilities, the
        top class of every clip.
        """
        sweeps = {}
        for name, evaluation in self.evaluations.items():
            runs = [self.runs / run for run in evaluation["runs"]]
            runs += [path for run in runs for path in sorted(self.runs.glob(f"{run.name}-seed-*"))]
            models = [
                str(run / "last")
                for run in runs
                if (run / "summary.json").is_file() and (run / "last").is_dir()
            ]
            folder = self.runs / "sweeps" / name
            folder.mkdir(parents=True, exist_ok=True)
            if not models or evaluation["data"].strip("{}") not in self.values:
                continue
            line = [sys.executable, "-m", "spectrim", "sweep"]
            line += [word for model in models for word in ("--model", model)]
            line += ["--data", self.filled(evaluation["data"]), *evaluation["options"]]
            with (folder / "log.txt").open("ab") as log:
                sweeps[name] = subprocess.Popen(
                    [*line, "--out", str(folder)], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
                )
        end = time.monotonic() + EVALUATION
        for name, process in sweeps.items():
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)  # it writes what it has
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)
                process.kill()
                process.wait()
            self.evaluated[name] = process.returncode
            keep_top_classes(self.runs / "sweeps" / name)
            print(f"training_queue: evaluation {name}, status {process.returncode}", flush=True)

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
            "complete": all(state == "finished" for state in self.states.values())
            and not any(self.evaluated.values()),
            "failed": failed,
            "evaluations": self.evaluated,
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
        results = [name for name, state in self.states.items() if state == "finished"]
        # Final models first, then states, which only their job can make; then models that other
        # jobs start from, and records.
        final = [name for name in results if self.jobs[name].get("keep", True)]
        unfinished = [n for n, s in self.states.items() if s in ("stopped", "failed")]
        others = sorted(set(results) - set(final), key=lambda name: name not in needed)
        whole, left_out = io.BytesIO(), []
        with tarfile.open(fileobj=whole, mode="w") as archive:
            if (self.runs / "sweeps").is_dir():
                archive.add(self.runs / "sweeps", arcname="sweeps")
            for name in [*final, *unfinished, *others]:
                with tempfile.TemporaryDirectory() as aside:
                    folder = Path(aside) / name
                    if name in results:
                        self.copy_result(name, folder, name in final or name in needed)
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

    def copy_result(self, name: str, folder: Path, model: bool) -> None:
        """The records of a run and, where `model` says so, the last model in half precision."""
        import spectrim

        folder.mkdir()
        if model and (self.runs / name / "last").is_dir():
            spectrim.load(self.runs / name / "last").half().save(folder / "last")
        for record in RECORDS:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(self.runs / name / record, folder / record)


def with_seeds(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Jobs, and at the end copies with further seeds of those that say how many they want."""
    return jobs + [
        job
        | {"name": f"{job['name']}-seed-{seed}", "keep": False}
        | {"changes": [*job["changes"], f"seed={seed}"]}
        for seed in range(1, max((job.get("seeds", 1) for job in jobs), default=1))
        for job in jobs
        if job.get("seeds", 1) > seed
    ]


def manifests(folder: Path, scratch: Path, few: bool = False) -> dict[str, str]:
    """Decode the audio of a packed folder; returns the manifests by name.

    Every job reads parts of long files, and finding a part in a compressed file takes as long as
    decoding what stands before it. So each file is decoded once, to 32-bit WAV.

    Args:
        scratch: folder for decoded audio and manifests.
        few: keep a few clips of each manifest, for a rehearsal.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    paths = {}
    for file in sorted(folder.resolve().glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        if few:
            rows = few_clips(rows)
        sources = sorted({row["path"] for row in rows})
        decoded = {name: scratch / f"{Path(name).stem}.wav" for name in sources}
        with ThreadPoolExecutor(max(4, os.cpu_count() or 4)) as pool:
            list(pool.map(decode, [file.parent / name for name in sources], decoded.values()))
        written = scratch / file.name
        with written.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]))
            writer.writeheader()
            writer.writerows(row | {"path": str(decoded[row["path"]])} for row in rows)
        paths[file.stem] = str(written)
    return paths


def decode(source: Path, target: Path) -> None:
    """Write a file as 32-bit WAV, once."""
    if not target.is_file():
        samples, rate = soundfile.read(source, dtype="float32")
        soundfile.write(target, samples, rate, "FLOAT", format="WAV")


def few_clips(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Some clips of a manifest, of few labels: training and test clips must have the same."""
    labels = sorted({row["label"] for row in rows})[:REHEARSAL_LABELS]
    rows = [row for row in rows if row["label"] in labels]
    return random.Random(0).sample(rows, min(REHEARSAL_CLIPS, len(rows)))


def keep_top_classes(folder: Path) -> None:
    """Replace the probabilities of a sweep by the top class of every clip."""
    for file in folder.glob("probabilities-*.npz"):
        with np.load(file) as content:
            kept = {
                key: values.argmax(-1).astype(np.uint8)
                if values.ndim == 2 and values.dtype.kind == "f"
                else values
                for key, values in content.items()
            }
        np.savez_compressed(folder / file.name.replace("probabilities", "classes"), **kept)
        file.unlink()


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
    queue.evaluate()
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
