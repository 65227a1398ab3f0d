"""Any file or buffer -> mono 16 kHz float32.

`load` is `blocks` joined, so both give the same samples; `blocks` holds few of them, however long the file.
"""

# S samples, C channels

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soxr

from voxid.audio.checks import not_finite
from voxid.audio.sources import Opened, Part, Source, fall_short, open_source
from voxid.errors import AudioEmpty, AudioNotFinite, AudioTruncated, BadAudioInput
from voxid.types import SAMPLE_RATE

PIECE = 1 << 18  # source frames decoded at a time: 16 s at 16 kHz, 1 MiB a channel
_TO_THE_END = 1 << 60  # frames
OVERSHOOT_S = 0.5  # a segment list may promise so much more than the file has: rounding, not a missing end


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What a header says: frames, channels and rate (Hz) of the source; `format` such as "FLAC PCM_16".

    >>> info("alice1.wav")
    AudioInfo(duration_s=4.0, sample_rate=16000, channels=1, frames=64000, format='WAV PCM_16')
    """

    duration_s: float
    sample_rate: int
    channels: int
    frames: int
    format: str


def info(source: Source) -> AudioInfo:
    """Return what the header of `source` says; nothing is decoded. Raise an AudioError.

    >>> info((np.zeros((8000, 2), np.int16), 16000)).duration_s
    0.5
    """
    with open_source(source) as opened:
        return AudioInfo(
            duration_s=opened.frames / opened.rate,
            sample_rate=opened.rate,
            channels=opened.channels,
            frames=opened.frames,
            format=opened.format,
        )


def load(source: Source, *, start_s: float = 0.0, duration_s: float | None = None) -> np.ndarray:
    """Return `source` as float32 samples (S,), mono at 16 kHz.

    `source` is a path, the bytes of a file, an open binary file (read from its beginning) or (samples, rate)
    with samples (S,) or (S, C); integers are scaled by the full range of their type, as in files. Channels
    are averaged, another rate is resampled (soxr HQ), and nothing else is changed. `start_s` and `duration_s`
    cut out a piece (seconds). Raise the AudioError that fits, see voxid.errors.

    >>> load((np.zeros((8000, 2), np.int16), 8000)).shape
    (16000,)
    """
    pieces = list(blocks(source, start_s=start_s, duration_s=duration_s))
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def blocks(
    source: Source, *, start_s: float = 0.0, duration_s: float | None = None, block_s: float = 30.0
) -> Iterator[np.ndarray]:
    """Yield the samples that `load` returns in pieces of `block_s` seconds (the last may be shorter).

    Memory does not grow with the length of the source. Raise as `load` does, possibly after some blocks: a
    file that breaks off shows it at its end.

    >>> samples = (np.zeros(40_000, np.float32), 16_000)
    >>> print(*(len(block) for block in blocks(samples, block_s=1.0)))
    16000 16000 8000
    """
    part = Part.of(source)
    if duration_s is None and part.duration_s is not None:
        duration_s = part.duration_s - start_s
    with open_source(part) as opened:
        yield from read_blocks(opened, part.start_s + start_s, duration_s, block_s)


def read_blocks(
    opened: Opened, start_s: float = 0.0, duration_s: float | None = None, block_s: float = 30.0
) -> Iterator[np.ndarray]:
    """Yield what `blocks` does, from a source that is open already.

    >>> with open_source("alice1.wav") as opened:
    ...     [len(block) for block in read_blocks(opened, start_s=1.0, block_s=2.0)]
    [32000, 16000]
    """
    if not (math.isfinite(block_s) and round(block_s * SAMPLE_RATE) >= 1):
        raise BadAudioInput(f"block_s must be at least one sample long, got {block_s!r}. Take some seconds.")
    size = round(block_s * SAMPLE_RATE)
    waiting: list[np.ndarray] = []
    held = 0
    for piece in _resampled(opened, start_s, duration_s):
        waiting.append(piece)
        held += len(piece)
        if held < size:
            continue
        joined = np.concatenate(waiting)
        whole = held - held % size
        for start in range(0, whole, size):
            yield joined[start : start + size]
        waiting, held = [joined[whole:]], held - whole
    if held:
        yield np.concatenate(waiting)


def _resampled(opened: Opened, start_s: float, duration_s: float | None) -> Iterator[np.ndarray]:
    """Yield mono float32 pieces at 16 kHz."""
    pieces = _mono(opened, start_s, duration_s)
    if opened.rate == SAMPLE_RATE:
        yield from pieces
        return
    stream = soxr.ResampleStream(opened.rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for piece in pieces:
        yield stream.resample_chunk(piece)
    yield stream.resample_chunk(np.zeros(0, np.float32), last=True)


def _mono(opened: Opened, start_s: float, duration_s: float | None) -> Iterator[np.ndarray]:
    """Yield the wanted frames at the source's rate, channels averaged; raise where it breaks off."""
    first, wanted = _range(opened, start_s, duration_s)
    if first:
        opened.seek(first)
    got = 0
    while got < wanted:
        samples = opened.read(min(PIECE, wanted - got))
        if len(samples) == 0:
            break
        if not np.isfinite(samples).all():
            raise AudioNotFinite(f"{opened.name}: {not_finite(samples, first + got)}")
        got += len(samples)
        yield samples if samples.ndim == 1 else samples.mean(axis=1, dtype=np.float32)
    if got == 0:
        raise AudioEmpty(f"{opened.name}: no samples. Record it again, or leave it out.")
    if got < wanted and opened.exact:
        fall_short(opened, (first + got) / opened.rate, (first + wanted) / opened.rate)


def _range(opened: Opened, start_s: float, duration_s: float | None) -> tuple[int, int]:
    """Return (first frame, number of frames) of the piece asked for."""
    if not (math.isfinite(start_s) and start_s >= 0):
        raise BadAudioInput(f"start_s must be 0 or more seconds, got {start_s!r}.")
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise BadAudioInput(f"duration_s must be more than 0 seconds, or None for all, got {duration_s!r}.")
    first = round(start_s * opened.rate)
    there = max(0, opened.frames - first) if opened.exact else _TO_THE_END
    if opened.frames and there == 0:
        raise AudioEmpty(
            f"{opened.name}: nothing is left at {start_s:g} s, the recording ends at "
            f"{opened.frames / opened.rate:g} s. Check the times."
        )
    if duration_s is None:
        return first, there
    wanted = round(duration_s * opened.rate)
    if opened.exact and opened.frames and wanted - there > OVERSHOOT_S * opened.rate:
        raise AudioTruncated(
            f"{opened.name}: asked for {start_s:g} to {start_s + duration_s:g} s, the recording ends at "
            f"{opened.frames / opened.rate:g} s. Copy or download it again, or correct the times."
        )
    return first, min(wanted, there)
