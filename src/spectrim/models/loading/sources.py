"""Locating the files of a model: built in, in a local folder, or on the Hugging Face hub."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

from ...common.errors import SpectrimError, SpectrimNotice, nearest
from ..builtin import builtin_names, builtin_root, check_retired
from ..config import PRESETS
from .checkpoint_files import SUFFIXES

HUB_CONFIGS = ["config.json", "preprocessor_config.json"]


def locate(source: str | os.PathLike[str]) -> Path:
    """The folder or file that a source names; the hub is asked last.

    Raises:
        SpectrimError: there is no such model.
    """
    name, path = os.fspath(source), Path(source).expanduser()
    if path.suffix.lower() == ".onnx":
        raise SpectrimError(
            f"{name} is an ONNX file, which torch cannot load. Use spectrim.load_onnx, spectrim "
            "tag --model or spectrim sweep --model."
        )
    if isinstance(source, str) and name in builtin_names():
        if path.exists():
            text = f"{name!r} means the built-in model; use './{name}' for the one in this folder."
            warnings.warn(SpectrimNotice(text), stacklevel=4)
        return builtin_root() / name
    if path.exists():
        return path
    if path.suffix in SUFFIXES or name.startswith((".", "/", "~")):
        raise SpectrimError(f"{name}: no such file or folder.")
    if re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name):
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


def fetch(name: str) -> Path:
    """Download config and weights of a hub model, once; returns their folder.

    Raises:
        SpectrimError: no such repository, no access, or no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*HUB_CONFIGS, "*.safetensors"]))
        if not list(folder.glob("*.safetensors")):
            # Most models have both kinds of file, and one is enough.
            patterns = [*HUB_CONFIGS, "pytorch_model.bin"]
            folder = Path(snapshot_download(name, allow_patterns=patterns))
        return folder
    except RepositoryNotFoundError as error:
        raise SpectrimError(
            f"{name!r} is neither a local folder or file nor a model on the hub that you may read. "
            "Check its spelling; private and gated models need `hf auth login`."
        ) from error
    except Exception as error:  # the errors of its network library change with its version
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SpectrimError(
            f"{name!r} is not a local folder or file, and could not be fetched from the hub: "
            f"{lines[0].rstrip('.')}. Go online (HF_HUB_OFFLINE must not be set), or download it "
            "elsewhere and pass its folder."
        ) from error
