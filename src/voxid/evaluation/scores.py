"""Embeddings and scores of one model on given trials, and the files that hold them.

# N utterances of the data, U of them used, D embedding, K trials
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from voxid.errors import AudioError, BadTrials
from voxid.evaluation.data import EvaluationData
from voxid.evaluation.trials import Trials
from voxid.files import atomic_write
from voxid.runtime import Runtime
from voxid.scoring import cosine_of_pairs
from voxid.types import Dropped

READABLE_TRIALS = 100_000  # lists up to this long are written as CSV too


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of one model on the trials that could be scored.

    `kept_K` (bool, over all trials) marks those; `score_K`, `left_K`, `right_K`, `same_K` are theirs.
    """

    kept_K: np.ndarray
    left_K: np.ndarray
    right_K: np.ndarray
    same_K: np.ndarray
    score_K: np.ndarray
    left_out: list[Dropped]
    utterances: int
    full_sequence: int
    embed_s: float
    score_s: float


def score(
    runtime: Runtime,
    data: EvaluationData,
    trials: Trials,
    progress: Callable[[int, int], None] | None = None,
) -> Scored:
    """Return the cosine score of every trial, after embedding each utterance of the trials exactly once.

    Utterances that raise an AudioError are left out, and the trials they occur in. Raise BadTrials when no
    trial is left.
    """
    begin = perf_counter()
    used_U = np.unique(np.concatenate((trials.left_K, trials.right_K)))
    emb_UD = np.zeros((used_U.size, runtime.dim), dtype=np.float32)
    usable_U = np.zeros(used_U.size, dtype=bool)
    left_out: list[Dropped] = []
    full_sequence = 0

    def leave_out(position: int, error: AudioError) -> None:
        utterance = data.utterances[used_U[position]]
        left_out.append(Dropped(utterance.utterance, utterance.path, error.reason, str(error)))

    for position, emb_D, info in runtime.embed_each((data.audio(int(i)) for i in used_U), leave_out):
        emb_UD[position], usable_U[position] = emb_D, True
        full_sequence += info.full_sequence
        if progress is not None:
            progress(int(usable_U.sum()) + len(left_out), used_U.size)
    embedded = perf_counter()

    place_N = np.full(len(data.utterances), -1, dtype=np.int32)
    place_N[used_U[usable_U]] = np.arange(np.count_nonzero(usable_U), dtype=np.int32)
    kept_K = (place_N[trials.left_K] >= 0) & (place_N[trials.right_K] >= 0)
    if not kept_K.any():
        first = f" The first: {left_out[0].detail}" if left_out else ""
        raise BadTrials(
            f"none of {len(trials)} trials is left: {len(left_out)} utterances were unusable.{first}"
        )
    left_K, right_K = trials.left_K[kept_K], trials.right_K[kept_K]
    score_K = cosine_of_pairs(emb_UD[usable_U], place_N[left_K], place_N[right_K])
    return Scored(
        kept_K=kept_K,
        left_K=left_K,
        right_K=right_K,
        same_K=trials.same_K[kept_K],
        score_K=score_K,
        left_out=left_out,
        utterances=int(np.count_nonzero(usable_U)),
        full_sequence=full_sequence,
        embed_s=embedded - begin,
        score_s=perf_counter() - embedded,
    )


def write_scores(path: str | os.PathLike[str], scored: Scored, data: EvaluationData) -> None:
    """Write `path` (.npz): utterances (N,), left and right int32 (K,) into it, scores float32, same bool.

    `numpy.load` reads it without pickle. Raise DiskFull, NotWritable or OutputError.
    """
    names = np.array([u.utterance for u in data.utterances], dtype=np.str_)
    with atomic_write(path) as file:
        np.savez(
            file,
            utterances=names,
            left=scored.left_K,
            right=scored.right_K,
            scores=scored.score_K,
            same=scored.same_K,
        )


def write_readable_scores(path: str | os.PathLike[str], scored: Scored, data: EvaluationData) -> None:
    """Write `path` (.csv) with the columns left, right, label, score: a list `--trials` reads back."""
    names = [u.utterance for u in data.utterances]
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["left", "right", "label", "score"])
        writer.writerows(
            (names[left], names[right], int(same), f"{value:.6f}")
            for left, right, same, value in zip(
                scored.left_K.tolist(),
                scored.right_K.tolist(),
                scored.same_K.tolist(),
                scored.score_K.tolist(),
                strict=True,
            )
        )
