"""Do two engines give the same embeddings? Measured on speech, at several lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from voxid.corpora.synthetic import speak, voice
from voxid.embed import Embedder
from voxid.embed.decode import decode
from voxid.embed.onnx import OnnxNetwork
from voxid.errors import CorpusError, ModelError
from voxid.evaluation import EvaluationData
from voxid.types import SAMPLE_RATE

MOST_DIFFERENCE = 1e-4
# A frame on the edge between speech and pause may be one for torch and the other for onnxruntime.
MOST_WITH_PAUSES = 1e-3
SECONDS = (0.1, 0.35, 1.0, 2.05, 3.3, 5.0, 8.7, 15.0)  # what recordings are cut to
RECORDINGS = 24  # of the data, spread evenly over it


@dataclass(frozen=True)
class Agreement:
    """How far apart two engines are: the worst number of any embedding, in units of its root mean square.

    >>> Agreement(worst=1e-6, recordings=8, shortest_s=0.1, longest_s=15.0, speech="voices").recordings
    8
    """

    worst: float
    recordings: int
    shortest_s: float
    longest_s: float
    speech: str  # whose


def speech_for_checking(data: EvaluationData | None) -> tuple[list[np.ndarray], str]:
    """Return waves of several lengths, and what they are: recordings of `data`, else synthetic voices.

    Raise CorpusError when `data` holds nothing usable.
    """
    if data is None:
        rng = np.random.default_rng(0)
        return [speak(voice(n), seconds, rng) for n, seconds in enumerate(SECONDS)], "synthetic voices"
    waves = list(some_of(data, RECORDINGS))
    if not waves:
        tried = min(RECORDINGS, len(data.utterances))
        raise CorpusError(f"none of {tried} recordings of {data.name} can be used. Take another corpus.")
    longest = max(waves, key=len)
    cuts = [longest[: round(seconds * SAMPLE_RATE)] for seconds in SECONDS]
    return [*waves, *(cut for cut in cuts if decode(0, (cut, SAMPLE_RATE)).error is None)], data.name


def some_of(data: EvaluationData, most: int) -> Iterator[np.ndarray]:
    """Yield the waves of `most` recordings at most that are spread evenly over the data and can be used."""
    count = len(data.utterances)
    for number in np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int)).tolist():
        if (wave_S := decode(0, data.audio(number)).wave) is not None:
            yield wave_S


def compare(torch: Embedder, onnx: Embedder, waves: Sequence[np.ndarray], speech: str) -> Agreement:
    """Return how far the two are apart on `waves`, alone and in a batch."""
    audio = [(wave_S, SAMPLE_RATE) for wave_S in waves]
    expected_ND = torch.embed_many(audio)
    alone_ND = np.stack([onnx.embed(item) for item in audio])
    worst = max(float(relative(expected_ND, got_ND)) for got_ND in (alone_ND, onnx.embed_many(audio)))
    if isinstance(network := onnx.network, OnnxNetwork) and network.reads_pieces:
        [feat_TF] = network.features(max(waves, key=len)[None], None)
        whole_1D = network.encode(feat_TF[None], None)
        pieces_D = network.encode_in_pieces(feat_TF, max(1, len(feat_TF) // 3))
        worst = max(worst, relative(whole_1D, pieces_D[None]))
    seconds = [len(wave_S) / SAMPLE_RATE for wave_S in waves]
    return Agreement(worst, len(waves), min(seconds), max(seconds), speech)


def relative(expected_ND: np.ndarray, got_ND: np.ndarray) -> float:
    """Return the largest difference of any number, in units of the root mean square of its embedding.

    >>> relative(np.array([[1.0, -1.0]]), np.array([[1.0, -1.5]]))
    0.5
    """
    size_N1 = np.sqrt(np.mean(expected_ND.astype(np.float64) ** 2, axis=1, keepdims=True))
    return float((np.abs(got_ND - expected_ND) / size_N1).max())


def demand(agreement: Agreement, pauses: bool = False) -> None:
    """Raise ModelError when the two are too far apart; `pauses`: the model leaves pauses out."""
    most = MOST_WITH_PAUSES if pauses else MOST_DIFFERENCE
    if not agreement.worst <= most:  # NaN is a mismatch too
        raise ModelError(
            f"onnxruntime and torch differ by {agreement.worst:.1e} on {agreement.recordings} recordings of "
            f"{agreement.speech} ({agreement.shortest_s:.1f} to {agreement.longest_s:.1f} s); at most "
            f"{most:.0e} is allowed. Nothing was written. Use the model with torch, and please "
            "report it with the model's config.json."
        )
