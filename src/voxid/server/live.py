"""The live socket: PCM comes in as it is spoken; who it is, and how sure, goes out twice a second.

The client says `{"type": "start", "rate": 16000, "question": "identify"}` (or "verify" with a "name",
"timeline", or "none"), then sends 16-bit little-endian mono samples, and `{"type": "end"}`. Answers are
`ready`, `heard` (every 0.5 s of audio: net speech so far, and who talks in the turn that is open), `turn`
(one has ended, with its decision) and `final`: the answer that the file API gives to the same audio. With
"identify" and "verify" a turn ends in a pause, and two people who talk without a pause between them are one
turn; with "timeline" turns are those of `Recognizer.stream`, `final` says in `changes` where it differs from
what was told, and comes by itself once as much was heard as one connection takes.

# S samples, T frames
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import numpy as np
import soxr
from fastapi import WebSocket, WebSocketDisconnect

from voxid.audio import SpeechMeter
from voxid.audio import inspect as measure
from voxid.audio.speech import FRAME_S
from voxid.errors import AudioError, VoxidError
from voxid.recognizer import Recognizer, Stream
from voxid.server import metrics
from voxid.server.answers import decision_out, identification_out, timeline_out, undecided
from voxid.server.problems import Refusal
from voxid.server.service import Service
from voxid.types import SAMPLE_RATE

STEP_S = 0.5  # of audio between two answers
LEAST_WAIT_S = 0.25  # between two answers to a client that sends faster than anybody talks
PAUSE_S = 0.8  # of silence that ends a turn
LOOK_S = 10.0  # of an open turn that are looked at
SILENT_S = 30.0  # without a message, after which a client is taken for gone
QUESTIONS = ("identify", "verify", "timeline", "none")


async def live(socket: WebSocket, collection: str) -> None:
    """Answer one live connection."""
    service: Service = socket.app.state.service
    await socket.accept()
    service.live += 1
    metrics.LIVE.inc()
    try:
        if service.live > service.settings.live:
            raise Refusal(
                429, "Busy", f"{service.settings.live} live connections are open already.", retry_s=5
            )
        await _talk(socket, service, collection.replace("\udc2f", "/"))
        await socket.close()
    except WebSocketDisconnect:
        pass
    except (Refusal, VoxidError) as error:
        code = error.code if isinstance(error, Refusal) else type(error).__name__
        await _end(socket, {"type": "problem", "code": code, "detail": str(error)})
    except TimeoutError:
        said = f"nothing came for {SILENT_S:g} s. Open a new connection."
        await _end(socket, {"type": "problem", "code": "Silent", "detail": said})
    finally:
        service.live -= 1
        metrics.LIVE.dec()


async def _end(socket: WebSocket, said: dict[str, Any]) -> None:
    try:
        await socket.send_json(said)
        await socket.close(1008, said["code"])
    except (RuntimeError, WebSocketDisconnect):  # the other side is gone
        pass


async def _talk(socket: WebSocket, service: Service, collection: str) -> None:
    start = _started(await asyncio.wait_for(socket.receive_text(), SILENT_S))
    caller = await service.caller(start.get("key") or socket.headers.get("x-api-key"))
    caller.may("read", collection)
    recognizer = await service.recognizer(collection)
    if start["question"] == "verify":
        await service.thread(recognizer.get, start["name"])
    hearing = Hearing(service, recognizer, start)
    await socket.send_json({"type": "ready", "step_s": STEP_S})
    while True:
        message = await asyncio.wait_for(socket.receive(), SILENT_S)
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1000))
        if (pcm := message.get("bytes")) is not None:
            for said in await hearing.take(pcm):
                await socket.send_json(said)
                if said["type"] == "final":
                    return
        elif _is_end(message.get("text") or ""):
            for said in await hearing.end():
                await socket.send_json(said)
            return


def _started(text: str) -> dict[str, Any]:
    """Return what a client said first; raise Refusal."""
    try:
        start = json.loads(text)
        rate, question = int(start.get("rate", SAMPLE_RATE)), start.get("question", "identify")
    except (ValueError, TypeError, AttributeError):
        raise Refusal(400, "BadRequest", 'the first message is {"type": "start", "rate": 16000}.') from None
    if not 8_000 <= rate <= 192_000:
        raise Refusal(400, "BadRequest", f"rate is from 8,000 to 192,000 Hz; got {rate}.")
    if question not in QUESTIONS or (question == "verify" and not start.get("name")):
        raise Refusal(400, "BadRequest", f"question is one of {', '.join(QUESTIONS)}; verify needs a name.")
    return {**start, "rate": rate, "question": question}


def _is_end(text: str) -> bool:
    try:
        return json.loads(text).get("type") == "end"
    except (ValueError, AttributeError):
        return False


@dataclass(slots=True)
class Hearing:
    """What was heard on one connection so far."""

    service: Service
    recognizer: Recognizer
    start: dict[str, Any]
    raw: list[np.ndarray] = field(default_factory=list)  # as it came, for the final answer
    wave: list[np.ndarray] = field(default_factory=list)  # at 16 kHz, for those on the way
    meter: SpeechMeter = field(default_factory=SpeechMeter)
    heard: int = 0  # samples at 16 kHz
    asked: int = 0  # of those, when the last answer was given
    closed_s: float = 0.0  # turns up to here have ended
    last: float = -1e9
    odd: bytes = b""  # half a sample
    stream: Any = None
    talk: Stream | None = None  # for the question "timeline"

    def __post_init__(self) -> None:
        """Begin the stream that a timeline is made by."""
        if self.start["question"] == "timeline":
            self.talk = self.recognizer.stream(self.start["rate"])

    @property
    def is_full(self) -> bool:
        """Whether as much was heard as one connection takes."""
        return self.heard / SAMPLE_RATE > self.service.settings.audio_s

    @property
    def most(self) -> str:
        """What is said of that."""
        return f"{self.service.settings.audio_s:g} s are the most that one connection takes."

    async def take(self, pcm: bytes) -> list[dict[str, Any]]:
        """Return what is to be said after more samples."""
        pcm = self.odd + pcm
        self.odd = pcm[len(pcm) // 2 * 2 :]
        samples = np.frombuffer(pcm[: len(pcm) // 2 * 2], "<i2")
        self._add(samples)
        if self.is_full and self.talk is not None:
            return await self.end()
        if self.heard - self.asked < STEP_S * SAMPLE_RATE or monotonic() - self.last < LEAST_WAIT_S:
            return []
        self.asked, self.last = self.heard, monotonic()
        return await self.service.thread(self._look)

    async def end(self) -> list[dict[str, Any]]:
        """Return the last turn, and the answer to all that was heard."""
        return await self.service.thread(self._finish)

    def _add(self, samples: np.ndarray) -> None:
        if self.is_full and self.talk is None:
            raise Refusal(413, "AudioTooLong", self.most)
        self.raw.append(samples)
        if self.talk is not None:
            self.heard += round(samples.size * SAMPLE_RATE / self.start["rate"])
            return
        wave_S = samples.astype(np.float32) / 32768
        if self.start["rate"] != SAMPLE_RATE:
            if self.stream is None:
                self.stream = soxr.ResampleStream(self.start["rate"], SAMPLE_RATE, 1, "float32", "HQ")
            wave_S = self.stream.resample_chunk(wave_S)
        self.wave.append(wave_S)
        self.meter.add(wave_S)
        self.heard += wave_S.size

    def _look_at_talk(self, talk: Stream) -> list[dict[str, Any]]:
        """Return the turns that have settled, and who talks."""
        chunk_S = np.concatenate([np.zeros(0, np.int16), *self.raw])
        self.raw.clear()  # the stream keeps them
        turns = talk.add(chunk_S) if chunk_S.size else []
        now = talk.now
        heard = {"type": "heard", "at_s": round(talk.heard_s, 2), "net_speech_s": talk.net_speech_s}
        if now is not None:
            heard |= {"turn": {"start_s": now.start}, **now.to_dict()}
        ended = [{"type": "turn", "start_s": t.start, "end_s": t.end, **t.to_dict()} for t in turns]
        return [*ended, heard]

    def _look(self) -> list[dict[str, Any]]:
        if self.talk is not None:
            return self._look_at_talk(self.talk)
        mask_T = self.meter.mask()
        at_s = self.heard / SAMPLE_RATE
        said: list[dict[str, Any]] = []
        heard = {
            "type": "heard",
            "at_s": round(at_s, 2),
            "net_speech_s": round(float(mask_T.sum()) * FRAME_S, 2),
        }
        open_ = None
        for start_s, end_s in _turns(mask_T, self.closed_s):
            if at_s - end_s < PAUSE_S:
                open_ = (start_s, end_s)
                break
            self.closed_s = end_s
            said.append(self._turn(start_s, end_s))
        if open_ is not None:
            heard |= {"turn": {"start_s": open_[0]}, **self._asked(max(open_[0], at_s - LOOK_S), at_s)}
        return [*said, heard]

    def _finish(self) -> list[dict[str, Any]]:
        if self.talk is not None:
            said = self._look_at_talk(self.talk)
            final = {"type": "final", **self.service.evidence(self.recognizer, self.recognizer.rule())}
            try:
                final = timeline_out(self.talk.end(), final)
            except AudioError as error:  # silence, or nothing at all
                final |= {"turns": [], "speakers": [], "warnings": [str(error)]}
            if self.is_full:
                final["warnings"] = [*final["warnings"], self.most]
            return [*said, final | {"changes": [one.to_dict() for one in self.talk.changes]}]
        mask_T = self.meter.mask()
        said = [self._turn(*ended) for ended in _turns(mask_T, self.closed_s)]
        raw_S = np.concatenate(self.raw) if self.raw else np.zeros(0, np.int16)
        return [*said, {"type": "final", **self._answer((raw_S, self.start["rate"]), whole=True)}]

    def _turn(self, start_s: float, end_s: float) -> dict[str, Any]:
        return {"type": "turn", "start_s": start_s, "end_s": end_s, **self._asked(start_s, end_s)}

    def _asked(self, start_s: float, end_s: float) -> dict[str, Any]:
        """Return the decision on a stretch, without what only the final answer needs."""
        if self.start["question"] == "none":
            return {}
        if len(self.wave) > 1:
            self.wave = [np.concatenate(self.wave)]
        part_S = self.wave[0][int(max(0, start_s - 0.1) * SAMPLE_RATE) : int((end_s + 0.1) * SAMPLE_RATE)]
        found = self._answer((part_S, SAMPLE_RATE), whole=False)
        kept = ("decision", "speaker", "llr", "probability", "threshold")
        return {key: found.get(key) for key in kept}

    def _answer(self, source: Any, whole: bool) -> dict[str, Any]:
        name, question = self.start.get("name"), self.start["question"]
        rule = self.recognizer.rule()
        evidence = self.service.evidence(self.recognizer, rule) if whole else {}
        try:
            settings = self.service.settings
            found = measure(source, vad=settings.vad, keep_s=settings.audio_s + 1)
            if question == "none":
                return {"net_speech_s": found.net_speech_s, "total_s": found.total_s}
            if question == "verify":
                return decision_out(self.recognizer.verify(str(name), found), evidence)
            return identification_out(self.recognizer.identify(found), evidence)
        except VoxidError as error:  # too little, nobody, or no samples at all
            return undecided(error, rule, evidence, name)


def _turns(mask_T: np.ndarray, after_s: float) -> list[tuple[float, float]]:
    """Return (start, end) of what is said after a moment, in seconds; pauses below PAUSE_S are within a turn.

    >>> _turns(np.repeat([False, True, False, True], [10, 50, 100, 30]), 0.0)
    [(0.1, 0.6), (1.6, 1.9)]
    """
    frames = np.flatnonzero(mask_T)
    frames = frames[frames * FRAME_S >= after_s]
    if not frames.size:
        return []
    cuts = np.flatnonzero(np.diff(frames) * FRAME_S >= PAUSE_S)
    starts, ends = frames[np.r_[0, cuts + 1]], frames[np.r_[cuts, frames.size - 1]] + 1
    return [
        (round(float(a) * FRAME_S, 2), round(float(b) * FRAME_S, 2))
        for a, b in zip(starts, ends, strict=True)
    ]
