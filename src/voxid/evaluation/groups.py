"""Where the errors are: by kind of speaker and speech, by speaker, and the single worst trials.

# N utterances, K trials, S speakers, C classes
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from voxid import metrics
from voxid.evaluation.scores import Scores
from voxid.trials.data import EvaluationData

DURATIONS_S = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0)  # where one bucket ends and the next begins
MOST_CLASSES = 12  # languages or corpora beyond these are one class, "other"
WORST = 20
CONFUSED = 3  # with how many others a speaker of the hardest list is shown


def groups(data: EvaluationData, scores: Scores, threshold: float) -> dict[str, dict[str, Any]]:
    """Return the figures of each group of trials, as far as labels tell: name -> figures.

    "same_sex_and_age_group" holds the harder trials, of speakers who are alike ("same_sex" where no age is
    known). Then come sex, age group, the shorter side's seconds of speech, language and corpus; groups of
    different kinds overlap. EER and minDCF have the group's own threshold, FAR and FRR the `threshold` of all
    trials.
    """
    sex_N, adult_N, speaker_N = data.sexes(), data.adults(), data.speakers()
    found: dict[str, dict[str, Any]] = {}

    def add(kind: str, name: str, in_K: np.ndarray) -> None:
        if in_K.any():
            found[name] = {"kind": kind, **_figures(scores, threshold, in_K, speaker_N)}

    left, right = scores.left_K, scores.right_K
    alike_K = (sex_N[left] == sex_N[right]) & (sex_N[left] >= 0)
    ages = bool((adult_N >= 0).any())
    if ages:
        alike_K &= (adult_N[left] == adult_N[right]) & (adult_N[left] >= 0)
    add("alike", "same_sex_and_age_group" if ages else "same_sex", alike_K)
    for kind, class_N, names in _classes(data, sex_N, adult_N):
        for name, in_K in _pairs_of_classes(class_N[left], class_N[right], names):
            add(kind, f"{kind}: {name}", in_K)
    speech_s_N = np.full(speaker_N.size, np.nan) if scores.speech_s_N is None else scores.speech_s_N
    shorter_K = np.fmin(speech_s_N[left], speech_s_N[right])
    for low, high in zip((0.0, *DURATIONS_S), (*DURATIONS_S, np.inf), strict=True):
        name = f"{low:g} to {high:g} s" if np.isfinite(high) else f"{low:g} s or more"
        add("duration", f"duration: {name}", (shorter_K >= low) & (shorter_K < high))
    count = Counter(group["kind"] for group in found.values())
    return {
        name: group for name, group in found.items() if group["kind"] == "alike" or count[group["kind"]] > 1
    }


def _figures(scores: Scores, threshold: float, in_K: np.ndarray, speaker_N: np.ndarray) -> dict[str, Any]:
    score_K, same_K = scores.score_K[in_K], scores.same_K[in_K]
    accepted_K = score_K >= threshold
    heard = np.unique(np.concatenate((speaker_N[scores.left_K[in_K]], speaker_N[scores.right_K[in_K]])))
    targets = int(np.count_nonzero(same_K))
    nontargets = same_K.size - targets
    figures: dict[str, Any] = {"eer": None, "eer_threshold": None, "min_dcf": None}
    if targets and nontargets:
        rate, at = metrics.eer(score_K, same_K)
        figures = {"eer": rate, "eer_threshold": at, "min_dcf": metrics.min_dcf(score_K, same_K)}
    return figures | {
        "far": int(np.count_nonzero(accepted_K & ~same_K)) / nontargets if nontargets else None,
        "frr": int(np.count_nonzero(~accepted_K & same_K)) / targets if targets else None,
        "trials": int(same_K.size),
        "targets": targets,
        "nontargets": nontargets,
        "speakers": int(heard.size),
    }


def _classes(
    data: EvaluationData, sex_N: np.ndarray, adult_N: np.ndarray
) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    """Yield (kind, class of each utterance or -1, names of the classes)."""
    yield "sex", sex_N, ["male", "female"]
    yield "age", adult_N, ["child", "adult"]
    yield "language", *_coded([u.language for u in data.utterances])
    yield "corpus", *_coded(data.corpora())


def _coded(words: list[str]) -> tuple[np.ndarray, list[str]]:
    """Return the number of each word among the commonest, -1 for "", and the names; the rest is "other"."""
    names, code_N, count = np.unique(words, return_inverse=True, return_counts=True)
    order = [i for i in np.argsort(-count, kind="stable") if names[i]]
    number = np.full(names.size, -1, dtype=np.int16)
    number[order] = np.minimum(np.arange(len(order)), MOST_CLASSES)
    kept = [str(names[i]) for i in order[:MOST_CLASSES]]
    return number[code_N], [*kept, "other"] if len(order) > MOST_CLASSES else kept


def _pairs_of_classes(
    left_K: np.ndarray, right_K: np.ndarray, names: list[str]
) -> Iterator[tuple[str, np.ndarray]]:
    for first, name in enumerate(names):
        yield f"{name}, {name}", (left_K == first) & (right_K == first)
    if len(names) == 2:
        yield f"{names[0]}, {names[1]}", (left_K >= 0) & (right_K >= 0) & (left_K != right_K)
    elif len(names) > 2:
        yield "two different", (left_K >= 0) & (right_K >= 0) & (left_K != right_K)


def hardest(
    data: EvaluationData, scores: Scores, threshold: float, most: int = WORST
) -> list[dict[str, Any]]:
    """Return the speakers with the most errors at the threshold, and whom each is taken for, hardest first.

    Ordered by the mean of a speaker's FAR (in trials against others) and FRR. Speakers without an error, and
    speakers whose name is not known (""), are not listed.
    """
    names, speaker_N = data.speaker_names(), data.speakers()
    left_K, right_K = speaker_N[scores.left_K], speaker_N[scores.right_K]
    accepted_K, same_K = scores.score_K >= threshold, scores.same_K

    def count(in_K: np.ndarray, both: bool) -> np.ndarray:
        counted = np.bincount(left_K[in_K], minlength=len(names))
        return counted + np.bincount(right_K[in_K], minlength=len(names)) if both else counted

    wrong_K = accepted_K & ~same_K
    accepts_S, nontargets_S = count(wrong_K, True), count(~same_K, True)
    rejects_S, targets_S = count(~accepted_K & same_K, False), count(same_K, False)
    far_S, frr_S = accepts_S / np.maximum(nontargets_S, 1), rejects_S / np.maximum(targets_S, 1)
    order = [s for s in np.argsort(-(far_S + frr_S), kind="stable") if accepts_S[s] + rejects_S[s]]
    pair_K = np.minimum(left_K[wrong_K], right_K[wrong_K]).astype(np.int64) * len(names)
    pair_P, times_P = np.unique(pair_K + np.maximum(left_K[wrong_K], right_K[wrong_K]), return_counts=True)
    return [
        {
            "speaker": names[s],
            "false_accepts": int(accepts_S[s]),
            "nontargets": int(nontargets_S[s]),
            "far": float(far_S[s]) if nontargets_S[s] else None,
            "false_rejects": int(rejects_S[s]),
            "targets": int(targets_S[s]),
            "frr": float(frr_S[s]) if targets_S[s] else None,
            "confused_with": _confused(int(s), pair_P, times_P, left_K, right_K, same_K, names),
        }
        for s in order
        if names[s]
    ][:most]


def _confused(
    speaker: int,
    pair_P: np.ndarray,
    times_P: np.ndarray,
    left_K: np.ndarray,
    right_K: np.ndarray,
    same_K: np.ndarray,
    names: list[str],
) -> list[dict[str, Any]]:
    first_P, second_P = np.divmod(pair_P, len(names))
    with_P = np.flatnonzero((first_P == speaker) ^ (second_P == speaker))
    with_P = with_P[np.argsort(-times_P[with_P], kind="stable")][:CONFUSED]
    mine_K = ((left_K == speaker) | (right_K == speaker)) & ~same_K
    other_K = np.where(left_K[mine_K] == speaker, right_K[mine_K], left_K[mine_K])
    trials_S = np.bincount(other_K, minlength=len(names))
    others = [int(first_P[p] + second_P[p] - speaker) for p in with_P]
    return [
        {"speaker": names[other], "false_accepts": int(times_P[p]), "trials": int(trials_S[other])}
        for other, p in zip(others, with_P, strict=True)
    ]


def worst(
    data: EvaluationData, scores: Scores, threshold: float, most: int = WORST
) -> dict[str, list[dict[str, Any]]]:
    """Return the errors farthest on the wrong side of the threshold, the worst first: two lists of trials.

    "false_accepts" are the highest scores of two people, "false_rejects" the lowest of one; only trials that
    are errors at the threshold.
    """
    accepted_K = scores.score_K >= threshold
    return {
        "false_accepts": _extreme(data, scores, np.flatnonzero(accepted_K & ~scores.same_K), -1, most),
        "false_rejects": _extreme(data, scores, np.flatnonzero(~accepted_K & scores.same_K), 1, most),
    }


def _extreme(
    data: EvaluationData, scores: Scores, trial_E: np.ndarray, sign: int, most: int
) -> list[dict[str, Any]]:
    key_E = sign * scores.score_K[trial_E].astype(np.float64)
    if trial_E.size > most:
        some = np.argpartition(key_E, most)[: most + 1]
        trial_E, key_E = trial_E[some], key_E[some]
    listed = trial_E[np.lexsort((trial_E, key_E))][:most].tolist()
    rows = []
    for k in listed:
        left, right = data.utterances[scores.left_K[k]], data.utterances[scores.right_K[k]]
        rows.append(
            {
                "left": left.utterance,
                "right": right.utterance,
                "left_speaker": left.speaker,
                "right_speaker": right.speaker,
                "score": float(scores.score_K[k]),
                "llr": None if scores.llr_K is None else float(scores.llr_K[k]),
            }
        )
    return rows
