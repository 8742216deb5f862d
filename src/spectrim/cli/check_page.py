"""What `spectrim check` prints for people, section by section."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..common.text import significant
from ..pruning.saved_plans import mean_gmacs, method_of
from .output import Output, notify
from .sweep_table import (
    ShownColumn,
    clips_text,
    keep_text,
    lengths_text,
    method_header,
    same_interval,
    shown_time_columns,
    timing_text,
    top_five_overlap,
)
from .tables import print_table, print_text


class CheckPage:
    """The page for people, printed section by section as they are computed."""

    def __init__(self, output: Output) -> None:
        self.is_for_people = output.is_table
        self.shown: set[str] = set()

    def show(self, section: str, result: dict[str, Any]) -> None:
        """Print a section now, unless the output is JSON."""
        if self.is_for_people and section in SECTIONS and section not in self.shown:
            self.shown.add(section)
            SECTIONS[section](result)
            sys.stdout.flush()

    def show_rest(self, result: dict[str, Any]) -> None:
        """Print the sections that are computed and not printed yet."""
        for section in SECTIONS:
            if section in result:
                self.show(section, result)


def _print_model(result: dict[str, Any]) -> None:
    model = result["model"]
    print_text(
        f"{result['name']}: {model['family']}, {model['parameters'] / 1e6:.1f} M parameters, "
        f"{model['blocks']} blocks of width {model['width']}, {model['patches']} patches (stride "
        f"{model['stride'][0]}, {model['frames']} frames), {model['classes']} classes, "
        f"{model['activation']}; front end {model['front_end']}, {model['sample_rate']} Hz, "
        f"{model['mels']} mel bins, mean {model['mean']:g}, std {model['std']:g}, padding "
        f"{model['padding']}.\n"
        f"Recommended plan: {result['recommended_plan']['text']}."
    )


def _print_parity(result: dict[str, Any]) -> None:
    parity = result["parity"]
    if parity["status"] == "not checked":
        print_text(f"Parity with transformers: not checked; {parity['reason']}.")
        return
    status = parity["status"] + (f" in {parity['reason']}" if "reason" in parity else "")
    features = "features not compared (the feature extractor is code in the model's folder)"
    if "features" in parity:
        features = f"features {parity['features']:.1e}, end to end {parity['end_to_end']:.1e}"
    print_text(
        f"Parity with transformers on {parity['clips']} clips: {status}. Largest differences: "
        f"logits {parity['logits']:.1e} on the same features, {features}."
    )


def _print_lengths(result: dict[str, Any]) -> None:
    print_text(lengths_text(result["lengths"]))


def _print_rows(result: dict[str, Any]) -> None:
    rows = result["rows"]
    first = rows[0]
    columns: list[ShownColumn] = [
        (method_header(rows), method_of),
        ("keep", keep_text),
        ("same top-1 (95 %)", same_interval),
        ("GMACs", lambda row: significant(mean_gmacs(row))),
        *shown_time_columns(rows),
        ("change", lambda row: f"{row['agreement']['change']['value']:.3f}"),
    ]
    if first["agreement"]["top5"] is not None:
        columns.append(("top-5 overlap", top_five_overlap))
    lines: list[list[str] | None] = []
    last = first
    for row in rows:
        if method_of(row) != method_of(last):
            lines.append(None)
        last = row
        lines.append([cell(row) for _, cell in columns])
    print_table(
        [name for name, _ in columns],
        lines,
        f"{clips_text(first)} of {result['data']}; batch size {first['batch_size']}, "
        f"{first['threads']} threads, {first['device']}, {first['dtype']}; {timing_text(rows)}.\n"
        "same top-1: clips whose top class does not change. change: per clip, the largest change "
        "of a probability, mean over clips.",
    )
    if warned := result["training_clips"]:
        notify("warning", f"{warned}. A model changes less on clips that it was trained on, so "
                 "use held-out clips.")  # fmt: skip


def _print_recommendation(result: dict[str, Any]) -> None:
    print_text(_recommendation(result))


SECTIONS: dict[str, Callable[[dict[str, Any]], None]] = {
    "model": _print_model,
    "parity": _print_parity,
    "lengths": _print_lengths,
    "rows": _print_rows,
    "recommendation": _print_recommendation,
}


def _recommendation(result: dict[str, Any]) -> str:
    best, clips = result["recommendation"], result["rows"][0]["clips"]
    asked = f"{best['asked'] * 100:g} %"
    if len(result["rows"]) == 1:
        return "Recommendation: none: no keep rate below 1.0 was tried, see --keep-rates."
    if best["clips_needed"] is None:
        return "Recommendation: none: no number of clips shows an agreement of 1. Use 0.99."
    if clips < best["clips_needed"]:
        return (
            f"Recommendation: none: {clips} clips are too few to show that the top class stays on "
            f"{asked} of clips. Use at least {best['clips_needed']} clips, better several hundred."
        )
    if best["keep_rate"] == 1.0:
        scores = ", ".join(dict.fromkeys(map(method_of, result["rows"][1:])))
        return (
            f"Recommendation: none: no keep rate of {scores} is at least 5 % faster while "
            f"preserving the top class on {asked} of clips (lower end of the 95 % interval). "
            f"Train with pruning, or accept less with --agreement."
        )
    agreement = best["agreement"]
    gain = f"{best['mac_ratio']:.2f}x fewer MACs"
    if best["speedup"] is not None:
        gain = f"speed-up {best['speedup']:.2f}x, {gain}"
    plan = f"keep rate {best['keep_rate']} with {method_of(best)}"
    if best["recommended"]:
        plan = f"the recommended plan of the model, {best['plan']}"
    command = best["command"]
    write = (
        f"To write this model: {command}"
        if command
        else "To write this model, in Python: spectrim.prune(model, plan=model.recommended_plan)"
        ".save(FOLDER)"
    )
    return (
        f"Recommendation: {plan} ({gain}). It "
        f"preserves the top class on {agreement['value']:.1%} of your clips (95 % interval "
        f"{agreement['low']:.1%} to {agreement['high']:.1%}; required: at least {asked}).\n{write}"
    )
