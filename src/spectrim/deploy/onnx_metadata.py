"""Metadata of an exported file: texts in the `metadata_props` of the ONNX format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..common.errors import SpectrimError
from ..pruning.saved_plans import upgrade

FORMAT = "spectrim-onnx"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Metadata:
    """The metadata of an exported file; each value is stored as text or as JSON.

    Attributes:
        name: name of the exported model.
        labels: names of the classes, in the order of the outputs.
        sampling_rate: in Hz. window_samples: longest clip; longer ones must be cut.
        frames: the same length in frames of 10 ms.
        input: "waveform" (waveforms, lengths) or "features" (features, valid).
        plan: {"version", "seed", "stages": [{"at", "score", "reduction", "keep_rate" or "count"}]}.
            Files without a version are of version 1.
        activation: "sigmoid" or "softmax"; metric: "mAP" or "accuracy".
        macs: multiply-accumulates for one clip.
        quantization: "none", "int8 dynamic" or "int8 static".
        spectrim: version that wrote the file.
    """

    name: str
    labels: list[str]
    sampling_rate: int
    window_samples: int
    frames: int
    input: str
    plan: dict[str, Any]
    activation: str
    metric: str
    macs: int
    quantization: str
    spectrim: str

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
        if entry.name not in texts:
            raise SpectrimError(f"{path}: its metadata lacks {entry.name!r}. Export it again.")
        text = texts[entry.name]
        try:
            values[entry.name] = text if entry.type == "str" else json.loads(text)
        except ValueError as error:
            raise SpectrimError(
                f"{path}: metadata {entry.name!r} is {text!r}, which is not JSON. Export it again."
            ) from error
    values["plan"] = upgrade({"version": 1, **values["plan"]})
    return Metadata(**values)
