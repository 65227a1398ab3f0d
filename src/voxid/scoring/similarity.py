"""Cosine scores: of every row with every row, or of chosen pairs.

A score is the plain cosine, -1 to 1, and is never rescaled.

# N, M rows, D embedding, K pairs
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadScores

BLOCK_VALUES = 1 << 22  # float32 values held at a time: 16 MiB
HALVES_PASSES = 12


def unit_rows(emb_ND: ArrayLike) -> np.ndarray:
    """Return the rows scaled to length 1, (N, D) float32.

    Raise BadScores for a row of zeros or with NaN or infinity: it has no direction, and no score of it means
    anything.

    >>> unit_rows([[3.0, 4.0]]).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    rows = np.array(emb_ND, dtype=np.float64)
    if rows.ndim != 2:
        raise BadScores(f"embeddings are the rows of a matrix (N, D), got an array of shape {rows.shape}.")
    length_N = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    if not ((length_N > 0) & (length_N < np.inf)).all():  # or squares have overflowed or vanished
        peak = np.abs(rows).max(axis=1, initial=0.0)
        bad = np.flatnonzero(~((peak > 0) & (peak < np.inf)))
        if bad.size:
            raise BadScores(
                f"{bad.size} of {len(rows)} embeddings cannot be compared (the first is row {bad[0]}): "
                "all zeros, NaN or infinite. Look at the recording and at the model that made them."
            )
        rows /= peak[:, None]
        length_N = np.sqrt(np.einsum("nd,nd->n", rows, rows))
    rows /= length_N[:, None]
    return rows.astype(np.float32)


def cosine(a_ND: ArrayLike, b_MD: ArrayLike) -> np.ndarray:
    """Return the cosine of every row of `a` with every row of `b`, (N, M) float32 within [-1, 1].

    Raise BadScores when the dimensions differ, or as `unit_rows` does.

    >>> cosine([[1.0, 0.0]], [[2.0, 0.0], [0.0, 5.0]]).tolist()
    [[1.0, 0.0]]
    """
    a, b = unit_rows(a_ND), unit_rows(b_MD)
    if a.shape[1] != b.shape[1]:
        raise other_models(a.shape[1], b.shape[1])
    return np.clip(a @ b.T, -1, 1)


def other_models(one: int, other: int) -> BadScores:
    """Return the error for embeddings of two sizes."""
    return BadScores(
        f"embeddings of {one} and {other} dimensions cannot be compared: they come from different models."
    )


def cosine_of_pairs(emb_ND: ArrayLike, left_K: np.ndarray, right_K: np.ndarray) -> np.ndarray:
    """Return the cosine of row left_K[k] with row right_K[k], (K,) float32 within [-1, 1].

    Many pairs of few rows (all pairs of a test set) go through one matrix product a block of rows at a time;
    memory stays that of the block. Raise BadScores as `unit_rows` does.

    >>> cosine_of_pairs([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]], np.array([0, 0]), np.array([1, 2])).tolist()
    [0.0, 1.0]
    """
    scores = dots_of_pairs(unit_rows(emb_ND), left_K, right_K)
    return np.clip(scores, -1, 1, out=scores)


def dots_of_pairs(rows_ND: np.ndarray, left_K: np.ndarray, right_K: np.ndarray) -> np.ndarray:
    """Return the inner product of row left_K[k] with row right_K[k], (K,) float32, in bounded extra memory.

    >>> dots_of_pairs(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), np.array([0]), np.array([1])).tolist()
    [11.0]
    """
    dense = left_K.size * 8 > len(rows_ND) ** 2 and bool(np.all(left_K[1:] >= left_K[:-1]))
    return (_pairs_by_product if dense else _pairs_by_row)(rows_ND, left_K, right_K)


def _pairs_by_product(rows_ND: np.ndarray, left_K: np.ndarray, right_K: np.ndarray) -> np.ndarray:
    scores = np.empty(left_K.size, dtype=np.float32)
    block = max(1, BLOCK_VALUES // len(rows_ND))
    for first in range(0, len(rows_ND), block):
        begin, end = np.searchsorted(left_K, (first, first + block))
        table = rows_ND[first : first + block] @ rows_ND.T
        scores[begin:end] = table[left_K[begin:end] - first, right_K[begin:end]]
    return scores


def _pairs_by_row(rows_ND: np.ndarray, left_K: np.ndarray, right_K: np.ndarray) -> np.ndarray:
    scores = np.empty(left_K.size, dtype=np.float32)
    block = max(1, BLOCK_VALUES // rows_ND.shape[1])
    for begin in range(0, left_K.size, block):
        end = begin + block
        scores[begin:end] = np.einsum("kd,kd->k", rows_ND[left_K[begin:end]], rows_ND[right_K[begin:end]])
    return scores


def halves(unit_ID: np.ndarray) -> np.ndarray:
    """Return 0 or 1 for each of some unit-length embeddings: 2-means by cosine, begun along their main axis.

    >>> first, *others = halves(np.array([[1.0, 0.0], [0.9, 0.44], [0.0, 1.0], [0.44, 0.9]])).tolist()
    >>> [one == first for one in others]
    [True, False, False]
    """
    centred_ID = unit_ID - unit_ID.mean(axis=0)
    label_I = (centred_ID @ np.linalg.svd(centred_ID, full_matrices=False)[2][0] > 0).astype(int)
    for _ in range(HALVES_PASSES):
        if label_I.min() == label_I.max():
            break
        mean_2D = unit_rows(np.stack([unit_ID[label_I == side].mean(axis=0) for side in (0, 1)]))
        label_I, last_I = (unit_ID @ mean_2D.T).argmax(axis=1), label_I
        if (label_I == last_I).all():
            break
    return label_I
