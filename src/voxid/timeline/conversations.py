"""Conversations made from a corpus: people take turns and interrupt; who talks when is known.

The time from the end of a turn to the next one varies around 0.2 s, as in the conversations of ten languages
(Stivers et al., "Universals and cultural variation in turn-taking in conversation", PNAS 2009). Three turns
in ten begin before the one before has ended, most of them 0.1 to 0.4 s before, as on the telephone lines of
Switchboard (Levinson and Torreira, "Timing in turn-taking and its implications for processing models of
language", Frontiers in Psychology 2015). Pauses within what a person says are those of the recordings.

# S samples
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from voxid.audio import inspect, load
from voxid.audio.writing import write_wav
from voxid.augment.lossy import Line, compress
from voxid.augment.rooms import FROM_WALL_M, SIZE_M, room_response
from voxid.corpora.scanning import scan
from voxid.errors import AudioError, BadConfig, NotEnoughSpeakers
from voxid.files import atomic_write
from voxid.metrics.diarization import Spoken, joined, rttm
from voxid.types import SAMPLE_RATE, Utterance

TURN_S = (3.0, 0.7)  # median of the length of a turn, standard deviation of its logarithm
GAP_S = (0.2, 0.35)  # mean and standard deviation of the time between two turns
INTERRUPTS_S = (0.205, 0.77)  # how much earlier a turn begins that interrupts: median, log's deviation
PAUSE_S = 0.3  # shorter pauses belong to a turn
LEVEL = 0.05  # RMS of speech in every turn
MOST_ROOM_S = 3.0
LINE_LEVEL = 0.5  # how hard "celp" compresses

Said = tuple[np.ndarray, list[tuple[float, float]]]  # the samples of an utterance, its stretches of speech


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation on disk: the recording, its RTTM, and clips to enroll some of its people with.

    >>> Conversation(Path("a.wav"), Path("a.rttm"), ("19", "26"), {"19": Path("a-19.wav")}).speakers
    ('19', '26')
    """

    audio: Path
    rttm: Path
    speakers: tuple[str, ...]
    enroll: dict[str, Path]


def make_conversations(
    data: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    speakers: int = 2,
    count: int = 1,
    seconds: float = 120.0,
    overlap: float = 0.3,
    enrolled: float = 0.5,
    enroll_s: float = 20.0,
    room_s: float = 0.0,
    line: Line | None = None,
    layout: str = "auto",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Conversation]:
    """Return `count` conversations of `speakers` people each, written to `out` (WAV, RTTM, clips to enroll).

    `overlap` is the share of turns that interrupt, `enrolled` the share of people for whom `enroll_s` seconds
    of other utterances are written. With `room_s` all sit in one made-up room with that reverberation time
    (RT60, seconds); `line` is a telephone line: "pcm", "a-law", "mu-law", "adpcm", "gsm" or "celp". Clips to
    enroll have neither. The same numbers give the same bytes. Raise BadConfig, NotEnoughSpeakers, a
    CorpusError or an OutputError.

    >>> [made] = make_conversations("people", "talks", seconds=10, enroll_s=2)
    >>> made.audio.name, len(made.speakers), len(made.enroll)
    ('talk-2-000.wav', 2, 1)
    """
    if not (speakers >= 1 and count >= 1 and seconds > 0 and 0 <= overlap <= 1 and 0 <= enrolled <= 1):
        raise BadConfig(
            "speakers and count are whole numbers from 1, seconds more than 0, overlap and enrolled shares "
            f"from 0 to 1; got {speakers}, {count}, {seconds:g}, {overlap:g}, {enrolled:g}."
        )
    if not (0 <= room_s <= MOST_ROOM_S and line in (None, *get_args(Line))):
        raise BadConfig(
            f"room_s is a reverberation time from 0 to {MOST_ROOM_S:g} s, and line one of "
            f"{', '.join(get_args(Line))}; got {room_s:g}, {line!r}."
        )
    said: dict[str, list[Utterance]] = {}
    for utterance in scan(data, layout):
        said.setdefault(utterance.speaker, []).append(utterance)
    said = {who: clips for who, clips in sorted(said.items()) if len(clips) > 1}
    if len(said) < speakers:
        raise NotEnoughSpeakers(
            f"{speakers} speakers with two utterances each are wanted, and there are {len(said)}. "
            "Give more data."
        )
    folder, made = Path(out), []
    for number in range(count):
        rng = np.random.default_rng([seed, speakers, number])
        who = sorted(rng.choice(sorted(said), speakers, replace=False).tolist())
        name = f"talk-{speakers}-{number:03d}"
        known = who[: math.ceil(enrolled * speakers)] if enrolled else []
        parts = {one: _two_parts(said[one], rng) for one in who}
        enroll = {one: folder / f"{name}-enroll" / f"{one.replace('/', '_')}.wav" for one in known}
        for one, path in enroll.items():
            write_wav(path, _to_enroll(parts[one][1], enroll_s))
        heard = {one: _endless(parts[one][0]) for one in who}
        wave_S, spoken = _talk(heard, seconds, overlap, room_s, rng)
        if line is not None:
            wave_S = compress(wave_S, line, LINE_LEVEL)
        write_wav(folder / f"{name}.wav", wave_S)
        with atomic_write(folder / f"{name}.rttm", "w") as file:
            file.write(rttm(name, spoken))
        made.append(Conversation(folder / f"{name}.wav", folder / f"{name}.rttm", tuple(who), enroll))
        if progress is not None:
            progress(number + 1, count)
    return made


def _two_parts(
    utterances: list[Utterance], rng: np.random.Generator
) -> tuple[list[Utterance], list[Utterance]]:
    """Return what a person says in the conversation, and what they are enrolled with, in random order.

    Where sessions are known, a person talks in one of them, and is enrolled from the others.
    """
    mixed = [utterances[i] for i in rng.permutation(len(utterances))]
    sessions = Counter(one.session for one in mixed)
    talks, most = sessions.most_common(1)[0]
    if 1 < most < len(mixed):
        own = [one for one in mixed if one.session == talks]
        return own, [one for one in mixed if one.session != talks]
    half = max(1, len(mixed) // 2)
    return mixed[half:], mixed[:half]


def _heard(utterances: list[Utterance]) -> Iterator[Said]:
    """Yield the samples of each usable utterance and its stretches of speech, all at one level."""
    for utterance in utterances:
        try:
            found = inspect(utterance)
        except AudioError:
            continue
        stretches = joined([(one.start_s, one.end_s) for one in found.segments], PAUSE_S)
        if stretches and found.level_dbfs is not None:
            first, last = stretches[0][0], stretches[-1][1]
            wave_S = load(found.audio)[int(first * SAMPLE_RATE) : int(last * SAMPLE_RATE)]
            wave_S = wave_S * (LEVEL * 10 ** (-found.level_dbfs / 20))
            yield wave_S, [(start - first, end - first) for start, end in stretches]


def _endless(utterances: list[Utterance]) -> Iterator[Said]:
    """Yield what `_heard` does, again and again; raise NotEnoughSpeakers where nothing is usable."""
    while True:
        silent = True
        for one in _heard(utterances):
            silent = False
            yield one
        if silent:
            raise NotEnoughSpeakers(
                f"no usable recording of {utterances[0].speaker!r}: all are silent or damaged."
            )


def _to_enroll(utterances: list[Utterance], wanted_s: float) -> np.ndarray:
    """Return the samples of `wanted_s` seconds of speech or a little more, or all there is."""
    pieces, had = [np.zeros(0, np.float32)], 0.0
    for wave_S, stretches in _heard(utterances):
        if had >= wanted_s:
            break
        pieces.append(wave_S)
        had += sum(end - start for start, end in stretches)
    return np.concatenate(pieces)


def _talk(
    clips: dict[str, Iterator[Said]], seconds: float, overlap: float, room_s: float, rng: np.random.Generator
) -> tuple[np.ndarray, list[Spoken]]:
    """Return the samples of a conversation and who talks when."""
    end, placed, spoken = 0.5, [], []
    seats = _seats(list(clips), room_s, rng) if room_s else {}
    for who in _turns(list(clips), rng):
        if end > seconds:
            break
        early = rng.random() < overlap and bool(placed)
        start = end + max(0.0, rng.normal(*GAP_S))
        if early:
            start = end - INTERRUPTS_S[0] * np.exp(INTERRUPTS_S[1] * rng.standard_normal())
        wanted_s = TURN_S[0] * np.exp(TURN_S[1] * rng.standard_normal())
        while wanted_s > 0:
            wave_S, stretches = _cut(*next(clips[who]), wanted_s)
            wanted_s -= stretches[-1][1]
            placed.append((max(0, round(start * SAMPLE_RATE)), wave_S))
            if who in seats:
                placed[-1] = (placed[-1][0], _convolved(wave_S, seats[who]))
            spoken += [Spoken(round(start + a, 3), round(start + b, 3), who) for a, b in stretches]
            end = max(end, start + wave_S.size / SAMPLE_RATE)
            start = end + abs(rng.normal(*GAP_S))
    mixed_S = np.zeros(max(at + wave.size for at, wave in placed) + SAMPLE_RATE // 2, np.float32)
    for at, wave_S in placed:
        mixed_S[at : at + wave_S.size] += wave_S
    mixed_S += 1e-4 * rng.standard_normal(mixed_S.size).astype(np.float32)
    return mixed_S * min(1.0, 0.95 / float(np.abs(mixed_S).max())), sorted(spoken)


def _seats(who: list[str], room_s: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Return the impulse response from where each person sits to one microphone, at one loudness."""
    size_3 = rng.uniform(*SIZE_M)
    microphone_3 = rng.uniform(FROM_WALL_M, size_3 - FROM_WALL_M)
    seats = {}
    for one in who:
        source_3 = rng.uniform(FROM_WALL_M, size_3 - FROM_WALL_M)
        response_S = room_response(size_3, source_3, microphone_3, room_s, round(room_s * SAMPLE_RATE), rng)
        seats[one] = response_S / np.sqrt(np.sum(response_S**2))
    return seats


def _convolved(wave_S: np.ndarray, response_S: np.ndarray) -> np.ndarray:
    length = wave_S.size + response_S.size - 1
    spectrum_F = np.fft.rfft(wave_S, length) * np.fft.rfft(response_S, length)
    return np.fft.irfft(spectrum_F, length).astype(np.float32)


def _cut(wave_S: np.ndarray, stretches: list[tuple[float, float]], wanted_s: float) -> Said:
    """Return the beginning of an utterance, up to the first pause after `wanted_s` seconds."""
    kept = [one for one in stretches if one[0] < wanted_s]
    return wave_S[: round(kept[-1][1] * SAMPLE_RATE)], kept


def _turns(who: list[str], rng: np.random.Generator) -> Iterator[str]:
    """Yield who talks next, without end: everybody once, then anybody but the one who has just talked."""
    order = [who[i] for i in rng.permutation(len(who))]
    yield from order
    last = order[-1]
    while True:
        others = [one for one in who if one != last] or who
        last = others[int(rng.integers(len(others)))]
        yield last
