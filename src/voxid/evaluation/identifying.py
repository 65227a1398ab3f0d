"""Identification from trials of enrolled speakers: who is it, and is it anyone we know?

# K trials, Q probes, N enrolled speakers
"""

from __future__ import annotations

from typing import Any

import numpy as np

from voxid.evaluation.groups import Judged
from voxid.metrics import Searches, searches
from voxid.trials.data import EvaluationData

RANKS = (1, 5)
FPIR = 0.01


def identification(data: EvaluationData, judged: Judged) -> dict[str, Any] | None:
    """Return how well the probes (right) find their speakers among the enrolled ones (left).

    "top_1" and "top_5" are shares of the probes of enrolled speakers. For "fnir" every probe is also searched
    as a stranger, without its own speaker's enrollment: "fpir" is the share of strangers taken for someone,
    the largest up to 1 % that a threshold gives, and "fnir" the share of enrolled people missed at it (None
    where there are too few probes to tell 1 % from 0). None where not every probe met every enrolled
    speaker, or a speaker is enrolled twice, or there are fewer than three.
    """
    speaker_N = data.speakers()
    enrolled_N, column_K = np.unique(judged.left_K, return_inverse=True)
    probe_Q, row_K = np.unique(judged.right_K, return_inverse=True)
    who_N, who_Q = speaker_N[enrolled_N], speaker_N[probe_Q]
    whole = judged.score_K.size == enrolled_N.size * probe_Q.size
    if not whole or enrolled_N.size < 3 or np.unique(who_N).size < who_N.size:
        return None
    score_QN = np.full((probe_Q.size, enrolled_N.size), np.nan, dtype=judged.score_K.dtype)
    score_QN[row_K, column_K] = judged.score_K
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
