"""Numbers of the original implementations of token-reduction methods, for tests.

A part of them is committed (`tests/golden/reducers`, float32). The complete files, in float64, lie
in `../shared/golden/reducers`; `FACTS.md` there describes them. Keys are the same in both.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from spectrim.models.block import Block
from spectrim.pruning.context import Clips, Context
from spectrim.pruning.patches import PatchGrid
from spectrim.pruning.tokens import Tokens

TESTS = Path(__file__).parents[1]
COMMITTED = TESTS / "golden" / "reducers"
COMPLETE = TESTS.parents[1] / "shared" / "golden" / "reducers"
FOLDERS = {"committed": COMMITTED, "complete": COMPLETE}


@functools.cache
def _file(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def keys(source: str, method: str) -> list[str]:
    """The keys of a method's arrays; none where its file is absent."""
    if source == "committed":
        every = _file(COMMITTED / "operations.npz")
        return [key.removeprefix(f"{method}/") for key in every if key.startswith(f"{method}/")]
    path = COMPLETE / f"{method}.npz"
    return list(_file(path)) if path.exists() else []


def array(source: str, method: str, key: str) -> Any:
    """One array; floats as float64."""
    require(source)
    if source == "committed":
        values = _file(COMMITTED / "operations.npz")[f"{method}/{key}"]
    else:
        values = _file(COMPLETE / f"{method}.npz")[key]
    return values.astype(np.float64) if values.dtype.kind == "f" else values


def tensor(source: str, method: str, key: str) -> Tensor:
    """The same as a tensor."""
    return torch.as_tensor(array(source, method, key))


def require(source: str) -> None:
    """Skip a test whose numbers are absent."""
    if source == "complete" and not COMPLETE.is_dir():
        pytest.skip(f"no numbers of the original implementations: {COMPLETE} is absent")


def cases(method: str, pattern: str) -> list[Any]:
    """`pytest.param(source, case)` for all cases of a method that match, such as "op/s1_r8"."""
    params = []
    for source in FOLDERS:
        names = {key.rpartition("/")[0] for key in keys(source, method)}
        chosen = sorted(name for name in names if re.fullmatch(pattern, name))
        if source == "complete" and not chosen:
            params.append(pytest.param(source, None, id="complete"))
        params += [pytest.param(source, name, id=f"{source}-{name}") for name in chosen]
    return params


def num_prefix_tokens(case: str) -> int:
    """Of a case: "op/s1_r8" has 1."""
    return int(case.split("/s")[1][0])


@functools.cache
def op_block(source: str) -> Block:
    """The block of the single operations, in float64."""
    block = Block(32, 2, 1e-6)
    block.load_state_dict(load_file(FOLDERS[source] / "op_block.safetensors"))
    return block.double().eval()


def arriving(
    source: str,
    prefix: int,
    *,
    dtype: torch.dtype = torch.float64,
    sizes: Tensor | None = None,
    attend_by_size: bool = False,
) -> tuple[Tokens, Context]:
    """Tokens between attention and MLP of the single operations' block, and their context.

    Args:
        prefix: number of prefix tokens; the sequence has 33 tokens with them.
        sizes: (batch, 33) of the arriving tokens.
        attend_by_size: whether attention is weighted by them.
    """
    x = tensor(source, "inputs", f"op/s{prefix}/x_in").to(dtype)
    count = x.shape[1] - prefix
    grid = PatchGrid(16 * count, 16)  # one row of patches
    batch = len(x)
    features, valid = torch.zeros(batch, 16 * count, 16), torch.full((batch,), 16 * count)
    clips = Clips(features, valid, grid, has_class_token=prefix > 0)
    tokens = Tokens(x, prefix, torch.arange(count).expand(batch, -1))
    if sizes is not None:
        tokens = replace(tokens, sizes=sizes[:, prefix:].to(dtype), proportional=attend_by_size)
    with torch.no_grad():
        block = op_block(source).to(dtype)
        tokens, context = block.attend(tokens, clips, 0, explicit=prefix == 0)
    op_block(source).double()
    return tokens, context


def whole_members(tokens: Tokens, num_input_patches: int) -> Tensor:
    """(batch, input tokens): positions in the whole sequence, prefix tokens counted, as stored."""
    prefix = tokens.num_prefix_tokens
    holders = tokens.holders(num_input_patches)
    holders = torch.where(holders < 0, -1, holders + prefix)
    front = torch.arange(prefix).expand(len(holders), -1)
    return torch.cat([front, holders], 1)


def whole_sizes(tokens: Tokens) -> Tensor:
    """(batch, tokens): sizes of the whole sequence; prefix tokens have 1."""
    assert tokens.sizes is not None
    return torch.nn.functional.pad(tokens.sizes, (tokens.num_prefix_tokens, 0), value=1.0)
