"""Read files with random damage: `python damage.py FOLDER ROUNDS`. Run by test_decode_bad."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

import numpy as np
from test_decode import FORMATS, sweep, written

from spectrim.audio.decode import read
from spectrim.common.errors import SpectrimError


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes replaced, most often in the header, and the end cut off in places."""
    data = bytearray(data[: rng.integers(1, len(data))] if rng.random() < 0.3 else data)
    for _ in range(rng.integers(1, 6)):
        at = rng.integers(0, min(len(data), 200) if rng.random() < 0.6 else len(data))
        size = min(rng.integers(1, 5 if rng.random() < 0.7 else 800), len(data) - at)
        data[at : at + size] = rng.bytes(size)
    return bytes(data)


def main() -> None:
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(0)
    wholes = {
        kind: written(sweep(rate, 2), rate, form, subtype)
        for kind, (form, subtype, rate, _) in FORMATS.items()
    }
    wholes |= {f"twice {kind}": wholes[kind] * 2 for kind in ("vorbis.ogg", "opus.opus", "mp3.mp3")}
    for kind, whole in wholes.items():
        for _ in range(rounds):
            path = folder / kind
            path.write_bytes(damaged(whole, rng))
            for start in (None, 1.0):
                try:
                    samples = read(path, start)
                except SpectrimError as error:
                    assert str(path) in str(error)
                else:
                    assert np.isfinite(samples).all()
    print("done")


if __name__ == "__main__":
    main()
