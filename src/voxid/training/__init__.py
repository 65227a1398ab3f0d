"""A recipe and speech in, a model folder out: `train.py` is the experiment, top to bottom."""

from voxid.training.averaging import average_models
from voxid.training.recipe import Recipe, load_recipe
from voxid.training.stages import Plan
from voxid.training.start import initial_model, make_plan
from voxid.training.train import TrainResult, train

__all__ = [
    "Plan",
    "Recipe",
    "TrainResult",
    "average_models",
    "initial_model",
    "load_recipe",
    "make_plan",
    "train",
]
