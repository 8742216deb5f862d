"""Locating the files of a model: built in, in a local folder, or on the Hugging Face hub."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Any

from ...common.errors import SpectrimError, SpectrimNotice, first_line, nearest
from ...common.paths import ABSENT, PROBLEMS, SPECIAL, file_type, is_folder, user_path
from ..builtin_models import builtin_names, builtin_root, check_retired
from ..presets import PRESETS
from .checkpoint_files import INDICES, SUFFIXES

HUB_FILES = ["config.json", "preprocessor_config.json", *INDICES]
HUB_TIMEOUT = 30.0  # seconds without an answer
FOLDERS = frozenset(
    ("runs", "models", "checkpoints", "ckpts", "weights", "outputs", "output", "results", "data")
)
"""Usual names of local folders; a source below one is not looked up on the hub."""
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
MODELS_OF_RUNS = frozenset(("last", "best"))


def locate(source: str | os.PathLike[str]) -> Path:
    """The folder or file that a source names; the hub is asked last.

    Raises:
        SpectrimError: there is no such model.
    """
    name, path = _name(source), user_path(_name(source))
    if path.suffix.lower() == ".onnx":
        raise SpectrimError(
            f"{name} is an ONNX file, which torch cannot load. Use spectrim.load_onnx, spectrim "
            "tag --model or spectrim sweep --model."
        )
    type_of_path = file_type(path)
    if isinstance(source, str) and name in builtin_names():
        if type_of_path != ABSENT:
            text = f"{name!r} means the built-in model; use './{name}' for the one in this folder."
            warnings.warn(SpectrimNotice(text), stacklevel=4)
        return builtin_root() / name
    if type_of_path == SPECIAL:
        raise SpectrimError(
            f"{name} {PROBLEMS[type_of_path]}; expected a folder or a checkpoint file."
        )
    if type_of_path != ABSENT:
        return path
    if _is_local(name, path):
        raise SpectrimError(f"{name}: no such file or folder.")
    if HUB_ID.fullmatch(name):
        return fetch(name)
    if name in PRESETS:
        raise SpectrimError(
            f"{name!r} is a preset, which has no weights. Use spectrim.create({name!r}) for a "
            "model with random ones."
        )
    check_retired(name)
    names = builtin_names()
    hint = nearest(name, names) if names else ""
    raise SpectrimError(
        f"no built-in model, folder or file is called {name!r}.{hint} A model on the hub is "
        "'owner/name'; presets are for spectrim.create."
    )


def _name(source: str | os.PathLike[str]) -> str:
    try:
        name = os.fspath(source)
    except TypeError:
        name = None
    if not isinstance(name, str):
        raise SpectrimError(
            f"load takes a name, a folder or a file, not {type(source).__name__}. For a model of "
            "transformers in memory use spectrim.from_transformers."
        )
    return name


def is_hub_id(name: str) -> bool:
    """Whether a source is looked up on the hub, as "owner/name" is if no such path exists."""
    path = user_path(name)
    is_absent = file_type(path) == ABSENT and not _is_local(name, path)
    return is_absent and HUB_ID.fullmatch(name) is not None


def _is_local(name: str, path: Path) -> bool:
    """Whether a name means a path, even if nothing is there."""
    is_path = path.suffix in SUFFIXES or name.startswith((".", "/", "~"))
    return is_path or _is_below_folder(path)


def _is_below_folder(path: Path) -> bool:
    """Whether a name with a slash means a local path: "runs/last" does, "owner/name" may not."""
    if len(path.parts) < 2:
        return False
    owner, last = path.parts[0], path.parts[-1]
    return owner in FOLDERS or last in MODELS_OF_RUNS or is_folder(Path(owner))


def fetch(name: str) -> Path:
    """Download config and weights of a hub model, once; returns their folder.

    Without an answer within `HUB_TIMEOUT` seconds, files that were downloaded before are used.

    Raises:
        SpectrimError: no such repository, no access, or no network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    text = f"asking the hub for {name} (at most {HUB_TIMEOUT:g} s without an answer) ..."
    warnings.warn(SpectrimNotice(text), stacklevel=5)
    try:
        try:
            # The hub's library sets no timeout of its own for this first question.
            HfApi().model_info(name, timeout=HUB_TIMEOUT)
        except RepositoryNotFoundError:
            raise
        except Exception as error:  # offline, or no answer
            if (folder := _downloaded(name)) is None:
                raise error
            return folder
        folder = _download(name, [*HUB_FILES, "*.safetensors"])
        if not list(folder.glob("*.safetensors")):
            # Most models have both kinds of file, and one is enough.
            folder = _download(name, [*HUB_FILES, "pytorch_model*.bin"])
        return folder
    except RepositoryNotFoundError as error:
        raise SpectrimError(
            f"{name!r} is neither a local folder or file nor a model on the hub that you may read. "
            "Check its spelling; private and gated models need `hf auth login`."
        ) from error
    except Exception as error:  # the errors of its network library change with its version
        # Where a later question fails, the library says that nothing was downloaded before. The
        # cause of this error says why.
        cause = error.__cause__ or error
        raise SpectrimError(
            f"{name!r} is not a local folder or file, and could not be fetched from the hub: "
            f"{first_line(cause)}. Go online (HF_HUB_OFFLINE must not be set), or download it "
            "elsewhere and pass its folder."
        ) from error


def _download(name: str, patterns: list[str]) -> Path:
    from huggingface_hub import get_session, snapshot_download

    session = get_session()
    before = session.event_hooks
    session.event_hooks = before | {"request": [*before.get("request", []), _limit_time]}
    try:
        return Path(snapshot_download(name, allow_patterns=patterns, etag_timeout=HUB_TIMEOUT))
    finally:
        session.event_hooks = before


def _limit_time(request: Any) -> None:
    """Set the timeout of a request: the hub's library asks some questions with none at all."""
    request.extensions["timeout"] = dict.fromkeys(("connect", "read", "write", "pool"), HUB_TIMEOUT)


def _downloaded(name: str) -> Path | None:
    """The folder of an earlier download; None if there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    for weights in ("*.safetensors", "pytorch_model*.bin"):
        try:
            patterns = [*HUB_FILES, weights]
            folder = Path(snapshot_download(name, allow_patterns=patterns, local_files_only=True))
        except LocalEntryNotFoundError:
            continue
        if list(folder.glob(weights)):
            return folder
    return None
