"""From scores to figures: error rates and costs, how sure they are, and who is found among many.

# N utterances, K trials, Q probes
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from voxid import metrics
from voxid.errors import BadScores, NotCalibrated
from voxid.evaluation.embedding import Voices
from voxid.evaluation.groups import groups, hardest, worst
from voxid.evaluation.report.values import FRR, ModelReport
from voxid.evaluation.scores import Scores
from voxid.metrics import Searches, searches
from voxid.metrics.resampling import FARS
from voxid.scoring import Calibration
from voxid.scoring.decision import rule
from voxid.trials.data import EvaluationData
from voxid.types import count_reasons

ASKED = {"default": None, "far=0.01": 0.01, "far=0.001": 0.001}  # decisions that a report counts
LEVEL = 0.95
RESAMPLES = 1000
PAIRED_FIGURES = ("eer", "min_dcf")
RANKS = (1, 5)
FPIR = 0.01


def measure(
    system: Scores, data: EvaluationData, intervals: dict[str, list[float]], with_grid: bool = False
) -> ModelReport:
    """Return the figures of a system; `intervals` are those of `of_systems`, empty where there are none."""
    scores, same, llrs = system.score_K, system.same_K, system.llr_K
    rate, threshold = system.eer
    grid = None
    if with_grid:
        with suppress(BadScores):  # every score is outside the grid; the exact EER stands beside it
            grid = metrics.eer_grid(scores, same)
    targets = int(np.count_nonzero(same))
    return ModelReport(
        model=system.name,
        folder=system.folder,
        fingerprint=system.fingerprint,
        inference=system.inference,
        scoring=system.scoring,
        eer=rate,
        eer_threshold=threshold,
        eer_grid=grid.rate if grid else None,
        eer_grid_threshold=grid.threshold if grid else None,
        min_dcf=metrics.min_dcf(scores, same, p_target=0.01),
        min_dcf_05=metrics.min_dcf(scores, same, p_target=0.05),
        act_dcf=None if llrs is None else metrics.act_dcf(llrs, same, p_target=0.01),
        act_dcf_05=None if llrs is None else metrics.act_dcf(llrs, same, p_target=0.05),
        cllr=metrics.cllr(scores if llrs is None else llrs, same),
        cllr_of=f"{system.scoring} taken as llr" if llrs is None else "llr",
        min_cllr=metrics.min_cllr(scores if llrs is None else llrs, same),
        frr_at_far={f"{far:g}": _frr(scores, same, far) for far in FARS},
        intervals=intervals,
        calibration=system.calibration,
        decisions=system.decisions,
        trials=int(scores.size),
        targets=targets,
        nontargets=int(scores.size) - targets,
        trials_lost=system.trials_lost,
        utterances=system.utterances,
        left_out=count_reasons(system.left_out) | ({"no_score": system.no_score} if system.no_score else {}),
        full_sequence=system.full_sequence,
        identification=identification(data, system) if system.enrolled else None,
        groups=groups(data, system, threshold),
        hardest=hardest(data, system, threshold),
        worst=worst(data, system, threshold),
        embed_s=round(system.embed_s, 3),
        score_s=round(system.score_s, 3),
        from_cache=system.from_cache,
    )


def decisions(
    scores: Scores,
    voices: Voices,
    calibration: Calibration,
    speaker_N: np.ndarray,
    *,
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Return what a recognizer does on the trials: strangers accepted, speakers refused, by what was asked.

    "default" is the model's own threshold, the others are false-alarm rates. A rate that the calibration
    cannot promise has the reason in its place (`why_not`). Intervals are over speakers, as those of the
    other figures are, and None where there can be none. `scores` need LLRs of these `voices`.
    """
    assert scores.llr_K is not None
    clips_N = voices.sides.clips_N[voices.row_N.clip(0)]
    clips_K = np.maximum(clips_N[scores.left_K], clips_N[scores.right_K])
    clips, which_K = np.unique(clips_K, return_inverse=True)
    sides = (speaker_N[scores.left_K], speaker_N[scores.right_K])
    found = []
    for asked, far in ASKED.items():
        row: dict[str, Any] = {"asked": asked, "false_alarm_rate": None, "miss_rate": None}
        try:
            threshold_C, _ = rule(calibration, far=far).bars(clips, among=1)
        except (BadScores, NotCalibrated) as error:
            found.append(row | {"why_not": str(error)})
            continue
        accepted_K = scores.llr_K >= threshold_C[which_K]
        rates = metrics.decision_rates(accepted_K, scores.same_K)
        if resamples:
            with suppress(BadScores):  # too few speakers, or not known: `of_systems` says so
                rates = metrics.decision_rates(
                    accepted_K, scores.same_K, *sides, resamples=resamples, level=LEVEL, seed=seed
                )
        for name, rate, interval in (
            ("false_alarm", rates.false_alarm, rates.false_alarm_interval),
            ("miss", rates.miss, rates.miss_interval),
        ):
            row[f"{name}_rate"] = rate if np.isfinite(rate) else None
            row[f"{name}_interval"] = None if interval is None else [interval.low, interval.high]
        found.append(row)
    return found


def _frr(scores: np.ndarray, same: np.ndarray, far: float) -> float | None:
    point = metrics.frr_at_far(scores, same, far)
    return point.frr if point.resolved else None


# -- how sure the figures are ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Confidence:
    """Intervals of each system (figure -> [low, high]), the paired tests, and how they were made."""

    intervals: list[dict[str, list[float]]]
    paired: list[dict[str, Any]]
    how: dict[str, Any]


def of_systems(systems: Sequence[Scores], data: EvaluationData, *, resamples: int, seed: int) -> Confidence:
    """Return the confidence in the figures of all systems, and of each pair of systems on common trials.

    Where there can be none (a speaker is not known, too few of them, `resamples` 0) all of it is empty and
    `how["why_not"]` says why.
    """
    how = {"level": LEVEL, "resamples": resamples, "seed": seed, "resampled": "speakers"}
    nothing: list[dict[str, list[float]]] = [{} for _ in systems]
    if not resamples:
        return Confidence(nothing, [], how | {"why_not": "not asked for"})
    if not all(data.speaker_names()):
        unknown = "the speakers are not known, and trials that share a speaker are not independent"
        return Confidence(nothing, [], how | {"why_not": unknown})
    speaker_N = data.speakers()
    options = {"resamples": resamples, "level": LEVEL, "seed": seed}
    try:
        intervals = [_intervals(system, speaker_N, options) for system in systems]
        paired = [
            row for a, b in itertools.combinations(systems, 2) for row in _paired(a, b, speaker_N, options)
        ]
    except BadScores as error:
        return Confidence(nothing, [], how | {"why_not": str(error)})
    return Confidence(intervals, paired, how)


def _intervals(system: Scores, speaker_N: np.ndarray, options: dict[str, Any]) -> dict[str, list[float]]:
    found = metrics.intervals(
        system.score_K,
        system.same_K,
        speaker_N[system.left_K],
        speaker_N[system.right_K],
        llrs=system.llr_K,
        **options,
    )
    nontargets = int(np.count_nonzero(~system.same_K))  # fewer than 1 / FAR do not resolve a FRR
    return {
        figure: [interval.low, interval.high]
        for figure, interval in found.items()
        if not figure.startswith(FRR) or float(figure.removeprefix(FRR)) * nontargets >= 1
    }


def _paired(a: Scores, b: Scores, speaker_N: np.ndarray, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the comparison of two systems by each figure, on the trials that both could score."""
    in_a, in_b = _common(a, b)
    if not in_a.any():
        return []
    found = metrics.paired(
        a.score_K[in_a],
        b.score_K[in_b],
        a.same_K[in_a],
        speaker_N[a.left_K[in_a]],
        speaker_N[a.right_K[in_a]],
        figures=PAIRED_FIGURES,
        **options,
    )
    return [
        {
            "a": a.name,
            "b": b.name,
            "figure": figure,
            **asdict(found[figure]),
            "trials": int(np.count_nonzero(in_a)),
        }
        for figure in PAIRED_FIGURES
    ]


def _common(a: Scores, b: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Return bool masks over the trials of `a` and of `b`: those that both scored, in the same order."""
    all_a = np.ones(a.score_K.size, bool) if a.kept_K is None else a.kept_K
    all_b = np.ones(b.score_K.size, bool) if b.kept_K is None else b.kept_K
    common = all_a & all_b
    return common[all_a], common[all_b]


# -- identification ----------------------------------------------------------------------------------------


def identification(data: EvaluationData, scores: Scores) -> dict[str, Any] | None:
    """Return how well the probes (right) find their speakers among the enrolled ones (left).

    "top_1" and "top_5" are shares of the probes of enrolled speakers. For "fnir" every probe is also searched
    as a stranger, without its own speaker's enrollment: "fpir" is the share of strangers taken for someone,
    the largest up to 1 % that a threshold gives, and "fnir" the share of enrolled people missed at it (None
    where there are too few probes to tell 1 % from 0). None where not every probe met every enrolled
    speaker, or a speaker is enrolled twice, or there are fewer than three.
    """
    speaker_N = data.speakers()
    enrolled_N, column_K = np.unique(scores.left_K, return_inverse=True)
    probe_Q, row_K = np.unique(scores.right_K, return_inverse=True)
    who_N, who_Q = speaker_N[enrolled_N], speaker_N[probe_Q]
    whole = scores.score_K.size == enrolled_N.size * probe_Q.size
    if not whole or enrolled_N.size < 3 or np.unique(who_N).size < who_N.size:
        return None
    score_QN = np.full((probe_Q.size, enrolled_N.size), np.nan, dtype=scores.score_K.dtype)
    score_QN[row_K, column_K] = scores.score_K
    if np.isnan(score_QN).any():  # a pair came twice, so another never came
        return None
    found = searches(score_QN, who_Q, who_N)
    if not found.rank_M.size:
        return None
    score_QN[who_Q[:, None] == who_N] = -np.inf  # now each probe is a stranger
    asked = Searches(found.mate_M, found.rank_M, score_QN.max(axis=1), found.enrolled)
    at = asked.fnir_at_fpir(FPIR)
    tops = {f"top_{rank}": found.top_k(rank) for rank in RANKS if rank <= found.enrolled}
    return {
        "enrolled": found.enrolled,
        "probes": int(probe_Q.size),
        **tops,
        "fnir": at.fnir if at.resolved else None,
        "fpir": at.fpir if at.resolved else None,
    }
