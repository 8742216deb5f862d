"""Ctrl-C in `bench`: the rows so far are printed and written."""

from __future__ import annotations

import json


def test_rows_so_far_are_printed_and_written(run_until, folder, tmp_path):
    """After the first of two batch sizes."""
    words = ["bench", "--model", str(folder / "model"), "--backends", "torch", "--rounds", "2",
             "--batch-sizes", "2,1", "--keep-rates", "0.5", "--no-memory", "--matmul-size", "64",
             "--budget", "1000", "--out", "results", "--json"]  # fmt: skip
    stopped = run_until("bench:timings:1", *words, cwd=tmp_path)
    assert stopped.returncode == 130 and "Traceback" not in stopped.stderr, stopped.stderr
    notes = " ".join(stopped.stderr.split())
    assert "estimate: about 50 min for up to 3 measurements of at most 1000 s, exports inc" in notes
    assert "the results so far are printed and in results" in notes
    printed = json.loads(stopped.stdout)
    assert printed["stopped"] is True
    rows = [(row["batch_size"], row["keep_rate"]) for row in printed["rows"]]
    assert rows == [(2, 1.0), (2, 0.5)]
    assert json.loads((tmp_path / "results" / "bench.json").read_text()) == printed
