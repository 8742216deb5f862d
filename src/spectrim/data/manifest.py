"""Manifests: which clips there are, what is heard in them, and where."""

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

COLUMNS = ("path", "label", "split", "fold", "start", "end", "target_start", "target_end")
AUDIO = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf")


@dataclass(frozen=True)
class Manifest:
    """Clips, and the file or folder that lists them."""

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
        """The same clips without labels: only to be compared with the unpruned model."""
        return replace(self, clips=tuple(replace(clip, labels=()) for clip in self.clips))

    def select(self, split: str | None = None, fold: str | None = None) -> Manifest:
        """The clips of a split and a fold; None takes all.

        Raises:
            SpectrimError: no clip is left; the message names what there is.
        """
        clips = self.clips
        for key, wanted in (("split", split), ("fold", fold)):
            if wanted is None:
                continue
            there = sorted({value for clip in clips if (value := getattr(clip, key)) is not None})
            clips = tuple(clip for clip in clips if getattr(clip, key) == wanted)
            if not clips:
                known = f"has {', '.join(there)}" if there else f"has no column {key}"
                raise SpectrimError(f"{self.source}: no clip of {key} {wanted!r}; it {known}.")
        return replace(self, clips=clips)


def read_data(path: str | os.PathLike[str]) -> Manifest:
    """Read a manifest (CSV, or the reference's JSON), or list a folder's sound files, or one.

    Raises:
        SpectrimError: not there, without clips, or wrong in a row or column, which is named.
    """
    path = Path(path)
    if path.is_dir():
        return Manifest(path, tuple(Clip(file) for file in sound_files(path)))
    if not path.is_file():
        raise SpectrimError(
            f"{path}: no such file; wanted a manifest (`spectrim data prepare` writes those of "
            "known corpora) or a folder of sound."
        )
    if path.suffix.lower() in AUDIO:
        return Manifest(path, (Clip(path),))
    clips = read_json_manifest(path) if path.suffix.lower() == ".json" else _read_csv(path)
    if not clips:
        raise SpectrimError(f"{path}: lists no clip.")
    return Manifest(path, tuple(clips))


def sound_files(folder: Path) -> list[Path]:
    """Sound files in a folder and below it, in order of their names, but hidden ones.

    Raises:
        SpectrimError: there is none.
    """
    files = sorted(
        file
        for file in folder.rglob("*")
        # Names with a dot in front are not the user's: macOS leaves "._a.wav" beside "a.wav".
        if file.suffix.lower() in AUDIO and file.name[0] != "." and file.is_file()
    )
    if not files:
        raise SpectrimError(f"{folder}: no sound file in it or below ({', '.join(AUDIO)}).")
    return files


def write_manifest(path: Path, clips: Iterable[Clip]) -> Path:
    """Write a CSV manifest, with paths relative to it and the columns that are used."""
    clips = list(clips)
    # Where the folder really lies: ".." from a link to a folder leads elsewhere.
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
        single: whether exactly one label a clip is wanted (accuracy).
        aliases: other names of classes, such as AudioSet's machine ids, to those in `labels`.
        way_out: a sentence for a label that is none of them.

    Raises:
        SpectrimError: a label that is no class of the model, or a clip without its one label.
    """
    index = {label: at for at, label in enumerate(labels)}
    targets = []
    for clip in manifest.clips:
        where = f"{manifest.source}, row {clip.row} ({clip.path.name})"
        if single and len(clip.labels) != 1:
            raise SpectrimError(
                f"{where}: {len(clip.labels)} labels; accuracy wants exactly one a clip."
            )
        names = [label if label in index else aliases.get(label, label) for label in clip.labels]
        for name in names:
            if name not in index:
                near = nearest(name, labels)
                text = f"{where}: label {name!r} is none of the classes.{near} {way_out}"
                raise SpectrimError(text.rstrip())
        targets.append(sorted(index[name] for name in names))
    return targets


def _read_csv(path: Path) -> list[Clip]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = [name.strip() for name in next(reader, [])]
            while header and not header[-1]:  # spreadsheets write the empty columns beside, too
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
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise SpectrimError(f"{path}: column {twice[0]!r} stands more than once; keep one.")
    if "path" not in header:
        raise SpectrimError(
            f"{path}: no column 'path' in its first line ({', '.join(header) or 'empty'}); wanted "
            f"path,label and perhaps {', '.join(COLUMNS[2:])}."
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
    times = {key: _seconds(where, key, row.get(key, "")) for key in COLUMNS[4:]}
    for first, last in (("start", "end"), ("target_start", "target_end")):
        begin, end = times[first], times[last]
        if end is not None and end <= (begin or 0.0):
            raise SpectrimError(f"{where}: {last} {end} is not after {first} {begin or 0.0}.")
    return Clip(
        path=_here(path.parent, row["path"]),
        labels=tuple(part.strip() for part in row.get("label", "").split(";") if part.strip()),
        split=row.get("split") or None,
        fold=row.get("fold") or None,
        row=line,
        **times,
    )


def _here(folder: Path, name: str) -> Path:
    """A row's file; a path that was written on Windows leads there on other systems, too."""
    found = folder / name
    if "\\" in name and not found.is_file():
        other = folder / name.replace("\\", "/")
        return other if other.is_file() else found
    return found


def _seconds(where: str, key: str, text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise SpectrimError(f"{where}: {key} is {text!r}; wanted seconds, 0 or more.")
    return value


def _row(clip: Clip, folder: Path) -> dict[str, str]:
    row = {key: getattr(clip, key, None) for key in COLUMNS}
    row["path"] = Path(os.path.relpath(clip.path, folder)).as_posix()
    row["label"] = ";".join(clip.labels)
    return {key: "" if value is None else str(value) for key, value in row.items()}
