"""One step: forward, backward, update; and what the machine does to it: threads, memory, signals, 16 bits."""

# B rows (three a triplet), T frames, F features per frame, D embedding

from __future__ import annotations

import copy
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from voxid.encoders.threads import PartThreads, RowThreads
from voxid.errors import BadRecipe, TrainingError
from voxid.parallel import usable_cores

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
    the encoder computes in 16 bits where torch says they are enough; weights and loss keep 32.
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
    ) -> None:
        self.loss, self.optimizer, self.clip_norm, self.bf16 = loss, optimizer, clip_norm, bf16
        self.parameters = [*encoder.parameters(), *loss.parameters()]
        self.encode: nn.Module | RowThreads = encoder
        if parts > 1:
            self.encode = PartThreads(encoder, parts, workers)
        elif workers > 1:
            self.encode = RowThreads(encoder, workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if isinstance(self.encode, RowThreads):
            self.encode.close()

    def __call__(self, feat_BTF: Tensor, labels_B: Tensor) -> StepResult:
        """Take one step, and return what it saw; whether the loss is finite is for the caller to look at."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(feat_BTF.device.type, torch.bfloat16, enabled=self.bf16):
            emb_BD = self.encode(feat_BTF)
        loss = self.loss(emb_BD.float(), labels_B)
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
        if isinstance(self.encode, PartThreads):
            self.encode.finish()
        return StepResult(loss.detach(), self.loss.active)


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
