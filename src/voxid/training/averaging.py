"""Means of weights: over the steps of a training, and over models that were trained on from the same one.

Both are quieter than the weights they are made of, and often better: Izmailov et al. 2018, "Averaging weights
leads to wider optima and better generalization"; Wortsman et al. 2022, "Model soups: averaging weights of
multiple fine-tuned models improves accuracy without increasing inference time".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from voxid.config import Config
from voxid.embed import find_model
from voxid.errors import BadConfig, ModelError, RunExists
from voxid.model.network import Model

CHANGES_NO_WEIGHT = {"dropout", "pause_db"}  # options that may differ: a training gets used to them
StrPath = str | os.PathLike[str]


class AverageConfig(Config):
    """Which weights the saved model has: a mean over steps of each stage."""

    kind: Literal["ema", "last"] = "ema"
    decay: float = Field(default=0.999, gt=0, lt=1)  # of ema: what a step leaves of the mean before it
    snapshots: int = Field(default=10, ge=1)  # of last: how many, the last at the stage's end
    every: float = Field(default=1.0, gt=0)  # of last: from one to the next, in `unit`
    unit: Literal["steps", "epochs"] = "epochs"


class Average:
    """A running mean of a module's weights over the steps of one stage, buffers and all.

    "ema": mean = decay * mean + (1 - decay) * weights after each step; the first steps count for more, as
    decay is at most (1 + n) / (10 + n) in the n-th. "last": the plain mean of the last `snapshots`, kept as
    one running mean. What is no float (a counter) is the last one's.

    `steps` are those of the stage, `mean` and `count` what a checkpoint has to hold.

    >>> encoder = nn.Linear(1, 1, bias=False)
    >>> average = Average(AverageConfig(kind="last", snapshots=2, every=1, unit="steps"), encoder, 3, 1)
    >>> for step, value in enumerate([5.0, 1.0, 2.0], start=1):
    ...     _ = encoder.weight.data.fill_(value)
    ...     average.update(step)
    >>> average.weights["weight"]
    tensor([[1.5000]])
    """

    def __init__(self, config: AverageConfig, module: nn.Module, steps: int, steps_per_epoch: int) -> None:
        self.config, self.module = config, module
        self.every = max(1, round(config.every * (steps_per_epoch if config.unit == "epochs" else 1)))
        fit = (steps - 1) // self.every  # snapshots before the last one, as far as the stage has room for
        self.first = steps - min(config.snapshots - 1, fit) * self.every
        self.count = 0
        self.mean: dict[str, Tensor] = {}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take the weights after `step` steps of the stage into account."""
        if self.config.kind == "last" and (step < self.first or (step - self.first) % self.every):
            return
        now = self.module.state_dict()
        if not self.count:
            self.load(1, now)
            return
        if self.config.kind == "ema":
            share = 1 - min(self.config.decay, (1 + self.count) / (10 + self.count))
        else:
            share = 1 / (self.count + 1)
        for name, value in now.items():
            if value.is_floating_point():
                self.mean[name].lerp_(value, share)
            else:
                self.mean[name].copy_(value)
        self.count += 1

    @property
    def weights(self) -> dict[str, Tensor]:
        """The mean as a state dict of the module; the module's own weights while nothing is averaged."""
        return self.mean if self.count else self.module.state_dict()

    def load(self, count: int, mean: dict[str, Tensor]) -> None:
        """Go on from the mean of a checkpoint; it is copied."""
        now = self.module.state_dict()
        self.count = count
        self.mean = {name: value.detach().to(now[name].device, copy=True) for name, value in mean.items()}


def average_models(models: Sequence[StrPath], out: StrPath, *, name: str = "average") -> Model:
    """Write the model whose weights are the mean of those of `models` into the folder `out`, and return it.

    `models` are folders or shipped names, two or more; one that is named twice weighs twice. Features,
    encoder and inference have to be the same, option by option. The mean has no calibration: scores of other
    weights are other scores. What each model was trained on is kept in its metadata, so that `calibrate`
    knows it. Means of models that began with other weights, or of unlike trainings, may be worthless: measure
    them on speakers that are held out.

    Where `out` holds that very mean already, it stays as it is, with a calibration that it may have by now.

    Raise BadConfig for fewer than two models, UnknownModel, BadModel, ModelError that names what
    differs, RunExists when `out` holds anything else, or an OutputError.

    >>> from voxid.training import initial_model, load_recipe
    >>> for name in ("one", "two"):
    ...     initial_model(load_recipe("demo")).save(name)
    >>> average_models(["one", "two"], "mean").dim == voxid.load("one").dim
    True
    """
    if len(models) < 2:
        raise BadConfig(f"a mean of models takes two or more, got {len(models)}.")
    folders, out = [find_model(source) for source in models], Path(out)
    first, *others = loaded = [Model.load(folder) for folder in folders]
    for folder, model in zip(folders[1:], others, strict=True):
        _need_alike(first, folders[0], model, folder)
    made = Model(first.tables["features"], first.tables["encoder"], first.inference)
    states = [model.state_dict() for model in loaded]
    made.load_state_dict({key: _mean([state[key] for state in states]) for key in states[0]})
    parts = [lessons_of(model, folder) for model, folder in zip(loaded, folders, strict=True)]
    made.metadata = {"name": name, "average": parts}
    if out.is_dir() and any(out.iterdir()):
        with suppress(ModelError):
            if (there := Model.load(out)).fingerprint == made.fingerprint:
                return there
        raise RunExists(
            f"{out} holds another model, or other files, already. Choose another folder, or delete it."
        )
    made.eval().save(out)
    return made


def _mean(values: list[Tensor]) -> Tensor:
    """Return the mean in the tensors' own type; counters of batches come out as whole numbers."""
    return torch.stack([value.double() for value in values]).mean(dim=0).to(values[0].dtype)


def _need_alike(first: Model, where: Path, other: Model, there: Path) -> None:
    found = differences(other, f"in {there}", first, f"in {where}")
    if other.inference != first.inference:
        theirs, ours = other.inference.model_dump(), first.inference.model_dump()
        found.append(f"inference is {theirs} in {there} and {ours} in {where}")
    if found:
        raise ModelError(
            f"these models have no mean: {'; '.join(found)}. Take models of one recipe, best such that were "
            "trained on from the same weights (--init)."
        )


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
