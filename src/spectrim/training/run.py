"""From a recipe to a trained model: the parts put together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from omegaconf import OmegaConf

from ..common.errors import SpectrimError
from ..common.files import make_folder, read_json, save_json, save_text
from ..common.locks import claim, holder
from ..models.provenance import versions
from .jobs import Pretraining, Supervision
from .loop import engine, fit, slow_bf16
from .read_recipe import to_dict, to_yaml
from .recipe import PretrainRecipe, Recipe
from .reporting import Reporter, Silent
from .task import Task, settle, unlabelled

RECIPE, SETTLED, SUMMARY = "recipe.yaml", "settled.json", "summary.json"
HARMLESS = ("run.", "data.cache", "data.workers")  # may change between two starts of a run


def train(
    recipe: Recipe | PretrainRecipe,
    out: Path,
    reporter: Reporter,
    tick: Callable[[int], None] = lambda clips: None,
) -> dict[str, Any] | None:
    """Run a recipe, or go on where the folder's run was interrupted.

    Args:
        out: `recipe.yaml` (every value), `settled.json` (what followed from the data),
            `epochs.jsonl`, `summary.json`, `last/`, `best/`, `tensorboard/`, `state/`.
        tick: called with clips whose log-mel was measured.

    Returns:
        What `summary.json` holds; None in processes beside the first.

    Raises:
        SpectrimError: see `read_recipe`, `settle`, `begin`, `fit`; or `out` holds another run.
    """
    if recipe.run.threads:
        torch.set_num_threads(recipe.run.threads)
    learned = isinstance(recipe, Recipe) and ":" in recipe.score + recipe.reduction
    accelerator = engine(recipe.run, find_unused=learned)
    main = accelerator.is_main_process
    reporter = reporter if main else Silent()
    make_folder(out)
    with claim(out / ".running") if main else nullcontext(True) as mine:
        if not mine:
            who = holder(out / ".running")
            raise SpectrimError(f"{out}: a process trains there already ({who}); wait, or stop it.")
        return _train(recipe, out, reporter, tick, accelerator)


def _train(
    recipe: Recipe | PretrainRecipe,
    out: Path,
    reporter: Reporter,
    tick: Callable[[int], None],
    accelerator: Accelerator,
) -> dict[str, Any] | None:
    main = accelerator.is_main_process
    known = same_run(recipe, out)
    if len(set(gather_object([known is not None]))) > 1:
        raise SpectrimError(
            f"{out}: not every process sees the run that was begun there; name an --out that all "
            "machines share."
        )
    precision, cpu = accelerator.mixed_precision, accelerator.device.type == "cpu"
    begun = (known or {}).get("precision", precision)  # older runs do not say
    if begun != precision:
        cure = "Go on on a GPU" if begun == "fp16" and cpu else f"Give run.precision={begun}"
        raise SpectrimError(
            f"{out}: this run was begun in precision {begun!r} and would go on in {precision!r}. "
            f"{cure}, or name another --out."
        )
    cache = Path(recipe.data.cache or out / "waveforms")
    ranks = accelerator.process_index, accelerator.num_processes
    if isinstance(recipe, Recipe):
        task = settle(recipe, known, tick)
        job: Supervision | Pretraining = Supervision(recipe, task, cache, *ranks)
    else:
        task = unlabelled(recipe, known, tick)
        job = Pretraining(recipe, task, cache, *ranks)
    clips = fingerprint(task)
    if known is not None and known.get("clips_digest") != clips:
        raise SpectrimError(
            f"{out} holds a run on other clips or labels: the manifest has changed since. Name "
            "another --out, or delete that folder."
        )
    if known is not None and (done := finished(out, recipe.epochs)):
        reporter.note(f"is finished: {out / SUMMARY}. To train anew, delete {out}.")
        accelerator.end_training()
        return done if main else None
    for sentence in (*task.said, *job.said):
        reporter.note(sentence)
    if slow := slow_bf16(accelerator.device, accelerator.mixed_precision):
        reporter.note(slow)
    settled = {
        "recipe": to_dict(recipe),
        "mean": task.mean,
        "std": task.std,
        "frames": task.frames,
        "labels": list(job.model.labels),
        "loss": task.loss,
        "activation": task.activation,
        "metric": task.metric,
        "clips": {name: len(getattr(task, name)) for name in ("train", "valid", "test")},
        "clips_digest": clips,
        "precision": precision,
        "said": known["said"] if known else [*task.said, *job.said],
        "versions": versions(),
    }
    accelerator.wait_for_everyone()
    if main:
        save_text(out / RECIPE, to_yaml(recipe))
        save_json(out / SETTLED, settled)
    progress = fit(job, accelerator, out, reporter)
    first = recipe.select.from_epoch if isinstance(recipe, Recipe) else 0
    summary = {
        "epochs": len(progress.rows),
        "metric": task.metric,
        "last": progress.rows[-1],
        "best": progress.best,
        "best_on_test": max(
            (row for row in progress.rows if "test" in row and row["epoch"] >= first),
            key=lambda row: row["test"],
            default=None,
        ),
        "seconds": round(sum(row["seconds"] for row in progress.rows), 1),
        "devices": accelerator.num_processes,
        "device": str(accelerator.device),
        "precision": accelerator.mixed_precision,
        "threads": torch.get_num_threads(),
        "versions": versions(),
    }
    if main:
        save_json(out / SUMMARY, summary)
    accelerator.end_training()
    return summary if main else None


def fingerprint(task: Task) -> str:
    """A checksum of the clips of each split, in order, and their classes by name."""
    digest = hashlib.blake2b(digest_size=16)
    for name in ("train", "valid", "test"):
        for clip, target in zip(*task.part(name), strict=True):
            labels = sorted(task.labels[at] for at in target)
            digest.update(repr((name, str(clip.path), clip.start, clip.end, labels)).encode())
    digest.update(repr(sorted(task.labels)).encode())
    return digest.hexdigest()


def finished(out: Path, epochs: int) -> dict[str, Any] | None:
    """The summary of a run that came to its end and whose state was then deleted."""
    if any((out / "state").glob("step-*")) or not (out / SUMMARY).is_file():
        return None
    summary: dict[str, Any] = read_json(out / SUMMARY)
    return summary if summary["epochs"] == epochs else None


def same_run(recipe: Recipe | PretrainRecipe, out: Path) -> dict[str, Any] | None:
    """What an earlier start of this run settled; None where there is none.

    Raises:
        SpectrimError: the folder holds a run of another recipe; the message names the keys.
    """
    if not (out / SETTLED).is_file():
        if any((out / "state").glob("step-*")):
            raise SpectrimError(
                f"{out / 'state'} is of a run whose {SETTLED} is gone, so nobody knows which. Name "
                "another --out, or delete that folder."
            )
        return None
    known = read_json(out / SETTLED)
    # A key that the run's Spectrim did not know yet is as its default.
    whole = OmegaConf.merge(to_dict(type(recipe)()), known["recipe"])
    old, new = _leaves(OmegaConf.to_container(whole)), _leaves(to_dict(recipe))
    changed = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(HARMLESS)
    ]
    if changed:
        raise SpectrimError(
            f"{out} holds a run of another recipe ({'; '.join(changed[:4])}). Name another --out, "
            "or delete that folder."
        )
    return known


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict) or not value:
        return {prefix.rstrip("."): value}
    return {
        k: v for key, part in value.items() for k, v in _leaves(part, f"{prefix}{key}.").items()
    }
