"""Made-up data for tests of trials, and trials by name."""

from __future__ import annotations

from voxid.evaluation import EvaluationData, Trials
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
