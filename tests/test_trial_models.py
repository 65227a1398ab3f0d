"""Speakers enrolled with several utterances: the trials, the models, their embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trial_data import data_of

from voxid.errors import BadTrials
from voxid.evaluation import Trials, make_trials
from voxid.evaluation.embedding import Voices, with_models
from voxid.trials import (
    Models,
    read_trials,
)

# -- enrollment models ----------------------------------------------------------------------------------


def test_enrollment_meets_every_other_utterance_once() -> None:
    data = data_of(ann=5, bob=3, cy=2, dee=1)
    trials = make_trials("2-enrol", data, seed=1)
    assert trials.models is not None
    assert trials.models.names == ["ann", "bob"]
    assert trials.left_out == {"speakers_without_model": 2}
    members = {name: set(trials.models.members(m).tolist()) for m, name in enumerate(trials.models.names)}
    assert all(len(enrolled) == 2 for enrolled in members.values())
    speaker_N, names = data.speakers(), data.speaker_names()
    for name, enrolled in members.items():
        assert {names[speaker_N[u]] for u in enrolled} == {name}
    tests = set(range(11)) - members["ann"] - members["bob"]
    met = [(int(left) - 11, int(right)) for left, right in zip(trials.left_K, trials.right_K, strict=True)]
    assert sorted(met) == sorted((m, t) for m in range(2) for t in tests)
    assert trials.same_K.tolist() == [names[speaker_N[t]] == trials.models.names[m] for m, t in met]
    assert trials.used().tolist() == list(range(11))


def test_the_enrollment_of_fewer_is_part_of_that_of_more() -> None:
    data = data_of(ann=9, bob=7)
    two, five = (make_trials(f"{n}-enrol", data, seed=3).models for n in (2, 5))
    assert two is not None
    assert five is not None
    for m in range(2):
        assert set(two.members(m)) < set(five.members(m))


def test_a_capped_enrollment_list_leaves_every_model_its_share() -> None:
    data = data_of(**{f"s{i}": 6 for i in range(7)})
    for most in (10, 50, 99):
        trials = make_trials(f"2-enrol:max={most}", data, seed=2)
        assert len(trials) == most
        assert np.ptp(np.bincount(trials.left_K - 42, minlength=7)) <= 1


def voices_of(emb_UD: np.ndarray, row_N: list[int]) -> Voices:
    return Voices(
        emb_UD=emb_UD,
        row_N=np.array(row_N, np.int32),
        speech_s_U=np.arange(1.0, 1 + len(emb_UD)),
        net_speech_s_U=np.full(len(emb_UD), 0.5),
        full_sequence=0,
        left_out=[],
        from_cache=0,
        seconds=0.0,
        warnings=[],
    )


def test_a_model_is_the_mean_of_unit_length_embeddings() -> None:
    data = data_of(ann=3, bob=3)
    models = Models(
        ["ann", "bob", "ghost"], np.array([0, 2, 4, 5]), np.array([0, 1, 3, 4, 5], np.int32), first=6
    )
    trials = Trials("t", np.array([6]), np.array([2]), np.array([True]), models=models)
    emb_UD = np.array([[2.0, 0.0], [0.0, 4.0], [1.0, 1.0], [3.0, 0.0]], np.float32)
    more = with_models(voices_of(emb_UD, [0, 1, 2, 3, -1, -1]), trials)
    assert more.row_N.tolist() == [0, 1, 2, 3, -1, -1, 4, 5, -1]
    # ann: the mean of (1, 0) and (0, 1) points to (1, 1); its length is the mean of 2 and 4
    np.testing.assert_allclose(more.emb_UD[4], 3 * np.sqrt([0.5, 0.5]), rtol=1e-6)
    np.testing.assert_allclose(more.emb_UD[5], [3.0, 0.0], rtol=1e-6)
    assert more.emb_UD.dtype == np.float32
    assert more.speech_s_U.tolist() == [1, 2, 3, 4, 3, 4]
    assert more.net_speech_s_U.tolist() == [0.5, 0.5, 0.5, 0.5, 1.0, 0.5]
    assert more.warnings == ["1 enrollment models are made of fewer utterances than the trials ask for"]
    whole = trials.extended(data)
    assert [u.utterance for u in whole.utterances[6:]] == ["ann", "bob", "ghost"]
    assert [u.speaker for u in whole.utterances[6:]] == ["ann", "bob", "bob"]
    assert whole.audio(7) == data.audio(3)


def test_trials_without_models_change_nothing() -> None:
    data = data_of(ann=2, bob=1)
    trials, voices = make_trials("all", data), voices_of(np.eye(3, dtype=np.float32), [0, 1, 2])
    assert trials.extended(data) is data
    assert with_models(voices, trials) is voices


# -- lists of enrollment models -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "models",
    [
        "A ann/0 ann/1\nB bob/0\n",
        "modelid\tsegmentid\nA\tann/0\nA\tann/1\nB\tbob/0\n",
        "A,ann/0,ann/1\nB,bob/0",
    ],
    ids=["a line a model", "NIST", "csv"],
)
def test_lists_of_models(models: str, tmp_path: Path) -> None:
    data = data_of(ann=3, bob=2)
    path, enrollment = tmp_path / "trials.txt", tmp_path / "models.txt"
    path.write_text("A ann/2 target\nB ann/2 nontarget\nA bob/1 nontarget\nA ann/0 target\n")
    enrollment.write_text(models)
    for trials in (read_trials(path, data, enrollment), make_trials(f"{path}:enrol={enrollment}", data)):
        assert trials.models is not None
        assert [trials.models.members(m).tolist() for m in range(2)] == [[0, 1], [3]]
        assert trials.left_K.tolist() == [5, 6, 5, 5]
        assert trials.right_K.tolist() == [2, 2, 4, 0]
        assert trials.warnings == {"with_itself": 1}
        assert trials.used().tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ("A ann/0\nB\n", "line 2: model 'B' has no utterances"),
        ("A ann/0 ann/0\n", "line 1: model 'A' has the utterance 'ann/0' twice"),
        ("A ann/0 ann/9\n", "names 1 utterances .*ann/9"),
        ("", "the enrollment list .* is empty"),
        ("Anna ann/0\n", r"names 1 utterances .*: Ana \(did you mean 'Anna'\?\)"),
    ],
)
def test_bad_models_are_refused(models: str, message: str, tmp_path: Path) -> None:
    path, enrollment = tmp_path / "trials.txt", tmp_path / "models.txt"
    path.write_text("Ana ann/2 target\n")
    enrollment.write_text(models)
    with pytest.raises(BadTrials, match=message):
        read_trials(path, data_of(ann=3, bob=2), enrollment)


def test_a_model_of_two_speakers_is_counted(tmp_path: Path) -> None:
    path, enrollment = tmp_path / "trials.txt", tmp_path / "models.txt"
    path.write_text("A ann/2 target\nB bob/1 target\n")
    enrollment.write_text("A ann/0 bob/0\nB bob/0\n")
    assert read_trials(path, data_of(ann=3, bob=2), enrollment).warnings == {"models_of_several_speakers": 1}
