"""Patches that are exactly alike: PyTorch and ONNX Runtime merge and drop the same ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import nn

from spectrim.deploy.export import OPSET
from spectrim.deploy.translations import translations
from spectrim.pruning.attention import Attention
from spectrim.pruning.components import declared
from spectrim.pruning.context import Clips, Context
from spectrim.pruning.patches import PatchGrid
from spectrim.pruning.reductions import REDUCTIONS
from spectrim.pruning.stage import Stage
from spectrim.pruning.tokens import Tokens

GRID = PatchGrid(160, 64)  # 10 columns, 4 rows
PREFIX, WIDTH, KINDS = 1, 8, 4
OPTIONS = {
    "pitome": ({"variant": "bsm", "margin": 0.0}, {"variant": "plain", "margin": 0.0}),
}
CASES = [
    (name, options)
    for name, reduce in REDUCTIONS.items()
    if declared(reduce, "exportable", True) is True
    for options in OPTIONS.get(name, ({},))
]
IDS = [" ".join([name, *map(str, options.values())]) for name, options in CASES]


class Stages(nn.Module):
    """Tokens and scores to what each stage leaves: values, origin and holders of all patches."""

    def __init__(self, cases) -> None:
        super().__init__()
        self.cases = cases

    def forward(self, x, scores):
        batch = x.shape[0]
        origin = torch.arange(GRID.count, device=x.device).expand(batch, -1)
        keys = x[:, None]  # one head
        clips = Clips(x.new_zeros(batch, 160, 64), x.new_full((batch,), 160), GRID, True)
        outputs = []
        for reduction, options in self.cases:
            tokens = Tokens(x, PREFIX, origin)
            context = Context(clips, tokens, 1, Attention(keys, keys, keys, None))
            stage = Stage(
                1,
                0.6,
                score=lambda context: scores,
                reduction=reduction,
                reduction_options=options,
            )
            left = stage(tokens, context)
            outputs += [left.x, left.origin, left.holders(GRID.count)]
        return tuple(outputs)


def alike(batch: int):
    """Tokens of four kinds, at right angles; scores of four values. All sums are exact."""
    generator = torch.Generator().manual_seed(batch)
    kinds = torch.randint(KINDS, (batch, PREFIX + GRID.count), generator=generator)
    scores = torch.randint(1, 5, (batch, GRID.count), generator=generator) / 4
    return torch.eye(WIDTH)[kinds], scores


@pytest.fixture(scope="module")
def outputs(needed):
    """Of PyTorch and of ONNX Runtime: three arrays for each case."""
    import onnxruntime

    stages, batch = Stages(CASES).eval(), torch.export.Dim("batch")
    program = torch.onnx.export(
        stages,
        alike(2),
        input_names=["x", "scores"],
        dynamic_shapes=({0: batch}, {0: batch}),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        custom_translation_table=translations(),
    )
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    x, scores = alike(16)
    with torch.no_grad():
        expected = [array.numpy() for array in stages(x, scores)]
    return expected, session.run(None, {"x": x.numpy(), "scores": scores.numpy()})


@pytest.mark.slow
@pytest.mark.parametrize("case", range(len(CASES)), ids=IDS)
def test_onnx_runtime_breaks_ties_as_pytorch_does(outputs, case):
    expected, exported = (arrays[3 * case : 3 * case + 3] for arrays in outputs)
    np.testing.assert_allclose(exported[0], expected[0], atol=1e-6)
    np.testing.assert_array_equal(exported[1], expected[1])
    np.testing.assert_array_equal(exported[2], expected[2])


@pytest.mark.parametrize("reduction", ["tome", "adjacent"])
def test_equal_pairs_merge_in_the_order_of_their_index(reduction):
    """All patches are alike: 16 of 40 leave, the first pairs of the sequence."""
    x = torch.eye(WIDTH)[torch.zeros(1, PREFIX + GRID.count, dtype=torch.long)]
    with torch.no_grad():
        _, origin, holders = Stages([(reduction, {})])(x, torch.ones(1, GRID.count))
    holders = holders[0].tolist()
    if reduction == "tome":  # A is patches 1, 3, ...: the first 16 of it join B's first, patch 0
        assert [holders[patch] for patch in range(1, 33, 2)] == [holders[0]] * 16
        assert origin[0].tolist() == [33, 35, 37, 39, *range(0, 40, 2)]
    else:  # in each row of ten neighbours 0 and 1, 2 and 3, ...: the first 16 of these 20 pairs
        by_row = {tuple(GRID.locate(torch.tensor(patch)).flip(0).tolist()): patch
                  for patch in range(40)}  # fmt: skip
        order = [by_row[place] for place in sorted(by_row)]
        for pair in range(20):
            one, other = (holders[order[2 * pair + side]] for side in (0, 1))
            assert (one == other) == (pair < 16)
