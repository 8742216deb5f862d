"""Several processes at one grid, and a limit of time."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from small_grid import pretend, write_grid
from spectrim.common.locks import claim
from spectrim.experiments.definition import Experiment, read_grid
from spectrim.experiments.result_folder import ResultFolder
from spectrim.experiments.run_grid import Ran, run_grid
from spectrim.training.reporting import Silent

BASE, CONTROL = "baseline/ast-tones/0", "control/ast-tones/0"


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return read_grid(write_grid(tmp_path_factory.mktemp("grid")) / "small.yaml")


@pytest.fixture
def ran(grid: Experiment, tmp_path: Path, monkeypatch) -> list[str]:
    """Cells that `run_grid` runs; each is finished at once."""
    names: list[str] = []

    def run(_: Experiment, cell, *about: object) -> None:
        names.append(cell.name)
        finish(grid, tmp_path, cell.name)

    monkeypatch.setitem(run_grid.__globals__, "_run", run)
    return names


@pytest.fixture
def waited(monkeypatch) -> threading.Semaphore:
    """Counts how often `run_grid` has found nothing that it could run."""
    times = threading.Semaphore(0)

    def sleep(_: float) -> None:
        times.release()
        time.sleep(0.01)

    clock = SimpleNamespace(sleep=sleep, monotonic=time.monotonic)
    monkeypatch.setitem(run_grid.__globals__, "time", clock)
    return times


def finish(grid: Experiment, folder: Path, name: str) -> None:
    """As the process does that has run a cell."""
    (ResultFolder(folder).run_of(name) / "last").mkdir(parents=True)
    pretend(grid, folder, name, "1" * 10)


@pytest.mark.parametrize(("asked", "left"), [(BASE, []), (CONTROL, [CONTROL])])
def test_what_another_process_runs_is_waited_for(grid, tmp_path, ran, waited, asked, left) -> None:
    """It is not run twice, and what starts from it is run when it is finished."""
    results, found = ResultFolder(tmp_path), []

    def work() -> None:
        found.append(run_grid(grid, tmp_path, lambda cell: Silent(), [asked]))

    thread = threading.Thread(target=work)
    with claim(results.claim_of(grid.cell(BASE))) as mine:
        assert mine and results.status(grid.cell(BASE)).startswith("running (")
        thread.start()
        assert waited.acquire(timeout=20) and waited.acquire(timeout=20) and ran == []
        finish(grid, tmp_path, BASE)
    thread.join(30)
    assert found == [Ran(len(left), {})] and ran == left


def test_no_cell_is_begun_when_the_time_is_over(grid, tmp_path, ran) -> None:
    def finished(seconds: float) -> int:
        words = [BASE, CONTROL]
        return run_grid(grid, tmp_path, lambda cell: Silent(), words, seconds).finished

    assert finished(0) == 0 and ran == []
    assert finished(1000) == 2 and ran == [BASE, CONTROL]
