"""From embeddings to scores, and from scores to calibrated log-likelihood ratios. No torch."""

from voxid.scoring.calibration import Calibration, CalibrationSet, QualityTerm, fit
from voxid.scoring.cohort import Cohort, CohortInfo
from voxid.scoring.enrollments import EnrollmentTerm, mean_direction
from voxid.scoring.impostors import Impostors
from voxid.scoring.quality import MEASURES, Qualities, check_measures, trial_qualities
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
    "Qualities",
    "QualityTerm",
    "Scorer",
    "check_measures",
    "cosine",
    "cosine_of_pairs",
    "fit",
    "make_scorer",
    "mean_direction",
    "trial_qualities",
    "unit_rows",
]
