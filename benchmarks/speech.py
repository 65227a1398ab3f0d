"""The speech detector: times real time on one core, and its share of embedding the same recordings.

    python -m benchmarks.speech [--rounds 5]

Synthetic voices of 1 to 20 s as WAV files in memory. The share is of reading and embedding them by one worker
with the small default LSTM: with a larger network or compressed files it is less.
"""

from __future__ import annotations

import argparse
import io
from time import perf_counter

import numpy as np
import soundfile
import torch

from voxid.audio import speech_seconds
from voxid.corpora.synthetic import speak, voice
from voxid.embed import Embedder
from voxid.embed.torch import TorchNetwork
from voxid.model.network import Model
from voxid.types import SAMPLE_RATE

TARGET = 1000  # times real time
MOST_SHARE = 0.03  # of embedding


def in_wav(wave_S: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave_S, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, seconds, count in (("1 s words", 1.0, 120), ("3 s", 3.0, 60), ("20 s", 20.0, 10)):
        waves = [speak(voice(i), seconds, np.random.default_rng(i)) for i in range(count)]
        files = [in_wav(wave_S) for wave_S in waves]
        runtime = Embedder(TorchNetwork(Model.build({"name": "mfcc"}, {"name": "lstm"})), workers=1)
        detecting, embedding = [], []
        for _ in range(arguments.rounds):
            begin = perf_counter()
            for wave_S in waves:
                speech_seconds(wave_S)
            middle = perf_counter()
            runtime.embed_many(files)
            detecting.append(middle - begin)
            embedding.append(perf_counter() - middle)
        fast, whole = min(detecting), min(embedding)
        print(
            f"{name}: {seconds * count / fast:,.0f} x real time (target {TARGET:,}), "
            f"{100 * fast / whole:.2f} % of embedding (target < {100 * MOST_SHARE:g} %)"
        )


if __name__ == "__main__":
    main()
