"""Manifests: lists of clips with their labels, splits and folds."""

from __future__ import annotations

import csv
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..common.errors import SpectrimError, SpectrimNotice, nearest
from ..common.files import save
from .clip import Clip
from .json_manifest import read_json_manifest

TIMES = ("start", "end", "target_start", "target_end")
COLUMNS = ("path", "label", "split", "fold", *TIMES, "licence")
AUDIO = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf")


@dataclass(frozen=True)
class Manifest:
    """Clips, and the file or folder they come from."""

    source: Path
    clips: tuple[Clip, ...]

    @property
    def labelled(self) -> bool:
        """Whether any clip has a label."""
        return any(clip.labels for clip in self.clips)

    def labels(self) -> set[str]:
        """All labels that occur."""
        return {label for clip in self.clips for label in clip.labels}

    def unlabelled(self) -> Manifest:
        """The same clips without labels: they are only compared with the unpruned model."""
        return replace(self, clips=tuple(replace(clip, labels=()) for clip in self.clips))

    def select(self, split: str | None = None, fold: str | None = None) -> Manifest:
        """The clips of a split and a fold; None selects all.

        Raises:
            SpectrimError: no clip is left; the message names the values that the column has.
        """
        clips = self.clips
        for key, selected in (("split", split), ("fold", fold)):
            if selected is None:
                continue
            known = sorted({value for clip in clips if (value := getattr(clip, key)) is not None})
            clips = tuple(clip for clip in clips if getattr(clip, key) == selected)
            if not clips:
                has = f"has {', '.join(known)}" if known else f"has no column {key}"
                raise SpectrimError(f"{self.source}: no clip of {key} {selected!r}; it {has}.")
        return replace(self, clips=clips)


def read_data(path: str | os.PathLike[str]) -> Manifest:
    """Read a manifest (CSV or the reference's JSON), a folder of sound files, or one sound file.

    Raises:
        SpectrimError: the path does not exist, has no clips, or has a wrong row or column.
    """
    path = Path(path)
    if path.is_dir():
        return Manifest(path, tuple(Clip(file) for file in sound_files(path)))
    if not path.is_file():
        raise SpectrimError(
            f"{path}: no such file. Expected a manifest or a folder of sound files; `spectrim data "
            "prepare` writes manifests of public corpora."
        )
    if path.suffix.lower() in AUDIO:
        return Manifest(path, (Clip(path),))
    clips = read_json_manifest(path) if path.suffix.lower() == ".json" else _read_csv(path)
    if not clips:
        raise SpectrimError(f"{path}: lists no clip.")
    return Manifest(path, tuple(clips))


def sound_files(folder: Path) -> list[Path]:
    """Sound files in a folder and its subfolders, sorted by path, without hidden files.

    Raises:
        SpectrimError: there are none.
    """
    files = sorted(
        file
        for file in folder.rglob("*")
        # Hidden files are not the user's: macOS writes "._a.wav" beside "a.wav".
        if file.suffix.lower() in AUDIO and file.name[0] != "." and file.is_file()
    )
    if not files:
        raise SpectrimError(f"{folder}: no sound file in it or below ({', '.join(AUDIO)}).")
    return files


def write_manifest(path: Path, clips: Iterable[Clip]) -> Path:
    """Write a CSV manifest with relative paths and only the columns that are used."""
    clips = list(clips)
    # Resolved, because ".." from a link to a folder leads elsewhere.
    folder = path.parent.resolve()
    rows = [_row(clip, folder) for clip in clips]
    columns = [key for key in COLUMNS if key == "path" or any(row[key] != "" for row in rows)]

    def write(aside: Path) -> None:
        with aside.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    return save(path, write)


def targets_of(
    manifest: Manifest,
    labels: Sequence[str],
    single: bool,
    aliases: dict[str, str],
    way_out: str = "",
) -> list[list[int]]:
    """Class indices of each clip's labels.

    Args:
        labels: the model's classes.
        single: whether each clip must have exactly one label, as accuracy requires.
        aliases: from other names of classes, such as AudioSet's machine ids, to names in `labels`.
        way_out: a sentence that the error of an unknown label ends with.

    Raises:
        SpectrimError: a label that is not a class of the model, or not exactly one label.
    """
    index = {label: class_index for class_index, label in enumerate(labels)}
    targets = []
    for clip in manifest.clips:
        where = f"{manifest.source}, row {clip.row} ({clip.path.name})"
        if single and len(clip.labels) != 1:
            raise SpectrimError(
                f"{where}: {len(clip.labels)} labels; accuracy needs exactly one per clip."
            )
        names = [label if label in index else aliases.get(label, label) for label in clip.labels]
        for name in names:
            if name not in index:
                near = nearest(name, labels)
                text = f"{where}: label {name!r} is not a class of the model.{near} {way_out}"
                raise SpectrimError(text.rstrip())
        targets.append(sorted(index[name] for name in names))
    return targets


def _read_csv(path: Path) -> list[Clip]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
            while header and not header[-1]:  # spreadsheets also write empty columns
                header.pop()
            _check_header(path, header)
            return [
                _clip(path, reader.line_num, dict(zip(header, cells, strict=False)), header, cells)
                for cells in reader
                if any(cell.strip() for cell in cells)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpectrimError(f"{path}: not a CSV file in UTF-8 ({error}).") from error


def _check_header(path: Path, header: list[str]) -> None:
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise SpectrimError(f"{path}: column {repeated[0]!r} occurs more than once. Keep one.")
    if "path" not in header:
        raise SpectrimError(
            f"{path}: no column 'path' in line 1 ({', '.join(header) or 'empty'}). Expected "
            f"path,label and optionally {', '.join(COLUMNS[2:])}."
        )
    for name in header:
        if name not in COLUMNS:
            warnings.warn(
                SpectrimNotice(f"{path}: column {name!r} is ignored.{nearest(name, COLUMNS)}"),
                stacklevel=2,
            )


def _clip(path: Path, line: int, row: dict[str, str], header: list[str], cells: list[str]) -> Clip:
    where = f"{path}, row {line}"
    if not any(cell.strip() for cell in cells[len(header) :]):
        cells = cells[: len(header)]
    if len(cells) != len(header):
        raise SpectrimError(f"{where}: {len(cells)} cells for {len(header)} columns.")
    row = {key: value.strip() for key, value in row.items()}
    if not row["path"]:
        raise SpectrimError(f"{where}: the path is empty.")
    times = {key: _seconds(where, key, row.get(key, "")) for key in TIMES}
    for first, last in (("start", "end"), ("target_start", "target_end")):
        begin, end = times[first], times[last]
        if end is not None and end <= (begin or 0.0):
            raise SpectrimError(f"{where}: {last} {end} is not after {first} {begin or 0.0}.")
    return Clip(
        path=_file_of(path.parent, row["path"]),
        labels=tuple(part.strip() for part in row.get("label", "").split(";") if part.strip()),
        split=row.get("split") or None,
        fold=row.get("fold") or None,
        licence=row.get("licence") or None,
        row=line,
        **times,
    )


def _file_of(folder: Path, name: str) -> Path:
    """The file of a row; paths written on Windows work on other systems, too."""
    file = folder / name
    if "\\" in name and not file.is_file():
        with_slashes = folder / name.replace("\\", "/")
        return with_slashes if with_slashes.is_file() else file
    return file


def _seconds(where: str, key: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise SpectrimError(f"{where}: {key} is {text!r}. Expected seconds, 0 or more.")
    return value


def _row(clip: Clip, folder: Path) -> dict[str, str]:
    row = {key: getattr(clip, key, None) for key in COLUMNS}
    # ".." after a link to a folder leads elsewhere, too.
    path = clip.path.resolve() if ".." in clip.path.parts else clip.path
    row["path"] = Path(os.path.relpath(path, folder)).as_posix()
    row["label"] = ";".join(clip.labels)
    return {key: "" if value is None else str(value) for key, value in row.items()}
