"""The run folder: where a training keeps its recipe, checkpoints, log and model."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

from voxid.errors import RunExists
from voxid.files import atomic_write, output_error
from voxid.training.checkpoint import Checkpoint, check_matches, newest_checkpoint
from voxid.training.recipe import Recipe
from voxid.training.start import INIT, check_start, remember

CHECKPOINTS = "checkpoints"
CURVE = "training.png"
LOG = "log.jsonl"
RECIPE = "recipe.toml"
OURS = (
    *(RECIPE, INIT, LOG, CHECKPOINTS, CURVE),
    *("config.json", "model.safetensors", "tensorboard", "evaluation"),
)


def refuse_to_spoil(folder: Path, resume: bool) -> None:
    """Raise RunExists or NotWritable for a folder that cannot take a run; it is neither made nor changed."""
    try:
        used = [name for name in OURS if (folder / name).exists()]
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file", str(folder))
    except OSError as error:
        raise output_error(error, folder) from error
    if used and not resume:
        raise RunExists(
            f"{folder} holds a run already ({', '.join(used)}). Go on with it: --resume. "
            "Or choose another folder with -o, or delete this one."
        )


def open_run(
    folder: Path,
    recipe: Recipe,
    data: str,
    resume: bool,
    overwrite: bool,
    init: dict[str, Any] | None = None,
) -> tuple[Checkpoint | None, list[str]]:
    """Make `folder` ready for training `recipe` on the data of that fingerprint, from the model `init`.

    Return the checkpoint to go on from, None to start at step 0, and warnings. With `overwrite` a run that
    is there is deleted. Raise RunExists, CheckpointMismatch, BadCheckpoint, NotWritable or DiskFull.
    """
    checkpoint, warnings = None, []
    used = [name for name in OURS if (folder / name).exists()]
    try:
        if used and overwrite and not resume:
            _delete(folder, used)
        elif used:
            refuse_to_spoil(folder, resume)
            checkpoint, warnings = newest_checkpoint(folder / CHECKPOINTS)
            check_start(folder, init, None if checkpoint is None else checkpoint.init)
            if checkpoint is None:
                warnings.append(f"{folder} has no checkpoint yet: starting at step 0.")
            else:
                check_matches(checkpoint, recipe, data)
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        for partial in [*folder.glob(".*.partial"), *(folder / CHECKPOINTS).glob(".*.partial")]:
            partial.unlink(missing_ok=True)  # of a writer that was killed
    except OSError as error:
        raise output_error(error, folder) from error
    remember(folder, init)
    with atomic_write(folder / RECIPE, "w") as file:
        file.write(recipe.to_toml())
    return checkpoint, warnings


def _delete(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
