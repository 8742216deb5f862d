"""Places in a block, rounded counts, notes, and bad input of stages and reductions."""

from __future__ import annotations

import warnings
from dataclasses import replace

import oracle
import pytest
import torch
from ragged import GRID, ragged

from calls import call_spectrim
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.models.build import macs, prune
from spectrim.pruning.plan import Plan, paper_plan
from spectrim.pruning.reductions import REDUCTIONS
from spectrim.pruning.stage import Stage, kept

each_family = pytest.mark.parametrize("family", ["ast", "audiomae"])


# Places


@each_family
def test_stages_before_between_and_after_equal_the_slow_computation(make, heard, family):
    model = make(family, dtype=torch.float64, depth=6)
    features, valid = heard("rain", "clock")
    plan = Plan(
        (
            Stage(2, 0.8, score="intensity", place="before"),
            Stage(2, 0.8, score="intensity"),
            Stage(2, 0.8, score="intensity", place="after"),
            Stage(4, 0.7, score="intensity", place="before"),
        )
    )
    logits = model.with_plan(plan)(features, valid)
    for row in range(2):
        scores = oracle.input_scores(model.config, features[row], int(valid[row]), "intensity")

        def keep(rate, scores=scores):
            def reduce(pieces, seen):
                best = sorted(pieces, key=lambda piece: (-scores[piece.origin], piece.origin))
                return best[: kept(rate, len(pieces))]

            return reduce

        # Before a block is after the block in front of it.
        slow = {
            ("after", 1): keep(0.8),
            2: keep(0.8),
            ("after", 2): keep(0.8),
            ("after", 3): keep(0.7),
        }
        expected = oracle.forward(model, features[row], slow)
        torch.testing.assert_close(logits[row].double(), expected, atol=1e-5, rtol=0)
    assert plan.counts(64, 6) == [(64, 64), (64, 64), (52, 42), (34, 34), (24, 24), (24, 24)]


def test_a_place_that_cannot_be():
    with pytest.raises(SpectrimError, match="expected one of before, between, after"):
        Stage(3, 0.5, place="behind")
    with pytest.raises(SpectrimError, match=r"score shift ranks after the MLP only.*Omit `place`"):
        Stage(3, 0.5, score="shift", place="between")
    for parts in ({"score": "attention"}, {"reduction": "tome"}):
        with pytest.raises(SpectrimError, match=r"not computed there yet.*place='between'"):
            Stage(3, 0.5, place="before", **parts)
        with pytest.raises(SpectrimError, match="no attention before the first block"):
            Stage("input", 0.5, **parts)
    with pytest.raises(SpectrimError, match="once for each place in a block"):
        Plan((Stage(3, 0.5, place="after"), Stage(3, 0.5)))
    with pytest.raises(SpectrimError, match="once for each place in a block"):
        Plan((Stage(3, 0.5), Stage(3, 0.5)))


def test_the_attention_of_other_tokens_is_refused(make, heard):
    """A stage after the MLP cannot read it once a stage before the MLP has dropped tokens."""
    model = make("ast", depth=2)
    after = Stage(1, 0.5, place="after")
    model.with_plan(Plan((after,)))(*heard("digit"))
    with pytest.raises(SpectrimError, match=r"belongs to other tokens.*between attention and MLP"):
        model.with_plan(Plan((Stage(1, 0.5), after)))(*heard("digit"))


# Counts


@pytest.mark.parametrize("multiple", [1, 8, 16])
@pytest.mark.parametrize("prefix", [1, 2])
def test_counts_are_rounded_up_to_a_multiple(multiple, prefix):
    plan = paper_plan([0.7, 0.5, 0.1], round_to=multiple)
    left = 64
    for block, (arriving, after) in enumerate(plan.counts(64, 12, prefix)):
        assert arriving == left
        if block in (3, 6, 9):
            exact = -(-arriving * {3: 7, 6: 5, 9: 1}[block] // 10)
            while (exact + prefix) % multiple:
                exact += 1
            left = min(exact, arriving)
        assert after == left


@pytest.mark.parametrize("reduction", ["keep-top", "tome", "evit"])
def test_models_keep_rounded_counts(make, heard, reduction):
    model = make("ast", depth=4)  # 2 prefix tokens and 64 patches
    pruned = prune(model, 0.7, blocks=(1, 2), reduction=reduction, round_to=8)
    tokens = pruned.encode(*heard("digit"))
    counts = [after for _, after in pruned.plan.counts(64, 4, 2)]
    fused = 1 if reduction == "evit" else 0
    assert counts == [64, 46 + fused, 38 + fused if reduction == "evit" else 38, counts[2]]
    assert tokens.count == counts[-1]
    assert Plan.from_dict(pruned.plan.to_dict()) == pruned.plan
    assert macs(pruned) > macs(prune(model, 0.7, blocks=(1, 2), reduction=reduction))


def test_a_round_to_that_cannot_be(make):
    for value in (0, -8, 1.5, True, "8"):
        with pytest.raises(SpectrimError, match="expected an integer from 1"):
            prune(make("ast"), 0.5, round_to=value)


@pytest.mark.parametrize("reduction", ["tome", "pitome", "adjacent"])
def test_a_stage_asked_to_merge_more_than_half_merges_half_and_notes_it(make, heard, reduction):
    model = make("ast", depth=4)
    text = f"{reduction} merges at most half.*block 1 leaves 32 of 64 patches, not 20"
    with pytest.warns(SpectrimNotice, match=text) as notes:
        pruned = prune(model, 0.3, blocks=(1, 2), reduction=reduction)
    assert len(notes) == 1  # for the first such stage
    assert notes[0].filename == __file__
    tokens = pruned.encode(*heard("dog", "digit"))
    assert tokens.count == 16 and pruned.plan.counts(64, 4)[-1] == (16, 16)
    assert tokens.sizes.sum(1).tolist() == [64, 64]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prune(model, 0.5, blocks=(1, 2), reduction=reduction)


def test_commands_print_the_note(tmp_path, clips):
    words = ("tag", clips["digit"], "--keep-rate", 0.3, "--blocks", 3, "--reduction", "tome")
    done = call_spectrim((*words, "--model", "ast-digits"), tmp_path)
    assert done.returncode == 0
    assert "merges at most half" in " ".join(done.stderr.split())


# Bad input


def test_a_score_that_needs_a_class_token_where_there_is_none():
    batch = ragged((30, 30), prefix=0)
    for score in (lambda c: c.class_row(), lambda c: c.class_rows().amax(1)):
        for reduction in ("evit", "diffrate"):
            stage = Stage(1, 0.5, score=score, reduction=reduction)
            with pytest.raises(SpectrimError, match=r"class token, but the model has none.*Use"):
                batch.run(stage)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"reduction": "tomme"}, "no reduction is called 'tomme'. Did you mean 'tome'"),
        ({"reduction": "segment"}, "Did you mean 'segments'"),
        ({"score": "recieved"}, "Did you mean 'received'"),
        (
            {"reduction": "tome", "reduction_options": {"proportinal": False}},
            "tome has no option 'proportinal'. Did you mean 'proportional'",
        ),
        (
            {"reduction": "segments", "reduction_options": {"segment": 3}},
            "segments has no option 'segment'. Did you mean 'segments'",
        ),
        ({"score_options": {"power": 2}}, "attention has no option 'power'. It has no options"),
        ({"reduction": "evit", "score": "intensity"}, "may be negative. Use one of attention"),
        ({"reduction": "keep-top", "score": None}, "keep-top requires a score"),
    ],
)
def test_unknown_names_and_options(values, words):
    with pytest.raises(SpectrimError, match=words):
        Stage(3, 0.5, **values)


@pytest.mark.parametrize(
    ("reduction", "options", "words"),
    [
        ("segments", {"segments": 0}, "segments is 0; expected at least 1"),
        ("segments", {"segments": "ten"}, "the reduction segments failed: TypeError"),
        ("pitome", {"variant": "fast"}, "variant of 'fast'; expected one of"),
        ("pitome", {"margin": "wide"}, "the reduction pitome failed: TypeError"),
        ("diffrate", {"prune_to": 3}, "prune_to is 3, but 15 patches should be left"),
    ],
)
def test_options_with_bad_values(reduction, options, words):
    batch = ragged((30, 30))
    with pytest.raises(SpectrimError, match=words):
        batch.run(batch.stage(reduction, 0.5, **options))


@pytest.mark.parametrize("field", ["x", "origin", "sizes", "present", "members", "present=None"])
def test_a_reduction_whose_fields_disagree_in_shape_is_named(field):
    batch = ragged((30, 20), merged=True)

    def careless(tokens, scores, count, context):
        left = REDUCTIONS["keep-top"](tokens, scores, count, context)
        if field == "present=None":
            return replace(left, present=None)
        value = getattr(left, field)
        return replace(left, **{field: value[:, :-1]})

    stage = Stage(1, 0.5, score=lambda context: batch.scores, reduction=careless)
    with pytest.raises(SpectrimError, match=f"careless returned .*{field}.*expected") as error:
        batch.run(stage)
    expected = {
        "x": "14 patches",
        "origin": "(2, 14)",
        "members": f"(2, {GRID.count - 1})",
        "sizes": "(2, 14)",
    }
    assert expected.get(field, "") in str(error.value)


@pytest.mark.parametrize("reduction", ["evit", "ats"])
def test_negative_scores_are_refused_where_patches_are_weighed_by_them(make, heard, reduction):
    """Without the check, minus infinity makes NaN logits, and other numbers negative weights."""
    model = make("ast", depth=2)
    features, valid = heard("rain")

    def quiet_ones_never(context):
        scores = context.uniform() + 0.1
        return torch.where(scores < 0.5, -torch.inf, scores)

    def positive(context):
        return context.uniform() + 0.1

    pruned = prune(model, 0.6, quiet_ones_never, (0,), reduction=reduction)
    with pytest.raises(SpectrimError, match=rf"never has negative .* {reduction} weighs"):
        pruned(features, valid)
    assert prune(model, 0.6, positive, (0,), reduction=reduction)(features, valid).isfinite().all()
    assert prune(model, 0.6, quiet_ones_never, (0,))(features, valid).isfinite().all()
