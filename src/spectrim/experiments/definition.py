"""Read a grid of runs, such as the paper's Table I: its cells, their dependencies and order."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from ..assets.published import paper_columns
from ..common.errors import SpectrimError, first_line, nearest
from ..common.parse import read_yaml
from ..common.paths import user_path
from ..pruning.scores import SCORES
from ..pruning.stage import Stage, check_keep_rate
from ..training.read_recipe import read_recipe
from ..training.recipe import PretrainRecipe, Recipe
from .cells import RENAMED_CONDITIONS, Cell, cells_of, present_name
from .grid_file import CONDITIONS, Column, ExperimentFile


@dataclass(frozen=True)
class Experiment:
    """A grid file and its cells, in the order in which they are run."""

    path: Path
    definition: ExperimentFile
    cells: tuple[Cell, ...]

    @property
    def idle(self) -> list[str]:
        """Patterns of `order` that match no cell."""
        return [
            pattern for pattern in self.definition.order
            if not any(fnmatch(cell.name, pattern) for cell in self.cells)
        ]  # fmt: skip

    def cell(self, name: str) -> Cell:
        """Return the cell with this name.

        Raises:
            SpectrimError: no cell has this name.
        """
        for cell in self.cells:
            if cell.name == present_name(name):
                return cell
        raise SpectrimError(f"{self.path}: no cell is called {name!r}; `grid list` names them.")


def read_grid(path: Path) -> Experiment:
    """Read a grid file.

    Raises:
        SpectrimError: the file is missing, a key is unknown, or a value has the wrong type.
    """
    given = read_yaml(path, "a grid file")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(ExperimentFile), given)
        definition: Any = OmegaConf.to_object(merged)
    except ConfigKeyError as error:
        raise SpectrimError(f"{path}: {_unknown_key(str(error.full_key))}") from error
    except TypeError as error:  # a list where names are expected
        raise SpectrimError(
            f"{path}: expected keys and values, columns by name ({error})."
        ) from error
    except OmegaConfBaseException as error:
        text = first_line(error).rstrip("?")
        raise SpectrimError(f"{path}: {error.full_key or error.key}: {text}.") from error
    for part in (definition, *definition.columns.values()):
        if part.evidence is not None:
            part.evidence = [RENAMED_CONDITIONS.get(name, name) for name in part.evidence]
    definition.order = [present_name(pattern) for pattern in definition.order]
    _check(path, definition)
    cells = cells_of(definition)

    def position_in_order(cell: Cell) -> int:
        fits = (
            position
            for position, pattern in enumerate(definition.order)
            if fnmatch(cell.name, pattern)
        )
        return next(fits, len(definition.order))

    ordered = sorted(cells, key=position_in_order)  # stable: equal positions keep their order
    return Experiment(path, definition, tuple(ordered))


def check_recipes(grid: Experiment) -> list[Recipe | PretrainRecipe]:
    """Read and return the recipe of every column, with all changes made by its cells.

    Raises:
        SpectrimError: a recipe is missing, a change does not fit it, or a custom score cannot be
            imported.
    """
    definition = grid.definition
    recipes: list[Recipe | PretrainRecipe] = []
    try:
        if definition.pretrain:
            changes = [text for run in definition.pretrain_runs for text in run]
            recipes.append(read_recipe(user_path(definition.pretrain), changes, PretrainRecipe))
        for name, column in definition.columns.items():
            runs = [text for run in column.runs for text in run]
            changes = [*column.changes, *runs]
            tuned = [*changes, *definition.tuned, *column.tuned]
            recipe = read_recipe(user_path(column.recipe), tuned, Recipe)
            if recipe.keep_rate != 1:
                raise SpectrimError(
                    f"{column.recipe} sets keep_rate={recipe.keep_rate}, but baselines and "
                    "controls are unpruned. Remove keep_rate there, and use keep_rates of the grid."
                )
            recipes.append(recipe)
            if "elastic" in definition.evidence_of(name):
                elastic = [*changes, *definition.elastic, *column.elastic]
                for ablated in ([], *definition.ablations.values()):
                    recipe = read_recipe(user_path(column.recipe), [*elastic, *ablated], Recipe)
                    if recipe.schedule.kind != "elastic":
                        raise SpectrimError(
                            "elastic cells need `schedule.kind=elastic` among the changes of "
                            "`elastic`."
                        )
                    recipes.append(recipe)
        for score in definition.scores:
            Stage(3, 0.5, score=score)  # import custom scores now, not after hours of training
    except SpectrimError as error:
        raise SpectrimError(f"{grid.path}: {error}") from error
    return recipes


def _unknown_key(key: str) -> str:
    inside = key.split(".")[-1]
    schema = Column if key.startswith("columns.") else ExperimentFile
    return f"a grid has no key {key!r}.{nearest(inside, [part.name for part in fields(schema)])}"


def _check(path: Path, definition: ExperimentFile) -> None:
    for key in ("keep_rates", "tuned_keep_rates"):
        for rate in getattr(definition, key):
            try:
                check_keep_rate(rate)
            except SpectrimError as error:
                raise SpectrimError(f"{path}: {key}: {error}") from error
            if rate == 1:
                raise SpectrimError(f"{path}: {key}: remove 1.0, because the baseline is unpruned.")
    if unlisted := set(definition.tuned_keep_rates) - set(definition.keep_rates):
        raise SpectrimError(f"{path}: tuned_keep_rates: {min(unlisted)} is not one of keep_rates.")
    for score in definition.scores:
        if score not in SCORES and ":" not in score:
            raise SpectrimError(
                f"{path}: scores: no score is called {score!r}.{nearest(score, list(SCORES))}"
            )
    for condition in sorted({*definition.evidence, *definition.all_evidence()}):
        if condition not in CONDITIONS[1:]:
            raise SpectrimError(
                f"{path}: evidence {condition!r}; expected untuned, tuned, control or elastic."
            )
    for name in definition.ablations:
        if not re.fullmatch(r"[\w-]+", name):
            raise SpectrimError(
                f"{path}: ablations: {name!r} becomes part of file names. Use letters, digits and "
                "hyphens."
            )
    if definition.ablations and "elastic" not in definition.all_evidence():
        raise SpectrimError(
            f"{path}: ablations are variants of elastic training. Add elastic to `evidence`."
        )
    for name, column in definition.columns.items():
        if column.pretrained and not definition.pretrain:
            raise SpectrimError(f"{path}: {name} is pretrained, and `pretrain` names no recipe.")
        if column.paper and column.paper not in (known := paper_columns()):
            raise SpectrimError(
                f"{path}: columns.{name}.paper: {column.paper!r} is none of the paper's columns, "
                f"{'; '.join(known)}."
            )
