"""`check --channel`: the chosen channel alone is evaluated, and the result names it."""

from __future__ import annotations

import json

import numpy as np
import soundfile


def test_the_chosen_channel_is_the_one_that_is_evaluated(run, tmp_path):
    """Rows of one channel of three equal those of mono files with this channel."""
    rng = np.random.default_rng(0)
    for name in ("three", "mono"):
        (tmp_path / name).mkdir()
    for number in range(3):
        quiet, chosen, loud = (rng.normal(0, level, 9_000) for level in (0.01, 0.05, 0.2))
        samples = np.stack([quiet, chosen, loud], 1)
        soundfile.write(tmp_path / "three" / f"{number}.wav", samples, 16_000, "FLOAT")
        soundfile.write(tmp_path / "mono" / f"{number}.wav", chosen, 16_000, "FLOAT")

    def check(data, *words):
        done = run("check", "model", "--data", str(tmp_path / data), "--no-timing", "--json",
                   "--keep-rates", "0.5", "--scores", "intensity", *words)  # fmt: skip
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        changes = [row["agreement"]["change"]["value"] for row in result["rows"]]
        assert {str(row["channel"]) for row in result["rows"]} == {str(result["channel"])}
        return result["channel"], changes[1]

    alone = check("mono")
    assert check("three", "--channel", "1") == (1, alone[1]) and alone[1] > 0
    for other in ("mix", "loudest", "0"):
        assert check("three", "--channel", other)[1] != alone[1]
    refused = run("check", "model", "--data", str(tmp_path / "three"), "--no-timing",
                  "--channel", "left")  # fmt: skip
    assert refused.returncode == 2 and "'loudest'" in refused.stderr
