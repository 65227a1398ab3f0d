"""The values that travel between rooms. Plain, frozen, printable; no torch."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

SAMPLE_RATE = 16_000  # Hz: everything inside voxid is mono at this rate
ADULT_AGE = 18  # years; younger speakers are children


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording of one speaker, as a corpus on disk describes it.

    `path` is absolute. `start_s` and `duration_s` are seconds in the source file; a `duration_s` of None
    means "to the end". Labels a corpus does not have are empty strings or None.

    >>> Utterance("alice", "alice-1", "/data/alice1.wav").duration_s is None  # to its end
    True
    """

    speaker: str
    utterance: str
    path: str
    start_s: float = 0.0
    duration_s: float | None = None
    sample_rate: int | None = None  # of the source file, Hz; None until it was opened
    sex: str = ""  # "m", "f" or ""
    age: float | None = None  # years
    language: str = ""  # as the corpus writes it, BCP 47 where we choose; "" when unknown
    session: str = ""  # which call, day or chapter, told apart within one speaker; "" when unknown
    channel: int | None = None  # of the source file, counted from 0; None: whatever it holds, as one


class Trial(NamedTuple):
    """A pair of utterances, and whether one speaker said both.

    >>> Trial("alice-1", "bob-1", same=False).same
    False
    """

    left: str
    right: str
    same: bool


class Answer:
    """What every answer can do: print as a sentence, and become JSON.

    >>> sorted(voxid.compare("alice1.wav", "alice2.wav").to_dict())[:3]
    ['accepted', 'cosine', 'llr']
    """

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values that JSON can hold."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}  # type: ignore[arg-type]

    def to_json(self, indent: int | None = None) -> str:
        """Return one JSON object.

        >>> voxid.compare("alice1.wav", "alice2.wav").to_json()[:18]
        '{"accepted": true,'
        """
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Answer):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@dataclass(frozen=True, slots=True)
class Decision(Answer):
    """The result of a comparison, and its reason.

    `cosine` is the raw score. `llr` is the calibrated natural-log likelihood ratio, `threshold` the LLR from
    which voxid accepts, `probability` the posterior of "same speaker" at the `prior`. `speech_s` are the
    seconds of audio heard of each side (of a voiceprint: the net speech it is made of), `net_speech_s` those
    of them with a voice. `speaker` is who was asked for, None where two recordings were compared.

    >>> print(voxid.compare("alice1.wav", "alice2.wav"))
    accepted as the same speaker: LLR 6.67 is at or above the threshold 2.94 (prior 0.05). Probability ...
    """

    accepted: bool
    llr: float
    probability: float
    cosine: float
    threshold: float
    speech_s: tuple[float, float]
    reason: str
    net_speech_s: tuple[float, float] = (math.nan, math.nan)
    prior: float = 0.5
    speaker: str | None = None
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        who = f"{self.speaker!r}" if self.speaker is not None else "the same speaker"
        head = f"accepted as {who}" if self.accepted else f"not accepted as {who}"
        return "\n  ".join(
            (
                f"{head}: {self.reason}. Probability {self.probability:.1%}, cosine {self.cosine:.3f}.",
                *self.warnings,
            )
        )


@dataclass(frozen=True, slots=True)
class Candidate(Answer):
    """A person who may speak in a recording, and the posterior `probability` that it is they.

    >>> [candidate] = rec.identify("alice3.wav", top=1).candidates
    >>> candidate.speaker, candidate.rank
    ('alice', 1)
    """

    rank: int
    speaker: str
    llr: float
    probability: float
    cosine: float
    threshold: float

    def __str__(self) -> str:
        return (
            f"{self.rank}. {self.speaker!r}: LLR {self.llr:.2f}, probability {self.probability:.1%}, "
            f"cosine {self.cosine:.3f}"
        )


@dataclass(frozen=True, slots=True)
class Identification(Answer):
    """Who speaks in a recording, or that it is none of the enrolled people.

    `speaker` is None, and `known` False, when no candidate reaches the `threshold`; `candidates` are still
    the nearest, best first. `enrolled` counts the people searched, for which prior and threshold account;
    `unknown_probability` is the posterior of "none of them".

    >>> found = rec.identify("alice3.wav")
    >>> found.known, found.speaker, found.enrolled >= 2
    (True, 'alice', True)
    """

    known: bool
    speaker: str | None
    candidates: tuple[Candidate, ...]
    threshold: float
    enrolled: int
    unknown_probability: float
    prior: float
    reason: str
    speech_s: float
    net_speech_s: float
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        who = f"{self.speaker!r}" if self.known else "unknown"
        lines = (*(str(candidate) for candidate in self.candidates), *self.warnings)
        return "\n  ".join((f"{who}: {self.reason}.", *lines))


@dataclass(frozen=True, slots=True)
class Clip(Answer):
    """One recording of an enrollment. `llr` says how much it sounds like the person's other clips.

    None where there is no other, or the model has no calibration. `outlier`: it does not sound like them.
    `voiceprint` is its id in the store, None where nothing was added (the same recording again).

    >>> [clip] = rec.enroll("dave", "bob.wav").clips
    >>> clip.source, clip.total_s, clip.outlier
    ('bob.wav', 4.0, False)
    """

    source: str
    net_speech_s: float
    total_s: float
    voiceprint: str | None
    llr: float | None = None
    outlier: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Enrollment(Answer):
    """The result of an enrollment: the clips added now, and how much speech there is.

    `speech_s` are the seconds of net speech enrolled of this person, `wanted_s` those that make a good
    voiceprint, `missing_s` what is still wanted (0 when `complete`). `voiceprints` counts all clips held.

    >>> done = rec.enroll("erin", "bob.wav")
    >>> done.voiceprints, done.wanted_s, done.complete
    (1, 20.0, False)
    """

    speaker: str
    collection: str
    created: bool
    clips: tuple[Clip, ...]
    voiceprints: int
    speech_s: float
    wanted_s: float
    missing_s: float
    warnings: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether there is as much speech as wanted."""
        return self.missing_s <= 0

    @property
    def outliers(self) -> tuple[Clip, ...]:
        """The clips that do not sound like the others."""
        return tuple(clip for clip in self.clips if clip.outlier)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, and `complete`, as plain values that JSON can hold."""
        return {**Answer.to_dict(self), "complete": self.complete}

    def __str__(self) -> str:
        more = "enough" if self.complete else f"{self.missing_s:.1f} s more wanted"
        head = (
            f"{self.speaker!r} is enrolled with {self.voiceprints} "
            f"{'clip' if self.voiceprints == 1 else 'clips'}: "
            f"{self.speech_s:.1f} of {self.wanted_s:g} s of speech, {more}."
        )
        return "\n  ".join((head, *self.warnings))


@dataclass(frozen=True, slots=True)
class Dropped:
    """An utterance that was left out, with the reason it is counted under and a sentence of detail.

    >>> Dropped("alice-1", "/data/alice1.wav", "silent").reason
    'silent'
    """

    utterance: str
    path: str
    reason: str
    detail: str = ""


def plural(count: int, word: str) -> str:
    """Return the number of what `word` names, in words.

    >>> plural(1, "voice"), plural(1_200, "voice")
    ('1 voice', '1,200 voices')
    """
    return f"{count:,} {word}{'s' * (count != 1)}"


def count_reasons(left_out: Iterable[Dropped]) -> dict[str, int]:
    """Return how many recordings were left out for each reason, the most frequent first.

    >>> count_reasons([Dropped("a", "a.wav", "silent"), Dropped("b", "b.wav", "silent")])
    {'silent': 2}
    """
    return dict(Counter(dropped.reason for dropped in left_out).most_common())


def reasons(left_out: Mapping[str, int]) -> str:
    """Return how many recordings were left out for each reason, in words, or "nothing".

    >>> reasons({"too_short": 3, "silent": 1})
    '3 too short, 1 silent'
    """
    return ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in left_out.items()) or "nothing"
