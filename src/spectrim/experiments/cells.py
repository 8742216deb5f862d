"""The cells (runs) that a grid file asks for, and the rows of the table that they fill."""

from __future__ import annotations

from dataclasses import dataclass

from .grid_file import Column, ExperimentFile


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
        pairs: scores and keep rates at which "untuned" and "elastic" cells are evaluated.
        ablation: name of the variant of an elastic cell; "" for the elastic training itself.
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
    ablation: str = ""

    @property
    def row(self) -> str:
        """Condition and ablation, such as "elastic without distillation"; names table rows."""
        return ablation_row(self.ablation) if self.ablation else self.condition

    @property
    def file(self) -> str:
        """The name with slashes replaced, for use as a file name."""
        return self.name.replace("/", "--")


def ablation_row(ablation: str) -> str:
    """Name of the table rows of an ablation."""
    return f"elastic {ablation.replace('-', ' ')}"


# Conditions in grid files and file names of version 0.1, and their present names.
RENAMED_CONDITIONS = {"shelf": "untuned"}


def present_name(name: str) -> str:
    """The name of a cell, or a pattern of names, that may have the condition's old name."""
    condition, slash, rest = name.partition("/")
    return RENAMED_CONDITIONS.get(condition, condition) + slash + rest


def condition_order(definition: ExperimentFile) -> list[str]:
    """Conditions in the order of the table's rows."""
    ablations = [ablation_row(name) for name in definition.ablations]
    return ["baseline", "control", "untuned", "tuned", "elastic", *ablations]


def reference_condition(definition: ExperimentFile, column: str, condition: str) -> str:
    """The condition that a trained one of this column is compared with.

    A missing control is not replaced by the baseline: extra epochs are not a gain of pruning.
    """
    has_controls = "control" in definition.evidence_of(column)
    return "control" if condition in ("tuned", "elastic") and has_controls else "baseline"


def cells_of(definition: ExperimentFile) -> list[Cell]:
    """All cells: the pre-trainings, then each repetition of all columns."""
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
    from_baseline = column.from_baseline
    if from_baseline is None:
        from_baseline = definition.from_baseline
    start = base.name if from_baseline else first
    evidence = definition.evidence_of(key)
    tuned = (*changes, *definition.tuned, *column.tuned)
    pairs = tuple((score, rate) for score in definition.scores for rate in definition.keep_rates)
    if "untuned" in evidence:
        name = f"untuned/{key}/{run}"
        cells.append(
            Cell(name, "untuned", key, run, column.recipe, changes, base.name, pairs=pairs)
        )
    if "control" in evidence:
        name = f"control/{key}/{run}"
        # Tuned cells train without masks once pruning starts. The control must do the same.
        control = (*tuned, "schedule.masks_end=always")
        cells.append(Cell(name, "control", key, run, column.recipe, control, start))
    if "elastic" in evidence:
        elastic = (*changes, *definition.elastic, *column.elastic)
        for ablation, ablated in {"": [], **definition.ablations}.items():
            name = f"ablation/{key}/{ablation}/{run}" if ablation else f"elastic/{key}/{run}"
            cells.append(
                Cell(name, "elastic", key, run, column.recipe, (*elastic, *ablated), start,
                     pairs=pairs, ablation=ablation)
            )  # fmt: skip
    if "tuned" in evidence:
        for score in definition.scores:
            for rate in definition.tuned_keep_rates or definition.keep_rates:
                name = f"tuned/{key}/{score}-{rate}/{run}"
                pruned = (*tuned, f"keep_rate={rate}", f"score={score}")
                cells.append(
                    Cell(name, "tuned", key, run, column.recipe, pruned, start, score, rate)
                )
    return cells
