"""How good is a model? Trials -> embeddings -> scores -> error rates, figures and a report."""

from voxid.evaluation.calibrating import Calibrated, calibrate
from voxid.evaluation.data import EvaluationData, read_data
from voxid.evaluation.report import ModelReport, Report
from voxid.evaluation.run import evaluate
from voxid.evaluation.score_report import measure_scores
from voxid.evaluation.streaming import all_pairs_histogram
from voxid.evaluation.trials import Trials, make_trials

__all__ = [
    "Calibrated",
    "EvaluationData",
    "ModelReport",
    "Report",
    "Trials",
    "all_pairs_histogram",
    "calibrate",
    "evaluate",
    "make_trials",
    "measure_scores",
    "read_data",
]
