"""How good is a model? Trials -> embeddings -> scores -> error rates, figures and a report."""

from voxid.evaluation.all_pairs import all_pairs_histogram
from voxid.evaluation.calibrating import Calibrated, calibrate
from voxid.evaluation.report.values import ModelReport, Report
from voxid.evaluation.run import evaluate
from voxid.evaluation.score_report import measure_scores
from voxid.trials import Trials, make_trials
from voxid.trials.data import EvaluationData, read_data

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
