"""Embedding real utterances: `embed_many` against one file after the other, as the original did.

    python -m benchmarks.embedding [--threads 2] [--rounds 3]

The loop reads a file with soundfile, takes librosa's MFCC, cuts windows and runs the same network on them
(shorter than a window: the full sequence). Both do all files of a corpus and take turns, so that a busy
machine slows both. `--threads` is the number of torch threads of the loop; voxid has a worker for every core,
each on one thread. Needs the real speech of VOXID_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch

from voxid import corpora
from voxid.embed import Embedder
from voxid.embed.torch import TorchNetwork
from voxid.model.network import Model
from voxid.types import SAMPLE_RATE, Utterance

CORPORA = {"LibriSpeech/test-other-mini": 100, "speechocean762/dev": 200, "speech-commands": 400}
ENCODERS = {"lstm": {"name": "lstm"}, "transformer": {"name": "transformer"}}


def one_by_one(model: Model, utterances: list[Utterance]) -> np.ndarray:
    """Return the embeddings (N, D) the plain way."""
    rows = []
    window, step = model.inference.window, model.inference.step
    with torch.no_grad():
        for utterance in utterances:
            wave_S, rate = soundfile.read(utterance.path, dtype="float32")
            assert rate == SAMPLE_RATE, "the loop does not resample; take 16 kHz data"
            feat_TF = torch.from_numpy(librosa.feature.mfcc(y=wave_S, sr=rate, n_mfcc=40).T.copy())
            starts = range(0, len(feat_TF) - window + 1, step)
            windows = [feat_TF[start : start + window] for start in starts] or [feat_TF]
            rows.append(model.encoder(torch.stack(windows)).mean(0).numpy())
    return np.stack(rows)


def find_data() -> Path:
    named = os.environ.get("VOXID_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        print("skipped: no real speech. Set VOXID_DATA, or put it in ../shared/data.")
        sys.exit(0)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data = find_data()
    print(f"x real time; librosa {librosa.__version__}, loop: {arguments.threads} torch threads; medians")
    print("| corpus | encoder | utterances | one by one | voxid | ratio |\n|---|---|---|---|---|---|")
    for corpus, most in CORPORA.items():
        utterances = sorted(corpora.scan([data / corpus]), key=lambda utterance: utterance.utterance)[:most]
        seconds = sum(soundfile.info(utterance.path).duration for utterance in utterances)
        for name, table in ENCODERS.items():
            torch.manual_seed(0)
            model = Model.build({"name": "mfcc"}, table).eval()
            runtime = Embedder(TorchNetwork(model))
            taken: dict[str, list[float]] = {"loop": [], "voxid": []}
            for _ in range(arguments.rounds):
                start = time.perf_counter()
                theirs = one_by_one(model, utterances)
                middle = time.perf_counter()
                ours = runtime.embed_many(utterances)
                taken["loop"].append(middle - start)
                taken["voxid"].append(time.perf_counter() - middle)
                np.testing.assert_allclose(ours, theirs, atol=1e-4)
            loop, voxid = (seconds / statistics.median(taken[side]) for side in ("loop", "voxid"))
            print(
                f"| {corpus} | {name} | {len(utterances)} | {loop:.0f} | {voxid:.0f} | {voxid / loop:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
