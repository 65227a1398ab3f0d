"""What surrounds a training: its threads, the signals that end it, and memory that runs out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from voxid.errors import OutOfMemory

NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory")


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
def memory_advice(where: str, rows: int, window: int, knob: str) -> Iterator[None]:
    """Turn running out of memory into OutOfMemory that says what to change.

    `where` is the device, `knob` the option that sets how many rows a batch has.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        said = str(error).lower()
        known = isinstance(error, MemoryError | torch.OutOfMemoryError) or any(m in said for m in NO_MEMORY)
        if not known:
            raise
        first_line = str(error).partition("\n")[0][:200]
        raise OutOfMemory(
            f"{where} has too little memory for a batch of {rows} windows of {window} frames ({first_line}). "
            f"Lower {knob} (memory goes in proportion) or data.window, or halve the numbers themselves by "
            'training.precision = "bf16"; and start again, in another folder.'
        ) from error
