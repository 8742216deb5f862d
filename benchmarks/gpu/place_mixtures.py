"""Make the ten-second mixtures of ESC-50 from a packed manifest of all its clips.

    python benchmarks/gpu/place_mixtures.py esc50-all.csv OUT

The same mixtures as `spectrim data prepare esc50-mixtures`, whose corpus folder does not travel.
Writes OUT/mixtures.csv (folds 1 to 4), OUT/mixtures-test.csv (fold 5) and the sounds.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from spectrim.data.corpora.mixtures import plan_scenes, write_mixtures
from spectrim.data.manifest import read_data, write_manifest


def main() -> None:
    """Plan, mix, write."""
    manifest, out = Path(sys.argv[1]), Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    with manifest.open(encoding="utf-8", newline="") as file:
        names = [row["clip"] for row in csv.DictReader(file)]
    named = list(zip(names, read_data(manifest).clips, strict=True))
    clips, failures = write_mixtures(plan_scenes(named), out, lambda: None)
    if failures:
        sys.exit(failures[0])
    write_manifest(out / "mixtures.csv", [clip for clip in clips if clip.fold != "5"])
    write_manifest(out / "mixtures-test.csv", [clip for clip in clips if clip.fold == "5"])
    print(f"{out}: {len(clips)} mixtures")


if __name__ == "__main__":
    main()
