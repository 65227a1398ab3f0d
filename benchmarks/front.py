"""The front door: noise called speech, share of speech kept, and speed beside the energy detector.

    python -m benchmarks.front [--data FOLDER]

FOLDER holds `noise`, and corpora to take speech from; without one only the speed is measured.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from time import perf_counter

import numpy as np

from voxid import audio
from voxid.audio.silero import SileroMeter
from voxid.corpora.synthetic import speak, voice
from voxid.errors import MissingExtra
from voxid.types import SAMPLE_RATE

CORPORA = {
    "LibriSpeech/train-clean-100-mini": (".flac", 12),
    "speechocean762/train": (".ogg", 20),
    "speech-commands": (".ogg", 25),
    "arabic-speech-commands": (".ogg", 20),
}  # suffix, and which share of the files: every so many


def silero_seconds(wave_S: np.ndarray) -> str:
    try:
        meter = SileroMeter()
    except MissingExtra:
        return "-"
    meter.add(wave_S)
    return f"{meter.mask().sum() / 100:.1f}"


def noises(folder: Path) -> None:
    for path in sorted(folder.rglob("*.ogg")):
        wave_S = audio.load(path)
        gated = audio.inspect((wave_S, SAMPLE_RATE)).net_speech_s
        print(
            f"| {path.stem} | {wave_S.size / SAMPLE_RATE:.0f} | {audio.speech_seconds(wave_S):.1f} "
            f"| {gated:.1f} | {silero_seconds(wave_S)} |",
            flush=True,
        )


def with_noise(wave_S: np.ndarray, noise_S: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    start = int(rng.integers(0, noise_S.size - wave_S.size + 1))
    piece_S = noise_S[start : start + wave_S.size]
    gain = np.sqrt(np.mean(wave_S**2) / max(float(np.mean(piece_S**2)), 1e-12) / 10)  # 10 dB
    return (wave_S + gain * piece_S).astype(np.float32)


def speech(data: Path) -> None:
    rng = np.random.default_rng(0)
    noise_S = audio.load(data / "noise" / "ambient" / "rain.ogg")
    for corpus, (suffix, every) in CORPORA.items():
        waves = [audio.load(path) for path in sorted((data / corpus).rglob(f"*{suffix}"))[::every]]
        shares = []
        for these in (waves, [with_noise(wave_S, noise_S, rng) for wave_S in waves]):
            kept = sum(audio.inspect((wave_S, SAMPLE_RATE)).net_speech_s for wave_S in these)
            shares.append(kept / sum(audio.speech_seconds(wave_S) for wave_S in these))
        print(f"| {corpus} | {shares[0]:.1%} | {shares[1]:.1%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("VOXID_DATA"))
    arguments = parser.parse_args()
    wave_S = speak(voice(0), 60.0, np.random.default_rng(0))
    begin = perf_counter()
    audio.speech_seconds(wave_S)
    middle = perf_counter()
    audio.inspect((wave_S, SAMPLE_RATE))
    end = perf_counter()
    print(
        f"inspect: {60 / (end - middle):,.0f} x real time, "
        f"{(end - middle) / (middle - begin):.0f} x the time of the energy detector"
    )
    if arguments.data is not None:
        noises(Path(arguments.data) / "noise")
        speech(Path(arguments.data))


if __name__ == "__main__":
    main()
