"""The front door: noise called speech, share of speech kept, and speed beside the energy detector.

    python -m benchmarks.front [--data FOLDER]

FOLDER holds `noise`, and corpora to take speech from; without one only the speed is measured: seconds of
the processor, not of the clock, so that whatever else runs does not count.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np

from voxid import audio
from voxid.audio.silero import SileroMeter
from voxid.audio.voicing import VoicingMeter
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
    print("| recording | s | energy alone | with the gate | silero |")
    for path in sorted(folder.rglob("*.ogg")):
        wave_S = audio.load(path)
        gated = audio.inspect((wave_S, SAMPLE_RATE)).net_speech_s
        print(
            f"| {path.stem} | {wave_S.size / SAMPLE_RATE:.0f} | {audio.energy_mask(wave_S).sum() / 100:.1f} "
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
    print("| corpus | recordings | kept of what the energy detector finds | with rain at 10 dB |")
    for corpus, (suffix, every) in CORPORA.items():
        waves = [audio.load(path) for path in sorted((data / corpus).rglob(f"*{suffix}"))[::every]]
        shares = []
        for these in (waves, [with_noise(wave_S, noise_S, rng) for wave_S in waves]):
            kept = sum(audio.inspect((wave_S, SAMPLE_RATE)).net_speech_s for wave_S in these)
            shares.append(kept / sum(audio.energy_mask(wave_S).sum() / 100 for wave_S in these))
        print(f"| {corpus} | {len(waves)} | {shares[0]:.1%} | {shares[1]:.1%} |", flush=True)


def seconds(work: Callable[[], object]) -> float:
    """Return the least processor time of five runs."""
    took = []
    for _ in range(5):
        begin = process_time()
        work()
        took.append(process_time() - begin)
    return min(took)


def speed() -> None:
    wave_S = np.tile(speak(voice(0), 20.0, np.random.default_rng(0)), 6)

    def voicing() -> None:
        meter = VoicingMeter()
        meter.add(wave_S)
        meter.voiced()

    whole = seconds(lambda: audio.inspect((wave_S, SAMPLE_RATE)))
    gate, energy = seconds(voicing), seconds(lambda: audio.energy_mask(wave_S))
    print(
        f"inspect: {120 / whole:,.0f} x real time; of that the voicing gate {gate / whole:.0%}, "
        f"the energy detector {energy / whole:.0%} (load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores)",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("VOXID_DATA"))
    arguments = parser.parse_args()
    speed()
    if arguments.data is not None:
        noises(Path(arguments.data) / "noise")
        speech(Path(arguments.data))


if __name__ == "__main__":
    main()
