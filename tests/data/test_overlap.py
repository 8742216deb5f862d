"""Training and held-out clips that share sound are reported by file."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectrim.common.errors import SpectrimNotice
from spectrim.data.clip import Clip
from spectrim.data.overlap import overlapping
from spectrim.training.manifests import splits_of
from spectrim.training.recipe import DataPart

times = st.one_of(
    st.just((None, None)),
    st.tuples(st.integers(0, 20), st.integers(1, 6)).map(lambda t: (t[0] / 2, (t[0] + t[1]) / 2)),
    st.integers(0, 20).map(lambda start: (start / 2, None)),
)
clips = st.lists(
    st.builds(lambda name, span: Clip(Path(name), start=span[0], end=span[1]),
              st.sampled_from("abc"), times),
    max_size=8,
)  # fmt: skip


def share_sound(one: Clip, other: Clip) -> bool:
    """Whether a moment, on a grid finer than all times, lies in both clips."""
    return one.path == other.path and any(
        all((c.start or 0) < moment < (c.end or 99) for c in (one, other))
        for moment in (n / 8 + 1 / 16 for n in range(160))
    )


@given(clips, clips)
def test_overlaps_are_those_of_all_pairs(train, held_out):
    pairs = overlapping(train, held_out)
    assert all(share_sound(*pair) for pair in pairs)
    found_files = [held.path for _, held in pairs]
    files = {h.path for h in held_out if any(share_sound(t, h) for t in train)}
    assert len(found_files) == len(set(found_files)) and set(found_files) == files


def data(tmp_path, *rows: str) -> DataPart:
    path = tmp_path / "clips.csv"
    path.write_text("path,label,split,start,end\n" + "\n".join(rows) + "\n")
    return DataPart(manifest=str(path))


def test_a_note_names_the_file_and_the_times(tmp_path):
    part = data(
        tmp_path, "a.ogg,x,train,0,3", "a.ogg,x,train,3,6", "a.ogg,x,test,5.5,8", "b.ogg,x,test,,"
    )
    with pytest.warns(SpectrimNotice) as caught:
        splits_of(part, 0)
    (note,) = [str(one.message) for one in caught]
    assert "a.ogg: the part from 3 s to 6 s (row 3) is for training" in note
    assert "overlaps the part from 5.5 s to 8 s (row 4) of split test." in note
    rows = [f"{file},x,{split}" for file in "ab" for split in ("train,,", "valid,1,2")]
    part = data(tmp_path, *rows)
    with pytest.warns(SpectrimNotice, match="the whole file .row 2. is for .* 1 more file"):
        splits_of(part, 0)


def test_clips_side_by_side_give_no_note(tmp_path):
    part = data(
        tmp_path, "a.ogg,x,train,0,8.085", "a.ogg,x,test,8.085,9", "b.ogg,x,train,0,3",
        "a.ogg,x,valid,8.9995,11",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        splits_of(part, 0)
