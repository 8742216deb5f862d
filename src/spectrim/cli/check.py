"""`spectrim check`: one page about the user's own model and clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..common.text import significant
from ..pruning.defaults import KEEP_RATES
from .options import (
    BatchSize,
    ChannelOption,
    KeepRates,
    LoadingWithCompile,
    ManifestPath,
    ModelName,
    Pruning,
    Rounds,
    comma_separated,
    rates_of,
)
from .output import Output, begins_anew, complain, end_with_failures, sweep_progress
from .sweep_table import same_interval
from .tables import print_table, print_text

FEW = 30  # clips; fewer say little about a fraction of them

RATES = comma_separated(KEEP_RATES)
EXAMPLE = "Example: spectrim check MIT/ast-finetuned-audioset-10-10-0.4593 --data my-clips"


def command(
    model: ModelName,
    loading: LoadingWithCompile,
    pruning: Pruning,
    output: Output,
    data: ManifestPath = None,
    channel: ChannelOption = "mix",
    agreement: Annotated[
        float,
        typer.Option(
            help="Minimum fraction of clips whose top-1 class must not change, from 0 to 1."
        ),
    ] = 0.95,
    keep_rates: KeepRates = RATES,
    batch_size: BatchSize = 8,
    rounds: Rounds = 10,
    out: Annotated[Path | None, typer.Option(help="Folder for check.json.")] = None,
) -> None:
    """Verify that a checkpoint loads correctly and find how far it can be pruned on your clips."""
    from ..common.files import make_folder, save_json
    from ..data.builtin import sample_pack
    from ..data.manifest import read_data
    from ..evaluation.check import check

    pruning.check()
    if out is not None:
        make_folder(out)
    rates = sorted({1.0, *rates_of(keep_rates)}, reverse=True)
    if data is None:
        complain(
            "note",
            "no --data given; using the sample pack of spoken digits. It says little about a "
            "model of other sounds.",
        )
    manifest = read_data(data or sample_pack()).with_channel(channel)
    loaded = loading.classifier(model)
    with (
        begins_anew(),
        sweep_progress(model, len(manifest.clips), rounds * (len(rates) - 1)) as steps,
    ):
        result = check(
            loaded,
            model,
            manifest,
            agreement=agreement,
            keep_rates=rates,
            score=pruning.score,
            blocks=pruning.blocks,
            reduction=pruning.reduction,
            batch_size=batch_size,
            rounds=rounds,
            compile=loading.compile,
            steps=steps,
        )
    loading.note_compilation(sum(row.get("compile_s", 0.0) for row in result["rows"]))
    if out is not None:
        complain("written", str(save_json(out / "check.json", result)))
    output.emit(result, lambda: _print(result))
    end_with_failures(failure["error"] for failure in result["failures"])


def _print(result: dict[str, Any]) -> None:
    model, first = result["model"], result["rows"][0]
    print_text(
        f"{result['name']}: {model['config']}, {model['parameters'] / 1e6:.1f} M parameters, "
        f"{model['blocks']} blocks of width {model['width']}, {model['patches']} patches (stride "
        f"{model['stride'][0]}, {model['frames']} frames), {model['classes']} classes, "
        f"{model['activation']}; mean {model['mean']:g}, std {model['std']:g}, padding "
        f"{model['padding']}."
    )
    print_text(_parity(result["parity"]))
    print_table(
        ["keep", "same top-1 (95 %)", "same top-5", "mean change", "GMACs/clip", "ms/clip",
         "speed-up"],
        [_line(row) for row in result["rows"]],
        f"{first['clips']} clips of {result['data']}; batch size {first['batch_size']}, "
        f"{first['threads']} threads, {first['device']}, {first['dtype']}. same top-5: overlap "
        "with the unpruned top 5.\nmean change: per clip, the largest change of a probability. "
        "speed-up: median ratio of interleaved pairs.",
    )  # fmt: skip
    print_text(_recommendation(result))
    if first["clips"] < FEW:
        print_text(f"{first['clips']} clips are few: use some hundred for a reliable answer.")


def _recommendation(result: dict[str, Any]) -> str:
    best = result["recommendation"]
    if len(result["rows"]) == 1:
        return "Recommendation: none: no keep rate below 1.0 was tried, see --keep-rates."
    if best["keep_rate"] == 1.0:
        return (
            f"Recommendation: none: no keep rate with score {result['rows'][-1]['score']} is at "
            f"least 5 % faster while preserving the top class on {best['asked'] * 100:g} % of "
            "clips. Try another --score."
        )
    agreement = best["agreement"]
    return (
        f"Recommendation: keep rate {best['keep_rate']} with score {best['score']} (speed-up "
        f"{best['speedup']:.2f}x). It preserves the top class on {agreement['value']:.1%} of "
        f"your clips (95 % interval {agreement['low']:.1%} to {agreement['high']:.1%}; required "
        f"{best['asked'] * 100:g} %). Another --score may do better."
    )


def _parity(parity: dict[str, Any]) -> str:
    if parity["status"] == "not checked":
        return f"Parity with transformers: not checked; {parity['reason']}."
    status = parity["status"] + (f" in {parity['reason']}" if "reason" in parity else "")
    return (
        f"Parity with transformers on {parity['clips']} clips: {status}. Largest differences: "
        f"logits {parity['logits']:.1e} on the same features, features "
        f"{parity['features']:.1e}, logits end to end {parity['end_to_end']:.1e}."
    )


def _line(row: dict[str, Any]) -> list[str]:
    top5 = row["agreement"]["top5"]
    return [
        str(row["keep_rate"]),
        same_interval(row),
        "-" if top5 is None else f"{top5['value']:.1%}",
        f"{row['agreement']['change']['value']:.3f}",
        significant(row["gmacs"]),
        f"{row['ms_per_clip']:.2f}",
        f"{row['speedup']:.2f}x",
    ]
