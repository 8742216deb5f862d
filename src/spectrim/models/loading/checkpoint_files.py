"""Reading weights from untrusted files: tensors and plain values, never code."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import torch

from ...common.errors import SpectrimError
from ...common.parse import read_json
from .native import read_safetensors

SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
PREFERRED = ("model.safetensors", "pytorch_model.bin")
TRAINING_STATE = frozenset({"optimizer", "scaler", "epoch", "args"})
"""Keys of training state beside `model`, which are dropped."""
REFUSED = re.compile(
    r"(?:Trying to load unsupported )?GLOBAL ([\w.]+)"
    r"|Unsupported operand \d+|Trying to [\w ]+|Can only [\w ]+"
)
"""How torch's weights-only reader words its refusal of anything else in a pickle."""


def weights_file(folder: Path) -> Path:
    """The one file of weights in a folder.

    Raises:
        SpectrimError: there is none, or several and none has the usual name.
    """
    for name in PREFERRED:
        if (folder / name).is_file():
            return folder / name
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if len(files) != 1:
        content = ", ".join(path.name for path in files) or "no weights"
        models = [path for path in (folder / "last", folder / "best") if path.is_dir()]
        if models:
            names = " and ".join(map(str, models))
            raise SpectrimError(f"{folder} is the folder of a training run; its models: {names}.")
        raise SpectrimError(
            f"{folder} holds {content}; expected {' or '.join(PREFERRED)}, or one file that ends "
            f"in {', '.join(SUFFIXES)}. You may also pass the file itself."
        )
    return files[0]


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if there is no such file.

    Raises:
        SpectrimError: it is not JSON, or not an object.
    """
    if not path.is_file():
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise SpectrimError(f"{path} holds {type(content).__name__}; expected a JSON object.")
    return content


def read_state(path: Path) -> dict[str, Any]:
    """Read names to tensors; training state and a "module." before every name are dropped.

    Raises:
        SpectrimError: the file is missing, incomplete, not a checkpoint, or could run code.
    """
    content = read_safetensors(path) if path.suffix == ".safetensors" else unpickled(path)
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        if beside := [key for key in content if key not in TRAINING_STATE | {"model"}]:
            raise SpectrimError(
                f"{path}: unexpected key {beside[0]!r} beside 'model'. Save the content of 'model' "
                "alone in a file."
            )
        content = content["model"]
    if not isinstance(content, dict) or not content:
        raise SpectrimError(
            f"{path}: holds {type(content).__name__} without weights; expected names and tensors, "
            "at the top or under the key 'model'."
        )
    if all(isinstance(key, str) and key.startswith("module.") for key in content):
        content = {key.removeprefix("module."): value for key, value in content.items()}
    return {str(key): value for key, value in content.items()}


def unpickled(path: Path) -> Any:
    """Read what `torch.save` wrote, as long as it is tensors and plain values."""
    try:
        size = path.stat().st_size
        if size:
            # Training state of the official code holds its arguments as a Namespace.
            with torch.serialization.safe_globals([argparse.Namespace]):
                return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SpectrimError(f"cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # a damaged archive or pickle may raise anything
        reason = str(error)
        if refused := REFUSED.search(reason):
            raise SpectrimError(
                f"{path}: holds more than weights ({refused[1] or refused[0]}). Reading it could "
                "run code, so Spectrim refuses. Save only its state dict, best as .safetensors."
            ) from error
        # torch's own text advises to read the file unsafely.
        detail = reason.rpartition("error: ")[2].strip().splitlines() or [type(error).__name__]
        raise SpectrimError(
            f"{path}: not a whole checkpoint ({detail[0]}). Download or save it again."
        ) from error
    raise SpectrimError(f"{path} is empty. Download or save it again.")
