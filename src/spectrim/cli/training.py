"""What `train` and `pretrain` print, and the bar that they show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..common.errors import SpectrimError
from ..common.text import significant
from .options import allow_trusted_code
from .output import complain, print_json, print_table

if TYPE_CHECKING:
    from ..training.dry_run import DryRun
    from ..training.recipe import PretrainRecipe, Recipe

EXTRA = ("accelerate", "omegaconf", "tensorboard", "yaml")


@contextmanager
def needed() -> Iterator[None]:
    """Say what to install where the extra packages of training are missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").split(".")[0]
        if name not in EXTRA:
            raise
        raise SpectrimError(
            f"training needs the package {name}: pip install 'spectrim[train]', or in a clone "
            "pip install -c constraints.txt -e '.[train]'."
        ) from error


def carry_out(
    path: Path,
    changes: list[str],
    kind: type[Recipe] | type[PretrainRecipe],
    out: Path | None,
    dry: bool,
    json: bool,
) -> None:
    """Read a recipe, and train or only print what would be done."""
    from ..training.read_recipe import folder_of, read_recipe

    recipe = read_recipe(path, changes, kind)
    allow_trusted_code_of(recipe)
    folder = out or folder_of(path, changes)
    if dry:
        from ..training.dry_run import dry_run

        found = dry_run(recipe)
        if json:
            print_json(found.to_dict())
        else:
            print_dry_run(found, folder)
        return
    from ..training.run import train

    console = Console(stderr=True)
    with Bars(console) as bars:
        summary = train(recipe, folder, bars, bars.measured)
    if summary is None:
        return  # another process tells
    if json:
        print_json(summary)
    else:
        print_summary(summary, folder)


def allow_trusted_code_of(recipe: Recipe | PretrainRecipe) -> None:
    """Let what a recipe, or a checkpoint that it allows to, names as "module:name" be found."""
    from ..training.recipe import Recipe

    if isinstance(recipe, Recipe):
        allow_trusted_code(recipe.score, recipe.reduction)
        if recipe.load.get("trust_code") or recipe.teacher.load.get("trust_code"):
            allow_trusted_code(":")


class Bars:
    """The reporter of the command line: a bar on a terminal, a line an epoch elsewhere."""

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
        self.clips = self.bar.add_task("evaluates", visible=False)
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def measured(self, clips: int) -> None:
        """So many more clips' log-mel was measured."""
        self.bar.update(self.steps, description="mean and std of the clips", advance=clips)

    def note(self, text: str) -> None:
        """A sentence, on a line of its own."""
        self.bar.console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)

    def step(self, facts: dict[str, float]) -> None:
        """Move the bar, ten times a second at most."""
        if time.monotonic() - self.shown < 0.1:
            return
        self.shown = time.monotonic()
        text = (
            f"epoch {facts['epoch']:.0f} loss {facts['loss']:.3f}{self.metric} "
            f"keep-rate {facts['keep_rate']:.2f} {facts['clips_per_s']:.0f} clips/s"
        )
        self.bar.update(self.steps, description=text, completed=facts["step"], total=facts["steps"])

    def evaluated(self, done: int, clips: int) -> None:
        """A bar of its own, as long as there is something left to evaluate."""
        self.bar.update(self.clips, completed=done, total=clips, visible=done < clips)

    def epoch(self, row: dict[str, Any]) -> None:
        """A line that stays."""
        found = {key: row[key] for key in ("valid", "test") if key in row}
        self.metric = "".join(f" {key} {value:.1%}" for key, value in list(found.items())[:1])
        metrics = "".join(f"  {key} {value:.1%}" for key, value in found.items())
        text = (
            f"epoch {row['epoch']}: loss {row['loss']:.4f}{metrics}  keep-rate "
            f"{row['keep_rate']:.2f}  lr {row['lr']:.2e}  {row['clips_per_s']:.0f} clips/s"
        )
        self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_summary(summary: dict[str, Any], folder: Path) -> None:
    """What was reached, and where it lies."""
    rows = []
    for name, text in (
        ("last", "last epoch"),
        ("best", "best epoch"),
        ("best_on_test", "best on test (as the paper chooses)"),
    ):
        row = summary[name]
        if row is None or ("valid" not in row and "test" not in row):
            continue
        by = f", chosen on {row['selected_by']}" if name == "best" else ""
        values = [f"{row[key]:.1%}" if key in row else "-" for key in ("valid", "test")]
        rows.append([text + by, str(row["epoch"]), *values, f"{row['keep_rate']:.2f}"])
    if rows:
        columns = [summary["metric"], "epoch", "valid", "test", "keep-rate"]
        print_table(columns, rows, caption=f"models: {folder / 'last'}, {folder / 'best'}")
    else:
        loss = summary["last"]["loss"]
        print_table(["epochs", "loss"], [[str(summary["epochs"]), f"{loss:.4f}"]],
                    caption=f"model: {folder / 'last'}")  # fmt: skip
    complain("written", str(folder))


def print_dry_run(found: DryRun, folder: Path) -> None:
    """The recipe, the parameter groups, the epochs."""
    from .output import stdout

    stdout().print(found.recipe, markup=False)
    for sentence in found.notes:
        stdout().print(sentence, markup=False, soft_wrap=True)
    stdout().print()
    print_table(
        ["layer", "lr", "weight decay", "tensors", "parameters"],
        [
            [
                str(group["layer"]),
                f"{group['lr']:.3g}",
                f"{group['weight_decay']:g}",
                str(group["tensors"]),
                f"{group['parameters']:,}",
            ]
            for group in found.groups
        ],
        caption="lr at its peak; layer 0: patches, positions and tokens; the last: the head.\n",
    )
    print_table(
        ["epoch", "lr", "keep-rate", "GMACs", "masking"],
        [
            [
                str(row["epoch"]),
                " to ".join(f"{lr:.2e}" for lr in row["lr"]),
                " to ".join(f"{rate:.3f}" for rate in row["keep_rate"]),
                significant(row["gmacs"]),
                {True: "on", False: "off", None: "-"}[row.get("masking")],
            ]
            for row in found.epochs
        ],
        caption=f"{found.steps} steps an epoch, {found.total_steps} in all; results in {folder}. "
        "Nothing was trained.",
    )
