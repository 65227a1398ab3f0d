"""Trials of speakers enrolled with several utterances: make them, read the models of a list, embed them.

# K trials, M models, E enrollment utterances of all models, U embedded utterances, D embedding, T tests
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from voxid.errors import NotEnoughSpeakers
from voxid.trials.data import EvaluationData
from voxid.trials.pool import Pool, need_room
from voxid.trials.shuffling import keys, shuffled
from voxid.trials.values import Models, Trials


def enrollment(count: int, pool: Pool, data: EvaluationData, seed: int, most: int | None = None) -> Trials:
    """Return every speaker enrolled with `count` utterances against all utterances that enroll nobody.

    A speaker with `count` utterances or fewer makes no model (counted in `left_out`); the utterances are
    tests for the others. The list goes in rounds: in each, every model meets one more test, in a seeded order
    of the tests; so `most`, which cuts the list short, leaves every model its share (within 1). With one
    seed, the enrollment of fewer utterances is part of that of more.
    """
    chosen_P = _order_within(pool, seed) < count
    enough_G = pool.size_G > count
    group_P = np.repeat(np.arange(pool.size_G.size), pool.size_G)
    enrolls_P = chosen_P & enough_G[group_P]
    test_P = np.flatnonzero(~enrolls_P)
    models = _models(pool, data, enough_G, enrolls_P)
    left_out = dict(pool.left_out)
    if few := int(np.count_nonzero(~enough_G)):
        left_out["speakers_without_model"] = few
    group_M = np.flatnonzero(enough_G)
    _need_models(pool, group_M, count, left_out)
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
    left_K = (models.first + model_K).astype(np.int32)
    trials = Trials(
        pool.spec,
        left_K,
        pool.utterance_P[right_P],
        same_K,
        left_out=left_out,
        seed=seed,
        models=models,
    )
    _need_both(trials)
    return trials


def _order_within(pool: Pool, seed: int) -> np.ndarray:
    """Return the place of each utterance in a random order of its speaker's, (P,)."""
    group_P = np.repeat(np.arange(pool.size_G.size), pool.size_G)
    return shuffled(
        np.arange(group_P.size) - np.repeat(pool.begin_G, pool.size_G),
        np.repeat(pool.size_G, pool.size_G),
        keys(seed, 201, group_P),
    )


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


def _need_models(pool: Pool, group_M: np.ndarray, count: int, left_out: dict[str, int]) -> None:
    if group_M.size and (pool.size_G.size > 1):
        return
    raise NotEnoughSpeakers(
        f"{pool.spec!r} needs two speakers, and one of them with {count + 1} utterances ({count} to enroll, "
        f"one to test); got {pool.size_G.size} speakers with at most {pool.size_G.max(initial=0)} utterances "
        f"each (left out: {left_out or 'nothing'}). Enroll with fewer utterances, or add some."
    )


def _need_both(trials: Trials) -> None:
    targets = int(np.count_nonzero(trials.same_K))
    if 0 < targets < len(trials):
        return
    raise NotEnoughSpeakers(
        f"{trials.spec!r} gives {targets:,} target and {len(trials) - targets:,} non-target trials, and both "
        f"kinds are needed (left out: {trials.left_out or 'nothing'}). Raise max, loosen the filter, or add "
        "speakers."
    )
