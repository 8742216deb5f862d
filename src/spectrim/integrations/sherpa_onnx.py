"""Export of CED models for the audio tagging of sherpa-onnx, with pruning inside.

sherpa-onnx 2.0 (k2-fsa/sherpa-onnx, csrc/offline-ced-model.cc, offline-stream.cc and
audio-tagging-label-file.cc) expects, and docs/deploy.md repeats it for users:
- one input (1, 64, frames) in decibels, any number of frames;
- as the first output probabilities (1, classes), whose number of classes is static;
- labels as CSV: a header, then index,mid,"name", in the order of the outputs.
It computes the input with Kaldi's filter bank: a frame of 512 samples every 160, in the middle of
its 160 samples, so half a hop (5 ms) after torchaudio's, whose features CED was trained on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..audio.filterbank import fit_to_frames
from ..common.errors import SpectrimError
from ..common.files import save_text
from ..deploy.export import write_onnx
from ..deploy.graph import FromFeatures
from ..models.labels import audioset
from ..models.transformer import SpectrogramTransformer

FRONT_END, MELS = "htk-mel", 64  # what sherpa-onnx computes


class FromDecibels(FromFeatures):
    """Mel spectrograms in decibels, of any length, to probabilities."""

    names = ("features",)
    outputs = ("probabilities",)

    def forward(self, features: Tensor) -> Tensor:  # type: ignore[override]
        """(batch, mels, frames) decibels to (batch, classes) probabilities.

        Frames past the model's window are ignored. Shorter inputs are padded as in training.
        """
        frames, padding = self.model.config.frames, self.model.config.padding
        # Ones, summed: the number of frames without a branch on it.
        valid = torch.ones_like(features[:, 0]).sum(1).long()
        features = features.transpose(1, 2)
        behind = features.new_zeros(features.shape[0], frames, features.shape[2])
        features = torch.cat([features, behind], 1)[:, :frames]
        features, valid = fit_to_frames(features, valid, frames, padding)
        probabilities, _, _ = super().forward(self.model.normalise(features), valid)
        return probabilities

    def examples(self) -> tuple[Tensor, ...]:  # type: ignore[override]
        """Inputs to trace with."""
        features, _ = super().examples()
        return (features.transpose(1, 2)[:, :, :-3].contiguous(),)

    def free(self) -> tuple[dict[int, Any], ...]:  # type: ignore[override]
        """Which sizes of the input are free."""
        return ({0: torch.export.Dim("batch"), 2: torch.export.Dim("frames")},)


def export_sherpa_onnx(
    model: SpectrogramTransformer,
    out: str | os.PathLike[str],
    *,
    quantize: str | None = None,
    name: str | None = None,
) -> Path:
    """Write a CED model, with its plan, for sherpa-onnx, and its labels beside it.

    Args:
        out: the file to write; `labels_csv` names the file of labels beside it.
        quantize: "int8" as in `export`, dynamic.
        name: name of the model in the metadata; None: its config's name.

    Returns:
        The path.

    Raises:
        SpectrimError: a model with another front end; as `export`.
    """
    config = model.config
    if (config.front_end, config.mels) != (FRONT_END, MELS):
        raise SpectrimError(
            f"sherpa-onnx computes the features of CED ({FRONT_END}, {MELS} bins); "
            f"{name or config.name} uses {config.front_end} with {config.mels} bins. Export it "
            "without --format sherpa-onnx, or choose a CED model."
        )
    out = Path(out)
    write_onnx(model, FromDecibels, out, "decibels", quantize, name=name)
    save_text(labels_csv(out), labels_text(model.labels))
    return out


def labels_csv(out: Path) -> Path:
    """The file of labels beside an exported file, such as "ced.labels.csv"."""
    return out.with_suffix(".labels.csv")


def labels_text(labels: list[str]) -> str:
    """Labels as sherpa-onnx reads them: names between quotes, which are not escaped.

    A line break would end a row, so it becomes a space.
    """
    ids = {label: mid for mid, label in audioset()}
    rows = [
        f'{index},{ids.get(label, "")},"{" ".join(label.splitlines())}"\n'
        for index, label in enumerate(labels)
    ]
    return "".join(["index,mid,display_name\n", *rows])
