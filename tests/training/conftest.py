"""The tones task, for tests of whole runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tones import write_recipe, write_tones


@pytest.fixture(scope="session")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"))


@pytest.fixture
def recipe(tones: Path, tmp_path: Path) -> Path:
    return write_recipe(tmp_path, tones)
