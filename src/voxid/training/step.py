"""One step: forward, backward, update; and what the machine does to it: threads, memory, signals, 16 bits."""

# B rows (three a triplet), T frames, F features per frame, D embedding

from __future__ import annotations

import copy
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from voxid.encoders.threads import PartThreads, RowThreads
from voxid.errors import BadRecipe, TrainingError
from voxid.losses.shards import Ranks
from voxid.parallel import usable_cores
from voxid.training.distributed import average_buffers, parallel

ALONE = Ranks()
ROWS_PER_WORKER = 6  # fewer are not worth a thread: an LSTM takes a step for one row as long as for a few
MEMORY_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
TRIED_ROWS, TRIED_FRAMES = 2, 20  # of the batch that shows whether a device can compute in 16 bits


@dataclass(frozen=True)
class StepResult:
    """Scalars on the device: the loss before the update, the share of the batch that is still wrong."""

    loss: Tensor
    active: Tensor


class Stepper:
    """Calls of it are the steps: `stepper(feat_BTF, labels_B) -> StepResult`; use it as a context.

    With `workers` above one, parts of the batch go through the encoder side by side (see `RowThreads`); with
    `parts` above one, each of that many parts has its own batch statistics (see `PartThreads`). With `bf16`
    the encoder computes in 16 bits where torch says they are enough; weights and loss keep 32. With
    `accumulate` above one, that many parts of the batch go through it one after the other, in less memory.
    With several `ranks`, the rows are this process' part of the batch, and the step is that of all of it.
    """

    def __init__(
        self,
        encoder: nn.Module,
        loss: Any,
        optimizer: torch.optim.Optimizer,
        clip_norm: float | None = None,
        workers: int = 1,
        *,
        parts: int = 1,
        bf16: bool = False,
        accumulate: int = 1,
        ranks: Ranks = ALONE,
    ) -> None:
        self.loss, self.optimizer, self.clip_norm, self.bf16 = loss, optimizer, clip_norm, bf16
        self.encoder, self.ranks, self.accumulate = encoder, ranks, accumulate
        self.threads: RowThreads | None = None
        if parts > 1:
            self.threads = PartThreads(encoder, parts, workers)
        elif workers > 1:
            self.threads = RowThreads(encoder, workers)
        self.encode = parallel(encoder, self.threads or encoder, ranks)
        self.shared_out = ranks.world > 1 and hasattr(loss, "all_classes")  # classes, over the processes
        # it looks at the whole batch: rows with rows, with others' classes, or with what a teacher heard
        self.compares = self.shared_out or loss.needs != "rows" or hasattr(loss, "set_rows")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.threads is not None:
            self.threads.close()

    def __call__(self, feat_BTF: Tensor, labels_B: Tensor) -> StepResult:
        """Take one step, and return what it saw; whether the loss is finite is for the caller to look at."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.accumulate == 1:
            loss = self._loss(self._encode(feat_BTF), labels_B)
            loss.backward()
            seen = torch.stack([loss.detach(), self.loss.active.to(loss.device)])
        else:
            seen = self._piecewise(feat_BTF, labels_B)
        if self.ranks.world > 1:
            own = self.loss.weight if self.shared_out else None
            for parameter in self.loss.parameters():
                if parameter.grad is not None and parameter is not own:
                    total = self.ranks.sum(parameter.grad)
                    parameter.grad = total if self.shared_out else total / self.ranks.world
            if not self.compares:
                seen = self.ranks.sum(seen) / self.ranks.world
        if self.clip_norm is not None:
            self._clip(self.clip_norm)
        self.optimizer.step()
        if isinstance(self.threads, PartThreads):
            self.threads.finish()
        average_buffers(self.encoder, self.ranks)
        return StepResult(*seen)

    def _encode(self, feat_BTF: Tensor) -> Tensor:
        with torch.autocast(feat_BTF.device.type, torch.bfloat16, enabled=self.bf16):
            return self.encode(feat_BTF).float()

    def _loss(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        if self.compares:
            emb_BD, labels_B = self.ranks.gather(emb_BD, self.shared_out), self.ranks.concat(labels_B)
        return self.loss(emb_BD, labels_B)

    def _piecewise(self, feat_BTF: Tensor, labels_B: Tensor) -> Tensor:
        """Leave the gradients of the batch, piece by piece; return its loss and share of wrong rows.

        A loss over single rows is added up. One that compares rows needs all embeddings first, and a second
        pass for the gradients (Gao et al. 2021, "Scaling deep contrastive learning batch size under memory
        limited setup"); both passes draw the same random numbers and see the same running statistics.
        """
        pieces, labels = feat_BTF.tensor_split(self.accumulate), labels_B.tensor_split(self.accumulate)
        seed = torch.initial_seed()
        grads: list[Tensor | None] = [None] * len(pieces)
        seen = torch.zeros(2, device=feat_BTF.device)
        if self.compares:
            before = [buffer.clone() for buffer in self.encoder.buffers()]
            found = []
            with torch.no_grad():
                for number, piece in enumerate(pieces):
                    torch.manual_seed(seed + number)
                    found.append(self._encode(piece))
                for buffer, value in zip(self.encoder.buffers(), before, strict=True):
                    buffer.copy_(value)
            emb_BD = torch.cat(found).requires_grad_()
            torch.manual_seed(seed)
            loss = self._loss(emb_BD, labels_B)
            loss.backward()
            assert emb_BD.grad is not None
            grads = [*emb_BD.grad.tensor_split(self.accumulate)]
            seen = torch.stack([loss.detach(), self.loss.active])
        for number, (piece, label, grad) in enumerate(zip(pieces, labels, grads, strict=True)):
            torch.manual_seed(seed + number)
            alone = self.ranks.world > 1 and number + 1 < len(pieces)
            with self.encode.no_sync() if alone else nullcontext():
                emb_BD = self._encode(piece)
                if grad is not None:
                    emb_BD.backward(grad)
                    continue
                loss = self._loss(emb_BD, label) * (len(piece) / len(feat_BTF))
                loss.backward()
            seen = seen + torch.stack([loss.detach(), self.loss.active * (len(piece) / len(feat_BTF))])
        return seen

    def _clip(self, limit: float) -> None:
        """Shorten the gradient to `limit`; where classes are shared out, its norm is over all processes."""
        parameters = [*self.encoder.parameters(), *self.loss.parameters()]
        if not self.shared_out:
            nn.utils.clip_grad_norm_(parameters, limit)
            return
        own = self.loss.weight
        square = sum(p.grad.square().sum() for p in parameters if p.grad is not None and p is not own)
        norm = (square + self.ranks.sum(own.grad.square().sum())).sqrt()
        nn.utils.clip_grads_with_norm_(parameters, limit, norm)


def row_workers(
    encoder: nn.Module, device: torch.device, rows: int, threads: int | None, parts: int = 1
) -> int:
    """Return how many threads should share the rows of a batch; 1 where that cannot be done.

    A batch of several `parts` is shared out among as many at most. `threads` None means one for each core
    this process may use, as far as there are rows enough.
    """
    if device.type == "cpu" and parts > 1:
        return min(parts, threads or usable_cores())
    if device.type != "cpu" or not getattr(encoder, "splits_by_rows", False):
        return 1
    if threads is not None:
        return min(threads, rows)
    return max(1, min(usable_cores(), rows // ROWS_PER_WORKER))


@contextmanager
def threads_of_torch(number: int | None) -> Iterator[None]:
    """Let torch compute with `number` threads inside the block; None leaves its choice."""
    before = torch.get_num_threads()
    try:
        if number is not None:
            torch.set_num_threads(number)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def memory_advice(where: str, need: str, advice: str) -> Iterator[None]:
    """Turn running out of memory into TrainingError that says what to change.

    `where` is the device, `need` what it should hold, `advice` a sentence on the options to change.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _no_memory(error):
            raise
        raise TrainingError(
            f"{where} has too little memory for {need} ({_first_line(error)}). {advice}"
        ) from error


@contextmanager
def stop_signals() -> Iterator[threading.Event]:
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


def check_precision(encoder: nn.Module, features: int, precision: str, device: torch.device) -> None:
    """Raise BadRecipe where `device` cannot train `encoder`, of so many `features`, in that precision.

    What can be done in 16 bits depends on the device, on the processor's instructions and on torch: an LSTM
    needs more than AVX2 has. So it is tried, forward and backward through a copy. The encoder and the random
    state stay as they are.
    """
    if precision != "bf16":
        return
    trial = copy.deepcopy(encoder).to(device).train()
    feat_BTF = torch.zeros(TRIED_ROWS, TRIED_FRAMES, features, device=device)
    try:
        with torch.random.fork_rng(devices=[]), torch.autocast(device.type, torch.bfloat16):
            emb_BD = trial(feat_BTF)
        emb_BD.float().sum().backward()
    except RuntimeError as error:
        if _no_memory(error):
            raise
        raise BadRecipe(
            f'training.precision is "bf16", and the {device.type} of this machine cannot train the '
            f"{type(encoder).__name__} in 16 bits ({_first_line(error)}). Set training.precision to "
            '"float32", or train on another device.'
        ) from error


def _no_memory(error: Exception) -> bool:
    said = str(error).lower()
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(m in said for m in MEMORY_WORDS)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200].rstrip(".")
