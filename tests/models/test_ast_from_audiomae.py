"""An AST that starts from an AudioMAE computes what the AudioMAE computes, patch by patch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ast_from_audiomae import ast_from_audiomae
from spectrim.common.errors import SpectrimError


def test_the_patches_go_through_the_same_network(make):
    """With one prefix token, and the others hidden from attention, the outputs are equal."""
    encoder = make("audiomae", frames=64)
    model = ast_from_audiomae(encoder)
    assert model.config.family == "ast" and model.config.num_prefix_tokens == 2
    features = torch.randn(2, 64, 128, generator=torch.Generator().manual_seed(0))
    valid = torch.tensor([64, 64])
    # The distillation token duplicates the class token. Without it nothing differs.
    single = ast_from_audiomae(encoder)
    single.config = replace(single.config, num_prefix_tokens=1)
    single.prefix_tokens.data = model.prefix_tokens[:, :1]
    single.positions.data = model.positions[:, 1:]
    with torch.inference_mode():
        theirs = encoder.encode(features, valid).x[:, 1:]
        ours = single.encode(features, valid).x[:, 1:]
    for index in range(model.grid.count):
        column, row = model.grid.locate(torch.tensor(index)).tolist()
        same = theirs[:, encoder.grid.index(column, row)]
        torch.testing.assert_close(ours[:, index], same, rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        assert torch.isfinite(model(features, valid)).all()


def test_another_family_is_refused(make):
    with pytest.raises(SpectrimError, match="expected a pre-trained audiomae"):
        ast_from_audiomae(make("ast"))
