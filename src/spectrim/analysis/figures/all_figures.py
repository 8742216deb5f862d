"""All figures of an analysis, in the order of the report, with what a reader needs to know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from ...evaluation.results import slug
from ..analyze import DataSet
from ..examples import Example
from . import bars, curves, joint, maps


@dataclass(frozen=True)
class Drawn:
    """A figure.

    Attributes:
        section: heading in the report under which it stands.
        name: of its files, without suffix.
        figure: what to save; drawn when its turn comes, so that only one is in memory.
        caption: what it shows and how to read it.
        example: the clip that it shows, or None.
    """

    section: str
    name: str
    figure: Figure
    caption: str
    example: Example | None = None


def draw_all(
    found: Sequence[DataSet], paper: bool = False, tau_pruned: bool = False
) -> Iterator[Drawn]:
    """Figures 3 to 6 and what goes beyond them; those that have nothing to show are left out.

    Args:
        paper: draw the published curves of Figure 4 along.
        tau_pruned: Figure 4 of the pruned models too, which must have been counted.
    """
    yield from _examples(found)
    yield from _tau(found, paper, tau_pruned)
    yield Drawn(
        "Clusters of patches",
        "fig5-clusters",
        bars.draw_clusters(found),
        "The paper's Figure 5 and Table III: all patches by mean and by standard deviation, cut "
        "into five K-means clusters each (C1 lowest). Padding lies at its clip's minimum.",
    )
    for data in found:
        if figure := joint.draw_joint(data):
            yield Drawn(
                "Input and retained patches",
                f"fig6-{slug(data.name)}",
                figure,
                "The paper's Figure 6: log histograms of (mean, std), 20 bins a side, of the input "
                "and of what is retained after the last pruning; the std axis ends at 75 % of its "
                "range. To the right, where there is padding, without the patches past the valid "
                "frames. The numbers are "
                "those of the patches; scales are equal within a pair of columns.",
            )
    if figure := bars.draw_retention(found):
        yield Drawn(
            "Retention",
            "retention",
            figure,
            "Share of the input's patches that is left after the last pruning, by cluster, by "
            "padding and sound, by frequency and by time; each row has a scale of its own. Dotted: "
            "of all patches. What intensity and variation keep of sound does not depend on the "
            "model. A patch that the end of the clip cuts counts as sound; half silent, it varies "
            "most, so that variation keeps it. Whiskers: one standard error over clips.",
        )
    if figure := curves.draw_received(found):
        yield Drawn(
            "Attention of kept and dropped patches",
            "received",
            figure,
            "How many times as much attention a kept patch receives as a dropped one, in the block "
            "that prunes (AST: from the class token; AudioMAE: from the patches). Whiskers: one "
            "standard error over clips.",
        )


def _examples(found: Sequence[DataSet]) -> Iterator[Drawn]:
    for data in found:
        for number, example in enumerate(data.examples, 1):
            if not any(len(picture.stays) > 1 for picture in example.pictures):
                continue
            padded = any(picture.valid < len(picture.features) for picture in example.pictures)
            label = ", ".join(example.clip.labels) or "no label"
            yield Drawn(
                "What is kept",
                f"fig3-{slug(data.name)}-{number}",
                maps.draw_example(example),
                f"The paper's Figure 3 on {data.name}, {example.clip.path.name} ({label}): "
                "log-mel, patches dropped by each pruning blanked; with the models' answers before "
                "and after. Models whose patches are the same share a row."
                + (" Right of the dashed line lies padding." if padded else ""),
                example,
            )


def _tau(found: Sequence[DataSet], paper: bool, tau_pruned: bool) -> Iterator[Drawn]:
    section = "Attention against intensity and variation"
    padded = any(subject.runs[0].retention.sums["mean"][:, 0, :, 0].any()
                 for data in found for subject in data.subjects)  # fmt: skip
    for definition in ("paper", "tau-b"):
        for patches in (0, 1) if padded else (0,):
            # The published curves are of all patches, in the paper's definition.
            alike = paper and definition == "paper" and not patches
            along = " Grey: the paper's own curves." if alike else ""
            for pruned in (False, True) if tau_pruned else (False,):
                parts = ["fig4", definition]
                parts += ["no-padding"] * patches + ["pruned"] * pruned
                which = " of pruned models, whose patches grow fewer" if pruned else ""
                left_out = ", padding left out" if patches else ""
                yield Drawn(
                    section,
                    "-".join(parts),
                    curves.draw_tau(found, definition, patches, alike, pruned),
                    "The paper's Figure 4: Kendall's tau between a patch's attention score and "
                    f"its cluster, pairs within a clip, over all clips{which}{left_out}."
                    f"{along} Whiskers: one standard error over clips.",
                )
