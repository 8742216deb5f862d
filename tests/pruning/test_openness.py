"""Rankings and reductions from tests/extensions.py run everywhere, without an edit under src/."""

from __future__ import annotations

import copy

import oracle
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import extensions
from parameters import each_value
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.deploy.export import check_exportable
from spectrim.models import block as block_module
from spectrim.models.build import macs, prune
from spectrim.models.presets import from_family
from spectrim.models.transformer import SpectrogramTransformer
from spectrim.pruning import context
from spectrim.pruning.plan import Plan
from spectrim.pruning.stage import Stage
from spectrim.pruning.tokens import Tokens

FAMILIES = ("ast", "audiomae")
OWN = {
    "merge": {"score": "extensions:none", "reduction": "extensions:merge"},
    "merge by callable": {"score": extensions.none, "reduction": extensions.merge},
    "fuse": {"reduction": "extensions:fuse"},
    "fuse by callable": {"reduction": extensions.fuse},
    "peak": {"score": "extensions:peak"},
    "peak by callable": {"score": extensions.peak},
    "learned": {"score": "extensions:Learned"},
    "join": {"score": "extensions:distinct", "reduction": "extensions:join"},
}
each_family = pytest.mark.parametrize("family", FAMILIES)


@each_value(own=list(OWN), family=FAMILIES)
def test_own_parts_train(make, heard, family, own):
    model = copy.deepcopy(make(family, depth=4)).train()
    features, valid = heard("dog", "digit")
    pruned = prune(model, 0.6, blocks=(1, 2), **OWN[own])
    assert pruned.training
    pruned(features, valid).square().sum().backward()
    for block in model.blocks:
        assert block.fc1.weight.grad.abs().sum() > 0


@each_value(own=list(OWN), family=FAMILIES)
def test_own_parts_are_traced_and_counted(make, heard, family, own):
    model = make(family, depth=4)
    features, valid = heard("dog", "digit")
    pruned = prune(model, 0.6, blocks=(1, 2), **OWN[own])
    trace = pruned.trace(features, valid)
    counts = [64, 64, 40, 25] if own.startswith("fuse") else [64, 64, 39, 24]
    assert [scores.shape[1] for scores in trace.scores] == counts
    assert torch.equal(trace.logits, pruned(features, valid))
    assert macs(pruned) < macs(model)
    for block in (1, 2):
        members, kept = trace.members[block], trace.kept[block]
        assert members.max() == kept.shape[1] - 1
        if own.startswith(("merge", "fuse", "join")):  # a partition: nothing is lost
            assert (members >= 0).all()


@each_value(own=["merge", "fuse", "peak", "learned", "join"], family=FAMILIES)
def test_own_parts_compile_whole(make, heard, family, own):
    pruned = prune(make(family, depth=2), 0.6, blocks=(0, 1), **OWN[own])
    features, valid = heard("dog", "digit")
    torch.compiler.reset()  # plans of one class share a limit of compilations
    compiled = torch.compile(pruned, fullgraph=True, backend="eager")
    assert torch.equal(compiled(features, valid), pruned(features, valid))


@each_family
def test_own_parts_cost_what_the_flop_counter_counts(family):
    config = from_family(family, name="t", labels=("a", "b"), width=128, heads=2, depth=4)
    model = SpectrogramTransformer(config).to("meta").eval()
    for own in ("merge", "fuse", "learned"):
        pruned = prune(model, 0.6, blocks=(1, 2), **OWN[own]).to("meta")
        ranking = 0
        for block in (1, 2):
            arriving, _ = pruned.plan.counts(model.grid.count, 4)[block]
            if own == "merge":  # every even key with every odd one
                ranking += (arriving + 1) // 2 * (arriving // 2) * 64
            elif own == "learned":
                ranking += arriving * 256
            elif family == "ast":  # the class token's row
                ranking += (arriving + config.num_prefix_tokens) * config.width
        with FlopCounterMode(display=False) as counter:
            pruned(torch.empty(1, config.frames, 128, device="meta"))
        assert counter.get_total_flops() == 2 * (macs(pruned) + ranking)


@each_family
def test_merging_equals_a_slow_loop(make, heard, family):
    model = make(family, dtype=torch.float64)
    features, valid = heard("dog", "digit", "word")
    plan = prune(model, 0.7, **OWN["merge"]).plan
    trace = model.with_plan(plan).trace(features, valid)
    for row in range(len(features)):
        left = {}
        reduce = {block: slow_merge(0.7, left, block) for block in (3, 6, 9)}
        logits = oracle.forward(model, features[row], reduce)
        assert torch.allclose(trace.logits[row].double(), logits, atol=1e-5, rtol=0)
        for block, pieces in left.items():
            members = trace.members[block][row].tolist()
            for place, piece in enumerate(pieces):
                carried = [patch for patch, at in enumerate(members) if at == place]
                assert carried == sorted(piece.members)
                column, band = trace.kept[block][row, place].tolist()
                assert model.grid.index(column, band) == piece.origin
        assert max(piece.size for piece in left[9]) > 2  # merged tokens merged again


def slow_merge(rate, left, block):
    """ToMe by loops; `left[block]` is what it leaves."""

    def reduce(pieces, seen):
        keys = [
            sum(k[seen.num_prefix_tokens + j] for k in seen.keys) / len(seen.keys)
            for j in range(len(pieces))
        ]
        keys = [key / key.norm() for key in keys]
        odd = list(range(1, len(pieces), 2))
        links = []
        for j in range(0, len(pieces), 2):
            likeness, partner = max((float(keys[j] @ keys[i]), -i) for i in odd)
            links.append((likeness, j, -partner))
        gone = len(pieces) - max(-(-len(pieces) * round(rate * 10) // 10), len(pieces) // 2)
        links.sort(key=lambda link: (-link[0], link[1]))
        into = {j: [j] for j in odd}
        for _, j, partner in links[:gone]:
            into[partner].append(j)
        stay = sorted(j for _, j, _ in links[gone:])
        result = [pieces[j] for j in stay]
        for j in odd:
            group = [pieces[i] for i in into[j]]
            size = sum(p.size for p in group)
            x = sum(p.x * p.size for p in group) / size
            members = [m for p in group for m in p.members]
            result.append(oracle.Piece(x, pieces[j].origin, members))
        left[block] = [oracle.Piece(p.x, p.origin, list(p.members)) for p in result]
        return result

    return reduce


@each_family
def test_merged_tokens_can_be_pruned_later(make, heard, family):
    model = make(family, depth=4, dtype=torch.float64)
    features, valid = heard("dog", "rain")
    plan = Plan((Stage(1, 0.7, score="extensions:none", reduction="extensions:merge"),
                 Stage(2, 0.5), Stage(3, 0.5)))  # fmt: skip
    trace = model.with_plan(plan).trace(features, valid)
    for row in range(2):
        left = {}
        told = oracle.Pruning(model.config, features[row], int(valid[row]), "attention")
        reduce = {1: slow_merge(0.7, left, 1), 2: told.at(2, 0.5), 3: told.at(3, 0.5)}
        logits = oracle.forward(model, features[row], reduce)
        assert torch.allclose(trace.logits[row].double(), logits, atol=1e-5, rtol=0)
        for block in (2, 3):
            members = trace.members[block][row]
            for place, origin in enumerate(told.picks[block]):
                (carried,) = (p.members for p in left[1] if p.origin == origin)
                assert (members == place).nonzero()[:, 0].tolist() == sorted(carried)
            lost = {m for p in left[1] if p.origin not in told.picks[block] for m in p.members}
            assert set((members == -1).nonzero()[:, 0].tolist()) == lost


@each_family
def test_sizes_add_up_and_members_say_the_same(make, heard, family):
    features, valid = heard("rain", "digit")
    pruned = prune(make(family), 0.5, **OWN["merge"])
    tokens = pruned.encode(features, valid)
    assert tokens.count == 8
    assert (tokens.sizes.sum(1) == 64).all()
    for row in range(2):
        assert torch.equal(tokens.members[row].bincount(minlength=8), tokens.sizes[row])
        assert len(tokens.origin[row].unique()) == 8
    assert tokens.sizes.max() > 2


@each_family
def test_fused_tokens_equal_a_slow_loop(make, heard, family):
    model = make(family, depth=4, dtype=torch.float64)
    features, valid = heard("dog", "word")
    pruned = prune(model, 0.6, blocks=(1, 2), reduction="extensions:fuse")
    logits = pruned(features, valid)

    def reduce(pieces, seen):
        rank = oracle.class_attention if family == "ast" else oracle.received_attention
        scores = rank(pieces, seen)
        count = -(-len(pieces) * 6 // 10)
        order = sorted(range(len(pieces)), key=lambda j: -scores[j])
        rest = order[count:]
        x = sum(pieces[j].x * scores[j] for j in rest) / sum(scores[j] for j in rest)
        fused = oracle.Piece(x, pieces[rest[0]].origin, [rest[0]])
        return [pieces[j] for j in order[:count]] + [fused]

    for row in range(2):
        slowly = oracle.forward(model, features[row], {1: reduce, 2: reduce})
        assert torch.allclose(logits[row].double(), slowly, atol=1e-5, rtol=0)


@each_family
def test_a_learned_score_learns_by_its_own_loss(make, heard, family):
    features, valid = heard("dog", "digit")
    learned = extensions.Learned()
    pruned = prune(copy.deepcopy(make(family, depth=4)), 0.6, learned, (1, 2)).train()
    trace = pruned.trace(features, valid)
    assert len(trace.losses) == 2  # one a stage, none for scores that only the trace asked for
    assert len(trace.scores) == 4
    sum(trace.losses).backward()
    assert learned.weigh.weight.grad.abs().sum() > 0
    assert any(value is learned.weigh.weight for value in pruned.parameters())
    assert "learned.0.weigh.weight" in pruned.state_dict()


def test_a_learned_score_by_name_stays_the_same_at_another_keep_rate(make, heard):
    features, valid = heard("dog", "digit")
    pruned = prune(make("ast", depth=4), 0.8, "extensions:Learned", (1, 2))
    assert len(pruned.learned) == 2  # by name, each stage has its own
    other = pruned.with_plan(pruned.plan.with_keep_rate(0.5))
    assert torch.equal(pruned(features, valid, keep_rate=0.5), other(features, valid))
    for mine, its in zip(pruned.learned, other.learned, strict=True):
        assert mine.weigh.weight is its.weigh.weight


def test_options_reach_own_parts_and_plans_with_names_are_data(make):
    stage = Stage(1, 0.5, score="extensions:Learned", score_options={"target": 0.1})
    assert stage.rank.target == 0.1
    plan = Plan((stage,))
    with pytest.raises(SpectrimError, match=r"trust_code=True"):
        Plan.from_dict(plan.to_dict())
    again = Plan.from_dict(plan.to_dict(), trust_code=True)
    assert again == plan
    assert again.stages[0].rank.target == 0.1
    with pytest.raises(SpectrimError, match=r"module:name"):
        Plan((Stage(1, 0.5, score=extensions.peak),)).to_dict()


def test_own_parts_that_err_are_told_so(make, heard):
    features, valid = heard("digit")
    model = make("ast", depth=4)
    for bad, words in (
        (lambda context: torch.zeros(1, 3), "gave shape"),
        ("extensions:absent", "cannot be imported"),
        ("no_such_module:peak", "cannot be imported"),
        (3, "a name or a callable"),
    ):
        with pytest.raises(SpectrimError, match=words):
            prune(model, 0.5, bad, (1,))(features, valid)
    with pytest.raises(SpectrimError, match="tokens_after"):
        lossy = prune(model, 0.5, blocks=(1,), reduction=lambda t, s, n, c: t.take(s.argsort(1)))
        lossy(features, valid)
    absent = prune(model, 0.5, blocks=(1,), reduction=lambda t, s, n, c: t.no_such_thing)
    with pytest.raises(SpectrimError, match="reduction <lambda> failed: AttributeError"):
        absent(features, valid)


@pytest.mark.parametrize("attribute", ["needs_attention_map", "attention_map"])
def test_a_score_with_options_that_reads_the_map_has_it_from_the_block(
    make, heard, monkeypatch, attribute
):
    """Not computed a second time beside fused attention."""
    calls, whole = [], context.explicit_attention
    for module in (context, block_module):
        monkeypatch.setattr(
            module,
            "explicit_attention",
            lambda *words, at=module.__name__: calls.append(at) or whole(*words),
        )

    def received(context, power):
        return context.column_mean() ** power

    setattr(received, attribute, True)
    plan = Plan((Stage(1, 0.5, score=received, score_options={"power": 2}),))
    make("ast", depth=3).with_plan(plan)(*heard("digit"))
    assert calls == [block_module.__name__]


def test_a_module_that_fails_when_it_is_imported_is_named(tmp_path, monkeypatch):
    """As when the README's whole block is copied into it, which ends in a use of the score."""
    (tmp_path / "scores_that_fail.py").write_text(
        "def mine(context):\n    return context.column_mean()\n\n\nspectrim.prune(model)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(SpectrimError, match=r"imported: NameError: name 'spectrim' is not defined"):
        Stage(3, 0.5, score="scores_that_fail:mine")


def test_the_old_name_of_the_prefix_tokens_is_readable():
    tokens = Tokens(torch.zeros(1, 5, 8), 2, torch.arange(3)[None])
    with pytest.warns(SpectrimNotice, match="num_prefix_tokens instead"):
        assert tokens.specials == 2


@pytest.mark.parametrize("kind", ["score", "reduction"])
def test_what_declares_that_it_cannot_be_exported_is_not(make, kind):
    def fickle(*arguments):
        return arguments[0].uniform() if kind == "score" else arguments[0]

    fickle.exportable = False
    model = make("ast", depth=2).with_plan(Plan((Stage(1, 0.5, **{kind: fickle}),)))
    with pytest.raises(SpectrimError, match=f"{kind} 'fickle', which cannot be exported"):
        check_exportable(model)
