"""Decode ahead of the network: background threads open, check and measure while the caller embeds.

Shapes: S samples.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxid import audio
from voxid.errors import AudioError
from voxid.parallel import usable_cores
from voxid.types import SAMPLE_RATE

LONG_S = 300.0  # seconds; a longer recording is never held in memory as a whole
MOST_THREADS = 8  # decoding Opus takes twice the time of a small network, so every core may
AHEAD_S = 600.0  # seconds of decoded audio that may wait for the network: 38 MB


@dataclass(frozen=True, slots=True)
class Decoded:
    """One recording, opened, checked and measured (`found`), or of no use (`error`)."""

    index: int
    found: audio.Inspected | None = None
    error: AudioError | None = None

    @property
    def wave(self) -> np.ndarray | None:
        """The samples, unless they are of no use or too many for memory."""
        return None if self.found is None else self.found.wave

    @property
    def long(self) -> bool:
        """Whether the recording is fit for use, but too long to be held in memory."""
        return self.found is not None and self.found.wave is None

    @property
    def samples(self) -> int:
        """The number of samples held in memory."""
        return 0 if self.wave is None else self.wave.size


def decode(
    index: int, item: Any, long_s: float = LONG_S, vad: str = "energy", stop: threading.Event | None = None
) -> Decoded:
    """Return `item` opened, checked and measured; an AudioError is kept, not raised."""
    try:
        return Decoded(index, audio.inspect(item, vad=vad, keep_s=long_s, stop=stop))
    except AudioError as error:
        return Decoded(index, error=error)


def decode_ahead(
    items: Iterable[Any],
    *,
    long_s: float = LONG_S,
    vad: str = "energy",
    ahead_s: float = AHEAD_S,
    workers: int | None = None,
) -> Generator[Decoded]:
    """Yield every item decoded, in order, while `workers` threads decode the next ones.

    `items` is read in those threads, one at a time. No more than `ahead_s` seconds of audio, or as many
    items, wait to be taken; closing the iterator stops the threads.
    """
    line = _Line(iter(items), long_s, vad, ahead_s)
    count = workers or min(MOST_THREADS, usable_cores())
    threads = [threading.Thread(target=line.work, daemon=True, name="voxid-decode") for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        while (decoded := line.take()) is not None:
            yield decoded
    finally:
        line.stop()
        for thread in threads:
            thread.join()


class _Line:
    """Items on their way from the decoding threads to the one that takes them, in order."""

    def __init__(self, items: Iterator[Any], long_s: float, vad: str, ahead_s: float) -> None:
        self._items = items
        self._long_s, self._vad = long_s, vad
        self._stop = threading.Event()
        self._room = ahead_s * SAMPLE_RATE
        self._changed = threading.Condition()
        self._ready: dict[int, Decoded] = {}
        self._started = 0
        self._taken = 0
        self._held = 0.0
        self._ended = False
        self._failure: BaseException | None = None

    def work(self) -> None:
        """Decode items until there are no more."""
        while (numbered := self._next_item()) is not None:
            try:
                decoded = decode(*numbered, self._long_s, self._vad, self._stop)
            except BaseException as error:  # a bug or MemoryError must reach the caller, not end a thread
                self._fail(error)
                return
            with self._changed:
                self._ready[decoded.index] = decoded
                self._held += self._weight(decoded)
                self._changed.notify_all()

    def _next_item(self) -> tuple[int, Any] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._held < self._room)
            if self._ended:
                return None
            try:
                item = next(self._items)
            except StopIteration:
                self._ended = True
            except BaseException as error:
                self._failure, self._ended = error, True
            else:
                self._started += 1
                return self._started - 1, item
            self._changed.notify_all()
            return None

    def take(self) -> Decoded | None:
        """Return the next item, or None after the last; raise what reading the items raised."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._taken in self._ready or (self._ended and self._taken == self._started)
            )
            if self._taken not in self._ready:
                if self._failure is not None:
                    raise self._failure
                return None
            decoded = self._ready.pop(self._taken)
            self._taken += 1
            self._held -= self._weight(decoded)
            self._changed.notify_all()
            return decoded

    def stop(self) -> None:
        """Let the threads end after the block that they are decoding now."""
        self._stop.set()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._failure, self._ended, self._started = error, True, self._taken
            self._changed.notify_all()

    @staticmethod
    def _weight(decoded: Decoded) -> int:
        return max(decoded.samples, SAMPLE_RATE)  # an error or a long file has no samples, but is not free
