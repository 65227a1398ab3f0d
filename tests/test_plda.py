"""PLDA against joint normal densities (scipy), against known covariances, and against scikit-learn's LDA."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from voxid import metrics
from voxid.errors import BadCohort, BadScores
from voxid.scoring.plda import PldaConfig, PldaScorer, oas_shrinkage
from voxid.scoring.two_covariance import (
    Moments,
    TwoCovariance,
    fit_two_covariance,
    from_moments,
    log_likelihood,
)

PLAIN = {"length_norm": False, "shrinkage": 0.0}


def covariance(dim: int, seed: int, scale: float) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((dim, 2 * dim)) / np.sqrt(2 * dim)
    return scale * root @ root.T


def likelihood(model: TwoCovariance, data: Moments) -> float:
    basis_DD, b_D = model.diagonal()
    return log_likelihood(data.times(basis_DD), model.mean_D @ basis_DD, b_D, basis_DD)


def truth(dim: int = 3) -> TwoCovariance:
    return TwoCovariance(np.arange(dim) - 1.0, covariance(dim, 1, 2.0), covariance(dim, 2, 0.5))


def draw(model: TwoCovariance, count_S: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of speakers who have so many utterances each."""
    rng = np.random.default_rng(seed)
    speaker_N = np.repeat(np.arange(len(count_S)), count_S)
    y = rng.multivariate_normal(model.mean_D, model.between_DD, len(count_S))
    return y[speaker_N] + rng.multivariate_normal(
        0 * model.mean_D, model.within_DD, len(speaker_N)
    ), speaker_N


def log_density(model: TwoCovariance, utterances: list[np.ndarray]) -> float:
    """log p(all of these | one speaker said them), from the joint normal of all their numbers."""
    n = len(utterances)
    joint = np.kron(np.ones((n, n)), model.between_DD) + np.kron(np.eye(n), model.within_DD)
    return float(multivariate_normal(np.tile(model.mean_D, n), joint).logpdf(np.concatenate(utterances)))


UNEVEN = np.array([1, 2, 3, 9, 2, 1])


# -- likelihood ratios ---------------------------------------------------------------------------------


def test_the_score_is_the_ratio_of_joint_densities() -> None:
    model = truth()
    x, _ = draw(model, UNEVEN, seed=0)
    want = [
        [log_density(model, [a, b]) - log_density(model, [a]) - log_density(model, [b]) for b in x] for a in x
    ]
    sides = model.sides(x)
    assert_allclose(sides.table(sides), want, rtol=1e-5, atol=1e-5)


def test_the_likelihood_of_a_training_set_is_that_of_its_joint_normals() -> None:
    model = truth()
    x, speaker_N = draw(model, UNEVEN, seed=0)
    want = sum(log_density(model, list(x[speaker_N == s])) for s in range(len(UNEVEN)))
    assert likelihood(model, Moments.of(x, speaker_N)) == pytest.approx(want, rel=1e-10)


# -- fitting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", ["equal", "uneven"])
def test_em_recovers_known_covariances(counts: str) -> None:
    rng = np.random.default_rng(0)
    count_S = np.full(4000, 5) if counts == "equal" else rng.integers(1, 10, 4000)
    x, speaker_N = draw(truth(), count_S, seed=3)
    model = fit_two_covariance(Moments.of(x, speaker_N), 0.0, 0.0, steps=200)
    # a covariance from n draws is off by about sqrt(2 / n): 2 % between (4000 speakers), 1 % within
    scale = np.sqrt(np.outer(np.diag(truth().between_DD), np.diag(truth().between_DD)))
    assert_allclose(model.between_DD / scale, truth().between_DD / scale, atol=0.09)
    scale = np.sqrt(np.outer(np.diag(truth().within_DD), np.diag(truth().within_DD)))
    assert_allclose(model.within_DD / scale, truth().within_DD / scale, atol=0.04)
    assert_allclose(model.mean_D, truth().mean_D, atol=4 * np.sqrt(2.0 / 4000) + 0.02)


def test_em_climbs_and_ends_above_the_truth() -> None:
    """What maximises the likelihood of a sample beats, on that sample, the model the sample came from."""
    x, speaker_N = draw(truth(), np.tile(UNEVEN, 20), seed=5)
    data = Moments.of(x, speaker_N)
    climb = [
        likelihood(fit_two_covariance(data, 0.0, 0.0, steps=steps), data) for steps in (0, 1, 2, 5, 20, 300)
    ]
    assert all(after >= before - 1e-9 for before, after in itertools.pairwise(climb))
    assert climb[-1] > climb[0] + 1e-3
    assert climb[-1] > likelihood(truth(), data)
    best = fit_two_covariance(data, 0.0, 0.0, steps=300)
    for part in ("mean_D", "between_DD", "within_DD"):
        for factor in (0.97, 1.03):
            values = {name: getattr(best, name) for name in ("mean_D", "between_DD", "within_DD")}
            worse = TwoCovariance(**{**values, part: factor * values[part]})
            assert likelihood(worse, data) < climb[-1]
    for step in 0.01 * np.concatenate((np.eye(3), -np.eye(3))):
        moved = TwoCovariance(best.mean_D + step, best.between_DD, best.within_DD)
        assert likelihood(moved, data) < climb[-1]


def test_equal_counts_have_a_closed_form_and_em_keeps_it() -> None:
    """With n utterances each, maximum likelihood is the analysis of variance, but for S in place of S - 1."""
    x, speaker_N = draw(truth(), np.full(500, 4), seed=6)
    means = x.reshape(500, 4, 3).mean(axis=1)
    rest = (x.reshape(500, 4, 3) - means[:, None]).reshape(-1, 3)
    within = rest.T @ rest / (500 * 3)
    between = np.cov(means.T, bias=True) - within / 4
    model = fit_two_covariance(Moments.of(x, speaker_N), 0.0, 0.0, steps=2000)
    assert_allclose(model.within_DD, within, rtol=1e-3, atol=1e-3)
    assert_allclose(model.between_DD, between, rtol=2e-3, atol=2e-3)
    start = from_moments(Moments.of(x, speaker_N), 0.0, 0.0)
    assert_allclose(start.within_DD, within)
    assert_allclose(start.between_DD, np.cov(means.T) - within / 4)


def test_scores_are_calibrated_on_data_of_the_model() -> None:
    model = truth(6)
    train, train_speakers = draw(model, np.random.default_rng(1).integers(2, 8, 2000), seed=7)
    plda = PldaScorer(PldaConfig(**PLAIN)).fit(train, train_speakers)
    x, speaker_N = draw(model, np.full(200, 3), seed=8)
    left, right = np.triu_indices(len(x), k=1)
    same = speaker_N[left] == speaker_N[right]
    llrs = plda.pairs(x, left, right)
    least = metrics.min_cllr(llrs, same)
    assert 0.01 < least < metrics.cllr(llrs, same) < least + 0.02


def test_scores_do_not_depend_on_the_coordinates() -> None:
    train, speakers = draw(truth(5), np.tile(UNEVEN, 60), seed=11)
    x, _ = draw(truth(5), UNEVEN, seed=12)
    mix, shift = np.random.default_rng(0).standard_normal((5, 5)), np.full(5, 10.0)
    for length_norm in (False, True):
        scorer = PldaScorer(PldaConfig(shrinkage=0.0, length_norm=length_norm))
        one = scorer.fit(train, speakers).table(x, x)
        other = scorer.fit(train @ mix + shift, speakers).table(x @ mix + shift, x @ mix + shift)
        assert_allclose(one, other, rtol=2e-3, atol=2e-3)


# -- front: LDA, length normalisation, shrinkage -------------------------------------------------------


def test_lda_spans_scikit_learns() -> None:
    train, speakers = draw(truth(6), np.full(300, 6), seed=13)
    ours = PldaScorer(PldaConfig(lda_dim=2, **PLAIN)).fit(train, speakers).front(train)
    theirs = LinearDiscriminantAnalysis(solver="eigen", n_components=2).fit(train, speakers).transform(train)
    for k in range(2):
        assert abs(np.corrcoef(ours[:, k], theirs[:, k])[0, 1]) > 1 - 1e-6
    assert_allclose(np.cov(ours.T), np.eye(2), atol=0.02)  # white, and uncorrelated


def test_length_normalised_rows_lie_on_the_sphere() -> None:
    train, speakers = draw(truth(6), np.full(50, 6), seed=14)
    plda = PldaScorer(PldaConfig(lda_dim=4)).fit(train, speakers)
    assert_allclose(np.linalg.norm(plda.front(train), axis=1), 2.0)
    middle = plda.front.center_D
    away = plda.front(np.stack([middle + 1.0, middle + 7.0]))
    assert_allclose(away[0], away[1])  # only the direction counts
    with pytest.raises(BadScores, match="exactly the training set's mean"):
        plda.front(middle[None])


def test_shrinkage_is_scikit_learns_oas() -> None:
    for count in (10, 40, 1000):
        rows = np.random.default_rng(count).standard_normal((count, 20)) * np.linspace(0.5, 2, 20)
        want = OAS(assume_centered=True).fit(rows).shrinkage_
        assert oas_shrinkage(rows.T @ rows / count, count) == pytest.approx(want)


def test_few_utterances_still_give_a_model_and_it_tells_speakers_apart() -> None:
    model = TwoCovariance(np.zeros(60), 4 * np.eye(60), np.eye(60))
    train, speakers = draw(model, np.full(20, 2), seed=15)  # 20 draws in 60 dimensions: singular without help
    with pytest.raises(BadCohort, match=r"singular: 40 of 60 directions.*shrinkage above 0"):
        PldaScorer(PldaConfig(shrinkage=0.0)).fit(train, speakers)
    x, speaker_N = draw(model, np.full(20, 2), seed=16)
    left, right = np.triu_indices(40, k=1)
    scores = PldaScorer().fit(train, speakers).pairs(x, left, right)
    assert metrics.eer(scores, speaker_N[left] == speaker_N[right]).rate < 0.1


def test_what_plda_cannot_be_fitted_on() -> None:
    train, speakers = draw(truth(6), np.full(4, 6), seed=17)
    with pytest.raises(
        BadCohort, match=r"LDA to 5 dimensions .* 6 dimensions from 4 speakers give at most 3"
    ):
        PldaScorer(PldaConfig(lda_dim=5)).fit(train, speakers)
    with pytest.raises(BadCohort, match="all 24 speakers have one"):
        PldaScorer().fit(train, np.arange(24))
    with pytest.raises(BadCohort, match="the same embedding"):
        PldaScorer().fit(np.repeat(train[:4], 3, axis=0), np.repeat(np.arange(4), 3))
    plda = PldaScorer().fit(train, speakers)
    with pytest.raises(BadScores, match="6 and 4 dimensions"):
        plda.table(train[:, :4], train)
