"""What a timeline is: turns, speakers, and the files that other programs read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from voxid.audio import Part, Source
from voxid.errors import BadConfig, TooLittleSpeech, did_you_mean
from voxid.metrics.diarization import Spoken, rttm
from voxid.types import Answer

DOUBTFUL = 0.7  # turns that are less sure are marked
CLIP_SPEECH_S = 1.0  # net speech of a turn that somebody is enrolled with
MOST_CLIPS = 10  # turns to enroll with: the longest
CHANGE_S = 1.0  # a shorter stretch that changed is an edge that moved


@dataclass(frozen=True, slots=True)
class Turn(Answer):
    """Somebody talks from `start` to `end`, seconds from the beginning.

    `speaker` is a name, or "unknown 1" for a person who is not enrolled ("speaker 1" where nobody is).
    `llr` says how much this turn alone sounds like the enrolled person of that name, or like the enrolled
    person who is nearest to the speaker; None where nobody is enrolled. `speech_s` is net speech.
    `confidence`, 0 to 1, is how sure it is that this speaker of the recording talks here, and no other.

    >>> Turn(0.5, 2.5, "alice", 4.2, 1.8, 0.98).doubtful
    False
    """

    start: float
    end: float
    speaker: str
    llr: float | None
    speech_s: float
    confidence: float
    channel: int | None = None

    @property
    def doubtful(self) -> bool:
        """Whether a person should listen to it."""
        return self.confidence < DOUBTFUL

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, and `doubtful`, as plain values that JSON can hold."""
        return {**Answer.to_dict(self), "doubtful": self.doubtful}

    def __str__(self) -> str:
        llr = "" if self.llr is None else f"  LLR {self.llr:.1f}"
        return f"{clock(self.start)} - {clock(self.end)}  {self.speaker}{llr}{'  (doubtful)' * self.doubtful}"


@dataclass(frozen=True, slots=True)
class TimelineSpeaker(Answer):
    """One speaker of a recording: all of the turns together, against the people enrolled.

    `known` says whether the speaker has a name; then `llr` reached the `threshold`: that of `identify`, or 2
    less for a name that stands out in the recording.
    `nearest` is the enrolled person whom the voice is nearest to, None where nobody is enrolled.

    >>> TimelineSpeaker("alice", True, 12.5, 3, "alice", 9.1, 3.4, 0.99).known
    True
    """

    speaker: str
    known: bool
    speech_s: float
    turns: int
    nearest: str | None
    llr: float | None
    threshold: float | None
    probability: float | None

    def __str__(self) -> str:
        said = (
            f"{self.speaker}: {self.speech_s:.1f} s of speech in {self.turns} turn{'s' * (self.turns != 1)}"
        )
        if self.llr is None or self.threshold is None:
            return said
        side = "at or above" if self.llr >= self.threshold else "below"
        who = "" if self.known else f" of {self.nearest!r}"
        other = "; another speaker fits that name better" * (not self.known and self.llr >= self.threshold)
        return f"{said}, LLR{who} {self.llr:.2f}, {side} the threshold {self.threshold:.2f}{other}"


@dataclass(frozen=True, slots=True)
class Timeline(Answer):
    """Who spoke when: `turns` in order, `speakers` in the order in which they first talk.

    >>> timeline = rec.timeline("alice1.wav")
    >>> [turn.speaker for turn in timeline.turns][:1]
    ['alice']
    """

    turns: tuple[Turn, ...]
    speakers: tuple[TimelineSpeaker, ...]
    total_s: float
    source: str
    enrolled: int
    warnings: tuple[str, ...] = ()

    @property
    def spoken(self) -> list[Spoken]:
        """The turns as metrics take them."""
        return [Spoken(turn.start, turn.end, turn.speaker) for turn in self.turns]

    def clips(self, audio: Source, speaker: str) -> list[Part]:
        """Return the parts of `audio` to enroll a speaker of this timeline with: long turns that are sure.

        Raise BadConfig for a name that is not in it, TooLittleSpeech where no turn is long and sure enough.

        >>> parts = rec.timeline("alice1.wav").clips("alice1.wav", "alice")
        >>> rec.enroll("alice", parts).speaker
        'alice'
        """
        turns = [turn for turn in self.turns if turn.speaker == speaker]
        if not turns:
            known = [one.speaker for one in self.speakers]
            raise BadConfig(
                f"nobody is called {speaker!r} in {self.source}. Speakers: {', '.join(known) or 'none'}."
                f"{did_you_mean(speaker, known)}"
            )
        sure = [turn for turn in turns if turn.speech_s >= CLIP_SPEECH_S and not turn.doubtful]
        sure = sorted(sure, key=lambda turn: -turn.speech_s)[:MOST_CLIPS]
        if not sure:
            raise TooLittleSpeech(
                f"{speaker!r} has no turn in {self.source} with {CLIP_SPEECH_S:g} s of speech that is sure. "
                "Cut out a stretch of this person alone, and enroll that."
            )
        whole = Part.of(audio)
        return [
            replace(
                whole,
                start_s=whole.start_s + turn.start,
                duration_s=turn.end - turn.start,
                channel=whole.channel if turn.channel is None else turn.channel,
            )
            for turn in sorted(sure, key=lambda turn: turn.start)
        ]

    def to_rttm(self, recording: str = "") -> str:
        """Return the lines of an RTTM file; `recording` is the name of the file in it.

        >>> rec.timeline("alice3.wav").to_rttm("call").split()[:2]
        ['SPEAKER', 'call']
        """
        return rttm(recording or self.source, self.spoken)

    def to_audacity(self) -> str:
        """Return a label track, which Audacity reads by File, Import, Labels.

        >>> rec.timeline("alice3.wav").to_audacity().split()[-1]
        'alice'
        """
        return "".join(f"{turn.start:.3f}\t{turn.end:.3f}\t{turn.speaker}\n" for turn in self.turns)

    def __str__(self) -> str:
        parts = [*(str(turn) for turn in self.turns), ""] if self.turns else ["nobody talks in it."]
        parts += [str(one) for one in self.speakers]
        return "\n".join((*parts, *(f"warning: {said}" for said in self.warnings)))


@dataclass(frozen=True, slots=True)
class Correction(Answer):
    """From `start` to `end`, in seconds, a stream said `told`, and its end says `speaker` (None: nobody).

    >>> print(Correction(0.5, 4.25, "unknown 1", "alice"))
    0:00.5 - 0:04.2  told: unknown 1, in the end: alice
    """

    start: float
    end: float
    told: str | None
    speaker: str | None

    def __str__(self) -> str:
        was, now = self.told or "nobody", self.speaker or "nobody"
        return f"{clock(self.start)} - {clock(self.end)}  told: {was}, in the end: {now}"


def changes(told: Sequence[Turn], turns: Sequence[Turn]) -> tuple[Correction, ...]:
    """Return where two lists of turns of one channel, in order, differ for `CHANGE_S` or longer.

    >>> told = [Turn(0, 2, "unknown 1", None, 2.0, 1.0), Turn(2, 5, "alice", None, 3.0, 1.0)]
    >>> [str(one) for one in changes(told, [Turn(0, 5.25, "alice", None, 5.0, 1.0)])]
    ['0:00.0 - 0:02.0  told: unknown 1, in the end: alice']
    """
    starts = [[turn.start for turn in side] for side in (told, turns)]

    def at(side: int, seconds: float) -> str | None:
        number = bisect_right(starts[side], seconds) - 1
        turn = (told, turns)[side][number] if number >= 0 else None
        return turn.speaker if turn is not None and seconds < turn.end else None

    found: list[Correction] = []
    for start, end in pairwise(sorted({edge for turn in (*told, *turns) for edge in (turn.start, turn.end)})):
        was, now = at(0, (start + end) / 2), at(1, (start + end) / 2)
        if was == now:
            continue
        if found and (found[-1].end, found[-1].told, found[-1].speaker) == (start, was, now):
            found[-1] = replace(found[-1], end=end)
        else:
            found.append(Correction(start, end, was, now))
    return tuple(one for one in found if one.end - one.start >= CHANGE_S)


def clock(seconds: float) -> str:
    """Return a time as people read it.

    >>> clock(83.25), clock(3723.5)
    ('1:23.2', '1:02:03.5')
    """
    tenths = int(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02d}" if hours else f"{minutes}"
    return f"{head}:{rest // 10:02d}.{rest % 10}"
