"""A recording in which several people talk -> the turns, with the names of who is enrolled.

# K speakers, W windows
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from voxid.audio import Source, inspect
from voxid.embed import Embedder
from voxid.errors import BadConfig
from voxid.recognizer.hearing import Heard
from voxid.recognizer.roster import Near
from voxid.scoring import Cohort, Side, llr
from voxid.scoring.decision import Rule
from voxid.scoring.evidence import llr_table
from voxid.timeline import Timeline, TimelineSpeaker, Turn
from voxid.timeline.naming import is_another, nameless, names_of
from voxid.timeline.speakers import cluster_sides, least_speaker_s, parted, settled, speakers_of
from voxid.timeline.turns import Span, spans_of
from voxid.timeline.windows import Windows, channels_of, windows_of
from voxid.types import Candidate, Identification

TOP = 5  # people who may give a speaker their name
NO_OVERLAP = "overlapped speech is not found: where two people talk at once, one of them is named."
GUARD = 1.0  # a turn whose own LLR is further below the threshold than this does not get the name
DOUBTED = "unknown"  # what it is called
PARTINGS = 3  # a cluster can hold more than two people
LITTLE_S = 3.0  # net speech of a speaker: with less a name is a guess, and so is the speaker

Ranked = Callable[[Heard, int], tuple[Identification, Near]]


@dataclass(frozen=True, eq=False, slots=True)
class Named:
    """A speaker, compared with the people enrolled: the one it is or None, the answer, who was compared."""

    given: Candidate | None
    answer: Identification
    near: Near

    @property
    def name(self) -> str | None:
        """The name of who it is."""
        return None if self.given is None else self.given.speaker

    @property
    def place(self) -> int:
        """Where the one whom it is stands among those who were compared; without a name, the nearest."""
        return 0 if self.given is None else self.given.rank - 1


@dataclass(frozen=True, eq=False, slots=True)
class Naming:
    """How speakers get names: `ranked` compares one with the people enrolled, as `identify` does."""

    runtime: Embedder
    asked: Rule
    cohort: Cohort | None
    ranked: Ranked
    vad: str

    def names(self, sides: Sequence[Side], of: tuple[str, float], *, join: bool) -> list[Named]:
        """Return each speaker of a recording (its name, its seconds) with a name, or None."""
        answers = [
            self.ranked(
                Heard(s.emb_ND[0], of[0], of[1], float(s.speech_s_N[0]), (), clips=float(s.clips_N[0])), TOP
            )
            for s in sides
        ]
        between_KK = np.zeros((len(sides), len(sides)))
        if len(sides) > 1:
            alls = Side.joined(sides)
            between_KK = llr_table(self.asked.calibration, alls, alls, self.cohort)
        given = names_of([answer for answer, _ in answers], between_KK, join=join)
        return [Named(one, *answer) for one, answer in zip(given, answers, strict=True)]

    def turn(
        self,
        named: Named,
        called: str,
        own: Side,
        span: tuple[float, float],
        confidence: float,
        channel: int | None = None,
    ) -> Turn:
        """Return a turn of a speaker who is `called` so; one that does not sound like the name has none."""
        llr_ = None
        if named.answer.candidates:
            near = named.near.side.take([named.place])
            [llr_] = llr(self.asked.calibration, near, own, self.cohort).tolist()
            if named.given and llr_ < min(self.asked.threshold(), named.given.threshold) - GUARD:
                called = DOUBTED
        return Turn(
            start=round(span[0], 3),
            end=round(span[1], 3),
            speaker=called,
            llr=None if llr_ is None else round(llr_, 3),
            speech_s=round(float(own.speech_s_N[0]), 2),
            confidence=round(confidence, 3),
            channel=channel,
        )


@dataclass(frozen=True, eq=False, slots=True)
class _Voice:
    """A speaker of one channel: what all the windows together sound like, and the turns."""

    side: Side
    windows: Windows
    spans: list[Span]
    channel: int | None


def timeline(
    naming: Naming,
    audio: Source,
    speakers: int | None,
    known: Mapping[tuple[int, int], np.ndarray] | None = None,
) -> Timeline:
    """Return who spoke when. `known` has embeddings of windows, as `windows_of` takes them."""
    if speakers is not None and not (isinstance(speakers, int | np.integer) and speakers >= 1):
        raise BadConfig(f"speakers is how many people talk, a whole number from 1; got {speakers!r}.")
    found = inspect(audio, vad=naming.vad)
    warnings = [
        said for said in found.warnings if not said.startswith(("very long", "the two channels hold"))
    ]
    embed = naming.runtime.embed_waves
    if found.unlike and speakers in (None, 2):
        voices: list[_Voice] = []
        for channel, (one, mask_T) in enumerate(channels_of(found.part, naming.vad)):
            windows = windows_of(embed, one, mask_T)
            voices += _voices(windows, np.ones((len(windows), min(1, len(windows)))), channel)
        warnings.append("the two channels hold different sound: each is taken for one speaker.")
        join = False
    else:
        windows = windows_of(embed, found, known=known)
        post_WK = speakers_of(windows, naming.asked.calibration, naming.cohort, speakers)
        voices = _voices(windows, post_WK, None)
        warnings.append(NO_OVERLAP)
        join = speakers is None
        if speakers is not None and len(voices) < speakers:
            warnings.append(f"{speakers} speakers were asked for, and {len(voices)} were found.")
    if not voices:
        warnings.append("no speech was found.")
    of = (found.name, found.total_s)
    named = naming.names([voice.side for voice in voices], of, join=join)
    if join and voices:
        voices, named = _unmixed(naming, voices, named, of)
    return _told(naming, voices, named, of, warnings)


def _voices(windows: Windows, post_WK: np.ndarray, channel: int | None) -> list[_Voice]:
    """Return the speakers in the order in which they first talk."""
    spans = spans_of(windows, post_WK)
    voices = []
    for number in dict.fromkeys(span.speaker for span in spans):
        own = [span for span in spans if span.speaker == number]
        side = _together(windows, [w for span in own for w in span.windows])
        voices.append(_Voice(side, windows, own, channel))
    return voices


def _unmixed(
    naming: Naming, voices: list[_Voice], named: list[Named], of: tuple[str, float]
) -> tuple[list[_Voice], list[Named]]:
    """Return the speakers and their names, after parting those of whom only one half sounds like the name.

    Two voices that are alike end in one cluster; the voiceprint of one of them tells them apart.
    """
    windows = voices[0].windows
    for _ in range(PARTINGS):
        label_W, count = np.full(len(windows), -1), len(voices)
        for k, (voice, one) in enumerate(zip(voices, named, strict=True)):
            some = [w for span in voice.spans for w in span.windows]
            label_W[some] = k
            if one.given is None or (parts := parted(windows, some)) is None:
                continue
            person = one.near.side.take([one.place])
            sides = Side.joined(_together(windows, part) for part in parts)
            llr_2 = llr(naming.asked.calibration, person, sides, naming.cohort).tolist()
            worse, better = sorted((0, 1), key=llr_2.__getitem__)
            if is_another(llr_2[worse], one.answer.candidates[one.place].threshold, llr_2[better]):
                label_W[parts[worse]] = count
                count += 1
        if count == len(voices):
            break
        post_WK = settled(windows, label_W, naming.asked.calibration, naming.cohort)
        voices = _voices(windows, post_WK, None)
        named = naming.names([voice.side for voice in voices], of, join=True)
    return voices, named


def _together(windows: Windows, some: list[int]) -> Side:
    """Return what some of the windows together sound like."""
    label_W = np.full(len(windows), -1)
    label_W[some] = 0
    return cluster_sides(windows, label_W)


def _told(
    naming: Naming, voices: list[_Voice], named: list[Named], of: tuple[str, float], warnings: list[str]
) -> Timeline:
    answers = [one.answer for one in named]
    told: list[tuple[str | int, Turn]] = []  # under a name, or a number that stands for one without
    of_speaker: dict[str | int, list[Named]] = {}
    for k, (voice, one) in enumerate(zip(voices, named, strict=True)):
        turns = [
            naming.turn(
                one,
                one.name or "",
                _together(voice.windows, list(span.windows)),
                (span.start_s, span.end_s),
                span.confidence,
                voice.channel,
            )
            for span in voice.spans
        ]
        doubted_s = sum(turn.speech_s for turn in turns if turn.speaker == DOUBTED)
        is_other = doubted_s >= least_speaker_s(voice.windows)  # somebody else, or too little to say
        other = -1 - k if is_other else DOUBTED
        own = one.name or k
        of_speaker.setdefault(own, []).append(one)
        told += [(other if one.name and turn.speaker == DOUBTED else own, turn) for turn in turns]
    told.sort(key=lambda pair: (pair[1].start, pair[1].end))
    kind, numbers = nameless(answers), count(1)
    called = {
        who: who if isinstance(who, str) else f"{kind} {next(numbers)}"
        for who in dict.fromkeys(w for w, _ in told)
    }
    turns = [replace(turn, speaker=called[who]) for who, turn in told]
    speakers = [
        _speaker(name, [turn for turn in turns if turn.speaker == name], of_speaker.get(who, []))
        for who, name in called.items()
    ]
    little = [one.speaker for one in speakers if one.speech_s < LITTLE_S]
    if little:
        warnings.append(f"less than {LITTLE_S:g} s of speech, so the name is a guess: {', '.join(little)}.")
    left_out = {said for answer in answers for said in answer.warnings if said.startswith("left out")}
    return Timeline(
        tuple(turns),
        tuple(speakers),
        round(of[1], 3),
        of[0],
        max((answer.enrolled for answer in answers), default=0),
        (*warnings, *sorted(left_out)),
    )


def _speaker(who: str, turns: list[Turn], found: list[Named]) -> TimelineSpeaker:
    """Return a speaker, of whom `found` says how each of the clusters compared; the best counts."""
    known = any(one.given for one in found)
    nearest = [one.given or next(iter(one.answer.candidates), None) for one in found]
    best = max(filter(None, nearest), key=lambda candidate: candidate.llr, default=None)
    return TimelineSpeaker(
        speaker=who,
        known=known,
        speech_s=round(sum(turn.speech_s for turn in turns), 2),
        turns=len(turns),
        nearest=best.speaker if best else None,
        llr=round(best.llr, 3) if best else None,
        threshold=round(best.threshold, 3) if best else None,
        probability=round(best.probability, 4) if best else None,
    )
