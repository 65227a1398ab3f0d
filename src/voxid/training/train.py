"""The training: a recipe and speech in, a model folder out. `train` checks once; `Training.go` is the loop.

Every step is a pure function of the weights, the data, the seed and the step's number: batches, crops,
augmentation and dropout all draw from generators seeded by (seed, step), rate and margin follow from the
step. So a checkpoint needs no random state, and a training that was killed and resumed ends with the same
bits as one that was not.
"""

# B rows of a batch, T frames, F features per frame

from __future__ import annotations

import copy
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from voxid.augment import SpecAugment, WaveAugment
from voxid.data.batches import Batch
from voxid.data.features_cache import cached_features
from voxid.data.pack import Packed
from voxid.data.prepare import ensure_prepared
from voxid.data.triplets import AUGMENT, TORCH, generator
from voxid.embed import Embedder, load
from voxid.embed.device import pick_device
from voxid.embed.torch import TorchNetwork
from voxid.errors import TrainingError
from voxid.evaluation import Report, evaluate, make_trials, read_data
from voxid.files import place_id
from voxid.losses.shards import Ranks
from voxid.model.network import Model
from voxid.parallel import usable_cores
from voxid.training.averaging import Average
from voxid.training.distributed import (
    SharedOut,
    any_of,
    device_of,
    first_on_machine,
    once,
    ranks_of_launcher,
)
from voxid.training.optimizers import OPTIMIZERS
from voxid.training.recipe import Recipe, load_recipe
from voxid.training.run_folder import (
    CHECKPOINTS,
    CURVE,
    Checkpoint,
    Row,
    TrainingLog,
    describe_batch,
    hold,
    open_run,
    refuse_to_spoil,
)
from voxid.training.stages import Plan, Stage, make_stages
from voxid.training.start import check_parts, class_centers, first_loss, initial_model, start_from
from voxid.training.step import (
    Stepper,
    StepResult,
    memory_advice,
    row_workers,
    stop_signals,
    threads_of_torch,
)
from voxid.training.teacher import teacher_embeddings
from voxid.training.whitening import check_whitening, whiten

DRAW_EVERY_S = 30.0  # seconds between two drawings of the curve while training runs
EVALUATION = "evaluation"  # of the run folder: where the report on the test lies

StrPath = str | os.PathLike[str]
Speech = StrPath | Sequence[StrPath] | Packed  # a corpus, several, a prepared folder, or that folder opened
Progress = Callable[[str, int, int], None]  # (what is going on, how much is done, of how much)


@dataclass(frozen=True)
class TrainResult:
    """The result of a training. `steps` counts all steps of the run folder, `steps_per_s` this call's only.

    >>> run = voxid.train("demo", "people", "run", overrides=["training.steps=2"], overwrite=True)
    >>> run.steps, run.plan.speakers
    (2, 4)
    """

    folder: Path
    steps: int
    seconds: float
    steps_per_s: float
    first_loss: float  # mean over the first line of the log
    last_loss: float  # mean over the steps of the last two: the last alone may have few
    resumed_from: int | None
    plan: Plan
    warnings: list[str] = field(default_factory=list)
    valid_eer: float | None = None  # of the last validation
    report: Report | None = None  # of the evaluation on `test`


def train(
    recipe: Recipe | StrPath,
    train: Speech,
    out: StrPath,
    *,
    valid: Speech | None = None,
    test: Speech | None = None,
    trials: str = "10000-triplets",
    init: StrPath | None = None,
    overrides: Sequence[str] = (),
    layout: str = "auto",
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    tensorboard: bool = False,
    progress: Progress | None = None,
    on_plan: Callable[[Plan, list[str]], None] | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> TrainResult:
    """Train `recipe` on the speakers of `train`, and return the result; `out` becomes a model folder.

    `recipe` is a shipped name, a TOML file or a `Recipe`, changed by `overrides` such as "optimizer.lr=1e-3".
    `valid` are held-out speakers whose error rate is logged every `training.valid_every` steps, `test` those
    that the trained model is measured on in the end, with `trials`: its report lies in `out`/evaluation.
    `init` is a model to start from, of the same features and encoder; without it the first weights are
    random. Ctrl-C or SIGTERM finishes the step, saves a checkpoint and raises KeyboardInterrupt; `resume`
    goes on from there. `overwrite` deletes a run that is in `out`.

    `progress` gets (what is going on, done, of how many), `on_plan` the plan and the warnings before the
    first step, `on_row` each line of the log.

    Raise BadConfig kinds about the recipe, a CorpusError about speech or the folders of [augment] (such as
    NotEnoughSpeakers), UnknownModel or BadModel about `init`, DeviceUnavailable, BadTrials, RunExists,
    ModelError, BadCheckpoint, TrainingError, MissingExtra, DiskFull or NotWritable.

    >>> import voxid
    >>> voxid.train("tiny", train="LibriSpeech/train-clean-100", test="LibriSpeech/test-clean",
    ...     out="runs/tiny").report.models[0].eer  # doctest: +SKIP
    0.0612
    """
    # What can be wrong is found now: before minutes of decoding, and hours of steps.
    recipe, out, on = load_recipe(recipe, overrides), Path(out), device_of(pick_device(device))
    with ExitStack() as stack:
        ranks = stack.enter_context(ranks_of_launcher(on))
        if not ranks.first:
            progress = on_plan = on_row = None
        once(ranks, lambda: refuse_to_spoil(out, resume or overwrite))
        model = initial_model(recipe)
        warnings = check_parts(recipe, model, on, ranks)
        start = start_from(model, init) if init is not None else None

        packed = _speech(ranks, train, "training", layout, progress)
        tested = None if test is None else _speech(ranks, test, "test", layout, progress)
        if tested is not None:
            make_trials(trials, read_data(tested.folder))
        held_out = None if valid is None else _speech(ranks, valid, "held-out", layout, progress)
        if held_out is not None:
            make_trials("all", read_data(held_out.folder))
        augment = WaveAugment(recipe.augment) if recipe.augment is not None else None
        stages = make_stages(recipe, packed, model, augment, ranks.rank, ranks.world)
        loss = first_loss(recipe, stages, model.dim)
        if hasattr(loss, "set_teacher"):
            model.metadata["distilled_from"] = _learn_from(
                ranks, recipe.loss["teacher"], loss, packed, progress
            )
        if recipe.whitening is not None:
            check_whitening(model, packed, recipe.whitening)
        once(ranks, lambda: stack.enter_context(hold(out)))
        checkpoint, found = once(ranks, lambda: open_run(out, recipe, packed.fingerprint, resume, start))
        warnings += [*found, *_speakers_met(packed, held_out), *(augment.sources.warnings if augment else [])]
        if start := checkpoint.init if checkpoint else start:
            model.metadata["init"] = start
        plan = Plan.of(recipe, packed, model, loss, stages)
        if on_plan:
            on_plan(plan, warnings)

        stack.enter_context(threads_of_torch(recipe.training.threads))
        model.to(on)
        for stage in stages:
            if stage.stores_features:
                told = partial(progress, "features") if progress else None
                stage.batches.store = first_on_machine(
                    ranks, lambda told=told: cached_features(packed, model.features, told)
                )
        if recipe.training.classes_from_init and start and not checkpoint:
            most = max(stages, key=lambda stage: stage.batches.classes)
            loss.set_centers(class_centers(model, most.batches))  # pyright: ignore[reportCallIssue]
        if ranks.world > 1 and hasattr(loss, "share_out"):
            loss.share_out(ranks)  # pyright: ignore[reportCallIssue]
        log = stack.enter_context(
            TrainingLog(out, checkpoint.step if checkpoint else 0, tensorboard, write=ranks.first)
        )
        run = Training(recipe, stages, model, loss.to(on), log, out, checkpoint, ranks)
        run.go(held_out, progress, on_row)
        if recipe.whitening is not None and ranks.first:
            run.whiten()
    report = None
    if tested is not None and ranks.first:
        told = partial(progress, "measuring") if progress else None
        report = evaluate([out], tested.folder, trials, out / EVALUATION, device=device, progress=told)
    return TrainResult(
        folder=out,
        steps=run.step,
        seconds=run.seconds,
        steps_per_s=(run.step - run.first_step) / max(run.seconds - run.first_seconds, 1e-9),
        first_loss=log.rows[0].loss,
        last_loss=_last_loss(log.rows),
        resumed_from=checkpoint.step if checkpoint else None,
        plan=plan,
        warnings=warnings,
        valid_eer=next((row.valid_eer for row in reversed(log.rows) if row.valid_eer is not None), None),
        report=report,
    )


def _last_loss(rows: list[Row]) -> float:
    steps = np.diff([0, *(row.step for row in rows)])
    return float(np.average([row.loss for row in rows[-2:]], weights=steps[-2:]))


def _speech(ranks: Ranks, speech: Speech, what: str, layout: str, progress: Progress | None) -> Packed:
    if isinstance(speech, Packed):
        return speech
    told = partial(progress, f"decoding the {what} speech") if progress else None
    return first_on_machine(ranks, lambda: Packed.open(ensure_prepared(speech, layout=layout, progress=told)))


def _learn_from(
    ranks: Ranks, name: str, loss: Any, packed: Packed, progress: Progress | None
) -> dict[str, str]:
    """Give the loss a teacher's embeddings of the training speech; return who the teacher is."""
    teacher = load(name)
    told = partial(progress, "listening to the teacher") if progress else None
    emb_ND = first_on_machine(ranks, lambda: teacher_embeddings(packed, teacher, told))
    loss.set_teacher(emb_ND, len(packed.speaker_names))
    return {"name": str(teacher.model.metadata.get("name", name)), "fingerprint": teacher.fingerprint}


def _speakers_met(packed: Packed, held_out: Packed | None) -> list[str]:
    """Return a warning where speakers that should be held out are trained on."""
    met = set(packed.speaker_names) & set(held_out.speaker_names if held_out else ())
    if not met:
        return []
    return [
        f"{len(met)} of the held-out speakers have the names of training speakers "
        f"({', '.join(sorted(met)[:3])}, ...): if they are the same people, their error rate says little"
    ]


class Training:
    """One training as it goes: its weights, where it stands, and what happens before, in and after a step."""

    def __init__(
        self,
        recipe: Recipe,
        stages: list[Stage],
        model: Model,
        loss: nn.Module,
        log: TrainingLog,
        out: Path,
        checkpoint: Checkpoint | None,
        ranks: Ranks,
    ) -> None:
        self.ranks = ranks
        self.recipe, self.options, self.stages, self.out, self.log = recipe, recipe.training, stages, out, log
        self.model, self.loss = model, loss
        self.device = next(model.encoder.parameters()).device
        optimizer_class, optimizer_config = OPTIMIZERS.parse(recipe.optimizer, "optimizer")
        self.optimizer = optimizer_class(optimizer_config, [*model.encoder.parameters(), *loss.parameters()])
        self.shared_out = SharedOut(loss, self.optimizer)
        self.learned = nn.ModuleDict({"encoder": model.encoder, "loss": loss})  # what is averaged
        averages = any(stage.average for stage in stages)
        self.shown = copy.deepcopy(model) if averages else model  # with averaged weights
        self.specaugment = SpecAugment(recipe.specaugment) if recipe.specaugment else None
        self.packed = stages[0].batches.packed
        self.step, self.seconds = 0, 0.0
        self.loss_sum, self.active_sum, self.pending = 0.0, 0.0, 0  # of the log line that is being filled
        self.unread: list[tuple[int, StepResult]] = []  # results still on the device
        self.stage, self.average = stages[0], self.new_average(stages[0])
        if checkpoint:
            self.restore(checkpoint)
        self.saved = checkpoint.step if checkpoint else None  # step of the last checkpoint
        self.first_step, self.first_seconds = self.step, self.seconds
        self.row_step = self.step  # where the log line began, or this run, if later

    def restore(self, checkpoint: Checkpoint) -> None:
        """Be where the checkpoint was."""
        self.model.encoder.load_state_dict(checkpoint.encoder)
        loss, optimizer, average = self.shared_out.mine(
            checkpoint.loss, checkpoint.optimizer, checkpoint.average
        )
        self.loss.load_state_dict(loss)
        self.optimizer.load_state_dict(optimizer)
        self.step, self.seconds = checkpoint.step, checkpoint.seconds
        self.loss_sum, self.active_sum = checkpoint.loss_sum, checkpoint.active_sum
        self.pending = checkpoint.pending
        # The stage of the last step taken: at a boundary, the next one has not been entered yet.
        self.stage = next(stage for stage in self.stages if self.step <= stage.end)
        self.average = self.new_average(self.stage)
        if self.average:
            self.average.load(checkpoint.averaged, average)

    # ---- the loop ------------------------------------------------------------------------------------------

    def go(
        self, held_out: Packed | None, progress: Progress | None, on_row: Callable[[Row], None] | None
    ) -> None:
        """Take all steps that are left; log, validate and save on the way."""
        options, end = self.options, self.stages[-1].end
        valid_every = options.valid_every or options.save_every
        self.model.train()
        self.start = self.row_time = self.drawn = time.perf_counter()
        with stop_signals() as stop:
            for stage in (stage for stage in self.stages if self.step < stage.end):
                if stage is not self.stage:
                    self.enter(stage)
                ahead = stage.from_step(self.step, self.model.features, self.device, options.loaders)
                with self.stepper(stage) as stepper, closing(ahead) as batches:
                    for batch, feat_BTF in batches:
                        self.steer(stage, batch.step)
                        feat_BTF = self.features(stage, batch, feat_BTF)
                        if set_rows := getattr(self.loss, "set_rows", None):
                            set_rows(batch.rows_B)
                        result = stepper(feat_BTF, batch.labels_B.to(self.device, non_blocking=True))
                        self.unread.append((batch.step, result))
                        self.step = batch.step + 1
                        if self.average:
                            self.average.update(self.step - stage.first)

                        now = time.perf_counter()
                        self.seconds = self.first_seconds + now - self.start
                        looks = self.ranks.world == 1 or self.step % options.log_every == 0
                        over = self.seconds >= (options.max_seconds or math.inf)
                        last = self.step == end or (looks and any_of(self.ranks, over, self.device))
                        valid = held_out is not None and (last or self.step % valid_every == 0)
                        if last or valid or self.step % options.log_every == 0:
                            self.write_row(now, self.eer(held_out) if held_out and valid else None, on_row)
                        stopped = looks and any_of(self.ranks, stop.is_set(), self.device)
                        if last or stopped or self.step % options.save_every == 0:
                            self.save(draw=last or stopped or now - self.drawn > DRAW_EVERY_S)
                        if progress:
                            progress("training", self.step, self.step if last else self.expected_steps())
                        if stopped and not last:
                            raise KeyboardInterrupt
                        if last:
                            return
        self.save(draw=True)  # all steps were done before: the folder is made whole again

    # ---- before a step -------------------------------------------------------------------------------------

    def enter(self, stage: Stage) -> None:
        """Begin a stage: from the averaged weights, with an optimizer that knows nothing yet."""
        if self.average:
            self.learned.load_state_dict(self.average.weights)
        self.optimizer.state.clear()
        self.stage, self.average = stage, self.new_average(stage)

    @contextmanager
    def stepper(self, stage: Stage) -> Iterator[Stepper]:
        """Yield what takes the steps of `stage`; inside, running out of memory says what to change."""
        options, data = self.options, stage.batches.config
        rows, world = data.batch_rows // self.ranks.world, self.ranks.world
        threads = options.threads
        if world > 1 and threads is None:  # the cores of a machine are shared out, too
            threads = max(1, usable_cores() // self.ranks.local_world)
        workers = row_workers(self.model.encoder, self.device, rows, threads, max(1, options.parts // world))
        if hasattr(self.loss, "classes"):
            self.loss.classes = stage.batches.classes  # pyright: ignore[reportArgumentType]
        bf16 = options.precision == "bf16"
        length = "seconds" if data.seconds else "window_max" if data.window_max else "window"
        halve = "" if bf16 else ', or set training.precision = "bf16"'
        need = f"a batch of {rows} windows of {data.window_max or stage.batches.window} frames"
        advice = (
            f"Lower {stage.where}data.{data.rows_option} (memory goes in proportion) or "
            f"{stage.where}data.{length}{halve}; and start again, in another folder."
        )
        stepper = Stepper(
            self.model.encoder,
            self.loss,
            self.optimizer,
            options.clip_norm,
            workers,
            parts=max(1, options.parts // self.ranks.world),
            bf16=bf16,
            accumulate=options.accumulate,
            ranks=self.ranks,
        )
        with ExitStack() as stack:
            alone = workers > 1 or options.parts > 1 or world > 1
            stack.enter_context(threads_of_torch(1 if alone else options.threads))
            stack.enter_context(memory_advice(str(self.device), need, advice))
            yield stack.enter_context(stepper)

    def steer(self, stage: Stage, step: int) -> None:
        """Set learning rate, margin and the random numbers of dropout for `step`."""
        for group in self.optimizer.param_groups:
            group["lr"] = stage.schedule.lr_at(step - stage.first)
        margin = stage.schedule.margin_at(step - stage.first)
        if margin is not None:
            self.loss.set_margin(margin)  # pyright: ignore[reportCallIssue]
        torch.manual_seed(self.seed_of(step, TORCH, self.ranks.rank))

    def features(self, stage: Stage, batch: Batch, feat_BTF: Tensor | None) -> Tensor:
        """Return feat_BTF of `batch` on the device, with SpecAugment if the recipe has it."""
        if feat_BTF is not None:
            feat_BTF = feat_BTF.to(self.device, non_blocking=True)
        else:
            assert batch.wave_BS is not None
            with torch.no_grad():
                feat_BTF = self.model.features(batch.wave_BS.to(self.device, non_blocking=True))
        assert feat_BTF is not None
        if self.specaugment is None or not stage.specaugment:
            return feat_BTF
        draws = torch.Generator().manual_seed(self.seed_of(batch.step, AUGMENT))
        return self.specaugment(feat_BTF, draws, self.ranks.rank, self.ranks.world)

    def seed_of(self, step: int, purpose: int, rank: int = 0) -> int:
        """Return the seed of one step, one purpose and one process."""
        return int(generator(self.options.seed, step, purpose, rank).integers(2**63))

    # ---- after a step --------------------------------------------------------------------------------------

    def expected_steps(self) -> int:
        """Return how many steps the training will have, as far as its speed so far tells."""
        steps = self.stages[-1].end
        if self.options.max_seconds is None:
            return steps
        return min(steps, math.ceil(self.step * self.options.max_seconds / self.seconds))

    def eer(self, held_out: Packed) -> float:
        """Return the error rate on held-out speakers, a fraction; the time it takes is no time of steps."""
        self.read_results()  # not with weights after a loss nobody looked at
        before = time.perf_counter()

        def measure() -> float:
            runtime = Embedder(TorchNetwork(self.model_now(), str(self.device)))
            told = {"resamples": 0, "device": str(self.device), "cache": False}
            return evaluate([runtime], held_out.folder, "all", **told).models[0].eer

        found = once(self.ranks, measure)
        self.start += time.perf_counter() - before
        return found

    def read_results(self) -> None:
        """Fetch the losses of the steps since the last call; raise TrainingError."""
        for step, result in self.unread:
            loss = float(result.loss)
            if not math.isfinite(loss):
                raise self.non_finite(step, loss)
            self.loss_sum += loss
            self.active_sum += float(result.active)
            self.pending += 1
        self.unread.clear()

    def write_row(self, now: float, valid_eer: float | None, on_row: Callable[[Row], None] | None) -> None:
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
            margin=getattr(self.loss, "margin", None),
            valid_eer=valid_eer,
        )
        self.loss_sum, self.active_sum, self.pending = 0.0, 0.0, 0
        self.row_step, self.row_time = self.step, time.perf_counter()  # a validation is no part of the next
        self.log.add(row)
        if on_row:
            on_row(row)

    def non_finite(self, step: int, loss: float) -> TrainingError:
        """Return the error for a loss that is no number, its batch written to files for inspection."""
        batches = next(stage for stage in self.stages if step < stage.end).batches
        names = self.packed.utterances()
        path = describe_batch(
            self.out, batches.batch(step), names, loss=str(loss), sampler=batches.config.sampler
        )
        saved = (
            "" if self.saved is None else f", or from the model of step {self.saved}, with --init {self.out}"
        )
        return TrainingError(
            f"the loss of step {step} is {loss}; it has to be a finite number. Its batch is described in "
            f"{path}, and lies beside it as {path.stem}.npz. Lower optimizer.lr or training.clip_norm, and "
            f"start again in another folder{saved}."
        )

    # ---- the model -----------------------------------------------------------------------------------------

    def new_average(self, stage: Stage) -> Average | None:
        """Return a mean of the weights of `stage` that has seen none, if the recipe wants one."""
        if stage.average is None:
            return None
        return Average(stage.average, self.learned, stage.steps, stage.batches.steps_per_epoch)

    def model_now(self) -> Model:
        """Return the model to save or to validate: with the averaged weights where there are some."""
        if not self.average:
            return self.model
        weights = {
            name.removeprefix("encoder."): value
            for name, value in self.average.weights.items()
            if name.startswith("encoder.")
        }
        self.shown.encoder.load_state_dict(weights)
        self.shown.metadata = self.model.metadata
        return self.shown

    def save(self, draw: bool) -> None:
        """Write a checkpoint, and the model as it is now."""
        self.read_results()  # no checkpoint holds weights after a loss nobody looked at
        loss, optimizer, average = self.shared_out.whole(
            self.loss.state_dict(), self.optimizer.state_dict(), self.average.mean if self.average else {}
        )
        once(self.ranks, partial(self._write, loss, optimizer, average, draw))
        self.saved = self.step

    def _write(self, loss: dict, optimizer: dict, average: dict, draw: bool) -> None:
        Checkpoint(
            step=self.step,
            seconds=self.seconds,
            encoder=self.model.encoder.state_dict(),
            loss=loss,
            optimizer=optimizer,
            recipe=self.recipe.model_dump(mode="json"),
            data=self.packed.fingerprint,
            loss_sum=self.loss_sum,
            active_sum=self.active_sum,
            pending=self.pending,
            average=average,
            averaged=self.average.count if self.average else 0,
            init=self.model.metadata.get("init", {}),
        ).save(self.out / CHECKPOINTS, self.options.keep)
        info = self.packed.info
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
        self.model_now().save(self.out)
        if draw and self.log.rows:
            from voxid.plots import training_curve

            training_curve(self.log.rows, self.out / CURVE, self.recipe.name)
            self.drawn = time.perf_counter()

    def whiten(self) -> None:
        """Write the model once more, with its embeddings whitened; checkpoints stay as training left them."""
        assert self.recipe.whitening is not None
        model = copy.deepcopy(self.model_now())
        whiten(model, self.packed, self.recipe.whitening, str(self.device))
        model.save(self.out)
