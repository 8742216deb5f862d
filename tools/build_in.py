"""Make a trained model a built-in one: bfloat16 weights, accuracies on held-out clips, its card.

    python tools/build_in.py RUN/last ast-words
    python tools/build_in.py RUN/last ast-esc50 --manifests manifests --threads 2
    python tools/build_in.py RUN/last ast-esc50 --recommend "tome 0.9"

Writes src/spectrim/assets/models/NAME/: config.json, model.safetensors, card.json and README.md.
Also writes the row of the model in the table of the project's README.
`builtin_models.yaml` beside this file states task, data, training and licence. The manifests are
those of `spectrim data prepare` for esc50 (also with --shareable), arabicspeechcommands and fsdd.
--recommend measures a plan on the first of the held-out clips and stores it as the recommended one.
`recommend_plan.py` stores another plan for a model that is built in already.
Weights are committed once, when final: git remembers every version. They are rounded, so that git
packs them to 60 % of the size.
"""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import yaml

import recommend_plan
import spectrim
from spectrim.common.errors import SpectrimError
from spectrim.common.files import save_json, save_text
from spectrim.data.builtin import sample_pack
from spectrim.data.manifest import Manifest, read_data, targets_of
from spectrim.deploy.torch_runner import TorchRunner
from spectrim.evaluation.predict import predict
from spectrim.evaluation.sweep import evaluate
from spectrim.evaluation.variants import Variant
from spectrim.metrics.intervals import Interval, difference_interval
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.plan import Plan
from spectrim.pruning.recommendation import Recommendation
from spectrim.pruning.saved_plans import Measured

ROOT = Path(__file__).resolve().parents[1]
MODELS = ROOT / "src" / "spectrim" / "assets" / "models"
ORIGINS = Path(__file__).with_name("builtin_models.yaml")
RATES = (1.0, 0.9, 0.7, 0.5, 0.4)
SCORES = ("attention", "intensity", "variation")
MAX_BYTES = 5_500_000  # of the weights
SIGNIFICANT_BITS = 5  # of a weight: a relative error of 1.4 %, about that of int8
LINE = 108  # characters of a line of a card


@dataclass(frozen=True)
class Accuracies:
    """Accuracies of a model on one set of clips.

    Attributes:
        title: what the clips are.
        percent: by score and keep rate.
        changes: by keep rate below 1.0, the paired difference from the unpruned model, in points,
            pruned by attention.
    """

    title: str
    percent: dict[str, dict[float, float]]
    changes: dict[float, Interval]


def main() -> None:
    """Convert, measure, write."""
    origins: dict[str, Any] = yaml.safe_load(ORIGINS.read_text(encoding="utf-8"))["models"]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="folder of a model that training wrote")
    parser.add_argument("name", choices=sorted(origins))
    parser.add_argument("--manifests", type=Path, default=Path("manifests"))
    parser.add_argument("--models", type=Path, default=MODELS, help="folder of built-in models")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--recommend", metavar="PLAN", help='recommended plan, such as "tome 0.9"')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    origin = origins[args.name]
    results = build_in(args.run, args.name, origin, args.manifests, args.models, args.recommend)
    if args.models == MODELS:
        page = ROOT / "README.md"
        text = with_row(page.read_text(encoding="utf-8"), args.name, results[0])
        save_text(page, text)


def build_in(
    run: Path,
    name: str,
    origin: dict[str, Any],
    manifests: Path,
    models: Path,
    recommended: str | None = None,
) -> list[Accuracies]:
    """Write the folder of a built-in model; returns its accuracies.

    The model is written to a temporary folder, which is copied to `models` when it is complete. A
    model in `models` cannot be loaded before its card exists, and the card needs the loaded model.

    Args:
        recommended: the recommended plan as text, see `recommend_plan`; None: none is stored.

    Raises:
        SpectrimError: a manifest is missing, or the weights are too large.
    """
    with TemporaryDirectory() as aside:
        folder = Path(aside) / name
        results = _build_in(run, folder, origin, manifests, recommended)
        shutil.copytree(folder, models / name, dirs_exist_ok=True)
    return results


def _build_in(
    run: Path, folder: Path, origin: dict[str, Any], manifests: Path, recommended: str | None
) -> list[Accuracies]:
    held_out = [held_out_clips(entry, manifests) for entry in origin["held_out"]]
    trained = rounded(spectrim.load(run).with_plan(Plan()))
    trained.set_recommendation(None)  # it was measured on other weights, if at all
    plan = recommended and recommend_plan.plan_from(recommended, trained.config.depth)
    trained.save(folder)
    size = (folder / "model.safetensors").stat().st_size
    if size > MAX_BYTES:
        raise SpectrimError(
            f"{folder}: weights of {size / 1e6:.1f} MB; at most 5.5 MB are built in."
        )
    model = spectrim.load(folder)  # as users load it
    results = []
    for entry, manifest in zip(origin["held_out"], held_out, strict=True):
        results.append(accuracies(model, manifest, entry["title"]))
        print("\n".join(table(results[-1])), flush=True)
    save_json(
        folder / "card.json",
        {
            "task": origin["task"],
            "licence": origin["short_licence"],
            "held_out": results[0].title,
            "accuracy": {
                str(rate): value for rate, value in results[0].percent["attention"].items()
            },
        },
    )
    save_text(folder / "README.md", card_text(folder.name, origin, model, results))
    if plan:
        measured = measure(model, plan, held_out[0], results[0].title)
        recommend_plan.store(folder, Recommendation(plan, measured))
    return results


def rounded(model: SpectrogramTransformer) -> SpectrogramTransformer:
    """The model in bfloat16, with weights of `SIGNIFICANT_BITS`; changes the model."""
    with torch.no_grad():
        for parameter in model.parameters():
            # 0.5 <= mantissa < 1
            mantissa, exponent = torch.frexp(parameter.float())
            steps = 2**SIGNIFICANT_BITS
            parameter.copy_(torch.ldexp((mantissa * steps).round() / steps, exponent))
    return model.bfloat16()


def held_out_clips(entry: dict[str, Any], manifests: Path) -> Manifest:
    """The clips of an entry of `held_out`; see builtin_models.yaml."""
    if "manifest" not in entry:
        return read_data(sample_pack())
    return read_data(manifests / entry["manifest"]).select(entry.get("split"), entry.get("fold"))


def accuracies(model: SpectrogramTransformer, manifest: Manifest, title: str) -> Accuracies:
    """Accuracy at every keep rate by every score; unreadable clips are an error."""
    variants = [(score, rate) for score in SCORES for rate in RATES if rate < 1]
    models = [spectrim.prune(model, rate, score=score) for score, rate in variants]
    truth = np.array(targets_of(manifest, model.labels, True, {}))[:, 0]
    right = [classes == truth for classes in top_classes([model, *models], manifest)]
    unpruned, pruned = right[0], dict(zip(variants, right[1:], strict=True))
    return Accuracies(
        title,
        {
            score: {rate: percent(unpruned if rate == 1 else pruned[score, rate]) for rate in RATES}
            for score in SCORES
        },
        {
            rate: difference_interval(pruned["attention", rate].astype(float) - unpruned)
            for rate in RATES
            if rate < 1
        },
    )


def top_classes(models: Sequence[SpectrogramTransformer], manifest: Manifest) -> list[np.ndarray]:
    """(clips,) index of the most probable class, for each of the models over the same weights."""
    predictions = predict([TorchRunner(model) for model in models], manifest.clips, 16)
    if predictions.failures:
        raise SpectrimError(predictions.failures[0][1])
    return [np.concatenate(logits).argmax(1) for logits in predictions.outputs]


def measure(model: SpectrogramTransformer, plan: Plan, manifest: Manifest, title: str) -> Measured:
    """What a plan gives on held-out clips."""
    models = [model, spectrim.prune(model, plan=plan)]
    rows = evaluate([Variant("model", TorchRunner(one)) for one in models], manifest).rows
    return recommend_plan.measured_of(*rows, title)


def percent(right: np.ndarray) -> float:
    """Accuracy in percent, with one digit."""
    return round(100 * float(right.mean()), 1)


def table(result: Accuracies) -> list[str]:
    """Rows of a Markdown table."""
    changes = [
        f"{100 * one.value:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"
        for one in result.changes.values()
    ]
    return [
        f"| {result.title} | keep rate {' | '.join(f'{rate}' for rate in RATES)} |",
        "| --- |" + " --- |" * len(RATES),
        *(
            f"| by {score} | {' | '.join(f'{value:.1f}' for value in values.values())} |"
            for score, values in result.percent.items()
        ),
        f"| change by attention (95 % interval) | | {' | '.join(changes)} |",
    ]


def card_text(
    name: str, origin: dict[str, Any], model: SpectrogramTransformer, results: list[Accuracies]
) -> str:
    """The card, Markdown."""
    config, parameters = model.config, sum(p.numel() for p in model.parameters())
    first = [
        f"A tiny {origin['family']} ({config.depth} blocks, width {config.width}, {config.heads}",
        f"heads, {parameters / 1e6:.1f} million parameters). {origin['purpose']}",
    ]
    if config.trained_range:
        low = config.trained_range.low
        first.append(f"It was trained to be pruned at any keep rate from 1.0 to {low:g}.")
    first.append("Use it to try Spectrim without downloads.")
    commands = "\n".join(
        " \\\n".join(
            textwrap.wrap(
                command,
                LINE,
                initial_indent=" " * 6,
                subsequent_indent=" " * 10,
                break_long_words=False,
                break_on_hyphens=False,
            )
        )
        for command in origin["commands"]
    )
    accuracy = (
        "- **Accuracy** in percent on held-out clips (`tools/build_in.py`). The last row of each "
        "table is the difference from the unpruned model in points."
    )
    tables = "\n\n".join("\n".join(table(result)) for result in results)
    classes = ", ".join(model.labels)
    return "\n".join(
        [
            f"# {name}\n",
            wrapped(" ".join(first)) + "\n",
            wrapped(f"- **Classes**: {classes}."),
            wrapped(f"- **Data**: {origin['data']}"),
            wrapped(f"- **Training**: {origin['training']}") + "\n",
            commands + "\n",
            wrapped(accuracy) + "\n",
            tables + "\n",
            wrapped(f"- **Not for**: {origin['limits']}"),
            wrapped(f"- **Licence**: {origin['licence']}") + "\n",
        ]
    )


def with_row(page: str, name: str, result: Accuracies) -> str:
    """README with the model's row in the table of built-in models; a new row is the last."""
    values = [f"{result.percent['attention'][rate]:.1f} %" for rate in (1.0, 0.7, 0.5)]
    row = f"| `{name}` | {result.title} | {' | '.join(values)} |\n"
    old = re.compile(rf"^\| `{re.escape(name)}` \| .*\n", re.MULTILINE)
    if old.search(page):
        return old.sub(lambda _: row, page, count=1)
    # The table's header and separator, and all its rows.
    whole = re.search(r"^\| model \| recordings \|(?:.*\n\|)*.*\n", page, re.MULTILINE)
    if whole is None:
        raise SpectrimError("README.md has no table '| model | recordings | ...'.")
    return page[: whole.end()] + row + page[whole.end() :]


def wrapped(text: str) -> str:
    """A paragraph in lines; those of a list item are indented."""
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(
        text, LINE, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


if __name__ == "__main__":
    main()
