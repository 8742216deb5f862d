"""ESC-50, and its freely licensed part ESC-10 in both of its published layouts."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ...common.errors import SpectrimError
from ..clip import Clip
from .listing import Listing, lines_of
from .mixtures import plan_mixtures

META = "meta/esc50.csv"
COLUMNS = ("filename", "fold", "category", "esc10")
FOLDS = ("1", "2", "3", "4", "5")
ESC10 = {  # ESC-50's categories by the names of ESC-10's own folders
    "dog": "Dog bark",
    "rain": "Rain",
    "sea_waves": "Sea waves",
    "crying_baby": "Baby cry",
    "clock_tick": "Clock tick",
    "sneezing": "Person sneeze",
    "helicopter": "Helicopter",
    "chainsaw": "Chainsaw",
    "rooster": "Rooster",
    "crackling_fire": "Fire crackling",
}


def esc50(folder: Path) -> Listing:
    """ESC-50 from `meta/esc50.csv` and `audio/`; the label is the category, the fold 1 to 5.

    Raises:
        SpectrimError: no such table, or a column or row of it is wrong.
    """
    clips, missing = _listed(folder, part_only=False)
    return Listing({"esc50": clips}, missing)


def esc10(folder: Path) -> Listing:
    """ESC-10, from its own folder or from ESC-50's, and mixtures of its clips.

    ESC-10's own folder has one subfolder per class, "001 - Dog bark". The first digit of a file
    name is the fold. It has no list, so no clip can be missing. From ESC-50: the rows marked
    `esc10`. The labels are always ESC-10's names ("Dog bark", which ESC-50 calls "dog").

    `esc10-mixtures` is a task with several labels per clip (see `mixtures`).

    Raises:
        SpectrimError: neither layout, or a name or row that is wrong.
    """
    clips, missing = (
        _listed(folder, part_only=True) if (folder / META).is_file() else (_folders(folder), [])
    )
    return Listing({"esc10": clips}, missing, {"esc10-mixtures": plan_mixtures(clips)})


def _folders(folder: Path) -> list[Clip]:
    clips = []
    for path in sorted(folder.glob("[0-9][0-9][0-9] - */[!.]*.ogg")):
        match = re.match(r"([1-5])-", path.name)
        if not match:
            raise SpectrimError(f"{path}: expected a name such as 1-17367-A.ogg, the fold first.")
        clips.append(Clip(path, (path.parent.name.split(" - ", 1)[1],), fold=match.group(1)))
    if not clips:
        raise SpectrimError(
            f"{folder}: neither 'NNN - Class name/FOLD-SOURCE-TAKE.ogg' nor {META} in it. Expected "
            "the folder of ESC-10 or ESC-50."
        )
    return clips


def _listed(folder: Path, part_only: bool) -> tuple[list[Clip], list[str]]:
    table = folder / META
    reader = csv.DictReader(lines_of(table, "ESC-50"))
    lacking = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
    if lacking:
        raise SpectrimError(f"{table}: no column {lacking[0]!r}. Expected the table of ESC-50.")
    clips, missing = [], []
    for row in reader:
        if any(not row[name] for name in COLUMNS) or row["fold"] not in FOLDS:
            raise SpectrimError(
                f"{table}, row {reader.line_num}: expected a filename, a fold of 1 to 5, a "
                "category and esc10 (True or False)."
            )
        if part_only and row["esc10"].lower() != "true":
            continue
        path = folder / "audio" / row["filename"]
        if path.is_file():
            label = row["category"]
            label = ESC10.get(label, label) if part_only else label
            clips.append(Clip(path, (label,), fold=row["fold"]))
        else:
            missing.append(f"audio/{row['filename']}")
    return clips, missing
