"""What every metric asks of its scores, labels and costs before it counts anything.

# K trials, of them T target and N non-target
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadScores


def split(scores: ArrayLike, labels: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores of target trials (T,) and of non-target trials (N,), copies that may be sorted.

    float32 stays float32, everything else becomes float64. Raise BadScores for what no error rate can be
    counted on.
    """
    score_K, label_K = as_array(scores, "scores"), as_array(labels, "labels")
    if score_K.ndim != 1 or score_K.shape != label_K.shape:
        raise BadScores(
            f"scores and labels are lists of one length, got shapes {score_K.shape} and {label_K.shape}. "
            "Give one label for each score."
        )
    return split_checked(finite(score_K), same_speaker(label_K))


def split_checked(score_K: np.ndarray, same_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (target scores, non-target scores) of checked arrays; raise BadScores when one is empty."""
    targets = int(np.count_nonzero(same_K))
    nontargets = same_K.size - targets
    if not targets or not nontargets:
        raise BadScores(
            f"an error rate needs trials of both kinds, got {targets} target, {nontargets} non-target trials."
            " Add trials of the missing kind."
        )
    return score_K[same_K], score_K[~same_K]


def as_array(values: ArrayLike, what: str) -> np.ndarray:
    """Return `values` as an array; raise BadScores for lists of different lengths within each other."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        raise BadScores(f"the {what} are partly masked. Leave the masked trials out of scores and labels.")
    try:
        return np.asarray(values)
    except ValueError as error:
        raise BadScores(f"{what} are a list of numbers, got one that is no array: {error}") from error


def finite(score_K: np.ndarray) -> np.ndarray:
    """Return the scores as float32 if they were, else float64; raise BadScores unless all are finite."""
    if score_K.dtype.kind not in "fiub":
        raise BadScores(f"scores are real numbers, got an array of {score_K.dtype}. Give float32 or float64.")
    if score_K.dtype != np.float32:
        score_K = score_K.astype(np.float64, copy=False)
    bad = score_K.size - int(np.count_nonzero(np.isfinite(score_K)))
    if bad:
        raise BadScores(
            f"{bad} of {score_K.size} scores are NaN or infinite: find the embeddings that made them."
        )
    return score_K


def same_speaker(label_K: np.ndarray) -> np.ndarray:
    """Return booleans, True for target trials; raise BadScores for labels other than 0 and 1."""
    if label_K.dtype == np.bool_:
        return label_K
    same_K = label_K == 1
    if int(np.count_nonzero(same_K)) + int(np.count_nonzero(label_K == 0)) != label_K.size:
        raise BadScores(
            "labels are 1 (or True) for one speaker and 0 (or False) for two, got other values. "
            "Turn words or -1 into these first."
        )
    return same_K
