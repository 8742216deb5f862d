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
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import gather_object
from torch import nn

from ..common.errors import SpectrimError
from ..data.loader import TrainBatch
from ..models.build import macs
from .attention import kernel
from .evaluate import save_predictions
from .jobs import Drawn, Job
from .optim import optimiser, parameter_groups, set_lr
from .recipe import Recipe, RunPart
from .reporting import Board, Reporter, write_lines
from .schedules import lr_at
from .state import Progress, StateFolder

STOPPED = "after step {} of {}, which is saved; the same command goes on."


class Interrupted(KeyboardInterrupt):
    """Stopped by a signal, the state saved."""


def on_cpu(run: RunPart) -> bool:
    """Whether a run computes on the CPU: it is told to, or there is no GPU."""
    return run.device == "cpu" or not torch.cuda.is_available()


def engine(run: RunPart, find_unused: bool = False) -> Accelerator:
    """Accelerate, for one process or for those that `accelerate launch` or torchrun started."""
    cpu, precision = on_cpu(run), run.precision
    if cpu:
        precision = "bf16" if precision == "bf16" else "no"
    elif precision == "auto":
        precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    if AcceleratorState._shared_state and PartialState().num_processes == 1:
        # A process may train several runs; Accelerate would hold all to the first one's precision.
        AcceleratorState._reset_state(reset_partial_state=True)
    wrapper = DistributedDataParallelKwargs(find_unused_parameters=find_unused)
    return Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=[wrapper])


def slow_bf16(device: torch.device, precision: str) -> str | None:
    """What to say where bf16 would be emulated: on a CPU without instructions for it."""
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if device.type != "cpu" or precision != "bf16" or not known:
        return None
    if known.get("amx_bf16") or known.get("avx512_bf16") or known.get("architecture") != "x86_64":
        return None
    return (
        "trains in bf16, for which this CPU has no instructions (amx_bf16, avx512_bf16): "
        "run.precision=no is many times as fast here."
    )


def fit(job: Job, accelerator: Accelerator, out: Path, reporter: Reporter) -> Progress:
    """Train from where the folder's state is to the end.

    Leaves in `out`: `last/` and `best/` (models), `epochs.jsonl`, `tensorboard/`, `state/`.

    Raises:
        SpectrimError: the loss is not finite, or the disk is full; the last state is intact.
        Interrupted: by Ctrl-C or a termination signal, after the state was saved.
    """
    recipe, loader, main = job.recipe, job.loader, accelerator.is_main_process
    groups = parameter_groups(job.objective, job.model.config.depth, recipe.optim)
    optim = optimiser(groups, recipe.optim)
    job.objective.to(accelerator.device)
    states = StateFolder(out / "state")
    restored = states.restore(job.objective, optim)
    progress, scaling = restored or (Progress(), None)
    objective, wrapped = accelerator.prepare(job.objective, optim)
    if scaling and accelerator.scaler:
        accelerator.scaler.load_state_dict(scaling)
    folder = out / "tensorboard" if main and recipe.run.tensorboard else None
    board = Board(folder, progress.step)
    steps, total = loader.steps, loader.steps * recipe.epochs
    if progress.step == total:
        reporter.note("is finished: nothing is left to train.")
    elif progress.step:
        reporter.note(f"goes on from step {progress.step} of {total}.")

    def save_state() -> None:
        if main:
            scaler = accelerator.scaler.state_dict() if accelerator.scaler else None
            states.save(job.objective, optim, progress, scaler)

    saved, stop = time.monotonic(), 0.0
    attention = kernel(accelerator.device, job.model.grid.count, accelerator.mixed_precision)
    with stop_signals() as stopping, contextlib.closing(board), attention:
        for epoch in range(progress.step // steps, recipe.epochs):
            objective.train()
            began = time.monotonic()
            for batch in loader.epoch(epoch, first=progress.step % steps):
                now = progress.step / steps
                lr = lr_at(progress.step, steps, recipe.epochs, recipe.optim)
                set_lr(optim, lr)
                seed_step(recipe.seed, progress.step, accelerator.process_index)
                part = backward(accelerator, objective, job, batch, now)
                # Processes agree to stop, or one would wait for the others for ever.
                both = torch.stack([part, torch.full_like(part, len(stopping))])
                loss, stop = accelerator.reduce(both, "sum").tolist()
                check_finite(loss, progress, batch, states)
                norm = accelerator.clip_grad_norm_(
                    job.objective.parameters(), recipe.optim.clip or math.inf
                )
                if not accelerator.scaler:  # which skips such a step itself
                    check_finite(float(norm), progress, batch, states, "gradient's norm")
                wrapped.step()
                wrapped.zero_grad(set_to_none=True)
                began = add(progress, batch, loss, began)
                facts = {"loss": loss, "lr": lr, "keep_rate": job.keep_rate(now)}
                board.write(progress.step, {f"train/{key}": facts[key] for key in facts})
                facts |= {"step": progress.step, "steps": total, "epoch": epoch}
                facts["clips_per_s"] = progress.clips / max(progress.seconds, 1e-9)
                reporter.step(facts)
                if progress.step % steps == 0:
                    break  # an interruption waits for the epoch's end, which is part of it
                if stop:
                    save_state()
                    raise Interrupted(STOPPED.format(progress.step, total))
                if time.monotonic() - saved > recipe.run.save_every:
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
    accelerator: Accelerator, objective: nn.Module, job: Job, batch: TrainBatch[Drawn], now: float
) -> torch.Tensor:
    """Gradients of the whole batch's mean loss, piece by piece; returns this process's part."""
    parts = list(batch.parts(job.recipe.run.micro_batch))
    total = torch.zeros((), device=accelerator.device)
    for part in parts:
        wait = contextlib.nullcontext() if part is parts[-1] else accelerator.no_sync(objective)
        with wait:
            loss = objective(**job.inputs(part, now))
            # Processes' gradients are averaged; their weights add up to 1 over all of them.
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
    recipe = job.recipe
    now = progress.step / job.loader.steps
    # Each process met its own share of the clips.
    progress.unreadable = dict(gather_object(list(progress.unreadable.items())))
    row: dict[str, Any] = {
        "epoch": epoch,
        "step": progress.step,
        "loss": progress.loss / max(1, progress.clips),
        "lr": lr_at(progress.step - 1, job.loader.steps, recipe.epochs, recipe.optim),
        "keep_rate": job.keep_rate((progress.step - 1) / job.loader.steps),
        "seconds": round(progress.seconds, 3),
        "clips_per_s": round(progress.clips / max(progress.seconds, 1e-9), 2),
        "unreadable": len(progress.unreadable),
    }
    last = epoch + 1 == recipe.epochs
    if isinstance(recipe, Recipe):
        row["metric"] = job.task.metric
        if last or (epoch + 1) % recipe.select.every == 0:
            found = job.evaluate(accelerator, reporter.evaluated)
            row |= {name: round(result.value, 6) for name, result in found.items()}
            for name, result in found.items():
                if left := len(job.task.part(name)[0]) - len(result.positions):
                    reporter.note(f"{left} clips of {name} cannot be read and are left out.")
            split = selected(recipe, row)
            row["selected_by"] = split
            best = progress.best
            better = split and (best is None or row[split] > best[split])
            better = better and epoch >= recipe.select.from_epoch
            if better:
                progress.best = dict(row)
            if accelerator.is_main_process and better:
                job.model.save(out / "best")
                save_predictions(out / "best", job.task, job.model.labels, found)
            if accelerator.is_main_process and last:
                save_predictions(out / "last", job.task, job.model.labels, found)
    if accelerator.is_main_process:
        job.model.save(out / "last")
    scalars = {key: row[key] for key in ("loss", "valid", "test", "clips_per_s") if key in row}
    board.write(progress.step, {f"epoch/{key}": value for key, value in scalars.items()})
    board.write(progress.step, {"epoch/gmacs": gmacs_at(job, now)})
    progress.rows.append(row)
    progress.loss, progress.clips, progress.seconds = 0.0, 0, 0.0
    for path, reason in progress.unreadable.items():
        reporter.note(f"{path} cannot be read and is left out: {reason}")
    progress.unreadable = {}
    reporter.epoch(row)


def selected(recipe: Recipe, row: dict[str, Any]) -> str | None:
    """The split that chooses the best epoch; None where there is neither."""
    wanted = ("valid", "test") if recipe.select.split == "auto" else (recipe.select.split,)
    return next((name for name in wanted if name in row), None)


def gmacs_at(job: Job, now: float) -> float:
    """Multiply-accumulates for one clip at this point of training, in 1e9."""
    plan = job.model.plan
    return macs(job.model.with_plan(plan.with_keep_rate(job.keep_rate(now)))) / 1e9


def seed_step(seed: int, step: int, rank: int) -> None:
    """Set PyTorch's random numbers (drop path, code of one's own) from seed and step alone."""
    torch.manual_seed(((seed * 1_000_003 + step) * 1009 + rank) % 2**63)


def add(progress: Progress, batch: TrainBatch[Drawn], loss: float, began: float) -> float:
    """Count a step, the wait for its batch included; returns when the next one began."""
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
    value: float, progress: Progress, batch: TrainBatch[Drawn], states: StateFolder,
    what: str = "loss",
) -> None:  # fmt: skip
    """Stop before a number that is none gets into the weights."""
    if math.isfinite(value):
        return
    kept = states.newest()
    positions = [position for item in batch.items for position, _ in item.parts]
    raise SpectrimError(
        f"the {what} is {value} at step {progress.step} (clips {positions[:8]} of the training "
        f"list and others); stopped. The last good state, {kept.name if kept else 'none yet'}, is "
        "intact. A lower optim.lr, optim.clip=1.0, or run.precision=no is the usual cure, in "
        "another --out."
    )


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or termination signal; a second Ctrl-C stops at once."""
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        caught.append(number)
        signal.signal(number, previous[number])

    previous: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # signals reach the main thread only
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            previous[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        for number in previous:
            signal.signal(number, previous[number])
