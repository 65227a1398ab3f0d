"""A recording as windows one after the other: where each lies, how much of it is speech, its embedding.

# S samples, W windows, D embedding
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from voxid.audio import MIN_DURATION_S, inspect
from voxid.audio.speech import net_s
from voxid.errors import BadConfig
from voxid.types import SAMPLE_RATE

GATHER = 256  # windows that are embedded together


@dataclass(frozen=True, eq=False, slots=True)
class WindowEmbeddings:
    """The windows of one recording, in order; `len` counts them.

    `start_s` and `end_s` (W,) are seconds from its beginning, `speech_s` (W,) the net speech in a window (NaN
    where it was not measured), `embeddings` float32 (W, D). A window without speech has an embedding too, and
    it says nothing: `windows.embeddings[windows.speech_s > 0.5]` leaves those out.

    >>> windows = model.embed_windows("alice1.wav")
    >>> windows.start_s.tolist(), windows.embeddings.shape
    ([0.0, 0.75, 1.5, 2.25, 2.5], (5, 192))
    """

    start_s: np.ndarray
    end_s: np.ndarray
    speech_s: np.ndarray
    embeddings: np.ndarray

    def __len__(self) -> int:
        return len(self.start_s)


def embed_windows(
    embed: Callable[[Sequence[np.ndarray]], np.ndarray],
    audio: Any,
    window_s: float,
    step_s: float,
    *,
    vad: str | None,
    keep_s: float,
) -> WindowEmbeddings:
    """Return the windows of `audio`, embedded by `embed`, a number of them at a time."""
    if not MIN_DURATION_S <= window_s < float("inf"):
        raise BadConfig(f"window_s is a number of seconds from {MIN_DURATION_S:g}, got {window_s!r}.")
    if not 0.01 <= step_s < float("inf"):
        raise BadConfig(f"step_s is a number of seconds from 0.01, got {step_s!r}.")
    found = inspect(audio, vad=vad, keep_s=keep_s)
    total, window = round(found.total_s * SAMPLE_RATE), round(window_s * SAMPLE_RATE)
    start_W = np.arange(0, max(total - window, 0) + 1, round(step_s * SAMPLE_RATE))
    if start_W[-1] + window < total:  # a last window that ends with the recording
        start_W = np.append(start_W, total - window)
    end_W = np.minimum(start_W + window, total)
    start_s, end_s = start_W / SAMPLE_RATE, end_W / SAMPLE_RATE
    speech_s = net_s(found.mask_T, start_s, end_s) if vad else np.full(len(start_W), np.nan)
    emb_WD = np.stack(list(embedded(embed, cut(found.blocks(), start_W, end_W))))
    return WindowEmbeddings(start_s, end_s, speech_s, emb_WD)


def embedded(
    embed: Callable[[Sequence[np.ndarray]], np.ndarray], waves: Iterator[np.ndarray]
) -> Iterator[np.ndarray]:
    """Yield the embedding of each window; `GATHER` of them are embedded, and in memory, at a time."""
    while gathered := list(islice(waves, GATHER)):
        yield from embed(gathered)


def cut(blocks: Iterable[np.ndarray], start_W: np.ndarray, end_W: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the samples of each window, from blocks of the recording, of which few are in memory.

    Windows are in order, by beginning and by end.
    """
    kept_S, at, windows = np.zeros(0, np.float32), 0, iter(zip(start_W, end_W, strict=True))
    window = next(windows, None)
    for block_S in blocks:
        kept_S = np.concatenate((kept_S, block_S))
        while window is not None and window[1] <= at + len(kept_S):
            yield kept_S[window[0] - at : window[1] - at]
            window = next(windows, None)
        if window is not None:
            gone = min(max(window[0] - at, 0), len(kept_S))
            kept_S, at = kept_S[gone:], at + gone
