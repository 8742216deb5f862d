"""Keep rate and learning rate as functions of epoch and step."""

from __future__ import annotations

import math

from .recipe import OptimPart, SchedulePart


def keep_rate_at(epoch: float, final: float, schedule: SchedulePart) -> float:
    """EViT's schedule (arXiv 2202.07800), per step: `epoch` counts from 0, with its fraction.

    1.0 until `start`; then for `length` epochs r + (1 - r) * (1 + cos(pi * progress)) / 2;
    then r.
    """
    if final == 1.0 or epoch < schedule.start:
        return 1.0
    progress = (epoch - schedule.start) / schedule.length if schedule.length else 1.0
    if progress >= 1.0:
        return final
    return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2


def masks_ended(epoch: float, final: float, schedule: SchedulePart) -> bool:
    """Whether token masking and SpecAugment are off: pruning has started, or would have."""
    ends = schedule.masks_end == "always" or (final < 1.0 and schedule.masks_end == "pruned")
    return ends and epoch >= schedule.start


def peak_lr(optim: OptimPart) -> float:
    """The learning rate before any factor; a base rate is for 256 clips of the total batch."""
    if optim.lr is not None:
        return optim.lr
    assert optim.base_lr is not None
    return optim.base_lr * optim.batch_size / 256


def lr_at(step: int, steps_per_epoch: int, epochs: int, optim: OptimPart) -> float:
    """The learning rate of a step, from 0, before layer-wise decay.

    "cosine": linear warm-up, then half a cosine to `min_lr` (MAE's, arXiv 2111.06377).
    "step": multiply by the factor after `step_start` epochs and again after every `step_every`.
    Warm-up in steps, as in AST, starts from 0 and changes every `warmup_every` steps.
    """
    peak, epoch = peak_lr(optim), step / steps_per_epoch
    if step < optim.warmup_steps:
        return peak * (step // optim.warmup_every * optim.warmup_every) / optim.warmup_steps
    if epoch < optim.warmup_epochs:
        return peak * epoch / optim.warmup_epochs
    if optim.schedule == "step":
        epochs_ended = step // steps_per_epoch
        num_decays = (
            0
            if epochs_ended < optim.step_start
            else 1 + (epochs_ended - optim.step_start) // optim.step_every
        )
        return peak * optim.step_factor**num_decays
    if optim.schedule == "constant":
        return peak
    begin = max(optim.warmup_epochs, optim.warmup_steps / steps_per_epoch)
    progress = (epoch - begin) / max(epochs - begin, 1e-9)
    return optim.min_lr + (peak - optim.min_lr) * (1 + math.cos(math.pi * progress)) / 2
