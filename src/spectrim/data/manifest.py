"""Manifests: lists of clips with their labels, splits and folds."""

from __future__ import annotations

import csv
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..audio.channels import MIX, Channel, check_channel
from ..audio.encoded_files import readable_suffixes
from ..audio.sound_formats import OTHER_SUFFIXES, undecodable
from ..audio.sounds import refuse_other_places
from ..common.errors import SpectrimError, SpectrimNotice, nearest
from ..common.files import save
from .clip import Clip
from .csv_manifest import COLUMNS, read_csv_manifest
from .json_manifest import read_json_manifest
from .repeated import notes_on_repeated
from .sound_files import sound_files


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

    def with_channel(self, channel: Channel) -> Manifest:
        """The same clips, read from another channel.

        Args:
            channel: an index from 0, "mix" or "loudest".

        Raises:
            SpectrimError: none of these.
        """
        channel = check_channel(channel)
        return replace(self, clips=tuple(replace(clip, channel=channel) for clip in self.clips))

    @property
    def channel(self) -> Channel:
        """The channel that clips are read from; "several" if they differ."""
        channels = {clip.channel for clip in self.clips}
        return channels.pop() if len(channels) == 1 else "several" if channels else MIX

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

    Notices name clips that are listed more than once, and files of a folder that are left out.

    Raises:
        SpectrimError: the path does not exist, has no clips, or has a wrong row or column.
    """
    path = Path(path)
    refuse_other_places(path)
    try:
        if path.is_dir():
            return Manifest(path, tuple(Clip(file) for file in sound_files(path)))
        if not path.is_file():
            raise SpectrimError(
                f"{path}: no such file. Expected a manifest or a folder of sound files; `spectrim "
                "data prepare` writes manifests of public corpora."
            )
        suffix = path.suffix.lower()
        if suffix in readable_suffixes():
            return Manifest(path, (Clip(path),))
        if suffix in OTHER_SUFFIXES:
            raise undecodable(str(path), f"a file of type {suffix}")
        clips = read_json_manifest(path) if suffix == ".json" else read_csv_manifest(path)
    except OSError as error:
        raise SpectrimError(f"{path}: {error.strerror}; expected a manifest.") from error
    if not clips:
        raise SpectrimError(f"{path}: lists no clip.")
    for text in notes_on_repeated(clips):
        warnings.warn(SpectrimNotice(f"{path}: {text}"), stacklevel=2)
    return Manifest(path, tuple(clips))


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


def _row(clip: Clip, folder: Path) -> dict[str, str]:
    row = {key: getattr(clip, key, None) for key in COLUMNS}
    # ".." after a link to a folder leads elsewhere, too.
    path = clip.path.resolve() if ".." in clip.path.parts else clip.path
    row["path"] = Path(os.path.relpath(path, folder)).as_posix()
    row["label"] = ";".join(clip.labels)
    return {key: "" if value is None else str(value) for key, value in row.items()}
