"""What a grid's page calls a trend."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from spectrim.metrics.classification import metric, paired_difference, weighted_metric
from spectrim.metrics.intervals import Z95
from spectrim.metrics.pooled import DRAWS, Gap, figure_over_runs, mean_of, over_clips, over_runs
from spectrim.paper.findings import Finding, case_of, verdict, with_corrected_p_values
from spectrim.paper.table1_findings import ATTENTION, answers, sentences, summary

T2 = 4.302653  # Student's 97.5 % of two degrees of freedom


def judge(gap: Gap) -> str:
    return verdict(gap.value, gap.error)


def test_a_difference_of_at_most_two_standard_errors_is_no_trend() -> None:
    assert verdict(0.03, 0.01) == "shows"
    assert verdict(0.015, 0.01) == "cannot tell"
    assert verdict(-0.03, 0.01) == "contradicts"
    assert verdict(0.0, 0.0) == "cannot tell"


@pytest.mark.parametrize("error", [0.25, 0.5, 1.0])
def test_exactly_two_standard_errors_cannot_tell_on_either_page(error: float) -> None:
    """Powers of two, so that twice the error is exact; the next larger number decides."""
    just_above = np.nextafter(2 * error, 9)
    for sign, word in ((1, "shows"), (-1, "contradicts")):
        assert verdict(sign * 2 * error, error) == "cannot tell"
        assert verdict(sign * just_above, error) == word
        draws = np.zeros(DRAWS)
        assert case_of("x", "", Gap(sign * 2 * error, error, draws), None).verdict == "cannot tell"
        assert case_of("x", "", Gap(sign * just_above, error, draws), None).verdict == word


@pytest.mark.parametrize("clips", [80, 300])
def test_no_trend_is_called_that_an_exact_test_denies(clips: int) -> None:
    """McNemar's exact test (SciPy): 4 clips won and none lost are p = 0.125, no trend."""
    paths, called = np.arange(clips).astype(str), 0
    for won in range(25):
        for lost in range(won):
            change = np.repeat((1.0, -1.0, 0.0), (won, lost, clips - won - lost))
            if judge(over_clips([(paths, change)])) == "shows":
                assert stats.binomtest(won, won + lost).pvalue < 0.08, (won, lost)
                called += 1
            else:
                assert stats.binomtest(won, won + lost).pvalue > 0.02, (won, lost)
    assert called > 100


def test_the_error_of_a_gap_is_that_of_a_sweeps_interval() -> None:
    """`paired_difference` has Bonett and Price's formula as they write it, by counts."""
    truth = np.eye(2, dtype=bool)[np.zeros(40, int)]
    base, outputs = (np.eye(2)[(np.arange(40) % every == 0).astype(int)] for every in (4, 7))
    change = (1.0 - outputs[:, 1]) - (1.0 - base[:, 1])
    gap = over_clips([(np.arange(40).astype(str), change)])
    interval = paired_difference("accuracy", outputs, base, truth)
    assert gap.value == pytest.approx(interval.value)
    assert gap.error == pytest.approx((interval.high - interval.low) / 2 / Z95)
    assert gap.draws.std() == pytest.approx(gap.error, rel=0.15)


def test_the_error_of_map_is_that_of_a_multinomial_bootstrap() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((150, 4)) < 0.3
    base, outputs = (rng.random(truth.shape) + strength * truth for strength in (0.3, 0.5))
    names = np.arange(150).astype(str)
    gap = over_runs([(names, [(1, outputs, truth), (-1, base, truth)])])
    draws = rng.multinomial(150, np.full(150, 1 / 150), 2000)
    one, other = (weighted_metric("mAP", each, truth, draws) for each in (outputs, base))
    assert gap.value == pytest.approx(metric("mAP", outputs, truth) - metric("mAP", base, truth))
    assert gap.error == pytest.approx((one - other).std(), rel=0.12)


def test_the_error_of_a_mean_knows_the_clips_that_its_parts_share() -> None:
    """Against worlds: the same scores' gaps on clips drawn anew, four gaps on two sets of clips."""
    rng = np.random.default_rng(0)

    def world(number: int) -> list[Gap]:
        gaps = []
        for task in "ab":
            names = np.array([f"{number} {task} {at}" for at in range(200)])
            common = rng.choice([-1.0, 0.0, 1.0], 200, p=[0.2, 0.6, 0.2])
            own = (rng.choice([-1.0, 0.0, 1.0], 200, p=[0.02, 0.96, 0.02]) for _ in range(2))
            gaps += [over_clips([(names, common + each)]) for each in own]
        return gaps

    worlds = [world(number) for number in range(80)]
    means = [mean_of(gaps) for gaps in worlds]
    scatter = np.std([mean.value for mean in means])
    by_draws = np.mean([mean.draws.std() for mean in means])
    assert by_draws == pytest.approx(scatter, rel=0.15)
    told = [2 * mean.error >= abs(mean.value) for mean in means]
    assert np.mean(told) > 0.93, "what is nothing passes for nothing"
    independent = np.mean([np.mean([gap.error for gap in gaps]) for gaps in worlds]) / 2
    assert by_draws > 1.2 * independent, "each pair of gaps shares its clips"


def test_a_mean_of_equal_parts_is_as_sure_as_one() -> None:
    names = np.arange(100).astype(str)
    gap = over_clips([(names, np.repeat((1.0, 0.0), (20, 80)))])
    mean = mean_of([gap, gap, gap])
    assert (mean.value, mean.error) == pytest.approx((0.2, gap.draws.std(ddof=1)))


def test_findings_are_counted_and_averaged() -> None:
    figures = [(0.03, 0.01), (-0.005, 0.01), (-0.04, 0.016)]
    gaps = [Gap(*pair, np.full(DRAWS, pair[0]), trainings=2) for pair in figures]
    cases = [
        case_of("a", group, gap, theirs)
        for gap, group, theirs in zip(gaps, "xyz", (0.01, -0.01, None), strict=True)
    ]
    findings = [
        Finding(ATTENTION, "", cases, "", "fine-tuned"),
        Finding(ATTENTION, "", [], "", "without fine-tuning"),
    ]
    lines = summary(findings).splitlines()
    scatter = np.std([value for value, _ in figures], ddof=1) / 3**0.5 * T2 / 2
    mean = f"-0.5 ±{scatter * 100:.1f}"
    assert (
        lines[2]
        == f"| {ATTENTION} | fine-tuned | 2 | 1 | 1 | 1 | {mean} | cannot tell | 1 of 3 | 1 of 2 |"
    )
    assert "no such cells yet" in lines[3]
    assert all(line.count("|") == 11 for line in lines)
    assert sentences(findings) == [
        f"**{ATTENTION}**: fine-tuned, cannot tell (mean lead of attention: {mean} points; "
        "shows in 1 and contradicts in 1 of 3 cases); without fine-tuning, no such cells yet."
    ]


def test_a_single_training_decides_nothing() -> None:
    for trainings, expected in ((1, "cannot tell"), (2, "shows")):
        gap = Gap(0.1, 0.001, np.full(DRAWS, 0.1), trainings)
        (case,) = with_corrected_p_values([case_of("x", "", gap, None)])
        assert case.verdict == expected


def test_of_many_cases_without_any_difference_one_row_in_twenty_decides() -> None:
    """Rows of 16 independent cases; uncorrected, half of the rows would have a verdict."""
    rng, rows, uncorrected = np.random.default_rng(0), 0, 0
    for _ in range(600):
        values = rng.normal(0, 0.01, 16)
        cases = [case_of("x", "", Gap(v, 0.01, np.full(DRAWS, v), 3), None) for v in values]
        rows += any(case.verdict != "cannot tell" for case in with_corrected_p_values(cases))
        uncorrected += any(case.verdict != "cannot tell" for case in cases)
    assert rows / 600 == pytest.approx(0.05, abs=0.025)
    assert uncorrected / 600 > 0.4


def test_cases_of_a_single_training_are_not_counted_by_the_correction() -> None:
    sure, alone = Gap(0.025, 0.01, np.full(DRAWS, 0.025), 2), Gap(0.0, 0.01, np.zeros(DRAWS), 1)
    cases = with_corrected_p_values([case_of("x", "", gap, None) for gap in (sure, *[alone] * 20)])
    assert cases[0].verdict == "shows"


@pytest.mark.parametrize("clips", [20, 100])  # the error comes from clips, or from trainings
@pytest.mark.parametrize("folds", [False, True])
def test_rows_of_few_trainings_have_no_more_false_verdicts(clips: int, folds: bool) -> None:
    """Rows of 16 cases of three trainings that differ, without any difference of conditions."""
    rng, rows, worlds = np.random.default_rng(0), 0, 30
    for _ in range(worlds):
        cases = []
        for case in range(16):
            shifts = np.clip(rng.normal(0, 0.1, 3), -0.35, 0.35)
            runs = [
                (
                    np.array([f"{case} {run * folds} {clip}" for clip in range(clips)]),
                    rng.choice([-1.0, 0.0, 1.0], clips, p=[0.2 - shift / 2, 0.6, 0.2 + shift / 2]),
                )
                for run, shift in enumerate(shifts)
            ]
            # Draws are not needed here, and take most of the time.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("spectrim.metrics.pooled._draws", lambda names, values: np.zeros(1))
                gap = replace(over_clips(runs), trainings=3)
            cases.append(case_of("x", "", gap, None))
        rows += any(case.verdict != "cannot tell" for case in with_corrected_p_values(cases))
    assert rows <= stats.binom.ppf(0.999, worlds, 0.05)


def test_cases_that_share_trainings_are_no_several_witnesses() -> None:
    """Worlds of five columns, each with one control of its own that lifts its three cases alike."""
    rng = np.random.default_rng(0)
    groups = [f"column {at // 3}" for at in range(15)]
    means, errors, alone = [], [], []
    for _ in range(300):
        values = np.repeat(rng.normal(0, 0.02, 5), 3) + rng.normal(0, 0.005, 15)
        gaps = [Gap(value, 0.0, np.full(DRAWS, value)) for value in values]
        mean = mean_of(gaps, groups)
        means.append(mean.value)
        errors.append(mean.error)
        alone.append(mean_of(gaps).error)
    assert np.mean(np.abs(means) > 2 * np.array(errors)) == pytest.approx(0.05, abs=0.03)
    assert np.mean(np.abs(means) > 2 * np.array(alone)) > 0.2, "each case for itself is too sure"


def test_few_pages_of_means_without_effect_have_a_verdict() -> None:
    """Simulates pages of five means without any effect.

    With Holm's correction, at most 5 % of the pages have a false verdict. Without it, about 23 %.
    """
    rng = np.random.default_rng(0)
    simulations, false_pages, uncorrected = 200, 0, 0
    for _ in range(simulations):
        findings = []
        for values in rng.normal(0, 0.02, (5, 3)):
            gaps = [Gap(value, 0.0, np.full(DRAWS, value)) for value in values]
            cases = [case_of("x", str(index), gap, None) for index, gap in enumerate(gaps)]
            findings.append(Finding(ATTENTION, "", cases, ""))
        rows = answers(findings)
        false_pages += any(row["verdict"] != "cannot tell" for row in rows)
        uncorrected += any(abs(row["difference"]) > 2 * row["error"] for row in rows)
    assert false_pages <= stats.binom.ppf(0.999, simulations, 0.05)
    assert uncorrected / simulations == pytest.approx(1 - 0.95**5, abs=0.08)


@pytest.mark.parametrize("folds", [False, True])
def test_three_trainings_that_differ_are_no_trend(folds: bool) -> None:
    """Worlds without any difference but what the draw of a training makes: one in twenty strays."""
    rng = np.random.default_rng(0)
    strays, apart, plain = 0, 0, 0
    for _ in range(300):
        parts = []
        for run, shift in enumerate(rng.normal(0, 0.05, 3)):
            names = np.array([f"{run * folds} {at}" for at in range(200)])
            chances = [0.1 - shift / 2, 0.8, 0.1 + shift / 2]
            parts.append((names, rng.choice([-1.0, 0.0, 1.0], 200, p=np.clip(chances, 0, 1))))
        strays += judge(over_clips(parts)) != "cannot tell"
        means = np.array([values.mean() for _, values in parts])
        apart += abs(means.mean()) > T2 * means.std(ddof=1) / 3**0.5
        over = np.mean([values for _, values in parts], 0) if not folds else np.ravel(parts[0][1])
        plain += abs(over.mean()) > 2 * over.std() / 200**0.5
    assert 0 < strays <= apart < 0.09 * 300
    assert plain > 0.2 * 300, "the error over clips alone takes a training's luck for a trend"


def test_map_of_three_trainings_scatters_as_they_do() -> None:
    rng = np.random.default_rng(0)
    truth, names = rng.random((80, 3)) < 0.4, np.arange(80).astype(str)
    base = rng.random(truth.shape)
    outputs = [base + truth * strength for strength in (0.1, 0.4, 0.9)]
    parts = [(names, [(1, own, truth), (-1, base, truth)]) for own in outputs]
    gaps = [over_runs([part]) for part in parts]
    values, draws = [gap.value for gap in gaps], np.mean([gap.draws for gap in gaps], 0)
    scatter = np.std(values, ddof=1) / 3**0.5 * T2 / 2
    assert over_runs(parts).error == pytest.approx(np.hypot(draws.std(ddof=1), scatter), rel=1e-6)
    assert figure_over_runs(parts).error == pytest.approx(draws.std(ddof=1))


def test_the_two_added_clips_are_each_differences_own() -> None:
    """Of forty differences on other clips, those two average out as the clips do."""
    change = np.repeat((1.0, -1.0, 0.0), (4, 4, 72))
    gaps = [over_clips([(np.array([f"{n} {at}" for at in range(80)]), change)]) for n in range(40)]
    one = np.mean([gap.draws.std() for gap in gaps])
    assert np.mean([gap.draws for gap in gaps], 0).std() == pytest.approx(one / 40**0.5, rel=0.15)
