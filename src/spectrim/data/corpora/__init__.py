"""The public corpora, from their published layouts to manifests."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ...common.errors import SpectrimError, nearest
from ...common.files import save_text
from ..clip import Clip
from ..json_manifest import write_json_manifest
from ..manifest import write_manifest
from .audioset import audioset
from .esc import esc10, esc50
from .fsdd import DIGITS, fsdd
from .listing import Found
from .mixtures import write_mixtures
from .speechcommands import speechcommands
from .voxceleb1 import voxceleb1

__all__ = ["CORPORA", "DIGITS", "FORMS", "Prepared", "prepare"]

CORPORA: dict[str, Callable[[Path], Found]] = {
    "esc50": esc50,
    "esc10": esc10,
    "speechcommands": speechcommands,
    "audioset": audioset,
    "voxceleb1": voxceleb1,
    "fsdd": fsdd,
}
FORMS = ("csv", "json")


@dataclass(frozen=True)
class Prepared:
    """What `prepare` did.

    Attributes:
        paths: manifests that were written.
        counts: clips a split or fold, by the manifest's name; the key "" where there is neither.
        missing: what the corpus lists and its folder lacks, by name.
        missing_list: the file with those names; None where nothing is missing.
        failures: a message for each sound that a mixture needed and that cannot be read.
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
    tick: Callable[[int, int], object] = lambda done, total: None,
) -> Prepared:
    """Write the manifests of a corpus that lies in `folder` into `out`.

    Whether files are there is checked, by name; `spectrim.data.stats` finds those that cannot be
    decoded. Clips that are missing are left out and named.

    Args:
        corpus: one of CORPORA.
        folder: its published layout; nothing is ever written there.
        form: "csv"; or "json", the reference's form, one file a split or fold.
        tick: called with how many sounds have been made and how many will be.

    Raises:
        SpectrimError: an unknown corpus or form, a folder of another layout or with none of its
            clips, or `out` within `folder`.
    """
    if corpus not in CORPORA:
        raise SpectrimError(f"no corpus is called {corpus!r}.{nearest(corpus, CORPORA)}")
    if form not in FORMS:
        raise SpectrimError(f"no form of manifest is called {form!r}.{nearest(form, FORMS)}")
    if not folder.is_dir():
        raise SpectrimError(f"{folder}: no such folder; wanted the one that holds {corpus}.")
    folder = folder.resolve()
    found = CORPORA[corpus](folder)
    for place in (out, *(out / name for name in found.mixtures)):
        if place.resolve().is_relative_to(folder):
            raise SpectrimError(
                f"{place} lies in the corpus; manifests go elsewhere: name another."
            )
    if not any(found.manifests.values()):
        raise SpectrimError(
            f"{folder}: none of the {len(found.missing)} clips that {corpus} lists is there "
            f"({_few(found.missing)})."
        )
    result = Prepared(missing=found.missing, missing_list=_save_missing(corpus, found, out))
    manifests = dict(found.manifests)
    total = sum(map(len, found.mixtures.values()))
    done = 0

    def made() -> None:
        nonlocal done
        done += 1
        tick(done, total)

    for name, mixtures in found.mixtures.items():
        manifests[name], failures = write_mixtures(mixtures, out / name, made)
        result.failures.extend(failures)
    write = _write_json if form == "json" else _write_csv
    for name, clips in manifests.items():
        if clips:  # an empty manifest is refused by whoever reads it
            result.paths.extend(write(out, name, clips))
            result.counts[name] = dict(sorted(Counter(map(_part, clips)).items()))
    return result


def _save_missing(corpus: str, found: Found, out: Path) -> Path | None:
    path = out / f"{corpus}-missing.txt"
    if found.missing:
        return save_text(path, "\n".join(found.missing) + "\n")
    with contextlib.suppress(OSError):  # one of an earlier call, when files were missing
        path.unlink()
    return None


def _write_csv(out: Path, name: str, clips: list[Clip]) -> list[Path]:
    return [write_manifest(out / f"{name}.csv", clips)]


def _write_json(out: Path, name: str, clips: list[Clip]) -> list[Path]:
    parts: dict[str, list[Clip]] = {}
    for clip in clips:
        fold = f"fold{clip.fold}" if clip.fold else ""
        parts.setdefault(clip.split or fold, []).append(clip)
    return [
        write_json_manifest(out / (f"{name}-{part}.json" if part else f"{name}.json"), parts[part])
        for part in sorted(parts)
    ]


def _part(clip: Clip) -> str:
    return clip.split or (f"fold {clip.fold}" if clip.fold else "")


def _few(names: Iterable[str], shown: int = 3) -> str:
    names = list(names)
    more = ", ..." if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
