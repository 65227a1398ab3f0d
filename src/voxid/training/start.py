"""Start from a model that is trained already: fine-tuning, and going on with other data or another loss."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from voxid.data.batches import Batches
from voxid.embed import find_model
from voxid.errors import ModelError
from voxid.model.network import Model, misfits

CENTER_WINDOWS, CENTER_FRAMES = 2, 200  # of each class, to begin with
CHANGES_NO_WEIGHT = {"dropout", "pause_db"}  # options that may differ: a training gets used to them


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


def lessons_of(model: Model, folder: Path) -> dict[str, Any]:
    """Return a model's name and fingerprint, and what it and those it came from were trained on."""
    came_from = ("training_data", "init", "average")
    kept = {key: model.metadata[key] for key in came_from if model.metadata.get(key)}
    return {"name": model.metadata.get("name", folder.name), "fingerprint": model.fingerprint, **kept}


def differences(one: Model, there: object, other: Model, here: object) -> list[str]:
    """Return in words where the weights of two models cannot be the same: their features and encoders."""
    found = []
    for table in ("features", "encoder"):
        theirs, ours = one.tables[table], other.tables[table]
        keys = ["name"] if theirs["name"] != ours["name"] else sorted(theirs.keys() | ours.keys())
        found += [
            f"{table}.{key} is {theirs.get(key)!r} {there} and {ours.get(key)!r} {here}"
            for key in keys
            if theirs.get(key) != ours.get(key) and key not in CHANGES_NO_WEIGHT
        ]
    return found
