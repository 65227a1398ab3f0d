"""Scorers by name against a loop over pairs that follows the definitions, and the contract they all keep."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from voxid import metrics
from voxid.errors import BadCohort, BadConfig, BadScores, UnknownComponent
from voxid.scoring import SCORERS, make_scorer, normalization, scorers, similarity
from voxid.scoring.normalization import AsNormConfig, AsNormScorer, SNormScorer, top_statistics

DIM = 12


def people(speakers: int, each: int, seed: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of one population, and whose they are."""
    rng = np.random.default_rng(seed)
    voices = rng.standard_normal((speakers, DIM))
    speaker_N = np.repeat(np.arange(speakers), each)
    noise = 0.7 * rng.standard_normal((speakers * each, DIM))
    return voices[speaker_N] + noise + offset, speaker_N


COHORT, COHORT_SPEAKERS = people(40, 5, seed=1, offset=0.4)
ROWS, _ = people(15, 2, seed=2, offset=0.4)
ALL_PAIRS = np.triu_indices(len(ROWS), k=1)


def unit(row: np.ndarray) -> np.ndarray:
    return row / np.sqrt((row * row).sum())


def by_definition(a: np.ndarray, b: np.ndarray, cohort: list[np.ndarray], top_k: int) -> float:
    """AS-norm of one pair, step by step."""
    a, b = unit(a), unit(b)
    terms = []
    for side in (a, b):
        against = sorted((float(side @ c) for c in cohort), reverse=True)[:top_k]
        mean = sum(against) / len(against)
        std = (sum((s - mean) ** 2 for s in against) / len(against)) ** 0.5
        terms.append((float(a @ b) - mean) / std)
    return sum(terms) / 2


def speaker_rows(cohort: np.ndarray, speakers: np.ndarray) -> list[np.ndarray]:
    return [
        unit(np.mean([unit(c) for c in cohort[speakers == s]], axis=0))
        for s in sorted(set(speakers.tolist()))
    ]


@pytest.mark.parametrize("per", ["speaker", "utterance"])
@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize("top_k", [2, 7, 1000])
def test_as_norm_is_its_definition(per: str, subtract: bool, top_k: int) -> None:
    fitted = make_scorer({"name": "as-norm", "per": per, "subtract_mean": subtract, "top_k": top_k}).fit(
        COHORT, COHORT_SPEAKERS
    )
    mean = COHORT.mean(axis=0) if subtract else np.zeros(DIM)
    centred = COHORT - mean
    cohort = [unit(c) for c in centred] if per == "utterance" else speaker_rows(centred, COHORT_SPEAKERS)
    want = [
        by_definition(ROWS[i] - mean, ROWS[j] - mean, cohort, top_k) for i, j in zip(*ALL_PAIRS, strict=True)
    ]
    assert_allclose(fitted.pairs(ROWS, *ALL_PAIRS), want, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("per", ["speaker", "utterance"])
def test_s_norm_is_as_norm_against_the_whole_cohort(per: str) -> None:
    cohort = [unit(c) for c in COHORT] if per == "utterance" else speaker_rows(COHORT, COHORT_SPEAKERS)
    fitted = make_scorer({"name": "s-norm", "per": per}).fit(COHORT, COHORT_SPEAKERS)
    want = [by_definition(ROWS[i], ROWS[j], cohort, len(cohort)) for i, j in zip(*ALL_PAIRS, strict=True)]
    assert_allclose(fitted.pairs(ROWS, *ALL_PAIRS), want, rtol=2e-4, atol=2e-4)


def test_mean_subtracts_raw_embeddings_before_they_get_length_one() -> None:
    fitted = make_scorer("mean").fit(COHORT)
    mean = COHORT.mean(axis=0)
    want = [unit(ROWS[i] - mean) @ unit(ROWS[j] - mean) for i, j in zip(*ALL_PAIRS, strict=True)]
    assert_allclose(fitted.pairs(ROWS, *ALL_PAIRS), want, atol=1e-6)


def test_cosine_by_name_is_the_cosine_and_stays_in_range() -> None:
    fitted = make_scorer("cosine").fit()
    assert_allclose(fitted.table(ROWS, COHORT), similarity.cosine(ROWS, COHORT), atol=1e-6)
    many = np.random.default_rng(0).standard_normal((2000, DIM))
    same = make_scorer("mean").fit(COHORT).pairs(many, np.arange(2000), np.arange(2000))
    assert same.max() == 1.0
    assert same.min() > 1 - 1e-6


def test_the_order_of_the_cohort_and_the_names_of_its_speakers_do_not_matter() -> None:
    mixed = np.random.default_rng(0).permutation(len(COHORT))
    names = np.array([f"id{(s * 7) % 40}" for s in COHORT_SPEAKERS])
    one = AsNormScorer(AsNormConfig(top_k=9)).fit(COHORT, COHORT_SPEAKERS).table(ROWS, ROWS)
    other = AsNormScorer(AsNormConfig(top_k=9)).fit(COHORT[mixed], names[mixed]).table(ROWS, ROWS)
    assert_allclose(one, other, atol=1e-4)


def test_blocks_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = AsNormScorer(AsNormConfig(top_k=9)).fit(COHORT, COHORT_SPEAKERS)
    pairs, table = fitted.pairs(ROWS, *ALL_PAIRS), fitted.table(ROWS, COHORT)
    for module in (normalization, scorers, similarity):
        monkeypatch.setattr(module, "BLOCK_VALUES", 100)
    assert_allclose(fitted.pairs(ROWS, *ALL_PAIRS), pairs, atol=1e-5)
    assert_allclose(fitted.table(ROWS, COHORT), table, atol=1e-5)


def test_normalisation_helps_where_voices_score_high_with_everybody() -> None:
    """Speakers near a common direction score high with all: one threshold for raw cosines suits nobody."""

    def crowd(speakers: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        voices = rng.standard_normal((speakers, DIM))
        voices[:, 0] += rng.uniform(0, 6, speakers)
        speaker_N = np.repeat(np.arange(speakers), 4)
        return voices[speaker_N] + 0.5 * rng.standard_normal((len(speaker_N), DIM)), speaker_N

    cohort, cohort_speakers = crowd(300, seed=3)
    rows, speaker_N = crowd(60, seed=4)
    left, right = np.triu_indices(len(rows), k=1)
    same = speaker_N[left] == speaker_N[right]
    rates = {
        name: metrics.eer(make_scorer(table).fit(cohort, cohort_speakers).pairs(rows, left, right), same).rate
        for name, table in {
            "cosine": "cosine",
            "s-norm": "s-norm",
            "as-norm": {"name": "as-norm", "top_k": 30},
        }.items()
    }
    assert max(rates["as-norm"], rates["s-norm"]) < 0.7 * rates["cosine"], rates


# -- the contract of every scorer ----------------------------------------------------------------------


@pytest.mark.parametrize("name", SCORERS.names())
def test_every_scorer_keeps_the_contract(name: str) -> None:
    scorer = make_scorer(name)
    fitted = scorer.fit(COHORT, COHORT_SPEAKERS)
    table, pairs = fitted.table(ROWS, ROWS), fitted.pairs(ROWS, *ALL_PAIRS)
    assert table.dtype == pairs.dtype == np.float32
    assert table.shape == (len(ROWS), len(ROWS))
    assert_allclose(table, table.T, rtol=1e-4, atol=1e-4)
    assert_allclose(pairs, table[ALL_PAIRS], rtol=1e-4, atol=1e-4)
    few = np.array([5, 2, 29]), np.array([1, 2, 0])  # not sorted: goes row by row
    assert_allclose(fitted.pairs(ROWS, *few), table[few], rtol=1e-4, atol=1e-4)
    assert_allclose(fitted.table(ROWS[:3], ROWS[3:7]), table[:3, 3:7], rtol=1e-4, atol=1e-4)
    assert_allclose(fitted.sides(ROWS)[2:5].table(fitted.sides(ROWS)), table[2:5], rtol=1e-4, atol=1e-4)
    same = table[np.arange(0, 30, 2), np.arange(1, 30, 2)]
    assert same.mean() > np.delete(table, np.s_[:2], axis=1)[:2].mean()
    assert fitted.pairs(ROWS, np.array([], int), np.array([], int)).shape == (0,)
    assert scorer.needs_cohort is (name != "cosine")
    assert scorer.gives_llr is (name == "plda")


@pytest.mark.parametrize("name", SCORERS.names())
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_every_scorer_names_the_bad_row(name: str, bad: float) -> None:
    rows = ROWS.copy()
    rows[4, 2] = bad
    fitted = make_scorer(name).fit(COHORT, COHORT_SPEAKERS)
    with pytest.raises(BadScores, match=r"row 4"):
        fitted.table(rows, ROWS)
    if name != "cosine":
        with pytest.raises(BadScores, match=r"row 4"):
            make_scorer(name).fit(rows, np.arange(30) // 2)


@pytest.mark.parametrize("name", SCORERS.names())
def test_every_scorer_refuses_embeddings_of_another_model(name: str) -> None:
    fitted = make_scorer(name).fit(COHORT, COHORT_SPEAKERS)
    with pytest.raises(BadScores, match="different models"):
        fitted.table(ROWS[:, :8], ROWS)
    with pytest.raises(BadScores, match=r"shape \(12,\)"):
        fitted.table(ROWS[0], ROWS)


@pytest.mark.parametrize("name", [n for n in SCORERS.names() if n != "cosine"])
def test_every_scorer_with_a_cohort_says_what_is_wrong_with_it(name: str) -> None:
    with pytest.raises(BadCohort, match=f"'{name}' needs a cohort"):
        make_scorer(name).fit()
    with pytest.raises(BadCohort, match="cohort of 1 embeddings"):
        make_scorer(name).fit(COHORT[:1], [0])


@pytest.mark.parametrize("name", ["s-norm", "as-norm", "plda"])
def test_speakers_have_to_be_said_and_to_be_several(name: str) -> None:
    with pytest.raises(BadCohort, match="for every row"):
        make_scorer(name).fit(COHORT)
    with pytest.raises(BadCohort, match=r"200 speakers, got an array of shape \(3,\)"):
        make_scorer(name).fit(COHORT, [1, 2, 3])
    with pytest.raises(BadCohort, match="1 speaker"):
        make_scorer(name).fit(COHORT, np.zeros(200))


@pytest.mark.parametrize("name", ["s-norm", "as-norm"])
def test_a_cohort_without_spread_is_an_error_not_an_infinite_score(name: str) -> None:
    fitted = make_scorer(name).fit(np.repeat(ROWS[:1], 10, axis=0), np.arange(10))
    with pytest.raises(BadCohort, match=r"30 of 30 utterances .* score the same"):
        fitted.table(ROWS, ROWS)


def test_a_small_cohort_is_used_whole() -> None:
    fitted = AsNormScorer().fit(COHORT, COHORT_SPEAKERS)
    assert fitted.top_k == 40  # 300 asked for, 40 speakers there
    assert_allclose(
        fitted.table(ROWS, ROWS),
        SNormScorer().fit(COHORT, COHORT_SPEAKERS).table(ROWS, ROWS),
        rtol=1e-3,
        atol=1e-3,
    )


def test_top_statistics_of_a_hand_worked_case() -> None:
    cohort = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], np.float32)
    mean_N, std_N = top_statistics(np.array([[1, 0], [0, 1]], np.float32), cohort, 2)
    assert_allclose(mean_N, [0.8, 0.9], atol=1e-6)
    assert_allclose(std_N, [0.2, 0.1], atol=1e-6)


def test_options_are_checked() -> None:
    with pytest.raises(BadConfig, match=r"scorer\.top_k"):
        make_scorer({"name": "as-norm", "top_k": 1})
    with pytest.raises(BadConfig, match="Did you mean 'top_k'"):
        make_scorer({"name": "as-norm", "topk": 10})
    with pytest.raises(UnknownComponent, match="Did you mean 'as-norm'"):
        make_scorer("asnorm")
