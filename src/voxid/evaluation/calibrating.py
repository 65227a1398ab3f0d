"""Fit the line from cosine to log-likelihood ratio on a set of speakers, and keep it in the model folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from voxid import metrics
from voxid.evaluation.data import read_data
from voxid.evaluation.scores import score
from voxid.evaluation.trials import make_trials
from voxid.runtime import load
from voxid.scoring import Calibration, CalibrationSet, fit

FEWEST_TARGETS = 50  # with fewer, the slope follows a handful of pairs
FEWEST_SPEAKERS = 10

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, and what the model did on the trials it was fitted on (rates are fractions)."""

    calibration: Calibration
    eer: float
    cllr: float
    min_cllr: float
    trials: int
    left_out: dict[str, int]
    warnings: list[str] = field(default_factory=list)


def calibrate(
    model_folder: StrPath,
    data: StrPath | Iterable[StrPath],
    *,
    prior: float = 0.5,
    trials: StrPath = "all",
    seed: int = 0,
    layout: str = "auto",
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Calibrated:
    """Return the calibration fitted on all pairs of `data`, after writing it into the model folder.

    The speakers of `data` must be neither those the model was trained on (its scores are too good there)
    nor those it will be tested on (the test would know its answers). Raise a ModelError, CorpusError,
    NotEnoughSpeakers, BadScores or OutputError.

    Example: `calibrate("runs/bilstm", "corpora/dev").calibration.llr(0.8)`
    """
    from voxid.model import Model

    runtime = load(model_folder, device=device)
    corpus = read_data(data, layout)
    scored = score(runtime, corpus, make_trials(trials, corpus, seed), progress)
    targets = int(np.count_nonzero(scored.same_K))
    calibration = fit(
        scored.score_K,
        scored.same_K,
        prior,
        fitted_on=CalibrationSet(
            name=corpus.name,
            fingerprint=corpus.fingerprint,
            utterances=scored.utterances,
            speakers=int(corpus.speakers().max()) + 1,
            targets=targets,
            nontargets=scored.score_K.size - targets,
        ),
        model=runtime.fingerprint,
    )
    folder = Path(model_folder).expanduser()
    model = Model.load(folder)
    model.calibration = calibration
    model.save(folder)
    llrs = calibration.llr(scored.score_K.astype(np.float64))
    return Calibrated(
        calibration=calibration,
        eer=metrics.eer(scored.score_K, scored.same_K).rate,
        cllr=metrics.cllr(llrs, scored.same_K),
        min_cllr=metrics.min_cllr(scored.score_K, scored.same_K),
        trials=int(scored.score_K.size),
        left_out=dict(Counter(dropped.reason for dropped in scored.left_out)),
        warnings=_warnings(targets, int(corpus.speakers().max()) + 1),
    )


def _warnings(targets: int, speakers: int) -> list[str]:
    if targets >= FEWEST_TARGETS and speakers >= FEWEST_SPEAKERS:
        return []
    return [
        f"fitted on {targets} trials of one speaker and {speakers} speakers: too few to trust a probability. "
        f"Take at least {FEWEST_TARGETS} such trials and {FEWEST_SPEAKERS} speakers."
    ]
