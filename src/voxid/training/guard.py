"""What surrounds a training: its threads, the signals that end it, and what its device cannot do.

Shapes: B batch, T frames, F features per frame, D embedding.
"""

from __future__ import annotations

import copy
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from voxid.errors import BadRecipe, OutOfMemory

NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")
TRIED_ROWS, TRIED_FRAMES = 2, 20  # of the batch that shows whether a device can compute in 16 bits


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


@contextmanager
def memory_advice(where: str, need: str, advice: str) -> Iterator[None]:
    """Turn running out of memory into OutOfMemory that says what to change.

    `where` is the device, `need` what it should hold, `advice` a sentence on the options to change.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _no_memory(error):
            raise
        raise OutOfMemory(
            f"{where} has too little memory for {need} ({_first_line(error)}). {advice}"
        ) from error


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
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(m in said for m in NO_MEMORY)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200].rstrip(".")
