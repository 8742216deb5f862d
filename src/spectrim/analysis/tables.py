"""What an analysis found as plain data: nested for programs, flat tables for spreadsheets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

from ..metrics.jackknife import Estimate
from ..models.provenance import RESULT_VERSION, context_of, versions
from .analyze import DataSet, Settings, drops
from .clusters import Clusters
from .counts.kendall import DEFINITIONS
from .counts.retention import KINDS, low_ratio
from .counts.tau import PATCHES, TauCounts
from .patches import STATISTICS, View
from .second_pass import Run, Subject

Row = dict[str, Any]
DEPTHS = ("first half", "second half", "second less first")
ERRORS = "delete-a-group jackknife over clips, at most 50 groups drawn by lot"


def record(
    found: Sequence[DataSet], settings: Settings, skipped: Sequence[Row] = ()
) -> dict[str, Any]:
    """All numbers of an analysis.

    `rows`: one for each data set, model and score, with what made it. `data`: clusters and
    histograms of each data set. `skipped`: pairs of model and data that were not run. Every
    value that has a standard error is {"value", "error"}; None stands for what is not defined.
    Blocks count from 0.
    """
    return {
        "rows": [
            _run(data, s, run, settings) for data in found for s in data.subjects for run in s.runs
        ],
        "unpruned": [_plain(data, s, settings) for data in found for s in data.subjects],
        "data": [_data(data) for data in found],
        "low_ratio": [row for data in found for row in _ratios(data)],
        "failures": [
            {"data": data.name, "path": str(data.manifest.clips[at].path), "error": message}
            for data in found
            for at, message in data.survey.failures
        ],
        "skipped": list(skipped),
        "standard_errors": ERRORS,
        "command": settings.command,
        "seed": settings.seed,
        "versions": versions(),
        "format_version": RESULT_VERSION,
    }


def tables(numbers: dict[str, Any]) -> dict[str, list[Row]]:
    """The flat tables of what `record` gives, but its rows.

    "tau", "clusters", "retention", "received", "low_ratio"; those that are empty are left out.
    """
    found: dict[str, list[Row]] = {"tau": [], "clusters": [], "retention": [], "received": []}
    for data in numbers["data"]:
        for view in data["views"]:
            for statistic in STATISTICS:
                for at, cluster in enumerate(view["clusters"][statistic]["clusters"]):
                    head = {"data": data["data"], "models": ";".join(view["models"])}
                    head |= {"statistic": statistic, "cluster": f"C{at + 1}"}
                    found["clusters"].append(
                        head | cluster | {"clips": data["clips"]} | _made(view)
                    )
    for row in [*numbers["unpruned"], *numbers["rows"]]:
        head = {key: row[key] for key in ("data", "model", "score", "keep_rate")}
        for entry in row["tau"] or []:
            found["tau"].append(head | entry | _made(row))
        for entry in row.get("retention", []):
            found["retention"].append(head | entry | _made(row))
        for entry in row.get("received", []):
            found["received"].append(head | entry | _made(row))
    found["low_ratio"] = list(numbers["low_ratio"])
    return {name: rows for name, rows in found.items() if rows}


def _made(row: Row) -> Row:
    """What a flat row says about how it was made."""
    found: Row = {}
    if "plan" in row:
        stages = row["plan"]["stages"]
        parts = [f"{s['score']} {s.get('keep_rate', s.get('count'))} at {s['at']}" for s in stages]
        found["plan"] = "; ".join(parts) or "no pruning"
    keys = ("clips", "batch_size", "threads", "device", "dtype", "frames", "format_version")
    found |= {key: row[key] for key in keys if key in row}
    return found | {key: versions()[key] for key in ("spectrim", "torch", "numpy")}


def _about(data: DataSet, subject: Subject, run: Run | None, settings: Settings) -> Row:
    name, family = subject.name, "AST" if subject.plain.config.has_class_token else "AudioMAE"
    return {
        "data": data.name,
        "source": str(data.manifest.source),
        "checkpoint": settings.checkpoints.get(name, name),
        "family": family,
        "score": run.score if run else None,
        "keep_rate": settings.keep_rate if run else 1.0,
        "clips": data.clips,
        "failed": len(data.survey.failures),
    }


def _plain(data: DataSet, subject: Subject, settings: Settings) -> Row:
    row = _about(data, subject, None, settings)
    row |= {"tau": _tau(subject.tau), "tau_by_depth": _by_depth(subject.tau)}
    return row | context_of(subject.plain, subject.name, settings.batch_size)


def _run(data: DataSet, subject: Subject, run: Run, settings: Settings) -> Row:
    whole = data.survey.clusters[run.view][0].whole
    counts = run.model.plan.counts(run.view.grid.count, run.model.config.depth)
    row = _about(data, subject, run, settings) | {
        "drops": drops(run),
        "patches": run.view.grid.count,
        "patches_left": counts[-1][1],
        "tau": _tau(run.tau) if run.tau else None,
        "retention": _retention(run, whole),
        "received": _received(run),
        "joint_histogram": {
            "edges": [edges.tolist() for edges in run.joint.edges],
            "counts": run.joint.counts.tolist(),
            "axes": ["input and after each stage", "padding, sound", "mean", "std"],
        },
    }
    return row | context_of(run.model, subject.name, settings.batch_size)


def _tau(counts: TauCounts) -> list[Row]:
    return _table(counts.tau, "block")


def _by_depth(counts: TauCounts) -> list[Row]:
    """Means of tau over the first and the second half of the blocks, and what they differ by."""
    return _table(counts.by_depth, "blocks", DEPTHS)


def _table(
    found_by: Callable[[str], Estimate], key: str, places: Sequence[str] | None = None
) -> list[Row]:
    """A row for each definition, statistic, kind of patches and place (by default its number)."""
    rows: list[Row] = []
    for definition in DEFINITIONS:
        found = found_by(definition)
        for at, statistic in enumerate(STATISTICS):
            for kind, patches in enumerate(PATCHES):
                head: Row = {"definition": definition, "statistic": statistic, "patches": patches}
                rows.extend(
                    head | {key: place} | found.plain(number, at, kind)
                    for number, place in enumerate(places or range(len(found.value)))
                )
    return rows


def _retention(run: Run, whole: bool) -> list[Row]:
    """Shares of the input's patches that are left after each stage, by whatever kind."""
    rows: list[Row] = []

    def add(patches: str, kind: str, name: str, at: int, found: Estimate, *place: int) -> None:
        head = {"patches": patches, "kind": kind, "of": name, "after": run.places[at]}
        rows.append(head | found.plain(at, *place))

    padding, among = run.retention.padding(), run.retention.of_input_padding()
    for at in range(len(run.places)):
        add("all", "padding", "padding", at, padding, 0)
        add("all", "padding", "sound", at, padding, 1)
        add("all", "padding", "among those left", at, _later(among))
        for patches in PATCHES:
            for which in ("low", "high") if whole else ():
                pair = run.retention.cluster_pair(which, patches == "sound")
                add(patches, "cluster pair", which, at, pair)
            for kind in KINDS:
                shares = run.retention.shares(kind, patches == "sound")
                for place in range(shares.value.shape[1]):
                    name = f"C{place + 1}" if kind in STATISTICS else str(place)
                    add(patches, kind, name, at, shares, place)
    return rows


def _later(found: Estimate) -> Estimate:
    return Estimate(found.value[1:], found.error[1:])


def _received(run: Run) -> list[Row]:
    means, ratio, share = run.received.means(), run.received.ratio(), run.received.share()
    return [
        {
            "block": place,
            "kept": means.plain(at, 0)["value"],
            "kept_error": means.plain(at, 0)["error"],
            "dropped": means.plain(at, 1)["value"],
            "dropped_error": means.plain(at, 1)["error"],
            "ratio": ratio.plain(at)["value"],
            "ratio_error": ratio.plain(at)["error"],
            "share_of_kept": share.plain(at)["value"],
            "share_of_kept_error": share.plain(at)["error"],
        }
        for at, place in enumerate(run.places)
    ]


def _data(data: DataSet) -> Row:
    views = []
    for view, both in data.survey.clusters.items():
        users = [subject for subject in data.subjects if subject.view == view]
        clusters = {
            name: _clusters(one, users[0], name) for name, one in zip(STATISTICS, both, strict=True)
        }
        singles = {
            name: {"edges": single.edges.tolist(), "counts": single.counts.tolist()}
            for name, single in zip(STATISTICS, data.singles[view], strict=True)
        }
        views.append(
            {
                "models": [subject.name for subject in users],
                **_view(view),
                "sample": data.survey.samples[view],
                "clusters": clusters,
                "histograms": singles,
                "format_version": RESULT_VERSION,
            }
        )
    head = {"data": data.name, "source": str(data.manifest.source), "clips": data.clips}
    return head | {"failed": len(data.survey.failures), "views": views}


def _view(view: View) -> Row:
    return {
        "frames": view.frames,
        "stride": list(view.stride),
        "normalised": {"mean": view.mean, "std": view.std},
        "columns": view.grid.columns,
        "rows": view.grid.rows,
    }


def _clusters(clusters: Clusters, user: Subject, kind: str) -> Row:
    retention = user.runs[0].retention
    sizes, sound = (retention.sizes(kind, only) for only in (False, True))
    found = [
        {
            "from": low,
            "to": high,
            "centre": float(clusters.centres[at]),
            "share": sizes.plain(at)["value"],
            "share_error": sizes.plain(at)["error"],
            "share_of_sound": sound.plain(at)["value"],
            "share_of_sound_error": sound.plain(at)["error"],
        }
        for at, (low, high) in enumerate(clusters.ranges())
    ]
    padding = retention.of_input_padding().plain(0)
    return {"clusters": found, "padding": padding}


def _ratios(data: DataSet) -> list[Row]:
    """C1 and C2 kept by a model that reads patches (AudioMAE) over one that reads a class (AST)."""
    rows = []
    for pair in combinations(data.subjects, 2):
        kinds = [subject.plain.config.has_class_token for subject in pair]
        if kinds[0] == kinds[1]:
            continue
        mae, ast = pair if kinds[1] else pair[::-1]
        whole = all(data.survey.clusters[s.view][0].whole for s in pair)
        for one in mae.runs:
            for other in ast.runs:
                alike = one.score == other.score and one.places == other.places
                if not (alike and whole and one.view.grid == other.view.grid):
                    continue
                for patches in PATCHES:
                    found = low_ratio(one.retention, other.retention, patches == "sound")
                    for at, place in enumerate(one.places):
                        head: Row = {"data": data.name, "score": one.score, "patches": patches}
                        head |= {"of": mae.name, "to": ast.name, "after": place}
                        same = {"same_clusters": mae.view == ast.view}
                        rows.append(head | found.plain(at) | same)
    return rows
