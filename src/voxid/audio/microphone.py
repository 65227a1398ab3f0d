"""Listen until enough was said: blocks of samples in, one recording out.

`microphone` needs the extra `mic` (`pip install 'voxid[mic]'`) and a sound card; `listen` takes any blocks.

# S samples
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Generator, Iterable
from importlib import import_module
from typing import Any

import numpy as np

from voxid.audio.checks import SILENCE_PEAK
from voxid.audio.front import Inspected, inspect
from voxid.errors import AudioError, AudioSilent, BadConfig, MissingExtra
from voxid.types import SAMPLE_RATE

BLOCK_S = 0.25
LOOK_S = 1.0  # how often what was recorded is measured again


def listen(
    blocks: Iterable[np.ndarray],
    *,
    wanted_s: float,
    most_s: float = 120.0,
    vad: str = "energy",
    progress: Callable[[float, float], None] = lambda had_s, total_s: None,
) -> Inspected:
    """Return what was recorded, once it holds `wanted_s` seconds of net speech, or `most_s` seconds are over.

    `blocks` are samples (S,), mono at 16 kHz. `progress(net speech, all)` in seconds is called every second
    or so. Speech measured so far may fall: a later, louder voice raises the threshold. Raise AudioSilent when
    nothing but silence came, or nothing at all; TooLittleSpeech is the caller's (`require_speech`).
    """
    if not 0 < wanted_s <= most_s:
        raise BadConfig(f"wanted speech is more than 0 and at most {most_s:g} seconds; got {wanted_s:g}.")
    heard: list[np.ndarray] = []
    total = looked = 0
    found: Inspected | None = None
    for wave_S in blocks:
        heard.append(np.asarray(wave_S, np.float32).reshape(-1))
        total += heard[-1].size
        if total - looked < max(LOOK_S * SAMPLE_RATE, total // 20) and total < most_s * SAMPLE_RATE:
            continue
        looked = total
        found = _look(heard, vad)
        progress(found.net_speech_s if found else 0.0, total / SAMPLE_RATE)
        if (found and found.net_speech_s >= wanted_s) or total >= most_s * SAMPLE_RATE:
            break
    if looked < total:
        found = _look(heard, vad)
        progress(found.net_speech_s if found else 0.0, total / SAMPLE_RATE)
    if found is None:
        raise AudioSilent(
            f"the microphone gave {total / SAMPLE_RATE:.1f} s of silence (below "
            f"{20 * np.log10(SILENCE_PEAK):.0f} dB of full scale). Is it muted? Another one is "
            "chosen by --microphone."
        )
    return found


def _look(heard: list[np.ndarray], vad: str) -> Inspected | None:
    """Return what was recorded so far, or None while it is silence."""
    try:
        return inspect((np.concatenate(heard), SAMPLE_RATE), vad=vad, keep_s=float("inf"))
    except AudioError as error:
        if error.reason in ("silent", "too_short"):
            return None
        raise


def microphone(device: str | int | None = None) -> Generator[np.ndarray]:
    """Yield blocks of samples (S,) float32 at 16 kHz from a microphone, until the iterator is closed.

    `device` is a number or a part of a name as `python -m sounddevice` lists them. Raise MissingExtra without
    the library, AudioError without such a device.
    """
    sound = _library()
    arrived: queue.Queue[np.ndarray] = queue.Queue()

    def take(samples: np.ndarray, frames: int, time: Any, status: Any) -> None:
        arrived.put(samples[:, 0].copy())

    try:
        stream = sound.InputStream(
            samplerate=SAMPLE_RATE,
            channels=1,
            dtype="float32",
            blocksize=round(BLOCK_S * SAMPLE_RATE),
            device=device,
            callback=take,
        )
        stream.start()
    except (sound.PortAudioError, ValueError) as error:
        raise AudioError(
            f"no microphone can be opened{'' if device is None else f' as {device!r}'} ({error}). "
            "Connect one, or list them: python -m sounddevice; or give a recording: --from FILE."
        ) from error
    try:
        while True:
            try:
                yield arrived.get(timeout=10)
            except queue.Empty:
                raise AudioError(
                    "the microphone gave nothing for 10 s. Was it unplugged? Connect it, and listen again."
                ) from None
    finally:
        stream.stop()
        stream.close()


def _library() -> Any:
    """Return sounddevice; raise MissingExtra when it, or the library it stands on, is missing."""
    try:
        return import_module("sounddevice")
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "listening needs sounddevice, which is not installed. Run: pip install 'voxid[mic]', or give a "
            "recording: --from FILE."
        ) from error
    except OSError as error:  # the Python package is there, PortAudio is not
        raise MissingExtra(
            f"listening needs the PortAudio library ({error}). Install it, on Debian and Ubuntu: "
            "apt install libportaudio2; or give a recording: --from FILE."
        ) from error
