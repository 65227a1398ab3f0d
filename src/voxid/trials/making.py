"""Trials made from the data: all pairs, random triplets, balanced random pairs, enrolled speakers.

What is random is nested: with one seed, a smaller list is the beginning of a larger one. Each purpose has a
generator of its own, which is read in the order of the trials, so a longer list only reads on.

# K trials, P utterances of the pool, G groups (speakers), R rounds, M models, T tests
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from voxid.data.samplers import corpora_of
from voxid.errors import BadTrials, NotEnoughSpeakers
from voxid.trials.data import EvaluationData
from voxid.trials.pool import Pool, duration_s, need_room
from voxid.trials.values import MOST_TRIALS, Models, Trials
from voxid.types import SAMPLE_RATE

ROUND_VALUES = 1 << 22  # random numbers drawn at a time: 32 MiB
ALL_ONE_SESSION = "same_speaker_pairs_of_one_session,_as_no_speaker_of_their_corpus_has_two"  # a warning
CHUNK = 1 << 20  # items shuffled together
ORIGINAL_WINDOW = 99 * 512  # samples: 100 frames, 512 samples apart, the first at sample 0


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


def across_sessions(trials: Trials, data: EvaluationData) -> Trials:
    """Return the trials without same-speaker ones of one session, in each corpus that has some of two.

    A corpus whose speakers have one session each keeps its trials: `warnings` counts its same-speaker ones.
    `left_out` counts what went.
    """
    speaker_N = data.speakers()
    names = [f"{who}\0{u.session}" for who, u in zip(speaker_N.tolist(), data.utterances, strict=True)]
    session_N = np.unique(names, return_inverse=True)[1]
    corpus_N = corpora_of(data.speaker_names(), speaker_N)[1]
    corpus_K = corpus_N[trials.left_K]
    other_K = session_N[trials.left_K] != session_N[trials.right_K]
    has_some = np.bincount(corpus_K[trials.same_K & other_K], minlength=corpus_N.max() + 1) > 0
    keep_K = ~trials.same_K | other_K | ~has_some[corpus_K]
    gone = int(np.count_nonzero(~keep_K))
    stayed = int(np.count_nonzero(trials.same_K & ~has_some[corpus_K]))
    return replace(
        trials,
        left_K=trials.left_K[keep_K],
        right_K=trials.right_K[keep_K],
        same_K=trials.same_K[keep_K],
        left_out=trials.left_out | ({"same_speaker_trials_of_one_session": gone} if gone else {}),
        warnings=trials.warnings | ({ALL_ONE_SESSION: stayed} if stayed else {}),
    )


def triplets(count: int, pool: Pool, seed: int) -> Trials:
    """Return `count` times a target and a non-target trial with the same anchor.

    Speaker, anchor, positive, other speaker and negative are each drawn evenly.
    """
    need_room(2 * count, f"{count:,} triplets")
    return _as_trials(_Triplets(pool, seed).draw(count), pool, seed, {})


def original_triplets(count: int, pool: Pool, data: EvaluationData, seed: int) -> Trials:
    """Return `count` triplets as the original course system drew them for its test.

    They are the triplets of `triplets`, less those in which an utterance is shorter than the original's
    window: it had no embedding for these, and drew another triplet in the place of such a one.
    `left_out["triplets_with_a_short_utterance"]` says how many. Raise NotEnoughSpeakers where the data has
    too few utterances of a window's length.
    """
    need_room(2 * count, f"{count:,} triplets")
    source = _Triplets(pool, seed)
    long_N = np.zeros(len(data.utterances), dtype=bool)
    seconds_P = np.array([duration_s(data.utterances[number]) for number in pool.utterance_P])
    long_N[pool.utterance_P] = np.round(seconds_P * SAMPLE_RATE) >= ORIGINAL_WINDOW  # NaN: unknown, no
    share = source.share_of(long_N)
    if share * MOST_TRIALS < count:
        raise NotEnoughSpeakers(
            f"{pool.spec!r} draws triplets of utterances that fill a window of the original system "
            f"({ORIGINAL_WINDOW / SAMPLE_RATE:g} s): two of one speaker and one of another. Only "
            f"{int(long_N.sum()):,} of {pool.utterance_P.size:,} utterances last that long, and {share:.3g} "
            f"of all triplets have no shorter one. Take '{count}-triplets', which leaves none out, or give "
            "longer recordings."
        )
    kept, found, short = [], 0, 0
    while found < count:
        triplet_K3 = source.draw(int(min(1.1 * (count - found) / share + 100, ROUND_VALUES // 4)))
        place = np.flatnonzero(long_N[triplet_K3].all(axis=1))[: count - found]
        found += place.size
        # after the last that was wanted nothing more was drawn
        short += (place[-1] + 1 if found == count else len(triplet_K3)) - place.size
        kept.append(triplet_K3[place])
    left_out = {
        "triplets_with_a_short_utterance": int(short),
        "utterances_of_unknown_duration": int(np.isnan(seconds_P).sum()),
    }
    return _as_trials(np.concatenate(kept), pool, seed, {k: n for k, n in left_out.items() if n})


def _as_trials(triplet_K3: np.ndarray, pool: Pool, seed: int, left_out: dict[str, int]) -> Trials:
    return Trials(
        pool.spec,
        np.repeat(triplet_K3[:, 0], 2),
        triplet_K3[:, 1:].reshape(-1),
        np.tile([True, False], len(triplet_K3)),
        left_out=pool.left_out | left_out,
        seed=seed,
    )


class _Triplets:
    """An endless row of random triplets; each of the five draws has its own generator, read in order."""

    def __init__(self, pool: Pool, seed: int) -> None:
        self._pool = pool
        self._can = np.flatnonzero((pool.size_G >= 2) & (pool.class_sizes() >= 2))
        pool.need_both_kinds(self._can, self._can)
        self._first_G, self._size_G = _segments(pool.class_G)
        self._generators = [np.random.default_rng([seed, draw]) for draw in range(1, 6)]

    def draw(self, count: int) -> np.ndarray:
        """Return the next `count` triplets: anchor, positive and negative, int32 (K, 3)."""
        pool, generators = self._pool, iter(self._generators)

        def below(bound: np.ndarray | int) -> np.ndarray:
            drawn_K = (next(generators).random(count) * bound).astype(np.int64)
            return np.minimum(drawn_K, np.asarray(bound) - 1)

        group_K = self._can[below(self._can.size)]
        size_K = pool.size_G[group_K]
        anchor_K = below(size_K)
        positive_K = (anchor_K + 1 + below(size_K - 1)) % size_K
        first_K, rivals_K = self._first_G[group_K], self._size_G[group_K]
        other_K = first_K + (group_K - first_K + 1 + below(rivals_K - 1)) % rivals_K
        negative_K = below(pool.size_G[other_K])
        sides = ((group_K, anchor_K), (group_K, positive_K), (other_K, negative_K))
        return np.stack([pool.utterance_P[pool.begin_G[group] + place] for group, place in sides], axis=1)

    def share_of(self, wanted_N: np.ndarray) -> float:
        """Return the share of triplets whose three utterances are all in `wanted_N`."""
        pool, can = self._pool, self._can
        wanted_G = np.add.reduceat(wanted_N[pool.utterance_P].astype(np.int64), pool.begin_G)
        ratio_G = wanted_G / pool.size_G
        others_G = (np.bincount(pool.class_G, ratio_G)[pool.class_G] - ratio_G)[can]
        both = (wanted_G * (wanted_G - 1))[can] / (pool.size_G * (pool.size_G - 1))[can]
        return float(np.mean(both * others_G / (self._size_G[can] - 1)))


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


# -- speakers enrolled with several utterances ---------------------------------------------------------------


def enrollment(count: int, pool: Pool, data: EvaluationData, seed: int, most: int | None = None) -> Trials:
    """Return every speaker enrolled with `count` utterances against all utterances that enroll nobody.

    A speaker with `count` utterances or fewer makes no model (counted in `left_out`); the utterances are
    tests for the others. The list goes in rounds: in each, every model meets one more test, in a seeded order
    of the tests; so `most`, which cuts the list short, leaves every model its share (within 1). With one
    seed, the enrollment of fewer utterances is part of that of more.
    """
    group_P = np.repeat(np.arange(pool.size_G.size), pool.size_G)
    place_P = np.arange(group_P.size) - pool.begin_G[group_P]
    order_P = shuffled(place_P, pool.size_G[group_P], keys(seed, 201, group_P))  # within each speaker
    enough_G = pool.size_G > count
    enrolls_P = (order_P < count) & enough_G[group_P]
    test_P = np.flatnonzero(~enrolls_P)
    models = _models(pool, data, enough_G, enrolls_P)
    left_out = dict(pool.left_out)
    if few := int(np.count_nonzero(~enough_G)):
        left_out["speakers_without_model"] = few
    group_M = np.flatnonzero(enough_G)
    if not group_M.size or pool.size_G.size < 2:
        raise NotEnoughSpeakers(
            f"{pool.spec!r} needs two speakers, and one of them with {count + 1} utterances ({count} to "
            f"enroll, one to test); got {pool.size_G.size} speakers with at most "
            f"{pool.size_G.max(initial=0)} utterances each (left out: {left_out or 'nothing'}). Enroll with "
            "fewer utterances, or add some."
        )
    # tests stand class by class, as groups do, so those of one model are a run of them
    test_class_T = pool.class_G[group_P[test_P]]
    begin_M = np.searchsorted(test_class_T, pool.class_G[group_M], side="left")
    tests_M = np.searchsorted(test_class_T, pool.class_G[group_M], side="right") - begin_M
    total = int(tests_M.sum()) if most is None else min(most, int(tests_M.sum()))
    need_room(total, f"{pool.spec!r}")
    model_K, turn_K = _rounds(tests_M, total, seed)
    place_K = shuffled(turn_K, tests_M[model_K], keys(seed, 203, model_K))
    right_P = test_P[begin_M[model_K] + place_K]
    same_K = pool.speaker_G[group_P[right_P]] == pool.speaker_G[group_M[model_K]]
    if not 0 < (targets := int(np.count_nonzero(same_K))) < total:
        raise NotEnoughSpeakers(
            f"{pool.spec!r} gives {targets:,} target and {total - targets:,} non-target trials, and both "
            f"kinds are needed (left out: {left_out or 'nothing'}). Raise max, loosen the filter, or add "
            "speakers."
        )
    left_K, right_K = (models.first + model_K).astype(np.int32), pool.utterance_P[right_P]
    return Trials(pool.spec, left_K, right_K, same_K, left_out=left_out, seed=seed, models=models)


def _rounds(tests_M: np.ndarray, total: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the model of each of the first `total` trials, and which of its tests, in turn, it meets."""
    order_M = np.random.default_rng([seed, 202]).permutation(tests_M.size)
    tests_M = tests_M[order_M]
    model_K, turn_K = np.empty(total, np.int64), np.empty(total, np.int64)
    done, turn = 0, 0
    while done < total:
        now = np.flatnonzero(tests_M > turn)[: total - done]
        model_K[done : done + now.size], turn_K[done : done + now.size] = order_M[now], turn
        done, turn = done + now.size, turn + 1
    return model_K, turn_K


def _models(pool: Pool, data: EvaluationData, enough_G: np.ndarray, enrolls_P: np.ndarray) -> Models:
    """Return the models, named for their speakers (with a number where a speaker has several classes)."""
    names, seen = [], Counter[str]()
    speakers = data.speaker_names()
    for group in np.flatnonzero(enough_G):
        name = speakers[pool.speaker_G[group]]
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    count = np.count_nonzero(enrolls_P) // max(1, len(names))
    return Models(
        names,
        np.arange(len(names) + 1, dtype=np.int64) * count,
        pool.utterance_P[enrolls_P],
        first=len(data.utterances),
    )


# -- random orders -------------------------------------------------------------------------------------------

_ROUNDS = 10  # 4 are enough for large ranges; in ranges of a dozen items some orders would be too frequent
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def keys(seed: int, purpose: int, number_K: np.ndarray) -> np.ndarray:
    """Return a uint64 key for each number; seeds and purposes give unrelated keys."""
    base = np.random.SeedSequence([seed, purpose]).generate_state(1, np.uint64)[0]
    return _hash(np.asarray(number_K).astype(np.uint64) * _GOLDEN + base)


def shuffled(place_K: np.ndarray, size_K: np.ndarray, key_K: np.ndarray) -> np.ndarray:
    """Return which of `size` items stands at `place` in the random order of `key`, int64 (K,).

    Places run from 0 to size - 1; for one key and size every item stands at exactly one place. The order
    needs no memory: it is a Feistel network (Luby and Rackoff, 1988) on the smallest even number of bits that
    holds the range, walked on while it leads outside (Black and Rogaway, 2002).

    >>> key = keys(seed=1, purpose=0, number_K=np.zeros(5))
    >>> sorted(shuffled(np.arange(5), np.full(5, 5), key).tolist())
    [0, 1, 2, 3, 4]
    """
    item_K = np.asarray(place_K).astype(np.int64)
    size_K, key_K = np.broadcast_to(size_K, item_K.shape), np.broadcast_to(key_K, item_K.shape)
    for begin in range(0, item_K.size, CHUNK):
        now = slice(begin, begin + CHUNK)
        item_K[now] = _walk(item_K[now].astype(np.uint64), size_K[now].astype(np.uint64), key_K[now])
    return item_K


def _walk(item_K: np.ndarray, size_K: np.ndarray, key_K: np.ndarray) -> np.ndarray:
    """Return the items after as many turns of the network as lead back into the range; in place."""
    bits_K = np.ceil(np.log2(np.maximum(size_K, 2).astype(np.float64)) / 2).astype(np.uint64)
    todo = np.arange(item_K.size)
    while todo.size:
        item_K[todo] = _feistel(item_K[todo], bits_K[todo], key_K[todo])
        todo = todo[item_K[todo] >= size_K[todo]]
    return item_K


def _feistel(item_K: np.ndarray, bits_K: np.ndarray, key_K: np.ndarray) -> np.ndarray:
    mask_K = (np.uint64(1) << bits_K) - np.uint64(1)
    high_K, low_K = item_K >> bits_K, item_K & mask_K
    for turn in range(_ROUNDS):
        mixed_K = _hash((low_K * np.uint64(_ROUNDS) + np.uint64(turn)) * _GOLDEN + key_K)
        high_K, low_K = low_K, high_K ^ (mixed_K & mask_K)
    return (high_K << bits_K) | low_K


def _hash(value_K: np.ndarray) -> np.ndarray:
    """Return well mixed bits of each value: the finaliser of splitmix64 (Steele, Lea and Flood, 2014)."""
    value_K = (value_K ^ (value_K >> np.uint64(30))) * _MIX[0]
    value_K = (value_K ^ (value_K >> np.uint64(27))) * _MIX[1]
    return value_K ^ (value_K >> np.uint64(31))
