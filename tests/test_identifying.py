"""Identification from trials: as a loop over probes finds it, and None where trials are missing."""

from __future__ import annotations

import numpy as np
import pytest

from voxid.evaluation import EvaluationData
from voxid.evaluation.measure import identification
from voxid.evaluation.scores import Scores
from voxid.types import Utterance


def world(enrolled: int = 8, strangers: int = 2, each: int = 30) -> tuple[EvaluationData, Scores]:
    """Enrollment models first, then the probes of enrolled speakers and of strangers; every pair once."""
    models = [Utterance(f"s{s}", f"model {s}", "") for s in range(enrolled)]
    probes = [Utterance(f"s{s}", f"s{s}/{i}", "") for s in range(enrolled + strangers) for i in range(each)]
    said = [*models, *probes]
    data = EvaluationData("made up", ["/c"], "abc", said, audio=lambda i: said[i])
    left, right = np.meshgrid(np.arange(enrolled), np.arange(enrolled, len(said)))
    left, right = left.ravel().astype(np.int32), right.ravel().astype(np.int32)
    same = np.array([said[a].speaker == said[b].speaker for a, b in zip(left, right, strict=True)])
    score = np.random.default_rng(0).standard_normal(left.size) + 3.0 * same
    order = np.random.default_rng(1).permutation(left.size)
    return data, Scores(left[order], right[order], same[order], score[order])


def test_it_is_what_a_loop_over_probes_finds() -> None:
    data, judged = world()
    found = identification(data, judged)
    assert found is not None
    first, fifth, mates, strangers = [], [], [], []
    for probe in np.unique(judged.right_K):
        mine = judged.right_K == probe
        scores, same = judged.score_K[mine], judged.same_K[mine]
        strangers.append(scores[~same].max())
        if same.any():
            rank = int((scores >= scores[same][0]).sum())
            first.append(rank == 1)
            fifth.append(rank <= 5)
            mates.append(scores[same][0] if rank == 1 else -np.inf)
    assert (found["enrolled"], found["probes"]) == (8, 300)
    assert (found["top_1"], found["top_5"]) == (np.mean(first), np.mean(fifth))
    allowed = np.sort(strangers)[-4]  # above it are three of 300 strangers: 1 %
    assert found["fpir"] == pytest.approx(3 / 300)
    assert found["fnir"] == pytest.approx(np.mean(np.array(mates) <= allowed), abs=1 / 240)


def test_trials_that_are_missing_or_twice_make_no_identification() -> None:
    data, judged = world()
    parts = (judged.left_K, judged.right_K, judged.same_K, judged.score_K)
    assert identification(data, Scores(*(part[1:] for part in parts))) is None
    twice = [part.copy() for part in parts]
    for part in twice:
        part[0] = part[1]
    assert identification(data, Scores(*twice)) is None


def test_a_speaker_enrolled_twice_makes_no_identification() -> None:
    data, judged = world()
    said = [
        Utterance("s0" if u.utterance == "model 1" else u.speaker, u.utterance, "") for u in data.utterances
    ]
    renamed = EvaluationData("made up", ["/c"], "abc", said, audio=lambda i: said[i])
    assert identification(renamed, judged) is None
