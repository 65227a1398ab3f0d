"""Searching a voice among enrolled speakers: against the definitions written as loops, and by hand.

# Q probes, N enrolled speakers
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import top_k_accuracy_score

from voxid import metrics
from voxid.errors import BadScores
from voxid.metrics import identification

Search = tuple[np.ndarray, np.ndarray, np.ndarray]


def made(seed: int, probes: int = 200, enrolled: int = 12, decimals: int | None = None) -> Search:
    """Return scores, probe speakers and enrolled speakers; a third of the probes are strangers."""
    rng = np.random.default_rng(seed)
    names = np.array([f"speaker-{i:02}" for i in rng.permutation(enrolled + 6)])
    speaker_Q = rng.choice(names, probes)
    enrolled_N = names[:enrolled]
    scores = rng.standard_normal((probes, enrolled)) + 2.0 * (speaker_Q[:, None] == enrolled_N)
    return (scores if decimals is None else scores.round(decimals)), speaker_Q, enrolled_N


def errors_by_loop(search: Search, threshold: float, rank: int) -> tuple[float, float]:
    """FPIR and FNIR by their definitions; who ties with the mate stands before it."""
    wrong = strangers = missed = mated = 0
    for row, speaker in zip(*search[:2], strict=True):
        others = [float(s) for s, name in zip(row, search[2], strict=True) if name != speaker]
        if speaker in search[2]:
            mated += 1
            mate = float(row[list(search[2]).index(speaker)])
            ahead = sum(score >= mate for score in others)
            missed += mate < threshold or ahead + 1 > rank
        else:
            strangers += 1
            wrong += max(others) >= threshold
    return wrong / strangers, missed / mated


@pytest.mark.parametrize("decimals", [None, 1, 0])
@pytest.mark.parametrize("rank", [1, 3, 12])
def test_errors_are_those_of_the_definitions(rank: int, decimals: int | None) -> None:
    search = made(0, decimals=decimals)
    found = metrics.searches(*search)
    for threshold in (-9.0, 0.0, 1.0, 1.5, 2.3, 9.0):
        assert found.errors(threshold, rank) == pytest.approx(errors_by_loop(search, threshold, rank))
    curve = found.curve(rank)
    for i in range(0, curve.thresholds.size, 7):
        expected = errors_by_loop(search, float(curve.thresholds[i]), rank)
        assert (curve.fpir[i], curve.fnir[i]) == pytest.approx(expected)
    assert (curve.fpir[0], curve.fpir[-1], curve.fnir[-1]) == (1.0, 0.0, 1.0)
    assert (np.diff(curve.fpir) <= 0).all()
    assert (np.diff(curve.fnir) >= 0).all()


@pytest.mark.parametrize("k", [1, 2, 5])
def test_top_k_is_scikit_learns_where_nothing_ties(k: int) -> None:
    scores, speaker_Q, enrolled_N = made(1)
    mated = np.isin(speaker_Q, enrolled_N)
    columns = [list(enrolled_N).index(name) for name in speaker_Q[mated]]
    witness = top_k_accuracy_score(columns, scores[mated], k=k, labels=range(enrolled_N.size))
    assert metrics.top_k_accuracy(scores, speaker_Q, enrolled_N, k) == pytest.approx(witness)
    numbers = {name: i for i, name in enumerate(np.unique(np.concatenate((speaker_Q, enrolled_N))))}
    by_number = ([numbers[name] for name in names] for names in (speaker_Q, enrolled_N))
    assert metrics.top_k_accuracy(scores, *by_number, k=k) == pytest.approx(witness)


def test_by_hand() -> None:
    #           ann  bob  cat
    scores = [[0.9, 0.1, 0.2],  # ann: first
              [0.5, 0.4, 0.1],  # bob: second
              [0.3, 0.3, 0.3],  # cat: behind all who tie with her
              [0.8, 0.0, 0.0],  # a stranger, much like ann
              [0.2, 0.1, 0.0]]  # a stranger, like nobody  # fmt: skip
    found = metrics.searches(scores, ["ann", "bob", "cat", "eve", "joe"], ["ann", "bob", "cat"])
    assert found.rank_M.tolist() == [1, 2, 3]
    assert [found.top_k(k) for k in (1, 2, 3)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert found.errors(0.35, rank=1) == pytest.approx((1 / 2, 2 / 3))
    assert found.errors(0.35, rank=2) == pytest.approx((1 / 2, 1 / 3))
    at = found.fnir_at_fpir(0.5, rank=3)  # joe is kept out from above 0.2 on: nobody is missed yet
    assert at == pytest.approx((0.0, 0.5, 0.25, True))
    strict = found.fnir_at_fpir(0.1, rank=3)  # two strangers cannot show a tenth
    assert strict == pytest.approx((2 / 3, 0.0, 0.85, False))


@settings(max_examples=60)
@given(st.integers(0, 9999), st.sampled_from([None, 1, 0]), st.sampled_from([0.05, 0.3, 0.9]))
def test_the_value_at_a_fpir_is_the_best_of_the_curve(seed: int, decimals: int | None, fpir: float) -> None:
    search = made(seed, probes=60, decimals=decimals)
    found = metrics.searches(*search)
    curve, at = found.curve(2), metrics.fnir_at_fpir(*search, fpir, rank=2)
    allowed = curve.fpir <= fpir + 1e-12
    assert at.fnir == pytest.approx(curve.fnir[allowed].min())
    assert at.fpir <= fpir + 1e-12
    assert found.errors(at.threshold, 2) == pytest.approx((at.fpir, at.fnir))
    assert at.resolved == (1 / found.best_U.size <= fpir)


def test_a_fpir_that_is_no_float_allows_what_it_says() -> None:
    assert 0.29 * 100 < 29  # in floating point
    scores = np.arange(101.0)[:, None]
    assert metrics.fnir_at_fpir(scores, np.arange(101), [100], fpir=0.29).fpir == 0.29


def test_scores_that_say_nothing_find_nobody() -> None:
    _, speaker_Q, enrolled_N = made(2)
    constant = np.zeros((speaker_Q.size, enrolled_N.size))
    assert metrics.top_k_accuracy(constant, speaker_Q, enrolled_N, k=enrolled_N.size - 1) == 0.0
    assert metrics.searches(constant, speaker_Q, enrolled_N).errors(0.0) == (1.0, 1.0)


def test_one_enrolled_speaker_is_verification() -> None:
    rng = np.random.default_rng(3)
    same = rng.random(300) < 0.3
    scores = rng.standard_normal(300) + same
    curve = metrics.searches(scores[:, None], np.where(same, 7, 8), [7]).curve()
    witness = metrics.det(scores, same)
    np.testing.assert_allclose(curve.fpir, witness.far, atol=1e-12)
    np.testing.assert_allclose(curve.fnir, witness.frr, atol=1e-12)


def test_blocks_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    search = made(4)
    whole = metrics.searches(*search)
    monkeypatch.setattr(identification, "BLOCK_VALUES", 12 * 7)
    again = metrics.searches(*search)
    np.testing.assert_array_equal(whole.rank_M, again.rank_M)
    np.testing.assert_array_equal(whole.best_U, again.best_U)


SCORES = [[0.9, 0.1], [0.2, 0.3], [0.1, 0.2]]


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: metrics.searches([[np.nan, 1.0]], [1], [1, 2]), "1 of 2 scores are NaN"),
        (lambda: metrics.searches([0.1, 0.2], [1, 2], [1]), r"got scores \(2,\), probes \(2,\)"),
        (lambda: metrics.searches(SCORES, [1, 2], [1, 2]), r"scores \(3, 2\), probes \(2,\)"),
        (lambda: metrics.searches(SCORES, [1, 2, 3], [1, 2, 3]), r"enrolled \(3,\)"),
        (lambda: metrics.searches([[0.1], [0.2, 0.3]], [1, 2], [1]), "not an array"),
        (
            lambda: metrics.searches(SCORES, [1, 2, 3], [1, 1]),
            "1 of 2 columns are of speakers who have another",
        ),
        (lambda: metrics.searches(SCORES, [1, 2, 3], ["1", "2"]), "all names or all numbers"),
        (lambda: metrics.searches(np.zeros((0, 2)), [], [1, 2]), "nothing to search"),
        (lambda: metrics.searches(np.zeros((2, 0)), [1, 2], []), "nothing to search"),
        (lambda: metrics.top_k_accuracy(SCORES, [1, 2, 3], [1, 2], k=3), "ranks go from 1 to 2, .* got 3"),
        (lambda: metrics.top_k_accuracy(SCORES, [1, 2, 3], [1, 2], k=0), "got 0"),
        (lambda: metrics.top_k_accuracy(SCORES, [3, 4, 5], [1, 2]), "no probe is of an enrolled speaker"),
        (lambda: metrics.fnir_at_fpir(SCORES, [1, 2, 1], [1, 2], 0.1), "all probes are of enrolled speakers"),
        (lambda: metrics.fnir_at_fpir(SCORES, [1, 2, 3], [1, 2], 1.0), "between 0 and 1, got 1.0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_input_is_refused(work, message: str) -> None:
    with pytest.raises(BadScores, match=message):
        work()
