"""Golden data of audio transformers: what the original code computed, in ../shared."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import spectrim
from spectrim.models.trace import Trace
from spectrim.models.transformer import SpectrogramTransformer

GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "backbones"
HALF = {"keep_rate": 0.5, "blocks": [1]}  # the pruned runs: a stage in block 1
NEAR_TIE = 5e-5  # a relative gap in scores, below which NOTES.md allows one other pair


@dataclass(frozen=True)
class Case:
    """One clip length of one model.

    Attributes:
        folder: of the golden data; file: its arrays, without the suffix.
        source: checkpoint file in the folder; None: the folder itself.
        options: of `load`.
        mels_first: whether stored features are (..., mels, frames).
        features_file: of the features, where the file has none.
        near_tie: whether one kept patch may differ, see NOTES.md.
        logits: names of the unpruned and pruned logits.
    """

    folder: str
    file: str
    source: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    mels_first: bool = True
    near_tie: bool = False
    features_file: str = ""
    logits: tuple[str, str] = ("logits", "pruned_logits")

    def __str__(self) -> str:
        return f"{self.folder}-{self.source or 'folder'}-{self.file}"

    def arrays(self) -> dict[str, Tensor]:
        path = GOLDEN / self.folder / f"{self.file}.npz"
        if not path.is_file():
            pytest.skip(f"no golden data: {path} is absent in a plain clone")
        with np.load(path) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}

    def model(self, **options: Any) -> SpectrogramTransformer:
        source = GOLDEN / self.folder / (self.source or "")
        return spectrim.load(source, **(self.options | options))

    def features(self, arrays: dict[str, Tensor]) -> Tensor:
        """(1, frames, mels), the frames that the model takes: whole columns of patches."""
        if "features" not in arrays:
            arrays = replace(self, file=self.features_file).arrays()
        features = arrays["features"].reshape(1, *arrays["features"].shape[-2:])
        return features.transpose(1, 2) if self.mels_first else features


CED = [
    Case("ced", file, source, {"frames": frames} | options)
    for file, frames in (("full", 1001), ("short3", 301), ("short1", 101))
    for source, options in ((None, {}), ("ced_original.pt", {"heads": 3, "labels": 10}))
]
PASST = [
    Case(
        "passt", f"{size}_{file}", f"passt_{size}.pt", {"frames": frames, "heads": heads},
        near_tie=(size, file) == ("s10", "full"), features_file=f"s10_{file}",
    )
    for size, heads in (("s10", 3), ("s16", 2))
    for file, frames in (("full", 1000), ("short3", 300), ("short1", 100))
]  # fmt: skip
EAT = [
    Case(
        "eat", file, source, {"frames": frames} | options, mels_first=False,
        near_tie=file == "full", logits=(f"logits{suffix}", f"pruned_logits{suffix}"),
    )
    for file, frames in (("full", 1024), ("short3", 1024), ("short1", 128))
    for source, options, suffix in ((None, {}, "_hf"), ("eat_fairseq.pt", {"heads": 3}, ""))
]  # fmt: skip
SSAST = [
    Case(
        "ssast", file, "ssast_finetuned.pth",
        {"frames": frames, "heads": 3, "pool": "normalised-patches"}, mels_first=False,
    )
    for file, frames in (("full", 1024), ("short3", 1024), ("short1", 128))
]  # fmt: skip
MAEST = [
    Case("maest", file, mels_first=False, near_tie=file == "short1")
    for file in ("full", "short3", "short1")
]
CASES = [*MAEST, *CED, *PASST, *EAT, *SSAST]


def blocks_of(model: SpectrogramTransformer, features: Tensor) -> list[Tensor]:
    """Tokens at the input and after every block, prefix tokens first."""
    depth = model.config.depth
    return [model.encode(features, stop=stop).x for stop in range(depth + 1)]


def kept_patches(model: SpectrogramTransformer, trace: Trace) -> list[int]:
    """Indices of the patches that block 1 keeps, ascending."""
    positions = trace.kept[1][0].tolist()
    return sorted(model.grid.index(column, row) for column, row in positions)


def assert_same_set(kept: list[int], expected: list[int], near_tie: bool) -> None:
    assert len(kept) == len(expected)
    differences = len(set(kept) - set(expected))
    assert differences <= (1 if near_tie else 0), differences
