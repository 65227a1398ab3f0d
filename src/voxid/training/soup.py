"""The mean of the weights of several models: what an ensemble knows, in one network.

Models that were fine-tuned from the same weights, in different ways, lie close enough together that the mean
of their weights is a good model too, and often a better one (Wortsman et al. 2022, "Model soups: averaging
weights of multiple fine-tuned models improves accuracy without increasing inference time").
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from voxid.embed import find_model
from voxid.errors import BadConfig, CheckpointMismatch, ModelError, RunExists
from voxid.model.network import Model
from voxid.training.folder import refuse_to_spoil
from voxid.training.start import differences, lessons_of

StrPath = str | os.PathLike[str]


def average_models(models: Sequence[StrPath], out: StrPath, *, name: str = "average") -> Model:
    """Write the model whose weights are the mean of those of `models` into the folder `out`, and return it.

    `models` are folders or shipped names, two or more; one that is named twice weighs twice. Features,
    encoder and inference have to be the same, option by option. The mean has no calibration: scores of other
    weights are other scores. What each model was trained on is kept in its metadata, so that `calibrate`
    knows it. Means of models that began with other weights, or of unlike trainings, may be worthless: measure
    them on speakers that are held out.

    Where `out` holds that very mean already, it stays as it is, with a calibration that it may have by now.

    Raise BadConfig for fewer than two models, UnknownModel, BadModel, CheckpointMismatch that names what
    differs, RunExists when `out` holds anything else, or an OutputError.

    Example: `average_models(["runs/seed-0", "runs/seed-1"], "runs/mean")`
    """
    if len(models) < 2:
        raise BadConfig(f"a mean of models takes two or more, got {len(models)}.")
    folders = [find_model(source) for source in models]
    first, *others = loaded = [Model.load(folder) for folder in folders]
    for folder, model in zip(folders[1:], others, strict=True):
        _need_alike(first, folders[0], model, folder)
    mean = {key: _mean([model.state_dict()[key] for model in loaded]) for key in first.state_dict()}
    made = Model(first.tables["features"], first.tables["encoder"], first.inference, None, {})
    made.load_state_dict(mean)
    made.metadata = {
        "name": name,
        "average": [lessons_of(model, folder) for model, folder in zip(loaded, folders, strict=True)],
    }
    try:
        refuse_to_spoil(Path(out), resume=False)
    except RunExists:
        if (there := _same_model(Path(out), made)) is None:
            raise RunExists(
                f"{out} holds another model or a run already. Choose another folder, or delete it."
            ) from None
        return there
    made.eval().save(Path(out))
    return made


def _same_model(folder: Path, made: Model) -> Model | None:
    """Return the model of `folder` if it is `made`, calibrated or not; None if it is another, or no model."""
    try:
        there = Model.load(folder)
    except ModelError:
        return None
    return there if there.fingerprint == made.fingerprint else None


def _mean(values: list[Tensor]) -> Tensor:
    """Return the mean in the tensors' own type; counters of batches come out as whole numbers."""
    return torch.stack([value.double() for value in values]).mean(dim=0).to(values[0].dtype)


def _need_alike(first: Model, where: Path, other: Model, there: Path) -> None:
    found: list[str] = [
        f"{table}.{key} is {theirs!r} in {there} and {ours!r} in {where}"
        for table in ("features", "encoder")
        for key, theirs, ours in differences(other.tables[table], first.tables[table])
    ]
    if other.inference != first.inference:
        theirs, ours = other.inference.model_dump(), first.inference.model_dump()
        found.append(f"inference is {theirs} in {there} and {ours} in {where}")
    if found:
        raise CheckpointMismatch(
            f"these models have no mean: {'; '.join(found)}. Take models of one recipe, best such that were "
            "trained on from the same weights (--init)."
        )
