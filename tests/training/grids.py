"""A small grid, on clips whose file names repeat, as Speech Commands' do."""

from __future__ import annotations

from pathlib import Path

from tones import write_recipe, write_tones

SUPERVISED = """
epochs: 2
blocks: [2, 5, 8]
model: {preset: ast-tiny, frames: 64}
data: {manifest: MANIFEST}
optim: {lr: 5.0e-4, batch_size: 8, clip: 1.0}
run: {threads: 1}
"""
PRETRAIN = """
epochs: 1
decoder_width: 64
decoder_depth: 1
decoder_heads: 2
model: {preset: audiomae-tiny, frames: 64}
data: {manifest: MANIFEST}
optim: {lr: 1.0e-3, batch_size: 8}
run: {threads: 1}
"""
GRID = """
columns:
  ast-tones: {recipe: FOLDER/tones.yaml, task: tones, model: AST, paper: "AST, SPC-2",
              runs: [[seed=0], [seed=1]], changes: [init=ast-digits]}
  audiomae-tones: {recipe: FOLDER/tones.yaml, task: tones, model: AudioMAE, runs: [[seed=0]],
                   pretrained: true, tuned: [optim.clip=2.0]}
scores: [attention, variation]
keep_rates: [0.7, 0.5]
tuned: [epochs=1, schedule.start=0, schedule.length=0.5]
pretrain: FOLDER/pretrain.yaml
pretrain_runs: [[seed=0]]
order: [pretrain/0, baseline/*/0, shelf/*/0, control/*/0, "tuned/*/attention-0.5/0"]
"""


def write_grid(folder: Path) -> Path:
    """Clips, recipes and `small.yaml` in a folder, which is returned."""
    tones = write_tones(folder, name="{}/{}-{}.wav")
    for name, text in (("tones", SUPERVISED), ("pretrain", PRETRAIN)):
        write_recipe(folder, tones, text).rename(folder / f"{name}.yaml")
    (folder / "small.yaml").write_text(GRID.replace("FOLDER", str(folder)))
    return folder
