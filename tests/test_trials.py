"""Trials by hand, by law and from every kind of list."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from voxid.errors import BadTrials, NotEnoughSpeakers
from voxid.evaluation import EvaluationData, Trials, make_trials
from voxid.evaluation import trials as trials_module
from voxid.types import Utterance


def data_of(**counts: int) -> EvaluationData:
    """A set with that many utterances of each speaker, called speaker/0, speaker/1, ..."""
    utterances = [
        Utterance(speaker, f"{speaker}/{i}", f"/corpus/{speaker}/{i}.wav")
        for speaker, count in counts.items()
        for i in range(count)
    ]
    return EvaluationData("made up", ["/corpus"], "f00", utterances, audio=lambda i: utterances[i])


def named(trials: Trials, data: EvaluationData) -> list[tuple[str, str, bool]]:
    names = [u.utterance for u in data.utterances]
    return [
        (names[left], names[right], bool(same))
        for left, right, same in zip(trials.left_K, trials.right_K, trials.same_K, strict=True)
    ]


# -- all pairs -----------------------------------------------------------------------------------------


def test_all_pairs_are_every_two_utterances_once() -> None:
    data = data_of(ann=3, bob=1, cy=2)
    names = [u.utterance for u in data.utterances]
    expected = [(a, b, a.split("/")[0] == b.split("/")[0]) for a, b in combinations(names, 2)]
    assert named(make_trials("all", data), data) == expected


def test_all_pairs_of_a_test_set_are_small() -> None:
    data = data_of(**{f"s{i}": 20 for i in range(73)})
    trials = make_trials("all", data)
    assert len(trials) == 1460 * 1459 // 2
    assert np.count_nonzero(trials.same_K) == 73 * 20 * 19 // 2
    assert sum(array.nbytes for array in (trials.left_K, trials.right_K, trials.same_K)) == 9 * len(trials)


def test_too_many_pairs_are_refused_before_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_module, "MOST_PAIRS", 10)
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


# -- lists ---------------------------------------------------------------------------------------------

EXPECTED = [("ann/0", "ann/1", True), ("ann/0", "bob/0", False)]
LISTS = {
    "voxceleb": "1 ann/0 ann/1\n0 ann/0 bob/0\n",
    "voxceleb with suffixes": "1 ann/0.wav ann/1.wav\n0 ann/0.wav bob/0.wav\n",
    "kaldi": "ann/0 ann/1 target\nann/0 bob/0 nontarget\n",
    "tabs, blank lines, no last newline": "\n1\tann/0\tann/1\n\n0\tann/0\tbob/0",
    "csv": "ann/0,ann/1,1\nann/0,bob/0,0\n",
    "csv with header": "left,right,label\nann/0,ann/1,1\nann/0,bob/0,0\n",
    "csv with BOM, quotes, spaces": '\ufeffleft,right,label\r\n"ann/0", ann/1 ,true\r\nann/0,"bob/0",0\r\n',
    "csv in another order": "label,score,left,right\ntarget,0.5,ann/0,ann/1\nnontarget,0.1,ann/0,bob/0\n",
    "csv with other words": "enroll,test,is_same\nann/0,ann/1,same\nann/0,bob/0,different\n",
    "csv of paths": "/corpus/ann/0.wav,/corpus/ann/1.wav,1\n/corpus/ann/0.wav,/corpus/bob/0.wav,0\n",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS.keys())
def test_every_kind_of_list_reads_the_same(text: str, tmp_path: Path) -> None:
    path = tmp_path / "trials.txt"
    path.write_text(text, encoding="utf-8")
    data = data_of(ann=2, bob=1)
    trials = make_trials(path, data)
    assert named(trials, data) == EXPECTED
    assert trials.warnings == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1 ann/0 ann/1\n0 ann/0 eve/0\n1 eve/1 eve/0\n",
            r"names 2 utterances .* does not have: eve/0, eve/1\.",
        ),
        ("", "is empty"),
        ("1 ann/0\n", "line 1: 2 columns where three"),
        ("1 ann/0 ann/1\n2 ann/0 bob/0\n", "line 2: '2' is no label"),
        ("ann/0 ann/1 target\nann/0 bob/0 impostor\n", "line 2: 'impostor' is no label"),
        ("left,right,label\nann/0,ann/1\n", "line 2: 2 columns where three"),
        (b"\xff\xfe\x00bad", "cannot read"),
    ],
)
def test_bad_lists_are_refused(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "trials.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(BadTrials, match=message):
        make_trials(path, data_of(ann=2, bob=1))


def test_many_missing_names_are_counted_not_all_printed(tmp_path: Path) -> None:
    path = tmp_path / "trials.txt"
    path.write_text("".join(f"1 eve/{i} ann/0\n" for i in range(1000)))
    with pytest.raises(BadTrials, match="names 1000 utterances") as caught:
        make_trials(path, data_of(ann=2, bob=1))
    assert len(str(caught.value)) < 400


def test_doubtful_trials_of_a_list_are_counted_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "trials.txt"
    lines = [
        "1 ann/0 ann/1",
        "1 ann/1 ann/0",  # a duplicate, the other way round
        "0 ann/0 ann/1",  # contradicts both, and the corpus
        "1 ann/0 bob/0",  # the corpus says otherwise
        "1 bob/0 bob/0",  # with itself
        "0 ann/1 bob/0",
    ]
    path.write_text("\n".join(lines))
    trials = make_trials(path, data_of(ann=2, bob=1))
    assert len(trials) == 6
    assert trials.warnings == {
        "duplicate": 2,
        "contradictory": 3,
        "with_itself": 1,
        "against_corpus_speakers": 2,
    }


@pytest.mark.parametrize("spec", ["triplets", "10-triplet", "-5-triplets", "nowhere.txt", "0-triplets"])
def test_what_is_no_spec_is_refused(spec: str) -> None:
    with pytest.raises(BadTrials, match="10000-triplets"):
        make_trials(spec, data_of(ann=2, bob=1))
