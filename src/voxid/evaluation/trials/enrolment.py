"""Trials of speakers enrolled with several utterances: make them, read the models of a list, embed them.

# K trials, M models, E enrolment utterances of all models, U embedded utterances, D embedding, T tests
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from voxid.errors import NotEnoughSpeakers
from voxid.evaluation.data import EvaluationData
from voxid.evaluation.embedding import Voices
from voxid.evaluation.trials.pool import Pool, need_room
from voxid.evaluation.trials.shuffling import keys, shuffled
from voxid.evaluation.trials.values import Models, Trials
from voxid.scoring.similarity import unit_rows


def enrolment(count: int, pool: Pool, data: EvaluationData, seed: int, most: int | None = None) -> Trials:
    """Return every speaker enrolled with `count` utterances against all utterances that enrol nobody.

    A speaker with `count` utterances or fewer makes no model (counted in `left_out`); the utterances are
    tests for the others. The list goes in rounds: in each, every model meets one more test, in a seeded order
    of the tests; so `most`, which cuts the list short, leaves every model its share (within 1). With one
    seed, the enrolment of fewer utterances is part of that of more.
    """
    chosen_P = _order_within(pool, seed) < count
    enough_G = pool.size_G > count
    group_P = np.repeat(np.arange(pool.size_G.size), pool.size_G)
    enrols_P = chosen_P & enough_G[group_P]
    test_P = np.flatnonzero(~enrols_P)
    models = _models(pool, data, enough_G, enrols_P)
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


def _models(pool: Pool, data: EvaluationData, enough_G: np.ndarray, enrols_P: np.ndarray) -> Models:
    """Return the models, named for their speakers (with a number where a speaker has several classes)."""
    names, seen = [], Counter[str]()
    speakers = data.speaker_names()
    for group in np.flatnonzero(enough_G):
        name = speakers[pool.speaker_G[group]]
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    count = np.count_nonzero(enrols_P) // max(1, len(names))
    return Models(
        names,
        np.arange(len(names) + 1, dtype=np.int64) * count,
        pool.utterance_P[enrols_P],
        first=len(data.utterances),
    )


def _need_models(pool: Pool, group_M: np.ndarray, count: int, left_out: dict[str, int]) -> None:
    if group_M.size and (pool.size_G.size > 1):
        return
    raise NotEnoughSpeakers(
        f"{pool.spec!r} needs two speakers, and one of them with {count + 1} utterances ({count} to enrol, "
        f"one to test); got {pool.size_G.size} speakers with at most {pool.size_G.max(initial=0)} utterances "
        f"each (left out: {left_out or 'nothing'}). Enrol with fewer utterances, or add some."
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


def with_models(voices: Voices, trials: Trials) -> Voices:
    """Return `voices` with an embedding for each enrolment model, at its number; unchanged without models.

    A model's embedding is the mean of the unit-length embeddings of its utterances, at their mean length. Its
    seconds of speech are theirs together. Utterances that could not be embedded are passed over (a warning
    counts such models); a model of which none could be has no row, so its trials are lost, and counted.
    """
    models = trials.models
    if models is None:
        return voices
    row_E = voices.row_N[models.utterance_E]
    model_E = np.repeat(np.arange(len(models)), np.diff(models.begin))
    row_E, model_E, asked_M = row_E[row_E >= 0], model_E[row_E >= 0], np.diff(models.begin)
    heard_M = np.bincount(model_E, minlength=len(models))
    made = np.flatnonzero(heard_M)
    sum_MD = np.zeros((len(models), voices.emb_UD.shape[1]))
    length_M = np.bincount(
        model_E, weights=np.linalg.norm(voices.emb_UD, axis=1)[row_E], minlength=len(models)
    )
    if made.size:
        np.add.at(sum_MD, model_E, unit_rows(voices.emb_UD)[row_E])
    length_M = length_M[made] / heard_M[made]
    mean_MD = unit_rows(sum_MD[made]) * length_M[:, None]
    row_M = np.full(len(models), -1, dtype=np.int32)
    row_M[made] = voices.utterances + np.arange(made.size)
    partial = int(np.count_nonzero((heard_M > 0) & (heard_M < asked_M)))

    def together(seconds_U: np.ndarray) -> np.ndarray:
        return np.bincount(model_E, weights=seconds_U[row_E], minlength=len(models))[made]

    note = [f"{partial} enrolment models are made of fewer utterances than the trials ask for"]
    return dataclasses.replace(
        voices,
        emb_UD=np.concatenate((voices.emb_UD, mean_MD.astype(voices.emb_UD.dtype))),
        row_N=np.concatenate((voices.row_N, row_M)),
        speech_s_U=np.concatenate((voices.speech_s_U, together(voices.speech_s_U))),
        net_speech_s_U=np.concatenate((voices.net_speech_s_U, together(voices.net_speech_s_U))),
        warnings=[*voices.warnings, *note * (partial > 0)],
    )
