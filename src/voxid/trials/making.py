"""Trials made from the data: all pairs, random triplets, random pairs balanced over the speakers.

What is random is nested: with one seed, a smaller list is the beginning of a larger one. Each purpose has a
generator of its own, which is read in the order of the trials, so a longer list only reads on.

# K trials, P utterances of the pool, G groups (speakers), R rounds
"""

from __future__ import annotations

import numpy as np

from voxid.errors import BadTrials
from voxid.trials.pool import Pool, need_room
from voxid.trials.shuffling import keys, shuffled
from voxid.trials.values import Trials

ROUND_VALUES = 1 << 22  # random numbers drawn at a time: 32 MiB


def all_pairs(pool: Pool) -> Trials:
    """Return every two utterances of one class once, in the order of the data."""
    pool.need_both_kinds(np.flatnonzero(pool.size_G >= 2), pool.with_rivals())
    class_P = np.repeat(pool.class_G, pool.size_G)
    speaker_P = np.repeat(pool.speaker_G, pool.size_G)
    order = np.argsort(pool.utterance_P)
    utterance_P, class_P, speaker_P = pool.utterance_P[order], class_P[order], speaker_P[order]
    sizes = np.bincount(class_P)
    count = int((sizes * (sizes - 1) // 2).sum())
    need_room(count, f"all pairs of {utterance_P.size:,} utterances")
    left_K, right_K = np.empty(count, np.int32), np.empty(count, np.int32)
    same_K = np.empty(count, dtype=bool)
    members = {c: np.flatnonzero(class_P == c) for c in np.unique(class_P)}
    passed = dict.fromkeys(members, 0)
    done = 0
    for place, utterance in enumerate(utterance_P):  # no array of K numbers beyond the three
        passed[class_P[place]] += 1
        others = members[class_P[place]][passed[class_P[place]] :]
        now = slice(done, done + others.size)
        left_K[now], right_K[now] = utterance, utterance_P[others]
        same_K[now] = speaker_P[others] == speaker_P[place]
        done += others.size
    return Trials(pool.spec, left_K, right_K, same_K, left_out=pool.left_out)


def triplets(count: int, pool: Pool, seed: int) -> Trials:
    """Return `count` times a target and a non-target trial with the same anchor.

    Speaker, anchor, positive, other speaker and negative are each drawn evenly.
    """
    need_room(2 * count, f"{count:,} triplets")
    can = np.flatnonzero((pool.size_G >= 2) & (pool.class_sizes() >= 2))
    pool.need_both_kinds(can, can)
    draws = _Draws(seed, count)
    group_K = can[draws(can.size)]
    anchor_K = draws(pool.size_G[group_K])
    positive_K = (anchor_K + 1 + draws(pool.size_G[group_K] - 1)) % pool.size_G[group_K]
    first_G, size_G = _segments(pool.class_G)
    rivals_K, place_K = size_G[group_K], group_K - first_G[group_K]
    other_K = first_G[group_K] + (place_K + 1 + draws(rivals_K - 1)) % rivals_K
    negative_K = draws(pool.size_G[other_K])
    anchor_K = pool.utterance_P[pool.begin_G[group_K] + anchor_K]
    positive_K = pool.utterance_P[pool.begin_G[group_K] + positive_K]
    negative_K = pool.utterance_P[pool.begin_G[other_K] + negative_K]
    return Trials(
        pool.spec,
        np.repeat(anchor_K, 2),
        np.stack((positive_K, negative_K), axis=1).reshape(-1),
        np.tile([True, False], count),
        left_out=pool.left_out,
        seed=seed,
    )


class _Draws:
    """Even draws below a bound; each call has its own generator, so that each is nested by itself."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed, self._count, self._calls = seed, count, 0

    def __call__(self, bound: np.ndarray | int) -> np.ndarray:
        self._calls += 1
        uniform_K = np.random.default_rng([self._seed, self._calls]).random(self._count)
        return np.minimum((uniform_K * bound).astype(np.int64), np.asarray(bound) - 1)


def pairs(count: int, pool: Pool, seed: int) -> Trials:
    """Return `count` trials, in turns target and non-target, in which every speaker has the same share.

    At every length of the list the speakers with two utterances or more differ by at most 1 in their number
    of target trials, and all speakers by at most 2 in their number of non-target trials. No pair is repeated
    before its speakers have no other; `warnings["duplicate"]` counts those that are.
    """
    need_room(count, f"{count:,} pairs")
    if count < 2:
        raise BadTrials("ask for two pairs or more, for example 10000-pairs: one of each kind.")
    for_target, for_nontarget = np.flatnonzero(pool.size_G >= 2), pool.with_rivals()
    pool.need_both_kinds(for_target, for_nontarget)
    left_K, right_K = np.empty(count, np.int32), np.empty(count, np.int32)
    left_K[0::2], right_K[0::2], repeated = _target_pairs((count + 1) // 2, pool, for_target, seed)
    left_K[1::2], right_K[1::2], again = _nontarget_pairs(count // 2, pool, for_nontarget, seed)
    return Trials(
        pool.spec,
        left_K,
        right_K,
        np.arange(count) % 2 == 0,
        warnings={"duplicate": repeated + again} if repeated + again else {},
        left_out=pool.left_out,
        seed=seed,
    )


def _target_pairs(count: int, pool: Pool, can: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return left, right and how many are repeated. Each round visits every speaker once."""
    rng = np.random.default_rng([seed, 101])
    rounds = -(-count // can.size)
    group_K = np.concatenate([can[order].reshape(-1) for order in _orders(rng, rounds, can.size)])[:count]
    visit_K = np.arange(count) // can.size
    size_K = pool.size_G[group_K]
    pairs_K = size_K * (size_K - 1) // 2
    pair_K = shuffled(visit_K % pairs_K, pairs_K, keys(seed, 102, group_K))
    later_K = ((1 + np.sqrt(1 + 8 * pair_K.astype(np.float64))) // 2).astype(np.int64)
    later_K -= later_K * (later_K - 1) // 2 > pair_K  # the root may be rounded up
    earlier_K = pair_K - later_K * (later_K - 1) // 2
    begin_K = pool.begin_G[group_K]
    repeated = int(np.count_nonzero(visit_K >= pairs_K))
    return pool.utterance_P[begin_K + earlier_K], pool.utterance_P[begin_K + later_K], repeated


def _nontarget_pairs(
    count: int, pool: Pool, can: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return left, right and how many are repeated. Each round has every speaker left once and right once."""
    within, visits = np.random.default_rng([seed, 103]), np.random.default_rng([seed, 104])
    rounds = -(-count // can.size)
    class_G = pool.class_G[can]
    first_G, size_G = _segments(class_G)
    place_G = np.arange(can.size)
    following_G = first_G + (place_G - first_G + 1) % size_G  # the next of the same class, round the circle
    lefts, rights = [], []
    for circle, order in zip(
        _orders(within, rounds, can.size, class_G), _orders(visits, rounds, can.size), strict=True
    ):
        lefts.append(np.take_along_axis(circle, order, axis=1).reshape(-1))
        rights.append(np.take_along_axis(circle[:, following_G], order, axis=1).reshape(-1))
    left_K, right_K = can[np.concatenate(lefts)[:count]], can[np.concatenate(rights)[:count]]
    low_K, high_K = np.minimum(left_K, right_K), np.maximum(left_K, right_K)
    key_K = low_K * pool.size_G.size + high_K
    visit_K = _visits(key_K)
    low_size_K, high_size_K = pool.size_G[low_K], pool.size_G[high_K]
    pairs_K = low_size_K * high_size_K
    pair_K = shuffled(visit_K % pairs_K, pairs_K, keys(seed, 105, key_K))
    low_utterance_K = pool.utterance_P[pool.begin_G[low_K] + pair_K // high_size_K]
    high_utterance_K = pool.utterance_P[pool.begin_G[high_K] + pair_K % high_size_K]
    low_is_left_K = left_K == low_K
    return (
        np.where(low_is_left_K, low_utterance_K, high_utterance_K),
        np.where(low_is_left_K, high_utterance_K, low_utterance_K),
        int(np.count_nonzero(visit_K >= pairs_K)),
    )


def _orders(rng: np.random.Generator, rounds: int, size: int, class_G: np.ndarray | None = None):
    """Yield blocks (R, G) of random orders, a row a round; with classes, each class stays together."""
    at_once = max(1, ROUND_VALUES // size)
    for begin in range(0, rounds, at_once):
        keys_RG = rng.random((min(at_once, rounds - begin), size))
        if class_G is not None:
            keys_RG += class_G
        yield np.argsort(keys_RG, axis=1)


def _segments(class_G: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return for each group where its class begins, and how many groups the class has; classes ascend."""
    _, first, place_G, size = np.unique(class_G, return_index=True, return_inverse=True, return_counts=True)
    return first[place_G], size[place_G]


def _visits(key_K: np.ndarray) -> np.ndarray:
    """Return how often each key has come before.

    >>> _visits(np.array([7, 3, 7, 7, 3])).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(key_K, kind="stable")
    sorted_K = key_K[order]
    place_K = np.arange(key_K.size)
    begin_K = np.maximum.accumulate(np.where(np.r_[True, sorted_K[1:] != sorted_K[:-1]], place_K, 0))
    visit_K = np.empty_like(place_K)
    visit_K[order] = place_K - begin_K
    return visit_K
