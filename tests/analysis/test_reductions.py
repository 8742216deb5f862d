"""Counts of patches where tokens are merged, fused, or absent in some clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from sounds import burst, manifest, noise
from spectrim.analysis.analyze import AnalysisSettings, analyze
from spectrim.analysis.figures.maps import FINE, FRAME_COLOURS, draw_example, inset
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.models.build import macs, prune
from spectrim.pruning.plan import Plan
from spectrim.pruning.reductions import REDUCTIONS
from spectrim.pruning.stage import Stage


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_kept_patches_are_those_that_a_token_holds(make, heard, reduction):
    model = make("ast", depth=4)
    pruned = prune(model, 0.7, blocks=(1, 2), reduction=reduction)
    runner = TorchRunner(pruned)
    features, valid = heard("dog", "rain", "digit")
    trace = pruned.trace(features, valid)
    inputs = runner.shared_inputs([np.zeros(16_000, np.float32)])
    inputs.features, inputs.valid, inputs.tokens = features, valid, {}
    kept = runner.predict(inputs)[1]
    assert kept.dtype == bool and kept.shape == (3, model.grid.count)
    assert np.array_equal(kept, trace.members[2].numpy() >= 0)
    if reduction in ("evit", "tome", "pitome", "adjacent"):  # nothing is dropped
        assert kept.all()
    elif reduction == "diffrate":  # half of what leaves is dropped, the rest is merged
        assert (kept.sum(1) > trace.kept[2].shape[1]).all() and not kept.all()
    else:  # as many patches as tokens that are present
        present = trace.present[2]
        counts = torch.tensor([trace.kept[2].shape[1]] * 3) if present is None else present.sum(1)
        assert kept.sum(1).tolist() == counts.tolist()


def test_a_trace_has_one_score_for_each_block_and_none_for_absent_tokens(make, heard):
    features, valid = heard("dog", "rain", "digit")
    stages = (Stage(1, 0.7, score="intensity", place="before"), Stage(2, 0.8, reduction="ats"))
    trace = make("ast", depth=4).with_plan(Plan(stages)).trace(features, valid)
    assert len(trace.scores) == len(trace.positions) == 4
    assert trace.scores[1].shape[1] == 64  # before the stage in front of block 1
    present = trace.present[2]
    assert present is not None and not present.all()
    assert (trace.scores[3][~present] == -torch.inf).all()


@pytest.mark.parametrize("reduction", ["keep-top", "tome", "ats"])
def test_macs_are_the_same_in_train_mode(make, reduction):
    pruned = prune(make("ast", depth=4), 0.8, blocks=(1, 2), reduction=reduction)
    in_eval = macs(pruned)
    copy = pruned.with_plan(pruned.plan).train()
    assert macs(copy) == in_eval


def test_frames_of_neighbours_do_not_touch():
    left = np.array([[True, False], [True, False]])
    one, other = inset(left), inset(~left)
    assert one.shape == (2 * FINE + 2, 2 * FINE + 2)
    assert not (one * other).any()
    assert one.sum() == other.sum() == (2 * FINE - 2) * (FINE - 2)


@pytest.mark.parametrize("reduction", ["keep-top", "evit", "tome"])
def test_every_token_that_holds_several_patches_has_a_frame_around_them(make, tmp_path, reduction):
    """Frames are read back from the figure: the patches inside one are those of one token."""
    clips = manifest(tmp_path / "x", [burst(800, 0.2, 0.5), noise(1.3, 0.1, 1)])
    settings = AnalysisSettings(
        examples=1, scores=("attention",), keep_rate=0.6, blocks=(1, 2), reduction=reduction
    )
    (example,) = analyze({"ast": make("ast", depth=4)}, {"x": clips}, settings)[0].examples
    (picture,) = example.pictures
    panels = [ax for ax in draw_example(example).axes if ax.images]
    assert len(panels) == 3  # the input, and two stages
    for stage, ax in enumerate(panels):
        if stage == 0:
            assert not ax.collections
            continue
        assert f"{np.unique(picture.holders[stage]).size - (reduction == 'keep-top')} of 64" in (
            ax.get_title()
        )
        left, right, low, high = ax.images[0].get_extent()
        columns = left + (np.arange(8) + 0.5) / 8 * (right - left)  # middles of patches
        rows = low + (np.arange(8) + 0.5) / 8 * (high - low)
        points = np.stack(np.meshgrid(columns, rows, indexing="ij"), -1).reshape(-1, 2)
        framed = []
        for frame in ax.collections:
            # A frame around other patches cuts a hole: odd numbers of outlines lie around a patch.
            outlines = [path.contains_points(points) for path in closed(frame.get_paths())]
            framed.append(frozenset(np.flatnonzero(np.sum(outlines, 0) % 2)))
        holders = picture.holders[stage].ravel()
        groups = [np.flatnonzero(holders == token) for token in np.unique(holders[holders >= 0])]
        merged = [frozenset(group.tolist()) for group in groups if len(group) > 1]
        assert set(framed) == set(merged) and len(framed) == len(merged)
        assert bool(merged) == (reduction != "keep-top")
        colours = [to_hex(frame.get_edgecolor()[0]) for frame in ax.collections]
        shown = [to_hex(FRAME_COLOURS[n % len(FRAME_COLOURS)]) for n in range(len(merged))]
        assert colours == shown


def closed(paths):
    """The closed outlines of contours."""
    return [
        type(path)(points)
        for path in paths
        for points in path.to_polygons(closed_only=False)
        if len(points)
    ]
