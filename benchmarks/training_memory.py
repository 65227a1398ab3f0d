"""Peak resident memory of a training: with 1x and 10x the audio, and with a million utterances.

    python -m benchmarks.training_memory [--steps 200]

Each case trains in a process of its own, features included. The million utterances (4 s each, 1,111 h) are
files with holes: their index is real, their samples and features are zeros that take no room on the disk.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from voxid.data.features_cache import features_path
from voxid.data.pack import Packed, PackWriter
from voxid.types import SAMPLE_RATE, Utterance

SECONDS = 4
SPEAKERS = 200


def make_pack(folder: Path, utterances: int) -> None:
    """Write prepared noise."""
    rng = np.random.default_rng(0)
    with PackWriter(folder) as writer:
        for number in range(utterances):
            wave = rng.integers(-3000, 3000, SECONDS * SAMPLE_RATE).astype(np.int16)
            writer.add(Utterance(f"s{number % SPEAKERS}", f"u{number}", ""), wave)
        writer.finish(["noise"], [])


def make_pack_with_holes(folder: Path, utterances: int) -> None:
    """Write a prepared folder, its features stored already, whose large files are all holes."""
    from voxid.features import Mfcc, MfccConfig

    make_pack(folder, SPEAKERS)
    info = (folder / "prepared.json").read_text()
    (folder / "prepared.json").write_text(
        info.replace(f'"n_utterances": {SPEAKERS}', f'"n_utterances": {utterances}')
    )
    samples = SECONDS * SAMPLE_RATE
    np.save(folder / "offsets.npy", np.arange(utterances + 1, dtype=np.int64) * samples)
    np.save(folder / "speakers.npy", (np.arange(utterances) % SPEAKERS).astype(np.int32))
    with (folder / "audio.i16").open("wb") as file:
        file.truncate(utterances * samples * 2)
    mfcc = Mfcc(MfccConfig())
    with features_path(Packed.open(folder), mfcc).open("wb") as file:
        file.truncate(utterances * mfcc.frames(samples) * mfcc.dim * 4)


def train_and_print_peak(pack: str, out: str, steps: int) -> None:
    from voxid.training import load_recipe, train

    train(load_recipe("bilstm-clean100", [f"training.steps={steps}"]), pack, out, device="cpu")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB; bytes on macOS
    print(peak / (2**20 if sys.platform == "darwin" else 2**10))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--one", nargs=2, metavar=("PACK", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        train_and_print_peak(*arguments.one, arguments.steps)
        return 0
    cases = {
        "1x audio": (450, make_pack),
        "10x audio": (4_500, make_pack),
        "a million utterances": (1_000_000, make_pack_with_holes),
    }
    peaks = {}
    print("| training on | utterances | hours | peak resident memory |\n|---|---|---|---|")
    for name, (utterances, make) in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "pack", utterances)
            one = ["--one", f"{folder}/pack", f"{folder}/run", "--steps", str(arguments.steps)]
            command = [sys.executable, "-m", "benchmarks.training_memory", *one]
            peaks[name] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        hours = utterances * SECONDS / 3600
        print(f"| {name} | {utterances:,} | {hours:,.1f} | {peaks[name]:.0f} MiB |", flush=True)
    return peaks["10x audio"] > 1.1 * peaks["1x audio"]


if __name__ == "__main__":
    sys.exit(main())
