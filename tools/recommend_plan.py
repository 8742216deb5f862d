"""Store the recommended plan of a built-in model, with what a sweep measured. Weights stay.

    spectrim sweep --model ast-digits --data fsdd-digit.csv --reductions tome --out DIR
    python tools/recommend_plan.py ast-digits "tome 0.868" DIR/results.json

A plan is REDUCTION [by SCORE] RATE [at BLOCKS], such as "tome 0.9", "keep-top by attention 0.7" or
"tome 0.7 at 1, 3, 5". Without blocks it acts in those of the reduction. Several rates are those of
the blocks. The sweep must have measured exactly
this plan on the clips that the model's card names. A sweep without options measures the present
recommended plan. Writes config.json and README.md of the model.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from pathlib import Path
from typing import Any

import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.common.files import save_json, save_text
from spectrim.common.parse import read_json
from spectrim.evaluation.measured import measured_of
from spectrim.models.loading.native import CONFIG, RECOMMENDED
from spectrim.models.provenance import plan_record
from spectrim.pruning.plan import Plan, paper_plan
from spectrim.pruning.recommendation import Recommendation
from spectrim.pruning.saved_plans import Measured, is_unpruned, plan_label

MODELS = Path(__file__).resolve().parents[1] / "src" / "spectrim" / "assets" / "models"
PLAN = re.compile(
    r"(?P<reduction>\S+)(?: by (?P<score>\S+))? (?P<rates>[\d.]+(?: [\d.]+)*)"
    r"(?: at (?P<blocks>\d+(?:, ?\d+)*))?"
)
LINE = 108  # characters of a line of a card


def main() -> None:
    """Read the sweep, write the config and the card."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name", help="of a built-in model")
    parser.add_argument("plan", help='such as "tome 0.9"')
    parser.add_argument("results", type=Path, help="results.json of a sweep")
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of built-in models")
    args = parser.parse_args()
    folder = args.models / args.name
    model = spectrim.load(folder)
    plan = plan_from(args.plan, model.config.depth)
    held_out = read_json(folder / "card.json")["held_out"]
    measured = measured_in(read_json(args.results), args.name, plan, held_out)
    store(folder, Recommendation(plan, measured))
    print(f"{args.name}: {Recommendation(plan, measured)}")


def plan_from(text: str, depth: int) -> Plan:
    """The plan of a text, see above.

    Raises:
        SpectrimError: the text is not a plan.
    """
    match = PLAN.fullmatch(" ".join(text.split()))
    if match is None:
        raise SpectrimError(
            f"the plan {text!r}; expected REDUCTION [by SCORE] RATE [at BLOCKS], as "
            "'tome 0.7 at 1, 3, 5'."
        )
    rates = [float(rate) for rate in match["rates"].split()]
    rate = rates[0] if len(rates) == 1 else rates
    blocks = match["blocks"] and [int(block) for block in match["blocks"].split(",")]
    return paper_plan(rate, match["score"], blocks, match["reduction"], depth=depth)


def measured_in(results: dict[str, Any], name: str, plan: Plan, held_out: str) -> Measured:
    """What a sweep measured for a model and a plan.

    Args:
        held_out: the clips in words, with their number, as in the model's card.

    Raises:
        SpectrimError: the sweep has other models, plans or clips.
    """
    rows = [row for row in results["rows"] if Path(row["model"]).name == name]
    if not rows or not is_unpruned(rows[0]):
        raise SpectrimError(f"the sweep has no unpruned row of {name}.")
    stages = plan_record(plan)["stages"]
    row = next((row for row in rows if row["plan"]["stages"] == stages), None)
    if row is None:
        labels = ", ".join(dict.fromkeys(plan_label(row["plan"]) for row in rows[1:]))
        raise SpectrimError(f"the sweep has no row of {name} with {plan}. Its plans: {labels}.")
    if not re.search(rf"(?<![\d,]){row['clips']:,} clips", held_out) or row["failed"]:
        raise SpectrimError(
            f"the sweep measured {row['clips']} clips ({row['failed']} unreadable); the card of "
            f"{name} names {held_out!r}."
        )
    return measured_of(rows[0], row, held_out)


def store(folder: Path, recommendation: Recommendation) -> None:
    """Write the recommendation into a model's config.json and README.md."""
    config = read_json(folder / CONFIG)
    save_json(folder / CONFIG, config | {RECOMMENDED: recommendation.to_dict()})
    page = folder / "README.md"
    save_text(page, with_recommendation(page.read_text(encoding="utf-8"), recommendation))


def with_recommendation(page: str, recommendation: Recommendation) -> str:
    """A card with the recommendation, before the list of what the model is not for."""
    item = textwrap.fill(
        f"- **Recommended plan**: {recommendation}. `spectrim tag` and `spectrim export` use it.",
        LINE, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
    without = re.sub(r"^- \*\*Recommended plan\*\*: .*\n(?:  .*\n)*", "", page, flags=re.MULTILINE)
    if "- **Not for**" not in without:
        raise SpectrimError("the card has no item '- **Not for**', before which the plan stands.")
    return without.replace("- **Not for**", f"{item}\n- **Not for**", 1)


if __name__ == "__main__":
    main()
