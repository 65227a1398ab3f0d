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
from voxid.metrics import likelihood, rates

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
    # from 0.4 on (FAR, FRR) = (1/3, 0), from 0.8 on (1/3, 3/4): the first is nearer, and begins above 0.3
    _, threshold = metrics.eer([0.4, 0.4, 0.4, 0.9, 0.1, 0.3, 0.8], [1, 1, 1, 1, 0, 0, 0])
    assert threshold == pytest.approx(0.35)


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
    some = grid[1 :: 1 + len(grid) // 200]
    for threshold in some:  # scores that sit exactly on, and right below, an added-up threshold
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
    assert metrics.act_dcf([0.0, -1.0], [1, 0], 0.5) == 0  # an LLR on the threshold is accepted


def test_det_is_scikit_learns_curve() -> None:
    scores, labels = overlapping(11, decimals=2)
    curve = metrics.det(scores, labels)
    far, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.far, far[::-1], atol=1e-12)
    np.testing.assert_allclose(curve.frr, 1 - tpr[::-1], atol=1e-12)
    np.testing.assert_allclose(curve.thresholds, thresholds[::-1])
    assert (np.diff(curve.far) <= 0).all()
    assert (np.diff(curve.frr) >= 0).all()


@pytest.mark.parametrize("decimals", [None, 2, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("costs", [metrics.DCF_01, metrics.DCF_05, (0.5, 10.0, 1.0), (0.9, 1.0, 3.0)])
def test_min_dcf_has_the_threshold_and_errors_it_says(
    costs: tuple, decimals: int | None, dtype: type
) -> None:
    for seed in range(5):
        scores, labels = overlapping(seed, count=300, decimals=decimals)
        scores = scores.astype(dtype)
        found = metrics.min_dcf_at(scores, labels, *costs)
        assert errors_at(found.threshold, scores, labels) == pytest.approx((found.far, found.frr))
        p_target, c_miss, c_fa = costs
        every = np.array([errors_at(t, scores, labels) for t in [*np.unique(scores), np.inf]])
        cost = c_miss * p_target * every[:, 1] + c_fa * (1 - p_target) * every[:, 0]
        blind = min(c_miss * p_target, c_fa * (1 - p_target))
        assert found.cost == metrics.min_dcf(scores, labels, *costs) == pytest.approx(cost.min() / blind)


def test_operating_points_unpack_into_costs() -> None:
    assert metrics.DCF_01 == (0.01, 1.0, 1.0)
    assert metrics.OperatingPoint(0.5, c_fa=np.e).threshold == pytest.approx(1.0)
    llrs, labels = overlapping(2)
    at_01, at_05 = (metrics.act_dcf(9 * llrs, labels, *point) for point in (metrics.DCF_01, metrics.DCF_05))
    assert (at_01, at_05) == (metrics.act_dcf(9 * llrs, labels), metrics.act_dcf(9 * llrs, labels, 0.05))
    with pytest.raises(BadScores, match="detection cost"):
        _ = metrics.OperatingPoint(1.5).threshold


def frr_by_loop(scores: np.ndarray, labels: np.ndarray, far: float) -> tuple[float, float]:
    """FRR and FAR where the FAR is the largest not above `far`; of several FRRs there, the lowest."""
    every = [errors_at(t, scores, labels) for t in [*np.unique(scores), np.inf]]
    reached = max(a for a, _ in every if a <= far + 1e-12)
    return min(r for a, r in every if a == reached), reached


@pytest.mark.parametrize("far", [0.5, 0.1, 0.01, 0.001, 1e-9])
@pytest.mark.parametrize("decimals", [None, 2, 1, 0])
def test_frr_at_far_is_that_of_a_search(far: float, decimals: int | None) -> None:
    for seed in range(6):
        scores, labels = overlapping(seed, count=400, decimals=decimals)
        found = metrics.frr_at_far(scores, labels, far)
        assert (found.frr, found.far) == pytest.approx(frr_by_loop(scores, labels, far))
        assert errors_at(found.threshold, scores, labels) == pytest.approx((found.far, found.frr))
        assert found.resolved == (far * np.count_nonzero(labels == 0) >= 1)


def test_a_far_that_is_no_float_allows_what_it_says() -> None:
    assert 0.29 * 100 < 29  # in floating point
    assert metrics.frr_at_far(np.arange(101.0), [0] * 100 + [1], 0.29).far == 0.29
    for far in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(BadScores, match="lies between 0 and 1"):
            metrics.frr_at_far([0.1, 0.2], [0, 1], far)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_long_lists_are_counted_in_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = overlapping(8)

    def figures() -> list:
        return [
            metrics.eer(scores, labels),
            metrics.min_dcf_at(scores, labels),
            metrics.frr_at_far(scores, labels, 0.01),
            pytest.approx(metrics.cllr(scores, labels)),
        ]

    whole = figures()
    monkeypatch.setattr(rates, "BLOCK", block)
    monkeypatch.setattr(likelihood, "BLOCK", block)
    assert figures() == whole


def test_few_bins_leave_the_figures_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = overlapping(9, decimals=3)
    whole = metrics.min_dcf_at(scores, labels), metrics.frr_at_far(scores, labels, 0.02)
    for bins in (1, 2, 30, 1000):
        monkeypatch.setattr(rates, "BINS", bins)
        assert metrics.min_dcf_at(scores, labels)[::2] == pytest.approx(whole[0][::2])
        assert metrics.frr_at_far(scores, labels, 0.02) == pytest.approx(whole[1])
        assert metrics.eer(scores, labels).rate == pytest.approx(eer_by_sklearn(scores, labels))


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


@pytest.mark.parametrize("decimals", [None, 2, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pav_is_isotonic_regression(decimals: int | None, dtype: type) -> None:
    scores, labels = overlapping(3, count=500, decimals=decimals)
    scores = scores.astype(dtype)
    posterior = IsotonicRegression(y_min=0, y_max=1).fit(scores, labels).predict(scores)
    with np.errstate(divide="ignore"):
        witness = np.log(posterior) - np.log1p(-posterior) - np.log(labels.sum() / (1 - labels).sum())
    llrs = metrics.pav_llr(scores, labels)
    np.testing.assert_allclose(llrs, witness, atol=1e-5)  # scikit-learn keeps float32 posteriors
    steps = metrics.pav(scores, labels)
    assert (np.diff(steps.llrs) > 0).all()
    assert (steps.first <= steps.last).all()
    assert (steps.last[:-1] < steps.first[1:]).all()
    assert (steps.targets.sum(), steps.nontargets.sum()) == (labels.sum(), (1 - labels).sum())
    for first, last, llr, targets in zip(steps.first, steps.last, steps.llrs, steps.targets, strict=True):
        inside = (scores >= first) & (scores <= last)
        assert (llrs[inside] == llr).all()
        assert {first, last} <= set(scores.astype(np.float64))
        assert np.count_nonzero(labels[inside]) == targets


def test_pav_by_hand() -> None:
    # 3 of each; 0.4 and 0.5 are the wrong way round and pool: 1 of 3 targets over 1 of 3 non-targets
    steps = metrics.pav([0.1, 0.2, 0.4, 0.5, 0.6, 0.7], [0, 0, 1, 0, 1, 1])
    assert steps.first.tolist() == [0.1, 0.4, 0.6]
    assert steps.last.tolist() == [0.2, 0.5, 0.7]
    assert steps.llrs.tolist() == [-np.inf, 0.0, np.inf]


@given(trial_lists)
def test_laws_of_the_other_figures(trials: tuple[np.ndarray, np.ndarray]) -> None:
    scores, labels = trials
    for p_target, c_miss, c_fa in (metrics.DCF_01, metrics.DCF_05, (0.4, 3.0, 1.0)):
        cost = metrics.min_dcf(scores, labels, p_target, c_miss, c_fa)
        # an increasing map of the scores changes nothing
        mapped = metrics.min_dcf(np.exp(3 * scores), labels, p_target, c_miss, c_fa)
        assert mapped == pytest.approx(cost, abs=1e-12)
        # calling "same" what was "different" and turning the scores round swaps FAR and FRR, and so the costs
        turned = metrics.min_dcf(-scores, 1 - labels, 1 - p_target, c_fa, c_miss)
        assert turned == pytest.approx(cost, abs=1e-12)
        # the best order-preserving LLRs decide as well at the Bayes threshold as any threshold does
        best = np.clip(metrics.pav_llr(scores, labels), -1e6, 1e6)
        threshold = metrics.OperatingPoint(p_target, c_miss, c_fa).threshold
        if np.abs(best - threshold).min() > 1e-9:
            assert metrics.act_dcf(best, labels, p_target, c_miss, c_fa) == pytest.approx(cost, abs=1e-12)
    lowest = metrics.min_cllr(scores, labels)
    assert metrics.min_cllr(np.exp(3 * scores), labels) == pytest.approx(lowest, abs=1e-12)
    assert metrics.min_cllr(-scores, 1 - labels) == pytest.approx(lowest, abs=1e-12)
    assert metrics.cllr(-scores, 1 - labels) == pytest.approx(metrics.cllr(scores, labels), abs=1e-12)
    curve, turned = metrics.det(scores, labels), metrics.det(-scores, 1 - labels)
    np.testing.assert_allclose(curve.far, turned.frr[::-1], atol=1e-12)
    np.testing.assert_allclose(curve.frr, turned.far[::-1], atol=1e-12)


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


def frr_at_one_percent(scores: list, labels: list) -> metrics.RatesAt:
    return metrics.frr_at_far(scores, labels, 0.01)


ALL = [
    metrics.eer,
    metrics.eer_grid,
    metrics.det,
    metrics.min_dcf,
    metrics.act_dcf,
    metrics.cllr,
    metrics.min_cllr,
    metrics.pav,
    metrics.pav_llr,
    metrics.min_dcf_at,
    frr_at_one_percent,
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
        ([0.1 + 1j, 0.2], [1, 0], "real numbers, got an array of complex128"),
        (np.array([0.1, None]), [1, 0], "real numbers, got an array of object"),
        ([[0.1], [0.2, 0.3]], [1, 0], "not an array"),
        (np.ma.masked_array([0.1, 0.2], [True, False]), [1, 0], "partly masked"),
        ([0.1, 0.2], ["target", "nontarget"], "other values"),
        ([0.1, 0.2], [1.0, np.nan], "other values"),
        ([0.1, 0.2], np.array([1, None]), "other values"),
        (0.1, 1, "lists of one length"),
    ],
)
def test_bad_scores_are_refused(metric, scores: list, labels: list, message: str) -> None:
    with pytest.raises(BadScores, match=message):
        metric(scores, labels)


@pytest.mark.parametrize(("p_target", "c_miss"), [(0.0, 1.0), (1.0, 1.0), (0.5, 0.0), (float("nan"), 1.0)])
def test_costs_that_make_no_sense_are_refused(p_target: float, c_miss: float) -> None:
    with pytest.raises(BadScores, match="detection cost"):
        metrics.min_dcf([0.1, 0.2], [0, 1], p_target, c_miss)


def test_scores_that_are_all_the_same_tell_nothing() -> None:
    scores, labels = np.full(10, 0.3), [1] * 4 + [0] * 6
    assert metrics.eer(scores, labels).rate == 0.5
    assert metrics.min_dcf(scores, labels) == metrics.min_cllr(scores, labels) == 1.0
    assert metrics.frr_at_far(scores, labels, 0.5)[:2] == (1.0, 0.0)
    assert metrics.pav_llr(scores, labels).tolist() == [0.0] * 10


def test_metrics_leave_their_arguments_alone() -> None:
    scores, labels = overlapping(4)
    before = scores.copy()
    for metric in ALL:
        metric(scores, labels)
    np.testing.assert_array_equal(scores, before)


def test_booleans_and_integers_are_labels_and_scores_too() -> None:
    assert metrics.eer([3, 1, 2, 0], [True, True, False, False]).rate == 0.5
