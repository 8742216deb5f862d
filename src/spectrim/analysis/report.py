"""The report of an analysis: one HTML file with figures, sounds, tables and settings."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ..common.files import save_text
from .examples import Example
from .inputs import not_run
from .summary import Table, method, summaries

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
       color: #1a1a1a; background: #fff; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; }
figure { margin: 1rem 0 2rem; } img { max-width: 100%; height: auto; }
figcaption { color: #444; max-width: 60rem; } audio { display: block; margin: .4rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; margin: .5rem 0 1.5rem; }
th, td { text-align: right; padding: .2rem .7rem; border-bottom: 1px solid #ddd;
         white-space: nowrap; }
th:nth-child(-n+3), td:nth-child(-n+3) { text-align: left; }
pre { background: #f4f4f4; padding: .8rem; overflow-x: auto; font-size: .82rem; }
"""


FAILURES = 50  # listed at most


@dataclass(frozen=True)
class ReportFigure:
    """A figure in the report: its heading, its caption, its PNG, the clip that it shows."""

    section: str
    caption: str
    png: Path
    example: Example | None = None


def write_report(path: Path, numbers: dict[str, Any], figures: Sequence[ReportFigure]) -> Path:
    """Write the report, with pictures and sounds in it.

    Args:
        numbers: from `tidy_tables.analysis_record`.
        figures: in order.
    """
    blocks = [_head(numbers)]
    section = None
    for figure in figures:
        if figure.section != section:
            section = figure.section
            blocks.append(f"<h2>{html.escape(section)}</h2>")
        blocks.append(_figure(figure))
    blocks.append("<h2>Tables</h2>")
    blocks.append(
        "<p>Values with ± have one standard error over clips. Blocks count from 0; the paper "
        "counts from 1.</p>"
    )
    blocks += [_table(table) for table in summaries(numbers)]
    if numbers["skipped"]:
        blocks += ["<h2>Not run</h2>", _list(not_run(pair) for pair in numbers["skipped"])]
    if failures := numbers["failures"]:
        shown = min(FAILURES, len(failures))
        blocks.append(
            "<h2>Unreadable clips</h2>\n"
            f"<p>Clips that could not be read: {len(failures)}. The first {shown}:</p>"
        )
        blocks.append(_list(entry["error"] for entry in failures[:FAILURES]))
    blocks.append(_method(numbers))
    body = "\n".join(blocks)
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Which patches matter</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )
    # File names may not be valid UTF-8.
    return save_text(path, text.encode("utf-8", "replace").decode())


def ogg(waveform: np.ndarray, rate: int) -> bytes:
    """(samples,) float32 at `rate` Hz as Ogg Vorbis, about 6 kB a second."""
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", rate, 1, format="OGG", subtype="VORBIS") as file:
        # A second at a time: libsndfile's encoder overflows its stack on long writes.
        for start in range(0, len(waveform), rate):
            file.write(np.clip(waveform[start : start + rate], -1, 1))
    return stream.getvalue()


def _head(numbers: dict[str, Any]) -> str:
    rows = numbers["rows"]
    models = ", ".join(dict.fromkeys(row["model"] for row in rows))
    sets = ", ".join(f"{data['data']} ({data['clips']} clips)" for data in numbers["data"])
    rate = rows[0]["keep_rate"]
    plan = "each model's own plan" if rate is None else f"keep rate {rate:g} in each pruning block"
    methods = ", ".join(dict.fromkeys(method(row) for row in rows))
    paragraphs = [
        f"<p>Models: {html.escape(models)}. Data: {html.escape(sets)}. Pruned with "
        f"{html.escape(plan)}, method: {html.escape(methods)}. The analysis follows section 5 of "
        "T. Lee and H. Lee, <cite>Token Pruning in Audio Transformers</cite> (ECAI 2025, arXiv "
        "2504.01690).</p>",
    ]
    if numbers.get("stopped"):
        paragraphs.append(
            "<p><strong>The analysis was interrupted.</strong> All numbers are of the clips that "
            "were counted before.</p>"
        )
    if not any(row["drops"] for row in rows):
        paragraphs.append(
            "<p>No patch is dropped: figures that compare kept and dropped patches are omitted.</p>"
        )
    return "\n".join(["<h1>Which patches matter</h1>", *paragraphs])


def _figure(figure: ReportFigure) -> str:
    data = base64.b64encode(figure.png.read_bytes()).decode()
    caption = html.escape(figure.caption)
    lines = [f'<img alt="{caption}" src="data:image/png;base64,{data}">']
    if figure.example is not None:
        sound = base64.b64encode(ogg(figure.example.waveform, figure.example.rate)).decode()
        name = html.escape(figure.example.clip.path.name)
        lines.append(
            f'<audio controls aria-label="{name}" src="data:audio/ogg;base64,{sound}"></audio>'
        )
    body = "\n".join(lines)
    return f"<figure>\n{body}\n<figcaption>{caption}</figcaption>\n</figure>"


def _table(table: Table) -> str:
    title, columns, rows = table
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    lines = "\n".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows
    )
    return (
        f"<h3>{html.escape(title)}</h3>\n<div class='wide'><table>\n"
        f"<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "\n".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"


def _method(numbers: dict[str, Any]) -> str:
    """Settings and versions behind the numbers; results.json stores them for each row."""
    keys = ["model", "data", "source", "score", "reduction", "keep_rate", "batch_size", "threads",
            "device", "dtype", "frames"]  # fmt: skip
    runs = [[str(row[key]) for key in keys] for row in numbers["rows"]]
    samples = [
        [data["data"], ", ".join(view["models"]), *map(str, view["sample"].values())]
        for data in numbers["data"]
        for view in data["views"]
    ]
    sample_columns = ["data", "models", "sample", "of", "limit", "seed"]
    errors = html.escape(numbers["standard_errors"])
    return "\n".join(
        [
            "<h2>Settings and versions</h2>",
            _table(("Runs", keys, runs)),
            _table(("Patches that K-means clustered (a uniform random sample)", sample_columns,
                    samples)),
            f"<p>Standard errors: {errors}. Seed {numbers['seed']}. "
            f"Format version {numbers['format_version']}.</p>",
            f"<pre>{html.escape(json.dumps(numbers['versions'], indent=1))}</pre>",
        ]
    )  # fmt: skip
