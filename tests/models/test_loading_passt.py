"""PaSST against a plain forward pass."""

from __future__ import annotations

import json
import warnings

import foreign_backbones as foreign
import numpy as np
import pytest
import soundfile
import torch

from calls import call_spectrim
from spectrim import create, load, prune
from spectrim.common.errors import SpectrimError, SpectrimNotice


def saved(path, state):
    torch.save(state, path)
    return path


@pytest.mark.parametrize(("rows", "stride", "columns"), [(12, 10, 9), (8, 16, 6), (10, 12, 8)])
def test_the_sum_of_both_tables(tmp_path, rows, stride, columns):
    state = foreign.passt(rows, columns)
    with pytest.warns(SpectrimNotice, match="5 labels"):
        model = load(saved(tmp_path / "passt.pt", state))
    config = model.config
    assert (config.family, config.front_end, config.sample_rate) == ("passt", "passt-mel", 32_000)
    assert (config.stride, config.frames) == ((stride, stride), 100)  # one second
    x = torch.randn(2, config.frames, 128)
    expected = foreign.run_passt(state, x, stride)
    torch.testing.assert_close(model(x), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore::spectrim.common.errors.SpectrimNotice")
def test_a_shorter_clip_uses_the_first_columns(tmp_path):
    state = foreign.passt()
    model = load(saved(tmp_path / "passt.pt", state), frames=60)
    x = torch.randn(2, 60, 128)
    torch.testing.assert_close(model(x), foreign.run_passt(state, x, 10), atol=1e-5, rtol=1e-4)


def test_rows_that_belong_to_no_published_stride(tmp_path):
    path = saved(tmp_path / "passt.pt", foreign.passt(rows=15))
    with pytest.raises(SpectrimError, match=r"15 rows.*stride="):
        load(path)
    with pytest.raises(SpectrimError, match="15 rows"):
        load(path, stride=10)
    with pytest.warns(SpectrimNotice):
        assert load(path, stride=8).grid.rows == 15


def test_presets_have_the_published_numbers_of_patches():
    counts = {size: create(f"passt-{size}", classes=3).grid.count for size in ("s10", "s16")}
    assert counts == {"s10": 1188, "s16": 496}


def test_check_runs_on_a_32_khz_checkpoint_and_says_that_16_khz_sound_is_resampled(tmp_path):
    """The rows of the page against the pruned models themselves."""
    state = foreign.passt(8, 6)
    path = saved(tmp_path / "passt.pt", state)
    (tmp_path / "clips").mkdir()
    rng = np.random.default_rng(0)
    for index, rate in enumerate((16_000, 32_000, 44_100, 44_100)):
        samples = rng.normal(0, 0.1, rate) * np.linspace(0, 1, rate) ** index
        soundfile.write(tmp_path / "clips" / f"{index}.wav", samples, rate)
    words = ("check", path, "--data", "clips", "--blocks", "0", "--scores", "intensity,attention",
             "--keep-rates", "0.5,0.2", "--no-timing")  # fmt: skip
    done = call_spectrim((*words, "--json"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert "16000 Hz is resampled to the model's 32000 Hz" in " ".join(done.stderr.split())
    result = json.loads(done.stdout)
    described = {key: result["model"][key] for key in ("family", "front_end", "sample_rate")}
    assert described == {"family": "passt", "front_end": "passt-mel", "sample_rate": 32_000}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectrimNotice)
        model = load(path)
        features, valid = model.features(sorted((tmp_path / "clips").iterdir()))
    with torch.no_grad():
        before = model(features, valid).softmax(1)
        for row in result["rows"]:
            pruned = prune(model, row["keep_rate"], row["score"] or "attention", [0])
            after = pruned(features, valid).softmax(1)
            change = (after - before).abs().max(1).values.mean().item()
            assert row["agreement"]["change"]["value"] == pytest.approx(change, abs=1e-5)
            same = (after.argmax(1) == before.argmax(1)).double().mean().item()
            assert row["agreement"]["top1"]["value"] == pytest.approx(same)
    assert change > 1e-3
    assert len(result["rows"]) == 5
    done = call_spectrim(words, tmp_path)
    assert "front end passt-mel, 32000 Hz, 128 mel bins" in " ".join(done.stdout.split())
