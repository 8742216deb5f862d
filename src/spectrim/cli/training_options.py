"""Options, printed summaries and progress bar that `train` and `pretrain` share."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..common.errors import missing_package
from ..common.text import significant
from .output import notify
from .shared_options import allow_trusted_code
from .tables import print_table, print_text

if TYPE_CHECKING:
    from ..training.dry_run import DryRun
    from ..training.recipe import PretrainRecipe, Recipe

EXTRA = ("accelerate", "omegaconf", "tensorboard", "yaml")


@contextmanager
def needs_training_extra() -> Iterator[None]:
    """Say what to install where the packages of the extra `train` are missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in EXTRA:
            raise
        raise missing_package("training", name, "train") from error


@dataclass(frozen=True)
class Run:
    """Arguments of `train` and `pretrain`."""

    recipe: Annotated[Path, typer.Argument(help="A YAML recipe, such as those in recipes/.")]
    changes: Annotated[
        list[str] | None,
        typer.Argument(help="Values of the recipe to change: key=value, such as optim.lr=1e-4."),
    ] = None
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; an interrupted run in it is continued. "
            "Default: runs/RECIPE,CHANGES."
        ),
    ] = None
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check the data and print the schedule without training."),
    ] = False
    channel: Annotated[
        str | None,
        typer.Option(
            help="Channel of the clips: a number from 0, 'mix' or 'loudest'; the same as "
            "data.channel=. Default: the recipe's."
        ),
    ] = None
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False

    def carry_out(self, schema: type[Recipe] | type[PretrainRecipe]) -> None:
        """Read the recipe, and train or only print what would be done."""
        from ..training.read_recipe import folder_of, read_recipe
        from .output import Output

        output = Output(json=self.json)
        changes = list(self.changes or [])
        if self.channel is not None:
            changes.append(f"data.channel={self.channel}")
        recipe = read_recipe(self.recipe, changes, schema)
        allow_trusted_code_of(recipe)
        folder = self.out or folder_of(self.recipe, changes)
        if self.dry_run:
            from ..training.dry_run import dry_run

            plan = dry_run(recipe)
            output.emit(plan.to_dict(), lambda: print_dry_run(plan, folder))
            return
        from ..training.run import train

        with Bars(Console(stderr=True)) as bars:
            summary = train(recipe, folder, bars, bars.measured)
        if summary is not None:  # otherwise another process of the run prints it
            output.emit(summary, lambda: print_training_summary(summary, folder))


def allow_trusted_code_of(recipe: Recipe | PretrainRecipe) -> None:
    """Let "module:name" in a recipe, or in a checkpoint that it trusts, be imported."""
    from ..training.recipe import Recipe

    if isinstance(recipe, Recipe):
        allow_trusted_code(recipe.score, recipe.reduction, *recipe.schedule.scores)
        if recipe.load.get("trust_code") or recipe.teacher.load.get("trust_code"):
            allow_trusted_code(":")


class Bars:
    """The reporter of the command line: a bar on a terminal, elsewhere one line per epoch."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.metric = ""
        self.shown = 0.0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            TextColumn("{task.percentage:.0f}%"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Bars:
        self.bar.start()
        self.steps = self.bar.add_task("starting", total=None)
        self.clips = self.bar.add_task("evaluating", visible=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def measured(self, clips: int) -> None:
        """Advance by the clips whose log-mel was measured."""
        self.bar.update(self.steps, description="measuring mean and std", advance=clips)

    def note(self, text: str) -> None:
        """Print a sentence on a line of its own."""
        self.bar.console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)

    def step(self, facts: dict[str, float]) -> None:
        """Move the bar, at most ten times a second."""
        if time.monotonic() - self.shown < 0.1:
            return
        self.shown = time.monotonic()
        text = (
            f"epoch {facts['epoch']:.0f} loss {facts['loss']:.3f}{self.metric} "
            f"keep rate {facts['keep_rate']:.2f} {facts['clips_per_s']:.0f} clips/s"
        )
        self.bar.update(self.steps, description=text, completed=facts["step"], total=facts["steps"])

    def evaluated(self, done: int, clips: int) -> None:
        """Show a second bar while there are clips left to evaluate."""
        self.bar.update(self.clips, completed=done, total=clips, visible=done < clips)

    def epoch(self, row: dict[str, Any]) -> None:
        """Print the line of a finished epoch."""
        texts = [f"{key} {row[key]:.1%}" for key in ("valid", "test") if key in row]
        self.metric = f" {texts[0]}" if texts else ""
        rate = f"{row['keep_rate']:.2f}"
        if lowest := [f"{key} {row[key + '_low']:.1%}" for key in ("valid", "test")
                      if key + "_low" in row]:  # fmt: skip
            texts.append(f"lowest keep rate: {' '.join(lowest)}")
            rate = f"1.00 to {rate}"
        metrics = "".join(f"  {text}" for text in texts)
        text = (
            f"epoch {row['epoch']}: loss {row['loss']:.4f}{metrics}  keep rate "
            f"{rate}  lr {row['lr']:.2e}  {row['clips_per_s']:.0f} clips/s"
        )
        self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_training_summary(summary: dict[str, Any], folder: Path) -> None:
    """Print the best and the last metric, and where the models are."""
    rows = []
    for name, text in (
        ("last", "last epoch"),
        ("best", "best epoch"),
        ("best_on_test", "best on test, the paper's choice"),
    ):
        row = summary[name]
        if row is None or ("valid" not in row and "test" not in row):
            continue
        by = f", selected on {row['selected_by']}" if name == "best" else ""
        values = [f"{row[key]:.1%}" if key in row else "-" for key in ("valid", "test")]
        lowest = [f"{row[key]:.1%}" if key in row else "-" for key in ("valid_low", "test_low")]
        rate = f"{row['keep_rate']:.2f}"
        if lowest == ["-", "-"]:
            rows.append([text + by, str(row["epoch"]), *values, rate])
        else:  # elastic training evaluates at two keep rates
            rows.append([text + by, str(row["epoch"]), *values, "1.00"])
            rows.append(["", "", *lowest, rate])
    if rows:
        columns = [summary["metric"], "epoch", "valid", "test", "keep rate"]
        print_table(columns, rows, caption=f"models: {folder / 'last'}, {folder / 'best'}")
    else:
        loss = summary["last"]["loss"]
        print_table(["epochs", "loss"], [[str(summary["epochs"]), f"{loss:.4f}"]],
                    caption=f"model: {folder / 'last'}")  # fmt: skip
    notify("written", str(folder))


def print_dry_run(plan: DryRun, folder: Path) -> None:
    """Print the recipe, the parameter groups and the epochs."""
    print_text(plan.recipe)
    for sentence in plan.notes:
        print_text(sentence)
    print_text("")
    print_table(
        ["layer", "peak lr", "weight decay", "tensors", "parameters"],
        [
            [
                str(group["layer"]),
                f"{group['lr']:.3g}",
                f"{group['weight_decay']:g}",
                str(group["tensors"]),
                f"{group['parameters']:,}",
            ]
            for group in plan.groups
        ],
        caption="layer 0: embeddings and prefix tokens; the last layer: the head.\n",
    )
    print_table(
        ["epoch", "lr", "keep rate", "GMACs", "masking"],
        [
            [
                str(row["epoch"]),
                " to ".join(f"{lr:.2e}" for lr in row["lr"]),
                " to ".join(f"{rate:.3f}" for rate in row["keep_rate"]),
                significant(row["gmacs"]),
                {True: "on", False: "off", None: "-"}[row.get("masking")],
            ]
            for row in plan.epochs
        ],
        caption=f"{plan.steps} steps per epoch, {plan.total_steps} in total; results would be in "
        f"{folder}. Nothing was trained.",
    )
