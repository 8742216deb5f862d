"""One loop for AST and AudioMAE: exactness, batches, plans a call, threads, compiling, traces."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from parameters import each_value
from spectrim.common.errors import SpectrimError
from spectrim.models.build import prune
from spectrim.pruning.components import declared
from spectrim.pruning.context import Context
from spectrim.pruning.plan import Plan
from spectrim.pruning.scores import SCORES
from spectrim.pruning.stage import Stage

each_family = pytest.mark.parametrize("family", ("ast", "audiomae"))
# Attention is the row of the class token in AST, and the mean over all queries in AudioMAE.
scores_and_families = each_value(
    ("attention", "ast"), ("attention", "audiomae"), score=list(SCORES), family=["ast", "audiomae"]
)
CLIPS = ("dog", "digit", "rain", "word")


@scores_and_families
def test_keep_rate_1_equals_the_unpruned_model_exactly(make, heard, family, score):
    model = make(family)
    features, valid = heard(*CLIPS)
    whole = model(features, valid)
    assert torch.equal(prune(model, 1.0, score)(features, valid), whole)
    assert torch.equal(prune(model, 0.5, score)(features, valid, keep_rate=1.0), whole)
    if not declared(SCORES[score], "needs_block", False):
        assert torch.equal(prune(model, 1.0, score, ("input", 3))(features, valid), whole)


@scores_and_families
def test_special_tokens_always_survive(make, heard, family, score):
    model = make(family)
    features, valid = heard(*CLIPS)
    plan = Plan(tuple(Stage(block, count=1, score=score) for block in (0, 4)))
    seen = []

    def watch(before, context, stage, after):
        if stage:
            seen.append((before, after))

    tokens = model.with_plan(plan).encode(features, valid, watch=watch)
    assert tokens.x.shape[1] == model.config.num_prefix_tokens + 1
    for before, after in seen:
        num_prefix_tokens = slice(0, model.config.num_prefix_tokens)
        assert torch.equal(after.x[:, num_prefix_tokens], before.x[:, num_prefix_tokens])
        assert after.num_prefix_tokens == model.config.num_prefix_tokens


@scores_and_families
def test_a_batch_equals_clip_by_clip(make, heard, family, score):
    features, valid = heard(*CLIPS)
    pruned = prune(make(family), 0.6, score)
    together = pruned.trace(features, valid)
    for row in range(len(features)):
        one = slice(row, row + 1)
        alone = pruned.trace(features[one], valid[one])
        assert torch.allclose(alone.logits[0], together.logits[row], atol=1e-4, rtol=1e-4)
        for block in (3, 6, 9):
            assert torch.equal(alone.kept[block][0], together.kept[block][row])


@scores_and_families
def test_a_keep_rate_a_call_equals_pruning_with_it(make, heard, family, score):
    model = make(family)
    features, valid = heard(*CLIPS)
    pruned = prune(model, 0.9, score)
    before = pruned(features, valid)
    for rate in (0.5, [0.8, 0.6, 0.3]):
        wanted = prune(model, rate, score)(features, valid)
        assert torch.equal(pruned(features, valid, keep_rate=rate), wanted)
        assert not torch.allclose(wanted, before)
    assert torch.equal(pruned(features, valid), before)


@pytest.mark.parametrize("family", ["ast", pytest.param("audiomae", marks=pytest.mark.slow)])
def test_threads_run_different_plans_over_one_set_of_weights(make, heard, family):
    model = make(family)
    features, valid = heard(*CLIPS)
    runs = [
        (prune(model, rate, score), {}) for score in list(SCORES)[:4] for rate in (1.0, 0.6, 0.3)
    ]
    runs += [(runs[1][0], {"keep_rate": rate}) for rate in (0.2, 0.4, 0.8)]
    wanted = [pruned(features, valid, **options) for pruned, options in runs]

    def run(index):
        pruned, options = runs[index % len(runs)]
        return pruned(features, valid, **options)

    with ThreadPoolExecutor(6) as pool:
        results = list(pool.map(run, range(2 * len(runs))))
    for index, result in enumerate(results):
        assert torch.equal(result, wanted[index % len(runs)])


@pytest.mark.parametrize(
    ("score", "family"),
    [
        # Compiling takes seconds. Attention also compiles calls without lengths and with a rate.
        ("attention", "ast"),
        pytest.param("attention", "audiomae", marks=pytest.mark.slow),
        *(
            pytest.param(score, family, marks=pytest.mark.slow)
            for score in SCORES
            if score != "attention"
            for family in ("ast", "audiomae")
        ),
    ],
)
def test_forward_compiles_whole(make, heard, family, score):
    features, valid = heard("dog", "digit")
    pruned = prune(make(family, depth=2), 0.6, score, (0, 1))
    torch.compiler.reset()  # plans of one class share a limit of compilations
    compiled = torch.compile(pruned, fullgraph=True, backend="eager")
    assert torch.equal(compiled(features, valid), pruned(features, valid))
    if score == "attention":
        assert torch.equal(compiled(features), pruned(features))
        rated = compiled(features, valid, keep_rate=0.3)
        assert torch.equal(rated, pruned(features, valid, keep_rate=0.3))


@scores_and_families
def test_a_trace_holds_scores_for_every_block(make, heard, family, score):
    model = make(family)
    features, valid = heard(*CLIPS)
    for rate, arriving in ((1.0, [64] * 12), (0.5, [64] * 4 + [32] * 3 + [16] * 3 + [8] * 2)):
        trace = prune(model, rate, score).trace(features, valid)
        assert [tuple(s.shape) for s in trace.scores] == [(4, count) for count in arriving]
        assert [tuple(p.shape) for p in trace.positions] == [(4, count, 2) for count in arriving]
        assert all(s.dtype == torch.float32 for s in trace.scores)
        assert not any(p.is_floating_point() for p in trace.positions)
    whole = model.trace(features, valid, score=score)
    assert [s.shape[1] for s in whole.scores] == [64] * 12
    one = prune(model, 1.0, score).trace(features, valid)
    for mine, its in zip(whole.scores, one.scores, strict=True):
        assert torch.equal(mine, its)


@scores_and_families
def test_kept_is_what_a_recomputation_gives(make, heard, family, score):
    """From the scores and positions that reach a block: sort, and take so many."""
    model = make(family)
    features, valid = heard(*CLIPS)
    trace = prune(model, 0.6, score).trace(features, valid)
    for block, count in ((3, 39), (6, 24), (9, 15)):
        for row in range(len(features)):
            ranked = []
            for value, place in zip(
                trace.scores[block][row].tolist(), trace.positions[block][row].tolist(), strict=True
            ):
                ranked.append((-value, model.grid.index(*place), place))
            wanted = [place for _, _, place in sorted(ranked)[:count]]
            assert trace.kept[block][row].tolist() == wanted  # highest score first
            assert torch.equal(trace.positions[block + 1][row], trace.kept[block][row])
            members = trace.members[block][row]
            for place, position in enumerate(wanted):
                assert members[model.grid.index(*position)] == place
            assert (members >= 0).sum() == count


@each_family
def test_a_trace_of_another_score_leaves_the_pruning_alone(make, heard, family):
    features, valid = heard(*CLIPS)
    pruned = prune(make(family), 0.6, "attention")
    own, other = pruned.trace(features, valid), pruned.trace(features, valid, score="intensity")
    assert torch.equal(own.logits, other.logits)
    assert torch.equal(own.kept[6], other.kept[6])
    assert not torch.allclose(own.scores[0], other.scores[0])


@scores_and_families
def test_trace_forward_and_parts_agree(make, heard, family, score):
    features, valid = heard(*CLIPS)
    pruned = prune(make(family), 0.6, score)
    logits = pruned(features, valid)
    assert torch.equal(pruned.trace(features, valid).logits, logits)
    embedded = pruned.embed(features, valid)
    assert embedded.shape == (4, pruned.config.width)
    assert torch.equal(pruned.head(embedded), logits)
    assert torch.equal(pruned.head(pruned.pool(pruned.encode(features, valid))), logits)


def test_sounds_are_embedded_like_their_features(make, clips):
    model = make("ast", depth=2)
    files = [clips["dog"], clips["digit"]]
    features, valid = model.features(files)
    assert torch.equal(model.embed(files), model.embed(features, valid))
    assert torch.equal(model.embed(files[1]), model.embed(*model.features(files[1])))


@each_family
def test_a_ranking_gets_the_same_attention_fused_or_explicit(make, heard, family):
    """The map is computed where a ranking wants it, and else from queries and keys."""
    model = make(family, depth=1)
    features, valid = heard(*CLIPS)
    clips = model._clips(features, valid, Plan())
    tokens = model.tokenize(features)
    scores = []
    for explicit in (False, True):
        out, context = model.blocks[0].attend(tokens, clips, 0, explicit)
        assert isinstance(context, Context)
        scores.append((out.x, context.class_row(), context.column_mean()))
    for one, other in zip(*scores, strict=True):
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)


@each_family
def test_scores_are_float32_and_finite_in_half_precision(make, heard, family):
    features, valid = heard(*CLIPS)
    model = copy.deepcopy(make(family)).bfloat16()
    exact = prune(make(family), 0.6, "intensity").trace(features, valid)
    half = prune(model, 0.6, "intensity").trace(features, valid)
    assert half.logits.dtype == torch.float32
    for block in (3, 6, 9):
        assert torch.equal(half.kept[block], exact.kept[block])
    for values in prune(model, 0.6).trace(features, valid).scores:
        assert values.dtype == torch.float32 and values.isfinite().all()


def test_a_wrong_length_or_shape_says_so(make):
    model = make("ast")
    for shape in ((1, 100, 128), (1, 128, 64), (128, 128), (1, 1, 128, 128)):
        with pytest.raises(SpectrimError, match="To change the length"):
            model(torch.zeros(shape))
    with pytest.raises(SpectrimError, match="valid has shape"):
        model(torch.zeros(2, 128, 128), torch.tensor([3]))


def test_no_valid_means_that_every_frame_is_sound(make, heard):
    features, _ = heard("rain")
    pruned = prune(make("ast"), 0.5, "intensity")
    assert torch.equal(pruned(features), pruned(features, torch.tensor([128])))


def test_the_class_tokens_attention_is_float32_under_autocast(make, heard):
    """As a slow softmax in float64 over the queries and keys that autocast gives it."""
    model = prune(make("ast"), 0.5)
    features, valid = heard(*CLIPS)
    seen = []

    def watch(before, context, stage, after):
        if context.block == "input":
            return
        a = context.attention
        logits = (a.q[:, :, :1].double() @ a.k.double().mT) * a.q.shape[-1] ** -0.5
        wanted = logits.softmax(-1).mean(1)[:, 0, context.tokens.num_prefix_tokens :]
        seen.append((a.q.dtype, context.class_row(), wanted))

    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        model.encode(features, valid, watch=watch)
    assert seen[0][0] == torch.bfloat16, "the queries are of half precision"
    for _, found, wanted in seen:
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), wanted, atol=1e-6, rtol=1e-4)
