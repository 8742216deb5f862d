"""Write results/analysis.md: the paper's findings, from what `analyze` and `ablate` wrote.

Three commands make the page, the first two with any models and data:

    M="--model ast-digits --model audiomae-digits --model ast-esc50 --model audiomae-esc50"
    D="--data manifests/esc50.csv --fold 5 --data manifests/fsdd-digit.csv --split test"
    spectrim analyze $M $D --keep-rate 0.5 --paper --out runs/analysis
    spectrim ablate $M $D --random-control --paper --out runs/ablation
    python -m spectrim.paper.analysis_page --analysis runs/analysis --ablation runs/ablation

`ablation_findings` and `attention_findings` compute the verdicts. A difference of at most two
standard errors is "cannot tell".
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ..common.errors import SpectrimError
from ..common.files import make_folder, save_text
from ..common.markdown import table
from ..common.parse import read_json, read_text
from . import ablation_findings as losses
from . import attention_findings as attention
from .analysis_files import save_figures, save_tables
from .findings import CLEAR, Finding, Material, points

MAX_RATIO = 999  # more standard errors than this come from an error that is only rounding
SPEECH = (
    "fsdd-digit,fsdd-speaker,sample-pack,speech-commands,spc2,voxceleb1,"
    "words,words-half,words-joined,words-speaker,words-speaker-half,librispeech-speaker"
)


def main() -> None:
    """Read, check that both ran alike, write the page, its figures and tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--analysis", type=Path, required=True, help="folder of analyze")
    parser.add_argument("--ablation", type=Path, required=True, help="folder of ablate")
    parser.add_argument("--page", type=Path, default=Path("results/analysis.md"))
    parser.add_argument("--speech", default=SPEECH, help="data that is speech; the rest is general")
    parser.add_argument("--note", type=Path, help="Markdown file: text below the commands")
    args = parser.parse_args()
    speech = frozenset(args.speech.split(","))
    try:
        note = read_text(args.note, "a Markdown file").strip() if args.note else ""
        write(args.analysis, args.ablation, args.page, speech, note)
    except SpectrimError as error:
        sys.exit(f"error: {error}")


def write(
    analysis: Path, ablation: Path, page: Path, speech: frozenset[str], note: str = ""
) -> None:
    """Write the page, and beside it a folder of its name with figures and tables."""
    material = Material(
        read_json(analysis / "results.json"), read_json(ablation / "ablation.json"), speech
    )
    check_same_clips(material)
    beside = make_folder(page.with_suffix(""))
    results = all_findings(material)
    save_tables(beside, material, results)
    captions = save_figures(beside, analysis, ablation)
    command = shlex.join(["python", "-m", "spectrim.paper.analysis_page", *sys.argv[1:]])
    save_text(page, text_of(material, results, captions, command, page.stem, note))


def all_findings(material: Material) -> list[Finding]:
    """All of them, in the order of the page."""
    return [
        losses.high_hurts_more(material),
        losses.beyond_number(material),
        losses.low_matters(material),
        losses.general_more_than_speech(material),
        losses.audiomae_more_robust(material),
        attention.audiomae_keeps_low(material),
        attention.loud_is_kept(material),
        attention.padding(material),
        attention.deep_tau(material),
        attention.tau_grows(material),
        attention.receives_attention(material),
    ]


def check_same_clips(material: Material) -> None:
    """Both must have run the same models on the same clips.

    Raises:
        SpectrimError: they have not.
    """
    ran = [
        {(row["model"], row["data"], row["source"]) for row in rows}
        for rows in (material.analysis["unpruned"], material.ablation["rows"])
    ]
    if ran[0] != ran[1]:
        odd = ", ".join(sorted(f"{model} on {data}" for model, data, _ in ran[0] ^ ran[1]))
        raise SpectrimError(f"only one of analyze and ablate ran {odd}; run both alike.")
    for row in material.ablation["rows"]:
        counts = {
            one["clips"] for one in material.analysis["unpruned"] if one["data"] == row["data"]
        }
        if row["dropped"] is None and counts != {row["clips"]}:
            raise SpectrimError(
                f"{row['data']}: analyze saw {counts.pop()} clips, ablate {row['clips']}; give "
                "both the same --split and --fold."
            )


def text_of(
    material: Material,
    results: Sequence[Finding],
    captions: dict[str, str],
    command: str,
    folder: str,
    note: str = "",
) -> str:
    """The page."""
    commands = [material.analysis["command"], material.ablation["command"], command]
    runs = [row for row in material.ablation["rows"] if row["dropped"] is None]
    checkpoints = {row["model"]: row["checkpoint"] for row in material.analysis["unpruned"]}
    rate = material.analysis["rows"][0]["keep_rate"]
    paragraphs = [
        "# Which patches matter: the paper's findings at this scale",
        "Made by\n\n" + "\n".join(f"    {line}" for line in commands),
        *([note] if note else []),
        table(
            [
                [row["model"], checkpoints[row["model"]], row["family"], row["data"],
                 material.domain(row["data"]), str(row["clips"]), row["metric"], points(row)]
                for row in runs
            ],
            ["model", "checkpoint", "family", "data", "kind", "clips", "metric", "unpruned, %"],
        ),
        "These models are small and trained on few clips. A finding that is confirmed here "
        "supports the paper. Other findings may need larger models. "
        f"± is one standard error over clips. **A difference of at most {CLEAR:g} standard errors "
        "decides nothing** (\"cannot tell\"). \"shows\" is a larger difference in the direction of "
        "the finding, \"contradicts\" one in the opposite direction. "
        "About 1 case in 20 exceeds two standard errors by chance. "
        "The verdicts are computed from the numbers by "
        "[a script](../src/spectrim/paper/analysis_page.py); they "
        "say nothing about other training runs of the same model. General audio is compared with "
        "the paper's ESC-50, speech with its Speech Commands (SPC-2). The paper's models have 86 "
        f"million parameters. Models are pruned at keep rate {rate:g} in three blocks, without "
        "fine-tuning. Blocks count from 0; the paper counts from 1. K-means sorts the "
        "patches by their mean into C1 (the quietest) to C5: L, low intensity, is C1 and C2; H, "
        "high, C4 and C5.",
        "## In short",
        table([[one.title, one.verdict] for one in results], ["finding", "here"]),
    ]  # fmt: skip
    paragraphs += [*figure(captions, folder, "fig3.png"), "## One by one"]
    joint = [name for name in captions if name.startswith("fig6-")]
    places = {1: ["ablation.png"], 5: ["fig5-clusters.png"], 6: ["retention.png", *joint],
              9: ["fig4-paper.png", "fig4-tau-b.png"], 10: ["received.png"]}  # fmt: skip
    for number, one in enumerate(results, 1):
        paragraphs += _section(number, one)
        for name in places.get(number - 1, []):
            paragraphs += figure(captions, folder, name)
    paragraphs += [
        "## Not put to the test here",
        "Three findings are about the metric of pruned models (Table I), which this analysis does "
        "not measure: that attention ranks at least as well as intensity and variation at low "
        "keep rates, that 30 to 40 % fewer MACs cost less than a point, and that AudioMAE is more "
        "sensitive than AST to low keep rates. [Table I with tiny models](table1/README.md) does.",
        *_left_out(material),
        "## Tables",
        f"Beside the figures in [{folder}/]({folder}): `findings.json` (every case above), "
        "`ablation.csv`, `contrasts.csv` (L and H by block), `tau.csv`, `retention.csv` (after the "
        "last pruning), `received.csv`, `clusters.csv`. `block` counts from 0. `after` is the "
        "index of the pruning block in `retention.csv`, and the number of blocks that process "
        "every patch in `contrasts.csv`. Standard errors: "
        f"{material.analysis['standard_errors']}; in the table of models "
        f"{material.ablation['standard_errors'].partition(';')[0].removeprefix('rows: ')}.",
        "Versions: "
        + ", ".join(f"{k} {v}" for k, v in material.analysis["versions"].items() if v)
        + ".",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _section(number: int, one: Finding) -> list[str]:
    paragraphs = [f"### {number}. {one.title}", one.test]
    if one.cases:
        rows = [
            [
                case.name,
                case.ours,
                case.paper,
                _difference(case.difference, case.error),
                case.verdict,
            ]
            for case in one.cases
        ]
        paragraphs.append(table(rows, ["case", "ours", "paper", "difference / error", "verdict"]))
    return [*paragraphs, f"**At this scale: {one.verdict}.**"]


def _difference(value: float | None, error: float | None) -> str:
    """How many standard errors a difference is; an error that is only rounding counts as none."""
    if value is None or not error:
        return "-"
    ratio = value / error
    if abs(ratio) > MAX_RATIO:
        return f"{'above +' if ratio > 0 else 'below -'}{MAX_RATIO}"
    return f"{ratio:+.1f}"


def _left_out(material: Material) -> list[str]:
    """What was given and does not count, in sentences."""
    pairs = [f"{pair['model']} on {pair['data']}" for pair in material.analysis["skipped"]]
    lines = [f"Not run, since the labels are not those of the model: {', '.join(pairs)}."] * bool(
        pairs
    )
    lines += [
        f"{row['model']} on {row['data']} is not clearly above chance; its losses are left out."
        for row in material.guessing()
    ]
    lines += [
        f"{row['model']} on {row['data']}: {row['no_patch_left']} of "
        f"{row['no_patch_left'] + row['clips']} clips, without any patch once {row['dropped']} "
        "intensity is gone."
        for row in material.ablation["rows"]
        if row["no_patch_left"]
        and row["dropped"] in ("low", "high")
        and row["after_blocks"] == _first(material)
    ]
    if failures := material.analysis["failures"]:
        lines.append(f"Clips that could not be read: {len(failures)}.")
    return ["## Left out", "\n".join(f"- {line}" for line in lines)] if lines else []


def _first(material: Material) -> int:
    return min(row["after_blocks"] for row in material.ablation["rows"] if row["dropped"])


def figure(captions: dict[str, str], folder: str, name: str) -> list[str]:
    """A figure and its caption; nothing where there is none."""
    alt = name.removesuffix(".png")
    return [f"![{alt}]({folder}/{name})", f"*{captions[name]}*"] if name in captions else []


if __name__ == "__main__":
    main()
