"""A save over a folder that is killed at each of its points leaves the old or the new model."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from spectrim import create, load
from spectrim.common.errors import SpectrimError

OLD, NEW = ["a", "b"], ["c", "d"]
SAVE = f"import spectrim; spectrim.create('ast-tiny', frames=64, labels={NEW}).save('m')"
AFTER = {  # labels of the model that loads; None: the pair is refused
    "file:write:1": OLD, "file:rename:1": OLD, "file:renamed:1": None,
    "file:write:2": None, "file:rename:2": None, "file:renamed:2": NEW,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("point", AFTER)
def test_a_killed_save_never_leaves_a_mixed_model(tmp_path, point):
    create("ast-tiny", frames=64, labels=OLD).save(tmp_path / "m")
    killed = subprocess.run(
        [sys.executable, "-c", SAVE],
        cwd=tmp_path,
        env=os.environ | {"SPECTRIM_STOP_AT": f"kill:{point}"},
    )
    assert killed.returncode == -9
    if AFTER[point] is None:
        with pytest.raises(SpectrimError, match=r"different saves.* Save the model again"):
            load(tmp_path / "m")
    else:
        assert load(tmp_path / "m").labels == AFTER[point]
    create("ast-tiny", frames=64, labels=NEW).save(tmp_path / "m")  # also removes temporaries
    assert load(tmp_path / "m").labels == NEW
    assert sorted(os.listdir(tmp_path / "m")) == ["config.json", "model.safetensors"]
