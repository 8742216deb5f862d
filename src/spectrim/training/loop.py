"""The training loop, from top to bottom."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from ..common.errors import SpectrimError
from ..common.hooks import pass_point
from ..data.loader import TrainBatch
from .draws import AugmentDraw
from .engine import attention_kernel
from .jobs import Job
from .optim import optimiser, parameter_groups, set_lr
from .reporting import Board, Reporter, write_lines
from .schedules import lr_at
from .state import Progress, StateFolder

STOPPED = "after step {} of {}, which is saved. Run the same command to resume."


class Interrupted(KeyboardInterrupt):
    """Stopped by a signal, the state saved."""


def fit(job: Job, accelerator: Accelerator, out: Path, reporter: Reporter) -> Progress:
    """Train to the end, from the state in the folder if there is one.

    Writes to `out`: `last/` and `best/` (models), `epochs.jsonl`, `tensorboard/`, `state/`.

    Raises:
        SpectrimError: the loss is not finite, or the disk is full; the last state is kept.
        Interrupted: Ctrl-C or a termination signal came; the state was saved.
    """
    loader, run, main = job.loader, job.run, accelerator.is_main_process
    groups = parameter_groups(job.objective, job.model.config.depth, job.optim)
    optim = optimiser(groups, job.optim)
    job.objective.to(accelerator.device)
    states = StateFolder(out / "state")
    restored = states.restore(job.objective, optim)
    progress, scaling = restored or (Progress(), None)
    objective, wrapped = accelerator.prepare(job.objective, optim)
    if scaling and accelerator.scaler:
        accelerator.scaler.load_state_dict(scaling)
    folder = out / "tensorboard" if main and run.tensorboard else None
    board = Board(folder, progress.step)
    steps, total = loader.steps, loader.steps * job.epochs
    if progress.step == total:
        reporter.note("is finished: nothing is left to train.")
    elif progress.step:
        reporter.note(f"resumes from step {progress.step} of {total}.")

    def save_state() -> None:
        if main:
            scaler = accelerator.scaler.state_dict() if accelerator.scaler else None
            states.save(job.objective, optim, progress, scaler)

    saved, stop = time.monotonic(), 0.0
    attention = attention_kernel(
        accelerator.device, job.model.grid.count, accelerator.mixed_precision
    )
    with stop_signals() as stopping, contextlib.closing(board), attention:
        for epoch in range(progress.step // steps, job.epochs):
            objective.train()
            began = time.monotonic()
            for batch in loader.epoch(epoch, first=progress.step % steps):
                now = progress.step / steps
                lr = lr_at(progress.step, steps, job.epochs, job.optim)
                set_lr(optim, lr)
                seed_step(job.seed, progress.step, accelerator.process_index)
                own_loss = backward(accelerator, objective, job, batch, now)
                # A signal to one process stops all of them after the same step. If one stopped
                # alone, the others would wait for its gradients.
                signals = torch.full_like(own_loss, len(stopping))
                sums = accelerator.reduce(torch.stack([own_loss, signals]), "sum")
                loss, stop = sums.tolist()
                check_finite(loss, progress, batch, states)
                limit = job.optim.clip or math.inf
                norm = accelerator.clip_grad_norm_(job.objective.parameters(), limit)
                if not accelerator.scaler:  # a gradient scaler skips such steps
                    check_finite(float(norm), progress, batch, states, "gradient's norm")
                wrapped.step()
                wrapped.zero_grad(set_to_none=True)
                began = add(progress, batch, loss, began)
                pass_point("train:steps")
                facts = {"loss": loss, "lr": lr, "keep_rate": job.keep_rate(now)}
                board.write(progress.step, {f"train/{key}": facts[key] for key in facts})
                facts |= {"step": progress.step, "steps": total, "epoch": epoch}
                facts["clips_per_s"] = progress.clips / max(progress.seconds, 1e-9)
                reporter.step(facts)
                if progress.step % steps == 0:
                    break  # evaluate first: a state saved here would lack the epoch's row
                if stop:
                    save_state()
                    raise Interrupted(STOPPED.format(progress.step, total))
                if time.monotonic() - saved > run.save_every:
                    save_state()
                    saved = time.monotonic()
            finish_epoch(job, accelerator, out, progress, epoch, board, reporter)
            save_state()
            saved = time.monotonic()
            if main:
                write_lines(out, progress.rows)
            accelerator.wait_for_everyone()
            if stop and progress.step < total:
                raise Interrupted(STOPPED.format(progress.step, total))
    return progress


def backward(
    accelerator: Accelerator,
    objective: nn.Module,
    job: Job,
    batch: TrainBatch[AugmentDraw],
    now: float,
) -> torch.Tensor:
    """Gradients of the batch's mean loss, piece by piece; returns this process's part of it."""
    pieces = list(batch.parts(job.run.micro_batch))
    total = torch.zeros((), device=accelerator.device)
    for piece in pieces:
        # Processes exchange gradients once, with the last piece.
        is_last = piece is pieces[-1]
        with contextlib.nullcontext() if is_last else accelerator.no_sync(objective):
            loss = objective(**job.inputs(piece, now))
            # The weights of the clips add up to 1 over all processes, whose gradients are averaged.
            accelerator.backward(loss * accelerator.num_processes)
        total += loss.detach()
    return total


def finish_epoch(
    job: Job,
    accelerator: Accelerator,
    out: Path,
    progress: Progress,
    epoch: int,
    board: Board,
    reporter: Reporter,
) -> None:
    """Evaluate, keep the last and the best model, and report."""
    steps, main = job.loader.steps, accelerator.is_main_process
    # Each process read its own part of the clips.
    progress.unreadable = dict(gather_object(list(progress.unreadable.items())))
    row: dict[str, Any] = {
        "epoch": epoch,
        "step": progress.step,
        "loss": progress.loss / max(1, progress.clips),
        "lr": lr_at(progress.step - 1, steps, job.epochs, job.optim),
        "keep_rate": job.keep_rate((progress.step - 1) / steps),
        "seconds": round(progress.seconds, 3),
        "clips_per_s": round(progress.clips / max(progress.seconds, 1e-9), 2),
        "unreadable": len(progress.unreadable),
    }
    if job.metric is not None:
        row["metric"] = job.metric
    if job.evaluates(epoch):
        evaluations = job.evaluate(accelerator, reporter.evaluated)
        for name, evaluation in evaluations.items():
            row[name] = round(evaluation.value, 6)
            if left := evaluation.left_out:
                reporter.note(f"{left} clips of {name} cannot be read and are left out.")
        split = row["selected_by"] = job.selected_by(row)
        best = progress.best
        is_better = split and (best is None or job.value(row, split) > job.value(best, split))
        if is_better and epoch >= job.first_eligible:
            progress.best = dict(row)
            if main:
                job.model.save(out / "best")
                job.save_predictions(out / "best", evaluations)
        if main and epoch + 1 == job.epochs:
            job.save_predictions(out / "last", evaluations)
    if main:
        job.model.save(out / "last")
    keys = ("loss", "valid", "valid_low", "test", "test_low", "clips_per_s")
    scalars = {key: row[key] for key in keys if key in row}
    board.write(progress.step, {f"epoch/{key}": value for key, value in scalars.items()})
    board.write(progress.step, {"epoch/gmacs": job.gmacs(progress.step / steps)})
    progress.rows.append(row)
    progress.loss, progress.clips, progress.seconds = 0.0, 0, 0.0
    for path, reason in progress.unreadable.items():
        reporter.note(f"{path} cannot be read and is left out: {reason}")
    progress.unreadable = {}
    reporter.epoch(row)


def seed_step(seed: int, step: int, rank: int) -> None:
    """Set PyTorch's random numbers (drop path, user code) from seed and step alone."""
    torch.manual_seed(((seed * 1_000_003 + step) * 1009 + rank) % 2**63)


def add(progress: Progress, batch: TrainBatch[AugmentDraw], loss: float, began: float) -> float:
    """Count a step and the wait for its batch; returns the time at which the next one begins."""
    now = time.monotonic()
    progress.step += 1
    progress.loss += loss * batch.clips
    progress.clips += batch.clips
    progress.seconds += now - began
    for item in batch.items:
        if item.failure:
            progress.unreadable[item.failure.split(": ")[0]] = item.failure
    return now


def check_finite(
    value: float, progress: Progress, batch: TrainBatch[AugmentDraw], states: StateFolder,
    quantity: str = "loss",
) -> None:  # fmt: skip
    """Stop before nan or infinity reaches the weights."""
    if math.isfinite(value):
        return
    kept = states.newest()
    positions = [position for item in batch.items for position, _ in item.parts]
    raise SpectrimError(
        f"the {quantity} is {value} at step {progress.step} (clips {positions[:8]} of the training "
        f"list, and others); stopped. The last good state, {kept.name if kept else 'none yet'}, is "
        "intact. Lower optim.lr, or set optim.clip=1.0 or run.precision=no, with another --out."
    )


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or termination signal; a second Ctrl-C stops at once."""
    caught: list[int] = []

    def catch(number: int, frame: object) -> None:
        caught.append(number)
        signal.signal(number, previous[number])

    previous: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # signals reach the main thread only
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            previous[number] = signal.signal(number, catch)
    try:
        yield caught
    finally:
        for number in previous:
            signal.signal(number, previous[number])
