"""What an exported file says about itself, read without any runtime.

An ONNX file is a protocol buffer; its `metadata_props` are pairs of texts on the top level. Reading
them here means that a file which is cut, or not ours, is told by name before a runtime sees it.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from ..common.errors import SpectrimError

FORMAT = "spectrim-onnx"
FORMAT_VERSION = 1
_METADATA_PROPS = 14  # field number in onnx.proto's ModelProto
_GRAPH = 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protocol buffers' wire types


@dataclass(frozen=True)
class Metadata:
    """What stands in the file, each value as text or as JSON.

    Attributes:
        name: of the model that was exported.
        labels: names of the classes, in the order of the outputs.
        sampling_rate: Hz. window_samples: the longest clip; what is longer must be cut.
        frames: of 10 ms, the same length.
        input: "waveform" (waveforms, lengths) or "features" (features, valid).
        plan: {"seed", "stages": [{"at", "score", "reduction", "keep_rate" or "count"}]}.
        activation: "sigmoid" or "softmax"; metric: "mAP" or "accuracy".
        macs: multiply-accumulates for one clip.
        quantization: "none", "int8 dynamic" or "int8 static".
        spectrim: the version that wrote it.
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


def read_metadata(path: str | os.PathLike[str]) -> Metadata:
    """Read what `spectrim export` wrote.

    Raises:
        SpectrimError: missing, damaged, not an ONNX file, not ours, or of another version.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "no such file"
        raise SpectrimError(f"{path}: {what}; wanted an ONNX file of `spectrim export`.")
    texts = _texts(path)
    if texts.get("format") != FORMAT:
        raise SpectrimError(
            f"{path}: an ONNX file, but not one that `spectrim export` wrote: it does not say "
            "how it hears. Export the model with Spectrim."
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
            raise SpectrimError(f"{path}: metadata {entry.name!r} is {text!r}, no JSON.") from error
    return Metadata(**values)


def _texts(path: Path) -> dict[str, str]:
    """The file's metadata."""
    size = path.stat().st_size
    texts: dict[str, str] = {}
    graph = False
    try:
        with path.open("rb") as file:
            for number, content in _fields(file, size, _METADATA_PROPS):
                graph = graph or number == _GRAPH
                if content is not None:
                    texts.update([_pair(content)])
    except OSError as error:
        raise SpectrimError(f"cannot read {path}: {error.strerror}.") from error
    except (ValueError, EOFError) as error:
        raise SpectrimError(
            f"{path}: not a whole ONNX file ({error}). Copy or export it again."
        ) from error
    if not graph:
        raise SpectrimError(f"{path}: not an ONNX file: it holds no graph.")
    return texts


def _pair(content: bytes) -> tuple[str, str]:
    """A StringStringEntryProto: key and value."""
    found = {1: "", 2: ""}
    for number, text in _fields(io.BytesIO(content), len(content), None):
        if number in found and text is not None:
            found[number] = text.decode()
    return found[1], found[2]


def _fields(file: BinaryIO, size: int, wanted: int | None) -> Iterator[tuple[int, bytes | None]]:
    """Numbers of a message's fields; the bytes of those `wanted` (None: all), others skipped."""
    while file.tell() < size:
        tag = _varint(file)
        number, wire = tag >> 3, tag & 7
        if number == 0 or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            raise ValueError(f"no protocol buffer at byte {file.tell()}")
        if wire == _VARINT:
            _varint(file)
            yield number, None
            continue
        length = _varint(file) if wire == _BYTES else 8 if wire == _FIXED64 else 4
        if file.tell() + length > size:
            raise EOFError(f"cut off: {file.tell() + length - size} bytes are missing")
        if wire == _BYTES and wanted in (None, number):
            yield number, file.read(length)
        else:
            file.seek(length, os.SEEK_CUR)
            yield number, None


def _varint(file: BinaryIO) -> int:
    value = shift = 0
    while True:
        byte = file.read(1)
        if not byte:
            raise EOFError("cut off")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
        shift += 7
        if shift > 63:
            raise ValueError(f"no protocol buffer at byte {file.tell()}")
