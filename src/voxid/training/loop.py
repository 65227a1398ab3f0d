"""The training loop: recipe and prepared speech in, a model folder out.

Every step is a pure function of the weights, the data, the seed and the step's number: batches, crops,
augmentation and dropout all draw from generators seeded by (seed, step), rate and margin follow from the
step. So a checkpoint needs no random state, and a training that was killed and resumed ends with the same
bits as one that was not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from voxid.augment import WaveAugment
from voxid.augment.clips import find
from voxid.data.batches import Batches, DataConfig
from voxid.data.features_cache import FeatureStore, cached_features
from voxid.data.pack import Packed
from voxid.embed.device import pick_device
from voxid.errors import BadRecipe
from voxid.losses import LOSSES
from voxid.model.network import Model
from voxid.training.folder import open_run
from voxid.training.guard import check_precision, memory_advice, threads_of_torch
from voxid.training.log import Row, TrainingLog
from voxid.training.recipe import Recipe
from voxid.training.run import Progress, Run
from voxid.training.stages import Stage, make_stages, stores_features
from voxid.training.start import start_from
from voxid.training.validation import Validation
from voxid.training.whitening import check_whitening


@dataclass(frozen=True)
class TrainResult:
    """What a training came to. `steps` counts all steps of the run folder, `steps_per_s` this call's only."""

    folder: Path
    steps: int
    seconds: float
    steps_per_s: float
    first_loss: float  # means over the first and the last line of the log
    last_loss: float
    resumed_from: int | None
    warnings: list[str] = field(default_factory=list)
    valid_eer: float | None = None  # of the last validation


def initial_model(recipe: Recipe) -> Model:
    """Return the model a training of `recipe` starts from; the same seed gives the same weights."""
    advice = "Make it smaller: lower the sizes in [encoder]."
    need = f"the encoder {recipe.encoder['name']!r} itself"
    with torch.random.fork_rng(devices=[]), memory_advice("this machine", need, advice):
        torch.manual_seed(recipe.training.seed)
        model = Model(recipe.features, recipe.encoder, recipe.inference)
    model.metadata = {"name": recipe.name, "recipe": recipe.model_dump(mode="json"), "steps": 0}
    return model


def check_recipe(recipe: Recipe, device: str = "auto") -> None:
    """Raise what `train` would raise about `recipe` on this machine, whatever the speech.

    That is about sizes, precision and the folders of [augment], whose recordings are looked for, not read:
    BadConfig, BadRecipe, OutOfMemory, DeviceUnavailable, CorpusNotFound or EmptyCorpus.
    """
    model = initial_model(recipe)
    check_precision(model.encoder, model.features.dim, recipe.training.precision, pick_device(device))
    for kind in ("noise", "music", "babble", "rir"):
        if recipe.augment is not None and getattr(recipe.augment, f"{kind}_prob") > 0:
            find(getattr(recipe.augment, kind), kind)


def check_init(recipe: Recipe, init: str | Path) -> None:
    """Raise what `train` would raise about starting `recipe` from the model folder `init`."""
    start_from(initial_model(recipe), init)


def train(
    recipe: Recipe,
    train_data: str | Path | Packed,
    out: str | Path,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    valid_data: str | Path | None = None,
    init: str | Path | None = None,
    progress: Progress | None = None,
    features_progress: Progress | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> TrainResult:
    """Train `recipe` on a prepared folder, and return what came of it; `out` becomes a model folder.

    `init` is a model folder to start from, of the same features and encoder as the recipe's; without it, the
    first weights are random. `valid_data`, prepared speech of held-out speakers, is measured every
    `training.valid_every` steps for the log. `progress` gets (steps done, steps expected) after each step,
    `on_row` each line of the log. Ctrl-C or SIGTERM finishes the step, saves a checkpoint and raises
    KeyboardInterrupt; `resume` goes on from there. Raise NotEnoughSpeakers, BadPreparedData,
    BadRecipe, DeviceUnavailable, RunExists, CheckpointMismatch, BadCheckpoint, UnknownModel, BadModel,
    NonFiniteLoss, OutOfMemory, MissingExtra, DiskFull or NotWritable; a CorpusError about the folders of
    [augment].
    """
    packed = train_data if isinstance(train_data, Packed) else Packed.open(train_data)
    out = Path(out)
    torch_device = pick_device(device)
    model = initial_model(recipe)
    start = start_from(model, init) if init is not None else None
    stages_of(recipe, packed, model)  # can it be done at all?
    check_precision(model.encoder, model.features.dim, recipe.training.precision, torch_device)
    if recipe.whitening is not None:
        check_whitening(model, packed, recipe.whitening)
    augment = WaveAugment(recipe.augment) if recipe.augment is not None else None
    checkpoint, warnings = open_run(out, recipe, packed.fingerprint, resume, overwrite, start)
    if start := checkpoint.init if checkpoint else start:
        model.metadata["init"] = start
    warnings += augment.sources.warnings if augment else []
    every = recipe.training.valid_every or recipe.training.save_every
    validation = Validation(valid_data, every, device=str(torch_device)) if valid_data is not None else None
    with threads_of_torch(recipe.training.threads):
        model.to(torch_device)

        def store() -> FeatureStore:
            return cached_features(packed, model.features, features_progress)

        stages = stages_of(recipe, packed, model, store, augment)
        with TrainingLog(out, checkpoint.step if checkpoint else 0, tensorboard) as log:
            run = Run(recipe, stages, model, out, log, checkpoint, validation, on_row)
            run.go(progress)
            if recipe.whitening is not None:
                run.whiten(recipe.whitening)
    first, last = log.rows[0].loss, log.rows[-1].loss
    speed = (run.step - run.first_step) / max(run.seconds - run.first_seconds, 1e-9)
    resumed = checkpoint.step if checkpoint else None
    valid_eer = next((row.valid_eer for row in reversed(log.rows) if row.valid_eer is not None), None)
    return TrainResult(out, run.step, run.seconds, speed, first, last, resumed, warnings, valid_eer)


def stages_of(
    recipe: Recipe,
    packed: Packed,
    model: Model,
    store: Callable[[], FeatureStore] | None = None,
    augment: Any = None,
) -> list[Stage]:
    """Return the stages of training `recipe` on `packed`; raise NotEnoughSpeakers or BadRecipe.

    `store` computes the features of all utterances, or finds them: it is called for stages that can use
    them. Without it, for a look at what is going to happen, batches are of waveforms.
    """

    def batches(data: DataConfig, augmented: bool) -> Batches:
        stored = store is not None and stores_features(recipe, data, augmented)
        return Batches(
            packed,
            model.features,
            data,
            recipe.training.seed,
            store() if stored and store is not None else None,
            augment=augment if augmented else None,
        )

    if recipe.training.parts > 1 and any(isinstance(m, nn.Dropout) and m.p > 0 for m in model.modules()):
        raise BadRecipe(
            f"training.parts is {recipe.training.parts}, and the encoder {recipe.encoder['name']!r} has "
            "dropout: its threads would draw from one source in turn. Set encoder.dropout to 0, or "
            "training.parts to 1."
        )
    loss, config = LOSSES.parse(recipe.loss, "loss")
    margin = config.margin if hasattr(loss, "set_margin") else None
    stages = make_stages(recipe, batches, margin)
    for number, stage in enumerate(stages):
        _check_rows(recipe, model, stage.batches.config, f"stage.{number - 1}." if number else "")
    return stages


def _check_rows(recipe: Recipe, model: Model, data: DataConfig, where: str) -> None:
    """Raise BadRecipe for a part of a batch that is one row: it has no statistics to be normalised by."""
    parts = recipe.training.parts
    if data.batch_rows >= 2 * parts or not any(isinstance(m, nn.BatchNorm1d) for m in model.modules()):
        return
    few = f"{where}data.{data.rows_option} makes batches of {data.batch_rows} windows"
    many = f", and training.parts shares them out among {parts}" if parts > 1 else ""
    raise BadRecipe(
        f"{few}{many}: the encoder {recipe.encoder['name']!r} normalises by statistics of a batch, for which "
        f"one window is too few. Raise {where}data.{data.rows_option} to {2 * parts} windows or more"
        f"{', or lower training.parts' if parts > 1 else ''}."
    )
