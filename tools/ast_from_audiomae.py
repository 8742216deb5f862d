"""Start an AST from a pre-trained AudioMAE of the same size: its patch embedding and its blocks.

    python tools/ast_from_audiomae.py runs/pretrain-words/last runs/ast-start/last

Both classes of models have the same blocks. They differ in the order of the patches, the number of
prefix tokens, and what the head reads. So the position of each patch moves to its place in AST's
order, and class and distillation token both start from AudioMAE's class token. The head, and the
norm before it, are fresh: `spectrim train` replaces the head for the classes of its data.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.models.presets import FAMILIES
from spectrim.models.transformer import SpectrogramTransformer


def ast_from_audiomae(encoder: SpectrogramTransformer) -> SpectrogramTransformer:
    """An AST with the weights of an AudioMAE.

    Raises:
        SpectrimError: the model is not an AudioMAE.
    """
    old = encoder.config
    if old.family != "audiomae":
        raise SpectrimError(f"a model of family {old.family!r}; expected a pre-trained audiomae.")
    name = old.name.replace("audiomae", "ast")
    config = replace(old, name=name, **(FAMILIES["ast"] | {"family": "ast"}))
    model = SpectrogramTransformer(config)
    fresh = ("prefix_tokens", "positions", "norm.", "head_norm.", "head.")
    state = {key: value for key, value in encoder.state_dict().items() if not key.startswith(fresh)}
    model.load_state_dict(state, strict=False)
    # Columns and rows of AST's patches, and the index of the same patches in AudioMAE.
    place = model.grid.locate(torch.arange(model.grid.count)).tolist()
    index = torch.tensor([encoder.grid.index(column, row) for column, row in place])
    prefix = old.num_prefix_tokens
    with torch.no_grad():
        positions = encoder.positions[:, prefix:][:, index]
        classes = encoder.positions[:, :1].expand(-1, config.num_prefix_tokens, -1)
        model.positions.copy_(torch.cat([classes, positions], 1))
        model.prefix_tokens.copy_(encoder.prefix_tokens[:, :1].expand_as(model.prefix_tokens))
    return model.eval()


def main() -> None:
    """Parse, convert, save."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("encoder", help="folder of the AudioMAE that `spectrim pretrain` wrote")
    parser.add_argument("out", type=Path, help="folder of the AST, for init= of `spectrim train`")
    args = parser.parse_args()
    ast_from_audiomae(spectrim.load(args.encoder)).save(args.out)
    print(args.out)


if __name__ == "__main__":
    main()
