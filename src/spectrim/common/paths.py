"""Paths from users: what lies at a path, with a sentence for those that the system refuses.

`Path.exists` and its relatives raise for names that are too long or folders that may not be
entered, `expanduser` for unknown users, and a device such as /dev/zero never ends when read.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from .errors import SpectrimError

FILE, FOLDER, ABSENT, SPECIAL = "file", "folder", "absent", "special"
PROBLEMS = {
    FILE: "is a file",
    FOLDER: "is a folder",
    ABSENT: "no such file",
    SPECIAL: "is a device, pipe or socket, not a regular file",
}

# Path("https://host/a.wav") drops one slash: https:/host/a.wav.
ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/{1,3}(?P<rest>.*)", re.IGNORECASE | re.DOTALL)


def full_address(path: str) -> str | None:
    """The address that a path was made from, with all its slashes; None if it is no address."""
    match = ADDRESS.fullmatch(path)
    if match is None or os.path.isdir(f"{match['scheme']}:"):
        return None
    slashes = "///" if match["scheme"].lower() == "file" else "//"
    return f"{match['scheme']}:{slashes}{match['rest']}"


def refuse_address(path: str | os.PathLike[str], is_output: bool = False) -> None:
    """Refuse an address such as "https://host/a.wav".

    Raises:
        SpectrimError: it is an address, which is neither fetched nor written to.
    """
    if (address := full_address(os.fspath(path))) is None:
        return
    if is_output:
        raise SpectrimError(f"{address}: an address is not written to. Name a local path.")
    raise SpectrimError(
        f"{address}: addresses are not fetched. Download the file first, and pass its path."
    )


def path_in(folder: Path, name: str) -> Path:
    """The path of a file that a list in this folder names; an address is returned unchanged."""
    return Path(name) if full_address(name) else folder / name


def user_path(text: str | os.PathLike[str]) -> Path:
    """The path, with "~" and "~user" replaced by home folders.

    Raises:
        SpectrimError: there is no such user.
    """
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        user = Path(text).parts[0]
        raise SpectrimError(
            f"{text}: {user!r} names no user of this machine. Write ./{user} for a file or folder "
            "of that name."
        ) from error


def file_type(path: Path) -> str:
    """What lies at a path: `FILE`, `FOLDER`, `ABSENT` or `SPECIAL` (a device, pipe or socket).

    Raises:
        SpectrimError: the path is an address, or the system refuses it, for example because its
            name is too long.
    """
    refuse_address(path)
    try:
        return stat_type(path)
    except OSError as error:
        reason = error.strerror or error
        raise SpectrimError(f"{path}: {reason}. Name another path.") from error


def stat_type(path: Path) -> str:
    """As `file_type`, but raises the OSError of the system."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ABSENT
    except ValueError as error:  # a null character
        raise OSError(str(error)) from error
    if stat.S_ISREG(mode):
        return FILE
    return FOLDER if stat.S_ISDIR(mode) else SPECIAL


def is_file(path: Path) -> bool:
    """Whether a regular file lies at a path; raises as `file_type`."""
    return file_type(path) == FILE


def is_folder(path: Path) -> bool:
    """Whether a folder lies at a path; raises as `file_type`."""
    return file_type(path) == FOLDER


def read_bytes(path: Path, expected: str, limit: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        expected: what the file should be, such as "a recipe", for messages.
        limit: largest size in bytes.

    Raises:
        SpectrimError: nothing, a folder, a device or a larger file lies there, or the system
            refuses the path.
    """
    refuse_address(path)
    try:
        if (type_of_path := stat_type(path)) != FILE:
            raise SpectrimError(
                f"cannot read {path}: {PROBLEMS[type_of_path]}; expected {expected}."
            )
        if limit is not None and (size := path.stat().st_size) > limit:
            raise SpectrimError(
                f"cannot read {path}: {size:,} bytes are too many for {expected}, which has at "
                f"most {limit:,}."
            )
        return path.read_bytes()
    except OSError as error:
        raise SpectrimError(f"cannot read {path}: {error.strerror or error}.") from error
