"""How good is a model? Trials -> embeddings -> scores -> error rates, figures and a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voxid.lazy import names

if TYPE_CHECKING:
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

__getattr__ = names(
    __name__,
    {  # calibrating needs neither plots nor pages
        "Calibrated": "voxid.evaluation.calibrating",
        "EvaluationData": "voxid.trials.data",
        "ModelReport": "voxid.evaluation.report.values",
        "Report": "voxid.evaluation.report.values",
        "Trials": "voxid.trials",
        "all_pairs_histogram": "voxid.evaluation.all_pairs",
        "calibrate": "voxid.evaluation.calibrating",
        "evaluate": "voxid.evaluation.run",
        "make_trials": "voxid.trials",
        "measure_scores": "voxid.evaluation.score_report",
        "read_data": "voxid.trials.data",
    },
)
