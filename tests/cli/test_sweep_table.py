"""What stands under a sweep's table."""

from __future__ import annotations

import pytest

from spectrim.cli.sweep_table import _caption


def rows(spread):
    head = {"clips": 4, "failed": 0, "batch_size": 2, "threads": 1, "device": "cpu",
            "dtype": "float32", "timing_rounds": 5, "metric": "accuracy"}  # fmt: skip
    plain = head | {"speedup": 1.0, "speedup_quartiles": [1.0, 1.0]}
    return [plain, *(head | {"speedup": s, "speedup_quartiles": [s, s * (1 + spread)]}
                     for s in (1.2, 1.5, 2.0))]  # fmt: skip


@pytest.mark.parametrize("spread, said", [(0.05, False), (0.4, True)])
def test_a_busy_machine_is_named(spread, said):
    text = _caption(rows(spread))
    assert ("spans 40% of its speed-up" in text) == said
    assert ("Times scatter" in text) == said


def test_one_row_has_nothing_to_scatter():
    assert "scatter" not in _caption(rows(0.4)[:1])
