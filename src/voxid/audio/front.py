"""The front door: a recording opened, checked and measured, once: samples, net speech, quality, warnings.

`inspect` walks a source once, in blocks; memory does not grow with its length, but for some bytes each
10 ms. A recording of up to `KEEP_S` seconds is kept, a longer one is read again when it is needed.

# S samples, T frames of 25 ms, one every 10 ms, R stretches of speech
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, fields, replace
from threading import Event
from time import perf_counter
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from voxid.audio.checks import Checker
from voxid.audio.meters import BandMeter, Channels, Tap
from voxid.audio.reading import blocks, read_blocks
from voxid.audio.sources import Part, Source, open_source, rereadable
from voxid.audio.speech import FRAME_S, SpeechMeter, net_seconds
from voxid.audio.voicing import edges
from voxid.errors import AudioError, BadConfig, TooLittleSpeech, did_you_mean
from voxid.types import SAMPLE_RATE

KEEP_S = 300.0  # seconds; a longer recording is not held in memory
BLOCK_S = 30.0
LEAST_SPEECH_S = 1.0  # net speech that a decision should rest on
VADS = ("energy", "silero")

CLIPPED_SHARE = 0.001  # of the samples: from here on a person hears it
QUIET_DB = -45.0  # dBFS of speech: 16 bits hold it, but the room's noise is near
NOISY_DB = 10.0  # SNR
SPEECH_SHARE = 0.2  # less speech than this is mostly silence
LONG_S = 3600.0  # one person seldom talks for an hour
LEAST_BAND_HZ = 2_000  # telephones have 3,400; of our training recordings 1 in 100 has less than this
NARROW_HZ = 16_000  # a lower rate holds less than the models were trained on
CANCELLED = 0.1  # of the power left by averaging the channels: they are in opposite phase


class Stretch(NamedTuple):
    """Where somebody talks, in seconds from the beginning.

    >>> Stretch(0.2, 1.4).end_s
    1.4
    >>> all(stretch.start_s < stretch.end_s for stretch in inspect("alice1.wav").segments)
    True
    """

    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class Inspected:
    """What `inspect` found. `audio` is what to embed; `print` shows a summary.

    `sample_rate` (Hz), `channels` and `format` are those of the source. `mask_T` says which frames of 25 ms,
    one every 10 ms, are speech. `clipped` is a share of the samples, `level_dbfs` the RMS of speech against
    full scale without rumble (below 100 Hz or so), `snr_db` an estimate; both None without speech. `band_hz`
    is where the sound ends, 3,400 Hz or so for a telephone. Where speech was not measured, `net_speech_s` is
    NaN, `mask_T` is empty and the others are None. `unlike`: two channels that hold two different sounds were
    averaged, and none was chosen. `wave_S` is mono float32 at 16 kHz, or None when the recording is longer
    than `KEEP_S`; `blocks` gives both kinds. `vad_s` says how long finding speech took, `peak` how large the
    largest sample is (1: full scale), `over` how many of the source's were over full scale, as floats may be.

    >>> found = inspect("alice1.wav")
    >>> found.total_s, found.channels, found.net_speech_s > 2
    (4.0, 1, True)
    """

    name: str
    total_s: float
    net_speech_s: float
    sample_rate: int
    channels: int
    format: str
    clipped: float
    level_dbfs: float | None
    snr_db: float | None
    band_hz: float | None
    vad: str | None
    unlike: bool = field(repr=False)
    warnings: tuple[str, ...]
    mask_T: np.ndarray = field(repr=False)
    wave_S: np.ndarray | None = field(repr=False)
    part: Part = field(repr=False)
    vad_s: float = field(default=0.0, repr=False)
    peak: float = field(default=0.0, repr=False)
    over: int = field(default=0, repr=False)

    @property
    def wave(self) -> np.ndarray | None:
        """The samples (S,) float32 at 16 kHz, or None when they are too many to be kept."""
        return self.wave_S

    @property
    def audio(self) -> Source:
        """What to hand to `embed`: the samples, or for a long recording where they are."""
        return self.part if self.wave_S is None else (self.wave_S, SAMPLE_RATE)

    @property
    def segments(self) -> tuple[Stretch, ...]:
        """Where somebody talks, in order."""
        starts_R, ends_R = edges(self.mask_T)
        return tuple(
            Stretch(round(float(a) * FRAME_S, 2), round(float(b) * FRAME_S, 2))
            for a, b in zip(starts_R, ends_R, strict=True)
        )

    def blocks(self, block_s: float = BLOCK_S) -> Iterator[np.ndarray]:
        """Yield the samples in pieces of `block_s` seconds.

        >>> [len(wave_S) for wave_S in inspect("alice1.wav").blocks(2.5)]
        [40000, 24000]
        """
        yield from blocks(self.audio, block_s=block_s)

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers and the warnings, ready for JSON.

        >>> inspect("alice1.wav").as_dict()["total_s"]
        4.0
        """
        shown = {one.name: getattr(self, one.name) for one in fields(self) if one.repr}
        return shown | {"warnings": list(self.warnings)}

    def __str__(self) -> str:
        level = "" if self.level_dbfs is None else f", {self.level_dbfs:.0f} dBFS"
        snr = "" if self.snr_db is None else f", SNR {self.snr_db:.0f} dB"
        head = f"{self.name}: {self.net_speech_s:.1f} s of speech in {self.total_s:.1f} s{level}{snr}"
        return "\n  ".join((head, *self.warnings))


def inspect(
    source: Source,
    *,
    vad: str | None = "energy",
    channel: int | Literal["mix"] | None = None,
    keep_s: float = KEEP_S,
    stop: Event | None = None,
) -> Inspected:
    """Return `source` (path, bytes, open file, (samples, rate), part), opened, checked and measured once.

    What was measured already comes back as it is.
    `vad` is what finds speech: "energy" (voxid's own) or "silero" (`pip install 'voxid[vad]'`); with None
    speech is not measured, nor its level and noise. `channel` takes one channel, counted from 0, or "mix"
    their mean; without it channels are averaged, unless they cancel: then the loudest is taken, with a
    warning. At most `keep_s` seconds are kept in memory. Raise the AudioError that fits (missing, broken,
    silent, ...), MissingExtra without silero, BadConfig for another `vad`, CancelledError once `stop` is set.

    >>> from voxid.corpora.synthetic import speak, voice
    >>> inspected = inspect((speak(voice(0), 3.0, np.random.default_rng(0)), 16_000))
    >>> inspected.total_s, inspected.net_speech_s > 1, inspected.warnings
    (3.0, True, ())
    """
    if isinstance(source, Inspected) and channel is None and vad in (None, source.vad):
        return source
    part = Part.of(source)
    if channel is not None:
        part = replace(part, channel=channel)
    part = replace(part, source=rereadable(part.source))
    walk = _Walk(part, vad, keep_s, stop)
    heard = walk.heard
    loudest = int(heard.power_C.argmax())
    cancels = part.channel is None and heard.kept < CANCELLED
    if cancels:
        part = replace(part, channel=loudest)
        walk = _Walk(part, vad, keep_s, stop)
    return walk.result(part, heard, loudest if cancels else None)


class Measured(Protocol):
    """Whose speech was measured."""

    @property
    def net_speech_s(self) -> float: ...  # noqa: D102
    @property
    def total_s(self) -> float: ...  # noqa: D102


def require_speech(found: Measured, least_s: float = LEAST_SPEECH_S, name: str = "") -> None:
    """Return nothing when there are `least_s` seconds of net speech; else raise TooLittleSpeech with both.

    >>> require_speech(inspect("alice1.wav"), 1.0)
    >>> require_speech(inspect("alice1.wav"), 60.0)
    Traceback (most recent call last):
    voxid.errors.TooLittleSpeech: alice1.wav: ... s of speech in 4.0 s of audio, and at least 60 s ...
    """
    had = found.net_speech_s
    if had >= least_s:
        return
    more = f"Record {least_s - had:.1f} s more" if had > 0 else "Check the microphone, and record again"
    raise TooLittleSpeech(
        f"{name or getattr(found, 'name', 'recording')}: {had:.1f} s of speech in {found.total_s:.1f} s of "
        f"audio, and at least {least_s:g} s are needed. {more}: talk without long pauses, close to the "
        "microphone."
    )


def speech_only(inspected: Inspected) -> np.ndarray:
    """Return the samples (S,) in which somebody talks, one stretch after the other; none when nobody does.

    A stretch ends where its last frame of 25 ms does. For a long recording take `speech_blocks`.

    >>> found = inspect("alice1.wav")
    >>> 0 < speech_only(found).size < found.total_s * 16_000
    True
    """
    pieces = list(speech_blocks(inspected))
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def speech_blocks(inspected: Inspected) -> Iterator[np.ndarray]:
    """Yield what `speech_only` returns in pieces, in constant memory.

    >>> found = inspect("alice1.wav")
    >>> sum(block.size for block in speech_blocks(found)) == speech_only(found).size
    True
    """
    hop, frame = round(FRAME_S * SAMPLE_RATE), 400
    starts_R, ends_R = edges(inspected.mask_T)
    first_R, last_R = starts_R * hop, (ends_R - 1) * hop + frame
    position = 0
    for wave_S in inspected.blocks(BLOCK_S):
        inside = slice(
            int(np.searchsorted(last_R, position, side="right")),
            int(np.searchsorted(first_R, position + wave_S.size)),
        )
        for first, last in zip(first_R[inside], last_R[inside], strict=True):
            piece_S = wave_S[max(0, first - position) : last - position]
            if piece_S.size:
                yield piece_S
        position += wave_S.size


class _Walk:
    """One pass over a source: everything that is measured."""

    def __init__(self, part: Part, vad: str | None, keep_s: float, stop: Event | None) -> None:
        self.vad = vad
        self.vad_s = 0.0  # seconds that finding speech took
        self.meter, self.checker, self.band = speech_meter(vad), Checker(), BandMeter()
        kept: list[np.ndarray] | None = []
        with open_source(part) as opened:
            tap = Tap(opened)
            for wave_S in read_blocks(tap, part.start_s, part.duration_s, BLOCK_S):
                if stop is not None and stop.is_set():
                    raise CancelledError
                self._take(wave_S, opened.name)
                if kept is not None:
                    kept.append(wave_S)
                    if self.checker.samples > keep_s * SAMPLE_RATE:
                        kept = None
        self.opened, self.heard = opened, tap.channels_heard()
        self.wave_S = np.concatenate(kept) if kept else None

    def _take(self, wave_S: np.ndarray, name: str) -> None:
        try:
            self.checker.add(wave_S)
        except AudioError as error:
            raise type(error)(f"{name}: {error}") from None
        if self.meter is not None:
            began = perf_counter()
            self.meter.add(wave_S)
            self.vad_s += perf_counter() - began
            self.band.add(wave_S)

    def result(self, part: Part, heard: Channels, took: int | None) -> Inspected:
        """Return the whole; raise an AudioError for what cannot hold a voice."""
        try:
            self.checker.finish()
        except AudioError as error:
            raise type(error)(f"{self.opened.name}: {error}") from None
        mask_T, net_s, level, snr, band = np.zeros(0, dtype=bool), math.nan, None, None, None
        if self.meter is not None:
            began = perf_counter()
            mask_T = self.meter.mask()
            self.vad_s += perf_counter() - began
            net_s = net_seconds(mask_T)
            level, snr = _levels(self.meter.power(), mask_T)
            band = self.band.edge_hz()
        mask_T.setflags(write=False)
        found = Inspected(
            name=self.opened.name,
            total_s=self.checker.samples / SAMPLE_RATE,
            net_speech_s=net_s,
            sample_rate=self.opened.rate,
            channels=len(heard.power_C),
            format=self.opened.format,
            clipped=heard.clipped,
            level_dbfs=level,
            snr_db=snr,
            band_hz=band,
            vad=self.vad,
            unlike=took is None and part.channel is None and heard.unlike,
            warnings=(),
            mask_T=mask_T,
            wave_S=self.wave_S,
            part=part,
            vad_s=self.vad_s,
            peak=self.checker.loudest,
            over=heard.over,
        )
        return replace(found, warnings=(*self.opened.notes, *_warnings(found, heard, took)))


def speech_meter(vad: str | None) -> SpeechMeter | None:
    """Return what finds speech in a recording; raise BadConfig for another `vad`, MissingExtra for silero."""
    if vad is None:
        return None
    check_vad(vad)
    if vad == "energy":
        return SpeechMeter()
    from voxid.audio.silero import SileroMeter

    return SileroMeter()


def check_vad(vad: str) -> None:
    """Raise BadConfig if no speech detector has that name."""
    if vad not in VADS:
        known = f"Known: {', '.join(VADS)}.{did_you_mean(vad, list(VADS))}"
        raise BadConfig(f"vad: no detector named {vad!r}. {known}")


def _levels(power_T: np.ndarray, mask_T: np.ndarray) -> tuple[float | None, float | None]:
    """Return (level of speech in dBFS, SNR in dB); noise lies outside speech."""
    if not mask_T.any():
        return None, None
    speech = float(power_T[mask_T].mean(dtype=float))
    quiet_T = power_T[~mask_T] if (~mask_T).sum() >= 10 else np.sort(power_T)[: max(1, power_T.size // 10)]
    heard_T = quiet_T[quiet_T > 1e-12]  # digital silence is padding, not this room
    level = 10 * np.log10(max(speech, 1e-12))
    if heard_T.size == 0:
        return float(level), None
    noise = float(heard_T.mean(dtype=float))
    return float(level), float(10 * np.log10(max(speech - noise, 1e-12) / noise))


def _warnings(found: Inspected, heard: Channels, took: int | None) -> Iterator[str]:
    """Yield short sentences with numbers."""
    if took is not None:
        yield (
            f"the {found.channels} channels cancel each other (averaging keeps {heard.kept:.0%} of the "
            f"power); channel {took} is used. Check the wiring."
        )
    elif found.unlike:
        yield (
            f"the two channels hold different sound (correlation {heard.correlation:.2f}) and were averaged; "
            "for one side of a conversation choose channel 0 or 1 (--channel, audio.Part)."
        )
    if heard.over:
        yield (
            f"over full scale: {heard.over:,} samples go up to {heard.peak:.2f}, where 1 is full; they are "
            "taken as they are."
        )
    if found.clipped >= CLIPPED_SHARE:
        yield f"clipped: {found.clipped:.1%} of the samples are cut off; lower the input gain."
    if found.level_dbfs is not None and found.level_dbfs < QUIET_DB:
        yield f"too quiet: speech at {found.level_dbfs:.0f} dBFS; {QUIET_DB:.0f} or more is better."
    if found.snr_db is not None and found.snr_db < NOISY_DB:
        yield f"noisy: speech {found.snr_db:.0f} dB above the noise; {NOISY_DB:.0f} or more is better."
    if found.sample_rate < NARROW_HZ:
        yield (
            f"recorded at {found.sample_rate / 1000:g} kHz: accepted, but less accurate than "
            f"{NARROW_HZ / 1000:g} kHz."
        )
    if found.band_hz is not None and found.band_hz < LEAST_BAND_HZ:
        yield (
            f"muffled: nothing is heard above {found.band_hz:,.0f} Hz, less than telephones let through and "
            "than the models were trained on."
        )
    if found.net_speech_s < SPEECH_SHARE * found.total_s:
        yield f"mostly no speech: {found.net_speech_s:.1f} of {found.total_s:.1f} s."
    if found.total_s > LONG_S:
        yield f"very long: {found.total_s / 3600:.1f} h; make sure that one person alone talks."
