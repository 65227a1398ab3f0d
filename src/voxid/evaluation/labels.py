"""Are the labels right? Clips of two speakers that were mixed up spoil a calibration.

# U utterances, S speakers, D embedding
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from voxid.evaluation.embedding import Voices
from voxid.scoring import unit_rows
from voxid.scoring.similarity import halves
from voxid.trials.data import EvaluationData
from voxid.types import plural

LEAST_CLIPS = 4  # of a speaker who can be looked at
LEAST_MIXED = 2  # clips; more, if all have one label: one speaker may sound like another twice
MIXED = 0.75  # of the distance of two people; right labels of real speech reach 0.68 (docs/log.md)
NEAREST = 5  # other speakers that a clip is compared with
BLOCK = 4096  # utterances
SHOWN = 5


def mixed_up(emb_UD: np.ndarray, speaker_U: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """Return the pairs of speakers whose clips are mixed up, (speaker, speaker, rows of these clips).

    The clips of a pair are parted in two by their embeddings. Where labels are right, the parts are the two
    speakers. They are mixed up where it is the part that makes clips alike, not the label. Only pairs are
    looked at of which two clips or more are nearer to the mean of the other label than to their own's.

    >>> rng = np.random.default_rng(0)
    >>> speaker_U = np.repeat(np.arange(3), 10)
    >>> emb_UD = rng.normal(size=(3, 32))[speaker_U] + 0.3 * rng.normal(size=(30, 32))
    >>> mixed_up(emb_UD, speaker_U)
    []
    >>> swapped_U = speaker_U.copy()
    >>> swapped_U[[0, 1, 2]], swapped_U[[10, 11, 12]] = 1, 0
    >>> [(a, b, rows.tolist()) for a, b, rows in mixed_up(emb_UD, swapped_U)]
    [(0, 1, [0, 1, 2, 10, 11, 12])]
    """
    unit_UD = unit_rows(emb_UD)
    speakers, label_U = np.unique(speaker_U, return_inverse=True)
    size_S = np.bincount(label_U)
    sum_SD = np.zeros((speakers.size, unit_UD.shape[1]))
    np.add.at(sum_SD, label_U, unit_UD)
    mean_SD = sum_SD / np.maximum(np.linalg.norm(sum_SD, axis=1, keepdims=True), 1e-9)
    suspects: Counter[tuple[int, int]] = Counter()
    for first in range(0, len(unit_UD), BLOCK):
        unit_BD, label_B = unit_UD[first : first + BLOCK], label_U[first : first + BLOCK]
        rest_BD = sum_SD[label_B] - unit_BD
        own_B = (rest_BD * unit_BD).sum(axis=1) / np.maximum(np.linalg.norm(rest_BD, axis=1), 1e-9)
        cosine_BS = unit_BD @ mean_SD.T
        cosine_BS[np.arange(label_B.size), label_B] = -np.inf
        cosine_BS[:, size_S < LEAST_CLIPS] = -np.inf
        near_BN = np.argsort(-cosine_BS, axis=1)[:, :NEAREST]
        odd_BN = np.take_along_axis(cosine_BS, near_BN, axis=1) > own_B[:, None]
        clip, place = np.nonzero(odd_BN & (size_S[label_B] >= LEAST_CLIPS)[:, None])
        pairs = np.sort(np.stack([label_B[clip], near_BN[clip, place]], axis=1), axis=1)
        suspects.update(map(tuple, pairs.tolist()))
    found: list[tuple[float, int, int, np.ndarray]] = []
    for a, b in sorted(pair for pair, clips in suspects.items() if clips >= LEAST_MIXED):
        row_N = np.flatnonzero((label_U == a) | (label_U == b))
        share, odd_N = _odd(unit_UD[row_N], label_U[row_N] == b)
        odd, sides = np.count_nonzero(odd_N), np.unique(label_U[row_N[odd_N]]).size
        if share >= MIXED and (odd >= LEAST_MIXED if sides == 2 else odd > LEAST_MIXED):
            found.append((share, a, b, row_N[odd_N]))
    clear, named = [], set[int]()
    for _, a, b, row_N in sorted(found, key=lambda one: -one[0]):  # two people are like third ones too
        if not named & {a, b}:
            clear.append((int(speakers[a]), int(speakers[b]), row_N))
            named |= {a, b}
    return sorted(clear, key=lambda one: one[:2])


def doubts(data: EvaluationData, voices: Voices) -> list[str]:
    """Return a warning for each pair of speakers whose clips are mixed up, with these clips.

    >>> from voxid.evaluation.embedding import embed_used
    >>> from voxid.trials.data import read_data
    >>> data, runtime = read_data("people"), voxid.load("voxid-base")
    >>> doubts(data, embed_used(runtime, data, np.arange(len(data.utterances))))
    []
    """
    used_U = np.flatnonzero(voices.row_N >= 0)
    names = data.speaker_names()
    said = []
    for a, b, row_N in mixed_up(voices.emb_UD, data.speakers()[used_U]):
        clips = [data.utterances[used_U[row]].utterance for row in row_N]
        more = f" and {len(clips) - SHOWN:,} more" if len(clips) > SHOWN else ""
        said.append(
            f"the labels of {names[a]} and {names[b]} seem to be swapped in {plural(len(clips), 'clip')}, "
            f"which sound like the other of the two: {', '.join(clips[:SHOWN])}{more}. Listen to them, and "
            "mend the labels or leave both speakers out"
        )
    return said


def _odd(unit_ND: np.ndarray, is_b_N: np.ndarray) -> tuple[float, np.ndarray]:
    """Return how much more the part says than the label, 1 for swapped clips, and which they are, (N,)."""
    part_N = halves(unit_ND.astype(np.float64)).astype(bool)
    if np.mean(part_N == is_b_N) < 0.5:
        part_N = ~part_N
    odd_N = part_N != is_b_N
    cosine_NN = unit_ND @ unit_ND.T
    once_NN = np.triu(np.ones(cosine_NN.shape, bool), 1)
    label_NN, one_NN = is_b_N[:, None] == is_b_N, part_N[:, None] == part_N
    kinds = [(one, label) for one in (True, False) for label in (True, False)]
    chosen = {(one, label): once_NN & (one_NN == one) & (label_NN == label) for one, label in kinds}
    if not all(which.any() for which in chosen.values()):
        return 0.0, odd_N
    mean = {kind: cosine_NN[which].mean() for kind, which in chosen.items()}
    apart = mean[True, True] - mean[False, False]
    crossed = mean[True, False] - mean[False, True]
    return float(crossed / apart) if apart > 0 else 0.0, odd_N
