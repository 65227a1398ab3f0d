"""Rows of length 1, in the precision that searching needs."""

# N rows, D dimensions

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadVoiceprint


def unit_rows(emb_ND: ArrayLike, dim: int) -> np.ndarray:
    """Return the rows scaled to length 1, (N, D) float64.

    Raise BadVoiceprint for rows that are not (N, D) numbers, hold NaN or infinity, or are all zeros: these
    have no direction, and no cosine of them means anything.
    """
    try:
        rows_ND = np.asarray(emb_ND)
        if rows_ND.dtype.kind not in "fiu":
            raise TypeError(f"values of type {rows_ND.dtype}")
        rows_ND = rows_ND.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise BadVoiceprint(f"embeddings are rows of real numbers (N, {dim}); got {error}.") from error
    if rows_ND.ndim != 2 or rows_ND.shape[1] != dim:
        raise BadVoiceprint(
            f"embeddings are rows of {dim} numbers, (N, {dim}); got an array of shape {rows_ND.shape}. "
            "Were they made by the same model?"
        )
    peak_N = np.abs(rows_ND).max(axis=1, initial=0.0)
    if (bad := np.flatnonzero(~((peak_N > 0) & (peak_N < np.inf)))).size:
        raise BadVoiceprint(
            f"{bad.size} of {len(rows_ND)} embeddings have no direction to compare (the first is row "
            f"{bad[0]}): all zeros, NaN or infinite. Look at the recording and at the model that made them."
        )
    rows_ND /= peak_N[:, None]  # so that squares neither overflow nor vanish
    rows_ND /= np.sqrt(np.einsum("nd,nd->n", rows_ND, rows_ND))[:, None]
    return rows_ND
