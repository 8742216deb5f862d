"""Every way in: a built-in name, a folder, a checkpoint file, a hub id, a model in memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from ...common.errors import SpectrimError, SpectrimNotice, nearest
from ...pruning.plan import Plan
from ..builtin import builtin_names, builtin_root
from ..config import PRESETS, ModelConfig, stride_pair, with_overrides
from ..device import to_device
from ..positions import adapt
from ..transformer import SpectrogramTransformer
from . import audiomae, hub, hugging_face, official_ast
from .checkpoint_files import PREFERRED, SUFFIXES, read_object, read_state, weights_file
from .infer import Labels, labels_for
from .native import CONFIG, WEIGHTS, is_native, load_native
from .state_dict import Arrival, State, Weights

PREPROCESSOR = "preprocessor_config.json"


def load(
    source: str | os.PathLike[str],
    *,
    frames: int | None = None,
    stride: int | tuple[int, int] | None = None,
    mean: float | None = None,
    std: float | None = None,
    padding: str | None = None,
    labels: Labels | None = None,
    activation: str | None = None,
    metric: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    trust_code: bool = False,
) -> SpectrogramTransformer:
    """Load a model, in eval mode.

    Args:
        source: a built-in name (`builtin_names`); a folder that Spectrim, transformers (AST) or
            timm (AudioMAE) wrote; a .pth, .pt, .bin or .safetensors file of official AST,
            AudioMAE or the paper; or a hub id "owner/name".
        frames: length wanted, 10 ms each; the position embedding is adapted to it.
        stride: of the patches, 16, 10 or (frequency, time), where their count does not tell it.
        mean, std, padding: of the features, instead of what the file says. A file that says
            nothing gets AudioSet's mean and std and "zero", and a `SpectrimNotice` says so.
        labels: names of the classes or, for a file without a head, how many; 527 are AudioSet's.
        activation: "sigmoid" or "softmax"; metric: "mAP" or "accuracy", which follows it.
        device: such as "cuda"; "auto": that where there is one; None: the CPU.
        dtype: such as "bfloat16"; None: float32, whatever the file holds.
        trust_code: whether a saved plan may import a score or reduction from outside Spectrim.

    Raises:
        SpectrimError: nothing bears that name, or a file is damaged, not of a known format, of
            another shape, or holds anything but weights.
    """
    path = _locate(source)
    pair = None if stride is None else stride_pair(stride)
    arrival = _from_path(path, os.fspath(source), pair, labels, trust_code)
    said = {"mean": mean, "std": std, "padding": padding, "activation": activation}
    said |= {"metric": metric, "frames": frames}
    _notify(arrival, said | {"labels": labels})
    return _build(arrival, said, device, dtype)


def from_transformers(
    hf_model: Any,
    *,
    frames: int | None = None,
    mean: float | None = None,
    std: float | None = None,
    padding: str | None = None,
    labels: Labels | None = None,
    activation: str | None = None,
    metric: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> SpectrogramTransformer:
    """Make a model of a transformers AST in memory; its weights are copied, not shared.

    Mean and std are its feature extractor's: give them where they are not AudioSet's.

    Args:
        hf_model: an `ASTForAudioClassification`, or an `ASTModel`, which gets a fresh head.
        frames, mean, std, padding, labels, activation, metric, dtype: as in `load`.
        device: None: where `hf_model` is.

    Raises:
        SpectrimError: another kind of model.
    """
    kind = type(hf_model).__name__
    config: Any = getattr(hf_model, "config", None)
    if getattr(config, "model_type", None) != hugging_face.MODEL_TYPE:
        raise SpectrimError(
            f"from_transformers wants an ASTForAudioClassification of transformers, not {kind}; "
            "spectrim.load takes names, folders and files."
        )
    weights = Weights(hf_model.state_dict(), kind)
    door = hugging_face.read(weights, config.to_dict(), labels=labels)
    name = getattr(config, "_name_or_path", "") or kind
    arrival = _Arrived(*door._replace(config=replace(door.config, name=name)), Plan(), kind)
    said = {"mean": mean, "std": std, "padding": padding, "activation": activation}
    said |= {"metric": metric, "frames": frames}
    _notify(arrival, said | {"labels": labels})
    return _build(arrival, said, hf_model.device if device is None else device, dtype)


class _Arrived(NamedTuple):
    """An `Arrival`, with its plan and the source for messages."""

    config: ModelConfig
    state: State
    assumed: dict[str, str]
    plan: Plan
    where: str


def _locate(source: str | os.PathLike[str]) -> Path:
    """The folder or file that a source means; the hub is asked last."""
    name, path = os.fspath(source), Path(source).expanduser()
    if path.suffix.lower() == ".onnx":
        raise SpectrimError(
            f"{name}: an ONNX file is run, not loaded into torch: spectrim.load_onnx, "
            "spectrim tag --model, spectrim sweep --model."
        )
    if isinstance(source, str) and name in builtin_names():
        if path.exists():
            text = f"{name!r} is taken as the built-in model; './{name}' is the one in this folder."
            warnings.warn(SpectrimNotice(text), stacklevel=3)
        return builtin_root() / name
    if path.exists():
        return path
    if path.suffix in SUFFIXES or name.startswith((".", "/", "~")):
        raise SpectrimError(f"{name}: no such file or folder.")
    if hub.is_id(name):
        return hub.fetch(name)
    if name in PRESETS:
        raise SpectrimError(
            f"{name!r} is a preset, which has no weights: spectrim.create({name!r}) makes a model "
            "of it."
        )
    names = builtin_names()
    known = nearest(name, names) if names else ""
    raise SpectrimError(
        f"no built-in model, folder or file is called {name!r}.{known} A model on the hub is "
        "'owner/name'; presets are for spectrim.create."
    )


def _from_path(
    path: Path, source: str, stride: tuple[int, int] | None, labels: Labels | None, trust_code: bool
) -> _Arrived:
    if path.is_file() and path.name in PREFERRED and (path.parent / CONFIG).is_file():
        path = path.parent  # such a file is half of a model, the config beside it the other
    if path.is_file():
        return _foreign(path, None, None, source, stride, labels)
    config = read_object(path / CONFIG)
    if is_native(config):
        return _native(path, config or {}, stride, labels, trust_code)
    file, preprocessor = weights_file(path), read_object(path / PREPROCESSOR)
    return _foreign(file, config, preprocessor, source, stride, labels)


def _native(
    path: Path, config: dict[str, Any], stride: Any, labels: Labels | None, trust_code: bool
) -> _Arrived:
    ours, state, plan = load_native(path, config, trust_code)
    if stride not in (None, ours.stride):
        raise SpectrimError(f"{path}: its stride is {ours.stride}, so {stride} cannot be had.")
    names = labels_for(labels, len(ours.labels), str(path), ours.labels)
    weights = Weights(state, str(path / WEIGHTS))
    state = {
        name: weights.take(name, *like.shape, floating=like.is_floating_point())
        for name, like in _unfilled(ours, plan).state_dict().items()
    }
    weights.close()
    return _Arrived(replace(ours, labels=names), state, {}, plan, str(path))


def _foreign(
    file: Path,
    config: dict[str, Any] | None,
    preprocessor: dict[str, Any] | None,
    source: str,
    stride: Any,
    labels: Labels | None,
) -> _Arrived:
    """Find the door by the names in the file, and go through it."""
    weights = Weights(read_state(file), str(file))
    names = weights.names
    arrival: Arrival
    if hugging_face.fits(names):
        if config is None:
            raise SpectrimError(
                f"{file}: weights of a transformers AST; config.json must lie beside it. Name the "
                "folder that save_pretrained wrote."
            )
        arrival = hugging_face.read(weights, config, preprocessor, stride, labels)
    elif official_ast.fits(names):
        arrival = official_ast.read(weights, stride, labels)
    elif audiomae.fits(names):
        arrival = audiomae.read(weights, stride, labels, config, preprocessor)
    else:
        kind = (config or {}).get("model_type")
        what = f"a {kind!r} model" if kind else "not a model that Spectrim knows"
        some = ", ".join(map(repr, names[:3])) or "none"
        raise SpectrimError(
            f"{file}: {what}. AST (official, transformers), AudioMAE (official, timm) and "
            f"Spectrim's own folders are read; the names in this one: {some}."
        )
    named = replace(arrival.config, name=source)
    return _Arrived(named, arrival.state, arrival.assumed, Plan(), str(file))


def _notify(arrived: _Arrived, said: Mapping[str, Any]) -> None:
    """Tell what was assumed where neither the file nor the caller said."""
    left = {key: text for key, text in arrived.assumed.items() if said.get(key) is None}
    head = left.pop("head", None)
    overrides = ", ".join(f"{key}=" for key in left)
    parts = [f"{arrived.where} has no head; {head} is made."] if head else []
    if left:
        parts.append(
            f"{arrived.where} does not say all; assumed: {', '.join(left.values())}. Where that "
            f"is wrong, say {overrides}."
        )
    if parts:
        warnings.warn(SpectrimNotice(" ".join(parts)), stacklevel=3)


def _build(
    arrived: _Arrived, said: Mapping[str, Any], device: Any, dtype: Any
) -> SpectrogramTransformer:
    """The model, of the length, the device and the dtype wanted."""
    old, state = arrived.config, arrived.state
    config = with_overrides(old, said)
    model = _unfilled(config, arrived.plan)
    # Copies, so that nothing is shared with a model in memory or with a file's one big storage.
    state = {
        name: value.detach().to(torch.float32 if value.is_floating_point() else None, copy=True)
        for name, value in state.items()
    }
    state["positions"] = adapt(state["positions"], config.num_prefix_tokens, old.grid, config.grid)
    state = {name: value.contiguous() for name, value in state.items()}
    model.load_state_dict(state, assign=True)
    return to_device(model, device, dtype).eval()


class _Unfilled(TorchFunctionMode):
    """Layers made under it have no memory yet: random weights for a loaded model cost seconds."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _unfilled(config: ModelConfig, plan: Plan) -> SpectrogramTransformer:
    with _Unfilled():
        return SpectrogramTransformer(config, plan)
