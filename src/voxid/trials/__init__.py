"""Which utterance is compared with which: made from the data by a seed, read from a list, written to one."""

from voxid.trials.doubting import doubts
from voxid.trials.lists import FORMATS, read_models, read_trials
from voxid.trials.specs import make_trials, read_spec
from voxid.trials.values import Models, Trials
from voxid.trials.writing import WRITTEN, write_trials

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
    "write_trials",
]
