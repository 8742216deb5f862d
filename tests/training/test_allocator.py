"""Freed memory that stays with the process, counted by the kernel's page faults."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from spectrim.training.allocator import USER_SETTINGS, keep_freed_memory

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="only glibc has these settings",
)
# Allocates and frees 64 MiB; prints what was changed, and the page faults of the last ten times.
SCRIPT = """
import resource, sys, torch
from spectrim.training.allocator import keep_freed_memory
changed = keep_freed_memory() if "keep" in sys.argv else None
def block():
    torch.ones(16 * 2**20).sum()
for _ in range(10):
    block()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    block()
print(changed, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*words: str, **environment: str) -> tuple[str, int]:
    clean = {name: value for name, value in os.environ.items() if name not in USER_SETTINGS}
    line = [sys.executable, "-c", SCRIPT, *words]
    done = subprocess.run(line, capture_output=True, text=True, env=clean | environment, check=True)
    changed, count = done.stdout.split()
    return changed, int(count)


def test_a_freed_block_is_used_again_without_the_kernel() -> None:
    _, default = faults()
    changed, kept = faults("keep")
    assert changed == "True"
    assert kept < default / 10


def test_settings_of_the_user_stay() -> None:
    assert faults("keep", MALLOC_TRIM_THRESHOLD_="1000000")[0] == "False"


def test_other_systems_are_left_alone(monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
