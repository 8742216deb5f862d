"""The training loop, from top to bottom."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

from ..common.errors import SpectrimError
from ..common.hooks import pass_point
from ..data.loader import TrainBatch
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
    job.to(accelerator.device)
    optim = optimiser(groups, job.optim)
    states = StateFolder(out / "state")
    restored = states.restore(job.objective, optim)
    progress, scaling = restored or (Progress(), None)
    objective, wrapped = accelerator.prepare(job.objective, optim)
    if scaling and accelerator.scaler:
        accelerator.scaler.load_state_dict(scaling)
    folder = out / "tensorboard" if main and run.tensorboard else None
    board = Board(folder, progress.step)
    steps, total = loader.steps, loader.steps * job.epochs
    if main and restored:  # a process killed after its last state has not written them
        write_lines(out, progress.rows)
        states.remove_older()
    if progress.step == total:
        reporter.note("is finished: nothing is left to train.")
    else:
        job.hold_clips()
    if 0 < progress.step < total:
        reporter.note(f"resumes from step {progress.step} of {total}.")

    def save_state() -> None:
        if main:
            scaler = accelerator.scaler.state_dict() if accelerator.scaler else None
            states.save(job.objective, optim, progress, scaler)

    saved, stop = time.monotonic(), False
    attention = attention_kernel(
        accelerator.device, job.model.grid.count, accelerator.mixed_precision
    )
    with stop_signals() as stopping, contextlib.closing(board), attention:
        for epoch in range(progress.step // steps, job.epochs):
            objective.train()
            began, pending = time.monotonic(), []
            for batch in loader.epoch(epoch, first=progress.step % steps):
                now = progress.step / steps
                lr = lr_at(progress.step, steps, job.epochs, job.optim)
                set_lr(optim, lr)
                seed_step(job.seed, progress.step, accelerator.process_index)
                loss = backward(accelerator, objective, job, batch, now)
                limit = job.optim.clip or math.inf
                norm = accelerator.clip_grad_norm_(job.objective.parameters(), limit)
                wrapped.step()
                wrapped.zero_grad(set_to_none=True)
                pending.append(Step(progress.step, lr, job.keep_rate(now), batch, loss, norm))
                progress.step += 1
                at_end = progress.step % steps == 0
                # Processes read their losses after the same steps, because they add them up.
                if len(pending) < steps_per_reading(accelerator.device) and not at_end:
                    continue
                losses, stop = read_losses(accelerator, pending, stopping, states)
                began = add(progress, pending, losses, began)
                pass_point("train:steps")
                for step, value in zip(pending, losses, strict=True):
                    facts = {"loss": value, "lr": step.lr, "keep_rate": step.keep_rate}
                    board.write(step.number + 1, {f"train/{key}": facts[key] for key in facts})
                    facts |= {"step": step.number + 1, "steps": total, "epoch": epoch}
                    facts["clips_per_s"] = progress.clips / max(progress.seconds, 1e-9)
                    reporter.step(facts)
                pending = []
                if at_end:
                    break  # evaluate first: a state saved here would lack the epoch's row
                if stop:
                    save_state()
                    raise Interrupted(STOPPED.format(progress.step, total))
                if time.monotonic() - saved > run.save_every:
                    save_state()
                    saved = time.monotonic()
            finish_epoch(job, accelerator, out, progress, epoch, board, reporter)
            if stop or (epoch + 1) % run.save_epochs == 0 or epoch + 1 == job.epochs:
                if main:
                    job.model.save(out / "last")
                save_state()
                saved = time.monotonic()
                if main:
                    write_lines(out, progress.rows)
            accelerator.wait_for_everyone()
            if stop and progress.step < total:
                raise Interrupted(STOPPED.format(progress.step, total))
    return progress


class Step(NamedTuple):
    """A step whose loss (of this process) and gradient norm are still on the device."""

    number: int
    lr: float
    keep_rate: float
    batch: TrainBatch
    loss: torch.Tensor
    norm: torch.Tensor


def steps_per_reading(device: torch.device) -> int:
    """Steps after which losses are read; reading makes the host wait for a GPU."""
    return 16 if device.type == "cuda" else 1


def read_losses(
    accelerator: Accelerator, pending: list[Step], stopping: list[int], states: StateFolder
) -> tuple[list[float], bool]:
    """Losses of the last steps over all processes, and whether a signal asks to stop.

    Raises:
        SpectrimError: a loss or a gradient is not finite. Weights that it has reached are never
            saved.
    """
    # A signal to one process stops all of them after the same step. If one stopped alone, the
    # others would wait for its gradients.
    losses = torch.stack([step.loss for step in pending])
    sums = accelerator.reduce(
        torch.cat([losses, torch.full_like(losses[:1], len(stopping))]), "sum"
    )
    norms = torch.stack([torch.as_tensor(step.norm, device=losses.device) for step in pending])
    *losses, signals = sums.tolist()
    for step, loss, norm in zip(pending, losses, norms.tolist(), strict=True):
        check_finite(loss, step, states)
        if not accelerator.scaler:  # a gradient scaler skips such steps
            check_finite(norm, step, states, "gradient's norm")
    return losses, signals > 0


def backward(
    accelerator: Accelerator,
    objective: nn.Module,
    job: Job,
    batch: TrainBatch,
    now: float,
) -> torch.Tensor:
    """Gradients of the batch's mean loss, piece by piece; returns this process's part of it."""
    pieces = list(batch.micro_batches(job.run.micro_batch))
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
    """Evaluate, keep the best model, and report."""
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
            if left_out := evaluation.left_out:
                reporter.note(f"{left_out} clips of {name} cannot be read and are left out.")
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


def add(progress: Progress, pending: list[Step], losses: list[float], began: float) -> float:
    """Count steps and their time; returns the time at which the next one begins."""
    now = time.monotonic()
    for step, loss in zip(pending, losses, strict=True):
        progress.loss += loss * step.batch.clips
        progress.clips += step.batch.clips
        for message in step.batch.bank.failures.values():
            progress.unreadable[message.split(": ")[0]] = message
    progress.seconds += now - began
    return now


def check_finite(value: float, step: Step, states: StateFolder, quantity: str = "loss") -> None:
    """Stop before nan or infinity reaches a saved state."""
    if math.isfinite(value):
        return
    kept = states.newest()
    raise SpectrimError(
        f"training stopped: the {quantity} is {value} at step {step.number} (clips "
        f"{step.batch.positions[:8].tolist()} of the training list, and others). The previous "
        f"state, {kept.name if kept else 'none yet'}, is intact. Lower optim.lr, or set "
        "optim.clip=1.0 or run.precision=no, with another --out."
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
