"""How sure the figures are: intervals by resampling speakers, and "is A better than B" on common trials.

# K trials
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from voxid import metrics
from voxid.errors import BadScores
from voxid.evaluation.measure import System
from voxid.trials.data import EvaluationData

LEVEL = 0.95
RESAMPLES = 1000
PAIRED_FIGURES = ("eer", "min_dcf")
FRR = "frr_at_far_"  # followed by the FAR; with fewer non-target trials than 1 / FAR it is not resolved


@dataclass(frozen=True)
class Confidence:
    """Intervals of each system (figure -> [low, high]), the paired tests, and how they were made."""

    intervals: list[dict[str, list[float]]]
    paired: list[dict[str, Any]]
    how: dict[str, Any]


def of_systems(
    systems: Sequence[System], data: EvaluationData, *, resamples: int = RESAMPLES, seed: int = 0
) -> Confidence:
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


def _intervals(system: System, speaker_N: np.ndarray, options: dict[str, Any]) -> dict[str, list[float]]:
    found = metrics.intervals(
        system.score_K,
        system.same_K,
        speaker_N[system.left_K],
        speaker_N[system.right_K],
        llrs=system.llr_K,
        **options,
    )
    nontargets = int(np.count_nonzero(~system.same_K))
    return {
        figure: [interval.low, interval.high]
        for figure, interval in found.items()
        if not figure.startswith(FRR) or float(figure.removeprefix(FRR)) * nontargets >= 1
    }


def _paired(a: System, b: System, speaker_N: np.ndarray, options: dict[str, Any]) -> list[dict[str, Any]]:
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


def _common(a: System, b: System) -> tuple[np.ndarray, np.ndarray]:
    """Return bool masks over the trials of `a` and of `b`: those that both scored, in the same order."""
    all_a = np.ones(a.score_K.size, bool) if a.kept_K is None else a.kept_K
    all_b = np.ones(b.score_K.size, bool) if b.kept_K is None else b.kept_K
    common = all_a & all_b
    return common[all_a], common[all_b]
