"""One loop that turns a recipe and prepared speech into a model folder."""

from voxid.training.folder import refuse_to_spoil
from voxid.training.loop import TrainResult, check_init, check_recipe, initial_model, train
from voxid.training.plan import Plan, make_plan
from voxid.training.recipe import Recipe, load_recipe
from voxid.training.soup import average_models

__all__ = [
    "Plan",
    "Recipe",
    "TrainResult",
    "average_models",
    "check_init",
    "check_recipe",
    "initial_model",
    "load_recipe",
    "make_plan",
    "refuse_to_spoil",
    "train",
]
