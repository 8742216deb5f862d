"""All figures of an analysis, in the order of the report, with captions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from ...evaluation.sweep_files import slug
from ..analyze import DataSet
from ..counts.kendall import DEFINITIONS
from ..examples import Example
from . import bars, curves, joint, maps


@dataclass(frozen=True)
class FigureEntry:
    """A figure of the report.

    Attributes:
        section: its heading in the report.
        name: of its files, without suffix.
        figure: the figure to save; drawn only when needed, so one at a time is in memory.
        caption: what it shows, and how to read it.
        example: the clip that it shows, or None.
    """

    section: str
    name: str
    figure: Figure
    caption: str
    example: Example | None = None


def draw_all(
    data: Sequence[DataSet], paper: bool = False, tau_pruned: bool = False
) -> Iterator[FigureEntry]:
    """Figures 3 to 6 of the paper and two more; figures without content are omitted.

    Args:
        paper: draw the published curves into Figure 4.
        tau_pruned: draw Figure 4 of the pruned models too, which must have been counted.
    """
    yield from _examples(data)
    yield from _tau(data, paper, tau_pruned)
    yield FigureEntry(
        "Clusters of patches",
        "fig5-clusters",
        bars.draw_clusters(data),
        "The paper's Figure 5 and Table III: all patches by mean and by standard deviation, in "
        "five K-means clusters (C1 is the lowest). Padding lies at its clip's minimum.",
    )
    for one in data:
        if figure := joint.draw_joint(one):
            yield FigureEntry(
                "Input and kept patches",
                f"fig6-{slug(one.name)}",
                figure,
                "The paper's Figure 6: log histograms of (mean, std), 20 bins on each axis, of the "
                "input and of the patches kept after the last pruning. The std axis ends at 75 % "
                "of its range. Where there is padding, the right half leaves out patches past the "
                "valid frames. Titles give the number of patches. Each pair of columns shares a "
                "colour scale.",
            )
    if figure := bars.draw_retention(data):
        yield FigureEntry(
            "Kept patches",
            "retention",
            figure,
            "Share of the input's patches kept after the last pruning, by cluster, by padding and "
            "sound, by frequency and by time. Each row has its own scale. Dotted: share of all "
            "patches. Intensity and variation keep the same sound in every model. A patch that "
            "contains the end of the clip counts as sound; it is half silent, so it varies most "
            "and variation keeps it. Whiskers: one standard error over clips.",
        )
    if figure := curves.draw_received(data):
        yield FigureEntry(
            "Attention of kept and dropped patches",
            "received",
            figure,
            "Attention that a kept patch receives, divided by that of a dropped patch, in each "
            "pruning block (AST: from the class token; AudioMAE: from the patches). Blocks count "
            "from 0. Whiskers: one standard error over clips.",
        )


def _examples(data: Sequence[DataSet]) -> Iterator[FigureEntry]:
    for one in data:
        for number, example in enumerate(one.examples, 1):
            pictures = example.pictures
            if not any(len(picture.holders) > 1 for picture in pictures):
                continue
            has_padding = any(picture.valid < len(picture.features) for picture in pictures)
            label = ", ".join(example.clip.labels) or "no label"
            yield FigureEntry(
                "Examples of kept patches",
                f"fig3-{slug(one.name)}-{number}",
                maps.draw_example(example),
                f"The paper's Figure 3 for {one.name}, {example.clip.path.name} ({label}): "
                "log-mel with the patches blanked that each pruning drops, and each model's top "
                "class before and after. Models that keep the same patches share a row. Blocks "
                "count from 0."
                + (
                    " Frames of one colour surround the patches of one token."
                    if any(picture.merges for picture in pictures)
                    else ""
                )
                + (" Padding lies right of the dashed line." if has_padding else ""),
                example,
            )


def _tau(data: Sequence[DataSet], paper: bool, tau_pruned: bool) -> Iterator[FigureEntry]:
    has_padding = any(pruned.retention.has_padding for one in data for _, pruned in one.pruned)
    for definition in DEFINITIONS:
        for patches in (0, 1) if has_padding else (0,):
            # The published curves count all patches, in the paper's definition.
            with_paper = paper and definition == "paper" and not patches
            for pruned in (False, True) if tau_pruned else (False,):
                words = ["fig4", definition, *["no-padding"] * patches, *["pruned"] * pruned]
                models = " of the pruned models, which have fewer patches in later blocks"
                yield FigureEntry(
                    "Attention against intensity and variation",
                    "-".join(words),
                    curves.draw_tau(data, definition, patches, with_paper, pruned),
                    "The paper's Figure 4: Kendall's tau between a patch's attention score and "
                    f"its cluster, over pairs within each clip{models if pruned else ''}"
                    f"{', without padding' if patches else ''}. Blocks count from 0."
                    + (" Grey: the paper's curves (its block 1 is block 0)." if with_paper else "")
                    + " Whiskers: one standard error over clips.",
                )
