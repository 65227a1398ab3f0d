"""Open whatever a user calls audio (path, bytes, open file, samples) as a source of float32 frames."""

# S samples, C channels

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np
import soundfile

from voxid.audio.arrays import RATES, ArraySource, TensorLike, is_tensor, is_waveform, name_of_samples, rates
from voxid.audio.containers import survey
from voxid.audio.formats import av_decoder, has_pyav
from voxid.audio.views import HEARD_S, SLACK_S, Survey
from voxid.errors import (
    AudioEmpty,
    AudioNotFound,
    AudioNotReadable,
    AudioTruncated,
    AudioUndecodable,
    BadAudioInput,
)
from voxid.types import Utterance

Samples = tuple[np.ndarray | TensorLike, int] | TensorLike | Mapping[str, Any]
Whole = str | os.PathLike[str] | bytes | BinaryIO | Samples


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a recording: from `start_s` on, for `duration_s` seconds (None: to its end).

    `channel` is one channel, counted from 0, or "mix" for the mean of all. None is the mean too, but then two
    channels that hold different sounds give a warning, and cannot be enrolled.

    >>> stereo = np.stack((np.zeros(8000), np.ones(8000)), axis=1)
    >>> with open_source(Part((stereo, 16_000), channel=1)) as opened:
    ...     opened.channels, float(opened.read(1)[0])
    (1, 1.0)
    """

    source: Whole
    start_s: float = 0.0
    duration_s: float | None = None
    channel: int | Literal["mix"] | None = None

    @classmethod
    def of(cls, item: Source) -> Part:
        """Return the part that an utterance of a corpus names, or the whole of any other source.

        >>> Part.of("alice1.wav").duration_s is None  # to its end
        True
        """
        if isinstance(item, Part):
            return item
        if isinstance(item, Utterance):
            return cls(item.path, item.start_s, item.duration_s, item.channel)
        if isinstance(found := getattr(item, "part", None), Part):  # an `Inspected`
            return found
        return cls(item)  # type: ignore[arg-type]


class HasPart(Protocol):
    """A recording that was opened and measured already (`audio.Inspected`)."""

    @property
    def part(self) -> Part: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102


Source = Whole | Utterance | Part | HasPart

# The last five need the extra `formats`; without it they are refused by name when they are opened, so that no
# corpus scan passes over them in silence.
_READ = ".wav .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .sph"
AUDIO_SUFFIXES = frozenset(f"{_READ} .m4a .mp4 .aac .webm .wma .amr .awb .3gp .ac3 .spx".split())

MAX_PATH = 4096  # bytes
MOST_FILES = 1000  # appended to one another
STEP = 4096  # frames; how exactly the place of damage is told
_LENGTH_UNKNOWN = 1 << 60  # frames; libsndfile answers with more for a stream that does not state its length


class Opened(Protocol):
    """A source of frames. `frames` is what the header says; `exact` whether that is a promise or a guess."""

    name: str
    rate: int
    frames: int
    channels: int
    format: str
    exact: bool
    notes: list[str]  # what a person should know of the file; more may come while it is read

    def seek(self, frame: int) -> None:
        """Make `frame` the next one to be read."""
        ...

    def read(self, frames: int) -> np.ndarray:
        """Return up to `frames` frames as float32 (S,) or (S, C); none at the end."""
        ...


def is_one(audio: Any) -> bool:
    """Return whether this is meant as one recording, and not as several; it may be a wrong one all the same.

    >>> is_one("a.wav"), is_one((np.zeros(9), 16_000)), is_one(["a.wav"]), is_one(("a.wav", "b.wav"))
    (True, True, False, False)
    """
    if isinstance(audio, str | os.PathLike | bytes | bytearray | memoryview | np.ndarray | Utterance | Part):
        return True
    if isinstance(getattr(audio, "part", None), Part):
        return True
    if hasattr(audio, "read") or is_tensor(audio) or is_waveform(audio):
        return True
    numbers = int | float | np.number | np.ndarray
    return isinstance(audio, tuple) and len(audio) == 2 and any(isinstance(part, numbers) for part in audio)


def name_of(source: Source) -> str:
    """Return what messages call a source.

    >>> name_of("a.wav"), name_of(b"RIFF"), name_of((np.zeros(9), 16_000))
    ('a.wav', 'audio of 4 bytes', 'array (9,)')
    """
    if isinstance(source, Utterance | Part):
        return name_of(Part.of(source).source)
    if isinstance(source, str | os.PathLike):
        return os.fsencode(Path(source)).decode(errors="backslashreplace")  # a name need not be UTF-8
    if isinstance(source, bytes | bytearray | memoryview):
        return f"audio of {len(source)} bytes"
    if isinstance(source, tuple) or is_tensor(source) or is_waveform(source):
        return name_of_samples(source)
    return str(getattr(source, "name", "open file"))


@contextmanager
def open_source(source: Source) -> Iterator[Opened]:
    """Yield the opened source; raise the AudioError that says why it cannot be opened.

    Of a part the channel counts; times are for whoever reads (`reading.read_blocks`).

    >>> with open_source("alice1.wav") as opened:
    ...     opened.rate, opened.frames, opened.read(3).shape
    (16000, 64000, (3,))
    """
    if isinstance(source, Utterance | Part):
        part = Part.of(source)
        with open_source(part.source) as opened:
            yield opened if part.channel in (None, "mix") else _OneChannel(opened, part.channel)
    elif isinstance(source, tuple) or is_tensor(source) or is_waveform(source):
        yield ArraySource(source)
    elif isinstance(source, str | os.PathLike):
        if not os.fspath(source):
            raise AudioNotFound("the path is empty. Give the path of one audio file.")
        path = Path(os.path.expanduser(source))  # noqa: PTH111 -- an unknown ~name is left as it is
        with _open_path(path) as file, _decoder(file, path, name_of(source)) as decoder:
            yield decoder
    elif isinstance(source, bytes | bytearray | memoryview):
        _refuse_path(bytes(source[:MAX_PATH]))
        file = io.BytesIO(source)
        with _decoder(file, None, name_of(source)) as decoder:
            yield decoder
    elif hasattr(source, "read"):
        content = rereadable(source)
        file = io.BytesIO(content) if isinstance(content, bytes) else content
        with _decoder(file, None, name_of(source)) as decoder:
            yield decoder
    elif isinstance(source, np.ndarray):
        raise BadAudioInput("an array alone has no rate. Give a tuple: (samples, rate).")
    else:
        raise BadAudioInput(
            f"cannot read audio from a value of type {type(source).__name__}. Give one recording: a path, "
            "the bytes of a file, an open binary file, a tuple (samples, rate), a torch tensor, or "
            '{"waveform": samples, "sample_rate": rate}.'
        )


def _refuse_path(head: bytes) -> None:
    """Raise BadAudioInput when bytes that should be a file's content are the path of one."""
    if (
        not 0 < len(head) < MAX_PATH
        or b"\0" in head
        or Path(os.fsdecode(head)).suffix.lower() not in AUDIO_SUFFIXES
    ):
        return
    raise BadAudioInput(
        f"these {len(head)} bytes are a path, {os.fsdecode(head)!r}, and should be the content of a file. "
        "Give a path as str or pathlib.Path."
    )


def _open_path(path: Path) -> BinaryIO:
    try:
        if not path.is_file():
            if not path.exists():
                raise AudioNotFound(f"{name_of(path)}: no such file. Check the path.")
            what = "a folder" if path.is_dir() else "not a regular file"
            raise AudioNotReadable(f"{name_of(path)}: {what}. Give the path of one audio file.")
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        reason = getattr(error, "strerror", None) or error
        raise AudioNotReadable(
            f"{name_of(path)}: cannot be opened ({reason}). Check its permissions."
        ) from error


def rereadable(source: Any) -> Any:
    """Return a source that can be read twice: the content of a pipe is read into memory.

    Raise BadAudioInput for an open file that is closed, or open as text.
    """
    if not hasattr(source, "read"):
        return source
    if getattr(source, "closed", False):
        name = getattr(source, "name", "given")
        raise BadAudioInput(f"the file {name} was closed. Open it again, or give its path.")
    if isinstance(source, io.TextIOBase):
        raise BadAudioInput("the file is open in text mode. Open it with open(path, 'rb').")
    seekable = getattr(source, "seekable", None)
    if seekable is not None and seekable():
        return source
    content = source.read()
    if not isinstance(content, bytes):
        raise BadAudioInput(
            f"reading the open file gave {type(content).__name__}, not bytes. Open it as binary."
        )
    return content


@contextmanager
def _decoder(file: BinaryIO, path: Path | None, name: str) -> Iterator[Opened]:
    """Yield a decoder of `file`, after a look at its container; `path` is where it lies, if anywhere."""
    try:
        if file.seek(0, io.SEEK_END) == 0:
            raise AudioEmpty(f"{name}: no bytes at all. Copy or download it again.")
        surveys = [survey(file, name)]
        while (behind := surveys[-1].behind) is not None:
            if len(surveys) == MOST_FILES:
                raise AudioUndecodable(
                    f"{name}: {MOST_FILES:,} files or more, one after another. Give each file alone."
                )
            surveys.append(survey(behind, name))
            behind.seek(0)
        file.seek(0)
    except OSError as error:
        raise AudioNotReadable(f"{name}: reading failed ({error.strerror}). Check the disk.") from error
    with ExitStack() as stack:
        decoders = [
            stack.enter_context(_decoder_of(target, name, found))
            for found in surveys
            for target in (found.parts if found.flawed or path is None or found is not surveys[0] else [path])
        ]
        yield decoders[0] if len(decoders) == 1 else Joined(decoders)


@contextmanager
def _decoder_of(target: Path | BinaryIO, name: str, found: Survey) -> Iterator[Opened]:
    """Yield libsndfile's decoder, or PyAV's for what libsndfile does not read."""
    if not found.foreign or not has_pyav():
        try:
            # bytes: a name need not be UTF-8
            place: Any = os.fsencode(target) if isinstance(target, Path) else target
            sound = soundfile.SoundFile(place)
        except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: *.raw has no header to read
            what = getattr(error, "error_string", "it has no header").strip().rstrip(".")
            if not has_pyav():
                raise _undecodable(name, f"it is {found.foreign}" if found.foreign else what) from error
        else:
            with sound:
                yield Decoder(sound, name, found)
            return
    with av_decoder(target, name, found.foreign) as decoder:
        _check_header_rate(decoder)
        yield decoder


def _undecodable(name: str, what: str) -> AudioUndecodable:
    return AudioUndecodable(
        f"{name}: not audio voxid can decode ({what or 'its format is unknown'}). WAV, FLAC, Ogg (Vorbis, "
        "Opus), MP3 and AIFF are read; m4a, mp4, webm, wma, AAC, AMR, AC-3, Speex and more too after: pip "
        "install 'voxid[formats]'; convert others first, for example: ffmpeg -i INPUT OUTPUT.flac"
    )


class Decoder:
    """Frames of a file, decoded by libsndfile."""

    def __init__(self, sound: soundfile.SoundFile, name: str, found: Survey) -> None:
        self._sound = sound
        self._position = 0
        self.name = name
        self.rate: int = sound.samplerate
        self.frames: int = sound.frames
        self.channels: int = sound.channels
        self.format = f"{sound.format} {sound.subtype}"
        self.exact = found.exact
        self.notes = list(found.notes)
        _check_header_rate(self)
        if self.frames >= _LENGTH_UNKNOWN:  # a FLAC written into a pipe
            raise AudioUndecodable(
                f"{name}: its header does not say how long it is, and the decoder then misses its end. "
                "Write it to a file, not to a pipe; for example: ffmpeg -i INPUT OUTPUT.flac"
            )
        if found.missing:
            there_s = self.frames / self.rate
            promised_s = there_s / (1 - found.missing) if found.missing < 1 else float("inf")
            fall_short(self, there_s, promised_s)

    def seek(self, frame: int) -> None:
        """Make `frame` the next one to be read; raise AudioTruncated where the file has no such place."""
        try:
            self._sound.seek(frame)
        except soundfile.LibsndfileError as error:
            raise self._broken(frame) from error
        self._position = frame

    def read(self, frames: int) -> np.ndarray:
        """Return up to `frames` frames as float32 (S,) or (S, C); raise AudioTruncated on damaged bytes."""
        try:
            samples = self._sound.read(frames, dtype="float32")
        except soundfile.LibsndfileError as error:
            raise self._broken(self._position) from error
        self._position += len(samples)
        return samples

    def _broken(self, frame: int) -> AudioTruncated:
        """Return the error, after a look at where the damage is, which libsndfile does not say."""
        source = self._sound.name
        with suppress(soundfile.LibsndfileError, OSError, ValueError):
            if hasattr(source, "seek"):
                source.seek(0)
            with soundfile.SoundFile(source) as again:
                for block in again.blocks(STEP, dtype="int16"):
                    frame = max(frame, again.tell()) if len(block) == STEP else frame
        return AudioTruncated(
            f"{self.name}: breaks off or is damaged after {frame / self.rate:.2f} s of "
            f"{self.frames / self.rate:.2f} s. Copy or download it again."
        )


def fall_short(opened: Opened, there_s: float, promised_s: float) -> None:
    """Note that a file holds less than it promises; raise AudioTruncated when that is a missing end."""
    missing_s = promised_s - there_s
    if missing_s > SLACK_S:
        promise = (
            f"promises {promised_s:.2f} s: {missing_s:.2f} s are missing" if there_s else "promises more"
        )
        raise AudioTruncated(
            f"{opened.name}: breaks off at {there_s:.2f} s, and its header {promise}. Copy or download it "
            "again."
        )
    if missing_s > HEARD_S:
        opened.notes.append(f"its header promises {promised_s:.2f} s, and {there_s:.2f} s are there.")


class Joined:
    """Files that were appended to one another, read as one recording."""

    def __init__(self, decoders: list[Opened]) -> None:
        first = decoders[0]
        alike = [one for one in decoders if (one.rate, one.channels) == (first.rate, first.channels)]
        self._decoders = alike
        self._ends = np.cumsum([one.frames for one in alike])
        self.name, self.format = first.name, first.format
        self.rate, self.channels = first.rate, first.channels
        self.frames = int(self._ends[-1])
        self.exact = all(one.exact for one in alike)
        self.notes = list(dict.fromkeys(note for one in alike for note in one.notes))
        unread_s = sum(one.frames / one.rate for one in decoders if one not in alike)
        self.notes.append(f"{len(alike)} files appended to one another were read as one.")
        if unread_s:
            self.notes.append(f"{unread_s:.2f} s behind them, of another rate or channels, were not read.")
        self._position = 0

    def seek(self, frame: int) -> None:
        """Make `frame` the next one to be read."""
        self._position = frame
        part = self._part()
        if part < len(self._decoders):
            self._decoders[part].seek(frame - int(self._ends[part]) + self._decoders[part].frames)
        for later in self._decoders[part + 1 :]:
            later.seek(0)

    def read(self, frames: int) -> np.ndarray:
        """Return up to `frames` frames as float32 (S,) or (S, C); none at the end."""
        part = self._part()
        samples = self._decoders[min(part, len(self._decoders) - 1)].read(frames)
        if not len(samples) and part < len(self._decoders):  # less than it promised
            self._position = int(self._ends[part])
            return self.read(frames)
        self._position += len(samples)
        return samples

    def _part(self) -> int:
        return int(self._ends.searchsorted(self._position, side="right"))


class _OneChannel:
    """One channel of an opened source."""

    channels = 1

    def __init__(self, opened: Opened, index: int | str | None) -> None:
        if not (isinstance(index, int) and 0 <= index < opened.channels):
            raise BadAudioInput(
                f"{opened.name}: there is no channel {index!r}. It has {opened.channels}, counted from 0."
            )
        self._opened, self._index = opened, index
        self.name, self.rate, self.frames = opened.name, opened.rate, opened.frames
        self.format, self.exact, self.notes = opened.format, opened.exact, opened.notes

    def seek(self, frame: int) -> None:
        """Make `frame` the next one to be read."""
        self._opened.seek(frame)

    def read(self, frames: int) -> np.ndarray:
        """Return up to `frames` frames as float32 (S,)."""
        samples = self._opened.read(frames)
        return samples[:, self._index] if samples.ndim == 2 else samples


def _check_header_rate(opened: Opened) -> None:
    if not RATES[0] <= opened.rate <= RATES[1]:
        raise AudioUndecodable(
            f"{opened.name}: its header says {opened.rate} Hz; {rates()}. Convert it again."
        )
