"""The result folder of a grid, and the status of each cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..common.locks import holder
from ..common.parse import read_json
from ..pruning.saved_plans import RENAMED_SCORES
from ..training.read_recipe import content_of
from .cells import RENAMED_CONDITIONS, Cell


class ResultFolder:
    """The result folder of a grid.

    `cells/NAME.json` and `NAME.npz` are finished cells (small, to be kept). `claims/` holds the
    locks of running cells, `runs/NAME/` the training runs, and `waveforms/` decoded clips.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Content of finished cells with the time of their files: a report reads each once.
        self._read_results: dict[Path, tuple[int, dict[str, Any]]] = {}

    def path_of(self, name: str) -> Path:
        """The result file of a cell; one of an earlier version may have another name."""
        path = self.folder / "cells" / f"{name.replace('/', '--')}.json"
        for old, new in RENAMED_CONDITIONS.items():
            former = path.with_name(re.sub(f"^{new}--", f"{old}--", path.name))
            if not path.is_file() and former.is_file():
                return former
        for old, new in RENAMED_SCORES.items():
            former = path.with_name(path.name.replace(f"--{new}-", f"--{old}-"))
            if former != path and not path.is_file() and former.is_file():
                return former if _plan_version(self._content(former)) == 1 else path
        return path

    def result(self, cell: Cell) -> dict[str, Any] | None:
        """Result of a finished cell; None if it is unfinished or was run with other settings."""
        result = self._read(cell)
        return None if result is None or differs(cell, result) else result

    def difference(self, cell: Cell) -> str | None:
        """How the settings of a finished cell differ from the grid; None if they do not."""
        result = self._read(cell)
        return None if result is None else differs(cell, result)

    def _read(self, cell: Cell) -> dict[str, Any] | None:
        try:
            return upgrade_result(self._content(self.path_of(cell.name)))
        except FileNotFoundError:
            return None

    def _content(self, path: Path) -> dict[str, Any]:
        modified = path.stat().st_mtime_ns
        if self._read_results.get(path, (0, {}))[0] != modified:
            self._read_results[path] = modified, read_json(path)
        return self._read_results[path][1]

    def outputs(self, cell: Cell) -> Path:
        """The file of a cell's per-clip outputs."""
        return self.path_of(cell.name).with_suffix(".npz")

    def claim_of(self, cell: Cell) -> Path:
        """The lock file of the process that runs the cell."""
        return self.folder / "claims" / cell.file

    def run_of(self, name: str) -> Path:
        """The folder of a cell's run."""
        return self.folder / "runs" / name.replace("/", "--")

    def unexpected_cells(self, cells: Iterable[Cell]) -> list[str]:
        """Finished cells in the folder that are not in `cells`."""
        ours = {self.path_of(cell.name) for cell in cells}
        return sorted(
            path.stem for path in (self.folder / "cells").glob("*.json") if path not in ours
        )

    def status(self, cell: Cell) -> str:
        """Status of a cell.

        "done"; "changed": run with other settings than the grid has; "running (host process)";
        "waiting" for another cell; "lost" if that cell is done but its run is missing; "ready";
        or "begun (3 epochs)".
        """
        if self.path_of(cell.name).is_file():
            return "changed" if self.difference(cell) else "done"
        if process := holder(self.claim_of(cell)):
            return f"running ({process})"
        if cell.start is not None and not self.path_of(cell.start).is_file():
            return "waiting"  # its `last` may be there, and is that of an earlier epoch
        if cell.start is not None and not (self.run_of(cell.start) / "last").is_dir():
            return "lost"
        if not (self.run_of(cell.name) / "state").is_dir():
            return "ready"
        epochs = self.run_of(cell.name) / "epochs.jsonl"
        count = len(epochs.read_text(encoding="utf-8").splitlines()) if epochs.is_file() else 0
        return f"begun ({count} epochs)"


def upgrade_result(result: dict[str, Any]) -> dict[str, Any]:
    """A finished cell of any version, with the score names of the present version of plans."""
    if _plan_version(result) > 1:
        return result

    def renamed(change: str) -> str:
        key, _, value = change.partition("=")
        return f"{key}={RENAMED_SCORES.get(value, value)}" if key == "score" else change

    def with_new_name(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "score": RENAMED_SCORES.get(row["score"], row["score"])}

    upgraded = {**result, "changes": [renamed(change) for change in result["changes"]]}
    if "score" in result:
        upgraded = with_new_name(upgraded)
    if "rows" in result:
        upgraded["rows"] = [with_new_name(row) for row in result["rows"]]
    return upgraded


def _plan_version(result: Mapping[str, Any]) -> int:
    return int(result.get("plan_version", 1))


def differs(cell: Cell, result: Mapping[str, Any]) -> str | None:
    """Describe how the settings of a result and of the cell differ; None if they agree."""
    stored = [result["recipe"], *result["changes"], f"from {result['start']}"]
    current = [cell.recipe, *cell.changes, f"from {cell.start}"]
    if "recipe_says" in result and Path(cell.recipe).is_file():
        stored += _flat(result["recipe_says"])
        current += _flat(recipe_says(cell))
    if sorted(stored) == sorted(current):
        rows = {(row["score"], row["keep_rate"]) for row in result.get("rows", ())}
        lacking = [f"{score}-{rate}" for score, rate in cell.pairs if (score, rate) not in rows]
        return f"without {', '.join(lacking)}" if lacking else None
    old, new = (
        ", ".join(text for text in ours if text not in theirs) or "nothing else"
        for ours, theirs in ((stored, current), (current, stored))
    )
    return f"{old} there; {new} in the grid"


def recipe_says(cell: Cell) -> dict[str, Any]:
    """Content of the cell's recipe file before any change, without comments."""
    path = Path(cell.recipe)
    return _content(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _content(path: Path, changed: int) -> dict[str, Any]:
    return content_of(
        path
    )  # cached because many cells share one file; `changed` invalidates the cache


def _flat(content: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Such as ["epochs=2", "optim.lr=0.001"]."""
    return list(_texts(content, prefix))


def _texts(content: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _texts(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}={value}"
