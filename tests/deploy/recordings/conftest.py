"""Recordings, some of which cannot be read."""

from __future__ import annotations

import pytest

from loudness import write_recordings


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("field") / "recordings")
