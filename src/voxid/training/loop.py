"""The training loop: recipe and prepared speech in, a model folder out.

Every step is a pure function of the weights, the data, the seed and the step's number: batches, crops,
SpecAugment and dropout all draw from generators seeded by (seed, step). So a checkpoint needs no random
state, and a training that was killed and resumed ends with the same bits as one that was not.
"""

# B rows (three a triplet), T frames, F features per frame

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from voxid.augment import SpecAugment
from voxid.data.batches import Batch, Batches
from voxid.data.features_cache import cached_features
from voxid.data.pack import Packed
from voxid.data.triplets import AUGMENT, TORCH, generator
from voxid.errors import NonFiniteLoss
from voxid.files import atomic_write, place_id
from voxid.losses import LOSSES
from voxid.model import Model
from voxid.runtime.device import pick_device
from voxid.training.checkpoint import Checkpoint
from voxid.training.folder import CHECKPOINTS, CURVE, open_run
from voxid.training.log import Row, TrainingLog
from voxid.training.optimizers import OPTIMIZERS
from voxid.training.recipe import Recipe
from voxid.training.step import Stepper, row_workers

DRAW_EVERY_S = 30.0  # seconds between two drawings of the curve while training runs

Progress = Callable[[int, int], None]


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


def initial_model(recipe: Recipe) -> Model:
    """Return the model a training of `recipe` starts from; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        model = Model(recipe.features, recipe.encoder, recipe.inference)
    model.metadata = {"name": recipe.name, "recipe": recipe.model_dump(mode="json"), "steps": 0}
    return model


def train(
    recipe: Recipe,
    train_data: str | Path | Packed,
    out: str | Path,
    *,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    progress: Progress | None = None,
    features_progress: Progress | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> TrainResult:
    """Train `recipe` on a prepared folder, and return what came of it; `out` becomes a model folder.

    `progress` gets (steps done, steps expected) after each step, `on_row` each line of the log. Ctrl-C or
    SIGTERM finishes the step, saves a checkpoint and raises KeyboardInterrupt; `resume` goes on from there.
    Raise NotEnoughSpeakers, BadPreparedData, DeviceUnavailable, RunExists, CheckpointMismatch, BadCheckpoint,
    NonFiniteLoss, MissingExtra, DiskFull or NotWritable.
    """
    packed = train_data if isinstance(train_data, Packed) else Packed.open(train_data)
    out = Path(out)
    torch_device = pick_device(device)
    model = initial_model(recipe)
    Batches(packed, model.features, recipe.data, recipe.training.seed, store=None)  # can it be done at all?
    checkpoint, warnings = open_run(out, recipe, packed.fingerprint, resume, overwrite)
    with _threads(recipe.training.threads):
        model.to(torch_device)
        store = (
            cached_features(packed, model.features, features_progress) if recipe.data.cache_features else None
        )
        batches = Batches(packed, model.features, recipe.data, recipe.training.seed, store)
        with TrainingLog(out, checkpoint.step if checkpoint else 0, tensorboard) as log:
            run = _Run(recipe, batches, model, out, log, checkpoint, on_row)
            run.go(progress)
    first, last = log.rows[0].loss, log.rows[-1].loss
    speed = (run.step - run.first_step) / max(run.seconds - run.first_seconds, 1e-9)
    resumed = checkpoint.step if checkpoint else None
    return TrainResult(out, run.step, run.seconds, speed, first, last, resumed, warnings)


class _Run:
    """The state of one training: where it stands, and what it does after each step."""

    def __init__(
        self,
        recipe: Recipe,
        batches: Batches,
        model: Model,
        out: Path,
        log: TrainingLog,
        checkpoint: Checkpoint | None,
        on_row: Callable[[Row], None] | None,
    ) -> None:
        self.recipe, self.batches, self.model, self.out, self.log = recipe, batches, model, out, log
        self.options = recipe.training
        self.on_row = on_row
        self.device = next(model.encoder.parameters()).device
        loss_class, loss_config = LOSSES.parse(recipe.loss, "loss")
        speakers = len(batches.packed.speaker_names)
        self.loss = loss_class(loss_config, model.encoder.dim, speakers).to(self.device)
        optimizer_class, optimizer_config = OPTIMIZERS.parse(recipe.optimizer, "optimizer")
        parameters = [*model.encoder.parameters(), *self.loss.parameters()]
        self.optimizer = optimizer_class(optimizer_config, parameters)
        rows = 3 * recipe.data.triplets
        self.workers = row_workers(model.encoder, self.device, rows, self.options.threads)
        self.specaugment = SpecAugment(recipe.specaugment) if recipe.specaugment else None
        self.step, self.seconds = 0, 0.0
        self.loss_sum, self.active_sum, self.pending = 0.0, 0.0, 0  # of the log line that is being filled
        if checkpoint:
            model.encoder.load_state_dict(checkpoint.encoder)
            self.loss.load_state_dict(checkpoint.loss)
            self.optimizer.load_state_dict(checkpoint.optimizer)
            self.step, self.seconds = checkpoint.step, checkpoint.seconds
            self.loss_sum, self.active_sum = checkpoint.loss_sum, checkpoint.active_sum
            self.pending = checkpoint.pending
        self.first_step, self.first_seconds = self.step, self.seconds
        self.row_step = self.step  # where the log line began, or this run, if later
        self.unread: list[tuple[int, Tensor, Tensor]] = []  # results still on the device

    def go(self, progress: Progress | None) -> None:
        """Take all steps that are left, and write the model."""
        options, encoder = self.options, self.model.encoder
        self.model.train()
        start = self.row_time = self.drawn = time.perf_counter()
        with (
            _threads(1 if self.workers > 1 else options.threads),
            Stepper(encoder, self.loss, self.optimizer, options.clip_norm, self.workers) as stepper,
            _stop_signals() as stop,
        ):
            while self.step < options.steps:
                self.take(stepper, self.batches.batch(self.step))
                now = time.perf_counter()
                self.seconds = self.first_seconds + now - start
                late = options.max_seconds is not None and self.seconds >= options.max_seconds
                last = late or self.step == options.steps
                if last or self.step % options.log_every == 0:
                    self.write_row(now)
                if last or stop.is_set() or self.step % options.save_every == 0:
                    self.save(draw=last or stop.is_set() or now - self.drawn > DRAW_EVERY_S)
                if progress:
                    progress(self.step, self.step if last else self.expected_steps())
                if last:
                    return
                if stop.is_set():
                    raise KeyboardInterrupt
        self.save(draw=True)  # all steps were done before: the folder is made whole again

    def take(self, stepper: Stepper, batch: Batch) -> None:
        """Take the step of `batch`."""
        seed = int(generator(self.options.seed, batch.step, TORCH).integers(2**63))
        torch.manual_seed(seed)  # dropout
        labels_B = batch.labels_B.to(self.device, non_blocking=True)
        result = stepper(self.features(batch), labels_B)
        self.unread.append((batch.step, result.loss, result.active))
        self.step = batch.step + 1

    def features(self, batch: Batch) -> Tensor:
        """Return feat_BTF of `batch` on the device, with SpecAugment if the recipe has it."""
        if batch.feat_BTF is not None:
            feat_BTF = batch.feat_BTF.to(self.device, non_blocking=True)
        else:
            assert batch.wave_BS is not None
            with torch.no_grad():
                feat_BTF = self.model.features(batch.wave_BS.to(self.device, non_blocking=True))
        if self.specaugment is None:
            return feat_BTF
        seed = int(generator(self.options.seed, batch.step, AUGMENT).integers(2**63))
        return self.specaugment(feat_BTF, torch.Generator().manual_seed(seed))

    def expected_steps(self) -> int:
        """Return how many steps the training will have, as far as its speed so far tells."""
        if self.options.max_seconds is None:
            return self.options.steps
        return min(self.options.steps, math.ceil(self.step * self.options.max_seconds / self.seconds))

    def read_results(self) -> None:
        """Fetch the losses of the steps since the last call; raise NonFiniteLoss."""
        for step, loss, active in self.unread:
            value = float(loss)
            if not math.isfinite(value):
                raise self.non_finite(step, value)
            self.loss_sum += value
            self.active_sum += float(active)
            self.pending += 1
        self.unread.clear()

    def write_row(self, now: float) -> None:
        """Close the log's current line."""
        self.read_results()
        if not self.pending:
            return
        row = Row(
            step=self.step,
            loss=self.loss_sum / self.pending,
            lr=self.optimizer.param_groups[0]["lr"],
            steps_per_s=round((self.step - self.row_step) / max(now - self.row_time, 1e-9), 3),
            seconds=round(self.seconds, 3),
            active=self.active_sum / self.pending,
        )
        self.loss_sum, self.active_sum, self.pending = 0.0, 0.0, 0
        self.row_step, self.row_time = self.step, now
        self.log.add(row)
        if self.on_row:
            self.on_row(row)

    def save(self, draw: bool) -> None:
        """Write a checkpoint, and the model as it is now."""
        self.read_results()  # no checkpoint holds weights after a loss nobody looked at
        Checkpoint(
            step=self.step,
            seconds=self.seconds,
            encoder=self.model.encoder.state_dict(),
            loss=self.loss.state_dict(),
            optimizer=self.optimizer.state_dict(),
            recipe=self.recipe.model_dump(mode="json"),
            data=self.batches.packed.fingerprint,
            loss_sum=self.loss_sum,
            active_sum=self.active_sum,
            pending=self.pending,
        ).save(self.out / CHECKPOINTS, self.options.keep)
        info = self.batches.packed.info
        self.model.metadata |= {
            "steps": self.step,
            "training_data": {
                "sources": [Path(source).name for source in info["sources"]],
                "places": [place_id(source) for source in info["sources"]],
                "fingerprint": info["fingerprint"],
                "speakers": info["n_speakers"],
                "utterances": info["n_utterances"],
                "seconds": info["seconds"],
            },
        }
        self.model.save(self.out)
        if draw and self.log.rows:
            from voxid.plots import training_curve

            training_curve(self.log.rows, self.out / CURVE, self.recipe.name)
            self.drawn = time.perf_counter()

    def non_finite(self, step: int, value: float) -> NonFiniteLoss:
        """Return the error for a loss that is no number, its batch written to a file for inspection."""
        batch = self.batches.batch(step)
        names = self.batches.packed.utterances()
        content = {
            "step": step,
            "loss": str(value),
            "rows": "anchor, positive, negative, anchor, ...",
            "utterance_numbers": batch.rows_B.tolist(),
            "utterances": [names[number] for number in batch.rows_B],
            "first_frames": batch.starts_B.tolist(),
        }
        path = self.out / f"nonfinite-step-{step:08d}.json"
        with atomic_write(path, "w") as file:
            json.dump(content, file, indent=2)
        return NonFiniteLoss(
            f"the loss of step {step} is {value}; it has to be a finite number. Its batch is described in "
            f"{path}. Lower optimizer.lr or set training.clip_norm; the last checkpoint is from before."
        )


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    """Let torch compute with `number` threads inside the block; None leaves its choice."""
    before = torch.get_num_threads()
    try:
        if number is not None:
            torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C or SIGTERM sets, so that a step is never torn; a second one interrupts.

    Only the main thread can do so; elsewhere signals keep their meaning.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
