"""Reading weights from untrusted files: tensors and plain values, never code."""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from ...common.errors import SpectrimError, out_of_memory
from ...common.parse import read_json
from ...common.paths import FILE, PROBLEMS, file_type, is_file, is_folder
from ...common.text import shortened

SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt")
PREFERRED = ("model.safetensors", "pytorch_model.bin")
INDICES = tuple(f"{name}.index.json" for name in PREFERRED)
"""Files that list the shards of a checkpoint that is split into several files."""
SHARD = re.compile(r"-\d{5}-of-\d{5}\.(?:safetensors|bin)$")
NESTED = ("model", "state_dict")
"""Keys that hold the weights, beside training state: official code's, Lightning's and timm's."""
TRAINING_STATE = frozenset(
    (
        *("optimizer", "scaler", "epoch", "args"),  # official code
        *("arch", "version", "metric", "amp_scaler", "lr_scheduler", "scheduler", "step"),
        *("global_step", "pytorch-lightning_version", "optimizer_states", "lr_schedulers"),
        *("loops", "callbacks", "hparams_name", "hyper_parameters", "datamodule_hparams_name"),
        *("datamodule_hyper_parameters", "native_amp_scaling_state", "MixedPrecision"),
        *("config", "cfg", "criterion", "optimizer_history", "task_state"),  # CED's, fairseq's
        *("extra_state", "last_optimizer_state"),
        "label_dict",  # BEATs's
    )
)
"""Keys beside the weights, mostly of training state, which are dropped."""
MOST_SHARED = 4
"""Largest ratio of the bytes of all tensors to the bytes stored; 1 unless tensors are tied."""
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
"""Parts of names that wrappers add: data parallelism, torch.compile, checkpointing."""
REFUSED = re.compile(
    r"(?:Trying to load unsupported )?GLOBAL ([\w.]+)"
    r"|Unsupported operand \d+|Trying to [\w ]+|Can only [\w ]+"
)
"""How torch's weights-only reader words its refusal of anything else in a pickle."""


def weights_file(folder: Path) -> Path:
    """The one file of weights in a folder, or the index of its shards; hidden files do not count.

    Raises:
        SpectrimError: there is none, or several and none has the usual name.
    """
    for name in (*PREFERRED, *INDICES):
        if is_file(folder / name):
            return folder / name
    files = sorted(
        path
        for path in folder.iterdir()
        # A temporary file of a killed writer starts with a dot, and so do macOS's "._" files.
        if path.suffix in SUFFIXES and not path.name.startswith(".")
    )
    if len(files) != 1:
        content = shortened([path.name for path in files]) or "no weights"
        models = [path for path in (folder / "last", folder / "best") if is_folder(path)]
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
    if not is_file(path):
        return None
    content = read_json(path)
    if not isinstance(content, dict):
        raise SpectrimError(f"{path} holds {type(content).__name__}; expected a JSON object.")
    return content


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read names to tensors, as a model has them without wrappers.

    Training state beside the weights is dropped, and so are the parts of names that wrappers add.

    Raises:
        SpectrimError: the file is missing, incomplete, not a checkpoint, or could run code; a
            tensor is a view of fewer numbers than its shape has.
    """
    content = _sharded(path) if path.name.endswith(INDICES) else _file_content(path)
    depth = 0
    while isinstance(content, dict) and (key := _nested_key(content)) and depth < len(NESTED):
        beside = [name for name in content if name not in TRAINING_STATE | {key}]
        if beside:
            raise SpectrimError(
                f"{path}: unexpected key {str(beside[0])!r} beside {key!r}. Save the content of "
                f"{key!r} alone in a file."
            )
        content, depth = content[key], depth + 1
    if not isinstance(content, dict) or not content:
        raise SpectrimError(
            f"{path}: holds {type(content).__name__} without weights; expected names and tensors, "
            "at the top or under the key 'model' or 'state_dict'."
        )
    state = {str(name): value for name, value in content.items()}
    tensors = {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}
    for name, tensor in tensors.items():
        _check_tensor(tensor, name, path)
    _check_sharing(tensors, path)
    return _unwrapped(state, path)


def _nested_key(content: Mapping[Any, Any]) -> str | None:
    return next((key for key in NESTED if isinstance(content.get(key), dict)), None)


def _file_content(path: Path) -> Any:
    if SHARD.search(path.name):
        raise SpectrimError(
            f"{path} is one of several files of a checkpoint. Pass its folder, which must hold "
            f"{' or '.join(INDICES)}."
        )
    if path.suffix == ".json":
        raise SpectrimError(f"{path} holds settings, not weights. Pass its folder: {path.parent}.")
    return read_safetensors(path) if path.suffix == ".safetensors" else unpickled(path)


def _sharded(index: Path) -> dict[str, Any]:
    """The tensors of all files that an index names, as transformers writes large models."""
    content = read_object(index)
    table = (content or {}).get("weight_map")
    is_table = isinstance(table, dict) and all(isinstance(name, str) for name in table.values())
    if not table or not is_table:
        raise SpectrimError(f"{index}: weight_map is missing; expected names of keys and files.")
    state: dict[str, Any] = {}
    for name in sorted(set(table.values())):
        if Path(name).name != name or Path(name).suffix not in SUFFIXES:
            raise SpectrimError(
                f"{index}: {name!r} is not the name of a file of weights beside it."
            )
        path = index.parent / name
        part = read_safetensors(path) if path.suffix == ".safetensors" else unpickled(path)
        if not isinstance(part, dict):
            raise SpectrimError(f"{path}: holds {type(part).__name__}; expected names and tensors.")
        listed = {key for key, file in table.items() if file == name}
        if set(part) != listed:
            odd = shortened(sorted(map(str, set(part) ^ listed)))
            raise SpectrimError(f"{path} and {index.name} disagree on {odd}. Download them again.")
        state |= part
    return state


def _check_tensor(value: torch.Tensor, name: str, path: Path) -> None:
    """Refuse tensors whose shape has more numbers than the file stores for them.

    A file of 15 kB may describe a view of one number as a tensor of a terabyte, which a copy would
    allocate.
    """
    is_plain = value.layout == torch.strided and not value.is_quantized
    if not is_plain or value.device.type == "meta":
        raise SpectrimError(f"{path}: the key {name!r} is not a plain tensor with its own numbers.")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise SpectrimError(
            f"{path}: the key {name!r} has shape {tuple(value.shape)}, but the file stores only "
            f"{value.untyped_storage().nbytes():,} bytes for it."
        )


def _check_sharing(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse a file in which very many tensors share the same numbers."""
    stored = {
        value.untyped_storage().data_ptr(): value.untyped_storage().nbytes()
        for value in tensors.values()
    }
    described = sum(value.numel() * value.element_size() for value in tensors.values())
    if described > MOST_SHARED * sum(stored.values()):
        raise SpectrimError(
            f"{path}: its tensors have {described:,} bytes, but the file stores only "
            f"{sum(stored.values()):,}."
        )


def _unwrapped(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """The state under names without the parts of wrappers."""
    unwrapped = {_without_wrappers(name): value for name, value in state.items()}
    if len(unwrapped) != len(state):
        raise SpectrimError(f"{path}: two keys differ only in parts such as '_orig_mod'.")
    return unwrapped


def without_attribute(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor] | None:
    """Names without the first part, if all share it; None if they do not.

    A module of Lightning holds the model as an attribute, so names start with "net.", for example.
    """
    names = [name.partition(".") for name in state]
    if len({first for first, _, _ in names}) != 1 or not all(rest for _, _, rest in names):
        return None
    return {rest: value for (_, _, rest), value in zip(names, state.values(), strict=True)}


def _without_wrappers(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS) or name


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file.

    Raises:
        SpectrimError: missing or damaged.
    """
    if (type_of_path := file_type(path)) != FILE:
        raise SpectrimError(f"{path}: {PROBLEMS[type_of_path]}; expected a file of weights.")
    try:
        return safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise SpectrimError(f"{path}: not a whole safetensors file ({error}).") from error


def unpickled(path: Path) -> Any:
    """Read what `torch.save` wrote, as long as it is tensors and plain values."""
    try:
        size = path.stat().st_size
        if size:
            _check_archive(path, size)
            # Training state of the official code holds its arguments as a Namespace.
            with torch.serialization.safe_globals([argparse.Namespace]):
                return torch.load(path, map_location="cpu", weights_only=True)
    except SpectrimError:
        raise
    except OSError as error:
        raise SpectrimError(f"cannot read {path}: {error.strerror or error}.") from error
    except Exception as error:  # a damaged archive or pickle may raise anything
        if out_of_memory(error):
            raise SpectrimError(
                f"{path}: its tensors do not fit into memory. The file is too large for this "
                "machine, or damaged."
            ) from error
        reason = str(error)
        if refused := REFUSED.search(reason):
            raise SpectrimError(
                f"{path}: holds more than weights ({refused[1] or refused[0]}). Reading it could "
                "run code, so Spectrim refuses. Save only its state dict, best as .safetensors."
            ) from error
        # torch's own text advises to read the file unsafely. Errors of Python in the reader of
        # pickles ("pop from empty list") say nothing about the file.
        is_pythons = isinstance(error, (LookupError, TypeError, AttributeError, ValueError))
        detail = reason.rpartition("error: ")[2].strip().splitlines()
        cause = f" ({detail[0]})" if detail and not is_pythons else ""
        raise SpectrimError(
            f"{path}: not a checkpoint, or not a whole one{cause}. Download or save it again."
        ) from error
    raise SpectrimError(f"{path} is empty. Download or save it again.")


def _check_archive(path: Path, size: int) -> None:
    """Refuse a zip archive whose content is larger than the file: `torch.save` never compresses."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        content = sum(entry.file_size for entry in archive.infolist())
    if content > size:
        raise SpectrimError(
            f"{path}: a compressed archive, which would unpack to {content:,} bytes. Save the "
            "weights with torch.save, or as .safetensors."
        )
