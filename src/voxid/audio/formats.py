"""What libsndfile does not read (m4a, webm, AMR, AC-3, Speex, ...), decoded by PyAV: the extra `formats`.

# S samples, C channels
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from voxid.errors import AudioTruncated, AudioUndecodable

SLACK_S = 0.5  # a container's length and its last packet differ by so much without anything missing


def has_pyav() -> bool:
    """Return whether the extra `formats` is installed."""
    try:
        import_module("av")
    except ModuleNotFoundError:
        return False
    return True


@contextmanager
def av_decoder(target: Path | BinaryIO, name: str, kind: str) -> Iterator[AvDecoder]:
    """Yield a decoder of the first audio stream of `target`, whose container looks like `kind`.

    Raise AudioUndecodable when there is no such stream.
    """
    av: Any = import_module("av")
    try:
        container = av.open(str(target) if isinstance(target, Path) else target)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise AudioUndecodable(
            f"{name}: it {f'looks like {kind}, and ' if kind else ''}is not audio that voxid and PyAV can "
            f"decode ({_words(error)}). Copy it again, or convert it."
        ) from error
    with container:
        streams = container.streams.audio
        if not streams:
            raise AudioUndecodable(f"{name}: it holds no audio, only pictures. Give a recording with sound.")
        yield AvDecoder(av, container, streams[0], name)


class AvDecoder:
    """Frames of the first audio stream of a container; its length is what the container says, a guess."""

    exact = False

    def __init__(self, av: Any, container: Any, stream: Any, name: str) -> None:
        self._error, self._container, self._stream = av.FFmpegError, container, stream
        self._pauses = stream.codec_context.name.startswith("amr")
        self.name = name
        self.notes: list[str] = []
        self.rate = int(stream.rate or 0)
        self.channels = int(stream.channels)
        if self.rate <= 0 or self.channels <= 0:
            raise AudioUndecodable(f"{name}: its header gives no rate or no channels. Convert it again.")
        if stream.duration is not None and stream.time_base is not None:
            seconds = float(stream.duration * stream.time_base)
        else:
            seconds = (container.duration or 0) / av.time_base
        self.frames = max(0, round(seconds * self.rate))  # 0 for a live recording that never said it
        self.format = f"{container.format.name} {stream.codec_context.name}"
        # planar float: one row a channel, full scale 1
        self._resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=self.rate)
        self._decoded = self._walk()
        self._waiting = np.zeros((0, self.channels), np.float32)
        self._position = 0

    def seek(self, frame: int) -> None:
        """Make `frame` the next one to be read; lossy streams are exact only when decoded from the start."""
        if frame < self._position:
            self._container.seek(0)
            self._decoded, self._position = self._walk(), 0
            self._waiting = self._waiting[:0]
        while self._position < frame:
            if len(self.read(min(frame - self._position, 1 << 18))) == 0:
                return

    def read(self, frames: int) -> np.ndarray:
        """Return up to `frames` frames as float32 (S, C); raise AudioTruncated where the stream breaks."""
        pieces, held = [self._waiting], len(self._waiting)
        while held < frames:
            piece_SC = next(self._decoded, None)
            if piece_SC is None:
                break
            pieces.append(piece_SC)
            held += len(piece_SC)
        joined_SC = np.concatenate(pieces)
        self._waiting = joined_SC[frames:]
        self._position += len(joined_SC[:frames])
        return joined_SC[:frames]

    def _walk(self) -> Iterator[np.ndarray]:
        """Yield what the stream decodes to, float32 (S, C), from where the container stands."""
        done = 0
        try:
            for packet in self._container.demux(self._stream):
                for wave_SC in self._of_packet(packet):
                    done += len(wave_SC)
                    yield wave_SC
        except self._error as error:
            raise self._broken(done, _words(error)) from error
        if done < self.frames - SLACK_S * self.rate:
            raise self._broken(done, "no more packets")

    def _of_packet(self, packet: Any) -> Iterator[np.ndarray]:
        """Yield what one packet decodes to; AMR's frames for pauses, unknown to PyAV, are silence."""
        try:
            frames = self._stream.codec_context.decode(packet if packet.size else None)
        except self._error:
            if not self._pauses:
                raise
            samples = round(float(packet.duration or 0) * float(packet.time_base) * self.rate)
            yield np.zeros((samples, self.channels), np.float32)
            return
        for frame in frames:
            for even in self._resampler.resample(frame):
                yield np.ascontiguousarray(even.to_ndarray().T, dtype=np.float32)

    def _broken(self, done: int, why: str) -> AudioTruncated:
        return AudioTruncated(
            f"{self.name}: breaks off or is damaged after {done / self.rate:.2f} s ({why}); its header says "
            f"{self.frames / self.rate:.2f} s. Copy or download it again."
        )


def _words(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or error).rstrip(".")
