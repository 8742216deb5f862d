"""Write results/speed/xeon.md from the files of the benchmarks: targets, results and all tables.

    spectrim bench --model ast-base --threads 2 --out runs/bench
    cp runs/bench/bench.json results/speed/xeon/bench-ast-16.json         # and so on: see COMMANDS
    python benchmarks/speed_page.py

    python benchmarks/speed_page.py --folder results/speed/epyc   # another machine and page

Reads FOLDER/*.json and writes FOLDER.md. The page lists missing files as not measured.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from spectrim.common.files import save_text
from spectrim.common.parse import read_json

Rows = Sequence[dict[str, Any]]
BENCHES = {
    "bench-ast-16": "AST, stride 16 (512 patches)",
    "bench-audiomae-16": "AudioMAE, stride 16 (512 patches)",
    "bench-ast-10": "AST, stride 10 (1212 patches)",
    "bench-audiomae-10": "AudioMAE, stride 10 (1212 patches)",
}
BENCH = "spectrim bench --model {}-base --stride {} --threads 2 --no-memory --budget {:g} --out DIR"
BUDGET = 45  # seconds, for files that do not store their budget
OUT = "--out results/speed/xeon"
TAG = "python benchmarks/tagging.py --budget 80"
KALDI = "--torchaudio-kaldi PATH"
COMMANDS = {
    **{name: BENCH.format(*name.split("-")[1:], BUDGET) for name in BENCHES},
    "tagging-16": f"{TAG} --stride 16 {KALDI} {OUT}/tagging-16.json",
    "tagging-10": f"{TAG} --stride 10 --batch 1 {KALDI} {OUT}/tagging-10.json",
    "tagging-rates": f"python benchmarks/tagging.py --stride 16 --batch 1 --seconds 10 "
    f"--keep-rate 1.0 0.7 0.5 --budget 40 {KALDI} {OUT}/tagging-rates.json",
    "filterbank": f"python benchmarks/filterbank.py {KALDI} {OUT}/filterbank.json",
    **{
        f"int8-{model}": f"python benchmarks/quantized.py {model} --data manifests/{data}.csv "
        f"--calibrate manifests/{data}.csv{fold} {OUT}/int8-{model}.json"
        for model, data, fold in (
            ("ast-esc10", "esc10", " --fold 5"),
            ("audiomae-esc10", "esc10", " --fold 5"),
            ("ast-digits", "fsdd-digit", ""),
            ("audiomae-digits", "fsdd-digit", ""),
        )
    },
    "products": f"python benchmarks/products.py {OUT}/products.json",
    "explicit": f"python benchmarks/explicit.py {OUT}/explicit.json",
    "pieces": (f"python benchmarks/pieces.py --models ast-base --rounds 4 {OUT}/pieces.json"),
    "startup": f"python benchmarks/startup.py {OUT}/startup.json",
    "long-file": f"python benchmarks/long_file.py {OUT}/long-file.json",
    "memory-audiomae": "spectrim bench --model audiomae-base --threads 2 --rounds 1 --out DIR",
}
INT8 = ("int8-ast-esc10", "int8-audiomae-esc10", "int8-ast-digits", "int8-audiomae-digits")
TAGGING = ("tagging-16", "tagging-10")
RATES = "tagging-rates"
BANK = {"kaldi-native-fbank": 3.0, "torchaudio kaldi.py": 1.5, "transformers, numpy": 8.0}


PRODUCTS_TEXT = (
    "Why torch at batch 1 falls behind its MACs: the linear layers of ViT-B, on as many rows as a "
    "clip has tokens. The fewer, the slower each multiplication; packed weights lose less, and "
    "OpenVINO packs them.\n"
)
EXPLICIT_TEXT = (
    "Where a block ranks by attention of all tokens (AudioMAE), its softmax is written out for the "
    "score; no part of the MACs. Attention alone, one block of ViT-B, against the fused one.\n"
)


OLDER = (
    "Measured before the filter bank got its FFT: today's package gives other figures, above all "
    "from files to tags.\n"
)
PIECES_TEXT = (
    "On a CPU torch computes a batch in pieces of about 1024 patches, whose activations its caches "
    "hold. AST-base, batch 8, from waveforms to probabilities.\n"
)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def judged(reached: float, minimum: float) -> str:
    """Whether the minimum is reached, as a cell of the table: "yes" or "**no**"."""
    return "yes" if reached >= minimum else "**no**"


def targets(records: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Rows of the targets table: figure, setting, minimum, measured value, whether it is met."""
    rows = []
    for name, title in BENCHES.items():
        if name not in records:
            continue
        bench = records[name]["rows"]
        for batch, share in ((8, 0.95), (1, 0.90)):
            for row in bench:
                if (row["backend"], row["batch_size"]) == ("torch", batch) and row["keep_rate"] < 1:
                    reached = row["speedup"] / row["mac_ratio"]
                    target = f"pruned at {row['keep_rate']} against unpruned, torch, batch {batch}"
                    text = f"{reached:.1%} of the MAC ratio {row['mac_ratio']:.2f}"
                    rows.append([target, title, f"{share:.0%}", text, judged(reached, share)])
        for batch, share in ((8, 0.85), (1, 0.80)):
            for rate in sorted({row["keep_rate"] for row in bench}, reverse=True):
                best = max(
                    (r for r in bench if (r["batch_size"], r["keep_rate"]) == (batch, rate)
                     and r["quantization"] == "none"),
                    key=lambda r: r["share_of_machine"],
                )  # fmt: skip
                target = (
                    f"best fp32 backend's share of the machine, keep rate {rate}, batch {batch}"
                )
                text = f"{best['share_of_machine']:.1%} ({best['backend']})"
                reached = best["share_of_machine"]
                rows.append([target, title, f"{share:.0%}", text, judged(reached, share)])
    for row in records.get("filterbank", {}).get("rows", []):
        if row["batch"] == 8 and row["program"] in BANK:
            minimum = BANK[row["program"]]
            target = f"filter bank against {row['program']}"
            text = f"{row['ratio']:.1f}x"
            rows.append([target, "batch of 8", f"{minimum}x", text, judged(row["ratio"], minimum)])
    tagged = [row for name in TAGGING if name in records for row in records[name]["rows"]]
    for seconds, int8, minimum in ((10, False, 2.0), (10, True, 2.8), (5, False, 3.8)):
        for key in sorted({(r["stride"], r["batch"]) for r in tagged}, reverse=True):
            candidates = [
                r for r in tagged
                if (r["stride"], r["batch"]) == key and r["seconds"] == seconds
                and ("int8" in r["candidate"]) == int8 and r["keep_rate"] == 0.5
            ]  # fmt: skip
            if candidates:
                best = max(candidates, key=lambda r: r["times_as_fast"])
                target = f"files to tags, {seconds} s, keep rate 0.5, {'int8' if int8 else 'fp32'}"
                where = f"stride {key[0]}, batch {key[1]}"
                text = f"{best['times_as_fast']:.2f}x ({best['candidate']})"
                passed = judged(best["times_as_fast"], minimum)
                rows.append([target, where, f"{minimum}x", text, passed])
    for row in records.get("startup", {}).get("rows", [])[1:]:
        loaded = "torch imported" if records["startup"]["torch_imported"] else "torch not imported"
        text = f"{row['seconds']:.2f} s, {loaded}"
        passed = "**no**" if records["startup"]["torch_imported"] else judged(0.5, row["seconds"])
        rows.append([f"`{row['what']}`", "", "under 0.5 s, without torch", text, passed])
    if "long-file" in records:
        long = records["long-file"]
        target = f"memory over a file of {long['hours']:g} hours, {long['model']}"
        flat = long["median_mb_last_third"] <= 1.05 * long["median_mb_first_third"]
        fine = flat and long["peak_mb"] < 1500
        text = (
            f"{long['peak_mb']:.0f} MB at most, {long['median_mb_first_third']:.0f} MB in the "
            f"first third, {long['median_mb_last_third']:.0f} in the last"
        )
        passed = "yes" if fine else "**no**"
        rows.append([target, "", "flat, under 1500 MB", text, passed])
    return rows


def bench_table(record: dict[str, Any]) -> str:
    """Table of `spectrim bench` on one machine."""
    rows = [
        [
            row["backend"], str(row["batch_size"]), str(row["keep_rate"]),
            f"{row['ms_per_clip']:.0f}", f"{row['gmac_per_s']:.0f}",
            f"{row['share_of_machine']:.0%}", f"{row['speedup']:.2f} ({quartiles(row)})",
            f"{row['mac_ratio']:.2f}", str(row["pairs"]),
        ]
        for row in record["rows"]
    ]  # fmt: skip
    head = ["backend", "batch", "keep rate", "ms a clip", "GMAC/s", "of the machine"]
    return table([*head, "against unpruned (quartiles)", "MACs", "pairs"], rows)


def quartiles(row: dict[str, Any], key: str = "speedup_quartiles") -> str:
    """ "1.90 to 2.05"."""
    return f"{row[key][0]:.2f} to {row[key][1]:.2f}"


def tagging_table(rows: Rows) -> str:
    """Table of benchmarks/tagging.py."""
    lines = [
        [
            f"{row['seconds']} s", str(row["stride"]), str(row["batch"]), str(row["keep_rate"]),
            row["candidate"],
            f"{row['rival_ms']:.0f}", f"{row['ms']:.0f}",
            f"**{row['times_as_fast']:.2f}** ({quartiles(row, 'quartiles')})", str(row["pairs"]),
        ]
        for row in rows
    ]  # fmt: skip
    head = [
        "clips",
        "stride",
        "batch",
        "keep rate",
        "Spectrim",
        "transformers, ms a clip",
        "ours, ms",
    ]
    return table([*head, "times as fast (quartiles)", "pairs"], lines)


def products_table(rows: Rows) -> str:
    """Table of benchmarks/products.py, with one line per number of rows."""
    kinds = list(dict.fromkeys(row["product"] for row in rows))
    lines: dict[int, list[str]] = {}
    for row in rows:
        lines.setdefault(row["rows"], []).append(f"{row['gmac_per_s']:.0f}")
    head = ["rows", *(f"{kind}, GMAC/s" for kind in kinds)]
    return table(head, [[str(count), *cells] for count, cells in lines.items()])


def memory_table(rows: Rows) -> str:
    """Peak memory of `spectrim bench`, with one line per model, backend and batch size."""
    rates = sorted({row["keep_rate"] for row in rows}, reverse=True)
    lines: dict[tuple[str, str, str], dict[float, str]] = {}
    for row in rows:
        key = (row["model"], row["backend"], str(row["batch_size"]))
        lines.setdefault(key, {})[row["keep_rate"]] = f"{row['peak_mb']:.0f}"
    head = ["model", "backend", "batch", *(f"keep rate {rate}" for rate in rates)]
    return table(head, [[*key, *(one[rate] for rate in rates)] for key, one in lines.items()])


def int8_table(rows: Rows) -> str:
    """Table of benchmarks/quantized.py: accuracy of int8."""
    lines = [
        [
            row["model"], f"{Path(row['data']).stem}, {row['clips']}", str(row["keep_rate"]),
            row["quantization"].replace("none", "float32"), f"{row['value']:.1%}",
            f"{row['agreement']['top1']['value']:.1%}",
            f"{row['agreement']['change']['value']:.4f}",
        ]
        for row in rows
    ]  # fmt: skip
    head = ["model", "clips", "keep rate", "precision", "accuracy", "same top class as float32"]
    return table([*head, "mean change of probability"], lines)


def hardware(records: Iterable[dict[str, Any]]) -> str:
    """Hardware and versions of the records; lists each distinct value once."""
    values_of: dict[str, list[str]] = {}
    for record in records:
        for key, value in {"threads": record.get("threads"), **record["versions"]}.items():
            if value and str(value) not in values_of.setdefault(key, []):
                values_of[key].append(str(value))
    return ", ".join(f"{key} {' or '.join(values)}" for key, values in values_of.items() if values)


def has_fft(records: dict[str, dict[str, Any]]) -> bool:
    """Whether the records were measured with a filter bank that uses an FFT in PyTorch."""
    rows = records.get("filterbank", {}).get("rows", [])
    return any("matrix product" in row["program"] for row in rows)


def main() -> None:
    """Read the records, compare them with the targets, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("results/speed/xeon"))
    args = parser.parse_args()
    page = args.folder.with_suffix(".md")
    others = sorted(p for p in page.parent.glob("*.md") if p.name not in (page.name, "README.md"))
    files = {name: args.folder / f"{name}.json" for name in COMMANDS}
    records = {name: read_json(file) for name, file in files.items() if file.is_file()}
    missing = [f"`{COMMANDS[name]}`" for name in COMMANDS if name not in records]
    first = next(iter(records.values()))
    on = f"{first['versions'].get('processor')}, {first.get('threads')} threads"
    titles = [p.read_text(encoding="utf-8").partition("\n")[0].partition(": ")[2] for p in others]
    links = ", ".join(f"[{title}]({p.name})" for title, p in zip(titles, others, strict=True))
    sections = [
        f"# Measured speed: {on}\n",
        *([f"The same on another machine: {links}.\n"] if others else []),
        "Which backend and keep rate to choose: [deploy](../../docs/deploy.md). ViT-B (AST-base, "
        "AudioMAE-base), random weights, on which time does not depend. Medians of interleaved "
        "pairs; the machine is shared and its rate moves within minutes, so that only ratios mean "
        "something: the rate (a float32 product of 4096 a side) is taken in turn with the rows it "
        "is compared with. For GPUs see [gpu](../gpu).\n",
        *([] if has_fft(records) else [OLDER]),
        "## Targets\n",
        table(["what", "where", "at least", "reached", "met"], targets(records)),
        "The last rows: "
        + " and ".join(
            f"`{COMMANDS[name]}`" for name in ("startup", "long-file") if name in records
        )
        + "; the others below.\n",
    ]
    for name, title in BENCHES.items():
        if name in records:
            used = dict.fromkeys(row["backend"] for row in records[name]["rows"])
            budget = records[name].get("budget_s", BUDGET)
            command = BENCH.format(*name.split("-")[1:], budget)
            command = f"    {command} --backends {','.join(used)}\n"
            sections += [f"## {title}\n", command, bench_table(records[name])]
    tagged = [name for name in (*TAGGING, RATES) if name in records]
    if tagged:
        rows = [row for name in tagged for row in records[name]["rows"]]
        sections += ["## From files to tags\n", *(f"    {COMMANDS[name]}" for name in tagged), ""]
        sections += [f"Pruned by attention, against {rows[0]['rival']}.\n"]
        if not has_fft(records):
            sections += [
                "Measured before the filter bank got its FFT, and with 8-bit weights in int8 (they "
                "have 7 now, for CPUs without VNNI): today's package gives other figures.\n"
            ]
        sections += [tagging_table(rows)]
    if "filterbank" in records:
        rows = records["filterbank"]["rows"]
        lines = [
            [row["program"], str(row["batch"]), f"{row['seconds'] * 1000:.1f}",
             f"{row['spectrim_seconds'] * 1000:.1f}",
             f"**{row['ratio']:.2f}** ({quartiles(row, 'quartiles')})"]
            for row in rows
        ]  # fmt: skip
        head = ["program", "batch", "its ms", "ours, ms", "times as fast (quartiles)"]
        sections += ["## Filter bank, ten-second clips\n", f"    {COMMANDS['filterbank']}\n"]
        if not has_fft(records):
            sections += [
                "Ours as exported graphs have it, a matrix product: before PyTorch got its FFT.\n"
            ]
        sections += [table(head, lines)]
    if "products" in records:
        sections += ["## Products by rows\n", f"    {COMMANDS['products']}\n", PRODUCTS_TEXT]
        sections += [products_table(records["products"]["rows"])]
    if "explicit" in records:
        lines = [
            [str(row["tokens"]), row["attention"], f"{row['ms']:.1f}", f"{row['of_fused']:.2f}"]
            for row in records["explicit"]["rows"]
        ]
        head = ["tokens", "attention", "ms, batch of 8", "of fused"]
        sections += ["## The softmax of a block that ranks\n", f"    {COMMANDS['explicit']}\n"]
        sections += [EXPLICIT_TEXT, table(head, lines)]
    if "pieces" in records:
        lines = [
            [str(row["keep_rate"]), row["way"], f"{row['ms_per_clip']:.0f}",
             f"{row['speedup']:.2f} ({row['quartiles'][0]:.2f} to {row['quartiles'][1]:.2f})"]
            for row in records["pieces"]["rows"]
        ]  # fmt: skip
        head = ["keep rate", "computed", "ms a clip", "against the batch at once (quartiles)"]
        sections += ["## A batch in pieces\n", f"    {COMMANDS['pieces']}\n"]
        sections += [PIECES_TEXT, table(head, lines)]
    if "memory-audiomae" in records:
        sections += ["## Peak memory\n", f"    {COMMANDS['memory-audiomae']}\n"]
        sections += ["Of a process that loads the model and answers one batch, in MB.\n"]
        sections += [memory_table(records["memory-audiomae"]["rows"])]
    quantized = [name for name in INT8 if name in records]
    if quantized:
        rows = [row for name in quantized for row in records[name]["rows"]]
        sections += ["## What int8 costs\n", *(f"    {COMMANDS[name]}" for name in quantized), ""]
        counts = sorted({records[name]["calibrated_on"] for name in quantized})
        sections += [
            "Clips that no training has seen; calibrated on "
            f"{' or '.join(map(str, counts))} training clips; ONNX Runtime. "
            "Weights have 7 bits, so that CPUs without VNNI compute what those with it do.\n",
            int8_table(rows),
        ]
    if missing:
        sections += [f"**Not measured on this machine**: {', '.join(missing)}.\n"]
    sections += [f"Hardware and versions: {hardware(records.values())}.\n"]
    text = "\n".join(sections).replace("results/speed/xeon/", f"{args.folder.as_posix()}/")
    save_text(page, text)
    print(page)


if __name__ == "__main__":
    main()
