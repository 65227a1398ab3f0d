"""From embeddings to scores, and from scores to calibrated log-likelihood ratios. No torch."""

from voxid.scoring.calibration import Calibration, CalibrationSet, fit
from voxid.scoring.scorers import SCORERS, FittedScorer, Scorer, make_scorer
from voxid.scoring.similarity import cosine, cosine_of_pairs, unit_rows

__all__ = [
    "SCORERS",
    "Calibration",
    "CalibrationSet",
    "FittedScorer",
    "Scorer",
    "cosine",
    "cosine_of_pairs",
    "fit",
    "make_scorer",
    "unit_rows",
]
