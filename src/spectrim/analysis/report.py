"""One HTML file that a researcher reads from top to bottom: pictures, tables, how it was made."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ..audio.constants import SAMPLE_RATE
from ..common.files import save_text
from .examples import Example
from .summary import Table, not_run, summaries

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


@dataclass(frozen=True)
class Shown:
    """A figure in the report: under which heading, its caption, its PNG, the clip it shows."""

    section: str
    caption: str
    png: Path
    example: Example | None = None


def write_report(path: Path, numbers: dict[str, Any], shown: Sequence[Shown]) -> Path:
    """Write the report, with pictures and sounds in it.

    Args:
        numbers: what `rows.record` gives.
        shown: the figures, in order.
    """
    parts = [_head(numbers)]
    section = None
    for figure in shown:
        if figure.section != section:
            section = figure.section
            parts.append(f"<h2>{html.escape(section)}</h2>")
        parts.append(_figure(figure))
    parts.append("<h2>Tables</h2>")
    parts.append("<p>Values with ± have one standard error over clips. Blocks count from 1.</p>")
    parts += [_table(table) for table in summaries(numbers, published_clusters())]
    parts += [_skipped(numbers), _failures(numbers)]
    parts.append(_made(numbers))
    body = "\n".join(parts)
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Which patches matter</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )
    # Names of files need not be UTF-8.
    return save_text(path, text.encode("utf-8", "replace").decode())


def published_clusters() -> dict[str, Any]:
    """The paper's Figure 5 and Table III."""
    file = resources.files("spectrim.assets") / "paper" / "clusters.json"
    found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return found


def ogg(waveform: np.ndarray) -> bytes:
    """(samples,) float32 at 16 kHz as Ogg Vorbis, about 6 kB a second."""
    stream = io.BytesIO()
    with soundfile.SoundFile(stream, "w", SAMPLE_RATE, 1, format="OGG", subtype="VORBIS") as file:
        # A second at a time: libsndfile's encoder overflows its stack on long writes.
        for start in range(0, len(waveform), SAMPLE_RATE):
            file.write(np.clip(waveform[start : start + SAMPLE_RATE], -1, 1))
    return stream.getvalue()


def _head(numbers: dict[str, Any]) -> str:
    rows = numbers["rows"]
    models = ", ".join(dict.fromkeys(row["model"] for row in rows))
    sets = ", ".join(f"{data['data']} ({data['clips']} clips)" for data in numbers["data"])
    rate = rows[0]["keep_rate"]
    kept = "each model's own plan" if rate is None else f"keep-rate {rate:g} in each pruning block"
    scores = ", ".join(dict.fromkeys(row["score"] for row in rows))
    still = [] if any(row["drops"] for row in rows) else [
        "<p>Nothing is dropped at this keep-rate, so that only what unpruned models show is here."
        "</p>"
    ]  # fmt: skip
    return "\n".join(
        [
            "<h1>Which patches matter</h1>",
            f"<p>Models: {html.escape(models)}. Data: {html.escape(sets)}. Pruned with "
            f"{html.escape(kept)}, ranked by {html.escape(scores)}. The analysis is that of T. Lee "
            "and H. Lee, <cite>Token Pruning in Audio Transformers</cite> (ECAI 2025, arXiv "
            "2504.01690), section 5.</p>",
            *still,
        ]
    )


def _figure(figure: Shown) -> str:
    data = base64.b64encode(figure.png.read_bytes()).decode()
    caption = html.escape(figure.caption)
    image = f'<img alt="{caption}" src="data:image/png;base64,{data}">'
    sound = ""
    if figure.example is not None:
        heard = base64.b64encode(ogg(figure.example.waveform)).decode()
        name = html.escape(figure.example.clip.path.name)
        sound = (
            f'<audio controls aria-label="{name}" src="data:audio/ogg;base64,{heard}"></audio>\n'
        )
    return f"<figure>\n{image}\n{sound}<figcaption>{caption}</figcaption>\n</figure>"


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


def _skipped(numbers: dict[str, Any]) -> str:
    if not numbers["skipped"]:
        return ""
    lines = "\n".join(f"<li>{html.escape(not_run(entry))}</li>" for entry in numbers["skipped"])
    return f"<h2>Not run</h2>\n<ul>{lines}</ul>"


def _failures(numbers: dict[str, Any]) -> str:
    if not numbers["failures"]:
        return ""
    lines = "\n".join(
        f"<li>{html.escape(entry['error'])}</li>" for entry in numbers["failures"][:50]
    )
    count = len(numbers["failures"])
    return (
        f"<h2>Not read</h2>\n<p>{count} clips could not be read; the first:</p>\n<ul>{lines}</ul>"
    )


def _made(numbers: dict[str, Any]) -> str:
    """What made the numbers; results.json says it for each row."""
    keys = ("model", "data", "source", "score", "keep_rate", "batch_size", "threads", "device",
            "dtype", "frames")  # fmt: skip
    rows = [[str(row[key]) for key in keys] for row in numbers["rows"]]
    samples = [
        [data["data"], ", ".join(view["models"]), *(str(view["sample"][k]) for k in view["sample"])]
        for data in numbers["data"]
        for view in data["views"]
    ]
    versions = json.dumps(numbers["versions"], indent=1)
    return "\n".join(
        [
            "<h2>How it was made</h2>",
            _table(("Runs", list(keys), rows)),
            _table(
                (
                    "Patches that K-means saw (a uniform sample of all)",
                    ["data", "models", "sample", "of", "limit", "seed"],
                    samples,
                )
            ),
            f"<p>Standard errors: {html.escape(numbers['standard_errors'])}. Seed "
            f"{numbers['seed']}. Format version {numbers['format_version']}.</p>",
            f"<pre>{html.escape(versions)}</pre>",
        ]
    )
