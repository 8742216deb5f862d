"""`spectrim check`: one page about one's own model and clips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..common.text import significant
from .options import (
    BatchSize,
    Blocks,
    Device,
    Dtype,
    Frames,
    Load,
    Reduction,
    Score,
    Threads,
    allow_trusted_code,
    blocks_of,
    load_model,
    rates_of,
)
from .output import (
    TableOrJson,
    begins_anew,
    complain,
    print_json,
    print_table,
    stdout,
    sweep_progress,
)
from .sweep_table import same_interval

FEW = 30  # clips, below which a share of them is hardly one

EXAMPLE = "Example: spectrim check MIT/ast-finetuned-audioset-10-10-0.4593 --data my-clips"


def command(
    model: Annotated[str, typer.Argument(help="Built in, hub id, folder or file.")],
    data: Annotated[
        Path | None, typer.Option(help="Your clips: a folder or a manifest; else the sample pack.")
    ] = None,
    agreement: Annotated[
        float, typer.Option(help="Least share of clips whose top class must stay.")
    ] = 0.95,
    keep_rates: Annotated[str, typer.Option(help="Comma-separated.")] = (
        "1.0,0.9,0.8,0.7,0.6,0.5,0.4"
    ),
    score: Score = "attention",
    blocks: Blocks = "3,6,9",
    reduction: Reduction = "keep-top",
    out: Annotated[Path | None, typer.Option(help="Folder for check.json.")] = None,
    format: Annotated[TableOrJson, typer.Option()] = TableOrJson.table,
    json: Annotated[bool, typer.Option("--json", help="Same as --format json.")] = False,
    frames: Frames = None,
    load: Load = None,
    batch_size: BatchSize = 8,
    rounds: Annotated[int, typer.Option(min=1, help="Timed pairs a row, at most.")] = 10,
    device: Device = "auto",
    dtype: Dtype = "float32",
    threads: Threads = None,
) -> None:
    """Is the model read right, how far may it be pruned on your clips, and what is won?"""
    from ..common.files import make_folder, save_json
    from ..data.builtin import sample_pack
    from ..data.manifest import read_data
    from ..evaluation.check import check

    allow_trusted_code(score, reduction)
    if out is not None:
        make_folder(out)
    places = blocks_of(blocks)
    rates = sorted({1.0, *rates_of(keep_rates)}, reverse=True)
    if data is None:
        complain(
            "note",
            "no --data given; using the sample pack of spoken digits, which says "
            "little about a model of other sounds.",
        )
    manifest = read_data(data or sample_pack())
    loaded = load_model(model, device, dtype, threads, frames, load)
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
            score=score,
            blocks=places,
            reduction=reduction,
            batch_size=batch_size,
            rounds=rounds,
            steps=steps,
        )
    if out is not None:
        complain("written", str(save_json(out / "check.json", result)))
    if json or format is TableOrJson.json:
        print_json(result)
    else:
        _print(result)
    for failure in result["failures"]:
        complain("failed", failure["error"])
    if result["failures"]:
        raise typer.Exit(1)


def _print(result: dict[str, Any]) -> None:
    page, model, first = stdout(), result["model"], result["rows"][0]
    page.print(
        f"{result['name']}: {model['config']}, {model['parameters'] / 1e6:.1f} M parameters, "
        f"{model['blocks']} blocks of width {model['width']}, {model['patches']} patches (stride "
        f"{model['stride'][0]}, {model['frames']} frames), {model['classes']} classes, "
        f"{model['activation']}; mean {model['mean']:g}, std {model['std']:g}, padding "
        f"{model['padding']}.",
        markup=False,
    )
    page.print(_parity(result["parity"]), markup=False)
    print_table(
        [
            "keep",
            "same top-1 (95 %)",
            "same top-5",
            "mean change",
            "GMACs",
            "ms/clip",
            "speed-up",
        ],
        [_line(row) for row in result["rows"]],
        f"{first['clips']} clips of {result['data']}; time at batch {first['batch_size']}, "
        f"{first['threads']} threads, {first['device']}, {first['dtype']}. same top-5: how many of "
        "the unpruned five stay among the five; mean change: of a clip, the largest of any "
        "class's probability; speed-up: the median of pairs' ratios, not the ratio of medians.",
    )
    best = result["recommendation"]
    if len(result["rows"]) == 1:
        text = "Recommendation: none; no keep-rate below 1.0 was tried, see --keep-rates."
    elif best["keep_rate"] == 1.0:
        text = (
            f"Recommendation: none; there is no keep-rate below 1.0 by "
            f"{result['rows'][-1]['score']} that is 5 % faster and keeps, as all above it do, the "
            f"top class of {best['asked'] * 100:g} % of your clips. Try another --score."
        )
    else:
        text = (
            f"Recommendation: keep-rate {best['keep_rate']} by {best['score']} "
            f"(speed-up {best['speedup']:.2f}x): the top class stays for "
            f"{best['agreement']['value']:.1%} of your clips (95 % interval "
            f"{best['agreement']['low']:.1%} to {best['agreement']['high']:.1%}, "
            f"{best['asked'] * 100:g} % asked). Another --score may do better."
        )
    page.print(text, markup=False)
    if first["clips"] < FEW:
        page.print(f"{first['clips']} clips tell little; some hundred tell more.", markup=False)


def _parity(parity: dict[str, Any]) -> str:
    if parity["status"] == "not checked":
        return f"Parity with transformers: not checked; {parity['reason']}."
    what = parity["status"] + (f" in {parity['reason']}" if "reason" in parity else "")
    return (
        f"Parity with transformers on {parity['clips']} clips: {what}; largest "
        f"difference of logits {parity['logits']:.1e} on the same features, of features "
        f"{parity['features']:.1e}, of logits end to end {parity['end_to_end']:.1e}."
    )


def _line(row: dict[str, Any]) -> list[str]:
    agrees = row["agreement"]
    top5 = agrees["top5"]
    return [
        str(row["keep_rate"]),
        same_interval(row),
        "-" if top5 is None else f"{top5['value']:.1%}",
        f"{agrees['change']['value']:.3f}",
        significant(row["gmacs"]),
        f"{row['ms_per_clip']:.2f}",
        f"{row['speedup']:.2f}x",
    ]
