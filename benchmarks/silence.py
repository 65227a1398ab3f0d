"""Whether silence speaks: strangers accepted and people refused, with silence in recordings and without.

    python -m benchmarks.silence MODEL... --data PREPARED-OR-CORPORA... [--utterances 200]

Trials are all pairs, inside a corpus, of recordings of 2 s or more. The threshold is the cosine of the equal
error rate without any fault, and stays there. Then every recording gets the same fault: strangers accepted.
And one recording of each pair gets it: people refused. A model that does not hear silence has the rates of
the first line in every line.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks._measuring import markdown
from voxid.data.pack import Packed
from voxid.data.prepare import ensure_prepared
from voxid.data.samplers import corpora_of
from voxid.embed import load
from voxid.metrics import eer
from voxid.types import SAMPLE_RATE

LSB = 1 / 32768
SECOND = np.zeros(SAMPLE_RATE, np.float32)
TONE = np.sin(2 * np.pi * 1000 / SAMPLE_RATE * np.arange(SAMPLE_RATE)).astype(np.float32)
DITHER = (np.random.default_rng(0).integers(-1, 2, SAMPLE_RATE) * LSB).astype(np.float32)


def _rms(wave_S: np.ndarray) -> np.float32:
    return np.sqrt(np.square(wave_S).mean())


def _gated(wave_S: np.ndarray) -> np.ndarray:
    """Return speech of which a noise gate left what is less than 30 dB softer than the whole."""
    block_KS = wave_S[: len(wave_S) // 160 * 160].reshape(-1, 160).copy()
    power_K = np.square(block_KS).mean(axis=1)
    block_KS[power_K < 1e-3 * power_K.mean()] = 0
    return np.concatenate([block_KS.reshape(-1), SECOND])


FAULTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda wave_S: wave_S,
    "1 s of zeros at both ends": lambda wave_S: np.concatenate([SECOND, wave_S, SECOND]),
    "dither at both ends": lambda wave_S: np.concatenate([DITHER, wave_S, DITHER]),
    "the idle code of A-law": lambda wave_S: np.concatenate([SECOND + 8 * LSB, wave_S, SECOND + 8 * LSB]),
    "a gate": _gated,
    "DC": lambda wave_S: np.concatenate([SECOND, wave_S, SECOND]) + np.float32(0.03),
    "a beep, 30 dB softer": lambda wave_S: np.concatenate([wave_S, 0.045 * _rms(wave_S) * TONE]),
    "a beep as loud": lambda wave_S: np.concatenate([wave_S, 1.4 * _rms(wave_S) * TONE]),
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="+")
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--utterances", type=int, default=200)
    args = parser.parse_args()
    packed = Packed.open(ensure_prepared(args.data))
    long_enough = np.flatnonzero(packed.lengths_N >= 2 * SAMPLE_RATE)
    mine = np.random.default_rng(0).permutation(long_enough)[: args.utterances]
    left, right = np.triu_indices(len(mine), 1)
    corpus_N = corpora_of(packed.speaker_names, packed.speakers_N)[1][mine]
    inside = corpus_N[left] == corpus_N[right]
    left, right = left[inside], right[inside]
    same_K = packed.speakers_N[mine][left] == packed.speakers_N[mine][right]
    rows = []
    for model in args.models:
        runtime = load(model)
        emb_of: dict[str, np.ndarray] = {}
        for name, fault in FAULTS.items():
            waves = [(fault(packed.wave(i).astype(np.float32) / 32768), SAMPLE_RATE) for i in mine]
            emb_ND = runtime.embed_many(waves)
            emb_of[name] = emb_ND / np.linalg.norm(emb_ND, axis=1, keepdims=True)
        plain_ND = emb_of["none"]
        score_K = (plain_ND[left] * plain_ND[right]).sum(axis=1)
        threshold = eer(score_K, same_K).threshold
        for name, emb_ND in emb_of.items():
            both_K = (emb_ND[left] * emb_ND[right]).sum(axis=1)
            one_K = (plain_ND[left] * emb_ND[right]).sum(axis=1)
            accepted = (both_K[~same_K] >= threshold).mean()
            refused = (one_K[same_K] < threshold).mean()
            own = (plain_ND * emb_ND).sum(axis=1)
            cells = [
                f"{100 * accepted:.1f} %",
                f"{100 * refused:.1f} %",
                f"{own.mean():.3f}",
                f"{own.min():.3f}",
            ]
            rows.append([Path(model).name, name, *cells])
    head = ["model", "fault", "strangers accepted", "people refused", "cosine with itself, mean", "least"]
    print(markdown(head, rows))


if __name__ == "__main__":
    main()
