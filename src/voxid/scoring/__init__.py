"""From embeddings to scores, and from scores to calibrated log-likelihood ratios. No torch."""

from voxid.scoring.calibration import Calibration, CalibrationSet, fit
from voxid.scoring.similarity import cosine, cosine_of_pairs, unit_rows

__all__ = ["Calibration", "CalibrationSet", "cosine", "cosine_of_pairs", "fit", "unit_rows"]
