"""Findings about what a model loses without quiet or loud patches (Table IV), from `ablate`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from ..assets.published import paper_loss
from .findings import (
    COUNTERPART,
    Case,
    Finding,
    Material,
    Row,
    change,
    independent,
)


def high_hurts_more(material: Material) -> Finding:
    """See its title."""
    cases = []
    for row in material.contrasts():
        mean, difference = row["mean"], row["mean"]["high_less_low"]
        cases.append(
            Case(
                f"{row['model']}, {row['data']}",
                ", ".join(
                    f"without {name} ({material.dropped(row, which)} of patches) "
                    f"{change(mean[f'loss_{which}'])}"
                    for which, name in (("high", "H"), ("low", "L"))
                ),
                _losses(row["family"], COUNTERPART[material.domain(row["data"])], ("high", "low")),
                difference["value"],
                difference["error"],
            )
        )
    return Finding(
        "Dropping loud patches (H) lowers the metric far more than dropping quiet patches (L)",
        "Points of the metric lost, mean over the blocks after which the patches are dropped "
        "(Table IV). L and H hold different shares of the patches, in brackets, as in the "
        "paper. If H has more patches than L, part of the difference is due to the number. "
        "Difference: loss without H minus loss without L, paired over the same clips.",
        cases,
        "no ablated model is above chance.",
    )


def _losses(family: str, data: str, which: Sequence[str]) -> str:
    names = {"high": "H", "low": "L"}
    losses = [f"without {names[w]} {-paper_loss(family, data, w):+.1f}" for w in which]
    return f"{', '.join(losses)} ({data})"


def beyond_number(material: Material) -> Finding:
    """See its title."""
    cases = []
    for row in material.contrasts():
        mean = row["mean"]
        for which, name, sign in (("low", "L", -1), ("high", "H", 1)):
            if f"{which}_less_random" not in mean:
                continue
            difference = mean[f"{which}_less_random"]
            cases.append(
                Case(
                    f"{row['model']}, {row['data']}, without {name}",
                    f"{change(mean[f'loss_{which}'])}, without the same number of random patches "
                    f"{change(mean[f'loss_random_{which}'])}",
                    "not given",
                    None if difference["value"] is None else sign * difference["value"],
                    difference["error"],
                    f"without {name}",
                )
            )
    return Finding(
        "Dropping H lowers the metric more, and dropping L less, than dropping as many random ones",
        "Points lost without H (or L), and without the same number of random patches of each clip, "
        "padding included; mean over the blocks. The paper has no such rows. Difference: the loss "
        "without H minus the random one, and the random one minus the loss without L; paired.",
        cases,
        "ablate was run without --random-control.",
    )


def low_matters(material: Material) -> Finding:
    """See its title."""
    cases = []
    for row in material.contrasts():
        low = row["mean"]["loss_low"]
        published = _losses(row["family"], COUNTERPART[material.domain(row["data"])], ("low",))
        name = f"{row['model']}, {row['data']}"
        cases.append(Case(name, f"{change(low)}", published, low["value"], low["error"]))
    return Finding(
        "Quiet patches matter too",
        "Points lost without L, mean over the blocks after which the patches are dropped. "
        "Difference: the loss, paired with the unpruned model.",
        cases,
        "no ablated model is above chance.",
    )


def general_more_than_speech(material: Material) -> Finding:
    """See its title."""
    cases = []
    rows = material.contrasts()
    for one, other in product(rows, rows):
        domains = (material.domain(one["data"]), material.domain(other["data"]))
        if domains != ("general", "speech") or one["family"] != other["family"]:
            continue
        general, speech = one["mean"]["loss_low"], other["mean"]["loss_low"]
        published = [paper_loss(one["family"], COUNTERPART[domain], "low") for domain in domains]
        cases.append(
            Case(
                f"{one['family']}: {one['data']} against {other['data']}",
                f"{change(general)} against {change(speech)}",
                f"{-published[0]:+.1f} (ESC-50) against {-published[1]:+.1f} (SPC-2)",
                general["value"] - speech["value"],
                independent([general["error"], speech["error"]]),
            )
        )
    return Finding(
        "Quiet patches matter more for general audio than for speech",
        "Points lost without L on general audio, minus those on speech, for models of one family. "
        "Errors of different clips are independent.",
        cases,
        "requires models of one family on general audio and on speech.",
    )


def _pairs(material: Material) -> Iterator[tuple[Row, Row]]:
    """(AudioMAE, AST) contrasts on the same data."""
    rows = material.contrasts()
    for one, other in product(rows, rows):
        if (one["family"], other["family"]) == ("AudioMAE", "AST") and one["data"] == other["data"]:
            yield one, other


def audiomae_more_robust(material: Material) -> Finding:
    """See its title."""
    cases = []
    for (mae, ast), (which, name) in product(_pairs(material), (("low", "L"), ("high", "H"))):
        ours = [row["mean"][f"loss_{which}"] for row in (ast, mae)]
        data = COUNTERPART[material.domain(mae["data"])]
        published = [paper_loss(family, data, which) for family in ("AST", "AudioMAE")]
        cases.append(
            Case(
                f"{mae['model']} against {ast['model']}, {mae['data']}, without {name}",
                f"AudioMAE {change(ours[1])}, AST {change(ours[0])}",
                f"AudioMAE {-published[1]:+.1f}, AST {-published[0]:+.1f} ({data})",
                ours[0]["value"] - ours[1]["value"],
                independent([entry["error"] for entry in ours]),
                f"without {name}",
            )
        )
    return Finding(
        "AudioMAE is more robust than AST to losing either",
        "Points that AST loses, minus those that AudioMAE loses, mean over the blocks. Errors of "
        "two models on the same clips are combined as if independent, which overestimates the "
        "error. The paper's own table has exceptions (H on SPC-2, dropped after 5 or more blocks).",
        cases,
        "requires an AudioMAE and an AST on the same data.",
    )
