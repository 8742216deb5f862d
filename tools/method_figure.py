"""Draw README's figure: a spectrogram, and the patches left after each of the three stages.

    python tools/method_figure.py "ESC-10/009 - Rooster/5-194930-B.ogg" --out docs/method.png

Any sound file and any model work. The clip should be longer than the model's window, because the
figure marks no padding. ESC-10's clips last 5 s, so the default window is 496 frames (4.98 s).
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

import spectrim
from spectrim.models.transformer import SpectrogramTransformer

PATCH = 16  # frames and mel bins of a patch
FRAMES_PER_SECOND = 100
DROPPED = "#e9e9ec"
BLOCKS = (3, 6, 9)


def main() -> None:
    """Read the arguments, draw and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", default="audiomae-esc50")
    parser.add_argument("--frames", type=int, default=496)
    parser.add_argument("--keep-rate", type=float, default=0.5)
    parser.add_argument("--score", default="attention")
    parser.add_argument("--out", type=Path, default=Path("docs/method.png"))
    args = parser.parse_args()
    model = spectrim.load(args.model, frames=args.frames)
    pruned = spectrim.prune(model, args.keep_rate, score=args.score, blocks=BLOCKS)
    figure = draw(model, pruned, args.clip)
    save_small(figure, args.out)


def draw(model: SpectrogramTransformer, pruned: SpectrogramTransformer, clip: Path) -> Figure:
    """Four panels: the input with the patch grid, then what each stage leaves."""
    features, valid = pruned.features([clip])
    if int(valid[0]) < features.shape[1]:
        raise SystemExit(f"{clip} is shorter than the model's window: choose a longer clip.")
    with torch.no_grad():
        trace = pruned.trace(features, valid)
        before = model.probabilities(model(features, valid))[0]
        after = pruned.probabilities(trace.logits)[0]
    spectrogram = features[0].T.numpy()  # (mels, frames)
    total = (spectrogram.shape[0] // PATCH) * (spectrogram.shape[1] // PATCH)

    figure = Figure(figsize=(9.6, 4.5), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.09, wspace=0.03, hspace=0.04)
    panels = figure.subplots(2, 2, sharex=True, sharey=True).flat
    limits = np.percentile(spectrogram, [2, 99.8])
    titles = [f"Input: {total} patches"]
    titles += [f"After block {block}: {trace.kept[block].shape[1]} left" for block in BLOCKS]
    answers = [answer(model, before), "", "", answer(model, after)]
    for index, (axes, title) in enumerate(zip(panels, titles, strict=True)):
        kept = trace.kept[BLOCKS[index - 1]][0].numpy() if index else None
        show(axes, spectrogram, kept, limits)
        axes.set_title(title, loc="left", fontsize=15, fontweight="bold", pad=6)
        axes.set_title(answers[index], loc="right", fontsize=15, pad=6)
        if index >= 2:
            axes.set_xlabel("time (s)", fontsize=13)
        if index % 2 == 0:
            axes.set_ylabel("mel bin", fontsize=13)
    return figure


def answer(model: SpectrogramTransformer, probabilities: torch.Tensor) -> str:
    """The most probable class with its probability, in words."""
    top = int(probabilities.argmax())
    return f"{model.labels[top]} {probabilities[top]:.0%}".replace("%", " %")


def save_small(figure: Figure, path: Path) -> None:
    """Write a PNG of 128 colours, a third as large as one of full colour."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160)
    image = Image.open(buffer).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def show(axes: Axes, spectrogram: np.ndarray, kept: np.ndarray | None, limits: np.ndarray) -> None:
    """Draw one panel. `kept` is (patches, 2): time column and frequency row, or None for all."""
    mels, frames = spectrogram.shape
    rows, columns = mels // PATCH, frames // PATCH
    is_kept = np.ones((rows, columns), bool)
    if kept is not None:
        is_kept[:] = False
        is_kept[kept[:, 1], kept[:, 0]] = True
    # Repeating each patch's flag 16 times in both directions masks the spectrogram's pixels.
    pixels = is_kept.repeat(PATCH, 0).repeat(PATCH, 1)
    shown = np.ma.masked_where(~pixels, spectrogram[: rows * PATCH, : columns * PATCH])
    seconds = columns * PATCH / FRAMES_PER_SECOND
    axes.set_facecolor(DROPPED)
    axes.imshow(
        shown,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=limits[0],
        vmax=limits[1],
        extent=(0, seconds, 0, rows * PATCH),
        interpolation="nearest",
    )
    for column in range(1, columns):
        axes.axvline(column * PATCH / FRAMES_PER_SECOND, color="white", linewidth=0.6)
    for row in range(1, rows):
        axes.axhline(row * PATCH, color="white", linewidth=0.6)
    axes.set_yticks(range(0, mels + 1, 64))
    axes.set_xticks(range(int(seconds) + 1))
    axes.tick_params(length=0, labelsize=12)
    for spine in axes.spines.values():
        spine.set_visible(False)


if __name__ == "__main__":
    main()
