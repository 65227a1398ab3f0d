"""A recording that arrives in blocks, cut so that every frame comes out as if it had been whole. No torch.

Features look at one window of samples at a time, and beyond the ends of a wave they see zeros or a mirror.
In the middle of a recording there is no end. So a block is handed on together with samples that came before
it, the frames that touched a cut are left out, and any function from waves to frames gives the frames of the
whole: a torch module or an exported graph.

Shapes: S samples, T frames, U numbers in a summary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, TypeVar

import numpy as np

Summary = Literal["mean", "peak"]  # of every band over the frames; of all bands and frames
Array = TypeVar("Array")  # numpy's or torch's, one axis: len, slices


class Framing(NamedTuple):
    """Where windows lie: frame t takes `window` samples from t * hop - lead on."""

    hop: int
    lead: int
    window: int

    def cut(
        self, waves: Iterable[Array], join: Callable[[list[Array]], Array]
    ) -> Iterator[tuple[Array, slice]]:
        """Yield (wave_S, frames): the next frames of the recording are `frames` among those of `wave_S`.

        The last slice is open: it takes what there is to the end, which may be nothing. `join` puts pieces of
        waves together. Memory does not grow with the length.

        >>> framing = Framing(hop=2, lead=0, window=4)
        >>> waves = [np.arange(5), np.arange(5, 9)]
        >>> [(wave.tolist(), frames) for wave, frames in framing.cut(waves, np.concatenate)]
        [([0, 1, 2, 3, 4], slice(0, 1, None)), ([0, 1, 2, 3, 4, 5, 6, 7, 8], slice(1, 3, None))]
        """
        held: Array | None = None
        first, done = 0, 0  # frame whose hop `held` begins with; frames handed on
        for wave in waves:
            held = wave if held is None else join([held, wave])
            ends = (len(held) - self.window + self.lead) // self.hop + 1  # type: ignore[arg-type]
            if first + ends > done:
                yield held, slice(done - first, ends)
                done = first + ends
                # what mirrors the end looks back, so a window more than the next frame needs is kept
                start = max(first, done - -(-(self.lead + self.window) // self.hop))
                held, first = held[(start - first) * self.hop :], start  # type: ignore[index]
        if held is not None:
            yield held, slice(done - first, None)


class Summing:
    """The summary of one utterance's `log_mel` from its pieces (T, M), in 64 bits, holding none of them.

    >>> mean = Summing("mean")
    >>> for logmel_TM in (np.array([[1.0, 2.0]]), np.array([[3.0, 2.0], [5.0, 2.0]])):
    ...     mean.add(logmel_TM)
    >>> mean.value().tolist(), mean.frames
    ([[3.0, 2.0]], 3)
    """

    def __init__(self, kind: Summary) -> None:
        self._kind = kind
        self._total: np.ndarray | None = None
        self.frames = 0

    def add(self, logmel_TM: np.ndarray) -> None:
        """Take the next frames."""
        if not len(logmel_TM):
            return
        if self._kind == "mean":
            new = logmel_TM.sum(axis=0, dtype=np.float64)
            self._total = new if self._total is None else self._total + new
        else:
            new = logmel_TM.max(keepdims=True).reshape(1)
            self._total = new if self._total is None else np.maximum(self._total, new)
        self.frames += len(logmel_TM)

    def value(self) -> np.ndarray:
        """Return the summary float32 (1, U); there has to be a frame."""
        assert self._total is not None, "a recording without a frame has no summary"
        total_U = self._total / self.frames if self._kind == "mean" else self._total
        return total_U[None].astype(np.float32)
