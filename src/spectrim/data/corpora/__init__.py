"""Manifests of public corpora. A corpus is one module here and one line in CORPORA."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...common.errors import SpectrimError, nearest
from ...common.files import save_text
from ...common.paths import is_folder
from ..clip import Clip
from ..json_manifest import write_json_manifest
from ..manifest import write_manifest
from .arabic import arabic
from .audioset import audioset
from .esc import esc10, esc50, esc50_mixtures
from .fsdd import DIGITS, fsdd
from .librispeech import librispeech
from .listing import Listing
from .mixtures import write_mixtures
from .speechcommands import speechcommands
from .voxceleb1 import voxceleb1

__all__ = ["CORPORA", "DIGITS", "FORMS", "Prepared", "prepare"]

CORPORA: dict[str, Callable[[Path], Listing]] = {
    "esc50": esc50,
    "esc50-mixtures": esc50_mixtures,
    "esc10": esc10,
    "speechcommands": speechcommands,
    "audioset": audioset,
    "voxceleb1": voxceleb1,
    "fsdd": fsdd,
    "arabicspeechcommands": arabic,
    "librispeech": librispeech,
}
FORMS = ("csv", "json")
# Licences of clips under which a model that was trained on them may be shared.
SHAREABLE = ("CC0", "CC-BY")


@dataclass(frozen=True)
class Prepared:
    """What `prepare` wrote.

    Attributes:
        paths: the manifests.
        counts: by manifest, the number of clips by split or fold; "" if there is neither.
        missing: names that the corpus lists but its folder lacks.
        missing_list: the file with these names; None if nothing is missing.
        failures: a message for each source of a mixture that cannot be read.
    """

    paths: list[Path] = field(default_factory=list)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    missing_list: Path | None = None
    failures: list[str] = field(default_factory=list)


def prepare(
    corpus: str,
    folder: Path,
    out: Path,
    form: str = "csv",
    shareable: bool = False,
    tick: Callable[[int, int], object] = lambda done, total: None,
) -> Prepared:
    """Write the manifests of a corpus to the folder `out`.

    Clips without a file are left out and named. Files are not decoded: `spectrim.data.stats`
    finds those that cannot be.

    Args:
        corpus: one of CORPORA.
        folder: the corpus in its published layout; nothing is written to it.
        form: "csv", or "json" for the reference's format, one file per split or fold.
        shareable: only clips whose licence is one of SHAREABLE; the names of the manifests end in
            "-shareable".
        tick: called with the number of mixtures that are written and their total.

    Raises:
        SpectrimError: an unknown corpus or form, a folder with another layout or without
            clips, `out` inside `folder`, or `shareable` without the licences of clips.
    """
    if corpus not in CORPORA:
        raise SpectrimError(f"no corpus is called {corpus!r}.{nearest(corpus, CORPORA)}")
    if form not in FORMS:
        raise SpectrimError(f"no manifest format is called {form!r}.{nearest(form, FORMS)}")
    if not is_folder(folder):
        raise SpectrimError(f"{folder}: no such folder. Give the folder of {corpus}.")
    folder = folder.resolve()
    listing = CORPORA[corpus](folder)
    if shareable:
        listing = _shareable(corpus, listing)
    for target in (out, *(out / name for name in listing.mixtures)):
        if target.resolve().is_relative_to(folder):
            raise SpectrimError(f"{target} is inside the folder of the corpus. Use another folder.")
    if not any(listing.manifests.values()) and not any(listing.mixtures.values()):
        raise SpectrimError(
            f"{folder}: none of the {len(listing.missing)} clips of {corpus} exists "
            f"({_few(listing.missing)})."
        )
    result = Prepared(missing=listing.missing, missing_list=_save_missing(corpus, listing, out))
    manifests = dict(listing.manifests)
    total = sum(map(len, listing.mixtures.values()))
    done = 0

    def count_one() -> None:
        nonlocal done
        done += 1
        tick(done, total)

    for name, mixtures in listing.mixtures.items():
        manifests[name], failures = write_mixtures(mixtures, out / name, count_one)
        result.failures.extend(failures)
    write = _write_json if form == "json" else _write_csv
    for name, clips in manifests.items():
        if clips:  # `read_data` refuses an empty manifest
            result.paths.extend(write(out, name, clips))
            counts = Counter(map(_part, clips))
            result.counts[name] = {part: counts[part] for part in sorted(counts, key=_numbered)}
    return result


def _shareable(corpus: str, listing: Listing) -> Listing:
    """The clips and mixtures whose licences let one share a model, under new names."""
    manifests = {
        f"{name}-shareable": [clip for clip in clips if clip.licence in SHAREABLE]
        for name, clips in listing.manifests.items()
    }
    mixtures = {
        f"{name}-shareable": [
            mixture
            for mixture in planned
            if all(sound.clip.licence in SHAREABLE for sound in mixture.sounds)
        ]
        for name, planned in listing.mixtures.items()
    }
    if not any(manifests.values()) and not any(mixtures.values()):
        raise SpectrimError(
            f"no clip of {corpus} states a licence of {' or '.join(SHAREABLE)}. ESC-50 states the "
            "licence of each clip, in the file LICENSE of its folder."
        )
    return replace(listing, manifests=manifests, mixtures=mixtures)


def _save_missing(corpus: str, listing: Listing, out: Path) -> Path | None:
    path = out / f"{corpus}-missing.txt"
    if listing.missing:
        return save_text(path, "\n".join(listing.missing) + "\n")
    with contextlib.suppress(OSError):  # left by an earlier call, when files were missing
        path.unlink()
    return None


def _write_csv(out: Path, name: str, clips: list[Clip]) -> list[Path]:
    return [write_manifest(out / f"{name}.csv", clips)]


def _write_json(out: Path, name: str, clips: list[Clip]) -> list[Path]:
    clips_of: dict[str, list[Clip]] = {}
    for clip in clips:
        fold = f"fold{clip.fold}" if clip.fold else ""
        clips_of.setdefault(clip.split or fold, []).append(clip)
    return [
        write_json_manifest(
            out / (f"{name}-{split}.json" if split else f"{name}.json"), clips_of[split]
        )
        for split in sorted(clips_of)
    ]


def _part(clip: Clip) -> str:
    return clip.split or (f"fold {clip.fold}" if clip.fold else "")


def _numbered(part: str) -> tuple[str, int]:
    """Sorts "fold 10" after "fold 9"."""
    word, _, number = part.rpartition(" ")
    return (word, int(number)) if number.isdigit() else (part, 0)


def _few(names: Iterable[str], shown: int = 3) -> str:
    names = list(names)
    more = ", ..." if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
