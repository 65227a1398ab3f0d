"""Error rates of a verifier, from its scores and the truth. Plain numpy; every sweep is vectorised.

Everywhere: a higher score means "more likely the same speaker", a trial is accepted when
`score >= threshold`, and a label is 1 or True for a target trial (one speaker said both utterances), 0 or
False for a non-target trial. FAR is the share of non-target trials that are accepted, FRR the share of target
trials that are rejected. Trials with the same score are accepted or rejected together, never one by one.
"""

from __future__ import annotations

from voxid.metrics.confidence import DecisionRates, Interval, Paired, decision_rates, intervals, paired
from voxid.metrics.histogram import BoundedDcf, BoundedEer, ScoreHistogram
from voxid.metrics.identification import (
    FnirAt,
    OpenSetCurve,
    Searches,
    fnir_at_fpir,
    searches,
    top_k_accuracy,
)
from voxid.metrics.likelihood import Pav, cllr, min_cllr, pav, pav_llr
from voxid.metrics.rates import (
    DCF_01,
    DCF_05,
    Det,
    Eer,
    MinDcf,
    OperatingPoint,
    RatesAt,
    act_dcf,
    det,
    eer,
    eer_grid,
    frr_at_far,
    min_dcf,
    min_dcf_at,
    worse_than_guessing,
)

__all__ = [
    "DCF_01",
    "DCF_05",
    "BoundedDcf",
    "BoundedEer",
    "DecisionRates",
    "Det",
    "Eer",
    "FnirAt",
    "Interval",
    "MinDcf",
    "OpenSetCurve",
    "OperatingPoint",
    "Paired",
    "Pav",
    "RatesAt",
    "ScoreHistogram",
    "Searches",
    "act_dcf",
    "cllr",
    "decision_rates",
    "det",
    "eer",
    "eer_grid",
    "fnir_at_fpir",
    "frr_at_far",
    "intervals",
    "min_cllr",
    "min_dcf",
    "min_dcf_at",
    "paired",
    "pav",
    "pav_llr",
    "searches",
    "top_k_accuracy",
    "worse_than_guessing",
]
