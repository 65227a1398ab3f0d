"""Cosine against its definition, calibration against scikit-learn's logistic regression."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_similarity

from voxid import metrics
from voxid.errors import BadConfig, BadScores
from voxid.scoring import Calibration, CalibrationSet, cosine, cosine_of_pairs, fit, similarity, unit_rows
from voxid.scoring.calibration import RIDGE


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((50, 16)).astype(np.float32)


def test_cosine_is_scikit_learns(rows: np.ndarray) -> None:
    got = cosine(rows[:20], rows[20:])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, cosine_similarity(rows[:20], rows[20:]), atol=1e-6)


def test_cosine_does_not_depend_on_length_and_stays_in_range(rows: np.ndarray) -> None:
    np.testing.assert_allclose(cosine(rows * 1e30, rows), cosine(rows, rows), atol=1e-6)
    np.testing.assert_allclose(cosine(rows * 1e-35, rows), cosine(rows, rows), atol=1e-4)  # few bits are left
    same = cosine(rows, rows)
    assert same.max() <= 1.0
    assert same.diagonal() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("block", [64, 1 << 22])
def test_pairs_are_entries_of_the_whole_table(
    rows: np.ndarray, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(similarity, "BLOCK_VALUES", block)  # small: several blocks, the last one short
    table = cosine_similarity(rows)
    left, right = np.triu_indices(len(rows), k=1)
    np.testing.assert_allclose(cosine_of_pairs(rows, left, right), table[left, right], atol=1e-6)
    few_left, few_right = np.array([40, 3, 7, 7]), np.array([1, 3, 49, 0])
    np.testing.assert_allclose(
        cosine_of_pairs(rows, few_left, few_right), table[few_left, few_right], atol=1e-6
    )


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_a_row_without_direction_is_an_error_not_a_score(rows: np.ndarray, bad: float) -> None:
    rows[3] = bad
    with pytest.raises(BadScores, match=r"1 of 50 embeddings cannot be compared \(the first is row 3"):
        cosine(rows, rows)
    with pytest.raises(BadScores, match="row 3"):
        cosine_of_pairs(rows, np.array([0]), np.array([1]))


def test_shapes_that_do_not_compare_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(BadScores, match="16 and 8 dimensions"):
        cosine(rows, rows[:, :8])
    with pytest.raises(BadScores, match=r"shape \(16,\)"):
        unit_rows(rows[0])


# -- calibration ---------------------------------------------------------------------------------------


def trials(seed: int = 0, count: int = 4000, share: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < share
    return 0.2 + 0.12 * rng.standard_normal(count) + 0.3 * labels, labels


def line_by_sklearn(scores: np.ndarray, labels: np.ndarray, prior: float) -> tuple[float, float]:
    """Slope and offset of scikit-learn's weighted logistic regression, the prior's log odds taken out."""
    mean, spread = scores.mean(), scores.std()
    weights = np.where(labels, prior / labels.sum(), (1 - prior) / (~labels).sum())
    model = LogisticRegression(C=1 / RIDGE, tol=1e-12, max_iter=1000)
    model.fit(((scores - mean) / spread)[:, None], labels, sample_weight=weights)
    slope, intercept = float(model.coef_[0, 0]), float(model.intercept_[0])
    return slope / spread, intercept - slope * mean / spread - np.log(prior / (1 - prior))


@pytest.mark.parametrize("prior", [0.5, 0.05, 0.9])
@pytest.mark.parametrize("share", [0.5, 0.02])
def test_fit_is_scikit_learns_logistic_regression(prior: float, share: float) -> None:
    scores, labels = trials(share=share)
    calibration = fit(scores, labels, prior)
    scale, offset = line_by_sklearn(scores, labels, prior)
    assert calibration.scale == pytest.approx(scale, rel=1e-4)
    assert calibration.offset == pytest.approx(offset, rel=1e-4)
    assert calibration.threshold == pytest.approx(np.log((1 - prior) / prior))


def test_fit_finds_the_llr_of_two_normal_distributions() -> None:
    # equal variances s^2, means m0 < m1: the LLR is (m1 - m0) / s^2 * x - (m1^2 - m0^2) / (2 s^2)
    scores, labels = trials(count=200_000, share=0.3)
    calibration = fit(scores, labels)
    assert calibration.scale == pytest.approx(0.3 / 0.12**2, rel=0.03)
    assert calibration.offset == pytest.approx(-(0.5**2 - 0.2**2) / (2 * 0.12**2), rel=0.03)


def test_calibrated_scores_cost_little_more_than_the_best() -> None:
    scores, labels = trials()
    unseen, truth = trials(seed=1)
    llrs = fit(scores, labels).llr(unseen)
    assert metrics.cllr(llrs, truth) < metrics.min_cllr(unseen, truth) + 0.03
    assert metrics.cllr(unseen, truth) > metrics.min_cllr(unseen, truth) + 0.3  # what it would be without


def test_separable_trials_come_out_finite() -> None:
    calibration = fit([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0])
    assert 10 < calibration.scale < 1e4
    assert calibration.llr(0.8) > 5
    assert calibration.llr(0.2) < -5


def test_fit_keeps_where_it_came_from() -> None:
    scores, labels = trials(count=100)
    origin = CalibrationSet(name="dev", fingerprint="abc", targets=int(labels.sum()))
    calibration = fit(scores, labels, fitted_on=origin, model="f00")
    assert Calibration.parse(calibration.model_dump(mode="json"), "calibration") == calibration
    assert calibration.fits("f00")
    assert not calibration.fits("other")
    assert Calibration(scale=1.0, offset=0.0).fits("any")  # not known: taken on trust


def test_probability_is_bayes_rule() -> None:
    calibration = Calibration(scale=1.0, offset=0.0, prior=0.2)
    for llr in (-3.0, 0.0, 2.0):
        odds = np.exp(llr) * 0.2 / 0.8
        assert calibration.probability(llr) == pytest.approx(odds / (1 + odds))
    assert calibration.probability(1e5) == 1.0
    assert calibration.probability(-1e5) == 0.0


@pytest.mark.parametrize(
    ("scores", "labels", "prior", "message"),
    [
        ([0.5, 0.5, 0.5], [1, 0, 0], 0.5, "the same .0.5.: there is nothing to calibrate"),
        ([0.1, 0.2, 0.9], [1, 1, 0], 0.5, "does not mean the same speaker"),
        ([0.1, 0.2], [1, 1], 0.5, "2 target, 0 non-target"),
        ([0.1, np.nan], [1, 0], 0.5, "NaN or infinite"),
        ([0.1, 0.2], [1, 0, 0], 0.5, "lists of one length"),
        ([0.1, 0.2], [0, 1], 1.0, "prior is a probability"),
    ],
)
def test_what_cannot_be_calibrated(scores: list, labels: list, prior: float, message: str) -> None:
    with pytest.raises(BadScores, match=message):
        fit(scores, labels, prior)


@pytest.mark.parametrize("values", [{"scale": -1.0}, {"scale": float("nan")}, {"scale": 1.0, "prior": 0.0}])
def test_a_calibration_that_makes_no_sense_is_refused(values: dict) -> None:
    with pytest.raises(BadConfig, match=r"calibration\."):
        Calibration.parse({"offset": 0.0, **values}, "calibration")
