"""Which utterance is compared with which: made from the data by a seed, read from a list, written to one."""

from voxid.evaluation.trials.doubting import doubts
from voxid.evaluation.trials.enrolment import with_models
from voxid.evaluation.trials.lists import FORMATS, read_models, read_trials
from voxid.evaluation.trials.specs import make_trials, read_spec
from voxid.evaluation.trials.values import Models, Trials
from voxid.evaluation.trials.writing import WRITTEN, write_trials

__all__ = [
    "FORMATS",
    "WRITTEN",
    "Models",
    "Trials",
    "doubts",
    "make_trials",
    "read_models",
    "read_spec",
    "read_trials",
    "with_models",
    "write_trials",
]
