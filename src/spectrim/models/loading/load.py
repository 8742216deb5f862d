"""Loading a model: a built-in name, a folder, a checkpoint file, a hub id, a model in memory."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

import torch

from ...common.errors import SpectrimError, SpectrimNotice, out_of_memory
from ...common.paths import is_file
from ..build import range_note
from ..builtin_models import builtin_root, card
from ..config import stride_pair, with_overrides
from ..device import to_device
from ..has_recommendation import differing_features
from ..lengths import is_automatic, lengths_of
from ..positions import adapt
from ..transformer import SpectrogramTransformer
from . import hugging_face
from .checkpoint import Checkpoint, Converted, Labels, Weights
from .checkpoint_files import (
    INDICES,
    PREFERRED,
    read_object,
    read_state,
    weights_file,
    without_attribute,
)
from .formats import format_of, unknown_format
from .infer import labels_for
from .locate import locate
from .native import (
    CONFIG,
    check_sizes,
    is_native,
    load_native,
    load_recommendation,
    weights_path,
)
from .options import LoadedModel, LoadOptions
from .unfilled import without_memory

PREPROCESSOR = "preprocessor_config.json"


def load(
    source: str | os.PathLike[str],
    *,
    frames: int | Literal["auto"] | None = None,
    stride: int | tuple[int, int] | None = None,
    mean: float | None = None,
    std: float | None = None,
    padding: str | None = None,
    labels: Labels | None = None,
    activation: str | None = None,
    metric: str | None = None,
    heads: int | None = None,
    pool: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    compile: bool = False,
    trust_code: bool = False,
    own_code: bool | None = None,
) -> SpectrogramTransformer:
    """Load a model, in eval mode.

    Args:
        source: a built-in name (`builtin_names`); a folder or hub id "owner/name" with files of
            Spectrim, transformers (AST) or timm (AudioMAE); a .pth, .pt, .bin or .safetensors
            file. `spectrim models --formats` lists the models and formats.
        frames: clip length in frames, 10 ms each for most models; the position embedding is
            adapted to it. "auto": clips run at the shortest of four lengths that holds them, see
            `models.lengths`.
        stride: of the patches, 16, 10 or (frequency, time), if their number does not imply it.
        mean, std, padding: of the features, instead of the file's. A file that stores none gets
            AudioSet's mean and std and "zero", and a `SpectrimNotice` says so.
        labels: names of the classes or, for a file without a head, their number; 527 are
            AudioSet's.
        activation: "sigmoid" or "softmax"; metric: "mAP" or "accuracy", which follows it.
        heads: number of attention heads, for a file that does not store it; None: 64 wide each.
        pool: "prefix" or "normalised-patches", what the head of an SSAST reads.
        device: such as "cuda"; "auto": a GPU if there is one; None: the CPU.
        dtype: such as "bfloat16"; None: float32, whatever the file holds.
        compile: compile the model in its first forward pass, with CUDA graphs on a GPU; the same
            as `model.compile()`. Models that `prune` returns are not compiled.
        trust_code: whether a saved plan may import a score or reduction from outside Spectrim.
        own_code: deprecated name of `trust_code`.

    Raises:
        SpectrimError: there is no such model, or a file is damaged, of an unknown format or shape,
            or holds anything but weights. With `compile`, this machine has no compiler.
    """
    if own_code is not None:
        text = "load(own_code=...) is deprecated: write trust_code=... instead."
        warnings.warn(SpectrimNotice(text), stacklevel=2)
        trust_code = trust_code or own_code
    options = LoadOptions(
        _fixed(frames), stride, mean, std, padding, labels, activation, metric, heads, pool
    )
    loaded = load_with_assumptions(
        source, options, device=device, dtype=dtype, trust_code=trust_code
    )
    model = _with_lengths(_with_notes(loaded), frames)
    if compile:
        model.compile()
    return model


def load_with_assumptions(
    source: str | os.PathLike[str],
    options: LoadOptions | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
    trust_code: bool = False,
) -> LoadedModel:
    """As `load`, but returns the assumptions as data and prints no note."""
    options = options or LoadOptions()
    path = locate(source)
    try:
        converted, where = _read(path, os.fspath(source), options, trust_code)
        return _build(converted, where, options, device, dtype)
    except (MemoryError, RuntimeError) as error:
        if not out_of_memory(error):
            raise
        raise SpectrimError(
            f"{path}: the model does not fit into memory. Use fewer frames, another device, or a "
            "machine with more memory."
        ) from error


def from_transformers(
    hf_model: Any,
    *,
    frames: int | Literal["auto"] | None = None,
    mean: float | None = None,
    std: float | None = None,
    padding: str | None = None,
    labels: Labels | None = None,
    activation: str | None = None,
    metric: str | None = None,
    device: str | torch.device | None = None,
    dtype: str | torch.dtype | None = None,
) -> SpectrogramTransformer:
    """Convert a transformers AST in memory; its weights are copied, not shared.

    Mean and std belong to its feature extractor: pass them if they are not AudioSet's.

    Args:
        hf_model: an `ASTForAudioClassification`, or an `ASTModel`, which gets a fresh head.
        frames, mean, std, padding, labels, activation, metric, dtype: as in `load`.
        device: None: that of `hf_model`.

    Raises:
        SpectrimError: another kind of model.
    """
    class_name = type(hf_model).__name__
    config: Any = getattr(hf_model, "config", None)
    if getattr(config, "model_type", None) != hugging_face.MODEL_TYPE:
        raise SpectrimError(
            "from_transformers takes an ASTForAudioClassification of transformers, not "
            f"{class_name}. spectrim.load takes names, folders and files. The attribute "
            "spectrogram_transformer of a SpectrimForAudioClassification is a Spectrim model."
        )
    options = LoadOptions(_fixed(frames), None, mean, std, padding, labels, activation, metric)
    weights = Weights(hf_model.state_dict(), class_name)
    checkpoint = Checkpoint(weights, config.to_dict(), labels=labels)
    converted = (format_of(checkpoint) or hugging_face).read(checkpoint)
    name = getattr(config, "_name_or_path", "") or class_name
    converted = replace(converted, config=replace(converted.config, name=name))
    device = hf_model.device if device is None else device
    return _with_lengths(_with_notes(_build(converted, class_name, options, device, dtype)), frames)


def _fixed(frames: int | str | None) -> int | None:
    """The length that a model is loaded with; with "auto", that of its file."""
    return None if is_automatic(frames) else cast("int | None", frames)


def _with_lengths(
    model: SpectrogramTransformer, frames: int | str | None
) -> SpectrogramTransformer:
    if is_automatic(frames):
        model.set_lengths(lengths_of(model.config))
        model.drop_measurement("frames")  # the plan was measured at the full window
    return model


def _with_notes(loaded: LoadedModel) -> SpectrogramTransformer:
    notes = loaded.notes()
    if note := range_note(loaded.model):
        notes.append(f"{loaded.where}: {note}")
    if notes:
        warnings.warn(SpectrimNotice(" ".join(notes)), stacklevel=3)
    return loaded.model


def _read(path: Path, source: str, options: LoadOptions, trust_code: bool) -> tuple[Converted, str]:
    """Config, weights and plans at a path, and the file for messages."""
    if path.is_file() and path.name in (*PREFERRED, *INDICES) and is_file(path.parent / CONFIG):
        path = path.parent  # the config beside such a file is part of the model
    stride = None if options.stride is None else stride_pair(options.stride)
    if path.is_file():
        file, config, preprocessor = path, None, None
    else:
        config = read_object(path / CONFIG)
        if config is not None and is_native(config):
            return _read_native(path, config, stride, options.labels, trust_code)
        file, preprocessor = weights_file(path), read_object(path / PREPROCESSOR)
    state = read_state(file)
    checkpoint = Checkpoint(
        Weights(state, str(file)), config, preprocessor, stride, options.labels,
        _fixed(options.frames), options.heads, options.pool,
    )  # fmt: skip
    checkpoint_format = format_of(checkpoint)
    if checkpoint_format is None and (inner := without_attribute(state)) is not None:
        checkpoint = replace(checkpoint, weights=Weights(inner, str(file)))
        checkpoint_format = format_of(checkpoint)
    if checkpoint_format is None:
        raise unknown_format(state, str(file), config)
    try:
        converted = checkpoint_format.read(checkpoint)
    except SpectrimError as error:  # a check of the model's config names no file
        if str(file) in str(error):
            raise
        raise SpectrimError(f"{file}: {error}") from error
    return replace(converted, config=replace(converted.config, name=source)), str(file)


def _read_native(
    path: Path,
    config: dict[str, Any],
    stride: tuple[int, int] | None,
    labels: Labels | None,
    trust_code: bool,
) -> tuple[Converted, str]:
    ours, state, plan = load_native(path, config, trust_code)
    recommendation, notes = load_recommendation(path, config, ours.depth, trust_code)
    if stride not in (None, ours.stride):
        raise SpectrimError(f"{path}: its stride is {ours.stride} and cannot become {stride}.")
    names = labels_for(labels, len(ours.labels), str(path), ours.labels)
    weights = Weights(state, str(weights_path(path)))
    check_sizes(ours, weights)
    state = {
        name: weights.take(name, *like.shape, floating=like.is_floating_point())
        for name, like in without_memory(ours, plan).state_dict().items()
    }
    weights.close()
    ours = replace(ours, labels=names)
    if path.parent == builtin_root():
        ours = replace(ours, name=path.name, licence=card(path.name).licence)
    return Converted(ours, state, {}, plan, recommendation, notes), str(path)


def _build(
    converted: Converted, where: str, options: LoadOptions, device: Any, dtype: Any
) -> LoadedModel:
    """The model with the load options applied."""
    stored = converted.config
    for key in ("heads", "pool"):
        if getattr(options, key) not in (None, getattr(stored, key)):
            raise SpectrimError(
                f"{where}: its {key} is {getattr(stored, key)!r} and cannot become "
                f"{getattr(options, key)!r}."
            )
    config = with_overrides(stored, options.overrides())
    model = without_memory(config, converted.plan)
    model.set_recommendation(converted.recommendation)
    if names := differing_features(stored, config):
        model.drop_measurement(", ".join(names))
    # Copy: tensors must not share memory with a model in memory or with the storage of a file.
    state = {
        name: value.detach().to(torch.float32 if value.is_floating_point() else None, copy=True)
        for name, value in converted.state.items()
    }
    state["positions"] = adapt(
        state["positions"],
        config.num_prefix_tokens,
        stored.grid,
        config.grid,
        config.positions_kept,
    )
    state = {name: value.contiguous() for name, value in state.items()}
    model.load_state_dict(state, assign=True)
    assumed = {
        key: text for key, text in converted.assumed.items() if getattr(options, key, None) is None
    }
    model = to_device(model, device, dtype).eval()
    return LoadedModel(model, stored, assumed, where, converted.notes)
