"""The figures and tables that stand beside results/analysis.md, small enough to be committed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from ..common.errors import SpectrimError
from ..common.files import save, save_json, save_text
from .findings import Finding, Material, Row

FIGURE_LIMIT, TABLES_LIMIT = 110_000, 200_000  # bytes
USUAL_HEIGHT = 1.3  # of a figure, relative to its width; taller ones may have more bytes
FIGURES = {  # of analyze, and of ablate
    "fig4-paper.png": "Kendall's tau of attention against intensity and variation, block by block; "
    "grey: the paper's curves. Whiskers here and below: one standard error over clips.",
    "fig4-tau-b.png": "The same without ties (tau-b).",
    "fig5-clusters.png": "The five clusters of the patch mean and std; L is C1 and C2, H is C4 and "
    "C5.",
    "retention.png": "What is left after the last pruning.",
    "received.png": "Attention that a kept patch receives, over that of a dropped one.",
    "ablation.png": "The metric without L or H, and (dotted) without as many random patches; the "
    "last panels: the paper's Table IV.",
}
JOINT = (
    "Figure 6 on {}: log histograms of (mean, std) of the input and of what is left after the last "
    "pruning; to the right, where there is padding, without it."
)
EXAMPLE = "Patches dropped by each pruning are blanked; right of the dashed line lies padding."


def save_figures(beside: Path, analysis: Path, ablation: Path) -> dict[str, str]:
    """Small copies of the figures; file name to caption.

    Of Figure 3 that with most to see, hence the largest, that need not be drawn smaller.
    """
    examples = sorted(analysis.glob("fig3-*.png"), key=lambda path: -path.stat().st_size)
    document = (path for path in examples if _reduced(path, 1.0, _allowed(path, FIGURE_LIMIT)))
    example = next(document, examples[-1] if examples else None)
    chosen = [("fig3.png", example, EXAMPLE)] if example else []
    for name, caption in FIGURES.items():
        path = (ablation if name == "ablation.png" else analysis) / name
        chosen += [(name, path, caption)] if path.exists() else []
    for path in sorted(analysis.glob("fig6-*.png")):
        chosen.append((path.name, path, JOINT.format(path.stem.removeprefix("fig6-"))))
    for name, path, _ in chosen:
        save(beside / name, partial(_write, small_png(path)))
    return {name: caption for name, _, caption in chosen}


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def small_png(path: Path, limit: int = FIGURE_LIMIT) -> bytes:
    """A figure in few colours, and smaller where that is not enough to get under the limit.

    The limit grows with the height of tall figures, which have many rows of panels.
    """
    limit = _allowed(path, limit)
    for scale in (1.0, 0.8, 0.65, 0.5, 0.4):
        if data := _reduced(path, scale, limit):
            return data
    raise SpectrimError(f"{path} cannot be reduced to {limit} bytes.")


def _allowed(path: Path, limit: int) -> int:
    """Bytes that a figure may have."""
    with Image.open(path) as image:
        return round(limit * max(1.0, image.height / image.width / USUAL_HEIGHT))


def _reduced(path: Path, scale: float, limit: int) -> bytes | None:
    """At a scale, in as many colours as the limit leaves; None: even few are too many."""
    image = Image.open(path).convert("RGB")
    if scale < 1:
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling.LANCZOS)
    for colours in (128, 64, 32):
        stream = io.BytesIO()
        image.quantize(colours, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
        if stream.tell() <= limit:
            return stream.getvalue()
    return None


def save_tables(beside: Path, material: Material, findings: Sequence[Finding]) -> None:
    """The numbers, small: rounded, without what is the same in every row.

    Raises:
        SpectrimError: they are too large for a repository.
    """
    document = {"commands": [material.analysis["command"], material.ablation["command"]],
             "versions": material.analysis["versions"],
             "findings": [rounded(one.record()) for one in findings]}  # fmt: skip
    written = [save_json(beside / "findings.json", document)]
    rows = material.analysis["rows"]
    last = {id(row): row["retention"][-1]["after"] for row in rows if row["retention"]}
    head = ("model", "data", "score")
    tables = {
        "ablation": pick(material.ablation["rows"], ("model", "data", "dropped", "after_blocks",
            "patches_dropped", "metric", "value", "error", "unpruned", "clips", "no_patch_left")),
        "contrasts": [
            {key: row[key] for key in ("model", "data", "clips")} | {"after": entry["after"]}
            | {f"{key}{end}": entry[key][of] for key in entry if key != "after"
               for end, of in (("", "value"), ("_error", "error"))}
            for row in material.contrasts() for entry in row["blocks"]],
        "tau": [{key: row[key] for key in head[:2]} | entry
                for row in material.analysis["unpruned"] for entry in row["tau"]
                if entry["patches"] == "all"],
        "retention": [{key: row[key] for key in head} | entry
                      for row in rows for entry in row["retention"]
                      if entry["after"] == last[id(row)] and entry["patches"] == "all"
                      and entry["kind"] not in ("row", "column")],
        "received": [{key: row[key] for key in head} | entry for row in rows
                     for entry in row["received"]],
        "clusters": [{"data": data["data"], "models": ";".join(view["models"]),
                      "statistic": statistic, "cluster": f"C{number}"} | cluster
                     for data in material.analysis["data"] for view in data["views"]
                     for statistic, grouping in view["clusters"].items()
                     for number, cluster in enumerate(grouping["clusters"], 1)],
    }  # fmt: skip
    for name, entries in tables.items():
        stream = io.StringIO()
        writer = csv.DictWriter(stream, list(entries[0]) if entries else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rounded(entries))
        written.append(save_text(beside / f"{name}.csv", stream.getvalue()))
    size = sum(path.stat().st_size for path in written)
    if size > TABLES_LIMIT:
        raise SpectrimError(f"the tables are {size} bytes, over {TABLES_LIMIT}.")


def pick(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Some columns."""
    return [{key: row[key] for key in keys} for row in rows]


def rounded(value: Any) -> Any:
    """Plain data with numbers of five digits."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value
