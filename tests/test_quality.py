"""Calibration with quality measures: what they are, what they are worth, and that useless ones do no harm."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.linear_model import LogisticRegression

import voxid
from voxid import metrics
from voxid.corpora.synthetic import speak, voice
from voxid.errors import BadCohort, BadConfig, BadModel, BadScores
from voxid.model.network import Model
from voxid.scoring import (
    Calibration,
    Cohort,
    QualityTerm,
    Side,
    fit,
    logistic,
    normalization,
)
from voxid.scoring import qualities as qualities_of
from voxid.scoring.calibration import QUALITY_RIDGE, RIDGE

RATE = 16_000


def trials(seed: int, count: int = 20_000) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Scores whose level and noise both depend on a quality; one more number means nothing."""
    rng = np.random.default_rng(seed)
    labels = rng.random(count) < 0.2
    quality = rng.uniform(-1, 1, count)
    scores = 0.3 + 0.25 * labels - 0.15 * quality + 0.1 * rng.standard_normal(count)
    return scores, labels, {"helps": quality, "noise": rng.standard_normal(count)}


def only(qualities: dict[str, np.ndarray], *names: str) -> dict[str, np.ndarray]:
    return {name: qualities[name] for name in names}


def cost(
    seed_fitted: int, seed_tested: int, names: list[str], prior: float = 0.5, count: int = 20_000
) -> float:
    """Cllr on unseen trials."""
    scores, labels, qualities = trials(seed_fitted, count)
    calibration = fit(scores, labels, prior, qualities=only(qualities, *names))
    unseen, truth, values = trials(seed_tested)
    return metrics.cllr(calibration.llr(unseen, values), truth)


# -- the fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", [0.5, 0.01])
@pytest.mark.parametrize("block", [1000, 1 << 18])
def test_the_fit_is_scikit_learns(prior: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "BLOCK", block)
    scores, labels, qualities = trials(0, 3500)
    calibration = fit(scores, labels, prior, qualities=qualities)
    columns = np.stack([scores, *qualities.values()], axis=1)
    standard = (columns - columns.mean(axis=0)) / columns.std(axis=0)
    # scikit-learn has one ridge for all: dividing a column by r holds its weight r^2 times as strongly
    held = np.array([1.0] + [math.sqrt(QUALITY_RIDGE / RIDGE)] * 2)
    weights = np.where(labels, prior / labels.sum(), (1 - prior) / (~labels).sum())
    model = LogisticRegression(C=1 / RIDGE, tol=1e-14, max_iter=20_000, solver="newton-cholesky")
    model.fit(standard / held, labels, sample_weight=weights)
    want = model.decision_function(standard / held) - np.log(prior / (1 - prior))
    assert_allclose(calibration.llr(scores, qualities), want, rtol=1e-3, atol=1e-3)


def test_a_quality_that_tells_something_lowers_the_cost_on_unseen_trials() -> None:
    without, helped = cost(1, 2, []), cost(1, 2, ["helps"])
    assert helped < without - 0.08
    scores, labels, qualities = trials(2)
    best = metrics.min_cllr(scores + 0.15 * qualities["helps"], labels)  # the quality's effect taken out
    assert helped < best + 0.01


@pytest.mark.parametrize("prior", [0.5, 0.01])
def test_a_useless_quality_does_little_harm_even_to_a_small_set(prior: float) -> None:
    for seed in range(10, 16):
        assert cost(seed, 2, ["noise"], prior, count=600) < cost(seed, 2, [], prior, count=600) + 0.01


def test_a_quality_that_never_changes_changes_nothing() -> None:
    scores, labels, _ = trials(3, 2000)
    plain = fit(scores, labels)
    for dtype in (np.float32, np.float64):
        constant = {"same": np.full(2000, 3.4, dtype)}
        calibration = fit(scores, labels, qualities=constant)
        assert calibration.qualities[0].weight == 0.0
        assert_allclose(calibration.llr(scores, constant), plain.llr(scores), atol=1e-6)


def test_the_units_of_scores_and_qualities_do_not_matter() -> None:
    scores, labels, qualities = trials(4, 3000)
    want = fit(scores, labels, qualities=qualities).llr(scores, qualities)
    for factor, shift in ((1e-6, 0.0), (1e4, -3e4), (2.0, 100.0)):
        scaled = {"helps": -factor * qualities["helps"] + shift, "noise": qualities["noise"]}
        moved = factor * scores + shift
        calibration = fit(moved, labels, qualities=scaled)
        assert_allclose(calibration.llr(moved, scaled), want, rtol=1e-4, atol=1e-4)


def test_how_many_trials_of_each_kind_there_are_does_not_matter() -> None:
    scores, labels, qualities = trials(5, 2000)
    again = np.concatenate((np.flatnonzero(labels).repeat(6), np.flatnonzero(~labels)))
    repeated = {name: value[again] for name, value in qualities.items()}
    one, other = fit(scores, labels), fit(scores[again], labels[again])
    # a ridge on standardised scores: their spread changes, and with it the millionth part that it takes
    assert one.scale == pytest.approx(other.scale, rel=1e-3)
    one, other = (
        fit(scores, labels, qualities=qualities),
        fit(scores[again], labels[again], qualities=repeated),
    )
    assert_allclose(one.llr(scores, qualities), other.llr(scores, qualities), atol=0.05)


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("prior", [0.5, 0.001])
def test_a_handful_of_target_trials_gives_finite_numbers(targets: int, prior: float) -> None:
    rng = np.random.default_rng(6)
    scores = np.concatenate((rng.normal(0.8, 0.01, targets), rng.normal(0.1, 0.1, 5000)))
    labels = np.arange(scores.size) < targets
    calibration = fit(scores, labels, prior, qualities={"noise": rng.standard_normal(scores.size)})
    llrs = calibration.llr(scores, {"noise": np.zeros(scores.size)})
    assert np.isfinite(llrs).all()
    assert llrs[labels].min() > llrs[~labels].max()
    assert 1 < calibration.scale < 1e4


def test_float32_scores_are_fitted_as_float64_ones() -> None:
    scores, labels, qualities = trials(7, 2000)
    small = {name: value.astype(np.float32) for name, value in qualities.items()}
    one, other = (
        fit(scores, labels, qualities=qualities),
        fit(scores.astype(np.float32), labels, qualities=small),
    )
    assert one.scale == pytest.approx(other.scale, rel=1e-4)
    llrs = other.llr(scores.astype(np.float32), small)
    assert llrs.dtype == np.float32
    assert_allclose(llrs, one.llr(scores, qualities), atol=1e-3)


def test_nothing_is_guessed_beyond_what_the_calibration_saw() -> None:
    term = QualityTerm(name="q", weight=2.0, mean=1.0, spread=0.5, low=0.5, high=2.0)
    calibration = Calibration(scale=10.0, offset=-5.0, qualities=(term,))
    for value, added in ((1.0, 0.0), (2.0, 4.0), (50.0, 4.0), (0.5, -2.0), (-9.0, -2.0)):
        assert calibration.llr(0.5, {"q": np.array(value)}) == pytest.approx(added)


def test_a_calibration_with_qualities_survives_its_file_and_an_old_file_is_read() -> None:
    scores, labels, qualities = trials(8, 500)
    cohort = Cohort.of(np.eye(4), [0, 1, 2, 3], name="strangers").info
    calibration = fit(scores, labels, qualities=qualities, cohort=cohort)
    assert Calibration.parse(calibration.model_dump(mode="json"), "calibration") == calibration
    old = {"scale": 2.0, "offset": -1.0, "prior": 0.5, "threshold": 0.0, "fitted_on": None, "model": "f00"}
    read = Calibration.parse(old, "calibration")
    assert read.llr(0.9) == pytest.approx(0.8)
    assert read.measures == ()
    assert read.llr(0.9, {"not": "looked at"}) == pytest.approx(0.8)


def test_a_missing_or_bad_quality_is_an_error_not_a_score() -> None:
    scores, labels, qualities = trials(9, 500)
    calibration = fit(scores, labels, qualities=qualities)
    with pytest.raises(BadScores, match="needs the quality 'helps' of each trial, got none"):
        calibration.llr(scores)
    with pytest.raises(BadScores, match="needs the quality 'noise' of each trial, got helps"):
        calibration.llr(scores, only(qualities, "helps"))
    with pytest.raises(BadScores, match=r"'helps' has shape \(499,\), the scores have \(500,\)"):
        calibration.llr(scores, {**qualities, "helps": qualities["helps"][1:]})
    bad = qualities["noise"].copy()
    bad[3] = np.nan
    with pytest.raises(BadScores, match="'noise' of some trials is NaN"):
        fit(scores, labels, qualities={"noise": bad})


# -- what is measured ----------------------------------------------------------------------------------


def test_measures_of_trials_by_hand() -> None:
    emb = np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
    cohort = Cohort(np.array([[1, 0], [0, 1], [-1, 0]], np.float32), top_k=2)
    each = Side.of(emb, [2.0, 100.0, 0.01])
    left, right = np.array([0, 1]), np.array([1, 2])
    every = ["speech", "norm", "cohort_mean"]
    made = qualities_of(every, each, each, cohort, left_K=left, right_K=right)
    assert_allclose(made["speech_min"], np.log([2.0, 0.25]), rtol=1e-6)  # 100 s count as 30, 10 ms as 250
    assert_allclose(made["speech_max"], np.log([30.0, 30.0]), rtol=1e-6)
    assert_allclose(made["norm_min"], np.log([2.0, 1.0]), rtol=1e-6, atol=1e-9)
    assert_allclose(made["norm_max"], np.log([5.0, 2.0]), rtol=1e-6)
    assert_allclose(made["cohort_mean"], [(0.7 + 0.5) / 2, 0.5], rtol=1e-6)
    swapped = qualities_of(every, each.take(right), each.take(left), cohort)
    for name, values in made.items():
        assert values.dtype == np.float32
        assert_allclose(values, swapped[name])


def test_a_calibration_names_what_it_wants_measured() -> None:
    each = Side.of(np.random.default_rng(0).standard_normal((400, 3)), np.linspace(1, 9, 400))
    pairs = np.random.default_rng(1).integers(0, 400, (2, 3000))
    made = qualities_of(["norm", "speech"], each, each, left_K=pairs[0], right_K=pairs[1])
    labels = np.arange(3000) % 5 == 0
    calibration = fit(labels + np.random.default_rng(2).standard_normal(3000), labels, qualities=made)
    assert calibration.measures == ("speech", "norm")


def test_what_cannot_be_measured() -> None:
    each = Side.of(np.ones((2, 3)), [1.0, math.nan])
    with pytest.raises(BadScores, match=r"'speech' of 1 of 2 recordings \(the first is 1\) is not known"):
        qualities_of(["speech"], each, each)
    with pytest.raises(BadScores, match="the model has none"):
        qualities_of(["cohort_mean"], each, each)
    with pytest.raises(BadConfig, match="Did you mean 'norm'"):
        qualities_of(["norms"], each, each)
    with pytest.raises(BadScores, match=r"got shapes \(2, 3\) and \(3,\)"):
        Side.of(np.ones((2, 3)), [1.0, 1.0, 1.0])
    with pytest.raises(BadScores, match="2 sides cannot be paired with 3"):
        qualities_of(["norm"], each, Side.of(np.ones((3, 3)), [1.0] * 3))


# -- the cohort ----------------------------------------------------------------------------------------


def test_cohort_means_are_those_of_sorted_cosines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(normalization, "BLOCK_VALUES", 100)
    rng = np.random.default_rng(0)
    emb, speakers = rng.standard_normal((60, 6)), np.arange(60) % 20
    cohort = Cohort.of(emb, speakers, top_k=5)
    unit = emb / np.linalg.norm(emb, axis=1, keepdims=True)
    rows = np.stack([unit[speakers == s].mean(axis=0) for s in range(20)])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    x = rng.standard_normal((30, 6))
    want = [np.sort(rows @ (row / np.linalg.norm(row)))[-5:].mean() for row in x]
    assert_allclose(cohort.means(x), want, atol=1e-6)
    assert Cohort.of(emb, speakers).top_k == 20  # 300 asked for


def test_a_cohort_survives_its_file_and_notices_another(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    cohort = Cohort.of(rng.standard_normal((9, 4)), np.arange(9), top_k=3, name="crowd", fingerprint="f00")
    cohort.save(tmp_path)
    read = Cohort.load(tmp_path, cohort.info)
    assert (read.top_k, read.name, read.fingerprint, read.info) == (3, "crowd", "f00", cohort.info)
    assert_allclose(read.rows_MD, cohort.rows_MD, rtol=0)
    file = tmp_path / "cohort.npy"
    damaged = bytearray(file.read_bytes())
    damaged[-1] ^= 1
    file.write_bytes(damaged)
    with pytest.raises(BadModel, match="damaged or belongs to another calibration"):
        Cohort.load(tmp_path, cohort.info)
    file.unlink()
    with pytest.raises(BadModel, match=r"cannot read .*cohort\.npy"):
        Cohort.load(tmp_path, cohort.info)


def test_what_is_no_cohort() -> None:
    with pytest.raises(BadCohort, match="cohort of 1 embeddings"):
        Cohort.of(np.ones((1, 3)), [0])
    with pytest.raises(BadCohort, match="top_k"):
        Cohort.of(np.eye(3), [0, 1, 2], top_k=0)
    with pytest.raises(BadScores, match="2 and 3 dimensions"):
        Cohort.of(np.eye(3), [0, 1, 2]).means(np.ones((1, 2)))


# -- in a model folder, and in use ---------------------------------------------------------------------


@pytest.fixture
def model() -> Model:
    """A model whose calibration weighs everything there is."""
    torch.manual_seed(0)
    model = Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 8})
    strangers = np.random.default_rng(0).standard_normal((12, model.dim))
    model.cohort = Cohort.of(strangers, np.arange(12), top_k=4, name="crowd")
    terms = [
        QualityTerm(name=name, weight=weight, mean=0.1, spread=0.7, low=-20.0, high=20.0)
        for name, weight in {"speech_min": 1.0, "norm_max": -0.5, "cohort_mean": 2.0}.items()
    ]
    model.calibration = Calibration(scale=10.0, offset=-5.0, qualities=tuple(terms), cohort=model.cohort.info)
    return model


def test_the_cohort_travels_with_the_model(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    read = Model.load(tmp_path / "model")
    assert read.cohort is not None
    assert model.cohort is not None
    assert read.cohort.info == model.cohort.info
    assert read.calibration == model.calibration
    read.save(tmp_path / "copy")
    assert Model.load(tmp_path / "copy").fingerprint == model.fingerprint
    (tmp_path / "copy" / "cohort.npy").unlink()
    with pytest.raises(BadModel, match=r"cohort\.npy"):
        Model.load(tmp_path / "copy")


@pytest.mark.parametrize("cohort", [None, Cohort(np.eye(16, dtype=np.float32))], ids=["none", "another"])
def test_a_model_is_not_saved_with_another_cohort(
    model: Model, cohort: Cohort | None, tmp_path: Path
) -> None:
    model.cohort = cohort
    with pytest.raises(BadModel, match=r"fitted with the cohort 'crowd', and the model has (none|another)"):
        model.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_model_without_qualities_has_no_cohort_file(model: Model, tmp_path: Path) -> None:
    model.calibration = Calibration(scale=10.0, offset=-5.0)
    model.save(tmp_path / "model")
    assert not (tmp_path / "model" / "cohort.npy").exists()
    assert Model.load(tmp_path / "model").cohort is None


def test_compare_weighs_the_qualities(model: Model, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    runtime = voxid.load(tmp_path / "model")
    a = speak(voice(0), 4.0, np.random.default_rng(0)), RATE
    b = speak(voice(1), 1.5, np.random.default_rng(1)), RATE
    decision = voxid.compare(a, b, model=tmp_path / "model")
    left, right = runtime.embed_each([a, b])
    assert model.cohort is not None
    added = 1.0 * (math.log(min(left.info.net_speech_s, right.info.net_speech_s)) - 0.1) / 0.7
    longest = max(float(np.linalg.norm(side.embedding)) for side in (left, right))
    added += -0.5 * (math.log(longest) - 0.1) / 0.7
    added += 2.0 * (model.cohort.means([left.embedding, right.embedding]).mean() - 0.1) / 0.7
    assert decision.llr == pytest.approx(10 * decision.cosine - 5 + added, abs=1e-3)
    assert voxid.compare(b, a, model=runtime).llr == pytest.approx(decision.llr, abs=1e-4)
