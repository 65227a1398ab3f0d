"""Intervals that resample speakers: against plain resampling written as loops, and against the truth.

# K trials, S speakers, R draws
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxid import metrics
from voxid.errors import BadScores
from voxid.metrics import confidence, resampling

COUNTS = list(confidence.OF_SCORES)
Trials = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def made(seed: int, speakers: int, trials: int, apart: float = 3.0, decimals: int | None = None) -> Trials:
    """Return (scores, same, left, right) where some voices are easily confused and some vary much."""
    rng = np.random.default_rng(seed)
    left = rng.integers(0, speakers, trials)
    right = (left + rng.integers(1, speakers, trials)) % speakers
    same = rng.random(trials) < 0.2
    right[same] = left[same]
    alike, steady = 0.5 * rng.standard_normal(speakers), rng.standard_normal(speakers)
    of_speakers = np.where(same, apart + steady[left], alike[left] + alike[right])
    scores = rng.standard_normal(trials) + of_speakers
    return (scores if decimals is None else scores.round(decimals)), same, left, right


def true_eer(apart: float = 3.0) -> float:
    """Return the EER that `made` has with infinitely many speakers: two normal distributions."""
    return NormalDist().cdf(-apart / (np.sqrt(1 + 2 * 0.25) + np.sqrt(1 + 1)))


# -- a draw is what it says ----------------------------------------------------------------------------


@pytest.mark.parametrize("decimals", [None, 1])
def test_a_draw_is_the_list_with_its_trials_repeated(decimals: int | None) -> None:
    scores, same, left, right = made(0, speakers=12, trials=600, decimals=decimals)
    llrs = 0.3 * scores**3 - 1  # not all in the order of the scores once noise is added
    llrs += np.random.default_rng(1).standard_normal(600)
    times = resampling.draws(12, 70, seed=5)  # more than one pass
    system = resampling.judged(scores, same, left.astype(np.int32), right.astype(np.int32), llrs)
    known = confidence.OF_SCORES | confidence.OF_LLRS
    found = resampling.figures_of_draws(system, times, list(known))
    for r in (0, 1, 63, 64, 69):
        w = times[:, r].astype(int)
        often = np.where(same, w[left], w[left] * w[right])
        of_scores, of_llrs, labels = (np.repeat(values, often) for values in (scores, llrs, same))
        for name, figure in confidence.OF_SCORES.items():
            assert found[name][r] == pytest.approx(figure(of_scores, labels), abs=1e-12), name
        for name, figure in confidence.OF_LLRS.items():
            assert found[name][r] == pytest.approx(figure(of_llrs, labels), rel=1e-5), name


def test_each_draw_takes_as_many_speakers_as_there_are() -> None:
    times = resampling.draws(40, 500, seed=3)
    assert (times.sum(axis=0) == 40).all()
    assert np.var(times) == pytest.approx(1 - 1 / 40, rel=0.05)  # of a multinomial draw with equal chances
    assert len(np.unique(times, axis=1).T) == 500
    np.testing.assert_array_equal(times, resampling.draws(40, 500, seed=3))
    assert not np.array_equal(times, resampling.draws(40, 500, seed=4))


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([None, 1, 0]))
def test_every_speaker_once_is_the_point_estimate(seed: int, decimals: int | None) -> None:
    scores, same, left, right = made(seed, speakers=8, trials=90, decimals=decimals)
    same[0], left[0], right[0] = True, 0, 0
    system = resampling.judged(scores, same, left.astype(np.int32), right.astype(np.int32))
    once = resampling.figures_of_draws(system, np.ones((8, 1), np.uint8), COUNTS)
    for name, figure in confidence.OF_SCORES.items():
        assert once[name][0] == pytest.approx(figure(scores, same), abs=1e-12)


@pytest.mark.parametrize("decimals", [None, 2])
def test_groups_of_many_trials_keep_the_resolution_they_promise(decimals: int | None) -> None:
    scores, same, left, right = made(1, speakers=50, trials=120_000, decimals=decimals)
    assert scores.size > resampling.EXACT
    system = resampling.judged(scores, same, left.astype(np.int32), right.astype(np.int32))
    once = resampling.figures_of_draws(system, np.ones((50, 1), np.uint8), COUNTS)
    for name, figure in confidence.OF_SCORES.items():
        assert once[name][0] == pytest.approx(figure(scores, same), rel=1 / resampling.FINENESS), name
    assert once["min_dcf"][0] >= metrics.min_dcf(scores, same)  # a cut point is a threshold like any other
    target, nontarget = np.sort(scores[same]), np.sort(scores[~same])
    cuts = resampling.cut_points(target, nontarget)
    assert cuts.size < 10_000
    assert cuts[0] == scores.min()
    for below, above in pairwise(cuts):  # misses and false alarms rise in small steps
        tied = np.count_nonzero(target == below), np.count_nonzero(nontarget == below)
        misses = target.searchsorted([below, above])
        alarms = nontarget.size - nontarget.searchsorted([above, below])
        assert misses[1] - misses[0] <= max(1, (misses[1] + 1) / resampling.FINENESS) + tied[0]
        assert alarms[1] - alarms[0] <= max(1, (alarms[1] + 1) / resampling.FINENESS) + tied[1]


# -- intervals -----------------------------------------------------------------------------------------


def test_intervals_are_quantiles_of_the_draws_around_the_exact_value() -> None:
    scores, same, left, right = made(2, speakers=30, trials=3000)
    llrs = 2 * scores - 3
    found = metrics.intervals(scores, same, left, right, llrs=llrs, resamples=100, level=0.9, seed=7)
    assert list(found) == [*confidence.OF_SCORES, *confidence.OF_LLRS]
    system = resampling.judged(scores, same, left.astype(np.int32), right.astype(np.int32))
    drawn = resampling.figures_of_draws(system, resampling.draws(30, 100, 7), ["eer"])["eer"]
    eer = found["eer"]
    assert (eer.low, eer.high) == pytest.approx(tuple(np.quantile(drawn, (0.05, 0.95))))
    assert eer.value == metrics.eer(scores, same).rate
    assert found["act_dcf_05"].value == metrics.act_dcf(llrs, same, 0.05)
    assert all(x.low <= x.value <= x.high and x.level == 0.9 for x in found.values())


def test_names_of_speakers_and_threads_change_nothing() -> None:
    scores, same, left, right = made(3, speakers=20, trials=1000)
    options = {"resamples": 130, "figures": ["eer", "min_dcf"]}
    found = metrics.intervals(scores, same, left, right, threads=1, **options)
    names = np.array([f"speaker {i:02}" for i in range(20)])
    assert metrics.intervals(scores, same, names[left], names[right], threads=3, **options) == found
    big = left + 10**15, right + 10**15
    assert metrics.intervals(scores, same, *big, **options) == found
    shuffled = np.random.default_rng(0).permutation(1000)
    again = (values[shuffled] for values in (scores, same, left, right))
    assert metrics.intervals(*again, **options) == found


def coverage(repeats: int, by_speaker: bool) -> float:
    """Return how often a nominal 95 % interval holds the true EER, over worlds of 40 speakers each."""
    held = 0
    for seed in range(repeats):
        scores, same, left, right = made(seed, speakers=40, trials=2000)
        if by_speaker:
            eer = metrics.intervals(scores, same, left, right, figures=["eer"], resamples=128, seed=seed)[
                "eer"
            ]
            low, high = eer.low, eer.high
        else:  # as if each trial were a speaker's only one
            own = np.arange(scores.size, dtype=np.int32)
            system = resampling.judged(scores, same, own, own)
            system = dataclasses.replace(system, nontarget=dataclasses.replace(system.nontarget, right=None))
            times = resampling.draws(scores.size, 128, seed)
            low, high = np.quantile(
                resampling.figures_of_draws(system, times, ["eer"])["eer"], (0.025, 0.975)
            )
        held += low <= true_eer() <= high
    return held / repeats


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    assert 0.88 <= coverage(50, by_speaker=True) <= 1.0


def test_resampling_trials_would_claim_far_too_much() -> None:
    assert coverage(25, by_speaker=False) < 0.75  # this is why speakers are resampled


# -- is A better than B --------------------------------------------------------------------------------


def test_a_better_system_is_told_from_a_worse_one_on_any_scale() -> None:
    scores, same, left, right = made(4, speakers=40, trials=6000)
    worse = 100 + 50 * (scores + 1.5 * np.random.default_rng(0).standard_normal(scores.size))
    found = metrics.paired(scores, worse, same, left, right, resamples=200)
    eer = found["eer"]
    assert eer.difference == metrics.eer(scores, same).rate - metrics.eer(worse, same).rate
    assert eer.low < eer.difference < eer.high < 0
    assert eer.p_value == pytest.approx(2 / 201)  # no draw on the other side; never 0
    turned = metrics.paired(worse, scores, same, left, right, resamples=200)["eer"]
    mirrored = (-eer.difference, -eer.high, -eer.low)
    assert (turned.difference, turned.low, turned.high) == pytest.approx(mirrored)
    assert turned.p_value == eer.p_value
    assert list(found) == COUNTS


def test_pairing_sees_what_two_intervals_cannot() -> None:
    scores, same, left, right = made(5, speakers=40, trials=6000)
    worse = scores + 0.8 * np.random.default_rng(1).standard_normal(scores.size)
    options = {"resamples": 200, "figures": ["eer"]}
    a, b = (metrics.intervals(s, same, left, right, **options)["eer"] for s in (scores, worse))
    assert a.high > b.low  # the intervals overlap,
    assert metrics.paired(scores, worse, same, left, right, **options)["eer"].p_value < 0.05  # A is better


def test_a_system_is_no_better_than_itself() -> None:
    scores, same, left, right = made(6, speakers=20, trials=1000)
    for found in metrics.paired(scores, 2 * scores + 1, same, left, right, resamples=50).values():
        ends = (found.difference, found.low, found.high)
        assert ends == pytest.approx((0, 0, 0), abs=1e-12)
        assert found.p_value == 1


def test_systems_that_differ_by_chance_are_rarely_told_apart() -> None:
    small = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores, same, left, right = made(seed, speakers=30, trials=1000)
        a, b = (scores + 0.5 * rng.standard_normal(1000) for _ in range(2))
        found = metrics.paired(a, b, same, left, right, figures=["eer"], resamples=64, seed=seed)
        small += found["eer"].p_value < 0.05
    assert small <= 6  # 3 expected; 7 or more of 60 come up once in 30 times at an honest 5 %


# -- what cannot be said -------------------------------------------------------------------------------


def test_draws_without_target_trials_are_left_out_or_too_many() -> None:
    scores, same, left, right = made(7, speakers=30, trials=3000)
    for owners, fits in ((1, False), (2, False), (6, True)):
        kept = ~same | (left < owners)
        trials = scores[kept], same[kept], left[kept], right[kept]
        if fits:
            found = metrics.intervals(*trials, figures=["eer"], resamples=1000)["eer"]
            assert np.isfinite([found.low, found.high]).all()
        else:
            with pytest.raises(BadScores, match="draws of speakers have no target or no non-target trials"):
                metrics.intervals(*trials, figures=["eer"], resamples=1000)


GOOD = made(8, speakers=10, trials=200)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.where(np.arange(200) == 3, np.nan, GOOD[0])}, "1 of 200 scores are NaN"),
        ({"scores": GOOD[0][1:]}, r"got \(199,\) and \(200,\)"),
        ({"scores": GOOD[0].astype(str)}, "real numbers"),
        ({"labels": np.ones(200)}, "contradict the speakers"),
        ({"labels": GOOD[1] + 1}, "other values"),
        ({"labels": GOOD[1].reshape(1, -1)}, "labels are a list"),
        ({"left_speaker_K": (GOOD[2] + 1) % 10}, "labels contradict the speakers"),
        ({"left_speaker_K": GOOD[2][:5]}, r"got shapes \(5,\) and \(200,\) for 200 trials"),
        ({"llrs": np.full(200, np.inf)}, "200 of 200 scores are NaN or infinite"),
        ({"llrs": GOOD[0][:7]}, "llrs and labels are lists of one length"),
        ({"level": 1.0}, "level of an interval lies between 0 and 1, got 1.0"),
        ({"level": 0.95, "resamples": 39}, "at least 40 draws, got 39"),
        ({"figures": ["eer", "err"]}, "no interval for err. Known here: eer"),
        ({"figures": ["act_dcf"]}, "need calibrated llrs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_resampled_is_refused(change: dict, message: str) -> None:
    given = dict(zip(("scores", "labels", "left_speaker_K", "right_speaker_K"), GOOD, strict=True))
    with pytest.raises(BadScores, match=message):
        metrics.intervals(**(given | change))


def test_too_few_speakers_are_refused_in_words() -> None:
    for speakers in (2, 4):
        with pytest.raises(BadScores, match=f"at least 5 of them, got {speakers}"):
            metrics.intervals(*made(9, speakers=speakers, trials=100))
    with pytest.raises(BadScores, match="at least 5 of them, got 0"):
        metrics.intervals([], [], [], [])
    with pytest.raises(BadScores, match="trials of both kinds, got 0 target"):
        metrics.intervals(np.arange(9.0), np.zeros(9), np.arange(9), np.arange(9) + 1)
    with pytest.raises(BadScores, match="scores of the second system and labels"):
        metrics.paired(GOOD[0], GOOD[0][1:], *GOOD[1:])


# -- decisions -----------------------------------------------------------------------------------------------


def test_rates_of_decisions_by_hand_and_their_draws() -> None:
    """Against a loop over the draws: a target trial counts w times, a trial of two speakers w * w times."""
    rng = np.random.default_rng(5)
    left, right = rng.integers(0, 12, (2, 4000))
    same = left == right
    accepted = rng.random(4000) < np.where(same, 0.8, 0.1)
    found = metrics.decision_rates(accepted, same, left, right, resamples=200, seed=3)
    assert found.false_alarm == accepted[~same].mean()
    assert found.miss == (~accepted)[same].mean()
    times_SR = resampling.draws(12, 200, 3).astype(float)
    weight_RK = np.where(same, times_SR[left].T, times_SR[left].T * times_SR[right].T)
    fars = (weight_RK * (accepted & ~same)).sum(axis=1) / (weight_RK * ~same).sum(axis=1)
    misses = (weight_RK * (~accepted & same)).sum(axis=1) / (weight_RK * same).sum(axis=1)
    for interval, drawn in ((found.false_alarm_interval, fars), (found.miss_interval, misses)):
        assert interval is not None
        assert (interval.low, interval.high) == pytest.approx(np.quantile(drawn, (0.025, 0.975)), abs=1e-6)


def test_decisions_without_speakers_have_no_interval() -> None:
    found = metrics.decision_rates([1, 0, 0, 0], [1, 1, 0, 0])
    assert (found.false_alarm, found.miss, found.miss_interval) == (0.0, 0.5, None)
    with pytest.raises(BadScores, match="contradict the speakers"):
        metrics.decision_rates([1, 0], [1, 0], ["a", "b"], ["b", "c"])
