"""A long recording through an encoder in pieces of time: once for each question that it asks of the whole.

Memory is that of one piece, and the embedding that of the whole (`voxid.encoders.whole` says why). Every pass
computes again what the passes before it did: more than twice the work, on arrays that stay in the cache.

Shapes: T frames, F features per frame, P pieces, C values of which means are asked for, D embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

WHOLE = 6000  # frames, a minute: what is shorter goes through the encoder at once
PIECE = 750  # frames of a piece, without those around it

# frames feat_1TF, which of them are its own (after the stride), answers (3, C) -> part (3, C), or emb_D
Ask = Callable[[np.ndarray, np.ndarray, list[np.ndarray]], np.ndarray]


def is_long(frames: int) -> bool:
    """Return whether a recording of so many frames goes in pieces.

    >>> is_long(6_000), is_long(6_001)
    (False, True)
    """
    return frames > WHOLE


def in_pieces(feat_TF: np.ndarray, reach: int, stride: int, ask: Ask, piece: int = PIECE) -> np.ndarray:
    """Return emb_D of a recording; `ask` runs the encoder on one piece, until all answers are known."""
    known: list[np.ndarray] = []
    while True:
        parts = []
        for frames, own_2 in _cut(len(feat_TF), reach, stride, piece):
            said = ask(feat_TF[None, frames], own_2, known)
            if said.ndim == 1:
                return said
            parts.append(said)
        known.append(together(np.stack(parts)))


def together(part_P3C: np.ndarray) -> np.ndarray:
    """Return mean, variance and amount (3, C) of all frames, given those of the pieces, in 64 bits.

    An amount is the logarithm of the sum of the weights.

    >>> pieces = [[[1.0], [0.0], [np.log(1)]], [[4.0], [0.5], [np.log(2)]]]  # of 1, and of 3.3 and 4.7
    >>> [round(float(value), 3) for value in together(np.array(pieces))[:, 0]]
    [3.0, 2.333, 1.099]
    """
    mean_PC, variance_PC, amount_PC = np.moveaxis(part_P3C.astype(np.float64), 1, 0)
    amount_C = np.logaddexp.reduce(amount_PC, axis=0)
    share_PC = np.exp(amount_PC - amount_C)
    mean_C = (share_PC * mean_PC).sum(axis=0)
    variance_C = (share_PC * (variance_PC + (mean_PC - mean_C) ** 2)).sum(axis=0)
    return np.stack([mean_C, variance_C, amount_C]).astype(np.float32)


def _cut(total: int, reach: int, stride: int, piece: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the frames of each piece with those around it, and which are its own, after the stride."""
    count = max(1, round(total / piece))
    edges = [round(total * number / count / stride) * stride for number in range(count)]
    reach = -(-reach // stride) * stride
    for first, last in zip(edges, [*edges[1:], total], strict=True):
        start = max(0, first - reach)
        own_2 = np.array([(first - start) // stride, -(-(last - start) // stride)])
        yield slice(start, min(total, last + reach)), own_2
