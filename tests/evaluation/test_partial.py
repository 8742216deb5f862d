"""Which interrupted run may be taken up: the same models on the same clips, and no other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import spectrim
from spectrim.common.errors import SpectrimNotice
from spectrim.data.builtin import sample_pack
from spectrim.data.clip import Clip
from spectrim.data.manifest import read_data
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.evaluation.predict import Predictions, predict
from spectrim.evaluation.resume import Partial

CLIPS = [Clip(Path("a.wav"), target_start=0.1, target_end=0.4), Clip(Path("b.wav"))]


def loud(context):
    return context.patches().mean(-1)


def key(model, clips=CLIPS, path=Path("x.npz")):
    return Partial(path, [model], clips).key


def test_only_the_same_run_has_the_same_key():
    model = spectrim.create("ast-tiny", frames=32, classes=2)
    pruned = spectrim.prune(model, 0.5)
    assert key(pruned) == key(spectrim.prune(model, 0.5))
    changed = [
        key(spectrim.prune(model, 0.6)),
        key(spectrim.prune(model, 0.5, "intensity")),
        key(spectrim.prune(spectrim.create("ast-tiny", frames=32, classes=2), 0.5)),
        key(pruned, CLIPS[:1]),
        key(pruned, [replace(CLIPS[0], target_start=0.2), CLIPS[1]]),
        key(pruned, [replace(CLIPS[0], end=1.0), CLIPS[1]]),
    ]
    assert key(pruned) not in changed


def test_a_score_of_ones_own_is_never_taken_up():
    pruned = spectrim.prune(spectrim.create("ast-tiny", frames=32, classes=2), 0.5, loud)
    assert key(pruned) != key(pruned)


def test_a_reduction_that_ranks_by_itself_is_taken_up():
    """As the recommended plan of a model, which a sweep has by default."""
    pruned = spectrim.prune(
        spectrim.create("ast-tiny", frames=32, classes=2), 0.5, reduction="tome"
    )
    assert pruned.plan.stages[0].score is None
    assert key(pruned) == key(pruned)


def test_what_was_saved_is_taken_up_as_it_was(tmp_path):
    """Each variant's own outputs, of two batches, with a clip that failed in between."""
    model = spectrim.create("ast-tiny", frames=32, classes=2)
    partial = Partial(tmp_path / "x.npz", [model, spectrim.prune(model, 0.5)], CLIPS)
    numbers = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    shares = np.array([[0.1, np.nan, 0.3], [0.4, np.nan, 0.6]])
    found = Predictions(
        [0, 2, 3],
        [[part[:2], part[2:]] for part in numbers],
        [[part[:2], part[2:]] for part in shares],
        [[part[:2], part[2:]] for part in np.arange(6).reshape(2, 3)],
        [np.array([0.7, np.nan]), np.array([0.9])],
        [(1, "b.wav: no such file")],
    )
    partial.save(found, 4, force=True)
    with pytest.warns(SpectrimNotice, match="4 clips are done"):
        again, done = partial.load()
    assert (done, again.positions, again.failures) == (4, found.positions, found.failures)
    np.testing.assert_array_equal([np.concatenate(parts) for parts in again.outputs], numbers)
    np.testing.assert_array_equal([np.concatenate(parts) for parts in again.on_target], shares)
    macs = [np.concatenate(batched) for batched in again.macs]
    np.testing.assert_array_equal(macs, np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(np.concatenate(again.all_on_target), [0.7, np.nan, 0.9])


def test_a_damaged_file_counts_as_none(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(b"PK damaged")
    partial = Partial(path, [spectrim.create("ast-tiny", frames=32, classes=2)], CLIPS)
    assert partial.load()[1] == 0


def test_a_pass_that_is_taken_up_names_the_clips_that_fail(tmp_path):
    class Kept:
        def load(self):
            return Predictions(), 2  # two clips are behind

        def save(self, found, done, force=False):
            pass

    clips = [*read_data(sample_pack()).clips[:3], Clip(tmp_path / "missing.wav")]
    found = predict([TorchRunner(spectrim.load("ast-digits"))], clips, 8, Kept())
    assert found.positions == [2]
    ((place, message),) = found.failures
    assert place == 3 and "missing.wav" in message
