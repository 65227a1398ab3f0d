"""A recording in which several people talk -> the turns, with the names of who is enrolled.

# K speakers, W windows
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
from voxid.timeline.naming import names_of
from voxid.timeline.speakers import cluster_sides, speakers_of
from voxid.timeline.turns import Span, spans_of
from voxid.timeline.windows import Windows, channels_of, windows_of
from voxid.types import Identification

TOP = 5  # people who may give a speaker their name
NO_OVERLAP = "overlapped speech is not found: where two people talk at once, one of them is named."
LITTLE_S = 3.0  # net speech of a speaker: with less a name is a guess, and so is the speaker

Ranked = Callable[[Heard, int], tuple[Identification, Near]]


@dataclass(frozen=True, eq=False, slots=True)
class _Voice:
    """A speaker of one channel: what all the windows together sound like, and the turns."""

    side: Side
    windows: Windows
    spans: list[Span]
    channel: int | None

    def turn(self, span: Span) -> Side:
        """Return what one turn sounds like."""
        return _together(self.windows, list(span.windows))


def timeline(
    runtime: Embedder,
    asked: Rule,
    cohort: Cohort | None,
    audio: Source,
    speakers: int | None,
    ranked: Ranked,
    *,
    vad: str,
) -> Timeline:
    """Return who spoke when; `ranked` compares a speaker with the people enrolled."""
    if speakers is not None and not (isinstance(speakers, int | np.integer) and speakers >= 1):
        raise BadConfig(f"speakers is how many people talk, a whole number from 1; got {speakers!r}.")
    found = inspect(audio, vad=vad)
    warnings = [
        said for said in found.warnings if not said.startswith(("very long", "the two channels hold"))
    ]
    if found.unlike and speakers in (None, 2):
        voices: list[_Voice] = []
        for channel, (one, mask_T) in enumerate(channels_of(found.part, vad)):
            windows = windows_of(runtime.embed_waves, one, mask_T)
            voices += _voices(windows, np.ones((len(windows), min(1, len(windows)))), channel)
        warnings.append("the two channels hold different sound: each is taken for one speaker.")
        join = False
    else:
        windows = windows_of(runtime.embed_waves, found)
        voices = _voices(windows, speakers_of(windows, asked.calibration, cohort, speakers), None)
        warnings.append(NO_OVERLAP)
        join = speakers is None
        if speakers is not None and len(voices) < speakers:
            warnings.append(f"{speakers} speakers were asked for, and {len(voices)} were found.")
    if not voices:
        warnings.append("no speech was found.")
    return _named(voices, asked, cohort, ranked, join, (found.name, found.total_s), warnings)


def _voices(windows: Windows, post_WK: np.ndarray, channel: int | None) -> list[_Voice]:
    """Return the speakers in the order in which they first talk."""
    spans = spans_of(windows, post_WK)
    voices = []
    for number in dict.fromkeys(span.speaker for span in spans):
        own = [span for span in spans if span.speaker == number]
        side = _together(windows, [w for span in own for w in span.windows])
        voices.append(_Voice(side, windows, own, channel))
    return voices


def _together(windows: Windows, some: list[int]) -> Side:
    """Return what some of the windows together sound like."""
    label_W = np.full(len(windows), -1)
    label_W[some] = 0
    return cluster_sides(windows, label_W)


def _named(
    voices: list[_Voice],
    asked: Rule,
    cohort: Cohort | None,
    ranked: Ranked,
    join: bool,
    of: tuple[str, float],
    warnings: list[str],
) -> Timeline:
    name, total_s = of
    answers: list[tuple[Identification, Near]] = []
    for voice in voices:
        side = voice.side
        heard = Heard(
            side.emb_ND[0], name, total_s, float(side.speech_s_N[0]), (), clips=float(side.clips_N[0])
        )
        answers.append(ranked(heard, TOP))
    found = [answer for answer, _ in answers]
    between_KK = np.zeros((len(voices), len(voices)))
    if len(voices) > 1:
        alls = [
            np.concatenate([getattr(v.side, at) for v in voices])
            for at in ("emb_ND", "speech_s_N", "clips_N")
        ]
        between_KK = llr_table(asked.calibration, Side(*alls), Side(*alls), cohort)
    given = names_of(found, between_KK, join=join)
    turns: list[Turn] = []
    for voice, who, (answer, near) in zip(voices, given, answers, strict=True):
        order = [candidate.speaker for candidate in answer.candidates]
        at = order.index(who) if who in order else 0
        for span in voice.spans:
            own = voice.turn(span)
            fits = llr(asked.calibration, near.side.take([at]), own, cohort)[0] if order else None
            turns.append(_turn(span, own, who, fits, voice.channel))
    turns.sort(key=lambda turn: (turn.start, turn.end))
    speakers = [
        _speaker(
            who,
            [t for t in turns if t.speaker == who],
            [a for a, n in zip(found, given, strict=True) if n == who],
        )
        for who in dict.fromkeys(turn.speaker for turn in turns)
    ]
    little = [one.speaker for one in speakers if one.speech_s < LITTLE_S]
    if little:
        warnings.append(f"less than {LITTLE_S:g} s of speech, so rather a guess: {', '.join(little)}.")
    left_out = {said for answer in found for said in answer.warnings if said.startswith("left out")}
    enrolled = max((answer.enrolled for answer in found), default=0)
    return Timeline(
        tuple(turns), tuple(speakers), round(total_s, 3), name, enrolled, (*warnings, *sorted(left_out))
    )


def _turn(span: Span, own: Side, who: str, fits: float | None, channel: int | None) -> Turn:
    return Turn(
        start=round(span.start_s, 3),
        end=round(span.end_s, 3),
        speaker=who,
        llr=None if fits is None else round(float(fits), 3),
        speech_s=round(float(own.speech_s_N[0]), 2),
        confidence=round(span.confidence, 3),
        channel=channel,
    )


def _speaker(who: str, turns: list[Turn], found: list[Identification]) -> TimelineSpeaker:
    """Return a speaker, of whom `found` says how each of the clusters compared; the best counts."""
    candidates = [next((c for c in one.candidates if c.speaker == who), None) for one in found]
    known = any(candidates)
    best = max(
        (
            c or (one.candidates[0] if one.candidates else None)
            for c, one in zip(candidates, found, strict=True)
        ),
        key=lambda candidate: -np.inf if candidate is None else candidate.llr,
    )
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
