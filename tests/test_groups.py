"""Where the errors are: every figure of a group, a speaker or a single trial against a loop that counts."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from voxid import metrics
from voxid.evaluation import EvaluationData
from voxid.evaluation.groups import groups, hardest, worst
from voxid.evaluation.scores import Scores
from voxid.types import Utterance

THRESHOLD = 0.75
SEXES = ["m", "f", "m", "f", "", "f"]
AGES = [30.0, 10.0, 9.0, 12.0, 50.0, None]
LANGUAGES = ["en", "zh", "en", "zh", "en", ""]


@pytest.fixture
def data() -> EvaluationData:
    """Six speakers with four utterances each; labels of some are missing."""
    items = [
        Utterance(f"s{s}", f"s{s}/{i}", f"/c/s{s}/{i}", sex=SEXES[s], age=AGES[s], language=LANGUAGES[s])
        for s in range(6)
        for i in range(4)
    ]
    return EvaluationData("made up", ["/c"], "abc", items, audio=lambda i: items[i])


@pytest.fixture
def judged(data: EvaluationData) -> Scores:
    rng = np.random.default_rng(3)
    pairs = np.array(list(itertools.combinations(range(24), 2)), dtype=np.int32)
    rng.shuffle(pairs, axis=0)
    left, right = pairs.T.copy()
    same = data.speakers()[left] == data.speakers()[right]
    score = (rng.standard_normal(left.size) + 1.5 * same).astype(np.float32)
    return Scores(left, right, same, score, llr_K=2.0 * score.astype(np.float64))


def by_hand(judged: Scores, chosen: np.ndarray) -> dict[str, float]:
    score, same = judged.score_K[chosen], judged.same_K[chosen]
    return {
        "eer": metrics.eer(score, same).rate,
        "min_dcf": metrics.min_dcf(score, same),
        "far": float(np.mean(score[~same] >= 0.75)),
        "frr": float(np.mean(score[same] < 0.75)),
        "trials": int(chosen.sum()),
        "targets": int(same.sum()),
        "nontargets": int((~same).sum()),
    }


def test_groups_are_those_that_a_loop_finds(data: EvaluationData, judged: Scores) -> None:
    speech_s = np.tile([0.5, 2.5, 2.9, 7.0], 6)
    found = groups(data, replace(judged, speech_s_N=speech_s), THRESHOLD)
    said = data.utterances
    pairs = [(said[a], said[b]) for a, b in zip(judged.left_K, judged.right_K, strict=True)]
    child = [None if u.age is None else u.age < 18 for u in said]
    ages = [(child[a], child[b]) for a, b in zip(judged.left_K, judged.right_K, strict=True)]
    shorter = np.minimum(speech_s[judged.left_K], speech_s[judged.right_K])
    expected = {
        "sex: female, female": [a.sex == b.sex == "f" for a, b in pairs],
        "sex: male, female": [{a.sex, b.sex} == {"m", "f"} for a, b in pairs],
        "age: child, child": [a is True and b is True for a, b in ages],
        "age: child, adult": [{a, b} == {True, False} for a, b in ages],
        "language: zh, zh": [a.language == b.language == "zh" for a, b in pairs],
        "language: en, zh": [{a.language, b.language} == {"en", "zh"} for a, b in pairs],
        "duration: 0 to 1 s": shorter < 1,
        "duration: 2 to 3 s": (shorter >= 2) & (shorter < 3),
        "duration: 5 to 10 s": shorter >= 5,
        "same_sex_and_age_group": [
            a.sex == b.sex != "" and x is not None and x == y
            for (a, b), (x, y) in zip(pairs, ages, strict=True)
        ],
    }
    for name, chosen in expected.items():
        mask = np.array(chosen, dtype=bool)
        if judged.same_K[mask].any():
            wanted = by_hand(judged, mask)
            assert {key: found[name][key] for key in wanted} == pytest.approx(wanted), name
        else:  # two kinds of people are never one person
            assert (found[name]["eer"], found[name]["frr"]) == (None, None)
            assert found[name]["far"] == pytest.approx(np.mean(judged.score_K[mask] >= 0.75))
    assert found["sex: female, female"]["speakers"] == 3
    assert "duration: 1 to 2 s" not in found
    assert not any(name.startswith("corpus") for name in found)


def test_a_kind_with_one_group_is_not_listed(data: EvaluationData, judged: Scores) -> None:
    found = groups(data, replace(judged, speech_s_N=np.full(24, 2.0)), THRESHOLD)
    assert not any(name.startswith("duration") for name in found)
    found = groups(data, judged, THRESHOLD)
    assert not any(name.startswith("duration") for name in found)


def test_many_languages_are_told_as_the_commonest_and_others() -> None:
    languages = [f"l{i:02}" for i in range(15) for _ in range(3 if i < 12 else 2)]
    items = [Utterance(f"s{i}", f"u{i}", f"/c/{i}", language=x) for i, x in enumerate(languages)]
    data = EvaluationData("many", ["/c"], "abc", items, audio=lambda i: items[i])
    left, right = np.array(list(itertools.combinations(range(len(items)), 2)), dtype=np.int32).T.copy()
    judged = Scores(left, right, np.zeros(left.size, bool), np.zeros(left.size))
    found = groups(data, judged, 0.5)
    names = [name for name in found if name.startswith("language")]
    assert len(names) == 14
    assert found["language: other, other"]["trials"] == 6 * 5 // 2
    assert found["language: l00, l00"]["trials"] == 3


def test_hardest_speakers_are_counted_from_both_sides(data: EvaluationData, judged: Scores) -> None:
    listed = hardest(data, judged, THRESHOLD)
    fa, nontargets, fr, targets, with_whom = (Counter() for _ in range(5))
    for a, b, same, score in zip(judged.left_K, judged.right_K, judged.same_K, judged.score_K, strict=True):
        one, other = data.utterances[a].speaker, data.utterances[b].speaker
        if same:
            targets[one] += 1
            fr[one] += score < 0.75
        else:
            nontargets.update([one, other])
            if score >= 0.75:
                fa.update([one, other])
                with_whom[frozenset((one, other))] += 1
    assert {row["speaker"] for row in listed} == {name for name in targets if fa[name] + fr[name]}
    for row in listed:
        name = row["speaker"]
        assert (row["false_accepts"], row["nontargets"]) == (fa[name], nontargets[name])
        assert (row["false_rejects"], row["targets"]) == (fr[name], targets[name])
        first = row["confused_with"][0]
        most = max(times for pair, times in with_whom.items() if name in pair)
        assert first["false_accepts"] == with_whom[frozenset((name, first["speaker"]))] == most
        assert first["trials"] == 16
    rates = [row["far"] + row["frr"] for row in listed]
    assert rates == sorted(rates, reverse=True)
    assert len(hardest(data, judged, THRESHOLD, most=2)) == 2


def test_speakers_without_errors_or_names_are_not_hard(data: EvaluationData, judged: Scores) -> None:
    perfect = replace(judged, score_K=judged.same_K.astype(float))
    assert hardest(data, perfect, 0.5) == []
    items = [Utterance("", u.utterance, u.path) for u in data.utterances]
    nameless = EvaluationData("nameless", ["/c"], "abc", items, audio=lambda i: items[i])
    assert hardest(nameless, judged, THRESHOLD) == []


def test_worst_trials_are_the_extreme_errors(data: EvaluationData, judged: Scores) -> None:
    found = worst(data, judged, THRESHOLD, most=5)
    wrong = np.flatnonzero(~judged.same_K & (judged.score_K >= 0.75))
    expected = sorted(wrong, key=lambda k: -judged.score_K[k])[:5]
    assert [row["score"] for row in found["false_accepts"]] == [float(judged.score_K[k]) for k in expected]
    k, first = expected[0], found["false_accepts"][0]
    assert first == {
        "left": data.utterances[judged.left_K[k]].utterance,
        "right": data.utterances[judged.right_K[k]].utterance,
        "left_speaker": data.utterances[judged.left_K[k]].speaker,
        "right_speaker": data.utterances[judged.right_K[k]].speaker,
        "score": float(judged.score_K[k]),
        "llr": 2.0 * float(judged.score_K[k]),
    }
    lowest = np.sort(judged.score_K[judged.same_K & (judged.score_K < 0.75)])[:5]
    assert [row["score"] for row in found["false_rejects"]] == lowest.tolist()
    few = worst(data, judged, 99.0)
    assert few["false_accepts"] == []
