"""Recordings inside the page: cut, encoded once each, and no more of them than the page has room for.

# S samples
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import Any

import numpy as np
import soundfile

from voxid import audio
from voxid.errors import AudioError
from voxid.types import SAMPLE_RATE

THREADS = min(4, os.cpu_count() or 1)  # libsndfile lets go of the interpreter while it works
CLIP_S = 10.0  # seconds of a recording that the page holds
ROOM = 8_000_000  # bytes of encoded recordings in one page: tables and figures leave it below 10 MB
MP3_LEVEL = 0.84  # of soundfile's scale from 160 to 8 kbit/s at 16 kHz: 32 kbit/s


@dataclass(frozen=True, slots=True, eq=False)
class Excerpt:
    """One utterance to listen to: samples (S,) float32 in -1..1, whose it is, and what the corpus says.

    `labels` are shown as they are ("sex": "f", "age": 34); empty ones are not shown.
    """

    samples_S: np.ndarray
    sample_rate: int
    speaker: str
    labels: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShownClip:
    """What the page shows of an utterance; `number` is its place in the store, None without a recording."""

    utterance: str
    speaker: str
    labels: str = ""
    number: int | None = None
    seconds: float = 0.0
    cut: bool = False
    why_not: str = ""


class ClipStore:
    """Encoded recordings by number, each utterance once, until `room` bytes are used.

    `clip` gives the recording of an utterance, or None; None instead of a callable means that there is no
    audio at all. `clips` are base64 text, `media` their type, `full` how many found no room.
    """

    def __init__(self, clip: Callable[[str], Excerpt | None] | None, room: int = ROOM) -> None:
        self._clip, self._room = clip, room
        self._known: dict[str, ShownClip] = {}
        self._coming: dict[str, Future[tuple[ShownClip, str]]] = {}
        self.clips: list[str] = []
        self.media = "audio/mpeg" if "MP3" in soundfile.available_formats() else "audio/wav"
        self.full = 0

    @contextmanager
    def reading(self, wanted: Iterable[tuple[str, str]]) -> Iterator[None]:
        """A context in which recordings of (utterance, speaker) are read and encoded ahead, side by side."""
        with ThreadPoolExecutor(THREADS, thread_name_prefix="voxid-clips") as workers:
            for utterance, speaker in dict.fromkeys(wanted):
                if self._clip is not None and utterance not in self._coming:
                    self._coming[utterance] = workers.submit(self._read, utterance, speaker)
            try:
                yield
            finally:
                workers.shutdown(cancel_futures=True)
                self._coming.clear()

    def hear(self, utterance: str, speaker: str) -> ShownClip:
        """Return what to show of `utterance`, after storing its recording if it has one and there is room."""
        if utterance not in self._known:
            coming = self._coming.get(utterance)
            known, text = coming.result() if coming else self._read(utterance, speaker)
            self._known[utterance] = self._stored(known, text)
        return self._known[utterance]

    def _stored(self, known: ShownClip, text: str) -> ShownClip:
        if not text:
            return known
        if sum(map(len, self.clips)) + len(text) > self._room:
            self.full += 1
            return ShownClip(known.utterance, known.speaker, known.labels, why_not="no room")
        self.clips.append(text)
        return replace(known, number=len(self.clips) - 1)

    def _read(self, utterance: str, speaker: str) -> tuple[ShownClip, str]:
        """Return what to show of a recording, and its base64 text, "" where there is none."""
        if self._clip is None:
            return ShownClip(utterance, speaker), ""
        try:
            clip = self._clip(utterance)
            if clip is None:
                return ShownClip(utterance, speaker, why_not="no recording"), ""
            wave_S = audio.load((clip.samples_S, clip.sample_rate))
        except AudioError as error:
            return ShownClip(utterance, speaker, why_not=error.reason.replace("_", " ")), ""
        kept_S = wave_S[: round(CLIP_S * SAMPLE_RATE)]
        known = ShownClip(
            utterance,
            clip.speaker,
            labels=", ".join(
                f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
                for name, value in clip.labels.items()
                if value not in (None, "")
            ),
            seconds=kept_S.size / SAMPLE_RATE,
            cut=kept_S.size < wave_S.size,
        )
        return known, base64.b64encode(encode(kept_S, self.media)).decode("ascii")


def encode(wave_S: np.ndarray, media: str) -> bytes:
    """Return samples (S,) at 16 kHz as the bytes of an MP3 ("audio/mpeg") or a 16-bit WAV ("audio/wav")."""
    file = BytesIO()
    safe_S = np.clip(wave_S, -1.0, 1.0)
    if media == "audio/mpeg":
        how = {"bitrate_mode": "CONSTANT", "compression_level": MP3_LEVEL}
        soundfile.write(file, safe_S, SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III", **how)
    else:
        soundfile.write(file, safe_S, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()
