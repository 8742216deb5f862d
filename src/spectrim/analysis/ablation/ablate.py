"""Table IV: what a model loses without the patches of low, or of high, intensity."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...common.errors import SpectrimError, not_finite
from ...data.batches import batches
from ...data.manifest import Manifest
from ...evaluation.agreement import agreement
from ...evaluation.predict import window_seconds
from ...evaluation.sweep import truth_of
from ...metrics.classification import (
    indicator,
    metric,
    paired_difference,
    resampled_map,
    standard_error,
)
from ...metrics.jackknife import deal
from ...models.provenance import context_of
from ...models.transformer import SpectrogramTransformer
from ...pruning.plan import Plan
from ..clusters import HIGH, LOW, Clusters
from ..first_pass import SAMPLE, survey
from ..patches import View, patches_of
from .contrasts import contrasts
from .output_buffer import Spool

AFTER = (1, 3, 5, 7, 9, 11)
DROPPED = {"low": LOW, "high": HIGH}
BY_LOT = {"random-low": "low", "random-high": "high"}  # as many patches of each clip
BATCH_SIZE = 16


@dataclass(frozen=True)
class Cut:
    """One row: what is dropped once `after` blocks are done.

    `dropped`: "low" (clusters C1, C2), "high" (C4, C5), "random-low" or "random-high" (as many
    patches of each clip, drawn by lot); None: nothing, the unpruned model.
    """

    dropped: str | None
    after: int | None


@dataclass(frozen=True)
class Ablation:
    """Rows for people and programs.

    Attributes:
        rows: the unpruned model, then one for each cut, plain data.
        clusters: of the patch mean, plain data, and how the sample of K-means was drawn.
        contrasts: H against L with standard errors, see `contrasts`; None: no clip keeps a patch
            under both.
        failures: (path, message) of clips that could not be read.
    """

    rows: list[dict[str, Any]]
    clusters: dict[str, Any]
    contrasts: dict[str, Any] | None
    failures: list[tuple[str, str]]


@torch.inference_mode()
def ablate(
    model: SpectrogramTransformer,
    name: str,
    data: str,
    manifest: Manifest,
    *,
    after: Sequence[int] = AFTER,
    by_lot: bool = False,
    batch_size: int = BATCH_SIZE,
    sample: int = SAMPLE,
    seed: int = 0,
    tick: Callable[[int], None] = lambda clips: None,
) -> Ablation:
    """Drop the patches of clusters at inference, and measure.

    The model runs without a plan of its own. A clip all of whose patches lie in the clusters
    dropped has nothing left to look at: such clips are counted, and left out of that row and of
    what it is compared with.

    Args:
        name, data: how rows call the model and the clips.
        after: how many blocks still see every patch, one cut each.
        by_lot: also drop as many patches of each clip by lot, padding among them, which tells
            what a loss owes to their number.
        sample: patches in the reservoir that K-means sees.
        seed: of the reservoir, of the groups of the jackknife, and of the lots.
        tick: called with the number of clips done; there are two passes.

    Raises:
        SpectrimError: no clip can be read; a label that the model does not know; too few
            different values for five clusters; a block that the model does not have.
    """
    plain = model.with_plan(Plan()).eval()
    check(plain, name, manifest, after)
    truth = truth_of(manifest, plain.labels, plain.config.metric)
    first = survey(
        {name: plain}, data, manifest, batch_size=batch_size, sample=sample, seed=seed, tick=tick
    )
    view = View.of(plain.config)
    clusters = first.clusters[view][0]
    if not clusters.whole:
        raise SpectrimError(
            f"{manifest.source}: {clusters.count} different patch means make no five clusters, so "
            "that low and high cannot be told apart; are these clips silent?"
        )
    after = list(dict.fromkeys(after))
    dropped = [*DROPPED, *(BY_LOT if by_lot else ())]
    cuts = [Cut(None, None), *(Cut(which, blocks) for which in dropped for blocks in after)]
    lost = np.zeros(len(dropped))
    positions: list[int] = []
    failures = dict(first.failures)
    with contextlib.closing(Spool(len(cuts), len(manifest.clips), len(plain.labels))) as spool:
        for batch in batches(manifest.clips, batch_size, window_seconds(plain)):
            if batch.positions:
                features, valid = plain.features_from_waveforms(batch.waveforms)
                keeps = _keeps(plain, view, clusters, features, valid)
                if by_lot:
                    lots = [np.random.default_rng((seed, at)) for at in batch.positions]
                    keeps |= {lot: as_many(keeps[of], lots) for lot, of in BY_LOT.items()}
                lost += [(~keep).float().mean(1).sum().item() for keep in keeps.values()]
                for at, values in enumerate(outputs(plain, features, valid, cuts[1:], keeps)):
                    spool.put(at, len(positions), values)
                positions.extend(batch.positions)
            failures.update(batch.failures)  # a file may have gone since the first pass
            tick(len(batch.positions) + len(batch.failures))
        truth, done = None if truth is None else truth[positions], len(positions)
        shares = dict(zip(dropped, (lost / done).tolist(), strict=True))
        base = spool.get(0, done)
        rows, once = [], None
        if truth is not None and plain.config.metric == "mAP":
            once = resampled_map(base, truth)  # half a minute, on AudioSet
        for at, cut in enumerate(cuts):
            rows.append(_row(plain, cut, base, spool.get(at, done), truth, once))

        def of_cut(which: str | None, blocks: int | None) -> np.ndarray:
            return spool.get(cuts.index(Cut(which, blocks)), done)

        right, what = truth, plain.config.metric
        if right is None:  # what the unpruned model says is right
            right, what = indicator(base.argmax(1)[:, None].tolist(), base.shape[1]), "accuracy"
        groups = deal(len(manifest.clips), seed)[positions]
        against = contrasts(what, of_cut, right, groups, after, by_lot)
    about: dict[str, Any] = {
        "data": data,
        "source": str(manifest.source),
        "failed": len(failures),
        "classes": len(plain.labels),
    }
    about |= {"family": "AST" if plain.config.has_class_token else "AudioMAE"}
    about |= context_of(plain, name, batch_size)
    for row in rows:
        row["patches_dropped"] = shares.get(row["dropped"], 0.0)
    record = {
        "centres": clusters.centres.tolist(),
        "ranges": [list(pair) for pair in clusters.ranges()],
        "sample": first.samples[view],
    }
    clips = manifest.clips
    named = [(str(clips[at].path), message) for at, message in failures.items()]
    if against is not None:
        against |= {"metric": rows[0]["metric"]}
    return Ablation([about | row for row in rows], record, against, named)


def check(
    model: SpectrogramTransformer, name: str, manifest: Manifest, after: Sequence[int]
) -> None:
    """Refuse, before any work, blocks that the model does not have and labels unlike its metric.

    Raises:
        SpectrimError: see `ablate`.
    """
    depth = model.config.depth
    for blocks in after:
        if not 0 <= blocks <= depth:
            raise SpectrimError(
                f"dropped after {blocks} blocks; {name} has {depth}, so 0 to {depth} are possible."
            )
    truth_of(manifest, model.labels, model.config.metric)


def outputs(
    model: SpectrogramTransformer,
    features: Tensor,
    valid: Tensor,
    cuts: Sequence[Cut],
    keeps: dict[str, Tensor],
) -> Iterator[np.ndarray]:
    """Probabilities of the unpruned model and of each cut, (clips, classes) each.

    Clips that a cut leaves without any patch are NaN there.

    Args:
        keeps: for whatever is dropped, (clips, patches) bool: what stays without it.

    Raises:
        SpectrimError: the model's own answer is not finite.
    """
    yield _finite(model.probabilities(model(features, valid)), "unpruned")
    for cut in cuts:
        assert cut.dropped is not None and cut.after is not None
        keep = keeps[cut.dropped]
        some = keep.any(1)
        found = np.full((len(features), len(model.labels)), np.nan, np.float32)
        if some.any():
            logits = model(features[some], valid[some], keep=keep[some], keep_after=cut.after)
            what = f"{cut.dropped} dropped after {cut.after} blocks"
            found[some.cpu().numpy()] = _finite(model.probabilities(logits), what)
        yield found


def _finite(probabilities: Tensor, what: str) -> np.ndarray:
    values: np.ndarray = probabilities.cpu().numpy()
    if not np.isfinite(values).all():
        raise not_finite(what)
    return values


def _keeps(
    model: SpectrogramTransformer, view: View, clusters: Clusters, features: Tensor, valid: Tensor
) -> dict[str, Tensor]:
    ranks = clusters.rank(patches_of(view, features, valid).values[0])[:, view.places(model)]
    return {
        which: torch.from_numpy(~np.isin(ranks, dropped)).to(features.device)
        for which, dropped in DROPPED.items()
    }


def as_many(keep: Tensor, lots: Sequence[np.random.Generator]) -> Tensor:
    """(clips, patches) bool: as many patches of each clip stay as in `keep`, drawn by lot."""
    drawn = torch.zeros_like(keep)
    for clip, rng in enumerate(lots):
        stay = rng.permutation(keep.shape[1])[: int(keep[clip].sum())]
        drawn[clip, torch.from_numpy(stay)] = True
    return drawn


def _row(
    model: SpectrogramTransformer,
    cut: Cut,
    base: np.ndarray,
    found: np.ndarray,
    truth: np.ndarray | None,
    resampled: np.ndarray | None,
) -> dict[str, Any]:
    left = ~np.isnan(found[:, 0])
    row: dict[str, Any] = {
        "dropped": cut.dropped,
        "after_blocks": cut.after,
        "metric": "agreement" if truth is None else model.config.metric,
        "value": None,
        "error": None,
        "unpruned": None,
        "difference": None,
        "clips": int(left.sum()),
        "no_patch_left": int((~left).sum()),
        "agreement": None,
    }
    if not left.any():
        return row
    found, base = found[left], base[left]
    row["agreement"] = agreement(found, base, model.config.labels)["top1"]
    if truth is None:
        same = indicator(base.argmax(1)[:, None].tolist(), base.shape[1])
        error = standard_error("accuracy", found, same)
        return row | {"value": row["agreement"]["value"], "unpruned": 1.0, "error": error}
    name, truth = model.config.metric, truth[left]
    row["value"], row["unpruned"] = metric(name, found, truth), metric(name, base, truth)
    pair = None
    if resampled is not None:
        other = resampled if left.all() else resampled_map(base, truth)
        pair = (other if cut.dropped is None else resampled_map(found, truth), other)
    row["difference"] = asdict(paired_difference(name, found, base, truth, pair))
    row["error"] = standard_error(name, found, truth, None if pair is None else pair[0])
    return row
