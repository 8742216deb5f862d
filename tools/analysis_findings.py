"""The paper's findings of section 5, each put to the numbers of `analyze` and `ablate`.

A finding is a list of cases (a model on data, or a pair of them). A case is a number that is above
zero where the finding shows, with its standard error; nothing is called under two of those.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import resources
from itertools import product
from typing import Any

Row = dict[str, Any]
CLEAR = 2.0  # standard errors from which on a difference is called one
COUNTERPART = {"speech": "SPC-2", "general": "ESC-50"}  # whose published numbers stand beside ours


@dataclass(frozen=True)
class Case:
    """One test of a finding: what we and the paper measured, and what must be above zero."""

    name: str
    ours: str
    paper: str
    difference: float | None
    error: float | None

    @property
    def verdict(self) -> str:
        """Shows, does not, or cannot tell."""
        if self.difference is None or self.error is None or not math.isfinite(self.error):
            return "cannot tell"
        if abs(self.difference) <= CLEAR * self.error or self.difference == 0:
            return "cannot tell"
        return "shows" if self.difference > 0 else "does not: the opposite"


@dataclass(frozen=True)
class Finding:
    """A claim, how it is tested, its cases, and why there is none where there is none."""

    title: str
    test: str
    cases: list[Case]
    missing: str

    @property
    def verdict(self) -> str:
        """Of all cases together, in words."""
        said = [case.verdict for case in self.cases]
        yes, no = said.count("shows"), said.count("does not: the opposite")
        count = len(said)
        if not count:
            return f"cannot be tested: {self.missing}"
        if not yes and not no:
            return "cannot tell"
        if yes == count:
            return "shows" + f" (all {count})" * (count > 1)
        if no == count:
            return "does not: the opposite" + f" (all {count})" * (count > 1)
        parts = [f"shows in {yes} of {count}"] * bool(yes)
        parts += [f"the opposite in {no} of {count}"] * bool(no)
        rest = [f"the rest cannot be told ({count - yes - no})"] * (yes + no < count)
        return ("mixed: " if yes and no else "") + ", ".join([*parts, *rest])

    def record(self) -> Row:
        """Plain data."""
        cases = [asdict(case) | {"verdict": case.verdict} for case in self.cases]
        return {"finding": self.title, "verdict": self.verdict, "cases": cases}


@dataclass(frozen=True)
class Material:
    """What the findings are computed from.

    Attributes:
        analysis, ablation: results.json and ablation.json.
        speech: names of data that are speech; all others are general audio.
    """

    analysis: Row
    ablation: Row
    speech: frozenset[str]

    def kind(self, data: str) -> str:
        """Speech or general."""
        return "speech" if data in self.speech else "general"

    def contrasts(self) -> list[Row]:
        """Losses of each model on each data set."""
        return self.ablation["contrasts"]


def findings(material: Material) -> list[Finding]:
    """All of them, in the order of the page."""
    return [
        _high_hurts_more(material),
        _low_matters(material),
        _general_more_than_speech(material),
        _audiomae_more_robust(material),
        _audiomae_keeps_low(material),
        _loud_is_kept(material),
        _padding(material),
        _deep_tau(material),
        _tau_grows(material),
        _received(material),
    ]


def published(name: str) -> Row:
    """A file of the paper's numbers, from the package."""
    file = resources.files("spectrim.assets") / "paper" / name
    return json.loads(file.read_text(encoding="utf-8"))


def published_loss(family: str, data: str, which: str) -> float | None:
    """Points lost without L or H, mean over the blocks of Table IV."""
    table = published("table4.json")
    (base,) = [r["result"] for r in table["unpruned"] if (r["model"], r["dataset"]) == (family, data)]
    values = [
        row["result"]
        for row in table["rows"]
        if (row["model"], row["dataset"]) == (family, data) and row["dropped"].startswith(which)
    ]
    return base - sum(values) / len(values)


def points(entry: Mapping[str, float | None]) -> str:
    """A share as points with its error."""
    return number(entry["value"], entry["error"], 100, 1)


def number(value: float | None, error: float | None, scale: float = 1, digits: int = 2) -> str:
    """Such as "0.52 ±0.01"."""
    if value is None:
        return "-"
    text = f"{value * scale:.{digits}f}"
    return text if error is None else f"{text} ±{error * scale:.{digits}f}"


def _join(errors: Sequence[float | None], how: Callable[[list[float]], float]) -> float | None:
    """Errors joined; None if one is unknown."""
    known = [error for error in errors if error is not None]
    return how(known) if len(known) == len(errors) else None


_independent = partial(_join, how=lambda known: math.hypot(*known))
_at_worst = partial(_join, how=sum)  # whatever the correlation


def _high_hurts_more(material: Material) -> Finding:
    cases = []
    for row in material.contrasts():
        mean, found = row["mean"], row["mean"]["high_less_low"]
        cases.append(
            Case(
                f"{row['model']}, {row['data']}",
                f"without H −{points(mean['loss_high'])}, without L −{points(mean['loss_low'])}",
                _losses(row["family"], COUNTERPART[material.kind(row["data"])], ("high", "low")),
                found["value"],
                found["error"],
            )
        )
    return Finding(
        "Losing loud patches (H) hurts far more than losing quiet ones (L)",
        "Points of the metric lost, mean over the blocks after which the patches go (Table IV). "
        "Difference: H less L, paired over the same clips.",
        cases,
        "no ablation.",
    )


def _losses(family: str, data: str, which: Sequence[str]) -> str:
    names = {"high": "H", "low": "L"}
    parts = [f"without {names[w]} −{published_loss(family, data, w):.1f}" for w in which]
    return f"{', '.join(parts)} ({data})"


def _low_matters(material: Material) -> Finding:
    cases = []
    for row in material.contrasts():
        low = row["mean"]["loss_low"]
        said = _losses(row["family"], COUNTERPART[material.kind(row["data"])], ("low",))
        name = f"{row['model']}, {row['data']}"
        cases.append(Case(name, f"−{points(low)}", said, low["value"], low["error"]))
    return Finding(
        "Quiet patches matter too",
        "Points lost without L, mean over the blocks after which the patches go. Difference: the "
        "loss, paired with the unpruned model.",
        cases,
        "no ablation.",
    )


def _general_more_than_speech(material: Material) -> Finding:
    cases = []
    rows = material.contrasts()
    for one, other in product(rows, rows):
        kinds = (material.kind(one["data"]), material.kind(other["data"]))
        if kinds != ("general", "speech") or one["family"] != other["family"]:
            continue
        general, speech = one["mean"]["loss_low"], other["mean"]["loss_low"]
        said = [published_loss(one["family"], COUNTERPART[kind], "low") for kind in kinds]
        cases.append(
            Case(
                f"{one['family']}: {one['data']} against {other['data']}",
                f"−{points(general)} against −{points(speech)}",
                f"−{said[0]:.1f} (ESC-50) against −{said[1]:.1f} (SPC-2)",
                general["value"] - speech["value"],
                _independent([general["error"], speech["error"]]),
            )
        )
    return Finding(
        "Quiet patches matter more for general audio than for speech",
        "Points lost without L on general audio, less those on speech, for models of one family. "
        "Errors of different clips are independent.",
        cases,
        "it takes models of one family on general audio and on speech.",
    )


def _pairs(material: Material) -> Iterator[tuple[Row, Row]]:
    """(AudioMAE, AST) contrasts on the same data."""
    rows = material.contrasts()
    for one, other in product(rows, rows):
        if (one["family"], other["family"]) == ("AudioMAE", "AST") and one["data"] == other["data"]:
            yield one, other


def _audiomae_more_robust(material: Material) -> Finding:
    cases = []
    for (mae, ast), (which, name) in product(_pairs(material), (("low", "L"), ("high", "H"))):
        ours = [row["mean"][f"loss_{which}"] for row in (ast, mae)]
        data = COUNTERPART[material.kind(mae["data"])]
        said = [published_loss(family, data, which) for family in ("AST", "AudioMAE")]
        cases.append(
            Case(
                f"without {name}: {mae['model']} against {ast['model']}, {mae['data']}",
                f"AudioMAE −{points(ours[1])}, AST −{points(ours[0])}",
                f"AudioMAE −{said[1]:.1f}, AST −{said[0]:.1f} ({data})",
                ours[0]["value"] - ours[1]["value"],
                _independent([entry["error"] for entry in ours]),
            )
        )
    return Finding(
        "AudioMAE is more robust than AST to losing either",
        "Points that AST loses, less those that AudioMAE loses, mean over the blocks. The errors "
        "of two models on the same clips are joined as if independent: rather too large than too "
        "small. The paper's own table has exceptions (H on SPC-2, from block 5 on).",
        cases,
        "it takes an AudioMAE and an AST on the same data.",
    )


def _audiomae_keeps_low(material: Material) -> Finding:
    rows = [row for row in material.analysis["low_ratio"] if row["score"] == "attention"]
    cases = []
    for row in rows:
        last = [r["after"] for r in rows if r["data"] == row["data"]][-1]
        if row["after"] != last or row["value"] is None:
            continue
        which = "" if row["patches"] == "all" else ", without padding"
        paper = "about 1.9 (ESC-50, AS-20K)" if material.kind(row["data"]) == "general" else "not given"
        name = f"{row['of']} / {row['to']}, {row['data']}{which}"
        ours = number(row["value"], row["error"])
        cases.append(Case(name, ours, paper, row["value"] - 1, row["error"]))
    return Finding(
        "AudioMAE retains more quiet patches than AST",
        "Patches of C1 and C2 left by attention after the last pruning: how many AudioMAE has for "
        "each that AST has. Difference: from 1.",
        cases,
        "it takes an AudioMAE and an AST of one length on the same data.",
    )


def _ends(row: Row) -> dict[tuple[str, str], Row]:
    """What is left of each kind after the last pruning, of all patches."""
    last = row["retention"][-1]["after"]
    return {
        (entry["kind"], entry["of"]): entry
        for entry in row["retention"]
        if entry["after"] == last and entry["patches"] == "all"
    }


def _by_attention(material: Material) -> Iterator[tuple[str, Row]]:
    for row in material.analysis["rows"]:
        if row["score"] == "attention" and row["retention"]:
            yield f"{row['model']}, {row['data']}", row


def _kept(name: str, more: Row | None, less: Row | None, words: tuple[str, str]) -> list[Case]:
    if more is None or less is None or None in (more["value"], less["value"]):
        return []
    error = _at_worst([more["error"], less["error"]])
    ours = f"{words[0]} {points(more)} %, {words[1]} {points(less)} %"
    return [Case(name, ours, "not given", more["value"] - less["value"], error)]


def _loud_is_kept(material: Material) -> Finding:
    cases = []
    for name, row in _by_attention(material):
        ends = _ends(row)
        pair = ends.get(("cluster pair", "high")), ends.get(("cluster pair", "low"))
        cases += _kept(name, *pair, ("of H", "of L"))
    return Finding(
        "Attention keeps loud patches rather than quiet ones",
        "Share of H and of L left by attention after the last pruning. Difference: H less L, "
        "their errors added, since what one keeps the other loses.",
        cases,
        "nothing was ranked by attention.",
    )


def _padding(material: Material) -> Finding:
    cases = []
    for name, row in _by_attention(material):
        ends = _ends(row)
        pair = ends.get(("padding", "sound")), ends.get(("padding", "padding"))
        if pair[1] is not None and pair[1]["error"] is not None:
            cases += _kept(name, *pair, ("of sound", "of padding"))
    return Finding(
        "Padding goes before sound",
        "Share of sound and of padding left by attention after the last pruning. Padding is what "
        "lies past the valid frames, whatever its values. Difference: sound less padding, their "
        "errors added.",
        cases,
        "no clip is padded by a whole patch.",
    )


def _deep_tau(material: Material) -> Finding:
    cases = []
    for row, statistic, definition in product(
        material.analysis["unpruned"], ("mean", "std"), ("paper", "tau-b")
    ):
        curve = _curve(row, statistic, definition)
        deep = [entry for entry in curve[len(curve) // 2 :] if entry["value"] is not None]
        if not deep:
            continue
        low = min(deep, key=lambda entry: entry["value"])
        said = _published_tau(material, row, statistic)
        theirs = f"{min(said[len(said) // 2 :]):.2f} ({COUNTERPART[material.kind(row['data'])]})"
        cases.append(
            Case(
                f"{row['model']}, {row['data']}, {_name(statistic)}, {_definition(definition)}",
                f"lowest {number(low['value'], low['error'])} (block {low['block'] + 1})",
                f"lowest {theirs}" if definition == "paper" else "not given",
                low["value"],
                low["error"],
            )
        )
    return Finding(
        "Attention goes with intensity and variation throughout the deep half of the blocks",
        "The lowest Kendall's tau of the second half of the blocks, unpruned models, all patches. "
        "In the paper's definition pairs of one cluster count as concordant, which lifts it; "
        "tau-b leaves them out. Difference: from 0.",
        cases,
        "no tau.",
    )


def _tau_grows(material: Material) -> Finding:
    cases = []
    for row, statistic, definition in product(
        material.analysis["unpruned"], ("mean", "std"), ("paper", "tau-b")
    ):
        found = {
            entry["blocks"]: entry
            for entry in row["tau_by_depth"]
            if (entry["statistic"], entry["definition"], entry["patches"])
            == (statistic, definition, "all")
        }
        early, late, more = found.values()
        said = _published_tau(material, row, statistic)
        half = len(said) // 2
        theirs = f"{sum(said[:half]) / half:.2f} to {sum(said[half:]) / half:.2f}"
        cases.append(
            Case(
                f"{row['model']}, {row['data']}, {_name(statistic)}, {_definition(definition)}",
                f"{number(early['value'], early['error'])} to {number(late['value'], late['error'])}",
                f"{theirs} ({COUNTERPART[material.kind(row['data'])]})"
                if definition == "paper"
                else "not given",
                more["value"],
                more["error"],
            )
        )
    return Finding(
        "The correlation is stronger in the deep half than in the first",
        "Mean of tau over the first and over the second half of the blocks, unpruned models, all "
        "patches. Difference: second less first, with its own error over clips.",
        cases,
        "no tau.",
    )


def _curve(row: Row, statistic: str, definition: str) -> list[Row]:
    return [
        entry
        for entry in row["tau"]
        if (entry["statistic"], entry["definition"], entry["patches"])
        == (statistic, definition, "all")
    ]


def _published_tau(material: Material, row: Row, statistic: str) -> list[float]:
    data = COUNTERPART[material.kind(row["data"])]
    return published("figure4.json")["tau"][row["family"]][statistic][data]


def _name(statistic: str) -> str:
    return {"mean": "intensity", "std": "variation"}[statistic]


def _definition(name: str) -> str:
    return {"paper": "the paper's tau", "tau-b": "tau-b"}[name]


def _received(material: Material) -> Finding:
    cases = []
    for row in material.analysis["rows"]:
        known = [entry for entry in row["received"] if entry["ratio"]]
        if row["score"] == "attention" or not known:  # by attention it is so by construction
            continue
        ratios = [number(entry["ratio"], entry["ratio_error"]) for entry in known]
        logs = [math.log(entry["ratio"]) for entry in known]
        errors = [entry["ratio_error"] and entry["ratio_error"] / entry["ratio"] for entry in known]
        worst = _at_worst(errors)
        blocks = ", ".join(str(entry["block"] + 1) for entry in known)
        cases.append(
            Case(
                f"{row['model']}, {row['data']}, by {row['score']}",
                f"{', '.join(ratios)} (blocks {blocks})",
                "not given",
                sum(logs) / len(logs),
                None if worst is None else worst / len(known),
            )
        )
    return Finding(
        "Patches kept for their intensity or variation are those that receive attention",
        "How many times as much attention a kept patch receives as a dropped one, in each block "
        "that prunes; by attention itself that is so by construction, and left out. Difference: "
        "the mean of the logarithms, from 0, with the mean of their errors, which is at least its "
        "own.",
        cases,
        "nothing was ranked by intensity or variation.",
    )
