"""Checkpoints: all that a training needs to go on as if it had never stopped."""

from __future__ import annotations

import hashlib
import io
import pickle
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from voxid.errors import BadCheckpoint, BadConfig, CheckpointMismatch
from voxid.files import atomic_write
from voxid.training.recipe import Recipe, complete

FORMAT = 1

# What may differ between a checkpoint and the training that goes on from it: none of it changes a step.
FREE = {"name", "description", "published_eer", "trained_on", "inference", "whitening"}
FREE_TRAINING = {"max_seconds", "save_every", "keep", "threads", "loaders", "valid_every"}


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps. `loss_sum`, `active_sum`, `pending` belong to the unfinished log line."""

    step: int
    seconds: float  # of training time, over all the runs it took
    encoder: dict[str, Any]
    loss: dict[str, Any]
    optimizer: dict[str, Any]
    recipe: dict[str, Any]
    data: str  # fingerprint of the prepared speech
    loss_sum: float = 0.0
    active_sum: float = 0.0
    pending: int = 0  # steps since the last log line
    average: dict[str, Any] = field(default_factory=dict)  # running mean of the weights of this stage ...
    averaged: int = 0  # ... and how many it is of
    init: dict[str, Any] = field(default_factory=dict)  # the model the training started from, if any
    torch_version: str = str(torch.__version__)

    def save(self, folder: Path, keep: int) -> Path:
        """Write it into `folder`, whole or not at all, and delete all but the newest `keep`.

        Raise DiskFull, NotWritable or OutputError; the checkpoints from before are then untouched.
        """
        content = asdict(self)
        path = folder / f"step-{self.step:08d}.pt"
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, "sha256": _digest(content), "content": content}, buffer)
        with atomic_write(path) as file:
            file.write(buffer.getbuffer())
        for old in _newest_first(folder)[keep:]:
            with suppress(OSError):
                old.unlink()
        return path


def load_checkpoint(path: Path) -> Checkpoint:
    """Return the checkpoint in `path`, on the CPU; nothing in it is run. Raise BadCheckpoint."""
    try:
        file = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first_line = str(error).partition("\n")[0]
        raise BadCheckpoint(f"{path} is not a readable checkpoint ({first_line}).") from error
    if not isinstance(file, dict) or file.get("format") != FORMAT:
        raise BadCheckpoint(
            f"{path} is not a checkpoint of this voxid: it lacks the mark of format {FORMAT}."
        )
    if file.get("sha256") != _digest(file.get("content")):
        raise BadCheckpoint(f"{path} is damaged: its content does not have its checksum.")
    return Checkpoint(**file["content"])


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest readable checkpoint of `folder` (or None), and a warning for each damaged one.

    Raise BadCheckpoint when there are checkpoints and none can be read.
    """
    warnings = []
    paths = _newest_first(folder)
    for path in paths:
        try:
            return load_checkpoint(path), warnings
        except BadCheckpoint as error:
            warnings.append(f"{error} Going on from the one before it.")
    if paths:
        raise BadCheckpoint(
            f"none of the {len(paths)} checkpoints in {folder} can be read. "
            "Start again in another folder, or delete this one."
        )
    return None, warnings


def check_matches(checkpoint: Checkpoint, recipe: Recipe, data: str) -> None:
    """Raise CheckpointMismatch, naming each key, when going on would mix two trainings."""
    free = FREE_TRAINING | ({"steps"} if recipe.open_ended else set())
    then, now = (_steering(r, free) for r in (_whole(checkpoint.recipe), recipe.model_dump(mode="json")))
    different = [
        f"{key} was {then.get(key)!r}, now it is {now.get(key)!r}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]
    if data != checkpoint.data:
        different.append(f"the training data had fingerprint {checkpoint.data[:12]}, now it has {data[:12]}")
    if recipe.open_ended and recipe.training.steps < checkpoint.step:
        different.append(f"training.steps is {recipe.training.steps}, and {checkpoint.step} are done already")
    if different:
        more = " (training.steps may be raised)" if recipe.open_ended else ""
        raise CheckpointMismatch(
            f"cannot go on from step {checkpoint.step}: {'; '.join(different)}. Use the recipe and data the "
            f"training was started with{more}, or another output folder."
        )


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.pt"), reverse=True)


def _steering(recipe: dict[str, Any], free: set[str]) -> dict[str, Any]:
    """Return the recipe's options that decide what a step does, flat: {"optimizer.lr": 1e-4, ...}.

    `free` are the options of [training] that do not.
    """
    flat = {}
    for table, value in recipe.items():
        if table in FREE:
            continue
        for key, option in value.items() if isinstance(value, dict) else [("", value)]:
            if table != "training" or key not in free:
                flat[f"{table}.{key}".rstrip(".")] = option
    return flat


def _whole(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe as it would be written today: options it did not know have their defaults."""
    try:
        return complete(Recipe.parse(recipe, "recipe")).model_dump(mode="json")
    except BadConfig:  # of a voxid that knew other options: they show up as differences
        return recipe


def _digest(content: Any) -> str:
    """Return the sha256 (hex) of nested dicts, lists, tensors and plain values."""
    digest = hashlib.sha256()

    def feed(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            digest.update(f"{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key, inner in value.items():
                digest.update(f"{key!r}:".encode())
                feed(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                feed(inner)
                digest.update(b",")
        else:
            digest.update(repr(value).encode())

    feed(content)
    return digest.hexdigest()
