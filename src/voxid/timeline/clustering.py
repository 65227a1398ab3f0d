"""From windows to speakers: agglomerative clustering with average linkage, and an HMM over the windows.

# W windows, K clusters, I items to be clustered
"""

from __future__ import annotations

import numpy as np


def agglomerate(
    score_II: np.ndarray, weight_I: np.ndarray, *, stop: float, count: int | None = None
) -> np.ndarray:
    """Return the cluster of every item, int (I,), numbered in the order in which they first occur.

    The two clusters of the highest mean score (average linkage, weighted by `weight_I`) are joined until no
    pair reaches `stop`, or until `count` clusters are left. The diagonal of `score_II` is not looked at.

    >>> score = np.array([[0, 5, -5], [5, 0, -5], [-5, -5, 0]], float)
    >>> agglomerate(score, np.ones(3), stop=0.0).tolist()
    [0, 0, 1]
    """
    score, weight = np.array(score_II, np.float64), np.array(weight_I, np.float64)
    label_I, left = np.arange(len(score)), len(score)
    np.fill_diagonal(score, -np.inf)
    best = score.argmax(axis=1) if left else np.zeros(0, int)
    reached = score.max(axis=1) if left else np.zeros(0)
    while left > (1 if count is None else max(1, count)):
        a = int(reached.argmax())
        b = int(best[a])
        if count is None and reached[a] < stop:
            break
        mean = (weight[a] * score[a] + weight[b] * score[b]) / (weight[a] + weight[b])
        mean[[a, b]] = -np.inf
        score[a], score[:, a] = mean, mean
        score[b], score[:, b] = -np.inf, -np.inf
        weight[a] += weight[b]
        label_I[label_I == b] = a
        left -= 1
        stale = np.flatnonzero((best == a) | (best == b) | (mean > reached))
        for i in (*stale.tolist(), a, b):
            best[i] = score[i].argmax()
            reached[i] = score[i, best[i]]
    return renumbered(label_I)


def renumbered(label_I: np.ndarray) -> np.ndarray:
    """Return labels 0, 1, ... in the order in which they first occur.

    >>> renumbered(np.array([7, 7, 2])).tolist()
    [0, 0, 1]
    """
    _, first, back = np.unique(label_I, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[back]


def smoothed(
    llr_WK: np.ndarray, gap_s_W: np.ndarray, *, change: float, trust: float, share_K: np.ndarray | None = None
) -> np.ndarray:
    """Return the posterior of each speaker in each window, (W, K): forward-backward over the windows.

    `llr_WK` says how well a window fits a speaker; neighbours share samples, so `trust` of it counts. A
    change of speaker costs `change` (natural log), less after a pause of `gap_s_W` seconds. All others are as
    likely to be next, or, by their `share_K` of the speech, those more who talk more (the geometric mean).

    >>> smoothed(np.array([[9.0, 0.0], [0.0, 1.0], [9.0, 0.0]]), np.zeros(3), change=4, trust=1).argmax(1)
    array([0, 0, 0])
    """
    windows, count = llr_WK.shape
    if count < 2:
        return np.ones((windows, count))
    fits_WK = trust * llr_WK
    cost_W = change / (1 + gap_s_W)  # a pause of a second halves it
    ahead_WK, behind_WK = np.empty_like(fits_WK), np.zeros_like(fits_WK)
    next_K = np.full(count, -np.log(count - 1))
    if share_K is not None:
        next_K = (next_K + np.log(share_K)) / 2

    for w in range(windows):
        ahead_WK[w] = fits_WK[w]
        if w:
            before_K = ahead_WK[w - 1] - ahead_WK[w - 1].max()
            moved_K = np.logaddexp.reduce(before_K) - cost_W[w] + next_K
            ahead_WK[w] += np.logaddexp(before_K, moved_K)
    for w in range(windows - 2, -1, -1):
        after_K = behind_WK[w + 1] + fits_WK[w + 1]
        after_K -= after_K.max()
        moved = np.logaddexp.reduce(after_K + next_K) - cost_W[w + 1]
        behind_WK[w] = np.logaddexp(after_K, moved)
    both_WK = ahead_WK + behind_WK
    return np.exp(both_WK - np.logaddexp.reduce(both_WK, axis=1, keepdims=True))
