"""One training as it goes: its state, and what happens before, in and after each step."""

# B rows of a batch, T frames, F features per frame

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from voxid.augment import SpecAugment
from voxid.data.batches import Batch
from voxid.data.triplets import AUGMENT, TORCH, generator
from voxid.errors import NonFiniteLoss
from voxid.files import atomic_write, place_id
from voxid.losses import LOSSES
from voxid.model.network import Model
from voxid.parallel import OneThreadWorkers, usable_cores
from voxid.training.averaging import Average
from voxid.training.checkpoint import Checkpoint
from voxid.training.folder import CHECKPOINTS, CURVE
from voxid.training.guard import memory_advice, stop_signals, threads_of_torch
from voxid.training.log import Row, TrainingLog
from voxid.training.optimizers import OPTIMIZERS
from voxid.training.recipe import Recipe
from voxid.training.stages import Stage, most_classes
from voxid.training.step import Stepper, row_workers
from voxid.training.validation import Validation
from voxid.training.whitening import WhiteningConfig, whiten

DRAW_EVERY_S = 30.0  # seconds between two drawings of the curve while training runs
MOST_LOADERS = 8

Progress = Callable[[int, int], None]


class Run:
    """The state of one training: where it stands, and what it does after each step."""

    def __init__(
        self,
        recipe: Recipe,
        stages: list[Stage],
        model: Model,
        out: Path,
        log: TrainingLog,
        checkpoint: Checkpoint | None,
        validation: Validation | None = None,
        on_row: Callable[[Row], None] | None = None,
    ) -> None:
        self.recipe, self.stages, self.model, self.out, self.log = recipe, stages, model, out, log
        self.options = recipe.training
        self.validation, self.on_row = validation, on_row
        self.device = next(model.encoder.parameters()).device
        self.loss = _make_loss(recipe, stages, model.encoder.dim).to(self.device)
        optimizer_class, optimizer_config = OPTIMIZERS.parse(recipe.optimizer, "optimizer")
        parameters = [*model.encoder.parameters(), *self.loss.parameters()]
        self.optimizer = optimizer_class(optimizer_config, parameters)
        self.learned = nn.ModuleDict({"encoder": model.encoder, "loss": self.loss})  # what is averaged
        averages = any(stage.average for stage in stages)
        self.shown = copy.deepcopy(model) if averages else model  # with averaged weights
        self.specaugment = SpecAugment(recipe.specaugment) if recipe.specaugment else None
        self.packed = stages[0].batches.packed
        self.step, self.seconds = 0, 0.0
        self.loss_sum, self.active_sum, self.pending = 0.0, 0.0, 0  # of the log line that is being filled
        self.stage = stages[0]
        self.average = self._new_average()
        if checkpoint:
            self._restore(checkpoint)
        self.saved = checkpoint.step if checkpoint else None  # step of the last checkpoint
        self.first_step, self.first_seconds = self.step, self.seconds
        self.row_step = self.step  # where the log line began, or this run, if later
        self.unread: list[tuple[int, Tensor, Tensor]] = []  # results still on the device

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Be where the checkpoint was."""
        self.model.encoder.load_state_dict(checkpoint.encoder)
        self.loss.load_state_dict(checkpoint.loss)
        self.optimizer.load_state_dict(checkpoint.optimizer)
        self.step, self.seconds = checkpoint.step, checkpoint.seconds
        self.loss_sum, self.active_sum = checkpoint.loss_sum, checkpoint.active_sum
        self.pending = checkpoint.pending
        # The stage of the last step taken: at a boundary, the next one has not been entered yet.
        self.stage = next(stage for stage in self.stages if self.step <= stage.end)
        self.average = self._new_average()
        if self.average:
            self.average.load(checkpoint.averaged, checkpoint.average)

    # ---- the steps -----------------------------------------------------------------------------------------

    def go(self, progress: Progress | None) -> None:
        """Take all steps that are left, and write the model."""
        self.model.train()
        self.start = self.row_time = self.drawn = time.perf_counter()
        with stop_signals() as stop:
            for stage in self.stages[self.stages.index(self.stage) :]:
                if self.step >= stage.end:
                    continue
                if stage is not self.stage:
                    self._enter(stage)
                if not self._go_through(stage, stop.is_set, progress):
                    return
        if self.step == self.first_step:
            self.save(draw=True)  # all steps were done before: the folder is made whole again

    def _enter(self, stage: Stage) -> None:
        """Begin a stage: from the averaged weights, with an optimizer that knows nothing yet."""
        if self.average:
            self.learned.load_state_dict(self.average.weights)
        self.optimizer.state.clear()
        self.stage = stage
        self.average = self._new_average()

    def _go_through(self, stage: Stage, stopped: Callable[[], bool], progress: Progress | None) -> bool:
        """Take the steps of a stage that are left; return whether there is time for another."""
        options, data = self.options, stage.batches.config
        workers = row_workers(
            self.model.encoder, self.device, data.batch_rows, options.threads, options.parts
        )
        if hasattr(self.loss, "classes"):
            self.loss.classes = stage.batches.classes  # pyright: ignore[reportArgumentType]
        bf16 = options.precision == "bf16"
        need, advice = self._memory_of(stage)
        with (
            threads_of_torch(1 if workers > 1 or options.parts > 1 else options.threads),
            memory_advice(str(self.device), need, advice),
            Stepper(
                self.model.encoder,
                self.loss,
                self.optimizer,
                options.clip_norm,
                workers,
                parts=options.parts,
                bf16=bf16,
            ) as stepper,
            closing(self._batches(stage)) as batches,
        ):
            for batch, feat_BTF in batches:
                self._take(stepper, stage, batch, feat_BTF)
                if self._after_step(stopped, progress):
                    return False
        return True

    def _memory_of(self, stage: Stage) -> tuple[str, str]:
        """Return what a stage's batches are, and which options make them smaller."""
        data, number = stage.batches.config, self.stages.index(stage)
        where = f"stage.{number - 1}.data" if number else "data"
        length = "seconds" if data.seconds else "window_max" if data.window_max else "window"
        halve = "" if self.options.precision == "bf16" else ', or set training.precision = "bf16"'
        return (
            f"a batch of {data.batch_rows} windows of {data.window_max or stage.batches.window} frames",
            f"Lower {where}.{data.rows_option} (memory goes in proportion) or {where}.{length}{halve}; and "
            "start again, in another folder.",
        )

    def _batches(self, stage: Stage) -> Generator[tuple[Batch, Tensor | None]]:
        """Yield the batches of the steps that are left; on a CPU with their features, where made ahead."""

        def make(step: int) -> tuple[Batch, Tensor | None]:
            batch = stage.batches.batch(step)
            if batch.wave_BS is not None and self.device.type == "cuda":  # pinned, it is copied alongside
                batch = replace(batch, wave_BS=batch.wave_BS.pin_memory())
            if batch.wave_BS is None or self.device.type != "cpu":
                return batch, batch.feat_BTF
            with torch.no_grad():
                return batch, self.model.features(batch.wave_BS)

        steps = range(self.step, stage.end)
        loaders = self.options.loaders
        if loaders is None and stage.batches.store is not None:
            # A batch of stored features takes less than a hundredth of a step, and another thread costs the
            # encoder's threads more.
            loaders = 0
        elif loaders is None:
            loaders = 1 if self.device.type == "cpu" else max(1, min(MOST_LOADERS, usable_cores() - 1))
        if not loaders:
            yield from map(make, steps)
            return
        with (
            OneThreadWorkers(loaders, "voxid-batches", engine=torch) as threads,
            closing(threads.map(make, steps)) as made,
        ):
            yield from made

    def _take(self, stepper: Stepper, stage: Stage, batch: Batch, feat_BTF: Tensor | None) -> None:
        """Take the step of `batch`."""
        here = batch.step - stage.first
        for group in self.optimizer.param_groups:
            group["lr"] = stage.schedule.lr_at(here)
        margin = stage.schedule.margin_at(here)
        if margin is not None:
            self.loss.set_margin(margin)  # pyright: ignore[reportCallIssue]
        seed = int(generator(self.options.seed, batch.step, TORCH).integers(2**63))
        torch.manual_seed(seed)  # dropout
        labels_B = batch.labels_B.to(self.device, non_blocking=True)
        result = stepper(self._features(stage, batch, feat_BTF), labels_B)
        self.unread.append((batch.step, result.loss, result.active))
        self.step = batch.step + 1
        if self.average:
            self.average.update(self.step - stage.first)

    def _features(self, stage: Stage, batch: Batch, feat_BTF: Tensor | None) -> Tensor:
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
        seed = int(generator(self.options.seed, batch.step, AUGMENT).integers(2**63))
        return self.specaugment(feat_BTF, torch.Generator().manual_seed(seed))

    # ---- after a step --------------------------------------------------------------------------------------

    def _after_step(self, stopped: Callable[[], bool], progress: Progress | None) -> bool:
        """Log, validate and save as it is due; return whether that was the last step of all."""
        options = self.options
        now = time.perf_counter()
        self.seconds = self.first_seconds + now - self.start
        late = options.max_seconds is not None and self.seconds >= options.max_seconds
        last = late or self.step == self.stages[-1].end
        valid = self.validation and (last or self.step % self.validation.every == 0)
        if last or valid or self.step % options.log_every == 0:
            self._write_row(now, self._validate() if valid else None)
        stop = stopped()
        if last or stop or self.step % options.save_every == 0:
            self.save(draw=last or stop or now - self.drawn > DRAW_EVERY_S)
        if progress:
            progress(self.step, self.step if last else self.expected_steps())
        if stop and not last:
            raise KeyboardInterrupt
        return last

    def expected_steps(self) -> int:
        """Return how many steps the training will have, as far as its speed so far tells."""
        steps = self.stages[-1].end
        if self.options.max_seconds is None:
            return steps
        return min(steps, math.ceil(self.step * self.options.max_seconds / self.seconds))

    def _validate(self) -> float | None:
        """Return the error rate on held-out speakers; the time it takes is no time of steps."""
        assert self.validation is not None
        self._read_results()  # not with weights after a loss nobody looked at
        before = time.perf_counter()
        eer = self.validation.eer(self._model_now())
        self.start += time.perf_counter() - before
        return eer

    def _read_results(self) -> None:
        """Fetch the losses of the steps since the last call; raise NonFiniteLoss."""
        for step, loss, active in self.unread:
            value = float(loss)
            if not math.isfinite(value):
                raise self._non_finite(step, value)
            self.loss_sum += value
            self.active_sum += float(active)
            self.pending += 1
        self.unread.clear()

    def _write_row(self, now: float, valid_eer: float | None) -> None:
        """Close the log's current line."""
        self._read_results()
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
        if self.on_row:
            self.on_row(row)

    # ---- files ---------------------------------------------------------------------------------------------

    def _new_average(self) -> Average | None:
        """Return a mean of the present stage's weights that has seen none, if the recipe wants one."""
        if self.stage.average is None:
            return None
        per_epoch = self.stage.batches.steps_per_epoch
        return Average(self.stage.average, self.learned, self.stage.steps, per_epoch)

    def _model_now(self) -> Model:
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
        self._read_results()  # no checkpoint holds weights after a loss nobody looked at
        Checkpoint(
            step=self.step,
            seconds=self.seconds,
            encoder=self.model.encoder.state_dict(),
            loss=self.loss.state_dict(),
            optimizer=self.optimizer.state_dict(),
            recipe=self.recipe.model_dump(mode="json"),
            data=self.packed.fingerprint,
            loss_sum=self.loss_sum,
            active_sum=self.active_sum,
            pending=self.pending,
            average=self.average.state() if self.average else {},
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
        self._model_now().save(self.out)
        self.saved = self.step
        if draw and self.log.rows:
            from voxid.plots import training_curve

            training_curve(self.log.rows, self.out / CURVE, self.recipe.name)
            self.drawn = time.perf_counter()

    def whiten(self, config: WhiteningConfig) -> None:
        """Write the model once more, with its embeddings whitened; checkpoints stay as training left them."""
        model = copy.deepcopy(self._model_now())
        whiten(model, self.packed, config, str(self.device))
        model.save(self.out)

    def _non_finite(self, step: int, value: float) -> NonFiniteLoss:
        """Return the error for a loss that is no number, its batch written to files for inspection."""
        stage = next(stage for stage in self.stages if step < stage.end)
        batch = stage.batches.batch(step)
        names = self.packed.utterances()
        content = {
            "step": step,
            "loss": str(value),
            "sampler": stage.batches.config.sampler,
            "utterance_numbers": batch.rows_B.tolist(),
            "utterances": [names[number] for number in batch.rows_B],
            "labels": batch.labels_B.tolist(),
            "first_frames": batch.starts_B.tolist(),
        }
        path = self.out / f"nonfinite-step-{step:08d}.json"
        with atomic_write(path, "w") as file:
            json.dump(content, file, indent=2)
        given = batch.feat_BTF if batch.wave_BS is None else batch.wave_BS
        assert given is not None
        with atomic_write(path.with_suffix(".npz")) as file:
            np.savez(file, batch=given.numpy(), labels=batch.labels_B.numpy())
        return NonFiniteLoss(
            f"the loss of step {step} is {value}; it has to be a finite number. Its batch is described in "
            f"{path}, and lies beside it as {path.stem}.npz. Lower optimizer.lr or training.clip_norm, and "
            f"start again in another folder{self._from_here()}."
        )

    def _from_here(self) -> str:
        """Return how to go on with other options from the last checkpoint, "" if there is none."""
        if self.saved is None:
            return ""
        return f", or from the model of step {self.saved}, with --init {self.out}"


def _make_loss(recipe: Recipe, stages: list[Stage], dim: int) -> nn.Module:
    """Return the loss with its first weights; the caller's random state neither matters nor moves."""
    loss_class, loss_config = LOSSES.parse(recipe.loss, "loss")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        return loss_class(loss_config, dim, most_classes(stages))
