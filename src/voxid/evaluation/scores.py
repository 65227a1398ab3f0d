"""Scores of one system on given trials, and the files that hold them.

# N utterances of the data, K trials
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from voxid.embed import Runtime
from voxid.errors import BadTrials
from voxid.evaluation.cache import EmbeddingCache
from voxid.evaluation.embedding import Progress, Voices, embed_used, with_models
from voxid.evaluation.measure import System
from voxid.files import atomic_write
from voxid.scoring import Calibration, Cohort, FittedScorer, llr, make_scorer
from voxid.trials import Trials
from voxid.trials.data import EvaluationData

READABLE_TRIALS = 100_000  # lists up to this long are written as CSV too


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of one system on the trials that could be scored.

    `kept_K` (bool, over all trials) marks those; `score_K`, `left_K`, `right_K`, `same_K` are theirs.
    """

    kept_K: np.ndarray
    left_K: np.ndarray
    right_K: np.ndarray
    same_K: np.ndarray
    score_K: np.ndarray
    voices: Voices
    seconds: float


def score(
    runtime: Runtime,
    data: EvaluationData,
    trials: Trials,
    progress: Progress | None = None,
    cache: EmbeddingCache | None = None,
) -> Scored:
    """Return the cosine score of every trial, after embedding each utterance of the trials exactly once.

    Utterances that raise an AudioError are left out, and the trials they occur in. Raise BadTrials when no
    trial is left.
    """
    voices = embed_used(runtime, data, trials.used(), cache=cache, progress=progress)
    return score_trials(with_models(voices, trials), trials)


def score_trials(voices: Voices, trials: Trials, scorer: FittedScorer | None = None) -> Scored:
    """Return the score (cosine, or the scorer's) of every trial whose utterances have an embedding.

    Raise BadTrials when no trial is left.
    """
    begin = perf_counter()
    kept_K = (voices.row_N[trials.left_K] >= 0) & (voices.row_N[trials.right_K] >= 0)
    if not kept_K.any():
        left_out = voices.left_out
        first = f" The first: {left_out[0].detail}" if left_out else ""
        raise BadTrials(
            f"none of {len(trials)} trials is left: {len(left_out)} utterances were unusable.{first}"
        )
    left_K, right_K = trials.left_K[kept_K], trials.right_K[kept_K]
    scorer = scorer or make_scorer("cosine").fit()
    score_K = scorer.pairs(voices.emb_UD, voices.row_N[left_K], voices.row_N[right_K])
    return Scored(
        kept_K=kept_K,
        left_K=left_K,
        right_K=right_K,
        same_K=trials.same_K[kept_K],
        score_K=score_K,
        voices=voices,
        seconds=perf_counter() - begin,
    )


def llrs(scored: Scored, calibration: Calibration, cohort: Cohort | None) -> np.ndarray:
    """Return the LLR of every trial, (K,) float64; the scores have to be cosines."""
    row_N, sides = scored.voices.row_N, scored.voices.sides
    return llr(
        calibration,
        sides,
        sides,
        cohort,
        cosine_K=scored.score_K,
        left_K=row_N[scored.left_K],
        right_K=row_N[scored.right_K],
    )


def write_scores(path: str | os.PathLike[str], scored: Scored | System, data: EvaluationData) -> None:
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


def write_readable_scores(
    path: str | os.PathLike[str], scored: Scored | System, data: EvaluationData
) -> None:
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
