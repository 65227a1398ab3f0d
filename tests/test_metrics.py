"""Error rates against scikit-learn, hand-worked cases, the original's loop, and laws they must obey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss, roc_curve

from voxid import metrics
from voxid.errors import BadScores

# -- witnesses -----------------------------------------------------------------------------------------


def eer_by_sklearn(scores: np.ndarray, labels: np.ndarray) -> float:
    """Where the straight lines between scikit-learn's ROC points meet FAR = FRR."""
    far, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    gap = far - (1 - tpr)
    after = int(np.flatnonzero(gap >= 0)[0])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(far[after - 1] + share * (far[after] - far[after - 1]))


def eer_by_loop(scores: list[float], labels: list[int], step: float = 0.001) -> tuple[float, float] | None:
    """The course system's search, written down plainly: try each threshold, keep the first best one."""
    smallest_gap, found = 1.0, None
    threshold = 0.0
    while threshold < 1.0:
        false_accepts = sum(1 for s, y in zip(scores, labels, strict=True) if not y and s >= threshold)
        false_rejects = sum(1 for s, y in zip(scores, labels, strict=True) if y and not s >= threshold)
        far = false_accepts / (len(labels) - sum(labels))
        frr = false_rejects / sum(labels)
        if abs(far - frr) < smallest_gap:
            smallest_gap, found = abs(far - frr), ((far + frr) / 2, threshold)
        threshold += step
    return found


def errors_at(threshold: float, scores: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """FAR and FRR when trials are accepted from `threshold` on."""
    return float(np.mean(scores[labels == 0] >= threshold)), float(np.mean(scores[labels == 1] < threshold))


def overlapping(seed: int, count: int = 2000, decimals: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = (rng.random(count) < 0.3).astype(int)
    labels[:2] = (0, 1)
    scores = np.tanh(rng.standard_normal(count) * 0.4 + 0.5 * labels)
    return (scores if decimals is None else scores.round(decimals)), labels


# -- equal error rate ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("decimals", [None, 3, 1, 0])  # from no ties to nearly nothing but ties
@pytest.mark.parametrize("seed", range(5))
def test_eer_agrees_with_scikit_learn(seed: int, decimals: int | None, dtype: type) -> None:
    scores, labels = overlapping(seed, decimals=decimals)
    scores = scores.astype(dtype)
    assert metrics.eer(scores, labels).rate == pytest.approx(eer_by_sklearn(scores, labels), abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "labels", "rate"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 0.0),  # a threshold separates them
        ([0.1, 0.2, 0.8, 0.9], [1, 1, 0, 0], 1.0),  # the wrong way round
        ([0.5, 0.5, 0.5], [1, 0, 0], 0.5),  # one tie: between "accept all" (1, 0) and "reject all" (0, 1)
        ([0.9, 0.6, 0.7, 0.1], [1, 1, 0, 0], 0.5),
        ([0.9, 0.7, 0.6, 0.8, 0.2, 0.1], [1, 1, 1, 0, 0, 0], 1 / 3),
        # 4 targets, 3 non-targets, two of them tied with two targets at 0.5:
        # above 0.5 (FAR, FRR) = (0, 2/4), at 0.5 (2/3, 0): they meet where 2/3 x = 1/2 (1 - x), x = 3/7
        ([0.9, 0.8, 0.5, 0.5, 0.5, 0.5, 0.1], [1, 1, 1, 1, 0, 0, 0], 2 / 7),
    ],
)
def test_eer_by_hand(scores: list[float], labels: list[int], rate: float) -> None:
    assert metrics.eer(scores, labels).rate == pytest.approx(rate, abs=1e-15)


def test_eer_threshold_lies_between_scores() -> None:
    assert metrics.eer([0.9, 0.75, 0.25, 0.1], [1, 1, 0, 0]) == (0.0, 0.5)


@pytest.mark.parametrize("decimals", [None, 2, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_eer_threshold_has_the_nearest_errors(decimals: int | None, dtype: type) -> None:
    for seed in range(20):
        scores, labels = overlapping(seed, count=60, decimals=decimals)
        scores = scores.astype(dtype)
        _, threshold = metrics.eer(scores, labels)
        far, frr = errors_at(threshold, scores, labels)
        every = [errors_at(t, scores, labels) for t in [*np.unique(scores), 2.0]]
        assert abs(far - frr) == pytest.approx(min(abs(a - b) for a, b in every), abs=1e-12)


def test_eer_threshold_stays_true_for_neighbouring_floats() -> None:
    low = np.float32(0.5)
    high = np.nextafter(low, np.float32(1))
    scores = np.array([high, low], np.float32)
    _, threshold = metrics.eer(scores, [1, 0])
    assert low < threshold <= high


@pytest.mark.parametrize("scale", [1e-320, 1e-30, 1.0, 1e30, 1.7e308])
def test_eer_at_any_scale(scale: float) -> None:
    scores, labels = np.array([-1.0, 0.25, 0.5, 0.5, 1.0, -0.75]), np.array([0, 1, 0, 1, 1, 0])
    assert metrics.eer(scores * scale, labels).rate == pytest.approx(
        metrics.eer(scores, labels).rate, abs=1e-15
    )


def test_eer_with_a_lone_outlier_is_exact() -> None:
    scores, labels = overlapping(3)
    far_out = np.append(scores, -1e12)  # all other scores fall into one bin
    with_outlier = np.append(labels, 0)
    assert metrics.eer(far_out, with_outlier).rate == pytest.approx(
        eer_by_sklearn(far_out, with_outlier), abs=1e-12
    )


finite = st.floats(-1, 1, width=16)  # few distinct values, so that ties are common
trial_lists = st.tuples(
    st.lists(finite, min_size=1, max_size=30), st.lists(finite, min_size=1, max_size=30)
).map(lambda t: (np.array([*t[0], *t[1]]), np.array([1] * len(t[0]) + [0] * len(t[1]))))


@given(trial_lists)
def test_eer_laws(trials: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = trials
    rate = metrics.eer(scores, labels).rate
    assert rate == pytest.approx(eer_by_sklearn(scores, labels), abs=1e-12)
    # an increasing map of the scores changes nothing
    assert metrics.eer(np.exp(3 * scores), labels).rate == pytest.approx(rate, abs=1e-12)
    # calling "same" what was "different" and turning the scores round is the same task
    assert metrics.eer(-scores, 1 - labels).rate == pytest.approx(rate, abs=1e-12)
    # the order of the trials does not matter, nor does doubling each
    assert metrics.eer(scores[::-1], labels[::-1]).rate == pytest.approx(rate, abs=1e-12)
    assert metrics.eer(np.tile(scores, 2), np.tile(labels, 2)).rate == pytest.approx(rate, abs=1e-12)


# -- the original's grid -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_eer_grid_is_the_loop_of_the_original(seed: int) -> None:
    scores, labels = overlapping(seed, count=120, decimals=(None, 3, 2)[seed % 3])
    assert tuple(metrics.eer_grid(scores, labels)) == eer_by_loop(scores.tolist(), labels.tolist())


@pytest.mark.parametrize("step", [0.001, 0.01, 0.3, 0.07])
def test_eer_grid_adds_up_its_thresholds_as_a_loop_does(step: float) -> None:
    grid = [0.0]
    while grid[-1] + step < 1.0:
        grid.append(grid[-1] + step)
    for threshold in grid[1:]:  # scores that sit exactly on, and right below, an added-up threshold
        scores = [threshold, np.nextafter(threshold, 0.0)]
        assert tuple(metrics.eer_grid(scores, [1, 0], step)) == eer_by_loop(scores, [1, 0], step)


def test_eer_grid_takes_float32_scores_as_they_are() -> None:
    scores, labels = overlapping(1, count=120)
    scores = scores.astype(np.float32)
    assert tuple(metrics.eer_grid(scores, labels)) == eer_by_loop(scores.tolist(), labels.tolist())


def test_eer_grid_refuses_scores_it_cannot_see() -> None:
    assert eer_by_loop([-0.1, -0.5], [1, 0]) is None
    with pytest.raises(BadScores, match="no threshold from 0 to 1"):
        metrics.eer_grid([-0.1, -0.5], [1, 0])


# -- detection cost and DET ----------------------------------------------------------------------------


@pytest.mark.parametrize("p_target", [0.01, 0.05, 0.5])
@pytest.mark.parametrize("decimals", [None, 1])
def test_min_dcf_agrees_with_a_search_over_scikit_learns_curve(p_target: float, decimals: int | None) -> None:
    scores, labels = overlapping(7, decimals=decimals)
    far, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    cost = np.min(p_target * (1 - tpr) + (1 - p_target) * far) / min(p_target, 1 - p_target)
    assert metrics.min_dcf(scores, labels, p_target) == pytest.approx(cost, abs=1e-12)


def test_dcf_by_hand() -> None:
    # thresholds 0.9: FRR 1/2, FAR 0; so 10 * 0.01 * 1/2 over min(10 * 0.01, 0.99)
    assert metrics.min_dcf([0.9, 0.6, 0.7, 0.1], [1, 1, 0, 0], 0.01, c_miss=10) == pytest.approx(0.5)
    # Bayes threshold log(0.99 / 0.01) = 4.6: one target of two below it, one non-target of two above it
    cost = (0.01 * 0.5 + 0.99 * 0.5) / 0.01
    assert metrics.act_dcf([5.0, 4.0, 5.0, 0.0], [1, 1, 0, 0]) == pytest.approx(cost)


def test_det_is_scikit_learns_curve() -> None:
    scores, labels = overlapping(11, decimals=2)
    curve = metrics.det(scores, labels)
    far, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.far, far[::-1], atol=1e-12)
    np.testing.assert_allclose(curve.frr, 1 - tpr[::-1], atol=1e-12)
    np.testing.assert_allclose(curve.thresholds, thresholds[::-1])
    assert (np.diff(curve.far) <= 0).all()
    assert (np.diff(curve.frr) >= 0).all()


# -- Cllr ----------------------------------------------------------------------------------------------


def test_cllr_is_a_balanced_log_loss_in_bits() -> None:
    scores, labels = overlapping(5)
    llrs = 6 * scores - 1
    weights = np.where(labels == 1, 1 / labels.sum(), 1 / (1 - labels).sum())
    witness = log_loss(labels, 1 / (1 + np.exp(-llrs)), sample_weight=weights) / np.log(2)
    assert metrics.cllr(llrs, labels) == pytest.approx(witness, rel=1e-12)


def test_cllr_of_certain_llrs_does_not_overflow() -> None:
    assert metrics.cllr([1e4, -1e4], [1, 0]) == 0.0
    assert metrics.cllr([-1e4, 1e4], [1, 0]) == pytest.approx(1e4 / np.log(2))


def min_cllr_by_sklearn(scores: np.ndarray, labels: np.ndarray) -> float:
    """Isotonic regression by scikit-learn, its posteriors turned into likelihood ratios, then Cllr."""
    posterior = IsotonicRegression(y_min=0, y_max=1).fit(scores, labels).predict(scores)
    with np.errstate(divide="ignore"):
        llrs = np.log(posterior) - np.log1p(-posterior) - np.log(labels.sum() / (1 - labels).sum())
    miss, fa = np.logaddexp(0, -llrs[labels == 1]).mean(), np.logaddexp(0, llrs[labels == 0]).mean()
    return float((miss + fa) / 2 / np.log(2))


@pytest.mark.parametrize("decimals", [None, 2, 1])
@pytest.mark.parametrize("seed", range(4))
def test_min_cllr_agrees_with_isotonic_regression(seed: int, decimals: int | None) -> None:
    scores, labels = overlapping(seed, decimals=decimals)
    assert metrics.min_cllr(scores, labels) == pytest.approx(min_cllr_by_sklearn(scores, labels), abs=1e-9)


def test_min_cllr_is_right_where_pooling_goes_one_by_one() -> None:
    # A long rise of the share of targets, then a fall that pools backwards step by step: the stack's case.
    targets = np.arange(1, 400)
    scores = np.repeat(np.arange(400.0), np.append(targets + 1, 3000))
    labels = np.concatenate([*([1] * n + [0] for n in targets), [0] * 3000])
    assert metrics.min_cllr(scores, labels) == pytest.approx(min_cllr_by_sklearn(scores, labels), abs=1e-9)


@given(trial_lists)
def test_the_best_is_never_worse_than_the_actual(trials: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = trials
    llrs = 8 * scores
    assert metrics.min_cllr(llrs, labels) <= metrics.cllr(llrs, labels) + 1e-12
    assert 0 <= metrics.min_cllr(llrs, labels) <= 1 + 1e-12
    for p_target in (0.01, 0.3):
        assert metrics.min_dcf(llrs, labels, p_target) <= metrics.act_dcf(llrs, labels, p_target) + 1e-12
        assert 0 <= metrics.min_dcf(llrs, labels, p_target) <= 1 + 1e-12


# -- bad input -----------------------------------------------------------------------------------------

ALL = [
    metrics.eer,
    metrics.eer_grid,
    metrics.det,
    metrics.min_dcf,
    metrics.act_dcf,
    metrics.cllr,
    metrics.min_cllr,
]


@pytest.mark.parametrize("metric", ALL, ids=lambda m: m.__name__)
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, np.nan], [0, 1], "1 of 2 scores are NaN or infinite"),
        ([0.1, np.inf], [0, 1], "1 of 2 scores are NaN or infinite"),
        ([0.1, 0.2], [1, 1], "got 2 target, 0 non-target"),
        ([0.1, 0.2], [0, 0], "got 0 target, 2 non-target"),
        ([], [], "got 0 target, 0 non-target"),
        ([0.1, 0.2, 0.3], [1, 0], "lists of one length"),
        ([[0.1, 0.2]], [[1, 0]], "lists of one length"),
        ([0.1, 0.2], [1, 2], "other values"),
        ([0.1, 0.2], [1, -1], "other values"),
        (["a", "b"], [1, 0], "real numbers"),
    ],
)
def test_bad_scores_are_refused(metric, scores: list, labels: list, message: str) -> None:
    with pytest.raises(BadScores, match=message):
        metric(scores, labels)


@pytest.mark.parametrize(("p_target", "c_miss"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.0), (float("nan"), 1.0)])
def test_costs_that_make_no_sense_are_refused(p_target: float, c_miss: float) -> None:
    with pytest.raises(BadScores, match="detection cost"):
        metrics.min_dcf([0.1, 0.2], [0, 1], p_target, c_miss)


def test_booleans_and_integers_are_labels_and_scores_too() -> None:
    assert metrics.eer([3, 1, 2, 0], [True, True, False, False]).rate == 0.5
