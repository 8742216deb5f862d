"""A whole run, from a recipe to a trained model, and the record it leaves in its folder."""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from omegaconf import OmegaConf

from ..audio.channels import MIX
from ..common.errors import SpectrimError
from ..common.files import make_folder, save_json, save_text
from ..common.locks import claim, holder
from ..common.parse import read_json
from ..common.paths import user_path
from ..data.clip import Clip
from ..models.config import NO_CLASSES
from ..models.provenance import versions
from .engine import engine, slow_bf16
from .feature_settings import Tick, no_tick
from .jobs import Job
from .loop import fit
from .make_job import make_job
from .read_recipe import to_dict, to_yaml, with_new_names
from .recipe import PretrainRecipe, Recipe
from .reporting import Reporter, Silent
from .task import SupervisedTask, Task

RECIPE, SETTLED, SUMMARY = "recipe.yaml", "settled.json", "summary.json"
MAY_CHANGE = (
    "run.",
    "data.cache",
    "data.workers",
    "data.on_device",
)  # keys that two starts of a run may differ in


def train(
    recipe: Recipe | PretrainRecipe,
    out: Path,
    reporter: Reporter,
    tick: Tick = no_tick,
) -> dict[str, Any] | None:
    """Run a recipe, or resume the interrupted run of the folder.

    Args:
        out: gets `recipe.yaml` (every value), `settled.json` (values resolved from the data),
            `epochs.jsonl`, `summary.json`, `last/`, `best/`, `tensorboard/` and `state/`.
        tick: called with the number of clips whose log-mel was measured since the last call.

    Returns:
        The content of `summary.json`; None in all processes but the first.

    Raises:
        SpectrimError: as `make_job` and `fit`; or `out` holds another run.
    """
    if recipe.run.threads:
        torch.set_num_threads(recipe.run.threads)
    has_user_code = isinstance(recipe, Recipe) and ":" in recipe.score + recipe.reduction
    accelerator = engine(recipe.run, find_unused=has_user_code)
    main = accelerator.is_main_process
    reporter = reporter if main else Silent()
    make_folder(out)
    with claim(out / ".running") if main else nullcontext(True) as mine:
        if not mine:
            process = holder(out / ".running")
            raise SpectrimError(
                f"{out}: a process trains there already ({process}). Wait, or stop it."
            )
        return _train(recipe, out, reporter, tick, accelerator)


def _train(
    recipe: Recipe | PretrainRecipe,
    out: Path,
    reporter: Reporter,
    tick: Tick,
    accelerator: Accelerator,
) -> dict[str, Any] | None:
    main = accelerator.is_main_process
    known = same_run(recipe, out)
    if len(set(gather_object([known is not None]))) > 1:
        raise SpectrimError(
            f"{out}: some processes cannot read the run that was started there. Use an --out on a "
            "file system that all machines share."
        )
    precision, cpu = accelerator.mixed_precision, accelerator.device.type == "cpu"
    before = (known or {}).get("precision", precision)  # early versions did not store it
    if before != precision:
        cure = "Resume on a GPU" if before == "fp16" and cpu else f"Add run.precision={before}"
        raise SpectrimError(
            f"{out}: this run was started in precision {before!r} and would resume in "
            f"{precision!r}. {cure}, or name another --out."
        )
    cache = user_path(recipe.data.cache or out / "waveforms")
    job = make_job(recipe, cache, accelerator.process_index, accelerator.num_processes, known, tick)
    digest = clips_digest(job.task)
    if known is not None and known.get("clips_digest") != digest:
        raise SpectrimError(
            f"{out} contains a run with other clips or labels: the manifest has changed. Use "
            "another --out, or delete that folder."
        )
    if known is not None and (done := finished(out, recipe.epochs)):
        reporter.note(f"is finished: {out / SUMMARY}. To train again, delete {out}.")
        accelerator.end_training()
        return done if main else None
    for sentence in job.notes:
        reporter.note(sentence)
    if slow := slow_bf16(accelerator.device, accelerator.mixed_precision):
        reporter.note(slow)
    accelerator.wait_for_everyone()
    if main:
        save_text(out / RECIPE, to_yaml(recipe))
        save_json(out / SETTLED, _resolved(recipe, job, digest, precision, known))
    progress = fit(job, accelerator, out, reporter)
    eligible = [row for row in progress.rows if row["epoch"] >= job.first_eligible]
    tested = [row for row in eligible if "test" in row]
    summary = {
        "epochs": len(progress.rows),
        "metric": job.model.config.metric,
        "last": progress.rows[-1],
        "best": progress.best,
        "best_on_test": max(tested, key=lambda row: job.value(row, "test"), default=None),
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


def _resolved(
    recipe: Recipe | PretrainRecipe,
    job: Job,
    digest: str,
    precision: str,
    known: dict[str, Any] | None,
) -> dict[str, Any]:
    """The content of `settled.json`; `known` is that of an earlier start."""
    task, config = job.task, job.model.config
    supervised = {"loss": task.loss} if isinstance(task, SupervisedTask) else {}
    return {
        "recipe": to_dict(recipe),
        "mean": task.features.mean,
        "std": task.features.std,
        "frames": task.features.frames,
        "labels": list(config.labels),
        **supervised,
        "activation": config.activation,
        "metric": config.metric,
        "clips": {name: len(clips) for name, (clips, _) in splits_with_classes(task).items()},
        "clips_digest": digest,
        "precision": precision,
        "said": known["said"] if known else job.notes,
        "versions": versions(),
    }


def clips_digest(task: Task) -> str:
    """A checksum of the clips of each split, in order, and of their class names."""
    digest = hashlib.blake2b(digest_size=16)
    names = task.labels if isinstance(task, SupervisedTask) else (NO_CLASSES,)
    for split, (clips, targets) in splits_with_classes(task).items():
        for clip, classes in zip(clips, targets, strict=True):
            labels = sorted(names[index] for index in classes)
            read = (split, str(clip.path), clip.start, clip.end, labels)
            # Runs of earlier versions know no channel.
            digest.update(repr(read if clip.channel == MIX else (*read, clip.channel)).encode())
    digest.update(repr(sorted(names)).encode())
    return digest.hexdigest()


def splits_with_classes(task: Task) -> dict[str, tuple[tuple[Clip, ...], list[list[int]]]]:
    """Clips and class indices of "train", "valid" and "test"; pre-training has no classes."""
    if isinstance(task, SupervisedTask):
        return {name: task.split(name) for name in ("train", "valid", "test")}
    return {"train": (task.train, [[] for _ in task.train]), "valid": ((), []), "test": ((), [])}


def finished(out: Path, epochs: int) -> dict[str, Any] | None:
    """The summary of a finished run whose state was deleted; None if there is none."""
    if any((out / "state").glob("step-*")) or not (out / SUMMARY).is_file():
        return None
    summary: dict[str, Any] = read_json(out / SUMMARY)
    return summary if summary["epochs"] == epochs else None


def same_run(recipe: Recipe | PretrainRecipe, out: Path) -> dict[str, Any] | None:
    """The `settled.json` of an earlier start of this run; None if there is none.

    Raises:
        SpectrimError: the folder holds a run of another recipe; the message names the keys.
    """
    if not (out / SETTLED).is_file():
        if any((out / "state").glob("step-*")):
            raise SpectrimError(
                f"{out / 'state'} belongs to an unknown recipe, because {SETTLED} is gone. Name "
                "another --out, or delete that folder."
            )
        return None
    known = read_json(out / SETTLED)
    # Keys that are newer than the run have their default.
    stored = with_new_names(OmegaConf.create(known["recipe"]), None)
    complete = OmegaConf.merge(to_dict(type(recipe)()), stored)
    old, new = _leaves(OmegaConf.to_container(complete)), _leaves(to_dict(recipe))
    changed = [
        f"{key}: {old.get(key)!r} there, {new.get(key)!r} now"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not key.startswith(MAY_CHANGE)
    ]
    if changed:
        raise SpectrimError(
            f"{out} holds a run of another recipe ({'; '.join(changed[:4])}). Name another --out, "
            "or delete that folder."
        )
    return known


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested keys as dotted ones, such as {"a": {"b": 1}} to {"a.b": 1}."""
    if not isinstance(value, dict) or not value:
        return {prefix.rstrip("."): value}
    leaves: dict[str, Any] = {}
    for key, part in value.items():
        leaves |= _leaves(part, f"{prefix}{key}.")
    return leaves
