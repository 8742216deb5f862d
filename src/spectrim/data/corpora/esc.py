"""ESC-50 in its published and in a packed layout, its part ESC-10, and mixtures of both."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ...common.errors import SpectrimError
from ..clip import Clip
from .listing import Listing, lines_of
from .mixtures import plan_mixtures, plan_scenes
from .packed import packed_rows

META = "meta/esc50.csv"
PACKED = "esc50.csv"  # one sound file per class, the clips one after the other
# Where the licence of each clip is stated: as published, and beside the packed files.
ATTRIBUTIONS = ("LICENSE", "ATTRIBUTION.txt")
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
# Names of the packed table whose category is not the name in lower case with underscores.
CATEGORIES = {"Door knock": "door_wood_knock", "Insects (flying)": "insects"}


def esc50(folder: Path) -> Listing:
    """ESC-50; the label is the category such as "sea_waves", the fold 1 to 5.

    From `meta/esc50.csv` and `audio/` as published, or packed: `esc50.csv` with the columns path,
    label, fold, start, end, clip and licence. The licence of a clip is that of the table, or of the
    list of attributions in the file LICENSE.

    Raises:
        SpectrimError: no such table, or a column or row of it is wrong.
    """
    named, missing = _named(folder)
    return Listing({"esc50": [clip for _, clip in named]}, missing)


def esc50_mixtures(folder: Path) -> Listing:
    """Ten-second mixtures of two or three sounds of one fold of ESC-50; see `mixtures`.

    Raises:
        SpectrimError: as `esc50`.
    """
    named, missing = _named(folder)
    return Listing({}, missing, {"esc50-mixtures": plan_scenes(named)})


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


def _named(folder: Path) -> tuple[list[tuple[str, Clip]], list[str]]:
    """ESC-50's clips in either layout, each with its name such as "1-100032-A"; and the missing."""
    if not (folder / META).is_file() and (folder / PACKED).is_file():
        rows = packed_rows(folder / PACKED, "ESC-50")
        named = [
            (row.get("clip") or f"{clip.path.stem}-{row['start']}", _with_category(clip))
            for clip, row in rows
            if clip.path.is_file()
        ]
        return named, sorted({row["path"] for clip, row in rows if not clip.path.is_file()})
    licences = _licences(folder)
    clips, missing = _listed(folder, part_only=False)
    # "1-100032-A-0" is clip 1-100032-A of class 0.
    names = [re.sub(r"-\d+$", "", clip.path.stem) for clip in clips]
    return [
        (name, replace(clip, licence=licences.get(name)))
        for name, clip in zip(names, clips, strict=True)
    ], missing


def category(name: str) -> str:
    """ESC-50's category for a name of a class, such as "Sea waves"."""
    return CATEGORIES.get(name) or re.sub(r"[ -]+", "_", name).lower()


def _with_category(clip: Clip) -> Clip:
    """The clip with ESC-50's category for the name of its class."""
    (name,) = clip.labels
    return replace(clip, labels=(category(name),))


def _licences(folder: Path) -> Mapping[str, str]:
    """Licences by clip name, from lines such as "- [1-100032-A.ogg]: clip derived ... [CC0]"."""
    path = next((folder / name for name in ATTRIBUTIONS if (folder / name).is_file()), None)
    if path is None:
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    return dict(re.findall(r"^\W*(\d-\d+-[A-Z])\w*\.\w+\b.*\[(CC[^\]]*)\]\s*$", text, re.MULTILINE))
