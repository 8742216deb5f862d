"""Metadata of an exported file: texts in the `metadata_props` of the ONNX format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from ..audio.front_ends import front_end
from ..common.errors import SpectrimError
from ..common.parse import parse_json
from ..common.values import check_values, has_type, number, required_choice

FORMAT = "spectrim-onnx"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The metadata of an exported file; each value is stored as text or as JSON.

    Attributes:
        name: name of the exported model.
        labels: names of the classes, in the order of the outputs.
        sampling_rate: in Hz. window_samples: longest clip; longer ones must be cut.
        frames: the same length in frames of the front end.
        input: "waveform" (waveforms, lengths), "features" (features, valid), or "decibels" of a
            file for sherpa-onnx.
        plan: {"version", "seed", "stages": [{"at", "score", "reduction", "keep_rate" or "count"}]}.
            Files without a version are of version 1.
        activation: "sigmoid" or "softmax"; metric: "mAP" or "accuracy".
        macs: multiply-accumulates for one clip.
        quantization: "none", "int8 dynamic" or "int8 static".
        spectrim: version that wrote the file.
        front_end: name of the front end, see `audio.front_ends`.
        embedding_width: values of the output "embedding"; 0: an older file, which has none.
    """

    name: str
    labels: list[str]
    sampling_rate: int = number(least=1_000, most=384_000)
    window_samples: int = number(least=1)
    frames: int = number(least=1)
    input: str = required_choice("waveform", "features", "decibels")
    plan: dict[str, Any] = field()
    activation: str = required_choice("sigmoid", "softmax")
    metric: str = required_choice("mAP", "accuracy")
    macs: int = number(least=0)
    quantization: str
    spectrim: str
    front_end: str = "kaldi"
    embedding_width: int = number(0, least=0)

    def to_texts(self) -> dict[str, str]:
        """Keys and texts for `metadata_props`."""
        texts = {"format": FORMAT, "format_version": str(FORMAT_VERSION)}
        for entry in fields(self):
            value = getattr(self, entry.name)
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            texts[entry.name] = text
        return texts


def metadata_from(path: str, texts: Mapping[str, str]) -> Metadata:
    """The metadata of a file from the texts stored in it, as a runtime returns them.

    Raises:
        SpectrimError: `spectrim export` did not write the file, or wrote another version.
    """
    if texts.get("format") != FORMAT:
        raise SpectrimError(
            f"{path}: an ONNX file, but not one that `spectrim export` wrote, so its window and "
            "labels are unknown. Export the model with Spectrim."
        )
    if texts.get("format_version") != str(FORMAT_VERSION):
        raise SpectrimError(
            f"{path}: format version {texts.get('format_version')}; this Spectrim reads version "
            f"{FORMAT_VERSION}. Export the model again."
        )
    values: dict[str, Any] = {}
    for entry in fields(Metadata):
        if entry.name not in texts and entry.default is not MISSING:
            continue
        if entry.name not in texts:
            raise SpectrimError(f"{path}: its metadata lacks {entry.name!r}. Export it again.")
        text = texts[entry.name]
        try:
            values[entry.name] = text if entry.type == "str" else parse_json(text, "the text")
        except SpectrimError as error:
            raise SpectrimError(
                f"{path}: metadata {entry.name!r} is {text!r}. {error} Export the model again."
            ) from error
    metadata = Metadata(**values)
    check_values(metadata, f"{path}: metadata")
    stages = metadata.plan.get("stages")
    if not has_type(stages, list[dict[str, Any]]):
        raise SpectrimError(f"{path}: metadata plan has no list of stages. Export it again.")
    if not metadata.labels:
        raise SpectrimError(f"{path}: metadata labels is empty; expected at least one label.")
    _check_window(path, metadata)
    return metadata


def _check_window(path: str, metadata: Metadata) -> None:
    """Refuse a window that contradicts the frames: 1 sample means 16,000 windows a second."""
    try:
        audio = front_end(metadata.front_end)
    except SpectrimError as error:
        raise SpectrimError(f"{path}: metadata front_end: {error}") from error
    expected = {
        "sampling_rate": audio.sample_rate,
        "window_samples": audio.num_samples(metadata.frames),
    }
    for key, value in expected.items():
        if (stored := getattr(metadata, key)) != value:
            raise SpectrimError(
                f"{path}: metadata {key} is {stored}, but {metadata.frames} frames of the front "
                f"end {metadata.front_end!r} require {value}. Export the model again."
            )
