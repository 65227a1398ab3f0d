"""What a training begins with: first weights and their loss, or a model that is trained already."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from voxid.augment.clips import find
from voxid.data.batches import Batches
from voxid.data.pack import Packed
from voxid.data.samplers import groups_of
from voxid.embed import find_model
from voxid.errors import BadRecipe, ModelError
from voxid.losses import LOSSES
from voxid.losses.shards import Ranks
from voxid.model.network import Model, misfits
from voxid.training.averaging import differences, lessons_of
from voxid.training.recipe import Recipe
from voxid.training.stages import Plan, Stage, make_stages, most_classes
from voxid.training.step import check_precision, memory_advice

CENTER_WINDOWS, CENTER_FRAMES = 2, 200  # of each class, to begin with


def initial_model(recipe: Recipe) -> Model:
    """Return the model a training of `recipe` starts from; the same seed gives the same weights.

    >>> from voxid.training import load_recipe
    >>> initial_model(load_recipe("demo")).dim
    128
    """
    advice = "Make it smaller: lower the sizes in [encoder]."
    need = f"the encoder {recipe.encoder['name']!r} itself"
    with torch.random.fork_rng(devices=[]), memory_advice("this machine", need, advice):
        torch.manual_seed(recipe.training.seed)
        model = Model(recipe.features, recipe.encoder, recipe.inference)
    model.metadata = {"name": recipe.name, "recipe": recipe.model_dump(mode="json"), "steps": 0}
    return model


def make_plan(recipe: Recipe, packed: Packed) -> Plan:
    """Return the plan of training `recipe` on `packed`; raise NotEnoughSpeakers or BadRecipe.

    >>> from voxid.data.prepare import ensure_prepared
    >>> from voxid.training import load_recipe
    >>> make_plan(load_recipe("demo"), Packed.open(ensure_prepared("people"))).utterances
    12
    """
    model = initial_model(recipe)
    stages = make_stages(recipe, packed, model)
    return Plan.of(recipe, packed, model, first_loss(recipe, stages, model.dim), stages)


def first_loss(recipe: Recipe, stages: list[Stage], dim: int) -> nn.Module:
    """Return the loss with its first weights; the caller's random state neither matters nor moves."""
    loss_class, loss_config = LOSSES.parse(recipe.loss, "loss")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        loss = loss_class(loss_config, dim, most_classes(stages))
    if not hasattr(loss, "active"):
        raise BadRecipe(
            f"the loss {recipe.loss['name']!r} has no `active`: the share of a batch that is still wrong, 0 "
            "to 1. Set self.active = torch.zeros(()) in __init__, and its value in forward."
        )
    if (rivals := getattr(loss_config, "rivals", "all")) != "all":
        loss.set_groups(torch.from_numpy(groups_of(stages[0].batches.packed, rivals == "language")))
    return loss


def check_parts(recipe: Recipe, model: Model, device: torch.device, ranks: Ranks) -> list[str]:
    """Raise what is wrong with `recipe` on these machines, whatever the speech; return warnings."""
    check_precision(model.encoder, model.features.dim, recipe.training.precision, device)
    parts = recipe.training.parts
    if parts > 1 and any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules()):
        raise BadRecipe(
            f"training.parts is {parts}, and the encoder {recipe.encoder['name']!r} has "
            "dropout: its threads would draw from one source in turn. Set encoder.dropout to 0, or "
            "training.parts to 1."
        )
    for kind in ("noise", "music", "babble", "rir"):  # looked for now, read after the speech
        if recipe.augment is not None and getattr(recipe.augment, f"{kind}_prob") > 0:
            find(getattr(recipe.augment, kind), kind)
    if parts > 1 and recipe.training.accumulate > 1:
        raise BadRecipe(
            f"training.accumulate is {recipe.training.accumulate} and training.parts {parts}: one of them "
            "has to be 1."
        )
    if ranks.world == 1:
        return []
    if parts > 1 and parts % ranks.world:
        raise BadRecipe(
            f"training.parts is {parts}, and cannot be divided between {ranks.world} processes. Set it to a "
            f"multiple of {ranks.world}, or start another number of processes."
        )
    if parts == 1 and any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in model.modules()):
        return [
            f"each of the {ranks.world} processes normalises its own rows, as training.parts={ranks.world} "
            "does in one process. For the same numbers with any number of processes, set training.parts"
        ]
    return []


def start_from(model: Model, source: str | os.PathLike[str]) -> dict[str, Any]:
    """Give `model` the encoder's weights of `source`, a folder or a shipped name; return what to remember.

    That is its name, its fingerprint, and what it was trained on itself. Features and encoder have to be the
    same, option by option; the loss is not part of a model folder and starts afresh. Raise UnknownModel,
    BadModel, or ModelError that names what differs.
    """
    folder = find_model(source)
    found = Model.load(folder)
    different = differences(found, "there", model, "here")
    if not different and (problem := misfits(model.encoder.state_dict(), found.encoder.state_dict())):
        different = [problem]
    if different:
        raise ModelError(
            f"cannot start from {folder}: {'; '.join(different)}. Weights fit features and encoder of the "
            "same options only. Set the recipe's to the model's (--set encoder.KEY=VALUE), or take the "
            "recipe the model was trained with: the recipe.toml in its run folder."
        )
    model.encoder.load_state_dict(found.encoder.state_dict())
    return lessons_of(found, folder)


@torch.no_grad()
def class_centers(model: Model, batches: Batches) -> Tensor:
    """Return for each class of a training the mean embedding of some of its speaker's windows (C, D).

    A loss over classes starts there, where otherwise the encoder would unlearn while random centres find
    their places: in a training of few passes they never do.
    """
    center_CD = torch.zeros(batches.classes, model.dim)
    was = model.encoder.training
    model.eval()
    for class_B, wave_BS in batches.of_classes(CENTER_WINDOWS, CENTER_FRAMES):
        device = next(model.encoder.parameters()).device
        emb_BD = model.encoder(model.features(wave_BS.to(device))).float().cpu()
        center_CD.index_add_(0, torch.from_numpy(class_B), nn.functional.normalize(emb_BD))
    model.encoder.train(was)
    return nn.functional.normalize(center_CD)
