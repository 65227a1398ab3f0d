"""Samples in memory as a source of frames: arrays, torch tensors, and pyannote's {"waveform", "sample_rate"}.

Arrays have channels last, (S, C), as soundfile and scipy give them; tensors and pyannote's dictionary have
channels first, (C, S), as torchaudio gives them.
"""

# S samples, C channels

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from voxid.errors import BadAudioInput
from voxid.types import SAMPLE_RATE

# Hz; a header that says anything else is broken, and upsampling 1 Hz would fill the memory.
RATES = (1_000, 768_000)
MAX_CHANNELS = 32  # more columns than this are samples in the wrong order, not channels


class TensorLike(Protocol):
    """A torch tensor, told by its class; voxid imports no torch for it."""

    def detach(self) -> Any:
        """Return the tensor without its gradient."""
        ...


def is_tensor(value: Any) -> bool:
    """Return whether `value` is a torch tensor; where torch was not imported, nothing is one."""
    return isinstance(value, getattr(sys.modules.get("torch"), "Tensor", ()))


def is_waveform(value: Any) -> bool:
    """Return whether `value` is a dictionary such as pyannote's.

    >>> is_waveform({"waveform": np.zeros((1, 9)), "sample_rate": 16_000}), is_waveform({"a": "a.wav"})
    (True, False)
    """
    return isinstance(value, Mapping) and "waveform" in value


class ArraySource:
    """Frames of samples in memory: floats as they are, integers scaled by the full range of their type.

    `source` is (samples, rate), a dictionary {"waveform", "sample_rate"}, or a tensor (S,) or (1, S), which
    is taken as 16 kHz, with a note that says so.
    """

    format = "array"
    exact = True

    def __init__(self, source: Any) -> None:
        self.name = name_of_samples(source)
        self.notes: list[str] = []
        if is_waveform(source):
            samples, rate = _of_dictionary(source)
        elif is_tensor(source):
            samples, rate = _alone(source), SAMPLE_RATE
            self.notes.append(
                f"a tensor without a rate was taken as {SAMPLE_RATE:,} Hz; give (tensor, rate) to say it."
            )
        elif len(source) != 2:
            raise BadAudioInput(f"a tuple must be (samples, rate), got {len(source)} values.")
        else:
            samples, rate = source
            _check_order(samples, rate)
            if is_tensor(samples):
                samples = _channels_last(samples)
        self._samples = _checked_samples(samples)
        self.rate = _checked_rate(rate)
        self.frames = len(self._samples)
        self.channels = self._samples.shape[1] if self._samples.ndim == 2 else 1
        self._position = 0

    def seek(self, frame: int) -> None:
        """Make `frame` the next one to be read."""
        self._position = frame

    def read(self, frames: int) -> np.ndarray:
        """Return up to `frames` frames as float32 (S,) or (S, C)."""
        piece = self._samples[self._position : self._position + frames]
        self._position += len(piece)
        if piece.dtype.kind == "f":
            with np.errstate(over="ignore"):  # becomes infinity, which is refused by name
                return piece.astype(np.float32)
        full = float(1 << (8 * piece.dtype.itemsize - 1))
        middle = full if piece.dtype.kind == "u" else 0.0
        return ((piece - middle) / full).astype(np.float32)


def name_of_samples(source: Any) -> str:
    """Return what messages call samples in memory: what they are, and their shape."""
    samples = source
    if is_waveform(source):
        samples = source["waveform"]
    elif isinstance(source, tuple):
        samples = source[0] if source else ()
    try:
        return f"{'tensor' if is_tensor(samples) else 'array'} {tuple(np.shape(samples))}"
    except ValueError:  # lists of different length
        return "array"


def _of_dictionary(source: Mapping[str, Any]) -> tuple[np.ndarray, Any]:
    """Return samples and rate of {"waveform", "sample_rate"}; more keys, such as "uri", are allowed."""
    if "sample_rate" not in source:
        raise BadAudioInput(
            f"a waveform needs its rate, got the keys {', '.join(map(repr, source))}. "
            'Give {"waveform": samples, "sample_rate": 16000}.'
        )
    return _channels_last(source["waveform"]), source["sample_rate"]


def _alone(tensor: Any) -> np.ndarray:
    """Return the samples of a tensor that came without a rate: it holds one channel of one recording."""
    if tensor.ndim == 1 or (tensor.ndim == 2 and len(tensor) == 1):
        return _channels_last(tensor)
    raise BadAudioInput(
        f"a tensor is one recording, (S,) or (1, S), got shape {tuple(tensor.shape)}. For several recordings "
        "give a list of tensors to embed_many; for several channels give (tensor, rate)."
    )


def _channels_last(samples: Any) -> np.ndarray:
    """Return samples (S,) or (C, S), an array or a tensor of any device and gradient, as (S,) or (S, C)."""
    if is_tensor(samples):
        samples = samples.detach().cpu()
        samples = (samples.float() if samples.is_floating_point() else samples).numpy()
    array = np.asarray(samples)
    if array.ndim == 2 and len(array) > MAX_CHANNELS:
        raise BadAudioInput(
            f"tensors and waveforms are (S,) or (C, S), channels first, with up to {MAX_CHANNELS} channels; "
            f"got shape {array.shape}. Where samples come first, give its transpose, .T."
        )
    if array.ndim != 2:
        return array
    return array[0] if len(array) == 1 else array.T


def _check_order(samples: Any, rate: Any) -> None:
    """Raise BadAudioInput for (rate, samples), and for two recordings."""
    if isinstance(samples, int | float | np.number) and isinstance(rate, np.ndarray | list | tuple):
        raise BadAudioInput(
            "the rate came first. Give (samples, rate): scipy.io.wavfile.read has them the other way round."
        )
    if isinstance(samples, str | bytes | os.PathLike):
        raise BadAudioInput(
            f"a tuple is one recording, (samples, rate), got ({type(samples).__name__}, "
            f"{type(rate).__name__}). Give one path; where several recordings are taken, a list."
        )


def _checked_samples(samples: Any) -> np.ndarray:
    try:
        array = np.asarray(samples)
    except ValueError as error:  # lists of different length
        raise BadAudioInput(f"samples must be (S,) or (S, C): {error}") from None
    if array.dtype.kind not in "fiu" or array.dtype in (np.int64, np.uint64):
        raise BadAudioInput(
            f"samples of type {array.dtype} have no known full scale. Give floats in -1..1, or int16 "
            "(samples.astype(np.int16) where 64-bit numbers hold 16-bit audio)."
        )
    if array.ndim not in (1, 2):
        raise BadAudioInput(f"samples must be (S,) or (S, C), got shape {array.shape}.")
    if array.ndim == 2 and not 1 <= array.shape[1] <= MAX_CHANNELS:
        raise BadAudioInput(
            f"samples must be (S, C) with 1 to {MAX_CHANNELS} channels, got shape {array.shape}. "
            "Where channels come first, give samples.T."
        )
    return array


def _checked_rate(rate: Any) -> int:
    if getattr(rate, "ndim", None) == 0:  # a tensor or an array of one number
        rate = rate.item()
    whole = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    if not whole or not math.isfinite(rate) or rate != int(rate) or not RATES[0] <= rate <= RATES[1]:
        raise BadAudioInput(f"the rate must be a whole number of Hz, {rates()}; got {rate!r}.")
    return int(rate)


def rates() -> str:
    """Return the rates that are read, in words."""
    return f"{RATES[0]:,} to {RATES[1]:,} Hz are read"
