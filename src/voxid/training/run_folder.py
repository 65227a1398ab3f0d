"""The run folder: a training's recipe, log and checkpoints beside its model; made, resumed or refused."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from voxid.data.batches import Batch
from voxid.errors import BadCheckpoint, BadConfig, MissingExtra, ModelError, RunExists
from voxid.files import atomic_write, output_error
from voxid.training.recipe import Recipe, complete

CHECKPOINTS = "checkpoints"
CURVE = "training.png"
LOG = "log.jsonl"
RECIPE = "recipe.toml"
LOCK = ".lock"  # held by the training that is going on
INIT = "init.json"  # there from before the first checkpoint on: the model that the run started from
OURS = (
    *(RECIPE, INIT, LOG, CHECKPOINTS, CURVE),
    *("config.json", "model.safetensors", "tensorboard", "evaluation"),
)
FORMAT = 1  # of checkpoints

# What may differ between a checkpoint and the training that goes on from it: none of it changes a step.
FREE = {"name", "description", "published_eer", "trained_on", "inference", "whitening"}
FREE_TRAINING = {"max_seconds", "save_every", "keep", "threads", "loaders", "valid_every", "accumulate"}


# ---- the folder --------------------------------------------------------------------------------------------


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
    folder: Path, recipe: Recipe, data: str, resume: bool, init: dict[str, Any] | None = None
) -> tuple[Checkpoint | None, list[str]]:
    """Make `folder` ready for training `recipe` on the data of that fingerprint, from the model `init`.

    Return the checkpoint to go on from, None to start at step 0, and warnings. Without `resume`, a run that
    is there is deleted: `refuse_to_spoil` is asked before. Raise ModelError, BadCheckpoint,
    NotWritable or DiskFull.
    """
    checkpoint, warnings = None, []
    used = [folder / name for name in OURS if (folder / name).exists()]
    try:
        if used and resume:
            checkpoint, warnings = newest_checkpoint(folder / CHECKPOINTS)
            _check_start(folder, init, None if checkpoint is None else checkpoint.init)
            if checkpoint is None:
                warnings.append(f"{folder} has no checkpoint yet: starting at step 0.")
            else:
                _check_matches(checkpoint, recipe, data)
        else:
            for path in used:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        for partial in [*folder.glob(".*.partial"), *(folder / CHECKPOINTS).glob(".*.partial")]:
            partial.unlink(missing_ok=True)  # of a writer that was killed
    except OSError as error:
        raise output_error(error, folder) from error
    if init is not None:
        with atomic_write(folder / INIT, "w") as file:
            json.dump({key: init[key] for key in ("name", "fingerprint")}, file, indent=2)
    with atomic_write(folder / RECIPE, "w") as file:
        file.write(recipe.to_toml())
    return checkpoint, warnings


def _check_start(folder: Path, given: dict[str, Any] | None, then: dict[str, Any] | None) -> None:
    """Raise ModelError when a run that is resumed started from another model than the `given` one.

    `then` is what its checkpoint says ({}: from random weights), None without a checkpoint; to resume with
    one, no model has to be given.
    """

    def named(start: dict[str, Any]) -> str:
        return f"{start.get('name')!r} (fingerprint {str(start.get('fingerprint'))[:12]})"

    if then is None:
        then = {}
        with suppress(OSError, ValueError):
            then = dict(json.loads((folder / INIT).read_text(encoding="utf-8")))
        if given is None and then:
            raise ModelError(
                f"{folder} has no checkpoint yet, and started from the model {named(then)}. Give that model "
                "again with --init, or start in another folder."
            )
    if given is not None and given["fingerprint"] != then.get("fingerprint"):
        start = f"from the model {named(then)}" if then else "from random weights"
        raise ModelError(
            f"the run in {folder} started {start}, not from {named(given)}. Leave --init out to go on with "
            "it, or start in another folder."
        )


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Make `folder` and keep every other training out of it; raise RunExists when one is going on there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise output_error(error, folder) from error
    with lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ModuleNotFoundError:  # Windows
            pass
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise RunExists(
                    f"another training is going on in {folder}. Wait for its end, or choose another folder "
                    "with -o."
                ) from error  # else: a file system without locks
        yield


def describe_batch(folder: Path, batch: Batch, names: list[str], **more: Any) -> Path:
    """Write a batch whose loss is no number into `folder`, to be looked at; return the path of the JSON."""
    content = {
        "step": batch.step,
        **more,
        "utterance_numbers": batch.rows_B.tolist(),
        "utterances": [names[number] for number in batch.rows_B],
        "labels": batch.labels_B.tolist(),
        "first_frames": batch.starts_B.tolist(),
    }
    path = folder / f"nonfinite-step-{batch.step:08d}.json"
    with atomic_write(path, "w") as file:
        json.dump(content, file, indent=2)
    given = batch.feat_BTF if batch.wave_BS is None else batch.wave_BS
    assert given is not None
    with atomic_write(path.with_suffix(".npz")) as file:
        np.savez(file, batch=given.numpy(), labels=batch.labels_B.numpy())
    return path


# ---- checkpoints: all that a training needs to go on as if it had never stopped ----------------------------


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


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*.pt"), reverse=True)


def _check_matches(checkpoint: Checkpoint, recipe: Recipe, data: str) -> None:
    """Raise ModelError, naming each key, when going on would mix two trainings."""
    try:  # as it would be written today: options it did not know have their defaults
        written = complete(Recipe.parse(checkpoint.recipe, "recipe")).model_dump(mode="json")
    except BadConfig:  # of a voxid that knew other options: they show up as differences
        written = checkpoint.recipe
    now = recipe.model_dump(mode="json")
    begun = bool(written.get("stage")) and checkpoint.step > written["training"]["steps"]
    may_grow = recipe.open_ended and not begun
    if may_grow:  # stages that have not begun may be others
        written = {**written, "stage": now["stage"]}
    free = FREE_TRAINING | ({"steps"} if may_grow else set())
    then, now = _steering(written, free), _steering(now, free)
    different = [
        f"{key} was {then.get(key)!r}, now it is {now.get(key)!r}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]
    if data != checkpoint.data:
        different.append(f"the training data had fingerprint {checkpoint.data[:12]}, now it has {data[:12]}")
    if may_grow and recipe.training.steps < checkpoint.step:
        different.append(f"training.steps is {recipe.training.steps}, and {checkpoint.step} are done already")
    if different:
        more = " (training.steps may be raised, stages may be added)" if may_grow else ""
        raise ModelError(
            f"cannot go on from step {checkpoint.step}: {'; '.join(different)}. Use the recipe and data the "
            f"training was started with{more}, or another output folder."
        )


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


# ---- the log: one JSON object a line, unbroken across kills and resumes ------------------------------------


@dataclass(frozen=True)
class Row:
    """A line of log.jsonl: means over the steps since the line before."""

    step: int  # steps done
    loss: float
    lr: float
    steps_per_s: float
    seconds: float  # of training time so far
    active: float  # share of the batches still wrong: triplets that violate the margin, rows not recognised
    margin: float | None = None  # of the loss
    valid_eer: float | None = None  # a fraction, where it was measured

    def to_json(self) -> str:
        """Return the row as its line of the file."""
        return json.dumps(asdict(self)) + "\n"


class TrainingLog:
    """Appends rows to `log.jsonl`, and to TensorBoard if asked; `rows` are all rows since step 0.

    Opened at `step`, it first cuts off what a killed run wrote beyond it, a torn last line too. One that does
    not `write` only keeps the rows. Raise OutputError kinds, and MissingExtra when TensorBoard is asked for
    and not installed.
    """

    def __init__(self, folder: Path, step: int, tensorboard: bool = False, write: bool = True) -> None:
        self._board = _open_board(folder / "tensorboard", step) if tensorboard and write else None
        self.path, self.rows, self._file = folder / LOG, [], None
        if not write:
            return
        self.rows = [row for row in read_log(self.path) if row.step <= step]
        with atomic_write(self.path, "w") as file:
            file.writelines(row.to_json() for row in self.rows)
        try:
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise output_error(error, self.path) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def add(self, row: Row) -> None:
        """Append `row`; a reader sees it at once. Raise DiskFull or OutputError."""
        self.rows.append(row)
        if self._file is None:
            return
        try:
            self._file.write(row.to_json())
            self._file.flush()
        except OSError as error:
            raise output_error(error, self.path) from error
        if self._board is not None:
            for name in ("loss", "lr", "steps_per_s", "active", "margin", "valid_eer"):
                if getattr(row, name) is not None:
                    self._board.add_scalar(name, getattr(row, name), row.step)


def read_log(path: Path) -> list[Row]:
    """Return the rows of a log.jsonl; a torn or foreign line, and all after it, is left out."""
    names = {field.name for field in fields(Row)}
    needed = {field.name for field in fields(Row) if field.default is MISSING}
    rows = []
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError), path.open(encoding="utf-8") as file:
        for line in file:
            values = json.loads(line)
            rows.append(Row(**{name: values[name] for name in names if name in values or name in needed}))
    return rows


def _open_board(folder: Path, step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtra(
            "TensorBoard was asked for and is not installed. Install it: pip install 'voxid[tensorboard]'."
        ) from error
    return SummaryWriter(str(folder), purge_step=step + 1)
