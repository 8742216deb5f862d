"""What a grid file holds: columns, and the cells that are asked of each."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..pruning.defaults import PAPER_SCORES

CONDITIONS = ("baseline", "untuned", "tuned", "control", "elastic")


@dataclass
class Column:
    """A column of the table: one model on one task.

    Attributes:
        recipe: file of its runs; changes: to that recipe, in every run of the column.
        runs: changes of each repetition (a fold, a seed).
        pretrained: whether the baseline starts from the repetition's pre-trained encoder.
        tuned: changes to the recipe in its tuned and control cells, after those of the grid.
        elastic: changes to the recipe in its elastic cells, after those of the grid.
        evidence, from_baseline: in place of the grid's; null: as the grid says.
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
    evidence: list[str] | None = None
    from_baseline: bool | None = None
    paper: str = ""


@dataclass
class ExperimentFile:
    """Content of a grid file.

    Attributes:
        title, note: of the page; the note stands below its first paragraph.
        columns: by name.
        scores, keep_rates: of the pruned cells.
        evidence: conditions of cells besides the baseline: "untuned" (the baseline pruned without
            training), "tuned" (trained with the keep rate schedule), "control" (as tuned, without
            masks from where pruning would start, at keep rate 1.0), "elastic" (one training for
            every keep rate, evaluated at each score and keep rate).
        tuned: changes to the recipe in tuned and control cells.
        tuned_keep_rates: keep rates of the tuned cells, some of `keep_rates`; empty: all of them.
        elastic: changes to the recipe in elastic cells.
        ablations: variants of elastic training by name, such as "without-distillation". Each is
            one more elastic cell of every repetition, with these changes after those of `elastic`.
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
    evidence: list[str] = field(default_factory=lambda: ["untuned", "tuned", "control"])
    tuned: list[str] = field(default_factory=list)
    tuned_keep_rates: list[float] = field(default_factory=list)
    elastic: list[str] = field(default_factory=lambda: ["schedule.kind=elastic"])
    ablations: dict[str, list[str]] = field(default_factory=dict)
    from_baseline: bool = True
    pretrain: str | None = None
    pretrain_runs: list[list[str]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    def evidence_of(self, column: str) -> list[str]:
        """Conditions of a column's cells, apart from the baseline."""
        evidence = self.columns[column].evidence
        return self.evidence if evidence is None else evidence

    def all_evidence(self) -> set[str]:
        """Conditions that any column has, apart from the baseline."""
        return {name for column in self.columns for name in self.evidence_of(column)}
