"""From the scores of a system to its figures.

# N utterances of the data, K trials
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from voxid import metrics
from voxid.errors import BadScores
from voxid.evaluation.groups import Judged, groups, hardest, worst
from voxid.evaluation.identifying import identification
from voxid.evaluation.report.values import ModelReport
from voxid.trials.data import EvaluationData
from voxid.types import Dropped

FARS = (0.01, 0.001, 0.0001)


@dataclass(frozen=True, eq=False)
class System:
    """What is measured: scores on trials, and what is known of where they come from.

    `left_K`, `right_K` are int32 numbers of utterances, `same_K` bool, `score_K` float. `llr_K` are
    calibrated natural-log likelihood ratios, None where there is no calibration. `speech_s_N` are the seconds
    heard of each utterance, NaN where unknown. `kept_K` marks, among the trials of the whole list, those that
    are here; None: all.
    """

    name: str
    left_K: np.ndarray
    right_K: np.ndarray
    same_K: np.ndarray
    score_K: np.ndarray
    llr_K: np.ndarray | None
    speech_s_N: np.ndarray
    kept_K: np.ndarray | None = None
    enrolled: bool = False  # the left sides are enrolled speakers
    scoring: str = "cosine"
    folder: str = ""
    fingerprint: str = ""
    inference: str = ""
    calibration: dict[str, Any] | None = None
    utterances: int = 0
    trials_lost: int = 0
    left_out: list[Dropped] = field(default_factory=list)
    no_score: int = 0  # trials that whoever scored them gave no number
    full_sequence: int = 0
    from_cache: int = 0
    embed_s: float = 0.0
    score_s: float = 0.0


def measure(
    system: System, data: EvaluationData, intervals: dict[str, list[float]], with_grid: bool = False
) -> ModelReport:
    """Return the figures of a system; `intervals` are those of `confidence.of_systems`."""
    scores, same, llrs = system.score_K, system.same_K, system.llr_K
    rate, threshold = metrics.eer(scores, same)
    grid = _grid(scores, same) if with_grid else None
    judged = Judged(system.left_K, system.right_K, same, scores, threshold, llrs)
    targets = int(np.count_nonzero(same))
    return ModelReport(
        model=system.name,
        folder=system.folder,
        fingerprint=system.fingerprint,
        inference=system.inference,
        scoring=system.scoring,
        eer=rate,
        eer_threshold=threshold,
        eer_error_bound=0.0,
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
        trials=int(scores.size),
        targets=targets,
        nontargets=int(scores.size) - targets,
        trials_lost=system.trials_lost,
        utterances=system.utterances,
        left_out=count_reasons(system.left_out) | ({"no_score": system.no_score} if system.no_score else {}),
        full_sequence=system.full_sequence,
        identification=identification(data, judged) if system.enrolled else None,
        groups=groups(data, judged, system.speech_s_N),
        hardest=hardest(data, judged),
        worst=worst(data, judged),
        embed_s=round(system.embed_s, 3),
        score_s=round(system.score_s, 3),
        from_cache=system.from_cache,
    )


def count_reasons(left_out: Iterable[Dropped]) -> dict[str, int]:
    """Return how many recordings were left out for each reason."""
    return dict(Counter(dropped.reason for dropped in left_out))


def _frr(scores: np.ndarray, same: np.ndarray, far: float) -> float | None:
    point = metrics.frr_at_far(scores, same, far)
    return point.frr if point.resolved else None


def _grid(scores: np.ndarray, same: np.ndarray) -> metrics.Eer | None:
    try:
        return metrics.eer_grid(scores, same)
    except BadScores:  # every score is outside the grid; the exact EER stands beside it
        return None
