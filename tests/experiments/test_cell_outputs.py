"""Stored outputs of each clip, and reading them from cells of this and earlier versions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spectrim.experiments.cell_outputs import read_outputs, stored_outputs


def random_outputs(*shape: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits and probabilities (..., clips, classes), and truth (clips, classes)."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=shape).astype(np.float32)
    exponentials = np.exp(logits)
    truth = np.eye(shape[-1], dtype=bool)[rng.integers(0, shape[-1], shape[-2])]
    return logits, exponentials / exponentials.sum(-1, keepdims=True), truth


def test_each_clip_has_its_top_class_its_probability_and_the_rank_of_its_label() -> None:
    logits, probabilities, truth = random_outputs(3, 40, 5)
    stored = stored_outputs("last", "accuracy", logits, probabilities, truth)
    for plan in range(3):
        for clip in range(40):
            label = int(truth[clip].argmax())
            before = sum(logit > logits[plan, clip, label] for logit in logits[plan, clip])
            assert stored["last_rank"][plan, clip] == before
            assert stored["last_top"][plan, clip] == logits[plan, clip].argmax()
            highest = probabilities[plan, clip].max()
            assert stored["last_probability"][plan, clip] == pytest.approx(
                highest, abs=1 / 512 + 1e-6
            )


def test_close_outputs_keep_their_order() -> None:
    """In float16 both of the first logits are 2.014, and the top class would be the first."""
    logits = np.array([[2.01400, 2.01401, -3.0]], np.float32)
    assert logits.astype(np.float16).argmax() == 0
    truth = np.array([[False, True, False]])
    stored = stored_outputs("last", "accuracy", logits, logits, truth)
    assert (stored["last_top"][0], stored["last_rank"][0]) == (1, 0)


@pytest.mark.parametrize("metric", ["accuracy", "mAP"])
@pytest.mark.parametrize("row", [None, 1])
def test_outputs_of_either_version_are_read_alike(metric: str, row: int | None) -> None:
    logits, probabilities, truth = random_outputs(*(() if row is None else (3,)), 40, 5)
    now = stored_outputs("last", metric, logits, probabilities, truth) | {"truth": truth}
    before = {"last": logits.astype(np.float16), "truth": truth}
    outputs = [read_outputs(arrays, "last", metric, row) for arrays in (now, before)]
    expected = logits if row is None else logits[row]
    for read in outputs:
        assert read is not None
        assert read.top.tolist() == expected.argmax(1).tolist()
        assert read.is_right.tolist() == truth[np.arange(40), expected.argmax(1)].tolist()
        assert (read.logits is None) == (metric == "accuracy")
        if read.logits is not None:
            np.testing.assert_allclose(read.logits, expected, atol=2e-3)
    assert read_outputs(now, "best", metric, row) is None


def test_the_file_of_a_large_cell_is_small(tmp_path) -> None:
    """1,200 clips of 40 classes with 19 plans take less than 150 kB, even with random outputs."""
    stored = stored_outputs("last", "accuracy", *random_outputs(19, 1200, 40))
    np.savez_compressed(tmp_path / "cell.npz", **stored)
    assert (tmp_path / "cell.npz").stat().st_size < 150_000


def test_committed_cells_are_small() -> None:
    """Git keeps every version of a cell."""
    cells = Path(__file__).resolve().parents[2] / "results" / "table1" / "cells"
    sizes = {file.name: file.stat().st_size for file in cells.glob("*.npz")}
    assert len(sizes) > 50
    assert {name for name, size in sizes.items() if size >= 100_000} == set()
