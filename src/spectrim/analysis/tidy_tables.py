"""The numbers of an analysis as tidy rows; results.json groups them by model.

Blocks count from 0 in every row, as in `--blocks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any

from ..metrics.jackknife import Estimate
from ..models.provenance import RESULT_VERSION, context_of, versions
from .analyze import AnalysisSettings, DataSet
from .counts.attention_counts import PATCHES
from .counts.kendall import DEFINITIONS
from .counts.retention import GROUPINGS, Retention, Shares
from .inputs import family_name
from .patch_statistics import STATISTICS, View
from .second_pass import AnalyzedModel, PrunedModel

Row = dict[str, Any]
DEPTHS = ("first half", "second half", "second less first")
ERRORS = "delete-a-group jackknife over clips, at most 50 random groups"


def analysis_record(
    data: Sequence[DataSet], settings: AnalysisSettings, skipped: Sequence[Row] = ()
) -> Row:
    """All numbers of an analysis, as results.json stores them.

    `rows`: one for each data set, model and score, with its settings and versions. `data`: clusters
    and histograms of each data set. `skipped`: pairs of model and data that were not run. Values
    with a standard error are {"value", "error"}; None stands for undefined.
    """
    return {
        "rows": [
            _pruned_row(one, model, pruned, settings)
            for one in data
            for model, pruned in one.pruned
        ],
        "unpruned": [
            _head(one, model, settings)
            | {"tau": _tau_rows(model.tau.tau, "block"),
               "tau_by_depth": _tau_rows(model.tau.by_depth, "blocks", DEPTHS)}
            | context_of(model.unpruned, model.name, settings.batch_size)
            for one in data
            for model in one.models
        ],
        "data": [_data_row(one) for one in data],
        "low_ratio": [row for one in data for row in _low_ratios(one)],
        "failures": [
            {"data": one.name, "path": str(one.manifest.clips[position].path), "error": message}
            for one in data
            for position, message in one.first.failures
        ],
        "skipped": list(skipped),
        "standard_errors": ERRORS,
        "command": settings.command,
        "seed": settings.seed,
        "versions": versions(),
        "format_version": RESULT_VERSION,
    }  # fmt: skip


def tables(numbers: Row) -> dict[str, list[Row]]:
    """The CSV tables by name, from what `record` returns; empty ones are left out.

    "tau", "clusters", "retention", "received" and "low_ratio".
    """
    rows = [*numbers["unpruned"], *numbers["rows"]]
    flat = {
        "tau": list(_flat(rows, "tau")),
        "clusters": [
            {"data": data["data"], "models": ";".join(view["models"]), "statistic": statistic,
             "cluster": f"C{number}"} | cluster | {"clips": data["clips"]} | _settings_of(view)
            for data in numbers["data"]
            for view in data["views"]
            for statistic in STATISTICS
            for number, cluster in enumerate(view["clusters"][statistic]["clusters"], 1)
        ],
        "retention": list(_flat(rows, "retention")),
        "received": list(_flat(rows, "received")),
        "low_ratio": list(numbers["low_ratio"]),
    }  # fmt: skip
    return {name: entries for name, entries in flat.items() if entries}


def _flat(rows: Sequence[Row], table: str) -> Iterator[Row]:
    for row in rows:
        head = {key: row[key] for key in ("data", "model", "score", "reduction", "keep_rate")}
        for entry in row.get(table) or ():
            yield head | entry | _settings_of(row)


def _settings_of(row: Row) -> Row:
    """Columns of a CSV row that say how it was computed."""
    columns: Row = {}
    if "plan" in row:
        stages = [
            f"{stage['score'] or stage['reduction']} "
            f"{stage.get('keep_rate', stage.get('count'))} at {stage['at']}"
            for stage in row["plan"]["stages"]
        ]
        columns["plan"] = "; ".join(stages) or "no pruning"
    keys = ("clips", "batch_size", "threads", "device", "dtype", "frames", "format_version")
    columns |= {key: row[key] for key in keys if key in row}
    return columns | {key: versions()[key] for key in ("spectrim", "torch", "numpy")}


def _head(
    data: DataSet,
    model: AnalyzedModel,
    settings: AnalysisSettings,
    pruned: PrunedModel | None = None,
) -> Row:
    return {
        "data": data.name,
        "source": str(data.manifest.source),
        "checkpoint": settings.checkpoints.get(model.name, model.name),
        "family": family_name(model.unpruned),
        "score": pruned.score if pruned else None,
        "reduction": pruned.reduction if pruned else None,
        "keep_rate": settings.keep_rate if pruned else 1.0,
        "clips": data.clips,
        "failed": len(data.first.failures),
    }


def _pruned_row(
    data: DataSet, model: AnalyzedModel, pruned: PrunedModel, settings: AnalysisSettings
) -> Row:
    has_pairs = data.first.clusters[pruned.view][0].is_complete
    row = _head(data, model, settings, pruned) | {
        "drops": pruned.drops,
        "patches": pruned.view.grid.count,
        "patches_left": pruned.patches_left,
        "tau": _tau_rows(pruned.tau.tau, "block") if pruned.tau else None,
        "retention": list(_retention_rows(pruned, has_pairs)),
        "received": _received_rows(pruned),
        "joint_histogram": {
            "edges": [edges.tolist() for edges in pruned.joint.edges],
            "counts": pruned.joint.counts.tolist(),
            "axes": ["input and after each stage", "padding, sound", "mean", "std"],
        },
    }
    return row | context_of(pruned.model, model.name, settings.batch_size)


def _tau_rows(
    statistic_of: Callable[[str], Estimate], key: str, names: Sequence[str] | None = None
) -> list[Row]:
    """A row for each definition, statistic, kind of patches, and block (or name) on the axis."""
    rows: list[Row] = []
    for definition in DEFINITIONS:
        tau = statistic_of(definition)
        for column, statistic in enumerate(STATISTICS):
            for index_of_patches, patches in enumerate(PATCHES):
                head = {"definition": definition, "statistic": statistic, "patches": patches}
                rows.extend(
                    head | {key: name} | tau.plain(index, column, index_of_patches)
                    for index, name in enumerate(names or range(len(tau.value)))
                )
    return rows


def _retention_rows(pruned: PrunedModel, has_pairs: bool) -> Iterator[Row]:
    """Shares of the input's patches left after each stage, by every grouping."""
    padding, among = pruned.retention.padding(), pruned.retention.padding_share()
    for stage, block in enumerate(pruned.blocks):

        def row(
            patches: str, grouping: str, name: str, value: Row, block: int | str = block
        ) -> Row:
            return {"patches": patches, "kind": grouping, "of": name, "after": block} | value

        yield row("all", "padding", "padding", padding.plain(stage, 0))
        yield row("all", "padding", "sound", padding.plain(stage, 1))
        yield row("all", "padding", "among those left", among.plain(stage + 1))
        for patches, shares in _by_patches(pruned.retention).items():
            for name in ("low", "high") if has_pairs else ():
                pair = shares.cluster_pair(name)
                yield row(patches, "cluster pair", name, pair.plain(stage))
            for grouping in GROUPINGS:
                kept = shares.kept(grouping)
                for index in range(kept.value.shape[1]):
                    name = f"C{index + 1}" if grouping in STATISTICS else str(index)
                    yield row(patches, grouping, name, kept.plain(stage, index))


def _by_patches(retention: Retention) -> dict[str, Shares]:
    return dict(zip(PATCHES, (retention.all_patches, retention.sound_patches), strict=True))


def _with_error(name: str, estimate: Estimate, *index: int) -> Row:
    plain = estimate.plain(*index)
    return {name: plain["value"], f"{name}_error": plain["error"]}


def _received_rows(pruned: PrunedModel) -> list[Row]:
    means, ratio = pruned.received.means(), pruned.received.ratio()
    share = pruned.received.share()
    return [
        {"block": block}
        | _with_error("kept", means, stage, 0)
        | _with_error("dropped", means, stage, 1)
        | _with_error("ratio", ratio, stage)
        | _with_error("share_of_kept", share, stage)
        for stage, block in enumerate(pruned.blocks)
    ]


def _data_row(data: DataSet) -> Row:
    views = [_view_row(data, view) for view in data.first.clusters]
    head = {"data": data.name, "source": str(data.manifest.source), "clips": data.clips}
    return head | {"failed": len(data.first.failures), "views": views}


def _view_row(data: DataSet, view: View) -> Row:
    models = [model for model in data.models if model.view == view]
    histograms = zip(STATISTICS, data.histograms[view], strict=True)
    return {
        "models": [model.name for model in models],
        "frames": view.frames,
        "stride": list(view.stride),
        "normalised": {"mean": view.mean, "std": view.std},
        "columns": view.grid.columns,
        "rows": view.grid.rows,
        "sample": data.first.samples[view],
        "clusters": _cluster_rows(data, view, models[0].pruned[0].retention),
        "histograms": {
            name: {"edges": histogram.edges.tolist(), "counts": histogram.counts.tolist()}
            for name, histogram in histograms
        },
        "format_version": RESULT_VERSION,
    }


def _cluster_rows(data: DataSet, view: View, retention: Retention) -> Row:
    """By statistic: its clusters, and the share of padding; any pruned model has the input."""
    padding = retention.padding_share().plain(0)
    tables: Row = {}
    for statistic, clusters in zip(STATISTICS, data.first.clusters[view], strict=True):
        of_all = retention.all_patches.of_input(statistic)
        of_sound = retention.sound_patches.of_input(statistic)
        rows = [
            {"from": low, "to": high, "centre": float(clusters.centres[rank])}
            | _with_error("share", of_all, rank)
            | _with_error("share_of_sound", of_sound, rank)
            for rank, (low, high) in enumerate(clusters.ranges())
        ]
        tables[statistic] = {"clusters": rows, "padding": padding}
    return tables


def _low_ratios(data: DataSet) -> list[Row]:
    """C1 and C2 kept by each AudioMAE, relative to each AST with the same score and blocks."""
    rows = []
    for pair in combinations(data.models, 2):
        families = [model.unpruned.config.family for model in pair]
        if sorted(families) != ["ast", "audiomae"]:
            continue
        mae, ast = pair if families[0] == "audiomae" else pair[::-1]
        has_pairs = all(data.first.clusters[model.view][0].is_complete for model in pair)
        if not has_pairs or mae.view.grid != ast.view.grid:
            continue
        for one in mae.pruned:
            for other in ast.pruned:
                if (one.label, one.blocks) != (other.label, other.blocks):
                    continue
                of, to = _by_patches(one.retention), _by_patches(other.retention)
                for patches in PATCHES:
                    ratio = of[patches].low_ratio(to[patches])
                    head = {"data": data.name, "score": one.label, "patches": patches}
                    head |= {"of": mae.name, "to": ast.name}
                    rows += [
                        head
                        | {"after": block}
                        | ratio.plain(stage)
                        | {"same_clusters": mae.view == ast.view}
                        for stage, block in enumerate(one.blocks)
                    ]
    return rows
