"""Claims that several processes share by a folder."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

from spectrim.common import claims


def _grab(folder: str, names: list[str], results: object) -> None:
    for name in names:
        with claims.claim(Path(folder) / name) as mine:
            if mine and not (Path(folder) / f"{name}.done").exists():
                (Path(folder) / f"{name}.done").touch()
                results.put(name)  # type: ignore[attr-defined]
                time.sleep(0.01)


def test_two_processes_never_hold_the_same_claim(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    names, results = [f"cell-{number}" for number in range(40)], context.Queue()
    workers = [
        context.Process(target=_grab, args=(str(tmp_path), names, results)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    found = [results.get(timeout=30) for _ in names]
    for worker in workers:
        worker.join()
    assert sorted(found) == sorted(names)
    assert list(tmp_path.glob("cell-?")) == []  # all given back


def test_a_claim_of_a_dead_process_is_taken_over_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = tmp_path / "cell"
    context = multiprocessing.get_context("fork")

    def die() -> None:
        claims._create(path)

    worker = context.Process(target=die)
    worker.start()
    worker.join()
    assert path.exists()
    assert claims.holder(path) is None
    with claims.claim(path) as mine:
        assert mine and claims.holder(path) is not None
        with claims.claim(path) as again:
            assert not again  # this process is alive
    assert not path.exists()
