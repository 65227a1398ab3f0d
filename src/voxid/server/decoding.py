"""Recordings are decoded in processes of their own, with limits of time and memory.

A file can be made to crash a decoder, to make it loop, or to fill the memory. Then one process ends, which is
begun anew, and the request is refused; nothing else notices. Audio goes through pipes, never through files.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import threading
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection
from queue import SimpleQueue
from time import perf_counter
from typing import Any, Literal

from voxid.audio import Inspected, Part, inspect, open_source
from voxid.errors import AudioError, AudioUndecodable, VoxidError
from voxid.server.problems import Refusal
from voxid.types import SAMPLE_RATE

LONG_S = 300.0  # seconds; longer recordings are embedded in pieces (voxid.embed)
STARTED_S = 60.0  # a process has to import the decoders first, on a busy machine
_CONTEXT = multiprocessing.get_context("spawn")  # no copy of threads, sockets and people


class Decoders:
    """A pool of processes that decode. Thread-safe: `decode` waits for a free one."""

    def __init__(
        self, count: int, *, seconds: float, megabytes: float, audio_s: float, vad: str = "energy"
    ) -> None:
        self._seconds, self._limits = seconds, (int(megabytes * 1e6), audio_s, vad)
        self._audio_s = audio_s
        self._free: SimpleQueue[_Worker | None] = SimpleQueue()
        self._lock, self._closed = threading.Lock(), False
        for _ in range(count):
            self._free.put(_Worker(self._limits))

    def decode(
        self, content: bytes, name: str, channel: int | Literal["mix"] | None = None
    ) -> tuple[Inspected, float]:
        """Return what a recording holds, and the seconds that took.

        Raise an AudioError; Refusal for a recording that takes too much time, memory or is too long.
        """
        worker = self._free.get()
        began = perf_counter()
        try:
            if worker is None or not worker.alive:
                worker = _Worker(self._limits)
            found = worker.ask((content, name, channel), self._seconds)
        except BaseException:
            if worker is not None:
                worker.kill()
            worker = None
            raise
        finally:
            self._free.put(worker)
            if self._closed and worker is not None:
                worker.kill()
        if isinstance(found, TooLong):
            raise Refusal(
                413,
                "AudioTooLong",
                f"{name}: longer than {self._audio_s:g} s, which is the most that is taken. Cut it.",
            )
        if isinstance(found, Exception):
            raise found
        return found, perf_counter() - began

    def wait(self) -> None:
        """Return when all processes have started."""
        workers = [self._free.get() for _ in range(self._free.qsize())]
        for worker in workers:
            if worker is not None:
                worker.wait_for_imports()
            self._free.put(worker)

    def close(self) -> None:
        """End all processes."""
        self._closed = True
        while not self._free.empty():
            worker = self._free.get()
            if worker is not None:
                worker.kill()


class TooLong(Exception):
    """A recording is longer than is taken."""


class _Worker:
    """One process that decodes, and the pipe to it."""

    def __init__(self, limits: tuple[int, float, str]) -> None:
        self._pipe, its = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_run, args=(its, *limits), daemon=True, name="voxid-decode")
        self._process.start()
        self._ready = False
        its.close()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def ask(self, question: tuple[Any, ...], seconds: float) -> Any:
        """Return the answer; raise Refusal where none comes in time, or the process ended."""
        name = question[1]
        try:
            self.wait_for_imports()
            self._pipe.send(question)
            if not self._pipe.poll(seconds):
                raise Refusal(
                    422,
                    "AudioTooSlow",
                    f"{name}: decoding took longer than {seconds:g} s, and was given up. Convert it to WAV "
                    "or FLAC.",
                )
            return self._pipe.recv()
        except (EOFError, OSError):
            raise Refusal(
                422,
                "AudioHostile",
                f"{name}: the decoder ended on it, or ran out of memory. Convert it to WAV or FLAC.",
            ) from None

    def wait_for_imports(self) -> None:
        """Return when the process can decode: its first word says so."""
        if not self._ready:
            if not self._pipe.poll(STARTED_S):
                raise Refusal(503, "DecoderNotReady", "no decoder has started yet. Try again.", retry_s=2)
            self._ready = self._pipe.recv() == "ready"

    def kill(self) -> None:
        """End the process at once."""
        with suppress(OSError, ValueError):
            self._process.kill()
            self._process.join(5)
            self._pipe.close()


def _run(pipe: Connection, memory: int, audio_s: float, vad: str) -> None:
    """Decode what comes through the pipe, until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which ends this process
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # audio is never written to the disk
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 2)  # decoders print what they think of a file
    pipe.send("ready")
    while True:
        try:
            content, name, channel = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: Any = _decode(content, name, channel, audio_s, vad)
        except (VoxidError, TooLong) as error:
            answer = error
        except MemoryError:
            return  # what is left of the memory is in no known state
        except Exception as error:
            answer = AudioUndecodable(f"{name}: not audio voxid can decode ({type(error).__name__}).")
        pipe.send(answer)


def _decode(
    content: bytes, name: str, channel: int | Literal["mix"] | None, audio_s: float, vad: str
) -> Inspected:
    part = Part(content, channel=channel)
    try:
        with open_source(part) as opened:
            promised_s = opened.frames / opened.rate
            if opened.exact and promised_s > audio_s:
                raise TooLong
            if not opened.exact or promised_s > audio_s:
                part = replace(part, duration_s=audio_s + 1)
        found = inspect(part, vad=vad, keep_s=audio_s + 1)
    except AudioError as error:
        raise _named(error, content, name) from None
    if found.total_s > audio_s or found.wave_S is None:
        raise TooLong
    kept = found.wave_S if found.total_s <= LONG_S else None
    return replace(found, name=name, part=Part((found.wave_S, SAMPLE_RATE)), wave_S=kept)


def _named(error: AudioError, content: bytes, name: str) -> AudioError:
    """Return the error with the name that the sender gave in place of "audio of 123 bytes"."""
    return type(error)(str(error).replace(f"audio of {len(content)} bytes", name, 1))
