"""A conversation as it is heard: chunks of samples in, turns with names out as they settle.

# S samples
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
import soxr

from voxid.audio.arrays import RATES, ArraySource
from voxid.errors import AudioEmpty, BadAudioInput, BadConfig
from voxid.recognizer.conversing import Naming, timeline
from voxid.timeline import Timeline, Turn
from voxid.timeline.naming import nameless
from voxid.timeline.streaming import Live, LiveTurn
from voxid.timeline.values import Correction, changes
from voxid.types import SAMPLE_RATE

IN_MEMORY = 64 << 20  # bytes of samples; more lie in a file that has no name, until the stream ends


class Stream:
    """What `Recognizer.stream` returns: `add` takes chunks and returns turns that settled.

    A turn comes at most `voxid.timeline.streaming.LATENCY_S` (2 s of sound) after its end. It keeps the name
    that its speaker had then; the timeline that `end` returns is the one that the file would have got, so a
    turn of "unknown 1" may have a name there; then `changes` says where it differs from what was told.
    Samples are kept until the end. Not thread-safe.

    >>> stream = rec.stream()
    >>> turns = stream.add(voxid.audio.load("alice1.wav"))
    >>> print(stream.now.speaker, stream.end().turns[0].speaker)
    alice alice
    """

    def __init__(self, naming: Naming, rate: int) -> None:
        if not (isinstance(rate, int | np.integer) and RATES[0] <= rate <= RATES[1]):
            raise BadConfig(f"rate is in Hz, a whole number from {RATES[0]:,} to {RATES[1]:,}; got {rate!r}.")
        self._naming, self._rate = naming, int(rate)
        self._live = Live(naming.runtime.embed_waves, naming.asked.calibration, naming.cohort)
        self._resampled = soxr.ResampleStream(rate, SAMPLE_RATE, 1, "float32", "HQ")
        self._kept = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 -- `end` closes it
        self._type: np.dtype[Any] | None = None
        self._numbers: dict[int | None, int] = {}  # of those without a name, as they were told
        self._told: list[Turn] = []
        self.changes: tuple[Correction, ...] = ()

    def add(self, chunk: Any) -> list[Turn]:
        """Return the turns that have settled, after more samples (S,) of one channel, as `audio` takes them.

        Raise BadAudioInput where it is several channels, or another type of numbers than before.

        >>> rec.stream().add(np.zeros(16_000, np.float32))
        []
        """
        opened = ArraySource((chunk, self._rate))
        samples = np.asarray(chunk)
        if opened.channels != 1 or samples.ndim != 1:
            raise BadAudioInput(f"a stream is one channel, samples (S,); got shape {np.shape(chunk)}.")
        if self._type not in (None, samples.dtype):
            raise BadAudioInput(f"the stream began with {self._type} numbers; got {samples.dtype}.")
        self._type = samples.dtype
        self._kept.write(samples.tobytes())
        wave_S = opened.read(len(samples))
        if self._rate != SAMPLE_RATE:
            wave_S = self._resampled.resample_chunk(wave_S)
        settled = self._live.add(wave_S)
        turns = self._named(settled) if settled else []
        self._told += turns
        return turns

    @property
    def now(self) -> Turn | None:
        """Who talks now: the turn that is open, under the name it would have; None in a pause."""
        talking = self._live.talking
        return None if talking is None else self._named([talking], told=False)[0]

    @property
    def heard_s(self) -> float:
        """Seconds that were heard."""
        return self._live.heard_s

    @property
    def net_speech_s(self) -> float:
        """Seconds of speech so far."""
        return round(self._live.net_speech_s, 2)

    def end(self) -> Timeline:
        """Return the timeline of all that was heard, as `Recognizer.timeline` gives it for the file.

        The samples are forgotten. Raise as it does.
        """
        if self._type is None:
            raise AudioEmpty("nothing was heard: the stream ended before any samples came.")
        self._told += self._named(self._live.end())  # as `now` showed them
        with self._kept as file:
            file.rollover()
            samples_S = np.memmap(file._file, self._type, "r")  # type: ignore[attr-defined]
            known = self._live.known if self._rate == SAMPLE_RATE else None
            whole = timeline(self._naming, (samples_S, self._rate), None, known)
        self.changes = changes(self._told, whole.turns)
        return whole

    def __del__(self) -> None:
        """Forget the samples of a stream that nobody ended."""
        if hasattr(self, "_kept"):
            self._kept.close()

    def _named(self, turns: list[LiveTurn], told: bool = True) -> list[Turn]:
        """Return turns with the names that their speakers have by now."""
        sides = {number: voice.side for number, voice in self._live.speakers.items()}
        sides |= {turn.speaker: turn.side for turn in turns if turn.speaker not in sides}
        found = self._naming.names([*sides.values()], ("stream", self.heard_s), join=True)
        named = dict(zip(sides, found, strict=True))
        kind = nameless([one.answer for one in found])
        given = []
        for turn in turns:
            one = named[turn.speaker]
            number = self._numbers.get(turn.speaker, len(self._numbers) + 1)
            if told and one.name is None:
                self._numbers[turn.speaker] = number
            called = one.name or f"{kind} {number}"
            given.append(
                self._naming.turn(one, called, turn.side, (turn.start_s, turn.end_s), turn.confidence)
            )
        return given
