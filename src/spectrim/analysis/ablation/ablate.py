"""Table IV: accuracy lost when patches of low or of high intensity are dropped."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ...common.errors import SpectrimError, SpectrimNotice
from ...common.hooks import pass_point
from ...common.interruption import Stopped
from ...data.manifest import Manifest
from ...evaluation.sweep import truth_of
from ...metrics.classification import (
    resampled_map,
)
from ...metrics.jackknife import deal
from ...models.provenance import context_of
from ...models.transformer import SpectrogramTransformer
from ...pruning.plan import Plan
from ..clusters import HIGH, LOW
from ..first_pass import SAMPLE, clip_batches, first_pass
from ..inputs import family_name, fitting_models
from ..pass_duration import estimated_seconds
from ..patch_statistics import View, patches_of
from .contrasts import contrasts
from .cut_rows import Row, row_of_cut, top_classes
from .outputs import Cut, OutputBuffer, cut_outputs, random_patches

AFTER = (1, 3, 5, 7, 9, 11)
DROPPED = {"low": LOW, "high": HIGH}
RANDOM = {"random-low": "low", "random-high": "high"}  # as many random patches of each clip
BATCH_SIZE = 16
Tick = Callable[[int], None]


@dataclass(frozen=True)
class Ablation:
    """Results of one model on one data set.

    Attributes:
        rows: the unpruned model, then one for each cut, plain data.
        clusters: of the patch mean, plain data, and how the patches for K-means were sampled.
        contrasts: H against L with standard errors, see `contrasts`; None: no clip keeps a patch
            under both.
        failures: (path, message) of clips that could not be read.
    """

    rows: list[Row]
    clusters: Row
    contrasts: Row | None
    failures: list[tuple[str, str]]


def ablate_all(
    models: Mapping[str, SpectrogramTransformer],
    data: Mapping[str, Manifest],
    progress: Callable[[str, str, int], contextlib.AbstractContextManager[Tick]],
    *,
    after: Sequence[int] = AFTER,
    excluded: Collection[tuple[str, str]] = (),
    **settings: Any,
) -> tuple[list[Ablation], list[Row]]:
    """Ablate every model on the data whose labels it knows.

    Args:
        progress: from the names of a model and a data set, and the number of clips in two passes,
            to a context manager around their ablation, which gives its `tick`.
        excluded: names of models and data sets that are not run together.
        after, settings: see `ablate`.

    Returns:
        The ablations, and the pairs that an error ended: their "model", "data" and "error".

    Raises:
        SpectrimError: no model knows the labels of any data; wrong settings for a pair; an error
            in every pair.
        Stopped: Ctrl-C; its result is what would be returned, of the pairs and clips so far.
    """
    pairs = _pairs(models, data, after, excluded)
    ablations: list[Ablation] = []
    failed: list[Row] = []
    for data_name, name in pairs:
        model, manifest = models[name], data[data_name]
        if model.plan.stages:
            text = f"{name}: the saved plan ({model.plan}) is not used."
            warnings.warn(SpectrimNotice(text), stacklevel=2)
        try:
            with progress(name, data_name, 2 * len(manifest.clips)) as tick:
                ablations.append(
                    ablate(
                        model, name, data_name, manifest,
                        after=after, tick=tick, passed=partial(pass_point, "ablate:clips"),
                        **settings,
                    )
                )  # fmt: skip
        except KeyboardInterrupt as interrupt:
            ablations += [interrupt.result] if isinstance(interrupt, Stopped) else []
            if not ablations:
                raise
            raise Stopped((ablations, failed)) from None
        except SpectrimError as error:  # keep the pairs measured so far
            failed.append({"model": name, "data": data_name, "error": str(error)})
    if not ablations:
        raise SpectrimError(failed[0]["error"])
    return ablations, failed


def estimate_ablations(
    models: Mapping[str, SpectrogramTransformer],
    data: Mapping[str, Manifest],
    *,
    after: Sequence[int] = AFTER,
    batch_size: int = BATCH_SIZE,
    excluded: Collection[tuple[str, str]] = (),
    **settings: Any,
) -> float:
    """Seconds that the passes of `ablate_all` will take, from the first clips of each pair.

    Raises:
        SpectrimError: as `ablate_all` before its first pass.
    """
    seconds = 0.0
    for data_name, name in _pairs(models, data, after, excluded):
        run = partial(
            ablate, models[name], name, data_name,
            after=after, batch_size=batch_size, **settings,
        )  # fmt: skip
        seconds += estimated_seconds(run, data[data_name], batch_size) or 0.0
    return seconds


def _pairs(
    models: Mapping[str, SpectrogramTransformer],
    data: Mapping[str, Manifest],
    after: Sequence[int],
    excluded: Collection[tuple[str, str]],
) -> list[tuple[str, str]]:
    """Names of data and of the models that know its labels, checked."""
    fitting = fitting_models(models, data, excluded)
    pairs = [(set_name, name) for set_name, names in fitting.items() for name in names]
    if not pairs:
        raise SpectrimError(
            f"none of the models ({', '.join(models)}) knows the labels of {', '.join(data)}, or "
            "all pairs are excluded."
        )
    for data_name, name in pairs:
        check_ablation(models[name], name, data[data_name], after)
    return pairs


@torch.inference_mode()
def ablate(
    model: SpectrogramTransformer,
    name: str,
    data: str,
    manifest: Manifest,
    *,
    after: Sequence[int] = AFTER,
    random_control: bool = False,
    batch_size: int = BATCH_SIZE,
    sample: int = SAMPLE,
    seed: int = 0,
    tick: Tick = lambda clips: None,
    passed: Tick = lambda clips: None,
) -> Ablation:
    """Drop the patches of clusters at inference, and measure.

    The model runs without its own plan. A clip whose patches all lie in the dropped clusters has
    no patch left: such clips are counted, and excluded from that row and its comparison.

    Args:
        name, data: of the model and the clips, in the rows.
        after: how many blocks process every patch, one cut each.
        random_control: also drop as many random patches of each clip, padding among them. It
            shows how much of a loss comes from the number of patches alone.
        sample: patches that K-means clusters.
        seed: of that sample, of the jackknife groups, and of the random control.
        tick: called with the number of clips done; there are two passes. passed: the same, of
            the second pass only.

    Raises:
        SpectrimError: no clip can be read; the model does not know a label; there are too few
            different values for five clusters; the model has fewer blocks.
        Stopped: Ctrl-C in the second pass; its result is the ablation of the clips so far.
    """
    plain = model.with_plan(Plan()).eval()
    check_ablation(plain, name, manifest, after)
    truth = truth_of(manifest, plain.labels, plain.config.metric)
    first = first_pass(
        {name: plain}, data, manifest, batch_size=batch_size, sample=sample, seed=seed, tick=tick
    )
    view = View.of(plain.config)
    clusters, order = first.clusters[view][0], view.order_of(plain)
    if not clusters.is_complete:
        raise SpectrimError(
            f"{manifest.source}: {clusters.count} different patch means are too few for five "
            "clusters. Are these clips silent?"
        )
    after = list(dict.fromkeys(after))
    dropped = [*DROPPED, *(RANDOM if random_control else ())]
    cuts = [Cut(None, None), *(Cut(which, blocks) for which in dropped for blocks in after)]
    # Of each batch: positions, and the sums over clips of the fractions dropped. They are added at
    # once, so that Ctrl-C leaves no half batch.
    done_batches: list[tuple[list[int], np.ndarray]] = []
    done, is_stopped = 0, False
    failures = dict(first.failures)
    buffer = OutputBuffer(len(cuts), len(manifest.clips), len(plain.labels))
    with contextlib.closing(buffer):
        try:
            for batch in clip_batches(manifest, batch_size, [plain]):
                if batch.positions:
                    features, valid = plain.features_from_waveforms(batch.waveforms)
                    ranks = clusters.rank(patches_of(view, features, valid).values[0])[:, order]
                    kept = {
                        which: torch.from_numpy(~np.isin(ranks, ids)).to(features.device)
                        for which, ids in DROPPED.items()
                    }
                    if random_control:
                        # Each clip has its own generators: its patches depend on no batch.
                        generators = [
                            np.random.default_rng((seed, position)) for position in batch.positions
                        ]
                        kept |= {
                            which: random_patches(kept[counterpart], generators)
                            for which, counterpart in RANDOM.items()
                        }
                    outputs = cut_outputs(plain, features, valid, cuts[1:], kept)
                    for variant, values in enumerate(outputs):
                        buffer.put(variant, done, values)
                    lost = [(~keep).float().mean(1).sum().item() for keep in kept.values()]
                    done_batches.append((batch.positions, np.array(lost)))
                    done += len(batch.positions)
                failures.update(batch.failures)  # a file may have gone since the first pass
                tick(len(batch.positions) + len(batch.failures))
                passed(len(batch.positions) + len(batch.failures))
        except KeyboardInterrupt:
            if not done_batches:
                raise
            is_stopped = True
        positions = [position for batch, _ in done_batches for position in batch]
        truth, done = None if truth is None else truth[positions], len(positions)
        base = buffer.get(0, done)
        resampled = None
        if truth is not None and plain.config.metric == "mAP":
            resampled = resampled_map(base, truth)  # takes half a minute on AudioSet
        rows = [
            row_of_cut(plain, cut, base, buffer.get(variant, done), truth, resampled)
            for variant, cut in enumerate(cuts)
        ]

        def outputs_of(which: str | None, blocks: int | None) -> np.ndarray:
            return buffer.get(cuts.index(Cut(which, blocks)), done)

        # Without labels, the top class of the unpruned model is the truth.
        compared = contrasts(
            "accuracy" if truth is None else plain.config.metric,
            outputs_of,
            top_classes(base) if truth is None else truth,
            deal(len(manifest.clips), seed)[positions],
            after,
            random_control,
        )
    if compared is not None:
        compared |= {"metric": rows[0]["metric"]}
    head = {
        "data": data,
        "source": str(manifest.source),
        "failed": len(failures),
        "classes": len(plain.labels),
        "family": family_name(plain),
    } | context_of(plain, name, batch_size)
    dropped_sums = np.sum([sums for _, sums in done_batches], 0)
    shares = dict(zip(dropped, (dropped_sums / done).tolist(), strict=True))
    ablation = Ablation(
        [
            head | row | {"patches_dropped": shares.get(row["dropped"], 0.0)}
            for row in rows
        ],
        {
            "centres": clusters.centres.tolist(),
            "ranges": [list(pair) for pair in clusters.ranges()],
            "sample": first.samples[view],
        },
        compared,
        [(str(manifest.clips[position].path), message) for position, message in failures.items()],
    )  # fmt: skip
    if is_stopped:
        raise Stopped(ablation)
    return ablation


def check_ablation(
    model: SpectrogramTransformer, name: str, manifest: Manifest, after: Sequence[int]
) -> None:
    """Refuse missing blocks, and labels that do not fit the metric, before the long work.

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
