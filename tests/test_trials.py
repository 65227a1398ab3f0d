"""Trials made from the data: all pairs, triplets, balanced pairs, enrollment, filters."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from commands import invoke
from hypothesis import given
from hypothesis import strategies as st
from trial_data import data_of, named

from voxid.corpora.synthetic import make_corpus
from voxid.errors import BadTrials, NotEnoughSpeakers
from voxid.evaluation import EvaluationData, make_trials, read_data
from voxid.trials import (
    doubts,
    making,
    pool,
)
from voxid.types import Utterance

# -- all pairs -----------------------------------------------------------------------------------------


def test_all_pairs_are_every_two_utterances_once() -> None:
    data = data_of(ann=3, bob=1, cy=2)
    names = [u.utterance for u in data.utterances]
    expected = [(a, b, a.split("/")[0] == b.split("/")[0]) for a, b in combinations(names, 2)]
    assert named(make_trials("all", data), data) == expected


def test_same_speaker_trials_of_one_session_are_left_out_where_there_are_others() -> None:
    def said(corpus: str, speaker: str, session: str, take: int) -> Utterance:
        who = f"{corpus}/{speaker}"
        return Utterance(who, f"{who}/{session}{take}", f"{who}{session}{take}.wav", session=session)

    calls = [said("calls", who, day, take) for who in "ab" for day in ("mon", "tue") for take in (1, 2)]
    lone = [said("calls", "c", "wed", take) for take in (1, 2)]
    book = [said("book", who, "", take) for who in "de" for take in (1, 2, 3)]
    data = dataclasses.replace(data_of(x=1), utterances=[*calls, *lone, *book])
    trials = make_trials("all:same-corpus+other-session", data)
    same = [
        (data.utterances[left], data.utterances[right])
        for left, right, one in zip(trials.left_K, trials.right_K, trials.same_K, strict=True)
        if one
    ]
    of_calls = [pair for pair in same if pair[0].speaker.startswith("calls")]
    assert len(of_calls) == 8  # two speakers, 2 x 2 takes of two days
    assert all(left.session != right.session for left, right in of_calls)
    assert len(same) - len(of_calls) == 6  # the book has one session a speaker, and keeps what it has
    assert trials.left_out["same_speaker_trials_of_one_session"] == 5
    assert trials.warnings == {"same_speaker_pairs_of_one_session,_as_no_speaker_of_their_corpus_has_two": 6}
    alone = make_trials("all:other-session", dataclasses.replace(data, utterances=book))
    assert (alone.left_out, [*alone.warnings.values()]) == ({}, [6])
    plain = make_trials("all:same-corpus", data)
    assert np.count_nonzero(~trials.same_K) == np.count_nonzero(~plain.same_K)
    with pytest.raises(BadTrials, match="is not an option of these trials"):
        make_trials("10-pairs:other-session", data)


def test_all_pairs_of_a_test_set_are_small() -> None:
    data = data_of(**{f"s{i}": 20 for i in range(73)})
    trials = make_trials("all", data)
    assert len(trials) == 1460 * 1459 // 2
    assert np.count_nonzero(trials.same_K) == 73 * 20 * 19 // 2
    assert sum(array.nbytes for array in (trials.left_K, trials.right_K, trials.same_K)) == 9 * len(trials)


def test_too_many_pairs_are_refused_before_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST_TRIALS", 10)
    with pytest.raises(BadTrials, match=r"15 trials; at most 10.*1000000-triplets"):
        make_trials("all", data_of(ann=3, bob=3))


def test_too_many_triplets_are_refused_before_memory_runs_out() -> None:
    with pytest.raises(BadTrials, match=r"99,999,999,999 triplets.*1000000-triplets"):
        make_trials("99999999999-triplets", data_of(ann=3, bob=3))


def test_a_list_in_a_folder_one_may_not_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.stat", refuse)
    with pytest.raises(BadTrials, match="locked/list"):
        make_trials("locked/list", data_of(ann=3, bob=3))


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(BadTrials, match="got -1"):
        make_trials("5-triplets", data_of(ann=3, bob=3), seed=-1)


# -- triplets ------------------------------------------------------------------------------------------


def test_triplets_are_what_they_say() -> None:
    data = data_of(ann=5, bob=1, cy=2, dee=9)
    trials = make_trials("5000-triplets", data, seed=1)
    speaker = data.speakers()
    anchor, positive, negative = trials.left_K[0::2], trials.right_K[0::2], trials.right_K[1::2]
    assert trials.same_K.tolist() == [True, False] * 5000
    np.testing.assert_array_equal(trials.left_K[1::2], anchor)
    assert (speaker[anchor] == speaker[positive]).all()
    assert (anchor != positive).all()
    assert (speaker[anchor] != speaker[negative]).all()


def test_triplets_draw_evenly() -> None:
    data = data_of(ann=5, bob=1, cy=2, dee=9)
    names, speaker = [u.utterance for u in data.utterances], data.speakers()
    trials = make_trials("60000-triplets", data, seed=2)
    anchors = np.bincount(speaker[trials.left_K[0::2]], minlength=4) / 60_000
    # ann, cy and dee have two utterances or more, so each is the anchor a third of the time; bob never is
    np.testing.assert_allclose(anchors, [1 / 3, 0, 1 / 3, 1 / 3], atol=0.01)
    # a negative comes from each of the three others alike: bob a third of all, ann 2/3 of a third
    negatives = np.bincount(speaker[trials.right_K[1::2]], minlength=4) / 60_000
    np.testing.assert_allclose(negatives, [2 / 9, 1 / 3, 2 / 9, 2 / 9], atol=0.01)
    # each ordered pair of ann's five utterances is as likely as another
    pairs = [pair for pair in named(trials, data) if pair[2] and pair[0].startswith("ann")]
    counts = np.array([sum(p[:2] == (a, b) for p in pairs) for a in names[:5] for b in names[:5] if a != b])
    assert counts.min() > 0.85 * counts.mean()
    assert counts.max() < 1.15 * counts.mean()


def test_the_seed_decides_the_triplets() -> None:
    data = data_of(ann=5, bob=3)
    first, again, other = (make_trials("50-triplets", data, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.right_K, again.right_K)
    assert (first.right_K != other.right_K).any()


@pytest.mark.parametrize("spec", ["all", "10-triplets"])
@pytest.mark.parametrize("counts", [{"ann": 4}, {"ann": 1, "bob": 1}])
def test_speakers_must_suffice(spec: str, counts: dict[str, int]) -> None:
    with pytest.raises(NotEnoughSpeakers, match="two speakers, and one of them with two utterances"):
        make_trials(spec, data_of(**counts))


# -- triplets as the original drew them ----------------------------------------------------------------

WINDOW_S = 3.168  # 99 hops of 512 samples at 16 kHz: 100 frames, the first at sample 0


def lasting(**seconds: list[float]) -> EvaluationData:
    """As `data_of`, with the duration of each utterance."""
    plain = data_of(**{speaker: len(lengths) for speaker, lengths in seconds.items()})
    of_all = [length for lengths in seconds.values() for length in lengths]
    utterances = [
        dataclasses.replace(u, duration_s=length) for u, length in zip(plain.utterances, of_all, strict=True)
    ]
    return dataclasses.replace(plain, utterances=utterances)


def test_the_original_protocol_worked_out_by_hand() -> None:
    """Every triplet that even draws of two speakers, then of utterances, can give, with its chance."""
    long, short = WINDOW_S, WINDOW_S - 1 / 16_000  # one sample less than a window
    data = lasting(ann=[long, 9, short], bob=[long, short], cy=[4, 5])
    length = {u.utterance: u.duration_s for u in data.utterances}
    by_speaker = {name: [u for u in length if u.startswith(name)] for name in ("ann", "bob", "cy")}
    chance: dict[tuple[str, str, str], float] = {}
    for speaker, other in permutations(by_speaker, 2):
        mine, theirs = by_speaker[speaker], by_speaker[other]
        for (anchor, positive), negative in product(permutations(mine, 2), theirs):
            even = 1 / (6 * len(mine) * (len(mine) - 1) * len(theirs))
            chance[anchor, positive, negative] = even
    assert sum(chance.values()) == pytest.approx(1)
    kept = {triplet: p for triplet, p in chance.items() if all(length[u] >= WINDOW_S for u in triplet)}
    share = sum(kept.values())
    # ann first: 2/6 of her pairs are long, and of the others' utterances (1/2 + 1) / 2;
    # bob first: none; cy first: all pairs, and (2/3 + 1/2) / 2
    assert share == pytest.approx((1 / 3 * 3 / 4 + 0 + 7 / 12) / 3)

    count = 40_000
    trials = make_trials(f"{count}-triplets:original", data, seed=3)
    pairs = named(trials, data)
    drawn = Counter((pairs[i][0], pairs[i][1], pairs[i + 1][1]) for i in range(0, len(pairs), 2))
    assert trials.same_K.tolist() == [True, False] * count
    assert set(drawn) == set(kept)
    for triplet, p in kept.items():
        np.testing.assert_allclose(drawn[triplet] / count, p / share, atol=0.01)
    left_out = trials.left_out.pop("triplets_with_a_short_utterance")
    np.testing.assert_allclose(count / (count + left_out), share, atol=0.005)
    assert trials.left_out == {}


def test_the_original_protocol_is_ours_less_the_short_ones() -> None:
    data = lasting(ann=[2, 5, 7, 3], bob=[1, 8, 6], cy=[9, 9, 2])
    ours = make_trials("500-triplets", data, seed=4)
    rows = np.stack((ours.left_K[0::2], ours.right_K[0::2], ours.right_K[1::2]), axis=1)
    is_long_N = np.array([u.duration_s >= WINDOW_S for u in data.utterances])
    last = np.flatnonzero(is_long_N[rows].all(axis=1))[:40]
    trials = make_trials("40-triplets:original", data, seed=4)
    np.testing.assert_array_equal(trials.left_K[0::2], rows[last, 0])
    np.testing.assert_array_equal(trials.right_K[0::2], rows[last, 1])
    np.testing.assert_array_equal(trials.right_K[1::2], rows[last, 2])
    assert trials.left_out == {"triplets_with_a_short_utterance": int(last[-1]) + 1 - 40}
    everything = lasting(ann=[4, 5], bob=[6, 4])
    whole = make_trials("9-triplets:original", everything)
    assert whole.left_out == {}
    np.testing.assert_array_equal(whole.right_K, make_trials("9-triplets", everything).right_K)


def test_the_original_protocol_with_other_options() -> None:
    data = lasting(ann=[9, 9, 1], bob=[9, 9], cy=[9, 9])
    same_sex = [dataclasses.replace(u, sex="f" if u.speaker != "cy" else "") for u in data.utterances]
    data = dataclasses.replace(data, utterances=same_sex)
    trials = make_trials("30-triplets:original+same-sex", data)
    assert {name.split("/")[0] for pair in named(trials, data) for name in pair[:2]} == {"ann", "bob"}
    assert trials.left_out["utterances_without_sex"] == 2
    assert trials.left_out["triplets_with_a_short_utterance"] > 0


@pytest.mark.parametrize(
    ("seconds", "few"),
    [
        ({"ann": [1, 2, 3], "bob": [1, 2]}, "Only 0 of 5"),
        ({"ann": [4, 2, 3], "bob": [4, 2]}, "Only 2 of 5"),  # nobody has two
        ({"ann": [4, 5, 3], "bob": [1, 2]}, "Only 2 of 5"),  # there is no other
    ],
)
def test_too_few_long_utterances_are_an_error_and_no_endless_loop(seconds: dict, few: str) -> None:
    with pytest.raises(NotEnoughSpeakers, match=rf"\(3\.168 s\).*{few} utterances.*Take '7-triplets'"):
        make_trials("7-triplets:original", lasting(**seconds))


def test_long_utterances_that_are_too_rare_are_an_error_too(monkeypatch: pytest.MonkeyPatch) -> None:
    data = lasting(ann=[4, 5] + 98 * [1], bob=[4] + 99 * [1])  # 1 of 495,000 triplets on average
    assert len(make_trials("2-triplets:original", data)) == 4
    monkeypatch.setattr(making, "MOST_TRIALS", 900_000)
    with pytest.raises(NotEnoughSpeakers, match="1e-06 of all triplets"):
        make_trials("2-triplets:original", data)


# -- what is random is nested and seeded ---------------------------------------------------------------

RANDOM = ["{}-triplets", "{}-triplets:original", "{}-triplets:same-sex"]
RANDOM += ["{}-pairs", "{}-pairs:same-sex", "2-enrol:max={}"]


def labelled(**counts: int) -> EvaluationData:
    """As `data_of`; the sex is by the first letter (a-l: f, m-z: m), x has none; every second is a child."""
    plain = data_of(**counts)
    utterances = [
        dataclasses.replace(
            u,
            sex="" if u.speaker[0] == "x" else "f" if u.speaker[0] < "m" else "m",
            age=None if u.speaker[0] == "x" else 10 + 30 * (ord(u.speaker[1]) % 2),
            duration_s=1.0 + int(u.utterance.split("/")[1]),
        )
        for u in plain.utterances
    ]
    return dataclasses.replace(plain, utterances=utterances)


CROWD = {"aa": 5, "bb": 3, "cc": 9, "ma": 4, "mb": 2, "nc": 7, "oo": 1}


@pytest.mark.parametrize("spec", RANDOM)
def test_a_smaller_list_is_the_beginning_of_a_larger_one(spec: str) -> None:
    data = labelled(**CROWD)
    full = make_trials(spec.format(90), data, seed=5)
    for count in (12, 13, 31) if "enrol" in spec else (2, 3, 10, 31):
        part = make_trials(spec.format(count), data, seed=5)
        assert len(part) >= count
        assert named(part, part.extended(data)) == named(full, full.extended(data))[: len(part)]


@pytest.mark.parametrize("spec", ["{}-triplets", "{}-triplets:original", "{}-pairs"])
def test_long_lists_are_nested_beyond_one_block_of_random_numbers(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = labelled(**CROWD)
    whole = make_trials(spec.format(400), data, seed=1)
    monkeypatch.setattr(making, "ROUND_VALUES", 16)
    monkeypatch.setattr(making, "CHUNK", 7)
    pieces = make_trials(spec.format(400), data, seed=1)
    np.testing.assert_array_equal(whole.left_K, pieces.left_K)
    np.testing.assert_array_equal(whole.right_K, pieces.right_K)


@pytest.mark.parametrize("spec", RANDOM)
def test_the_seed_decides_what_is_random(spec: str) -> None:
    data = labelled(**CROWD)
    first, again, other = (make_trials(spec.format(40), data, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.right_K, again.right_K)
    np.testing.assert_array_equal(first.left_K, again.left_K)
    assert (first.right_K != other.right_K).any()
    assert first.seed == 3


@given(
    counts=st.lists(st.integers(1, 6), min_size=4, max_size=9).filter(lambda sizes: max(sizes) > 1),
    option=st.sampled_from(["", ":same-sex"]),
    number=st.integers(2, 120),
    seed=st.integers(0, 99),
)
def test_pairs_are_balanced_over_speakers_at_every_length(
    counts: list[int], option: str, number: int, seed: int
) -> None:
    """Men and women in turns, so that each has a rival of the same sex."""
    data = labelled(**{f"{'am'[i % 2]}{i}": count for i, count in enumerate(counts)})
    trials = make_trials(f"{number}-pairs{option}", data, seed)
    size = np.bincount(data.speakers())
    left_K, right_K = data.speakers()[trials.left_K], data.speakers()[trials.right_K]
    assert trials.same_K.tolist() == [True, False] * (number // 2) + [True] * (number % 2)
    np.testing.assert_array_equal(left_K == right_K, trials.same_K)
    assert (trials.left_K != trials.right_K).all()
    targets = np.bincount(left_K[trials.same_K], minlength=size.size)
    assert np.ptp(targets[size > 1]) <= 1
    assert not targets[size == 1].any()
    others = np.concatenate((left_K[~trials.same_K], right_K[~trials.same_K]))
    assert np.ptp(np.bincount(others, minlength=size.size)) <= 2


def test_pairs_repeat_nothing_before_they_must() -> None:
    data = data_of(ann=4, bob=4, cy=4)  # 18 target pairs, 48 non-target pairs
    trials = make_trials("36-pairs", data, seed=7)
    assert trials.warnings == {}
    pairs = {frozenset(pair[:2]) for pair in named(trials, data)}
    assert len(pairs) == 36
    assert {p for p in pairs if len({name[:3] for name in p}) == 1} == {
        frozenset((f"{s}/{i}", f"{s}/{j}"))
        for s in ("ann", "bob", "cy")
        for i, j in combinations(range(4), 2)
    }
    longer = make_trials("40-pairs", data, seed=7)
    assert longer.warnings == {"duplicate": 2}
    assert doubts(longer.left_K, longer.right_K, longer.same_K, data.speakers()) == {"duplicate": 2}


def test_pairs_draw_evenly() -> None:
    data = data_of(ann=4, bob=2, cy=3)
    drawn = Counter()
    for seed in range(1500):
        pair = named(make_trials("2-pairs", data, seed), data)
        drawn.update(frozenset(p[:2]) for p in pair)
    # the first target is of each speaker alike, and of each of the speaker's pairs alike
    for speaker, pairs in (("ann", 6), ("bob", 1), ("cy", 3)):
        counts = [drawn[p] for p in drawn if {name.split("/")[0] for name in p} == {speaker}]
        assert len(counts) == pairs
        np.testing.assert_allclose(counts, 500 / pairs, rtol=0.35)
    for one, other, pairs in (("ann", "bob", 8), ("ann", "cy", 12), ("bob", "cy", 6)):
        counts = [drawn[p] for p in drawn if {name.split("/")[0] for name in p} == {one, other}]
        assert len(counts) == pairs
        np.testing.assert_allclose(counts, 500 / pairs, rtol=0.55)


@given(size=st.integers(1, 5000), seed=st.integers(0, 9))
def test_a_shuffle_has_each_item_once(size: int, seed: int) -> None:
    key = making.keys(seed, 0, np.zeros(1))
    assert sorted(making.shuffled(np.arange(size), np.array(size), key)) == list(range(size))


def test_shuffles_of_different_keys_are_unrelated() -> None:
    keys = making.keys(0, 0, np.arange(6000))
    first = making.shuffled(np.zeros(6000), np.array(6), keys)
    np.testing.assert_allclose(np.bincount(first, minlength=6), 1000, rtol=0.15)
    assert np.unique(making.keys(0, 0, np.arange(1000))).size == 1000
    assert (making.keys(0, 0, np.arange(9)) != making.keys(0, 1, np.arange(9))).all()


# -- filters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", ["all", "40-triplets", "40-pairs", "2-enrol"])
@pytest.mark.parametrize(
    ("option", "kept"),
    [
        ("same-sex", lambda a, b: a.sex == b.sex != ""),
        ("same-age-group", lambda a, b: None not in (a.age, b.age) and (a.age < 18) == (b.age < 18)),
        (
            "same-sex+same-age-group",
            lambda a, b: a.sex == b.sex != "" and (a.age < 18) == (b.age < 18),
        ),
        ("duration=2-4", lambda a, b: 2 <= a.duration_s < 4 and 2 <= b.duration_s < 4),
    ],
    ids=["sex", "age", "sex and age", "duration"],
)
def test_a_filter_keeps_what_it_says(base: str, option: str, kept) -> None:
    crowd = {"aa": 4, "bb": 3, "cc": 6, "dd": 5, "ma": 4, "mb": 5, "nc": 4, "od": 4, "xx": 4}
    data = labelled(**crowd)
    if base == "2-enrol" and option == "duration=2-4":
        base = "1-enrol"
    trials = make_trials(f"{base}:{option}", data)
    whole = trials.extended(data)
    for left, right in zip(trials.left_K, trials.right_K, strict=True):
        assert kept(whole.utterances[left], whole.utterances[right])
    if base == "all":
        expected = [
            (a.utterance, b.utterance, a.speaker == b.speaker)
            for a, b in combinations(data.utterances, 2)
            if kept(a, b)
        ]
        assert named(trials, data) == expected
    if "sex" in option:
        assert trials.left_out["speakers_without_sex"] == 1
        assert trials.left_out["utterances_without_sex"] == 4
    if option == "duration=2-4":
        outside = sum(not 2 <= u.duration_s < 4 for u in data.utterances)
        assert trials.left_out["utterances_outside_duration"] == outside


@pytest.mark.parametrize("base", ["all", "40-triplets", "40-pairs", "2-enrol"])
def test_pairs_inside_one_of_several_corpora(base: str) -> None:
    data = data_of(**{"one/ann": 4, "one/bob": 3, "two/ann": 4, "two/cy": 5, "alone/dee": 3})
    trials = make_trials(f"{base}:same-corpus", data)
    whole = trials.extended(data)
    corpora = [utterance.speaker.split("/")[0] for utterance in whole.utterances]
    pairs = list(zip(trials.left_K, trials.right_K, strict=True))
    assert all(corpora[left] == corpora[right] for left, right in pairs)
    assert {corpora[left] for left, _ in pairs} >= {"one", "two"}
    if base == "all":
        expected = [
            (a.utterance, b.utterance, a.speaker == b.speaker)
            for a, b in combinations(data.utterances, 2)
            if a.speaker.split("/")[0] == b.speaker.split("/")[0]
        ]
        assert sorted(named(trials, data)) == sorted(expected)
    alone = data_of(ann=4, bob=3)  # one corpus: everything is inside it
    within, everything = make_trials(f"{base}:same-corpus", alone), make_trials(base, alone)
    assert named(within, within.extended(alone)) == named(everything, everything.extended(alone))


def test_duration_buckets_divide_the_trials() -> None:
    data = labelled(aa=8, bb=8, cc=8)
    parts = [make_trials(f"all:duration={bucket}", data) for bucket in ("0-3", "3-5.5", "5.5-")]
    used = [set(part.used().tolist()) for part in parts]
    assert sum(len(part) for part in used) == len(set().union(*used)) == 24


def test_a_duration_that_the_corpus_does_not_say_is_read_from_the_file(tmp_path: Path) -> None:
    utterances = [
        Utterance(speaker, f"{speaker}{i}", str(tmp_path / f"{speaker}{i}.wav"))
        for speaker in "ab"
        for i in "12"
    ]
    for utterance in utterances[:3]:
        sf.write(utterance.path, np.zeros(16_000), 16_000)
    data = EvaluationData("d", [str(tmp_path)], "f", utterances, audio=lambda i: utterances[i])
    trials = make_trials("all:duration=0.5-2", data)
    assert [pair[:2] for pair in named(trials, data)] == [("a1", "a2"), ("a1", "b1"), ("a2", "b1")]
    assert trials.left_out == {"utterances_of_unknown_duration": 1}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("all:same-sex", r"got 2 speakers with at most 3 .*'all:same-sex' \(1 speakers without sex, 3 utter"),
        ("10-pairs:duration=99-", r"got 0 speakers .*6 utterances outside duration|9 utterances outside"),
        ("3-enrol", r"one of them with 4 utterances .*got 3 speakers with at most 3"),
        ("2-enrol:max=1", r"Raise max"),
    ],
)
def test_a_filter_that_leaves_one_kind_says_what_it_left(spec: str, message: str) -> None:
    with pytest.raises(NotEnoughSpeakers, match=message):
        make_trials(spec, labelled(aa=3, ma=3, xx=3))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("all:same-sexx", "Did you mean 'same-sex'"),
        ("all:", "'' is not an option"),
        (
            "all:max=5",
            "'max=5' is not an option of these trials. Allowed: same-sex, same-age-group, same-corpus, dura",
        ),
        ("5-pairs:original", "'original' is not an option of these trials"),
        ("5-triplets:originals", "Did you mean 'original'"),
        ("5-pairs:duration=4-2", "no duration is 4 s or more and less than 2 s"),
        ("5-pairs:duration=x", "'duration=x' is not an option"),
        ("1-pairs", "two pairs or more"),
        ("0-enrol", "asks for none"),
        ("10000-triplet", "Did you mean '10000-triplets'"),
    ],
)
def test_a_misspelt_spec_is_explained(spec: str, message: str) -> None:
    with pytest.raises(BadTrials, match=message):
        make_trials(spec, data_of(ann=5, bob=3))


# -- the command --------------------------------------------------------------------------------------


def test_the_command_makes_converts_and_counts(tmp_path: Path) -> None:
    folder = make_corpus(tmp_path / "people", speakers=3, utterances=3, seconds=(0.2, 0.3))

    def run(*arguments: str) -> dict[str, Any]:
        words = ["trials", *arguments, "--data", str(folder), "--json"]
        result = invoke(words, catch_exceptions=False)
        return json.loads(result.output)

    made = run("12-pairs", "-o", str(tmp_path / "a.txt"), "--seed", "4")
    assert (made["trials"], made["targets"], made["nontargets"], made["seed"]) == (12, 6, 6, 4)
    again = run(str(tmp_path / "a.txt"), "-o", str(tmp_path / "a.csv"), "--format", "csv")
    assert (again["trials"], again["seed"], again["warnings"]) == (12, None, {})
    data = read_data(folder)
    expected = named(make_trials("12-pairs", data, seed=4), data)
    for name in ("a.txt", "a.csv"):
        assert named(make_trials(tmp_path / name, data), data) == expected
    enrolled = run("1-enrol", "-o", str(tmp_path / "b.txt"))
    assert (enrolled["models"], enrolled["trials"], enrolled["utterances"]) == (3, 18, 9)


@pytest.mark.parametrize("spec", ["triplets", "10-triplet", "-5-triplets", "nowhere.txt", "0-triplets"])
def test_what_is_no_spec_is_refused(spec: str) -> None:
    with pytest.raises(BadTrials, match="10000-triplets"):
        make_trials(spec, data_of(ann=2, bob=1))
