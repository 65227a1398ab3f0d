"""Which utterances trials are made of, and who may be compared with whom.

# N utterances of the data, P of them in the pool, G groups (one speaker of one class), C classes
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from voxid.audio import info
from voxid.data.samplers import corpora_of
from voxid.errors import AudioError, BadTrials, NotEnoughSpeakers
from voxid.trials.data import EvaluationData
from voxid.trials.values import MOST_TRIALS
from voxid.types import Utterance, reasons


@dataclass(frozen=True)
class Filter:
    """Which trials are wanted: of the same sex, age group or corpus, of durations (s) in [low, high)."""

    same_sex: bool = False
    same_age_group: bool = False
    same_corpus: bool = False
    duration: tuple[float, float] | None = None

    def __bool__(self) -> bool:
        return self != Filter()


@dataclass(frozen=True, eq=False)
class Pool:
    """Utterances by group: a speaker, or what of a speaker belongs to one class. Groups stand class by class.

    Group g has the utterances `utterance_P[begin_G[g]:begin_G[g] + size_G[g]]` (ascending), the speaker
    `speaker_G[g]` and the class `class_G[g]`; only groups of one class are compared. `left_out` counts by
    reason.
    """

    spec: str
    utterance_P: np.ndarray
    begin_G: np.ndarray
    size_G: np.ndarray
    class_G: np.ndarray
    speaker_G: np.ndarray
    left_out: dict[str, int]

    def class_sizes(self) -> np.ndarray:
        """Return the number of groups in the class of each group, (G,)."""
        return np.bincount(self.class_G)[self.class_G]

    def with_rivals(self) -> np.ndarray:
        """Return the groups that can be in non-target trials: others share their class."""
        return np.flatnonzero(self.class_sizes() >= 2)

    def need_both_kinds(self, for_target: np.ndarray, for_nontarget: np.ndarray) -> None:
        """Raise NotEnoughSpeakers when there is no group for a target or for a non-target trial."""
        if for_target.size and for_nontarget.size:
            return
        speakers = np.unique(self.speaker_G).size
        raise NotEnoughSpeakers(
            "trials need two speakers, and one of them with two utterances; "
            f"got {speakers} speakers with at most {self.size_G.max(initial=0)} utterances each"
            + (f" for {self.spec!r}" if ":" in self.spec else "")
            + (f" ({reasons(self.left_out)} were left out)" if self.left_out else "")
            + ". Add speakers or utterances"
            + (", give labels, or loosen the filter." if ":" in self.spec else ".")
        )


def make_pool(spec: str, data: EvaluationData, wanted: Filter) -> Pool:
    """Return the utterances that fit the filter, in groups; what does not fit is counted."""
    left_out: Counter[str] = Counter()
    keep_N = np.ones(len(data.utterances), dtype=bool)
    if wanted.duration is not None:
        low, high = wanted.duration
        seconds_N = np.array([duration_s(utterance) for utterance in data.utterances])
        keep_N &= (seconds_N >= low) & (seconds_N < high)
        unknown = left_out["utterances_of_unknown_duration"] = int(np.isnan(seconds_N).sum())
        left_out["utterances_outside_duration"] = int((~keep_N).sum()) - unknown
    speaker_N, class_N = data.speakers(), classes(data, wanted)
    for name, label_N in _labels(data, wanted):
        unknown_N = label_N < 0
        left_out[f"speakers_without_{name}"] = np.unique(speaker_N[unknown_N]).size
        left_out[f"utterances_without_{name}"] = int(np.count_nonzero(unknown_N & keep_N))
        keep_N &= ~unknown_N
    utterance_P = np.flatnonzero(keep_N)
    speakers = max(1, len(data.speaker_names()))
    key_P = class_N[utterance_P] * speakers + speaker_N[utterance_P]
    order = np.argsort(key_P, kind="stable")
    key_G, begin_G, size_G = np.unique(key_P[order], return_index=True, return_counts=True)
    return Pool(
        spec=spec,
        utterance_P=utterance_P[order].astype(np.int32),
        begin_G=begin_G,
        size_G=size_G,
        class_G=key_G // speakers,
        speaker_G=key_G % speakers,
        left_out=dict(+left_out),
    )


def classes(data: EvaluationData, wanted: Filter) -> np.ndarray:
    """Return a number for each utterance, (N,): trials are between utterances of one number.

    Who lacks a label has a number all the same; `make_pool` leaves them out.
    """
    class_N = np.zeros(len(data.utterances), dtype=np.int64)
    if wanted.same_corpus:
        class_N += corpora_of(data.speaker_names(), data.speakers())[1]
    for _, label_N in _labels(data, wanted):
        class_N = 2 * class_N + np.maximum(label_N, 0)
    return class_N


def _labels(data: EvaluationData, wanted: Filter) -> list[tuple[str, np.ndarray]]:
    """Return the labels that have to be the same on both sides of a trial, by name."""
    sex, age = ("sex", data.sexes()), ("age", data.adults())
    return [sex] * wanted.same_sex + [age] * wanted.same_age_group


def duration_s(utterance: Utterance) -> float:
    """Return seconds; from the header of the file where the corpus does not say, NaN where that fails."""
    if utterance.duration_s is not None:
        return utterance.duration_s
    try:
        return info(utterance.path).duration_s - utterance.start_s
    except AudioError:
        return np.nan


def need_room(count: int, what: str) -> None:
    """Raise BadTrials when `count` trials are more than memory should hold."""
    if count > MOST_TRIALS:
        raise BadTrials(
            f"{what} are {count:,} trials; at most {MOST_TRIALS:,} are made. Error rates stop moving long "
            "before: ask for random ones, for example 1000000-triplets or 1000000-pairs, or give a list."
        )
