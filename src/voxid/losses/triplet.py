"""Triplet loss on cosine similarity: the original's loss.

Shapes: B batch, D embedding.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.config import Config
from voxid.errors import TrainingError


class TripletConfig(Config):
    """The options of `TripletLoss`; the defaults are the original's."""

    margin: float = Field(0.1, ge=0)
    eps: float = Field(1e-6, gt=0)  # shorter embeddings count as this long in the cosine


class TripletLoss(nn.Module):
    """The mean of max(0, cos(anchor, negative) - cos(anchor, positive) + margin).

    Rows come in threes: anchor, positive, negative, anchor, positive, negative, ... The anchor and the
    positive are of one speaker, the negative of another (cosine variant of Schroff et al. 2015, "FaceNet").
    `.active` is the share of triplets that violate the margin.

    >>> loss = TripletLoss(TripletConfig(margin=0.1), embedding_dim=2, n_speakers=2)
    >>> emb_BD = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> loss(emb_BD, torch.tensor([0, 0, 1])).item()
    0.0
    """

    Config = TripletConfig
    needs = "triplets"

    def __init__(self, config: TripletConfig, embedding_dim: int, n_speakers: int) -> None:
        super().__init__()
        self.config = config
        self.margin = config.margin
        self.active = torch.zeros(())

    def set_margin(self, value: float) -> None:
        """Use `value` as the margin from now on."""
        self.margin = value

    def forward(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Return the loss, a scalar; raise TrainingError when the rows are not triplets.

        Labels are looked at only where that is free: on the CPU. Elsewhere it would wait for the device.
        """
        _check_triplets(emb_BD, labels_B)
        anchor, positive, negative = emb_BD[0::3], emb_BD[1::3], emb_BD[2::3]
        same = F.cosine_similarity(anchor, positive, eps=self.config.eps)
        other = F.cosine_similarity(anchor, negative, eps=self.config.eps)
        gap = other - same + self.margin
        self.active = (gap.detach() > 0).float().mean()
        return gap.clamp_min(0).mean()


def _check_triplets(emb_BD: Tensor, labels_B: Tensor) -> None:
    rows = len(emb_BD)
    if rows == 0 or rows % 3 or labels_B.shape != (rows,):
        raise TrainingError(
            f"the triplet loss got {rows} embeddings and labels of shape {tuple(labels_B.shape)}. It takes "
            "a multiple of three rows (anchor, positive, negative, ...) and one label a row."
        )
    if labels_B.device.type == "cpu":
        anchor, positive, negative = labels_B[0::3], labels_B[1::3], labels_B[2::3]
        if bool((anchor != positive).any()) or bool((anchor == negative).any()):
            raise TrainingError(
                f"the triplet loss got labels {labels_B[:6].tolist()}..., which are not triplets. The first "
                "two of three rows are of one speaker, the third is of another: use a triplet sampler."
            )
