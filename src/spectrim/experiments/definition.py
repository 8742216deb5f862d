"""Read a grid of runs, such as the paper's Table I: its cells, their dependencies and order."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException

from ..assets.published import paper_columns
from ..common.errors import SpectrimError, first_line, nearest
from ..common.parse import read_yaml
from ..common.paths import user_path
from ..pruning.defaults import PAPER_SCORES
from ..pruning.scores import SCORES
from ..pruning.stage import Stage, check_keep_rate
from ..training.read_recipe import read_recipe
from ..training.recipe import PretrainRecipe, Recipe

CONDITIONS = ("baseline", "shelf", "tuned", "control", "elastic")


@dataclass
class Column:
    """A column of the table: one model on one task.

    Attributes:
        recipe: file of its runs; changes: to that recipe, in every run of the column.
        runs: changes of each repetition (a fold, a seed).
        pretrained: whether the baseline starts from the repetition's pre-trained encoder.
        tuned: changes to the recipe in its tuned and control cells, after those of the grid.
        elastic: changes to the recipe in its elastic cells, after those of the grid.
        task, model: names for the table.
        paper: the column of the paper's Table I that it stands for, "AST, SPC-2"; where a grid
            has such columns, its page holds the paper's findings against them.
    """

    recipe: str
    task: str
    model: str
    changes: list[str] = field(default_factory=list)
    runs: list[list[str]] = field(default_factory=lambda: [[]])
    pretrained: bool = False
    tuned: list[str] = field(default_factory=list)
    elastic: list[str] = field(default_factory=list)
    paper: str = ""


@dataclass
class ExperimentFile:
    """Content of a grid file.

    Attributes:
        title, note: of the page; the note stands below its first paragraph.
        columns: by name.
        scores, keep_rates: of the pruned cells.
        evidence: conditions of cells besides the baseline: "untuned" (the baseline pruned without
            training; stored as "shelf"), "tuned" (trained with the keep rate schedule), "control"
            (as tuned, without masks from where pruning would start, at keep rate 1.0), "elastic"
            (one training for every keep rate, evaluated at each score and keep rate).
        tuned: changes to the recipe in tuned and control cells.
        tuned_keep_rates: keep rates of the tuned cells, some of `keep_rates`; empty: all of them.
        elastic: changes to the recipe in elastic cells.
        from_baseline: whether those cells start from the last epoch of the baseline. Otherwise
            they start from the same weights as the baseline.
        pretrain: recipe of the encoders; pretrain_runs: changes of each repetition.
        order: patterns of cell names. The first pattern that matches a cell sets its position.
    """

    title: str = ""
    note: str = ""
    columns: dict[str, Column] = field(default_factory=dict)
    scores: list[str] = field(default_factory=lambda: list(PAPER_SCORES))
    keep_rates: list[float] = field(default_factory=lambda: [0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    evidence: list[str] = field(default_factory=lambda: ["shelf", "tuned", "control"])
    tuned: list[str] = field(default_factory=list)
    tuned_keep_rates: list[float] = field(default_factory=list)
    elastic: list[str] = field(default_factory=lambda: ["schedule.kind=elastic"])
    from_baseline: bool = True
    pretrain: str | None = None
    pretrain_runs: list[list[str]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """One run of a grid.

    Attributes:
        name: such as "tuned/ast-esc10/attention-0.5/0"; the last part counts repetitions.
        condition: "pretrain" or one of `CONDITIONS`.
        column: None for "pretrain".
        run: which repetition.
        recipe, changes: what `spectrim train` is given, `init` apart.
        start: the cell whose last epoch it starts from, or evaluates; None: the recipe's.
        score, keep_rate: of "tuned".
        pairs: scores and keep rates at which "shelf" and "elastic" cells are evaluated.
    """

    name: str
    condition: str
    column: str | None
    run: int
    recipe: str
    changes: tuple[str, ...]
    start: str | None = None
    score: str | None = None
    keep_rate: float | None = None
    pairs: tuple[tuple[str, float], ...] = ()

    @property
    def file(self) -> str:
        """The name with slashes replaced, for use as a file name."""
        return self.name.replace("/", "--")


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
            if cell.name == name:
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
    # Finished cells are stored under "shelf", the old name of untuned cells.
    definition.evidence = ["shelf" if name == "untuned" else name for name in definition.evidence]
    _check(path, definition)
    cells = _cells(definition)

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
        for column in definition.columns.values():
            runs = [text for run in column.runs for text in run]
            changes = [*column.changes, *runs]
            tuned = [*changes, *definition.tuned, *column.tuned]
            recipe = read_recipe(user_path(column.recipe), tuned, Recipe)
            if recipe.keep_rate != 1:
                raise SpectrimError(
                    f"{column.recipe} has keep_rate={recipe.keep_rate}, and baselines and controls "
                    "are unpruned: take it out; the grid's keep_rates say what is pruned."
                )
            recipes.append(recipe)
            if "elastic" in definition.evidence:
                elastic = [*changes, *definition.elastic, *column.elastic]
                recipe = read_recipe(user_path(column.recipe), elastic, Recipe)
                if recipe.schedule.kind != "elastic":
                    raise SpectrimError(
                        "elastic cells need `schedule.kind=elastic` among the changes of `elastic`."
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
                raise SpectrimError(f"{path}: {key}: 1.0 is the baseline's; leave it out.")
    if unlisted := set(definition.tuned_keep_rates) - set(definition.keep_rates):
        raise SpectrimError(f"{path}: tuned_keep_rates: {min(unlisted)} is not one of keep_rates.")
    for score in definition.scores:
        if score not in SCORES and ":" not in score:
            raise SpectrimError(f"{path}: scores: {score!r} is none.{nearest(score, list(SCORES))}")
    for condition in definition.evidence:
        if condition not in CONDITIONS[1:]:
            raise SpectrimError(
                f"{path}: evidence {condition!r}; expected untuned, tuned, control or elastic."
            )
    for name, column in definition.columns.items():
        if column.pretrained and not definition.pretrain:
            raise SpectrimError(f"{path}: {name} is pretrained, and `pretrain` names no recipe.")
        if column.paper and column.paper not in (known := paper_columns()):
            raise SpectrimError(
                f"{path}: columns.{name}.paper: {column.paper!r} is none of the paper's columns, "
                f"{'; '.join(known)}."
            )


def _cells(definition: ExperimentFile) -> list[Cell]:
    cells: list[Cell] = []
    if definition.pretrain:
        for run, changes in enumerate(definition.pretrain_runs):
            name = f"pretrain/{run}"
            cells.append(Cell(name, "pretrain", None, run, definition.pretrain, tuple(changes)))
    runs = max((len(column.runs) for column in definition.columns.values()), default=0)
    for run in range(runs):
        for key, column in definition.columns.items():
            if run < len(column.runs):
                cells += _of_column(definition, key, column, run)
    return cells


def _of_column(definition: ExperimentFile, key: str, column: Column, run: int) -> list[Cell]:
    """The baseline of one repetition and the cells compared with it."""
    changes = (*column.changes, *column.runs[run])
    first = f"pretrain/{run}" if column.pretrained else None
    base = Cell(f"baseline/{key}/{run}", "baseline", key, run, column.recipe, changes, first)
    cells = [base]
    start = base.name if definition.from_baseline else first
    tuned = (*changes, *definition.tuned, *column.tuned)
    pairs = tuple((score, rate) for score in definition.scores for rate in definition.keep_rates)
    if "shelf" in definition.evidence:
        name = f"shelf/{key}/{run}"
        cells.append(Cell(name, "shelf", key, run, column.recipe, changes, base.name, pairs=pairs))
    if "control" in definition.evidence:
        name = f"control/{key}/{run}"
        # Tuned cells train without masks once pruning starts. The control must do the same.
        control = (*tuned, "schedule.masks_end=always")
        cells.append(Cell(name, "control", key, run, column.recipe, control, start))
    if "elastic" in definition.evidence:
        name = f"elastic/{key}/{run}"
        elastic = (*changes, *definition.elastic, *column.elastic)
        cells.append(Cell(name, "elastic", key, run, column.recipe, elastic, start, pairs=pairs))
    if "tuned" in definition.evidence:
        for score in definition.scores:
            for rate in definition.tuned_keep_rates or definition.keep_rates:
                name = f"tuned/{key}/{score}-{rate}/{run}"
                pruned = (*tuned, f"keep_rate={rate}", f"score={score}")
                cells.append(
                    Cell(name, "tuned", key, run, column.recipe, pruned, start, score, rate)
                )
    return cells
