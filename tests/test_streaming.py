"""Error rates from bins: the bound always holds, and no score is lost or moved.

# K trials, N utterances, D embedding, B bins
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxid import metrics
from voxid.errors import BadScores
from voxid.evaluation import all_pairs as streaming
from voxid.evaluation import all_pairs_histogram
from voxid.metrics import ScoreHistogram, histogram
from voxid.scoring import cosine

FLOATS = st.one_of(
    st.floats(-1, 1, width=32, exclude_max=True),
    st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1e-30, -1e-30]),  # edges of bins, and ties
)
TRIALS = st.tuples(st.lists(FLOATS, min_size=1, max_size=40), st.lists(FLOATS, min_size=1, max_size=40)).map(
    lambda both: (
        np.array([*both[0], *both[1]], np.float32),
        np.array([True] * len(both[0]) + [False] * len(both[1])),
    )
)


def filled(bins: int, scores: np.ndarray, labels: np.ndarray, **ends: float) -> ScoreHistogram:
    found = ScoreHistogram(bins, **ends)
    found.add(scores, labels)
    return found


def overlapping(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.2
    labels[:2] = (True, False)
    return np.tanh(0.4 * rng.standard_normal(count) + 0.5 * labels), labels


# -- the bound -----------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(TRIALS, st.sampled_from([2, 3, 7, 64, 1000, 4096]), st.sampled_from([0.01, 0.05, 0.5, 0.9]))
def test_the_bounds_hold(trials: tuple[np.ndarray, np.ndarray], bins: int, p_target: float) -> None:
    counted, exact = filled(bins, *trials), metrics.eer(*trials).rate
    found = counted.eer()
    assert abs(found.rate - exact) <= found.error_bound + 1e-12
    assert 0 <= found.error_bound <= 1
    cost, lowest = counted.min_dcf(p_target), metrics.min_dcf(*trials, p_target)
    assert cost.cost - cost.error_bound - 1e-12 <= lowest <= cost.cost + 1e-12
    scores, labels = trials
    if bins in (3, 7, 1000):
        return  # their edges are not floats
    far, frr = np.mean(scores[~labels] >= cost.threshold), np.mean(scores[labels] < cost.threshold)
    at_threshold = (p_target * frr + (1 - p_target) * far) / min(p_target, 1 - p_target)
    assert cost.cost == pytest.approx(at_threshold)  # a threshold that one can use


@pytest.mark.parametrize("bins", [64, 1 << 10, 1 << 16])
def test_the_bound_is_as_narrow_as_the_bins(bins: int) -> None:
    scores, labels = overlapping(0, 200_000)
    found = filled(bins, scores, labels).eer()
    assert found.error_bound < 4 / bins  # the density of scores here is below 2
    assert abs(found.rate - metrics.eer(scores, labels).rate) <= found.error_bound
    assert found.threshold == pytest.approx(metrics.eer(scores, labels).threshold, abs=2 * 2 / bins)


def test_a_bound_by_hand() -> None:
    # two bins: all above 0 accepted gives FAR 1/2, FRR 1/3; from 1 on, nothing. They cross in the upper bin,
    # where FAR falls from 1/2 to 0 and FRR rises from 1/3 to 1: the rate is in 1/3 .. 1/2.
    found = filled(2, np.array([0.9, 0.8, -0.1, 0.5, -0.7]), np.array([1, 1, 1, 0, 0])).eer()
    rate = 1 / 2 - 1 / 2 * (1 / 6) / (1 / 6 + 1)  # the straight line between both edges
    assert found.rate == pytest.approx(rate)
    assert found.error_bound == pytest.approx(rate - 1 / 3)


# -- counting ------------------------------------------------------------------------------------------


@settings(max_examples=200)
@given(
    st.lists(st.floats(-3, 3, width=32), max_size=50),
    st.sampled_from([(64, -1.0, 1.0), (10, 0.0, 1.0), (7, -2.5, 1.0), (1000, -1.0, 1.0)]),
)
def test_each_score_is_in_the_bin_whose_edges_hold_it(values: list[float], grid: tuple) -> None:
    counted = ScoreHistogram(*grid)
    edges = counted.edges
    assert edges[0] == -np.inf
    assert (edges[1], edges[-1]) == (counted.low, counted.high)
    for dtype in (np.float32, np.float64):  # both widths agree on where a score lies
        places = [int(np.flatnonzero(counted.count(np.array([value], dtype)))[0]) for value in values]
        for value, place in zip(values, places, strict=True):
            above = edges[place + 1] if place <= counted.bins else np.inf
            assert edges[place] - 1e-9 <= value <= above + 1e-9
        by_score = [place for _, place in sorted(zip(values, places, strict=True))]
        assert by_score == sorted(by_score)


def test_powers_of_two_cut_exactly_for_both_widths() -> None:
    below = np.nextafter(np.float32(0.5), np.float32(0))
    for dtype in (np.float32, np.float64):
        count_B = ScoreHistogram(4).count(np.array([0.5, below, -1e-30, 0.0, -1.0, 1.0, -1.5], dtype))
        assert count_B.tolist() == [1, 1, 1, 2, 1, 1]


@settings(max_examples=30)
@given(TRIALS, st.integers(1, 79))
def test_blocks_and_their_counts_are_one(trials: tuple[np.ndarray, np.ndarray], cut: int) -> None:
    scores, labels = trials
    whole, first, second = filled(64, *trials), ScoreHistogram(64), ScoreHistogram(64)
    first.add(scores[:cut], labels[:cut])  # maybe of one class, maybe empty
    second.add(scores[cut:].astype(np.float64), labels[cut:].astype(int))
    first.add_counts(second.target_B, second.nontarget_B)
    np.testing.assert_array_equal(first.target_B, whole.target_B)
    np.testing.assert_array_equal(first.nontarget_B, whole.nontarget_B)
    assert (whole.targets, whole.nontargets) == (labels.sum(), (~labels).sum())


def test_long_lists_go_in_blocks() -> None:
    scores, labels = overlapping(1, histogram.BLOCK + 1000)
    counted = filled(1 << 12, scores, labels)
    assert counted.targets + counted.nontargets == scores.size
    assert abs(counted.eer().rate - metrics.eer(scores, labels).rate) <= counted.eer().error_bound


def test_the_curve_at_the_edges_is_exact() -> None:
    scores, labels = overlapping(2, 3000)
    curve = filled(50, scores, labels).det()
    for threshold, far, frr in zip(curve.thresholds, curve.far, curve.frr, strict=True):
        assert far == pytest.approx(np.mean(scores[~labels] >= threshold))
        assert frr == pytest.approx(np.mean(scores[labels] < threshold))


# -- scores outside ------------------------------------------------------------------------------------


def test_scores_outside_are_counted_and_change_nothing_they_should_not() -> None:
    scores, labels = overlapping(3, 5000)
    scores[10:13] = (-7.0, 1.0, 1e30)
    counted = filled(1 << 12, scores, labels)
    assert counted.outside == 3
    assert abs(counted.eer().rate - metrics.eer(scores, labels).rate) <= counted.eer().error_bound


def test_an_answer_that_lies_outside_is_refused() -> None:
    scores, labels = overlapping(4, 1000)
    with pytest.raises(BadScores, match="among the 1000 scores outside -1 to 1, of 1000"):
        filled(64, scores + 5, labels).eer()
    with pytest.raises(BadScores, match="among the 1000 scores outside"):
        filled(64, scores - 9, labels).min_dcf(0.5)
    assert filled(64, scores + 5, labels, low=4.0, high=6.0).eer().error_bound < 0.1


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda h: h.add([0.1, np.nan], [0, 1]), "1 of 2 scores are NaN"),
        (lambda h: h.add([0.1, np.inf], [0, 1]), "1 of 2 scores are NaN or infinite"),
        (lambda h: h.add([0.1], [0, 1]), "one length"),
        (lambda h: h.add([0.1, 0.2], [0, 2]), "other values"),
        (lambda h: h.add(["a"], [1]), "real numbers"),
        (lambda h: h.add_counts(np.zeros(64, int), np.zeros(66, int)), "do not fit 64 bins"),
        (lambda h: h.eer(), "got 0 target, 0 non-target"),
        (lambda h: (h.add([0.3], [1]), h.min_dcf()), "got 1 target, 0 non-target"),
        (lambda h: (h.add([0.3, 0.1], [1, 0]), h.min_dcf(0.0)), "detection cost"),
        (lambda h: ScoreHistogram(1), "2 to 4,194,304 bins, got 1"),
        (lambda h: ScoreHistogram(64, low=1, high=-1), "got 1 and -1"),
        (lambda h: ScoreHistogram(64, high=np.inf), "got -1.0 and inf"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_refused(work, message: str) -> None:
    with pytest.raises(BadScores, match=message):
        work(ScoreHistogram(64))


# -- every pair ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [8, 24, 512])
@pytest.mark.parametrize("threads", [1, 3])
def test_all_pairs_are_counted_once(rows: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "ROWS", rows)
    monkeypatch.setattr(streaming, "COLUMNS", 2 * rows)
    rng = np.random.default_rng(0)
    speakers = np.sort(rng.integers(0, 12, 130))[rng.permutation(130)]
    speakers[speakers == 3] = 4  # one with many utterances
    emb = rng.standard_normal((12, 16))[speakers] + 2 * rng.standard_normal((130, 16))
    found = all_pairs_histogram(emb, np.array([f"s{i}" for i in speakers]), bins=1 << 12, threads=threads)
    left, right = np.triu_indices(130, 1)
    scores, same = cosine(emb, emb)[left, right], speakers[left] == speakers[right]
    assert (found.targets, found.nontargets) == (same.sum(), (~same).sum())
    witness = filled(1 << 12, scores, same)  # other shapes of products round differently: a bin's edge apart
    for one, other in ((found.target_B, witness.target_B), (found.nontarget_B, witness.nontarget_B)):
        assert np.abs(np.cumsum(one) - np.cumsum(other)).max() <= 1
    eer = found.eer()
    assert abs(eer.rate - metrics.eer(scores, same).rate) <= eer.error_bound + 1e-6


def test_all_pairs_of_one_speaker_or_with_copies() -> None:
    emb = np.random.default_rng(1).standard_normal((5, 4))
    assert all_pairs_histogram(emb, np.zeros(5)).targets == 10
    copies = all_pairs_histogram(np.concatenate((emb, emb)), [*range(5), *range(5)])
    assert (copies.targets, copies.nontargets) == (5, 40)
    assert copies.outside <= 5  # a cosine of 1, or right below it


def test_all_pairs_refuses_what_does_not_fit() -> None:
    with pytest.raises(BadScores, match="2 embeddings and speakers of shape"):
        all_pairs_histogram([[1.0, 0.0], [0.0, 1.0]], [1])
    with pytest.raises(BadScores, match="all zeros, NaN or infinite"):
        all_pairs_histogram([[1.0, 0.0], [0.0, 0.0]], [1, 2])
