"""Which utterance is compared with which: all pairs, random triplets, or a list from a file.

Trials are index arrays, 9 bytes each, so that all pairs of a large test set stay small.

# N utterances, K trials
"""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from voxid.audio import AUDIO_SUFFIXES
from voxid.errors import BadTrials, NotEnoughSpeakers
from voxid.evaluation.data import EvaluationData

MOST_PAIRS = 200_000_000  # all pairs of 20,000 utterances: 2.6 GB with their scores
SAME = {"1", "target", "true", "same"}
DIFFERENT = {"0", "nontarget", "false", "different"}
COLUMNS = ("left", "right", "label")
FORMATS = (
    "VoxCeleb lines '1 left right', Kaldi lines 'left right target', or CSV lines 'left,right,label' "
    "(labels: 1/0, target/nontarget, same/different)"
)


@dataclass(frozen=True, eq=False)
class Trials:
    """Pairs of utterances by their number in the data, and whether one speaker said both.

    `left_K` and `right_K` are int32 (K,), `same_K` bool (K,). `warnings` counts what looks wrong in a list.
    """

    spec: str
    left_K: np.ndarray
    right_K: np.ndarray
    same_K: np.ndarray
    warnings: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.left_K.size


def make_trials(spec: str | os.PathLike[str], data: EvaluationData, seed: int = 0) -> Trials:
    """Return the trials that `spec` names: "all", "N-triplets", or the path of a list.

    All pairs: each two utterances once. Triplets: N times a random speaker with two utterances or more, an
    anchor and another utterance of that speaker (a target trial), and a random utterance of another random
    speaker (a non-target trial with the same anchor); the same `seed` gives the same triplets.

    Raise BadTrials when the spec is none of these, a list is malformed or names utterances that the data
    does not have; NotEnoughSpeakers when the data cannot give both kinds of trial.
    """
    text = os.fspath(spec)
    if text == "all":
        return _all_pairs(data.speakers())
    if match := re.fullmatch(r"(\d+)-triplets", text):
        return _triplets(int(match[1]), data.speakers(), seed)
    path = Path(text).expanduser()
    if not os.path.isfile(path):  # noqa: PTH113 - Path raises where a folder may not be entered
        raise BadTrials(
            f"trials are 'all', 'N-triplets' (for example 10000-triplets) or the path of a list; {text!r} is "
            "none of these, and there is no such file."
        )
    return _from_list(path, data)


def _all_pairs(speaker_N: np.ndarray) -> Trials:
    _need_both_kinds(speaker_N)
    n = speaker_N.size
    pairs = n * (n - 1) // 2
    if pairs > MOST_PAIRS:
        raise BadTrials(
            f"all pairs of {n:,} utterances are {pairs:,} trials; at most {MOST_PAIRS:,} are made. "
            "Ask for random ones, for example 1000000-triplets, or give a list."
        )
    later = np.arange(n - 1, -1, -1)  # how many utterances come after each
    left_K = np.repeat(np.arange(n, dtype=np.int32), later)
    first = np.cumsum(later) - later  # where the pairs of each left utterance begin
    right_K = np.arange(pairs, dtype=np.int64) - np.repeat(first, later) + left_K + 1
    right_K = right_K.astype(np.int32)
    return Trials("all", left_K, right_K, speaker_N[left_K] == speaker_N[right_K])


def _triplets(count: int, speaker_N: np.ndarray, seed: int) -> Trials:
    if count < 1:
        raise BadTrials("ask for one triplet or more, for example 10000-triplets.")
    if 2 * count > MOST_PAIRS:
        raise BadTrials(
            f"{count:,} triplets are {2 * count:,} trials; at most {MOST_PAIRS:,} are made. "
            "Error rates stop moving long before: ask for 1000000-triplets."
        )
    if seed < 0:
        raise BadTrials(f"a seed is a whole number from 0 up, got {seed}.")
    _need_both_kinds(speaker_N)
    rng = np.random.default_rng(seed)
    by_speaker = np.argsort(speaker_N, kind="stable")
    size = np.bincount(speaker_N)  # speakers are numbered without gaps
    begin = np.cumsum(size) - size
    speaker = rng.choice(np.flatnonzero(size >= 2), count)
    anchor = rng.integers(size[speaker])
    positive = (anchor + 1 + rng.integers(size[speaker] - 1)) % size[speaker]
    other = (speaker + 1 + rng.integers(size.size - 1, size=count)) % size.size
    negative = rng.integers(size[other])
    anchor, positive = by_speaker[begin[speaker] + anchor], by_speaker[begin[speaker] + positive]
    negative = by_speaker[begin[other] + negative]
    return Trials(
        f"{count}-triplets",
        np.repeat(anchor, 2).astype(np.int32),
        np.stack((positive, negative), axis=1).reshape(-1).astype(np.int32),
        np.tile([True, False], count),
    )


def _need_both_kinds(speaker_N: np.ndarray) -> None:
    size = np.bincount(speaker_N)
    if size.size < 2 or size.max() < 2:
        raise NotEnoughSpeakers(
            f"trials need two speakers, and one of them with two utterances; got {size.size} speakers with "
            f"at most {size.max()} utterances each. Add speakers or utterances."
        )


def _from_list(path: Path, data: EvaluationData) -> Trials:
    rows = _read_list(path)
    number_of = _Numbers(data)
    pairs = [(number_of(left), number_of(right)) for left, right, _ in rows]
    if number_of.missing:
        missing = list(number_of.missing)
        raise BadTrials(
            f"{path} names {len(missing)} utterances that {data.name} does not have: {', '.join(missing[:5])}"
            f"{', ...' * (len(missing) > 5)}. Its utterances are named like {data.utterances[0].utterance!r}."
        )
    left_K, right_K = np.array(pairs, dtype=np.int32).T.copy()
    same_K = np.array([row[2] for row in rows], dtype=bool)
    return Trials(str(path), left_K, right_K, same_K, _doubts(left_K, right_K, same_K, data.speakers()))


def _doubts(
    left_K: np.ndarray, right_K: np.ndarray, same_K: np.ndarray, speaker_N: np.ndarray
) -> dict[str, int]:
    """Return how many trials of a list look wrong, by kind. They are scored all the same: the list is law."""
    pair_K = np.minimum(left_K, right_K).astype(np.int64) * speaker_N.size + np.maximum(left_K, right_K)
    pairs, place_K, seen = np.unique(pair_K, return_inverse=True, return_counts=True)
    target = np.bincount(place_K, weights=same_K, minlength=pairs.size)
    counts = {
        "duplicate": int(pair_K.size - pairs.size),
        "contradictory": int(seen[(target > 0) & (target < seen)].sum()),
        "with_itself": int(np.count_nonzero(left_K == right_K)),
        "against_corpus_speakers": int(np.count_nonzero(same_K != (speaker_N[left_K] == speaker_N[right_K]))),
    }
    return {kind: count for kind, count in counts.items() if count}


class _Numbers:
    """Utterance as a list names it -> its number; by name, by name with a file suffix, or by path."""

    def __init__(self, data: EvaluationData) -> None:
        self._by_path = {u.path: i for i, u in enumerate(data.utterances)}
        self._by_name = {u.utterance: i for i, u in enumerate(data.utterances)}
        self.missing: Counter[str] = Counter()

    def __call__(self, name: str) -> int:
        number = self._by_name.get(name)
        if number is None and PurePosixPath(name).suffix.lower() in AUDIO_SUFFIXES:
            number = self._by_name.get(str(PurePosixPath(name).with_suffix("")))
        if number is None:
            number = self._by_path.get(name)
        if number is None:
            self.missing[name] += 1
            return -1
        return number


def _read_list(path: Path) -> list[tuple[str, str, bool]]:
    """Return (left, right, same) of each line; the first line decides the format."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadTrials(f"cannot read the trial list {path} ({error}). Expected {FORMATS}.") from None
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise BadTrials(f"the trial list {path} is empty. Expected {FORMATS}.")
    if "," in numbered[0][1]:
        order = (0, 1, 2)
        fields = [part.strip().lower() for part in _split_csv(numbered[0][1])]
        if set(COLUMNS) <= set(fields):  # a header says where the columns are
            order = tuple(fields.index(column) for column in COLUMNS)
            numbered = numbered[1:]
        elif len(fields) == 3 and fields[2] not in SAME | DIFFERENT:
            numbered = numbered[1:]  # a header in other words, in the usual order
        split = _split_csv
    else:
        fields = numbered[0][1].split()
        kaldi = len(fields) == 3 and fields[2].lower() in ("target", "nontarget")
        order, split = ((0, 1, 2) if kaldi else (1, 2, 0)), str.split
    return [_row(split(line), order, path, number) for number, line in numbered]


def _split_csv(line: str) -> list[str]:
    return next(csv.reader([line], skipinitialspace=True))


def _row(fields: list[str], order: tuple[int, ...], path: Path, number: int) -> tuple[str, str, bool]:
    if len(fields) <= max(order):
        raise BadTrials(
            f"{path}, line {number}: {len(fields)} columns where three are needed. Expected {FORMATS}."
        )
    left, right, label = (fields[column].strip() for column in order)
    if label.lower() not in SAME | DIFFERENT:
        raise BadTrials(f"{path}, line {number}: {label!r} is no label. Expected {FORMATS}.")
    return left, right, label.lower() in SAME
