"""The windows of a recording -> who of so many speakers talks in each, and how sure that is.

First the windows are clustered by the mean LLR between two of them, then an HMM passes over them a few
times, with the clusters as its states, so that turns do not flicker and edges settle (as VBx does with more
means: Landini et al., "Bayesian HMM clustering of x-vector sequences", 2022).

# W windows, K speakers, I items to be clustered, D embedding
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from voxid.scoring import Calibration, Cohort, Side, llr, reference, unit_rows
from voxid.scoring.evidence import llr_table
from voxid.scoring.similarity import halves
from voxid.timeline.clustering import agglomerate, renumbered, smoothed
from voxid.timeline.windows import WINDOW_S, Windows

STOP_LLR = 0.6  # clusters are joined down to this mean LLR of their windows: chosen in docs/log.md
TOGETHER = 1_000  # windows that are clustered together: the table of their LLRs takes 8 MB
CLEAR_S = 0.6  # windows with less speech are given to a speaker, and make none
LEAST_SPEAKER_S = 2.0  # of net speech: less makes no speaker, unless the number of speakers was given
LEAST_SHARE = 0.01  # of all speech, likewise: odd windows gather in a long recording
JOIN_LLR = 3.0  # clusters that sound so much alike as a whole are one: chosen in docs/log.md
CLIP_S = 5.0  # seconds of speech that count as one clip of evidence
CHANGE, TRUST = 2.0, 0.5  # of the HMM: chosen in docs/log.md
PASSES = 3


def speakers_of(
    windows: Windows, calibration: Calibration, cohort: Cohort | None, count: int | None = None
) -> np.ndarray:
    """Return the posterior of each speaker in each window, (W, K); speakers are in the order they first talk.

    `count` is how many there are, if that is known.
    """
    if len(windows) == 0:
        return np.zeros((0, 0))
    side = windows.side
    clear = np.flatnonzero(side.speech_s_N >= CLEAR_S)
    if not clear.size:
        clear = np.arange(len(side))
    label_W = np.full(len(windows), -1)
    label_W[clear] = _clusters(side.take(clear), calibration, cohort, count)
    if count is not None:
        return settled(windows, label_W, calibration, cohort)
    label_W = _without_small(label_W, windows.net_s_W, LEAST_SPEAKER_S)
    label_W = _joined(windows, label_W, calibration, cohort)
    least_s = least_speaker_s(windows)
    label_W = _without_small(label_W, windows.net_s_W, least_s)
    return settled(windows, label_W, calibration, cohort, least_s)


def settled(
    windows: Windows,
    label_W: np.ndarray,
    calibration: Calibration,
    cohort: Cohort | None,
    least_s: float = 0.0,
) -> np.ndarray:
    """Return the posteriors (W, K) after some passes of the HMM that begin with clusters; -1 is in none.

    A speaker who has less than `least_s` of net speech after a pass is none in the next.
    """
    side, post_WK = windows.side, np.zeros((len(windows), 0))
    for _ in range(PASSES):
        clusters = cluster_sides(windows, label_W)
        share_K = clusters.speech_s_N / clusters.speech_s_N.sum()
        fits_WK = llr_table(calibration, side, replace(clusters, clips_N=np.ones(len(clusters))), cohort)
        post_WK = smoothed(fits_WK, windows.pause_s, change=CHANGE, trust=TRUST, share_K=share_K)
        label_W = _without_small(renumbered(post_WK.argmax(axis=1)), windows.net_s_W, least_s)
    return post_WK


def parted(windows: Windows, some: list[int]) -> tuple[list[int], list[int]] | None:
    """Return the windows of one speaker in two lists that are as unlike as can be; None for little speech."""
    label_W = halves(unit_rows(windows.side.emb_ND[some]).astype(np.float64))
    parts = [[w for w, label in zip(some, label_W, strict=True) if label == side] for side in (0, 1)]
    if min(windows.net_s_W[part].sum() for part in parts) < CLIP_S:
        return None
    return parts[0], parts[1]


def cluster_sides(windows: Windows, label_W: np.ndarray) -> Side:
    """Return what each cluster is compared by: its windows as the clips of a person, worth `CLIP_S` each."""
    order = np.argsort(label_W, kind="stable")
    order = order[label_W[order] >= 0]
    begin_K = np.flatnonzero(np.diff(label_W[order], prepend=-1))
    made = reference(windows.side.emb_ND[order], windows.net_s_W[order], begin_K)
    return replace(made, clips_N=np.maximum(1.0, made.speech_s_N / CLIP_S))


def _clusters(side: Side, calibration: Calibration, cohort: Cohort | None, count: int | None) -> np.ndarray:
    """Return the cluster of each side; many are clustered in parts first, then the clusters of the parts."""
    parts = max(1, -(-len(side) // TOGETHER))
    label_W, first = np.zeros(len(side), int), 0
    for part_W in np.array_split(np.arange(len(side)), parts):
        score = llr_table(calibration, side.take(part_W), side.take(part_W), cohort)
        only = count if parts == 1 else None
        label_W[part_W] = first + agglomerate(score, np.ones(len(part_W)), stop=STOP_LLR, count=only)
        first = int(label_W[part_W].max()) + 1
    if parts == 1:
        return label_W
    mean_ID = np.zeros((first, side.emb_ND.shape[1]))
    np.add.at(mean_ID, label_W, unit_rows(side.emb_ND))
    weight_I = np.bincount(label_W).astype(float)
    return joined_means(mean_ID / weight_I[:, None], weight_I, calibration, cohort, count)[label_W]


def joined_means(
    mean_ID: np.ndarray,
    weight_I: np.ndarray,
    calibration: Calibration,
    cohort: Cohort | None,
    count: int | None = None,
) -> np.ndarray:
    """Return the cluster of each of some groups of windows, by the mean of their unit-length embeddings.

    The means are not of unit length: their products are the mean cosines of the windows.
    """
    items = Side.of(mean_ID.astype(np.float32), np.full(len(mean_ID), WINDOW_S))
    left_K, right_K = (index.ravel() for index in np.indices((len(items), len(items))))
    cosine_K = (mean_ID @ mean_ID.T).ravel()
    score = llr(calibration, items, items, cohort, cosine_K=cosine_K, left_K=left_K, right_K=right_K)
    return agglomerate(score.reshape(len(items), len(items)), weight_I, stop=STOP_LLR, count=count)


def least_speaker_s(windows: Windows) -> float:
    """Return how many seconds of net speech make a speaker, where the number of speakers was not given."""
    return max(LEAST_SPEAKER_S, LEAST_SHARE * float(windows.net_s_W.sum()))


def _joined(
    windows: Windows, label_W: np.ndarray, calibration: Calibration, cohort: Cohort | None
) -> np.ndarray:
    """Return labels in which clusters of one person are one: as a whole they tell more than their windows."""
    while True:
        clusters = cluster_sides(windows, label_W)
        llr_KK = llr_table(calibration, clusters, clusters, cohort)
        np.fill_diagonal(llr_KK, -np.inf)
        a, b = np.unique(label_W[label_W >= 0])[list(np.unravel_index(llr_KK.argmax(), llr_KK.shape))]
        if llr_KK.max() < JOIN_LLR:
            return label_W
        label_W = np.where(label_W == b, a, label_W)


def _without_small(label_W: np.ndarray, speech_s_W: np.ndarray, least_s: float) -> np.ndarray:
    """Return labels in which clusters with too little speech are taken back (-1), but for the largest."""
    speech_K = np.bincount(label_W[label_W >= 0], speech_s_W[label_W >= 0])
    kept_K = (speech_K >= least_s) | (np.arange(speech_K.size) == speech_K.argmax())
    kept_W = (label_W >= 0) & kept_K[label_W]
    return np.where(kept_W, label_W, -1)
