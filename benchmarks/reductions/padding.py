"""How much of a merge comes from padding and silence, which merge without loss.

    python benchmarks/reductions/padding.py MODEL --data MANIFEST --out FILE.json

Every merge removes one token. A token that ends with s patches of sound and p others removed s - 1
tokens of sound and p others if s > 0, and p - 1 others if not. A patch is padding if none of its
frames belongs to the clip, and silent if none of its values lies within 40 dB of the clip's
loudest. The same merge is also run after all padding was dropped, where keep rates apply to the
patches that are left: it shows what merging costs without padding. The file has one row for each
plan, with means over the clips:

    removed: tokens that the plan removes from a clip.
    padding, silent: fraction of them that are padding, and silent patches of the clip itself.
    same: fraction of clips whose top class is that of the unpruned model.
    same_without_padding: the same, of the models without padding, merged and not.
    changed_by_dropping: fraction of clips whose top class changes if padding is dropped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from measure import add_clip_options

import spectrim
from spectrim.common.files import save_json
from spectrim.data.cache import Waveforms
from spectrim.data.manifest import read_data
from spectrim.models.build import shape_of
from spectrim.models.provenance import versions
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning.matching import comparable_plan
from spectrim.pruning.plan import Plan

KEEP_RATES = (0.7, 0.5, 0.4)  # of keep-top, whose MACs the merge has
REDUCTIONS = ("tome", "pitome", "adjacent")
LOUD = 40 * np.log(10) / 10  # 40 dB as a difference of log power
BATCH = 20


def plans_of(model: SpectrogramTransformer) -> list[Plan]:
    """Merges in every block at the MACs of keep-top, and the recommended plan."""
    shape = shape_of(model.config)
    plans = [
        comparable_plan(shape, rate, reduction=reduction)
        for reduction in REDUCTIONS
        for rate in KEEP_RATES
    ]
    return [*plans, model.recommended_plan]


def removed(held: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """(3,) tokens removed from one clip: sound, silence, padding.

    Args:
        held: (patches,) position of the token that holds each patch.
        kind: (patches,) 0 for sound, 1 for silence, 2 for padding.
    """
    counts = np.zeros(3, int)
    for token in np.unique(held):
        of_kind = np.bincount(kind[held == token], minlength=3)
        of_kind[np.flatnonzero(of_kind)[0]] -= 1  # the token that is left: sound, if it holds any
        counts += of_kind
    return counts


@torch.inference_mode()
def main() -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    add_clip_options(parser)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model = spectrim.load(args.model).eval()
    clips = read_data(args.data).select(args.split, args.fold).clips
    waveforms = Waveforms(clips, seconds=model.config.seconds_to_read)
    plans = plans_of(model)
    whole = [spectrim.prune(model, plan=plan).eval() for plan in (Plan(), *plans)]
    dropped = [
        spectrim.prune(model, plan=Plan(plan.stages, drop_padding=True)).eval()
        for plan in (Plan(), *plans)
    ]
    top, top_dropped = ([[] for _ in whole] for _ in "ab")
    gone: list[list[np.ndarray]] = [[] for _ in plans]
    kinds = []
    for start in range(0, len(clips), BATCH):
        batch = [waveforms[position] for position in range(start, min(start + BATCH, len(clips)))]
        features, valid = model.features_from_waveforms(batch)
        kind = kinds_of(model, features, valid)
        kinds.append(kind)
        for index, pruned in enumerate(whole):
            trace = pruned.trace(features, valid)
            top[index].append(trace.logits.argmax(1).numpy())
            if index:
                members = list(trace.members.values())[-1].numpy()
                gone[index - 1] += [removed(*pair) for pair in zip(members, kind, strict=True)]
            top_dropped[index].append(dropped[index](features, valid).argmax(1).numpy())
    answers = [np.concatenate(parts) for parts in top]
    answers_dropped = [np.concatenate(parts) for parts in top_dropped]
    every = np.concatenate(kinds)
    result = {
        "model": str(args.model),
        "clips": len(clips),
        "patches": [round(float((every == kind).mean()), 4) for kind in range(3)],
        "changed_by_dropping": float((answers[0] != answers_dropped[0]).mean()),
        "rows": [],
        "versions": versions(),
    }
    for index, plan in enumerate(plans, 1):
        total = np.stack(gone[index - 1]).mean(0)
        result["rows"].append(
            {
                "plan": str(plan),
                "macs": spectrim.macs(whole[index]) / spectrim.macs(model),
                "removed": float(total.sum()),
                "silent": float(total[1] / total.sum()),
                "padding": float(total[2] / total.sum()),
                "same": float((answers[index] == answers[0]).mean()),
                "same_without_padding": float(
                    (answers_dropped[index] == answers_dropped[0]).mean()
                ),
            }
        )
    save_json(args.out, result)
    print(args.out)


def kinds_of(
    model: SpectrogramTransformer, features: torch.Tensor, valid: torch.Tensor
) -> np.ndarray:
    """(clips, patches) 0 for sound, 1 for silence, 2 for padding."""
    scaled = features.float() * 2 * model.config.std  # log power, but for a constant
    loudest = model.grid.cut(scaled).amax(2)
    has_frame = model.grid.hold_sound(valid)
    is_loud = loudest > loudest.masked_fill(~has_frame, -torch.inf).amax(1, keepdim=True) - LOUD
    return torch.where(has_frame, (~is_loud).long(), 2).numpy()


if __name__ == "__main__":
    main()
