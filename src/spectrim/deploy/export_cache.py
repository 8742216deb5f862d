"""Exported files kept between runs, so that each plan of a model is exported once.

The folder is `exports` in `$SPECTRIM_CACHE`, else in `$XDG_CACHE_HOME/spectrim`, else in
`~/.cache/spectrim`. It may be deleted at any time. Several processes may share it, because files
appear whole.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..common.errors import SpectrimError, SpectrimNotice
from ..common.files import written_aside
from ..common.versions import code_digest
from ..models.provenance import plan_record, versions, weights_digest
from ..models.transformer import SpectrogramTransformer

MOST_BYTES = 4 * 2**30  # of all files together; an exported ViT-B has 350 MB
MOST_DAYS = 30  # since a file was last used
SECONDS_PER_DAY = 24 * 3600


def cache_folder() -> Path | None:
    """The folder of exported files; None for a user without a home folder."""
    if folder := os.environ.get("SPECTRIM_CACHE"):
        return Path(folder) / "exports"
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return None if home.startswith("~") else Path(home) / "spectrim" / "exports"


def copy_cached(key: str | None, out: Path) -> bool:
    """Copy the cached file of a key, see `export_key`, to `out`; False if there is none.

    A damaged file is removed: its name holds the digest of its bytes.
    """
    folder = cache_folder()
    if key is None or folder is None:
        return False
    for file in folder.glob(f"{key}-*.onnx"):
        with contextlib.suppress(OSError, SpectrimError):  # another process has just removed it
            if file.stem.rpartition("-")[2] == _digest(file):
                os.utime(file)  # it was used now
                _copy(file, out)
                return True
            file.unlink()
    return False


def keep_in_cache(key: str | None, file: Path) -> None:
    """Copy a file that was just exported into the cache, and remove what is old or too much.

    A cache that cannot be written to is a notice.
    """
    folder = cache_folder()
    if key is None or folder is None:
        return
    try:
        _copy(file, folder / f"{key}-{_digest(file)}.onnx")
        clean(folder)
    except (OSError, SpectrimError) as error:
        text = f"exports are not cached: {error} Set SPECTRIM_CACHE to another folder."
        warnings.warn(SpectrimNotice(text), stacklevel=2)


def export_key(
    model: SpectrogramTransformer,
    quantize: str | None = None,
    calibration: Sequence[Sequence[np.ndarray]] | None = None,
) -> str | None:
    """A digest of everything that an exported file depends on.

    It covers config and weights, plan, quantisation, calibration clips, Spectrim's code, and the
    versions of the packages that export. None for a plan with the user's own code, which may
    change: it is never cached.
    """
    if not model.plan.is_built_in:
        return None
    clips = hashlib.blake2b(digest_size=16)
    for batch in calibration or ():
        for waveform in batch:
            clips.update(f"{waveform.shape}{waveform.dtype}".encode() + waveform.tobytes())
        clips.update(b"end of a batch")
    settings = [
        weights_digest(model),
        plan_record(model.plan),
        quantize,
        None if calibration is None else clips.hexdigest(),
        code_digest(),
        versions("onnx", "onnxscript", "onnxruntime"),
    ]
    return hashlib.blake2b(json.dumps(settings).encode(), digest_size=16).hexdigest()


def clean(folder: Path, most_bytes: int = MOST_BYTES, most_days: float = MOST_DAYS) -> None:
    """Remove files that were not used for long, then the least recently used ones beyond a size.

    The most recently used file stays, whatever its size. Temporary files of killed processes are
    among the files.
    """
    files = []
    for path in folder.glob("*.onnx"):
        with contextlib.suppress(OSError):  # another process has just removed it
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    files.sort(reverse=True)
    oldest, total = time.time() - most_days * SECONDS_PER_DAY, 0
    for index, (used, size, path) in enumerate(files):
        total += size
        if index and (used < oldest or total > most_bytes):
            with contextlib.suppress(OSError):
                path.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _copy(source: Path, target: Path) -> None:
    with written_aside(target) as aside:
        shutil.copyfile(source, aside)
