"""After the training: centre the embeddings, and whiten what differs between recordings of one speaker.

Within-class covariance normalisation (Hatch, Kajarekar and Stolcke, Interspeech 2006): directions in which
one speaker's recordings differ much count less in the cosine. It is an affine map, and goes into the
encoder's last layer, so that using the model costs and knows nothing of it.

Shapes: N recordings, M of one corpus, S speakers, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field

from voxid.config import Config
from voxid.data.pack import Packed
from voxid.data.samplers import corpora_of
from voxid.embed import Embedder
from voxid.embed.torch import TorchNetwork
from voxid.errors import BadRecipe, NotEnoughSpeakers
from voxid.model.network import Model
from voxid.scoring.two_covariance import Moments
from voxid.types import SAMPLE_RATE


class WhiteningConfig(Config):
    """What the centre and the covariance are computed from: a recipe's [whitening]."""

    strength: float = Field(0.5, ge=0, lt=1)  # 0: centred only; towards 1: the covariance as it was measured
    min_seconds: float = Field(2.0, gt=0)  # recordings of training speakers that are long enough to count
    recordings: int = Field(20_000, ge=2)  # at most, evenly spaced over the corpora


@dataclass(frozen=True)
class Whitening:
    """An embedding x becomes (x - center_D) @ project_DD."""

    center_D: np.ndarray
    project_DD: np.ndarray


def usable(packed: Packed, config: WhiteningConfig) -> np.ndarray:
    """Return the numbers of the recordings (N,): long enough, and of speakers with two or more of them.

    Raise NotEnoughSpeakers when there are fewer than two such speakers.
    """
    numbers = np.flatnonzero(packed.lengths_N >= config.min_seconds * SAMPLE_RATE)
    counts = np.bincount(packed.speakers_N[numbers], minlength=len(packed.speaker_names))
    numbers = numbers[counts[packed.speakers_N[numbers]] >= 2]
    speakers = int((counts >= 2).sum())
    if speakers < 2:
        raise NotEnoughSpeakers(
            f"[whitening] needs two speakers with two recordings of {config.min_seconds:g} s or more each, "
            f"got {speakers}. Lower whitening.min_seconds, or take the table out of the recipe."
        )
    if len(numbers) <= config.recordings:
        return numbers
    return numbers[np.linspace(0, len(numbers) - 1, config.recordings).round().astype(np.int64)]


def fit(emb_ND: np.ndarray, speakers_N: np.ndarray, corpora_N: np.ndarray, strength: float) -> Whitening:
    """Return the whitening of embeddings: every corpus counts alike, and in the centre every speaker does.

    The covariance is (1 - strength) its mean variance times the unit matrix, plus strength itself (shrinkage
    as Ledoit and Wolf have it, 2004, by a fixed amount): a direction nobody varied in is not blown up.

    >>> emb_ND = np.array([[3.0, 1.0], [-3.0, 1.0], [3.0, -1.0], [-3.0, -1.0]])
    >>> made = fit(emb_ND, np.array([0, 0, 1, 1]), np.zeros(4, int), strength=0.5)
    >>> made.center_D.tolist(), np.round(np.diag(made.project_DD) ** -2.0, 2).tolist()
    ([0.0, 0.0], [13.5, 4.5])
    """
    centers, covariances = [], []
    for corpus in np.unique(corpora_N):
        mine = corpora_N == corpus
        _, number_M = np.unique(speakers_N[mine], return_inverse=True)
        moments = Moments.of(emb_ND[mine].astype(np.float64), number_M)
        centers.append(moments.mean_SD.mean(axis=0))
        if moments.freedom:
            covariances.append(moments.scatter_DD / moments.freedom)
    within_DD = np.mean(covariances, axis=0)
    flat_DD = np.eye(len(within_DD)) * np.trace(within_DD) / len(within_DD)
    shrunk_DD = (1 - strength) * flat_DD + strength * within_DD
    return Whitening(np.mean(centers, axis=0), np.linalg.cholesky(np.linalg.inv(shrunk_DD)))


def check_whitening(model: Model, packed: Packed, config: WhiteningConfig) -> np.ndarray:
    """Return what `usable` does, or raise BadRecipe or NotEnoughSpeakers: before the training, not after."""
    if not hasattr(model.encoder, "head"):
        raise BadRecipe(
            "[whitening] goes into the last linear layer, and the encoder "
            f"{model.tables['encoder']['name']!r} ends without one. "
            "Take the table out, or take a convolutional encoder."
        )
    return usable(packed, config)


@torch.no_grad()
def whiten(model: Model, packed: Packed, config: WhiteningConfig, device: str = "cpu") -> int:
    """Whiten the embeddings of `model` in place, on the speech it was trained on; return how many were used.

    Raise BadRecipe or NotEnoughSpeakers as `check_whitening` does.
    """
    numbers = check_whitening(model, packed, config)
    runtime = Embedder(TorchNetwork(model, device))
    emb_ND = runtime.embed_many((packed.wave(n), SAMPLE_RATE) for n in numbers)
    speakers_N = packed.speakers_N[numbers]
    _, corpora_N = corpora_of(packed.speaker_names, packed.speakers_N)
    made = fit(emb_ND, speakers_N, corpora_N[numbers], config.strength)
    # The mean length of an embedding stays what it was.
    before = np.linalg.norm(emb_ND, axis=1).mean()
    after = np.linalg.norm((emb_ND - made.center_D) @ made.project_DD, axis=1).mean()
    model.encoder.head.affine(  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
        torch.from_numpy(made.center_D), torch.from_numpy(made.project_DD * (before / after))
    )
    model.metadata["whitening"] = {**config.model_dump(mode="json"), "used": len(numbers)}
    return len(numbers)
