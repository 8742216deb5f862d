"""The C library's memory allocation in CPU training: freed memory stays with the process."""

from __future__ import annotations

import ctypes
import os
import sys

# Parameters of glibc's mallopt, from its malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
USER_SETTINGS = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory for the next allocation, until the process ends.

    By default, glibc gets each block above 32 MiB from the kernel and returns it when it is freed.
    The kernel fills each page with zeros when it is first used. The activations of a batch of long
    clips are such blocks, so every training step pays for all its pages again
    (`benchmarks/training_memory.py`). The peak of memory stays about the same, but between steps
    the memory is not available to other processes.

    Returns:
        Whether the settings were changed. They are not changed where the C library is not glibc,
        or where the environment has settings of the user.
    """
    if sys.platform != "linux" or any(name in os.environ for name in USER_SETTINGS):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # 0: no block is mapped on its own. -1: the top of the heap is never returned (man mallopt).
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
