"""Match the scores of a file with the trials of a list, and its names with speakers.

# K trials of the list, S scores of the file, N names
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass

import numpy as np

from voxid.errors import BadScores, BadTrials
from voxid.trials.lists import FORMATS, find_layout, numbered
from voxid.trials.names import bare_name
from voxid.trials.textfiles import TextFile

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class RawScores:
    """A score file as it stands: labels and names may be missing, nothing is checked but the scores."""

    path: str
    format: str
    score_K: np.ndarray
    same_K: np.ndarray | None = None
    left_K: np.ndarray | None = None
    right_K: np.ndarray | None = None


class Interned:
    """Numbers names as they come. With `bare`, "a.wav" and "a" are one name, unless one file has both."""

    def __init__(self, bare: bool = False) -> None:
        self._bare = bare
        self._numbers: dict[str, int] = {}
        self._spelled: dict[int, str] = {}
        self.names: list[str] = []

    def next_file(self) -> None:
        """Begin another file, which may spell the names in its own way."""
        self._spelled.clear()

    def find(self, name: str) -> int:
        """Return the number of a name that came before, else -1."""
        return self._numbers.get(bare_name(name) if self._bare else name, -1)

    def __call__(self, name: str) -> int:
        """Return the number of a name, a new one where it is new."""
        number = self.find(name)
        if number < 0:
            number = len(self.names)
            self._numbers[bare_name(name) if self._bare else name] = number
            self.names.append(name)
        if self._bare and self._spelled.setdefault(number, name) != name:
            raise BadScores(
                f"{self._spelled[number]!r} and {name!r} are two names in one file, and one without the "
                "suffix, so scores and trials cannot be matched by name. Give both files the same names."
            )
        return number


def join_trials(
    raw: RawScores, trials: StrPath, interned: Interned
) -> tuple[RawScores, dict[str, int], dict[str, int]]:
    """Return the scores in the order of the trials, the trials without a score, and what is odd.

    A score of (right, left) serves where there is none of (left, right). Raise BadScores when nothing
    matches, when one pair has two scores, or when the labels of the file and of the list differ.
    """
    assert raw.left_K is not None
    assert raw.right_K is not None
    left_K, right_K, same_K = _read_list(trials, interned)
    count = len(interned.names)
    key_S = raw.left_K.astype(np.int64) * count + raw.right_K
    order_S = np.argsort(key_S, kind="stable")
    key_S = key_S[order_S]
    warnings = _repeated(raw, key_S, order_S)
    place_K = _places(key_S, left_K.astype(np.int64) * count + right_K)
    missing = np.flatnonzero(place_K < 0)
    swapped = _places(key_S, right_K[missing].astype(np.int64) * count + left_K[missing])
    place_K[missing] = swapped
    found_K = place_K >= 0
    if not found_K.any():
        raise BadScores(
            f"{raw.path} has no score for any of the {found_K.size:,} trials of {os.fspath(trials)}. Its "
            f"names are like {interned.names[raw.left_K[0]]!r}, those of the trials like "
            f"{interned.names[left_K[0]]!r}."
        )
    used_S = np.zeros(key_S.size, dtype=bool)
    used_S[place_K[found_K]] = True
    # of a pair with several equal scores only the first is used, and the others are counted as repeated
    extra = int(np.count_nonzero(~used_S)) - warnings.get("repeated_scores", 0)
    warnings |= {"swapped": int(np.count_nonzero(swapped >= 0)), "scores_without_trial": max(extra, 0)}
    row_K = order_S[place_K[found_K]]
    lost_K = same_K[~found_K]
    lost = {"targets": int(np.count_nonzero(lost_K)), "nontargets": int(np.count_nonzero(~lost_K))}
    left_K, right_K, same_K = left_K[found_K], right_K[found_K], same_K[found_K]
    if raw.same_K is not None:
        _need_agreement(raw, raw.same_K[row_K], same_K, trials)
    joined = dataclasses.replace(
        raw, score_K=raw.score_K[row_K], same_K=same_K, left_K=left_K, right_K=right_K
    )
    return joined, {k: n for k, n in lost.items() if n}, {k: n for k, n in warnings.items() if n}


def join_in_order(raw: RawScores, trials: StrPath, interned: Interned) -> RawScores:
    """Return the scores with the names and labels of the list, line by line. Raise BadScores."""
    left_K, right_K, same_K = _read_list(trials, interned)
    if same_K.size != raw.score_K.size:
        raise BadScores(
            f"{raw.path} has {raw.score_K.size:,} scores without names, and {os.fspath(trials)} has "
            f"{same_K.size:,} trials, so which score is whose cannot be told. Give scores with both names."
        )
    if raw.same_K is not None:
        _need_agreement(raw, raw.same_K, same_K, trials)
    return dataclasses.replace(raw, same_K=same_K, left_K=left_K, right_K=right_K)


def _read_list(trials: StrPath, interned: Interned) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    interned.next_file()
    file = TextFile(trials, BadTrials, "trial list", FORMATS)
    layout = find_layout(file, file.sample(), interned, interned)
    return numbered(file, layout, interned, interned)


def _places(key_S: np.ndarray, key_K: np.ndarray) -> np.ndarray:
    """Return the place of each key among the sorted `key_S`, -1 where it is not there."""
    place_K = np.searchsorted(key_S, key_K)
    place_K[place_K == key_S.size] = 0
    place_K[key_S[place_K] != key_K] = -1
    return place_K


def _repeated(raw: RawScores, key_S: np.ndarray, order_S: np.ndarray) -> dict[str, int]:
    """Return how many scores repeat a pair. Raise BadScores when such a pair has two different scores."""
    again = np.flatnonzero(key_S[1:] == key_S[:-1])
    differ = raw.score_K[order_S[again]] != raw.score_K[order_S[again + 1]]
    if differ.any():
        raise BadScores(
            f"{raw.path}: {int(np.count_nonzero(differ)):,} pairs have two different scores; the first is "
            f"score {int(order_S[again[differ][0] + 1]) + 1} of the file. Which counts cannot be told."
        )
    return {"repeated_scores": int(again.size)}


def _need_agreement(raw: RawScores, mine_K: np.ndarray, theirs_K: np.ndarray, trials: StrPath) -> None:
    differ = int(np.count_nonzero(mine_K != theirs_K))
    if differ:
        raise BadScores(
            f"the labels of {raw.path} and of {os.fspath(trials)} differ for {differ:,} of {mine_K.size:,} "
            "trials. Leave out the list, or find out which is right."
        )


def give_speakers(path: StrPath, names: list[str]) -> tuple[list[str], np.ndarray]:
    """Return the speakers of a list `utterance speaker`, sorted, and the place of each name's, int32 (N,).

    Raise BadScores for a line without two words, and for names that the list does not have.
    """
    file = TextFile(path, BadScores, "speaker list", "lines 'utterance speaker'")
    speaker_of: dict[str, str] = {}
    for line in file.lines():
        words = line.text.replace(",", " ").split()
        if len(words) != 2:
            raise file.refuse(line, f"{len(words)} columns where two are needed")
        if speaker_of.setdefault(words[0], words[1]) != words[1]:
            raise file.refuse(line, f"{words[0]!r} has two speakers")
    bare = {bare_name(name): speaker for name, speaker in speaker_of.items()}
    found = [speaker_of.get(name) or bare.get(bare_name(name)) for name in names]
    missing = [name for name, speaker in zip(names, found, strict=True) if speaker is None]
    if missing:
        raise BadScores(
            f"{file.path} has no speaker for {len(missing):,} of {len(names):,} names: "
            f"{', '.join(missing[:5])}{', ...' * (len(missing) > 5)}. Give every name its speaker."
        )
    speakers, code_N = np.unique(np.array(found, dtype=np.str_), return_inverse=True)
    return speakers.tolist(), code_N.astype(np.int32)
