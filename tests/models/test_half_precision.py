"""bfloat16 and float16 on the CPU: finite outputs that agree with float32, on real clips."""

from __future__ import annotations

import torch

import spectrim
from parameters import each_value


@each_value(dtype=["bfloat16", "float16"], name=["ast-digits", "audiomae-digits"])
def test_half_precision_agrees_with_float32(clips, name, dtype):
    paths = list(clips.values())
    full, half = spectrim.load(name), spectrim.load(name, dtype=dtype)
    features, valid = full.features(paths)
    same_features, same_valid = half.features(paths)
    assert torch.equal(features, same_features) and torch.equal(valid, same_valid)
    for rate, score in ((1.0, "attention"), (0.5, "attention"), (0.5, "variation")):
        models = [spectrim.prune(model, rate, score) for model in (full, half)]
        with torch.inference_mode():
            exact, logits = (model(features, valid) for model in models)
        assert logits.dtype == torch.float32 and logits.isfinite().all()
        # bfloat16 has 8 significant bits, float16 11; 12 blocks add up their rounding.
        tolerance = 0.06 if dtype == "bfloat16" else 0.01
        kept = [model.trace(features, valid).kept for model in models]
        same = torch.ones(len(paths), dtype=torch.bool)
        for block in kept[0]:
            pairs = [k[block].double() @ torch.tensor([1000.0, 1.0]).double() for k in kept]
            same &= (pairs[0].sort(1).values == pairs[1].sort(1).values).all(1)
        if score == "variation":  # a score of the features, which are float32 in both
            assert same.all()
        gap = (logits - exact).abs().amax(1) / exact.abs().amax(1)
        assert (gap[same] < tolerance).all(), gap
        # Clips with other patches at a close cut differ more, yet not in kind.
        assert (gap < 0.3).all(), gap
