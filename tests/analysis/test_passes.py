"""The two passes: what they count is what the models do, patch by patch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from sounds import burst, manifest, noise, silence
from spectrim.analysis.analyze import AnalysisSettings, analyze
from spectrim.analysis.counts.attention_counts import TauCounts
from spectrim.analysis.counts.histograms import Histogram
from spectrim.analysis.counts.retention import GROUPINGS
from spectrim.analysis.first_pass import first_pass
from spectrim.analysis.inputs import excluded_pairs, knows, not_run, skipped
from spectrim.analysis.patch_statistics import View, patches_of
from spectrim.analysis.tidy_tables import analysis_record, tables
from spectrim.common.errors import SpectrimError, SpectrimNotice
from spectrim.models.build import prune

FAMILIES = ("ast", "audiomae")
QUIET = AnalysisSettings(examples=0)


@pytest.fixture(scope="module")
def models(make):
    return {family: make(family) for family in FAMILIES}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Eight clips of different lengths: bursts, noise, one with digital silence in it."""
    waves = [burst(300 * 2**n, 0.2 * n, 0.2 * n + 0.3) for n in range(4)]
    waves += [noise(0.4, 0.2, 1), noise(0.7, 0.02, 2), noise(2.0, 0.1, 3)]
    waves += [np.concatenate([silence(0.5), noise(0.5, 0.3, 4)])]
    return manifest(tmp_path_factory.mktemp("clips") / "x", waves)


@pytest.fixture(scope="module")
def found(models, clips):
    settings = AnalysisSettings(examples=2, tau_pruned=True, scores=("attention", "intensity"))
    (data,) = analyze(models, {"clips": clips}, settings)
    return data


def features_of(model, clips):
    return model.features([clip.path for clip in clips.clips])


def test_counts_of_every_kind_add_up_to_the_patches(found, models):
    for model in found.models:
        for run in model.pruned:
            left = [64, 32, 16, 8]
            for grouping in GROUPINGS:
                sums = run.retention.by(grouping)
                assert sums.sum((0, 2, 3)).tolist() == [8 * n for n in left], grouping
            assert run.joint.counts.sum((1, 2, 3)).tolist() == [8 * n for n in left]
    for singles in found.histograms.values():
        assert [single.counts.sum() for single in singles] == [8 * 64, 8 * 64]


def test_what_is_counted_as_kept_is_what_the_trace_says(found, models, clips):
    for model in found.models:
        features, valid = features_of(models[model.name], clips)
        for run in model.pruned:
            trace = run.model.trace(features, valid)
            for place, block in enumerate((3, 6, 9), 1):
                columns, rows = trace.kept[block].reshape(-1, 2).T.numpy()
                counts = run.retention
                assert np.array_equal(
                    counts.by("column")[:, place].sum((0, 2)), np.bincount(columns, minlength=8)
                )
                assert np.array_equal(
                    counts.by("row")[:, place].sum((0, 2)), np.bincount(rows, minlength=8)
                )


def test_tau_by_block_is_scipys(found, models, clips):
    """One clip alone, and all of them by the pairs of each."""
    for analyzed in found.models:
        model = models[analyzed.name]
        features, valid = features_of(model, clips)
        trace = model.trace(features, valid, score="attention")
        view = View.of(model.config)
        patches = patches_of(view, features, valid)
        order = view.order_of(model)
        (data,) = analyze({"m": model}, {"one": _only(clips, 0)}, QUIET)
        for block in (0, 5, 11):
            scores = trace.scores[block].detach().numpy()
            for at, clusters in enumerate(found.first.clusters[view]):
                ranks = clusters.rank(patches.values[at])[:, order]
                sound = patches.sound[:, order]
                each = [
                    kendalltau(r[s], v[s]).statistic
                    for r, v, s in zip(ranks, scores, sound, strict=True)
                ]
                alone = data.models[0].tau.tau("tau-b").value[block, at, 1]
                if np.isfinite(alone):  # with its own clusters
                    own = data.first.clusters[view][at].rank(patches.values[at])[0, order]
                    expected = kendalltau(own[sound[0]], scores[0][sound[0]]).statistic
                    assert alone == pytest.approx(expected)
                pooled = analyzed.tau.tau("tau-b").value[block, at, 1]
                assert np.nanmin(each) - 1e-9 <= pooled <= np.nanmax(each) + 1e-9


def _only(clips, at):
    return type(clips)(clips.source, (clips.clips[at],))


def test_tau_of_pruned_models_follows_the_tokens(found):
    for model in found.models:
        for run in model.pruned:
            pairs = run.tau.sums[..., 0].sum(0)[:, 0, 0]
            counts = [64] * 4 + [32] * 3 + [16] * 3 + [8] * 2
            assert pairs.tolist() == [8 * n * (n - 1) // 2 for n in counts]
            before = np.s_[:, :4]
            assert np.array_equal(run.tau.sums[before], model.tau.sums[before])


def test_both_orders_of_patches_are_one_view(models, clips):
    """By intensity both models keep the same places, though they count patches differently.

    Not of padding, of which each keeps what it counts first.
    """
    full = type(clips)(clips.source, clips.clips[:4])
    (data,) = analyze(models, {"clips": full}, AnalysisSettings(scores=("intensity",), examples=1))
    one, other = (model.pruned[0] for model in data.models)
    assert np.array_equal(one.retention.sums, other.retention.sums)
    assert np.array_equal(one.joint.counts, other.joint.counts)
    pictures = data.examples[0].pictures
    assert np.array_equal(pictures[0].kept, pictures[1].kept)
    numbers = analysis_record([data], AnalysisSettings())
    (row, *_) = numbers["low_ratio"]
    assert tables(numbers)["low_ratio"] == numbers["low_ratio"]
    assert row["value"] == 1.0 and (row["of"], row["to"]) == ("audiomae", "ast")


def test_a_loud_patch_is_where_it_is(models, tmp_path):
    """A tone of 3.2 kHz between 0.66 and 0.80 s: time column 4, frequency row 5."""
    quiet = [burst(3200, 0.66, 0.8), noise(1.3, 1e-4, 5)]
    settings = AnalysisSettings(scores=("intensity",), keep_rate=0.02, blocks=(3,), examples=2)
    (data,) = analyze(models, {"loud": manifest(tmp_path / "x", quiet)}, settings)
    (example,) = [e for e in data.examples if e.clip.path.stem == "0"]
    for picture in example.pictures:
        assert np.argwhere(picture.kept[1])[0].tolist() == [4, 5]
        column, row = np.unravel_index(picture.features.argmax(), picture.features.shape)
        assert column // 16 == 4 and row // 16 == 5
    run = data.models[0].pruned[0]
    highest = run.retention.by("mean")[:, 1, 4].sum()
    assert highest >= 1  # the loudest cluster keeps it


def test_padding_is_known_and_goes_last_by_intensity(found):
    for model in found.models:
        for run in model.pruned:
            sums = run.retention.by("column").sum(0)
            # 0.4 s are 38 frames, three columns; 0.7 s 68, five; 1 s 98, seven. The rest is 8.
            assert sums[0].sum(0).tolist() == [8 * (5 + 3 + 1), 8 * (64 - 9)]
    intensity = found.models[0].pruned[1]
    assert intensity.retention.padding().value[-1].tolist() == [0.0, 8 * 8 / (8 * 55)]
    assert not intensity.joint.counts[-1, 0].any()


def test_received_attention_is_that_of_the_kept_and_the_dropped(found, models, clips):
    for model in found.models:
        run = model.pruned[0]
        features, valid = features_of(models[model.name], clips)
        trace = run.model.trace(features, valid)
        scores = trace.scores[3].sort(1, descending=True).values.detach().double()
        means = run.received.means().value[0]
        np.testing.assert_allclose(means[0], scores[:, :32].mean(), rtol=1e-5)
        np.testing.assert_allclose(means[1], scores[:, 32:].mean(), rtol=1e-5)
        np.testing.assert_allclose(run.received.ratio().value[0], means[0] / means[1])


def test_batches_change_nothing(models, clips):
    rows = []
    for size in (1, 3, 16):
        settings = AnalysisSettings(examples=0, batch_size=size)
        (data,) = analyze({"ast": models["ast"]}, {"clips": clips}, settings)
        rows.append([run.retention.sums for run in data.models[0].pruned])
    for other in rows[1:]:
        for one, two in zip(rows[0], other, strict=True):
            assert np.array_equal(one, two)


def test_models_run_on_what_they_know(models, clips, tmp_path):
    strange = manifest(tmp_path / "y", [noise()] * 2)
    strange = type(strange)(
        strange.source, tuple(type(c)(c.path, ("zebra",)) for c in strange.clips)
    )
    assert not knows(models["ast"], strange) and knows(models["ast"], strange.unlabelled())
    found = analyze(models, {"strange": strange, "clips": clips}, QUIET)
    assert [data.name for data in found] == ["clips"]
    with pytest.raises(SpectrimError, match="none of the models"):
        analyze(models, {"strange": strange}, QUIET)


def test_one_clip_has_numbers_without_errors(models, clips):
    (data,) = analyze(models, {"one": _only(clips, 5)}, AnalysisSettings(examples=3))
    numbers = analysis_record([data], AnalysisSettings())
    assert len(data.examples) == 1
    values = [entry for row in numbers["unpruned"] for entry in row["tau"]]
    assert all(entry["error"] is None for entry in values)
    assert any(entry["value"] is not None for entry in values)


def test_silence_only(models, tmp_path):
    """All patches are equal: no cluster but one, no tau-b, and no crash."""
    silent = manifest(tmp_path / "x", [silence(), silence(0.5)])
    with pytest.warns(SpectrimNotice, match="1 different value"):
        found = analyze(models, {"silent": silent}, AnalysisSettings(examples=1))
    numbers = analysis_record(found, AnalysisSettings())
    for row in numbers["unpruned"]:
        for entry in row["tau"]:
            assert entry["value"] == (None if entry["definition"] == "tau-b" else 1.0)
    assert numbers["low_ratio"] == []
    assert tables(numbers)["clusters"][0]["share"] == 1.0


def test_keep_rate_one_and_a_model_that_never_prunes(models, clips):
    (data,) = analyze(models, {"clips": clips}, AnalysisSettings(keep_rate=1.0, examples=1))
    rows = analysis_record([data], AnalysisSettings(keep_rate=1.0))["rows"]
    assert not any(row["drops"] for row in rows)
    ends = [e for row in rows for e in row["retention"] if e["kind"] == "row"]
    assert all(entry["value"] == 1.0 for entry in ends if entry["patches"] == "all")
    with pytest.raises(SpectrimError, match="no saved plan, so it does not prune"):
        analyze(models, {"clips": clips}, AnalysisSettings(keep_rate=None))
    own = {"m": prune(models["ast"], 0.25, "variation", (2,))}
    (data,) = analyze(own, {"clips": clips}, AnalysisSettings(keep_rate=None, examples=0))
    (run,) = data.models[0].pruned
    assert run.score == "variation" and run.blocks == [2]


def test_bad_clips_are_left_out_and_named(models, clips, tmp_path):
    (tmp_path / "bad.wav").write_text("no sound")
    bad = type(clips.clips[0])(tmp_path / "bad.wav", ("a",))
    mixed = type(clips)(clips.source, (bad, *clips.clips))
    (data,) = analyze({"ast": models["ast"]}, {"mixed": mixed}, QUIET)
    assert data.clips == 8
    assert analysis_record([data], QUIET)["failures"][0]["path"].endswith("bad.wav")
    nothing = type(clips)(clips.source, (bad,))
    with pytest.raises(SpectrimError, match="none of its 1 clips could be read"):
        analyze({"ast": models["ast"]}, {"nothing": nothing}, QUIET)


def test_wrong_settings_are_reported_before_the_work(models, clips):
    for settings, message in (
        (AnalysisSettings(scores=("atention",)), "Did you mean 'attention'"),
        (AnalysisSettings(keep_rate=0.0), "keep rate of 0.0"),
        (AnalysisSettings(blocks=(99,)), "count from 0 to 11"),
        (AnalysisSettings(chosen=("nowhere",)), "no clip called 'nowhere'"),
    ):
        with pytest.raises(SpectrimError, match=message):
            analyze(models, {"clips": clips}, settings)


def test_what_rounds_out_of_range_is_counted_at_its_edge(found):
    """The second pass may round otherwise than the first, on a GPU."""
    (view,) = found.histograms
    single = Histogram(found.first.clusters[view][0])
    values = np.array([[single.edges[0] - 1e-6, single.edges[-1] + 1e-6]])
    single.add(values, np.ones((1, 2), bool))
    assert single.counts[1, [0, -1]].tolist() == [1, 1]


def test_models_are_left_as_they_were(models, clips):
    before = {name: model.training for name, model in models.items()}
    state = models["ast"].state_dict()["head.weight"].clone()
    analyze(models, {"clips": clips}, QUIET)
    assert {name: model.training for name, model in models.items()} == before
    assert torch.equal(models["ast"].state_dict()["head.weight"], state)


def test_models_of_other_lengths_have_clusters_of_their_own(make, clips):
    models = {"short": make("ast", frames=64), "long": make("audiomae")}
    (data,) = analyze(models, {"clips": clips}, AnalysisSettings(scores=("attention",), examples=1))
    numbers = analysis_record([data], AnalysisSettings())
    views = {view["models"][0]: view for view in numbers["data"][0]["views"]}
    assert (views["short"]["columns"], views["long"]["columns"]) == (4, 8)
    assert numbers["low_ratio"] == []  # of other patches: their counts say nothing
    assert [picture.kept.shape for picture in data.examples[0].pictures] == [(4, 4, 8), (4, 8, 8)]


def test_a_file_that_goes_between_the_passes_is_a_failure(models, clips, tmp_path, monkeypatch):
    """And what is left is done, but for the picture of that clip."""
    mine = manifest(tmp_path / "x", [noise(seed=n) for n in range(4)])

    def then_remove(*words, **more):
        done = first_pass(*words, **more)
        mine.clips[2].path.unlink()
        return done

    monkeypatch.setattr("spectrim.analysis.analyze.first_pass", then_remove)
    (data,) = analyze({"ast": models["ast"]}, {"mine": mine}, AnalysisSettings(examples=4))
    assert data.clips == 3 and [at for at, _ in data.first.failures] == [2]
    assert len(data.examples) == 3
    run = data.models[0].pruned[0]
    assert run.retention.by("row")[:, 0].sum() == 3 * 64


def test_pairs_that_are_not_run_are_named_with_the_labels(models, clips, tmp_path):
    odd = manifest(tmp_path / "y", [noise()] * 5)
    labels = ("a", "zebra", "yak", "xerus", "wolf")
    odd = type(odd)(
        odd.source,
        tuple(type(c)(c.path, (label,)) for c, label in zip(odd.clips, labels, strict=True)),
    )
    pairs = skipped(models, {"clips": clips, "odd": odd})
    assert [(pair["model"], pair["data"]) for pair in pairs] == [
        ("ast", "odd"),
        ("audiomae", "odd"),
    ]
    assert all(pair["unknown"] == 4 for pair in pairs)
    assert all(pair["unknown_labels"] == ["wolf", "xerus", "yak"] for pair in pairs)
    sentence = not_run(pairs[0])
    assert sentence.startswith("ast is not run on odd") and sentence.endswith("and 1 more.")


def test_excluded_pairs_are_not_run_and_named(models, clips):
    excluded = excluded_pairs(["ast=clips"], models, ["clips"])
    (pair,) = skipped(models, {"clips": clips}, excluded)
    assert not_run(pair) == "ast is not run on clips, as --exclude asks."
    settings = AnalysisSettings(scores=["intensity"], excluded=excluded)
    (data,) = analyze(models, {"clips": clips}, settings)
    assert [model.name for model in data.models] == ["audiomae"]
    for text, problem in (
        ("ast", "expected MODEL=DATA"), ("ats=clips", "no model .* Did you mean 'ast'"),
        ("ast=clip", "no data set .* Did you mean 'clips'"),
    ):  # fmt: skip
        with pytest.raises(SpectrimError, match=problem):
            excluded_pairs([text], models, ["clips"])


def test_a_clip_of_data_that_no_model_knows_is_not_found(models, clips, tmp_path):
    odd = manifest(tmp_path / "z", [noise()])
    odd = type(odd)(odd.source, (type(odd.clips[0])(tmp_path / "odd.wav", ("zebra",)),))
    with pytest.raises(SpectrimError, match=r"no clip called 'odd\.wav' in clips"):
        analyze(models, {"clips": clips, "odd": odd}, AnalysisSettings(chosen=("odd.wav",)))


def test_tau_by_depth_is_the_mean_over_halves_with_the_error_of_the_difference(found):
    counts = found.models[0].tau
    tau, depth = counts.tau("tau-b").value, counts.by_depth("tau-b")
    np.testing.assert_allclose(depth.value[0], tau[:6].mean(0))
    np.testing.assert_allclose(depth.value[1], tau[6:].mean(0))
    np.testing.assert_allclose(depth.value[2], tau[6:].mean(0) - tau[:6].mean(0))
    left_out = []
    for group in range(len(counts.sums)):
        if counts.sums[group].any():
            rest = TauCounts(12)
            rest.sums = np.delete(counts.sums, group, 0)
            one = rest.tau("tau-b").value
            left_out.append(one[6:].mean(0) - one[:6].mean(0))
    assert len(left_out) == 8
    spread = np.var(left_out, 0) * (8 - 1)
    np.testing.assert_allclose(depth.error[2], np.sqrt(spread))


def test_the_share_of_padding_among_kept_patches_is_stored_after_each_stage(found):
    rows = analysis_record([found], AnalysisSettings())["rows"]
    runs = [run for model in found.models for run in model.pruned]
    for row, run in zip(rows, runs, strict=True):
        entries = [entry for entry in row["retention"] if entry["of"] == "among those left"]
        assert [entry["after"] for entry in entries] == run.blocks
        padding, sound = run.retention.by("column").sum((0, 2))[1:].T
        assert [entry["value"] for entry in entries] == pytest.approx(padding / (padding + sound))
