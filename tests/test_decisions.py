"""From a calibrated LLR to an answer: priors, costs, false-alarm rates, one person or many."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from voxid.errors import BadConfig, BadScores, NotCalibrated
from voxid.evaluation.calibrating import enrollment_terms
from voxid.evaluation.embedding import Voices
from voxid.metrics import cllr, min_cllr
from voxid.scoring import Calibration, EnrollmentTerm, Impostors, fit, reference, unit_rows
from voxid.scoring.calibration import line_for
from voxid.scoring.decision import rule
from voxid.scoring.evidence import llr_table

LINE = Calibration(scale=10.0, offset=-5.0, prior=0.05, threshold=math.log(19))


def gaussian_strangers(count: int = 200_000, mean: float = -4.0) -> np.ndarray:
    """LLRs that are what they say: strangers N(-mu, 2 mu), and targets N(mu, 2 mu)."""
    return np.random.default_rng(0).normal(mean, math.sqrt(-2 * mean), count)


@pytest.fixture(scope="module")
def strangers() -> Impostors:
    found = Impostors.of(gaussian_strangers())
    assert found is not None
    return found


@pytest.fixture(scope="module")
def line(strangers: Impostors) -> Calibration:
    return LINE.model_copy(update={"impostors": strangers})


# -- how impostors score -------------------------------------------------------------------------------


@pytest.mark.parametrize("far", [0.3, 0.05, 0.01, 0.001])
def test_a_rate_is_what_was_counted(strangers: Impostors, far: float) -> None:
    fresh = np.random.default_rng(1).normal(-4, math.sqrt(8), 400_000)
    assert np.mean(fresh >= strangers.threshold(far)) == pytest.approx(far, rel=0.15)
    assert strangers.rate(strangers.threshold(far)) == pytest.approx(far, rel=1e-6)


def test_the_smallest_rate_rests_on_thirty_pairs_of_speakers() -> None:
    llr_K = np.arange(10_000.0)
    assert Impostors.of(llr_K).least == pytest.approx(30 / 10_000)  # pyright: ignore[reportOptionalMemberAccess]
    tens = Impostors.of(llr_K, np.arange(10_000) // 10)  # ten trials of each pair, and they err together
    assert tens is not None
    assert tens.least == pytest.approx(291 / 10_000)  # the thirtieth pair begins after 290 trials
    assert tens.speaker_pairs == 1_000
    assert Impostors.of(llr_K, np.zeros(10_000, int)) is None


def test_too_small_a_rate_is_refused_with_the_number(strangers: Impostors) -> None:
    with pytest.raises(BadScores, match=r"200,000 impostor trials, which support 0\.00015 and above"):
        strangers.threshold(1e-6)
    assert strangers.threshold(1e-6, beyond=True) > strangers.threshold(strangers.least)
    for far in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(BadScores, match="between 0 and 1"):
            strangers.threshold(far)


@pytest.mark.parametrize("least", [0.00130031, 0.0995, 0.02, 0.3, 1.0000001e-4, 30 / 170])
def test_the_rate_that_is_named_can_be_asked_for(least: float) -> None:
    strangers = Impostors(fars=(0.5, least), llrs=(0.0, 3.0), tail=1.0, trials=9)
    with pytest.raises(BadScores) as refused:
        strangers.threshold(least / 2)
    [named] = re.findall(r"which support (\S+) and above", str(refused.value))
    assert strangers.threshold(float(named)) <= 3.0
    assert least * (1 - 1e-9) <= float(named) <= least * 1.1


def test_the_tail_is_careful_where_scores_are_normal(strangers: Impostors) -> None:
    """Thirty times below the smallest rate seen, the true rate is below what is asked, not above."""
    asked = strangers.least / 30
    z = (strangers.threshold(asked, beyond=True) + 4) / math.sqrt(8)
    assert 0.5 * math.erfc(z / math.sqrt(2)) < asked


def test_impostors_travel_through_json(line: Calibration) -> None:
    assert Calibration.model_validate_json(line.model_dump_json()) == line


def test_a_fit_keeps_how_its_strangers_scored() -> None:
    rng = np.random.default_rng(2)
    score = np.concatenate((rng.normal(0.6, 0.1, 500), rng.normal(0.1, 0.1, 20_000)))
    fitted = fit(score, np.arange(score.size) < 500)
    assert fitted.impostors is not None
    assert fitted.impostors.trials == 20_000
    rate = np.mean(fitted.llr(score[500:]) >= fitted.impostors.threshold(0.01))
    assert rate == pytest.approx(0.01, rel=0.05)


# -- several clips -------------------------------------------------------------------------------------


def test_lines_for_clips_in_between() -> None:
    terms = (EnrollmentTerm(clips=2, gain=1.5, shift=-1.0), EnrollmentTerm(clips=4, gain=2.0, shift=-2.0))
    gain, shift = line_for(terms, [0.5, 1, 2, 8 / 3, 4, 100])
    assert gain.tolist() == pytest.approx([1, 1, 1.5, 1.75, 2, 2])
    assert shift.tolist() == pytest.approx([0, 0, -1, -1.5, -2, -2])
    assert LINE.enrolled_llr(3.0, 5).tolist() == 3.0  # nothing was fitted: unchanged


def test_long_clips_count_for_more() -> None:
    seconds = np.array([3.0, 3.0, 3.0, 30.0, 3.0, 0.0, np.nan])
    emb_ND = np.random.default_rng(6).normal(size=(7, 4))
    made = reference(emb_ND, seconds, [0, 3, 5])
    assert made.clips_N.tolist() == pytest.approx([3, 33**2 / 909, 2])
    assert made.speech_s_N.tolist() == pytest.approx([9, 33, 0])
    length_N = np.linalg.norm(emb_ND, axis=1)
    mean_D = (emb_ND[3] / length_N[3] * 30 + emb_ND[4] / length_N[4] * 3) / 33
    want_D = mean_D / np.linalg.norm(mean_D) * length_N[3:5].mean()
    assert made.emb_ND[1].tolist() == pytest.approx(want_D.tolist(), rel=1e-5)


def test_strangers_of_the_nearest_number_of_clips(strangers: Impostors) -> None:
    other = strangers.model_copy(update={"tail": 9.0})
    line = LINE.model_copy(
        update={
            "impostors": strangers,
            "enrollments": (EnrollmentTerm(clips=3, gain=1.0, shift=0.0, impostors=other),),
        }
    )
    assert [line.impostors_of(clips) is other for clips in (1, 1.2, 2, 3, 50)] == [
        False,
        False,
        True,
        True,
        True,
    ]


# -- thresholds ----------------------------------------------------------------------------------------


def test_bayes_threshold_of_prior_and_costs() -> None:
    assert rule(LINE).threshold() == pytest.approx(math.log(19))
    assert rule(LINE, prior=0.5).threshold() == 0
    asked = rule(LINE, prior=0.01, cost_miss=2, cost_false_alarm=10)
    assert asked.threshold() == pytest.approx(math.log(99 * 5))
    assert rule(LINE, cost_false_alarm=10).threshold() == pytest.approx(math.log(190))  # the model's prior
    assert asked.probability(asked.threshold()) == pytest.approx(5 / 6)  # where both expected costs are equal


def test_probability_is_the_posterior() -> None:
    assert rule(LINE, prior=0.2).probability(math.log(4)) == pytest.approx(0.5)
    assert rule(LINE, prior=0.2).probability(-1e4) == 0
    assert rule(LINE, prior=0.2).probability(1e4) == 1


def test_far_needs_impostors_and_a_rate_they_support(line: Calibration) -> None:
    assert rule(line, far=0.01).threshold() == pytest.approx(
        np.quantile(gaussian_strangers(), 0.99), abs=0.02
    )
    with pytest.raises(NotCalibrated, match="voxid calibrate"):
        rule(LINE, far=0.01)
    with pytest.raises(BadScores, match="cannot be promised"):
        rule(line, far=1e-7)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prior": 0.0}, "prior is a share"),
        ({"prior": 1.5}, "prior is a share"),
        ({"far": 0}, "far is a share"),
        ({"cost_miss": -1}, "cost_miss is a number above 0"),
        ({"cost_false_alarm": math.inf}, "cost_false_alarm is a number above 0"),
        ({"far": 0.01, "cost_miss": 2}, "two ways"),
        ({"prior": "0.1"}, "prior is a share between 0 and 1, got '0.1'"),
        ({"far": [0.1]}, "far is a share"),
        ({"cost_miss": "2"}, "cost_miss is a number above 0"),
        ({"prior": math.nan}, "prior is a share"),
    ],
)
def test_numbers_that_make_no_sense(line: Calibration, asked: dict, said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        rule(line, **asked)


# -- among many ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [{"far": 0.05}, {"far": 0.01}, {"prior": 0.05}], ids=str)
@pytest.mark.parametrize("among", [1, 10, 100])
def test_someone_matched_stays_as_rare_as_asked(line: Calibration, asked: dict, among: int) -> None:
    how = rule(line, **asked)
    best = np.random.default_rng(3).normal(-4, math.sqrt(8), (20_000, among)).max(axis=1)
    alone = np.mean(gaussian_strangers() >= how.threshold())
    assert 0.5 * alone < np.mean(best >= how.threshold(1, among)) < 1.2 * alone


def test_without_impostors_each_brings_log_n() -> None:
    assert rule(LINE).threshold(1, 100) == pytest.approx(math.log(19) + math.log(100))


def test_posteriors_of_all_and_of_nobody(line: Calibration) -> None:
    how = rule(line, prior=0.3)
    llr_N, surcharge_N = np.array([5.0, 1.0, -2.0]), np.full(3, math.log(3))
    own, none = how.posteriors(llr_N, surcharge_N)
    weights = 0.3 / 3 * np.exp(llr_N)
    assert own == pytest.approx(weights / (weights.sum() + 0.7))
    assert none == pytest.approx(0.7 / (weights.sum() + 0.7))
    assert how.posteriors(np.zeros(0), np.zeros(0))[1] == 1.0
    assert np.isfinite(how.posteriors(np.array([1e4, -1e4]), np.zeros(2))[0]).all()


def test_bars_are_thresholds(line: Calibration) -> None:
    how = rule(line, far=0.02)
    threshold_N, surcharge_N = how.bars(np.array([1.0, 3.0]), 50)
    assert threshold_N.tolist() == [how.threshold(1.0, 50), how.threshold(3.0, 50)]
    assert surcharge_N[0] == pytest.approx(how.threshold(1, 50) - how.threshold(1, 1))


# -- lines for several clips, fitted ----------------------------------------------------------------------


def made_up_voices(speakers: int, each: int, rng: np.random.Generator) -> tuple[Voices, np.ndarray]:
    """Embeddings of a speaker's direction plus as much noise; clips of 1 to 9 seconds."""
    speaker_U = np.repeat(np.arange(speakers), each)
    emb_UD = rng.normal(size=(speakers, 24))[speaker_U] + rng.normal(size=(speaker_U.size, 24))
    seconds_U = rng.uniform(1, 9, speaker_U.size)
    rows_U = np.arange(speaker_U.size, dtype=np.int32)
    return Voices(emb_UD.astype(np.float32), rows_U, seconds_U, seconds_U, 0, [], 0, 0.0, []), speaker_U


def test_llrs_of_several_clips_are_calibrated_by_their_own_line() -> None:
    rng = np.random.default_rng(4)
    voices, speaker_U = made_up_voices(60, 12, rng)
    unit_UD = unit_rows(voices.emb_UD)
    left, right = np.triu_indices(speaker_U.size, 1)
    line = fit((unit_UD @ unit_UD.T)[left, right], speaker_U[left] == speaker_U[right])
    terms = enrollment_terms(line, voices, speaker_U, None)
    assert [term.clips for term in terms] == [2, 3, 5, 8]
    assert terms[-1].gain > terms[0].gain > 1  # surer with every clip
    line = line.model_copy(update={"enrollments": terms})
    fresh, who_U = made_up_voices(60, 12, rng)  # strangers to the calibration
    clip, test = np.arange(who_U.size) % 12 < 5, np.arange(who_U.size) % 12 >= 5
    made = reference(fresh.emb_UD[clip], fresh.net_speech_s_U[clip], np.arange(60) * 5)
    same = (who_U[test][:, None] == np.arange(60)).ravel()
    own = llr_table(line, fresh.sides.take(np.flatnonzero(test)), made)
    one = llr_table(line.model_copy(update={"enrollments": ()}), fresh.sides.take(np.flatnonzero(test)), made)
    best = min_cllr(own.ravel(), same)
    assert cllr(own.ravel(), same) < 1.1 * best < cllr(one.ravel(), same)
    strangers = line.impostors_of(5)
    assert strangers is not None
    rate = np.mean(own.ravel()[~same] >= strangers.threshold(0.02))
    assert rate == pytest.approx(0.02, rel=0.3)


def test_lines_for_several_clips_compare_whom_the_trials_compare() -> None:
    """Two corpora that sound unlike: across them everybody is told apart, and strangers seem harmless."""
    voices, speaker_U = made_up_voices(60, 8, np.random.default_rng(6))
    corpus_U = speaker_U % 2
    room_D = np.zeros(24, np.float32)
    room_D[0] = 4.0
    voices = replace(voices, emb_UD=voices.emb_UD + np.where(corpus_U[:, None] == 1, room_D, -room_D))
    apart = enrollment_terms(LINE, voices, speaker_U, None, class_U=corpus_U)
    together = enrollment_terms(LINE, voices, speaker_U, None)
    parts = [corpus_U == n for n in (0, 1)]
    halves = [enrollment_terms(LINE, _part(voices, mine_U), speaker_U[mine_U], None) for mine_U in parts]
    for term, mixed, *alone in zip(apart, together, *halves, strict=True):
        assert term.shift < mixed.shift  # harder strangers, so less is believed
        assert term.shift == pytest.approx(np.mean([half.shift for half in alone]), abs=0.5)


def _part(voices: Voices, mine_U: np.ndarray) -> Voices:
    seconds_U = voices.net_speech_s_U[mine_U]
    rows_U = np.arange(np.count_nonzero(mine_U), dtype=np.int32)
    return Voices(voices.emb_UD[mine_U], rows_U, seconds_U, seconds_U, 0, [], 0, 0.0, [])


def test_too_few_speakers_give_no_line() -> None:
    voices, speaker_U = made_up_voices(9, 4, np.random.default_rng(5))
    assert enrollment_terms(LINE, voices, speaker_U, None) == ()
    voices, speaker_U = made_up_voices(12, 4, np.random.default_rng(5))
    assert [term.clips for term in enrollment_terms(LINE, voices, speaker_U, None)] == [2, 3]
