"""Findings about which patches attention keeps, and what it goes with, from `analyze`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

from ..assets.published import paper_file
from ..common.text import with_error
from .findings import (
    COUNTERPART,
    Case,
    Finding,
    Material,
    Row,
    at_worst,
    points,
)


def audiomae_keeps_low(material: Material) -> Finding:
    """See its title."""
    rows = [row for row in material.analysis["low_ratio"] if row["score"] == "attention"]
    cases = []
    for row in rows:
        last = [r["after"] for r in rows if r["data"] == row["data"]][-1]
        if row["after"] != last or row["value"] is None:
            continue
        if row["patches"] == "sound" and not _padded(material, row | {"model": row["of"]}):
            continue
        which = "" if row["patches"] == "all" else ", without padding"
        paper = (
            "about 1.9 (ESC-50, AS-20K)"
            if material.domain(row["data"]) == "general"
            else "not given"
        )
        name = f"{row['of']} / {row['to']}, {row['data']}{which}"
        ours = with_error(row["value"], row["error"])
        group = "without padding" if which else "all patches"
        cases.append(Case(name, ours, paper, row["value"] - 1, row["error"], group))
    return Finding(
        "AudioMAE retains more quiet patches than AST",
        "Patches of C1 and C2 left by attention after the last pruning: how many AudioMAE has for "
        "each that AST has. Difference: from 1.",
        cases,
        "requires an AudioMAE and an AST of one length on the same data.",
    )


def _padded(material: Material, row: Row) -> bool:
    """Whether more than one patch in a hundred is padding."""
    views = [v for d in material.analysis["data"] if d["data"] == row["data"] for v in d["views"]]
    (view,) = [view for view in views if row["model"] in view["models"]]
    return (view["clusters"]["mean"]["padding"]["value"] or 0) > 0.01


def _ends(row: Row, patches: str = "all") -> dict[tuple[str, str], Row]:
    """What is left of each kind after the last pruning, of all patches or of sound."""
    last = row["retention"][-1]["after"]
    return {
        (entry["kind"], entry["of"]): entry
        for entry in row["retention"]
        if entry["after"] == last and entry["patches"] == patches
    }


def _by_attention(material: Material) -> Iterator[tuple[str, Row]]:
    for row in material.analysis["rows"]:
        if row["score"] == "attention" and row["retention"]:
            yield f"{row['model']}, {row['data']}", row


def _kept(
    name: str, more: Row | None, less: Row | None, words: tuple[str, str], group: str = ""
) -> list[Case]:
    if more is None or less is None or None in (more["value"], less["value"]):
        return []
    error = at_worst([more["error"], less["error"]])
    ours = f"{words[0]} {points(more)} %, {words[1]} {points(less)} %"
    return [Case(name, ours, "not given", more["value"] - less["value"], error, group)]


def loud_is_kept(material: Material) -> Finding:
    """See its title."""
    cases = []
    for name, row in _by_attention(material):
        for patches, group in (("all", "all patches"), ("sound", "without padding")):
            if patches == "sound" and not _padded(material, row):
                continue
            ends = _ends(row, patches)
            pair = ends.get(("cluster pair", "high")), ends.get(("cluster pair", "low"))
            label = f"{name}, {group}" if patches == "sound" else name
            cases += _kept(label, *pair, ("of H", "of L"), group)
    return Finding(
        "Attention keeps loud patches rather than quiet ones",
        "Share of H and of L left by attention after the last pruning. Difference: H minus L. The "
        "errors are added, because the two shares are negatively correlated.",
        cases,
        "nothing was ranked by attention.",
    )


def padding(material: Material) -> Finding:
    """See its title."""
    cases = []
    for name, row in _by_attention(material):
        ends = _ends(row)
        pair = ends.get(("padding", "sound")), ends.get(("padding", "padding"))
        if pair[1] is not None and pair[1]["error"] is not None:
            cases += _kept(name, *pair, ("of sound", "of padding"))
    return Finding(
        "Padding is dropped before sound",
        "Share of sound and of padding left by attention after the last pruning. Padding is what "
        "lies past the valid frames, whatever its values. Difference: sound minus padding. The "
        "errors are added.",
        cases,
        "no clip is padded by a whole patch.",
    )


def deep_tau(material: Material) -> Finding:
    """See its title."""
    cases = []
    for row, statistic, (definition, patches) in product(
        material.analysis["unpruned"],
        ("mean", "std"),
        (("paper", "all"), ("tau-b", "all"), ("tau-b", "sound")),
    ):
        curve = _curve(row, statistic, definition, patches)
        if patches == "sound" and not _padded(material, row):
            continue
        deep = [entry for entry in curve[len(curve) // 2 :] if entry["value"] is not None]
        if not deep:
            continue
        low = min(deep, key=lambda entry: entry["value"])
        published = _published_tau(material, row, statistic)
        label = _definition(definition) + ", without padding" * (patches == "sound")
        lowest = min(published[len(published) // 2 :])
        theirs = f"{lowest:.2f} ({COUNTERPART[material.domain(row['data'])]})"
        cases.append(
            Case(
                f"{row['model']}, {row['data']}, {_name(statistic)}, {label}",
                f"lowest {with_error(low['value'], low['error'])} ({_both_counts([low['block']])})",
                f"lowest {theirs}" if definition == "paper" else "not given",
                low["value"],
                low["error"],
                label,
            )
        )
    return Finding(
        "Attention correlates with intensity and variation throughout the deep half of the blocks",
        "The lowest Kendall's tau of the second half of the blocks, unpruned models. "
        "The paper's definition counts pairs within a cluster as concordant, so random scores "
        "reach values well above 0, and `shows` is weak evidence. Tau-b excludes these pairs. "
        "Difference: from 0.",
        cases,
        "no tau.",
    )


def tau_grows(material: Material) -> Finding:
    """See its title."""
    cases = []
    for row, statistic, definition in product(
        material.analysis["unpruned"], ("mean", "std"), ("paper", "tau-b")
    ):
        by_depth = {
            entry["blocks"]: entry
            for entry in row["tau_by_depth"]
            if (entry["statistic"], entry["definition"], entry["patches"])
            == (statistic, definition, "all")
        }
        early, late, more = by_depth.values()
        published = _published_tau(material, row, statistic)
        half = len(published) // 2
        theirs = f"{sum(published[:half]) / half:.2f} to {sum(published[half:]) / half:.2f}"
        cases.append(
            Case(
                f"{row['model']}, {row['data']}, {_name(statistic)}, {_definition(definition)}",
                " to ".join(with_error(part["value"], part["error"]) for part in (early, late)),
                f"{theirs} ({COUNTERPART[material.domain(row['data'])]})"
                if definition == "paper"
                else "not given",
                more["value"],
                more["error"],
                _definition(definition),
            )
        )
    return Finding(
        "The correlation is stronger in the deep half than in the first",
        "Mean of tau over the first and over the second half of the blocks, unpruned models, all "
        "patches. Difference: second less first, with its own error over clips.",
        cases,
        "no tau.",
    )


def _curve(row: Row, statistic: str, definition: str, patches: str) -> list[Row]:
    return [
        entry
        for entry in row["tau"]
        if (entry["statistic"], entry["definition"], entry["patches"])
        == (statistic, definition, patches)
    ]


def _published_tau(material: Material, row: Row, statistic: str) -> list[float]:
    data = COUNTERPART[material.domain(row["data"])]
    return paper_file("figure4")["tau"][row["family"]][statistic][data]


def _name(statistic: str) -> str:
    return {"mean": "intensity", "std": "variation"}[statistic]


def _definition(name: str) -> str:
    return {"paper": "the paper's tau", "tau-b": "tau-b"}[name]


def receives_attention(material: Material) -> Finding:
    """See its title."""
    cases = []
    for row in material.analysis["rows"]:
        known = [entry for entry in row["received"] if entry["ratio"]]
        if row["score"] == "attention" or not known:  # by attention it is so by construction
            continue
        ratios = [with_error(entry["ratio"], entry["ratio_error"]) for entry in known]
        logs = [math.log(entry["ratio"]) for entry in known]
        errors = [entry["ratio_error"] and entry["ratio_error"] / entry["ratio"] for entry in known]
        worst = at_worst(errors)
        cases.append(
            Case(
                f"{row['model']}, {row['data']}, by {row['score']}",
                f"{', '.join(ratios)} ({_both_counts([entry['block'] for entry in known])})",
                "not given",
                sum(logs) / len(logs),
                None if worst is None else worst / len(known),
                f"by {row['score']}",
            )
        )
    return Finding(
        "Patches kept for their intensity or variation are those that receive attention",
        "How many times as much attention a kept patch receives as a dropped one, in each block "
        "that prunes. The score `attention` is omitted, because the result holds by construction. "
        "Difference: the mean logarithm of the ratio, from 0. Its error is the mean of the errors, "
        "an upper bound.",
        cases,
        "nothing was ranked by intensity or variation.",
    )


def _both_counts(blocks: Sequence[int]) -> str:
    """Blocks counted from 0 and as the paper counts them, such as "block 3, the paper's 4"."""
    ours = ", ".join(map(str, blocks))
    papers = ", ".join(str(block + 1) for block in blocks)
    return f"{'block' if len(blocks) == 1 else 'blocks'} {ours}, the paper's {papers}"
