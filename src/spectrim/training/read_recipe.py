"""Reading a recipe file and the changes of a command line into typed data."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from ..common.errors import SpectrimError, SpectrimNotice, first_line, nearest
from ..common.parse import MAX_DEPTH, parse_yaml, read_yaml
from ..common.values import check_values
from ..pruning.defaults import DEFAULT_REDUCTION
from .recipe import PretrainRecipe, Recipe, SchedulePart

Schema = TypeVar("Schema", bound=Recipe | PretrainRecipe)

ELASTIC_KEYS = ("low", "high", "plans", "scores", "distil", "label_weight", "align")
OTHER_RATE = {"optim.lr": "optim.base_lr", "optim.base_lr": "optim.lr"}
RENAMED = {"load.own_code": "load.trust_code", "teacher.load.own_code": "teacher.load.trust_code"}


def read_recipe(path: Path, changes: Sequence[str], schema: type[Schema]) -> Schema:
    """Read a YAML file and apply changes such as "optim.lr=1e-4", in their order.

    Raises:
        SpectrimError: an unknown key (the nearest are offered), a value of another type or out of
            range, or text that is not YAML.
    """
    recipe = _merged(
        OmegaConf.structured(schema), OmegaConf.create(content_of(path)), str(path), schema
    )
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals or not key or key.count(".") > MAX_DEPTH:
            raise SpectrimError(f"{change!r}: expected key=value, such as optim.lr=1e-4.")
        parse_yaml(value, repr(change))  # refuses what OmegaConf would expand or resolve
        try:
            single = OmegaConf.from_dotlist([change])
        except YAMLError as error:  # libyaml, which OmegaConf uses, refuses more than PyYAML
            reason = " ".join(str(error).split())
            raise SpectrimError(f"{change!r}: not YAML ({reason}).") from error
        except (ValueError, OmegaConfBaseException) as error:
            raise SpectrimError(f"{change!r}: {first_line(error)}.") from error
        recipe = _merged(recipe, single, change, schema)
        if key in OTHER_RATE:  # a recipe has one of the two; the change replaces the file's
            OmegaConf.update(recipe, OTHER_RATE[key], None)
    if OmegaConf.is_missing(recipe.data, "manifest"):
        raise SpectrimError(f"{path}: data.manifest is not given. Add data.manifest=clips.csv.")
    try:
        typed = cast(Schema, OmegaConf.to_object(recipe))
    except OmegaConfBaseException as error:
        key = f"{error.full_key}: " if error.full_key else ""
        raise SpectrimError(f"{path}: {key}{first_line(error)}.") from error
    check_values(typed, str(path))
    _check_together(typed, str(path))
    return typed


def content_of(path: Path) -> dict[str, Any]:
    """The content of a recipe file, before defaults and changes.

    Raises:
        SpectrimError: the file cannot be read, or is not a YAML mapping.
    """
    content = read_yaml(path, "a recipe")
    try:
        OmegaConf.create(content)  # raises on keys that OmegaConf does not take
    except OmegaConfBaseException as error:
        raise SpectrimError(f"{path}: not a recipe ({str(error).strip()}).") from error
    return content


def with_new_names(values: DictConfig, where: str | None) -> DictConfig:
    """Rename deprecated keys in place; a notice names the new key unless `where` is None."""
    for old, new in RENAMED.items():
        value = OmegaConf.select(values, old)
        if value is not None:
            parent, _, key = old.rpartition(".")
            del OmegaConf.select(values, parent)[key]
            OmegaConf.update(values, new, value)
            if where is not None:
                text = f"{where}: {old} is now called {new}; the old name will be removed."
                warnings.warn(SpectrimNotice(text), stacklevel=2)
    if OmegaConf.select(values, "run.precision") is False:  # YAML reads an unquoted no as false
        OmegaConf.update(values, "run.precision", "no")
    return values


def to_yaml(recipe: Recipe | PretrainRecipe) -> str:
    """The whole recipe as YAML, every default written out."""
    return OmegaConf.to_yaml(OmegaConf.structured(recipe))


def to_dict(recipe: Recipe | PretrainRecipe) -> dict[str, Any]:
    """The whole recipe as plain data."""
    return asdict(recipe)


def folder_of(path: Path, changes: Sequence[str]) -> Path:
    """The default folder of a run's results; the same command gives the same folder."""
    text = ",".join([path.stem, *changes])
    name = re.sub(r"[^A-Za-z0-9_.,=+-]+", "_", text)
    if name != text or len(name) > 120:  # file systems limit names to 255 bytes
        digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        name = f"{name[:100]}-{digest}"
    return Path("runs") / name


def _merged(recipe: Any, given: Any, where: str, schema: type) -> Any:
    """`recipe` with the values of `given`; errors name the key and its source `where`."""
    try:
        for key, value in given.items():
            if is_dataclass(getattr(schema(), str(key), None)) and not isinstance(
                value, DictConfig
            ):
                raise SpectrimError(f"{where}: {key} is {value!r}; expected keys below it.")
        return OmegaConf.merge(recipe, with_new_names(given, where))
    except TypeError as error:
        raise SpectrimError(f"{where}: give the whole list, such as blocks=[3,6].") from error
    except ConfigKeyError as error:
        key = str(error.full_key or error.key)
        known = _keys(schema())
        other = PretrainRecipe if schema is Recipe else Recipe
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
        reason = f"{first_line(error)}."
        if "is not a ListConfig" in reason:  # it names a class of OmegaConf
            reason = "expected a list, such as [3] or [3,6]."
        raise SpectrimError(f"{where}: {key}{reason}") from error


def _keys(part: Any, prefix: str = "") -> list[str]:
    keys = []
    for entry in fields(part):
        value, key = getattr(part, entry.name), prefix + entry.name
        keys += _keys(value, key + ".") if is_dataclass(value) else [key]
    return keys


def _check_together(recipe: Recipe | PretrainRecipe, where: str) -> None:
    """Refuse values that do not go with one another."""
    if (recipe.optim.lr is None) == (recipe.optim.base_lr is None):
        raise SpectrimError(f"{where}: give either optim.lr or optim.base_lr (for 256 clips).")
    if isinstance(recipe, Recipe):
        _note_unused_options(recipe, where)
        if recipe.select.from_epoch >= recipe.epochs:
            raise SpectrimError(
                f"{where}: select.from_epoch is {recipe.select.from_epoch}, but epochs count from "
                f"0 to {recipe.epochs - 1}."
            )
        _check_elastic(recipe, where)
        check_smoothing(recipe.loss.name, recipe.loss.smoothing, where)
        if recipe.augment.join:
            raise SpectrimError(
                f"{where}: augment.join is only for pre-training, because labels are not joined."
            )
    elif recipe.decoder_width % recipe.decoder_heads or recipe.decoder_width % 4:
        raise SpectrimError(
            f"{where}: decoder_width {recipe.decoder_width} must be divisible by 4 and by "
            f"decoder_heads {recipe.decoder_heads}."
        )


def check_smoothing(loss: str, smoothing: float, where: str) -> None:
    """Raise an error for label smoothing with binary cross-entropy.

    For `loss.name=auto`, `task` calls this again when the labels are known.
    """
    if loss == "bce" and smoothing:
        raise SpectrimError(
            f"{where}: the loss is bce, which does not support loss.smoothing. Set "
            "loss.smoothing=0, or loss.name=ce."
        )


def _note_unused_options(recipe: Recipe, where: str) -> None:
    """Say which load options describe no checkpoint; no error, as a control may change `init`."""
    for key, checkpoint, prefix, options in (
        ("init", recipe.init, "load", recipe.load),
        ("teacher.model", recipe.teacher.model, "teacher.load", recipe.teacher.load),
    ):
        if options and checkpoint is None:
            names = ", ".join(f"{prefix}.{option}" for option in options)
            text = (
                f"{where}: {names} has no effect without {key}, because {prefix} describes that "
                "checkpoint. Class names of the data are data.labels."
            )
            warnings.warn(SpectrimNotice(text), stacklevel=2)


def _check_elastic(recipe: Recipe, where: str) -> None:
    schedule, defaults = recipe.schedule, SchedulePart()
    if schedule.kind != "elastic":
        # No error: a control changes only the kind of an elastic recipe.
        unused = [k for k in ELASTIC_KEYS if getattr(schedule, k) != getattr(defaults, k)]
        if unused:
            names = ", ".join(f"schedule.{key}" for key in unused)
            text = f"{where}: {names} has no effect without schedule.kind=elastic."
            warnings.warn(SpectrimNotice(text), stacklevel=2)
        return
    if recipe.keep_rate != 1.0:
        raise SpectrimError(
            f"{where}: keep_rate is {recipe.keep_rate}, but elastic training serves every keep "
            f"rate from 1.0 to schedule.low. Set keep_rate=1.0, and choose a keep rate when you "
            "use the model."
        )
    if schedule.low == 1.0:
        raise SpectrimError(f"{where}: schedule.low is 1.0, which prunes nothing. Lower it.")
    if schedule.low > schedule.high:
        raise SpectrimError(
            f"{where}: schedule.low {schedule.low} is above schedule.high {schedule.high}."
        )
    if not schedule.distil and not schedule.label_weight:
        raise SpectrimError(
            f"{where}: schedule.distil and schedule.label_weight are both 0, so pruned passes "
            "would train nothing. Raise one of the two."
        )
    if schedule.scores and recipe.score not in schedule.scores:
        raise SpectrimError(
            f"{where}: score is {recipe.score!r}, which is not in schedule.scores "
            f"{schedule.scores}. The score is evaluated, so it must be trained; change one of the "
            "two."
        )
    scores = schedule.scores or [recipe.score]
    if schedule.align and ("attention" not in scores or recipe.reduction != DEFAULT_REDUCTION):
        raise SpectrimError(
            f"{where}: schedule.align trains the attention that ranks patches, so it requires the "
            f"score attention and the reduction {DEFAULT_REDUCTION}; the recipe has "
            f"{', '.join(scores)} and {recipe.reduction}. Set schedule.align=0, or change these."
        )
