"""From embeddings to scores, and from scores to calibrated log-likelihood ratios. No torch."""

from voxid.scoring.calibration import (
    MEASURES,
    Calibration,
    CalibrationSet,
    EnrollmentTerm,
    QualityTerm,
    fit,
)
from voxid.scoring.cohort import Cohort, CohortInfo
from voxid.scoring.evidence import Side, check_measures, llr, qualities, reference
from voxid.scoring.impostors import Impostors, speaker_pairs
from voxid.scoring.scorers import SCORERS, FittedScorer, Scorer, make_scorer
from voxid.scoring.similarity import cosine, cosine_of_pairs, unit_rows

__all__ = [
    "MEASURES",
    "SCORERS",
    "Calibration",
    "CalibrationSet",
    "Cohort",
    "CohortInfo",
    "EnrollmentTerm",
    "FittedScorer",
    "Impostors",
    "QualityTerm",
    "Scorer",
    "Side",
    "check_measures",
    "cosine",
    "cosine_of_pairs",
    "fit",
    "llr",
    "make_scorer",
    "qualities",
    "reference",
    "speaker_pairs",
    "unit_rows",
]
