"""Reading weights from files of strangers: tensors and plain values, never code."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import torch

from ...common.errors import SpectrimError
from ...common.files import read_json
from .native import read_safetensors

SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
PREFERRED = ("model.safetensors", "pytorch_model.bin")
TRAINING_STATE = frozenset({"optimizer", "scaler", "epoch", "args"})
"""What training leaves beside `model`, known and dropped."""
REFUSED = re.compile(
    r"(?:Trying to load unsupported )?GLOBAL ([\w.]+)"
    r"|Unsupported operand \d+|Trying to [\w ]+|Can only [\w ]+"
)
"""How torch's reader of weights words that a pickle asks for more."""


def weights_file(folder: Path) -> Path:
    """The one file of weights in a folder.

    Raises:
        SpectrimError: none, or several of which none bears the usual name.
    """
    for name in PREFERRED:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    if len(found) != 1:
        what = f"holds {', '.join(path.name for path in found)}" if found else "holds no weights"
        models = [path for path in (folder / "last", folder / "best") if path.is_dir()]
        if models:
            names = " and ".join(map(str, models))
            raise SpectrimError(f"{folder} is the folder of a training run; its models: {names}.")
        raise SpectrimError(
            f"{folder} {what}; wanted {' or '.join(PREFERRED)}, or one file that ends in "
            f"{', '.join(SUFFIXES)}. Or name the file itself."
        )
    return found[0]


def read_object(path: Path) -> dict[str, Any] | None:
    """A JSON object; None where there is no such file.

    Raises:
        SpectrimError: it is not JSON, or not an object.
    """
    if not path.is_file():
        return None
    found = read_json(path)
    if not isinstance(found, dict):
        raise SpectrimError(f"{path} holds {type(found).__name__}; wanted a JSON object.")
    return found


def read_state(path: Path) -> dict[str, Any]:
    """Names to tensors, without training state and without "module." before every name.

    Raises:
        SpectrimError: no such file, not a checkpoint, not whole, or one that would run code.
    """
    found = read_safetensors(path) if path.suffix == ".safetensors" else unpickled(path)
    if isinstance(found, dict) and isinstance(found.get("model"), dict):
        if beside := [key for key in found if key not in TRAINING_STATE | {"model"}]:
            raise SpectrimError(
                f"{path}: unexpected key {beside[0]!r} beside 'model'. Save what is under 'model' "
                "in a file of its own."
            )
        found = found["model"]
    if not isinstance(found, dict) or not found:
        raise SpectrimError(
            f"{path}: holds {type(found).__name__} without weights; wanted names and tensors, or "
            "those under the key 'model'."
        )
    if all(isinstance(key, str) and key.startswith("module.") for key in found):
        found = {key.removeprefix("module."): value for key, value in found.items()}
    return {str(key): value for key, value in found.items()}


def unpickled(path: Path) -> Any:
    """What `torch.save` wrote, as long as it is tensors and plain values."""
    try:
        size = path.stat().st_size
        if size:
            # Training state of the official codes bears its arguments as such a Namespace.
            with torch.serialization.safe_globals([argparse.Namespace]):
                return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise SpectrimError(f"cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # what a damaged archive or pickle raises is no closed list
        reason = str(error)
        if refused := REFUSED.search(reason):
            raise SpectrimError(
                f"{path}: not a checkpoint of weights alone ({refused[1] or refused[0]}); reading "
                "anything else could run code, so it is refused. Save its state dict alone, best "
                "as .safetensors."
            ) from error
        # torch's own text would advise to read it unsafely.
        detail = reason.rpartition("error: ")[2].strip().splitlines() or [type(error).__name__]
        raise SpectrimError(
            f"{path}: not a whole checkpoint ({detail[0]}). Fetch or save it again."
        ) from error
    raise SpectrimError(f"{path} is empty. Fetch or save it again.")
