"""From what a user calls audio to what was heard: an embedding, seconds of speech, warnings.

# D embedding
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from voxid.audio import LEAST_SPEECH_S, Inspected, Part, Source, inspect, is_one, name_of, require_speech
from voxid.audio.speech import FRAME_S
from voxid.embed import DEFAULT_MODEL, Embedder, EmbedInfo, load
from voxid.errors import AudioError, BadAudioInput, NotCalibrated, TooLittleSpeech
from voxid.scoring import Calibration, Side
from voxid.types import SAMPLE_RATE

if TYPE_CHECKING:
    from voxid.stores import Voiceprint

LEAST_CLIP_S = 0.3  # net speech of a clip that is enrolled with others: a syllable or two
PIECE_S = 1.5  # seconds of speech in a piece of a recording: longer ones straddle short turns


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """One recording, embedded. `emb_D` float32, not normalised; seconds; `warnings` of the audio.

    `clips` is how many clips of evidence it is worth: more than 1 for a speaker's turns together.
    """

    emb_D: np.ndarray
    source: str
    total_s: float
    net_speech_s: float
    warnings: tuple[str, ...]
    pieces: Side | None = None  # of the recording, one after the other; None where they were not asked for
    clips: float = 1.0

    @property
    def side(self) -> Side:
        """The recording as one side of a trial."""
        return Side(self.emb_D[None], np.array([self.net_speech_s]), np.array([self.clips]))


def hear(
    runtime: Embedder,
    clips: Sequence[Source],
    *,
    least_s: float = LEAST_SPEECH_S,
    vad: str = "energy",
    mixed: bool = True,
    piecewise: bool = False,
) -> Iterator[Heard]:
    """Yield each clip embedded, in order; raise an AudioError, TooLittleSpeech below `least_s` seconds.

    Without `mixed`, two channels of different sound, of which nobody chose one, are an AudioError too. With
    `piecewise` the pieces of each recording that is not too long for memory are embedded as well.
    """

    def refuse(position: int, error: AudioError) -> None:
        """Raise `error`; about one of several recordings it says which, where no path does."""
        if len(clips) == 1 or isinstance(Part.of(clips[position]).source, str | os.PathLike):
            raise error
        raise type(error)(f"recording {position + 1}: {error}") from None

    if piecewise:
        heard = _with_pieces(runtime, clips, refuse, vad)
    else:
        found = runtime.embed_each(clips, refuse, vad=vad)
        heard = ((one.position, one.embedding, one.info, None) for one in found)
    for position, emb_D, info, pieces in heard:
        name = name_of(clips[position])
        try:
            require_speech(info, least_s, name)
            if info.unlike and not mixed:
                raise AudioError(
                    f"{name}: its two channels hold different sound, as the two sides of a call do, and a "
                    "voice is enrolled from one. Say which: --channel 0 or --channel 1 (audio.Part(path, "
                    "channel=0)); --channel mix enrolls their mean."
                )
        except AudioError as error:
            refuse(position, error)
        if not isinstance(Part.of(clips[position]).source, str | os.PathLike):
            name = f"recording {position + 1} ({name})"
        yield Heard(emb_D, name, info.total_s, info.net_speech_s, info.warnings, pieces)


def _with_pieces(
    runtime: Embedder, clips: Sequence[Source], refuse: Callable[[int, AudioError], None], vad: str
) -> Iterator[tuple[int, np.ndarray, Inspected | EmbedInfo, Side | None]]:
    """Yield (position, emb_D, what was found, its pieces of `PIECE_S` seconds); a long clip has no pieces."""
    for position, clip in enumerate(clips):
        try:
            found = inspect(clip, vad=vad)
        except AudioError as error:
            refuse(position, error)
            continue
        if found.wave is None:
            whole = runtime.embed_each([found], lambda _, e, at=position: refuse(at, e), vad=vad)
            yield from ((position, emb_D, info, None) for _, emb_D, info in whole)
            continue
        speech_T = np.cumsum(found.mask_T) * FRAME_S
        count = max(1, int(found.net_speech_s // PIECE_S))
        ends = np.searchsorted(speech_T, found.net_speech_s * np.arange(1, count) / count) * FRAME_S
        waves = np.split(found.wave, (ends * SAMPLE_RATE).astype(int))
        emb_ND = runtime.embed_waves([found.wave, *waves] if count > 1 else [found.wave])
        pieces = Side.of(emb_ND[1:], np.full(len(emb_ND) - 1, found.net_speech_s / count))
        yield position, emb_ND[0], found, pieces


def least_of_clip(least_s: float) -> float:
    """Return the net speech that a clip needs beside others, where all need `least_s` together."""
    return min(least_s, LEAST_CLIP_S)


def require_together(prints: Sequence[Voiceprint], least_s: float, name: str) -> None:
    """Return nothing when the clips of a person hold `least_s` seconds of speech; else TooLittleSpeech."""
    had = sum(print_.speech_s for print_ in prints)
    if had < least_s:
        raise TooLittleSpeech(
            f"{name!r}: {had:.1f} s of speech in {len(prints)} clips, and at least {least_s:g} s are needed "
            f"together. Record {least_s - had:.1f} s more."
        )


def as_clips(audio: Any) -> list[Source]:
    """Return a list of recordings from a list, or from one recording; raise BadAudioInput for none.

    >>> as_clips("a.wav"), as_clips(("a.wav", "b.wav"))
    (['a.wav'], ['a.wav', 'b.wav'])
    """
    if is_one(audio):
        return [audio]
    try:
        if isinstance(audio, Mapping):  # a list of its keys is not what was meant
            raise TypeError
        clips = list(audio)
    except TypeError:
        raise BadAudioInput(
            f"cannot read audio from a value of type {type(audio).__name__}. Give a path, the bytes of a "
            "file, an open binary file, a tuple (samples, rate), or a list of those."
        ) from None
    if not clips:
        raise BadAudioInput("no recording was given: the list is empty. Give at least one.")
    return clips


def runtime_of(model: Any, device: str = "cpu") -> tuple[Embedder, str]:
    """Return the runtime of a name, a folder or a loaded runtime, and a name to put into a command."""
    if model is None:
        model = DEFAULT_MODEL
    if isinstance(model, str | os.PathLike) or not hasattr(model, "fingerprint"):  # load says what is wrong
        return load(model, device), os.fspath(model)
    return model, str((model.model.metadata or {}).get("name") or "MODEL")


def calibration_of(runtime: Embedder, name: str) -> Calibration:
    """Return the model's calibration; raise NotCalibrated when it has none, or one of other weights."""
    calibration = runtime.model.calibration
    if calibration is None:
        raise NotCalibrated(
            f"the model {name} has no calibration, so a score of it cannot become a decision. "
            f"Run: voxid calibrate {name} --data D, with a corpus D of speakers it was not trained on."
        )
    if not calibration.fits(runtime.fingerprint):
        raise NotCalibrated(
            f"the calibration in {name} is for other weights or another way of scoring: it was fitted for "
            f"model {calibration.model[:12]}, this is {runtime.fingerprint[:12]}. "
            f"Run: voxid calibrate {name} --data D."
        )
    return calibration
