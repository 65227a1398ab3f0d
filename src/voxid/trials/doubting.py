"""What looks wrong in a list of trials: counted, and scored all the same, since the list is law.

# K trials, N utterances and models
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from voxid.trials.values import Models

CHUNK = 1 << 18  # trials looked at together


def doubts(
    left_K: np.ndarray,
    right_K: np.ndarray,
    same_K: np.ndarray,
    speaker_N: np.ndarray | None,
    models: Models | None = None,
) -> dict[str, int]:
    """Return how many trials look wrong, by kind; beyond the trials this takes 8 bytes each.

    `duplicate`: pairs that came before, in either order. `contradictory`: trials of pairs with both labels.
    `with_itself`: both sides are one recording, or the test is among the enrollment. With `speaker_N`, the
    speaker of each number (-1: unknown), `against_corpus_speakers`: the label says otherwise.
    """
    counts = dict.fromkeys(("duplicate", "contradictory", "with_itself", "against_corpus_speakers"), 0)
    counts["duplicate"], counts["contradictory"] = _repeats(left_K, right_K, same_K)
    enrolled = _enrolled(models)
    for now in _slices(left_K.size):
        left, right = left_K[now], right_K[now]
        counts["with_itself"] += int(np.count_nonzero(left == right))
        if models is not None and enrolled.size:
            key = left.astype(np.int64) * models.first + right
            place = np.minimum(np.searchsorted(enrolled, key), enrolled.size - 1)
            counts["with_itself"] += int(np.count_nonzero(enrolled[place] == key))
        if speaker_N is not None:
            one, other = speaker_N[left], speaker_N[right]
            wrong = (same_K[now] != (one == other)) & (one >= 0) & (other >= 0)
            counts["against_corpus_speakers"] += int(np.count_nonzero(wrong))
    return {kind: count for kind, count in counts.items() if count}


def _slices(count: int) -> Iterator[slice]:
    for begin in range(0, count, CHUNK):
        yield slice(begin, min(begin + CHUNK, count))


def _enrolled(models: Models | None) -> np.ndarray:
    """Return a sorted key for each (model, enrollment utterance)."""
    if models is None:
        return np.zeros(0, np.int64)
    model_E = models.first + np.repeat(np.arange(len(models), dtype=np.int64), np.diff(models.begin))
    return np.sort(model_E * models.first + models.utterance_E)


def _repeats(left_K: np.ndarray, right_K: np.ndarray, same_K: np.ndarray) -> tuple[int, int]:
    """Return the numbers of repeated pairs, and of trials whose pair has both labels."""
    if not left_K.size:
        return 0, 0
    most = 1 + max(int(left_K.max()), int(right_K.max()))
    key_K = np.empty(left_K.size, dtype=np.int64)
    for now in _slices(key_K.size):
        left, right = left_K[now].astype(np.int64), right_K[now]
        key_K[now] = 2 * (np.minimum(left, right) * most + np.maximum(left, right)) + same_K[now]
    key_K.sort()  # equal pairs lie together, those with label 0 first
    duplicate = contradictory = 0
    begin = 0
    while begin < key_K.size:
        end = min(begin + CHUNK, key_K.size)
        if end < key_K.size:  # whole pairs only
            end = int(np.searchsorted(key_K, ((key_K[end - 1] >> 1) + 1) << 1))
        key, begin = key_K[begin:end], end
        first = np.flatnonzero(np.r_[True, key[1:] >> 1 != key[:-1] >> 1])
        last = np.r_[first[1:], key.size] - 1
        duplicate += key.size - first.size
        both = key[first] != key[last]
        contradictory += int((last - first + 1)[both].sum())
    return duplicate, contradictory
