"""Scores: one value for what a system says of a list of trials; made, and written.

# N utterances of the data, K trials
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from voxid import metrics
from voxid.errors import BadTrials
from voxid.evaluation.embedding import Voices
from voxid.files import atomic_write
from voxid.scoring import Calibration, Cohort, FittedScorer, llr, make_scorer
from voxid.trials import Trials
from voxid.trials.data import EvaluationData
from voxid.types import Dropped

READABLE_TRIALS = 100_000  # lists up to this long are written as CSV too


def numbered(names: Iterable[str]) -> list[str]:
    """Return the names of systems, with a number behind one that came before.

    >>> numbered(["a", "b", "a"])
    ['a', 'b', 'a-2']
    """
    found: list[str] = []
    for base in names:
        tries = itertools.chain([base], (f"{base}-{number}" for number in itertools.count(2)))
        found.append(next(name for name in tries if name not in found))
    return found


@dataclass(frozen=True, eq=False)
class Scores:
    """The scores of one system on a list of trials, and what is known of where they come from.

    `left_K`, `right_K` are int32 numbers of utterances, `same_K` bool, `score_K` float: the trials that could
    be scored. `kept_K` (bool) marks them among the trials of the whole list; None: all are there. `llr_K` are
    calibrated natural-log likelihood ratios, None where there is no calibration. `speech_s_N` are the seconds
    heard of each utterance, NaN where unknown; None where nothing is known of any.
    """

    left_K: np.ndarray
    right_K: np.ndarray
    same_K: np.ndarray
    score_K: np.ndarray
    kept_K: np.ndarray | None = None
    llr_K: np.ndarray | None = None
    speech_s_N: np.ndarray | None = None
    name: str = ""
    scoring: str = "cosine"
    enrolled: bool = False  # the left sides are enrolled speakers
    folder: str = ""
    fingerprint: str = ""
    inference: str = ""
    calibration: dict[str, Any] | None = None
    decisions: list[dict[str, Any]] = field(default_factory=list)  # as in `ModelReport`
    utterances: int = 0
    trials_lost: int = 0
    left_out: list[Dropped] = field(default_factory=list)
    no_score: int = 0  # trials that whoever scored them gave no number
    full_sequence: int = 0
    from_cache: int = 0
    embed_s: float = 0.0
    score_s: float = 0.0

    def __len__(self) -> int:
        return self.score_K.size

    @cached_property
    def eer(self) -> metrics.Eer:
        """The equal error rate, and the threshold it is at."""
        return metrics.eer(self.score_K, self.same_K)


def score_trials(voices: Voices, trials: Trials, scorer: FittedScorer | None = None) -> Scores:
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
    speech_s_N = np.full(voices.row_N.size, np.nan)
    speech_s_N[voices.row_N >= 0] = voices.speech_s_U
    return Scores(
        left_K,
        right_K,
        trials.same_K[kept_K],
        score_K,
        kept_K,
        speech_s_N=speech_s_N,
        enrolled=trials.models is not None,
        utterances=voices.utterances,
        trials_lost=int(np.count_nonzero(~kept_K)),
        left_out=voices.left_out,
        full_sequence=voices.full_sequence,
        from_cache=voices.from_cache,
        embed_s=voices.seconds,
        score_s=perf_counter() - begin,
    )


def llrs(scores: Scores, voices: Voices, calibration: Calibration, cohort: Cohort | None) -> np.ndarray:
    """Return the LLR of every trial, (K,) float64; the scores have to be cosines of these voices."""
    row_N, sides = voices.row_N, voices.sides
    return llr(
        calibration,
        sides,
        sides,
        cohort,
        cosine_K=scores.score_K,
        left_K=row_N[scores.left_K],
        right_K=row_N[scores.right_K],
    )


def write_scores(folder: Path, scores: Scores, data: EvaluationData) -> list[str]:
    """Write scores-NAME.npz, and scores-NAME.csv for a list that a person can read; return their names.

    The .npz holds utterances (N,), left and right int32 (K,) into it, scores float32, same bool; `numpy.load`
    reads it without pickle. The .csv has the columns left, right, label, score: `--trials` reads it back.
    Raise DiskFull, NotWritable or OutputError.
    """
    stem = "scores-" + re.sub(r"[^\w.+-]+", "_", scores.name)
    names = [utterance.utterance for utterance in data.utterances]
    with atomic_write(folder / f"{stem}.npz") as file:
        np.savez(
            file,
            utterances=np.array(names, dtype=np.str_),
            left=scores.left_K,
            right=scores.right_K,
            scores=scores.score_K,
            same=scores.same_K,
        )
    if len(scores) > READABLE_TRIALS:
        return [f"{stem}.npz"]
    columns = (scores.left_K, scores.right_K, scores.same_K, scores.score_K)
    with atomic_write(folder / f"{stem}.csv", "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["left", "right", "label", "score"])
        writer.writerows(
            (names[left], names[right], int(same), f"{value:.6f}")
            for left, right, same, value in zip(*(column.tolist() for column in columns), strict=True)
        )
    return [f"{stem}.npz", f"{stem}.csv"]
