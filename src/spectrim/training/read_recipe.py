"""A recipe file and what the command line changes in it, to typed data."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from ..common.errors import SpectrimError, nearest
from ..pruning.stage import check_keep_rate
from .recipe import PretrainRecipe, Recipe

Kind = TypeVar("Kind", bound=Recipe | PretrainRecipe)

OTHER_RATE = {"optim.lr": "optim.base_lr", "optim.base_lr": "optim.lr"}
CHOICES = {
    "optim.name": ("adam", "adamw"),
    "optim.schedule": ("cosine", "step", "constant"),
    "schedule.masks_end": ("pruned", "always"),
    "loss.name": ("auto", "bce", "ce"),
    "select.split": ("auto", "valid", "test"),
    "select.metric": ("auto", "accuracy", "mAP"),
    "run.precision": ("auto", "no", "bf16", "fp16"),
    "run.device": ("auto", "cpu"),
    "model.padding": ("minimum", "zero"),
}
LOAD = ("stride", "mean", "std", "padding", "labels", "activation", "metric", "trust_code")
SHARES = (
    "augment.mixup", "augment.token_columns", "augment.token_rows", "data.holdout",
    "model.drop_path", "teacher.weight", "loss.smoothing", "mask",
)  # fmt: skip
NOT_NEGATIVE = (
    "seed", "augment.spec_time", "augment.spec_frequency", "augment.noise", "augment.shift",
    "optim.weight_decay", "optim.min_lr", "optim.warmup_epochs", "optim.warmup_steps",
    "optim.step_factor", "schedule.start", "schedule.length", "run.save_every",
    "select.from_epoch", "model.head_std",
)  # fmt: skip
ABOVE_ZERO = (
    "optim.lr", "optim.base_lr", "optim.clip", "optim.layer_decay", "model.std",
    "augment.mixup_alpha", "teacher.temperature",
)  # fmt: skip
AT_LEAST_ONE = (
    "epochs", "optim.batch_size", "optim.step_start", "optim.step_every", "optim.warmup_every",
    "data.workers", "model.stride", "run.threads", "run.micro_batch", "select.every",
    "model.frames", "decoder_width", "decoder_depth", "decoder_heads",
)  # fmt: skip


def read_recipe(path: Path, changes: Sequence[str], kind: type[Kind]) -> Kind:
    """Read a YAML file, and change it by texts such as "optim.lr=1e-4".

    Raises:
        SpectrimError: a key that does not exist (the nearest are offered), a value of another
            type or out of range, or text that is no YAML.
    """
    given = OmegaConf.create(content_of(path))
    recipe = OmegaConf.structured(kind)
    recipe = _merged(recipe, given, str(path), kind)
    for change in changes:
        key, equals, _ = change.partition("=")
        if not equals or not key:
            raise SpectrimError(f"{change!r}: wanted key=value, such as optim.lr=1e-4.")
        try:
            single = OmegaConf.from_dotlist([change])
        except (yaml.YAMLError, OmegaConfBaseException) as error:
            raise SpectrimError(f"{change!r}: not a value in YAML ({error}).") from error
        recipe = _merged(recipe, single, change, kind)
        if key in OTHER_RATE:  # one of the two is given: the file's other one gives way
            OmegaConf.update(recipe, OTHER_RATE[key], None)
    if OmegaConf.is_missing(recipe.data, "manifest"):
        raise SpectrimError(f"{path}: data.manifest is not given; say data.manifest=clips.csv.")
    try:
        typed = cast(Kind, OmegaConf.to_object(recipe))
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if error.full_key else ""
        raise SpectrimError(f"{path}: {key}{_first_line(error)}") from error
    _check(typed, str(path))
    return typed


def content_of(path: Path) -> dict[str, Any]:
    """What a recipe file says, before defaults and changes.

    Raises:
        SpectrimError: it cannot be read, or is no YAML of keys.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        if not isinstance(content, dict):
            raise SpectrimError(f"{path}: a {type(content).__name__}, where keys are wanted.")
        OmegaConf.create(content)  # its own demands on YAML
    except OSError as error:
        raise SpectrimError(f"{path}: {error.strerror}; wanted a recipe.") from error
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise SpectrimError(f"{path}: not YAML ({str(error).strip()}).") from error
    return content


def to_yaml(recipe: Recipe | PretrainRecipe) -> str:
    """The whole recipe as YAML, every default written out."""
    return OmegaConf.to_yaml(OmegaConf.structured(recipe))


def to_dict(recipe: Recipe | PretrainRecipe) -> dict[str, Any]:
    """The whole recipe as plain data."""
    return asdict(recipe)


def folder_of(path: Path, changes: Sequence[str]) -> Path:
    """Where a run's results go unless told: the same for the same command."""
    whole = ",".join([path.stem, *changes])
    name = re.sub(r"[^A-Za-z0-9_.,=+-]+", "_", whole)
    if name != whole or len(name) > 120:  # file systems end at 255 bytes
        digest = hashlib.blake2b(whole.encode(), digest_size=4).hexdigest()
        name = f"{name[:100]}-{digest}"
    return Path("runs") / name


def _merged(recipe: Any, given: Any, where: str, kind: type) -> Any:
    try:
        for key, value in given.items():
            if is_dataclass(getattr(kind(), str(key), None)) and not isinstance(value, DictConfig):
                raise SpectrimError(f"{where}: {key} is {value!r}; wanted keys below it.")
        return OmegaConf.merge(recipe, given)
    except TypeError as error:
        raise SpectrimError(
            f"{where}: a list is given as a whole, such as blocks=[3,6]."
        ) from error
    except ConfigKeyError as error:
        key = str(error.full_key or error.key)
        known = _keys(kind())
        other = PretrainRecipe if kind is Recipe else Recipe
        if key in _keys(other()) or key in {part.name for part in fields(other)}:
            command = "pretrain" if other is PretrainRecipe else "train"
            text = f"{where}: {key!r} is a key of recipes for `spectrim {command}`."
            raise SpectrimError(text) from error
        inner = [name for name in known if name.rsplit(".", 1)[-1] == key]
        raise SpectrimError(
            f"{where}: a recipe has no key {key!r}.{nearest(key, inner or known)}"
        ) from error
    except OmegaConfBaseException as error:
        key = str(error.full_key or error.key or "")
        key = f"{key}: " if key and not where.startswith(f"{key}=") else ""
        raise SpectrimError(f"{where}: {key}{_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") + "."


def _keys(part: Any, prefix: str = "") -> list[str]:
    found = []
    for entry in fields(part):
        value = getattr(part, entry.name)
        name = prefix + entry.name
        found += _keys(value, name + ".") if is_dataclass(value) else [name]
    return found


def _check(recipe: Recipe | PretrainRecipe, where: str) -> None:
    """Refuse values out of range, by the key."""
    values = {key: _at(recipe, key) for key in _keys(recipe)}
    for key, known in CHOICES.items():
        if key in values and values[key] not in known:
            raise SpectrimError(f"{where}: {key} is {values[key]!r}.{nearest(values[key], known)}")
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise SpectrimError(f"{where}: {key} is {value}; wanted a finite number.")
    for key in SHARES:
        if key in values and not 0 <= values[key] <= 1:
            raise SpectrimError(f"{where}: {key} is {values[key]}; wanted 0 to 1.")
    for key in AT_LEAST_ONE:
        if values.get(key) is not None and values[key] < 1:
            raise SpectrimError(f"{where}: {key} is {values[key]}; wanted at least 1.")
    for key in NOT_NEGATIVE:
        if values.get(key) is not None and values[key] < 0:
            raise SpectrimError(f"{where}: {key} is {values[key]}; wanted 0 or more.")
    for key in ABOVE_ZERO:
        if values.get(key) is not None and values[key] <= 0:
            raise SpectrimError(f"{where}: {key} is {values[key]}; wanted more than 0.")
    if (recipe.optim.lr is None) == (recipe.optim.base_lr is None):
        raise SpectrimError(f"{where}: give either optim.lr or optim.base_lr (for 256 clips).")
    if len(recipe.optim.betas) != 2 or not all(0 <= beta < 1 for beta in recipe.optim.betas):
        raise SpectrimError(f"{where}: optim.betas is {recipe.optim.betas}; wanted two below 1.")
    if recipe.data.holdout == 1 or recipe.model.drop_path == 1:
        raise SpectrimError(f"{where}: data.holdout and model.drop_path lie below 1.")
    if isinstance(recipe, Recipe):
        for part, given in (("load", recipe.load), ("teacher.load", recipe.teacher.load)):
            for key in given:
                if key not in LOAD:
                    raise SpectrimError(f"{where}: {part} has no key {key!r}.{nearest(key, LOAD)}")
        try:
            check_keep_rate(recipe.keep_rate)
        except SpectrimError as error:
            raise SpectrimError(f"{where}: keep_rate: {error}") from error
        if recipe.select.from_epoch >= recipe.epochs:
            raise SpectrimError(
                f"{where}: select.from_epoch is {recipe.select.from_epoch}, and the epochs count "
                f"from 0 to {recipe.epochs - 1}."
            )
        if recipe.augment.join:
            raise SpectrimError(f"{where}: augment.join is for pre-training; labels do not join.")
    elif recipe.decoder_width % recipe.decoder_heads or recipe.decoder_width % 4:
        raise SpectrimError(
            f"{where}: decoder_width {recipe.decoder_width} wants to divide by 4 and by "
            f"decoder_heads {recipe.decoder_heads}."
        )
    elif not 0 < recipe.mask < 1:
        raise SpectrimError(f"{where}: mask is {recipe.mask}; wanted a share between 0 and 1.")


def _at(part: Any, key: str) -> Any:
    for name in key.split("."):
        part = getattr(part, name)
    return part
