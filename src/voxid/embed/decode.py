"""Decode ahead of the network: background threads open, check and measure while the caller embeds.

Shapes: S samples.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np

from voxid import audio
from voxid.errors import AudioError
from voxid.parallel import ordered, usable_cores
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
    index: int, item: Any, long_s: float = LONG_S, vad: str | None = None, stop: Event | None = None
) -> Decoded:
    """Return `item` opened and checked, its speech measured by `vad`; an AudioError is kept, not raised."""
    try:
        return Decoded(index, audio.inspect(item, vad=vad, keep_s=long_s, stop=stop))
    except AudioError as error:
        return Decoded(index, error=error)


def decode_ahead(
    items: Iterable[Any],
    *,
    long_s: float = LONG_S,
    vad: str | None = None,
    ahead_s: float = AHEAD_S,
    workers: int | None = None,
) -> Generator[Decoded]:
    """Yield every item decoded, in order, while `workers` threads decode the next ones.

    `vad` finds the speech that is measured (None: it is not). `items` is read in those threads, one at a
    time. No more than `ahead_s` seconds of audio, or as many items, wait to be taken; closing the iterator
    stops the threads.
    """
    stop = Event()
    count = workers or min(MOST_THREADS, usable_cores())
    line = ordered(
        lambda numbered: decode(*numbered, long_s, vad, stop),
        enumerate(items),
        workers=count,
        ahead=ahead_s * SAMPLE_RATE,
        weight=lambda decoded: max(decoded.samples, SAMPLE_RATE),  # an error has no samples, but is not free
        name="voxid-decode",
    )
    try:
        yield from line
    finally:
        stop.set()  # a thread on a long recording ends after its block
        line.close()
