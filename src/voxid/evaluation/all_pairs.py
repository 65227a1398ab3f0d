"""Every pair of a large set of utterances, counted as it is scored: memory does not grow with the pairs.

# N utterances, D embedding, B bins
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from voxid.embed import Embedder
from voxid.errors import BadScores
from voxid.evaluation.embedding import Voices
from voxid.evaluation.report.values import ModelReport
from voxid.metrics import Det, ScoreHistogram
from voxid.metrics.resampling import FARS
from voxid.scoring import unit_rows
from voxid.trials.data import EvaluationData
from voxid.types import count_reasons

WHY_NO_INTERVALS = (
    "there are too many trials to hold; take N-pairs for intervals, groups and the worst trials"
)
ROWS, COLUMNS = 512, 1024  # of a tile: 2 MiB of scores, which stay in the cache while they are counted


def all_pairs_histogram(
    emb_ND: ArrayLike, speaker_N: ArrayLike, *, bins: int = 1 << 16, threads: int | None = None
) -> ScoreHistogram:
    """Return the counted cosines of all N (N - 1) / 2 pairs of different utterances.

    `emb_ND` is (N, D), `speaker_N` (N,) numbers or names. 100,000 utterances are 5 billion trials; their
    error rates come with a bound: `histogram.eer()`. Matrix products of blocks of rows are counted as they
    are made, on `threads` threads. Memory: the embeddings and a few MiB a thread. Identical embeddings have
    a cosine of 1, which is counted as outside. Raise BadScores for embeddings that have no direction, and
    when the two arguments do not fit.

    >>> found = all_pairs_histogram([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], ["ann", "ann", "bob", "bob"])
    >>> found.targets, found.nontargets, found.eer().rate
    (2, 4, 0.0)
    """
    rows_ND = unit_rows(emb_ND)
    speakers = np.asarray(speaker_N)
    if speakers.shape != rows_ND.shape[:1]:
        raise BadScores(
            f"each embedding has one speaker, got {rows_ND.shape[0]} embeddings and speakers of shape "
            f"{speakers.shape}. Give both for the same utterances."
        )
    _, code_N = np.unique(speakers, return_inverse=True)
    order = np.argsort(code_N, kind="stable")  # a speaker's pairs lie together, near the diagonal
    rows_ND, code_N = rows_ND[order], code_N[order]
    histogram = ScoreHistogram(bins)

    def of_tile(corner: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        return _count_tile(histogram, rows_ND, code_N, *corner)

    size = len(rows_ND)
    corners = [(i, j) for i in range(0, size, ROWS) for j in range(i - i % COLUMNS, size, COLUMNS)]
    with ThreadPoolExecutor(threads or min(4, os.cpu_count() or 1)) as workers:
        for start in range(0, len(corners), 64):  # so that few results wait at any time
            for all_B, target_B in workers.map(of_tile, corners[start : start + 64]):
                histogram.add_counts(target_B, all_B - target_B)
    return histogram


def _count_tile(
    histogram: ScoreHistogram, rows_ND: np.ndarray, code_N: np.ndarray, top: int, left: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (counts of all pairs, of target pairs) of a tile, as far as it lies above the diagonal.

    Target trials are few, and rectangles of the tile: counting all, then them, is less work than telling
    every score's kind. Both counts are of the same products, to the bit.
    """
    bottom, right = min(top + ROWS, len(rows_ND)), min(left + COLUMNS, len(rows_ND))
    score_IJ = rows_ND[top:bottom] @ rows_ND[left:right].T
    row_I, column_J = np.arange(top, bottom), np.arange(left, right)
    # above the diagonal, where it goes through
    all_B = histogram.count(score_IJ[column_J > row_I[:, None]] if left < bottom else score_IJ)
    targets = [np.empty(0, np.float32)]
    first, last = max(code_N[top], code_N[left]), min(code_N[bottom - 1], code_N[right - 1])
    for speaker in range(first, last + 1):
        begin, end = np.searchsorted(code_N, (speaker, speaker + 1))
        rows = slice(max(begin - top, 0), max(end - top, 0))
        columns = slice(max(begin - left, 0), max(end - left, 0))
        own = score_IJ[rows, columns]
        targets.append(own[column_J[columns] > row_I[rows, None]])
    return all_B, histogram.count(np.concatenate(targets))


def measure_all_pairs(
    name: str, folder: str, runtime: Embedder, voices: Voices, test: EvaluationData
) -> tuple[ModelReport, Det]:
    """Return the figures of a model on all pairs of `test`, by cosine, and its DET curve.

    Each EER comes with `eer_error_bound`, which the exact one is within. There are no groups, nor trials.
    """
    counted = all_pairs_histogram(voices.emb_UD, test.speakers()[voices.row_N >= 0])
    rate, curve = counted.eer(), counted.det()
    trials = counted.targets + counted.nontargets
    utterances = len(test.utterances)
    report = ModelReport(
        model=name,
        folder=folder,
        fingerprint=runtime.fingerprint,
        inference=runtime.score_mode,
        scoring="cosine",
        eer=rate.rate,
        eer_threshold=rate.threshold,
        eer_error_bound=rate.error_bound,
        min_dcf=counted.min_dcf(0.01).cost,
        min_dcf_05=counted.min_dcf(0.05).cost,
        frr_at_far={
            f"{far:g}": float(curve.frr[int(np.argmax(curve.far <= far))])
            if far * counted.nontargets >= 1
            else None
            for far in FARS
        },
        trials=trials,
        targets=counted.targets,
        nontargets=counted.nontargets,
        trials_lost=utterances * (utterances - 1) // 2 - trials,
        utterances=voices.utterances,
        left_out=count_reasons(voices.left_out),
        full_sequence=voices.full_sequence,
        embed_s=round(voices.seconds, 3),
        from_cache=voices.from_cache,
    )
    return report, curve
