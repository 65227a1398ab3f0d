"""Which utterance is compared with which: made from the data by a seed, read from a list, written to one."""

from voxid.trials.lists import WRITTEN, doubts, read_models, read_trials, write_trials
from voxid.trials.scorefiles import ScoreFile, read_scores
from voxid.trials.specs import make_trials, read_spec
from voxid.trials.values import Models, Trials

__all__ = [
    "WRITTEN",
    "Models",
    "ScoreFile",
    "Trials",
    "doubts",
    "make_trials",
    "read_models",
    "read_scores",
    "read_spec",
    "read_trials",
    "write_trials",
]
