"""Generalised end-to-end loss: every row against every speaker's centroid.

Shapes: B batch, D embedding, P speakers of the batch.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from voxid.config import Config
from voxid.losses.base import ScaledPairLoss, sums_of_speakers


class Ge2eConfig(Config):
    """The options of `Ge2eLoss`; the defaults are the paper's."""

    kind: Literal["softmax", "contrast"] = "softmax"
    scale: float = Field(10.0, gt=0)  # w and b of w * cos + b at the start; both are learned
    offset: float = -5.0


class Ge2eLoss(ScaledPairLoss):
    """Wan et al. 2018, "Generalized end-to-end loss for speaker verification".

    Similarities are w * cos + b of a row and the centroid of each speaker of the batch; the centroid of its
    own speaker leaves the row out. "softmax": cross entropy over the speakers. "contrast": 1 -
    sigmoid(similarity to its own) + the largest sigmoid(similarity to another). The mean over rows whose
    speaker has another row in the batch. (The paper sums; a mean does not change with the batch.) `.active`
    is the share of these rows that are nearer to another speaker's centroid than to their own.

    >>> loss = Ge2eLoss(Ge2eConfig(kind="contrast", scale=1.0, offset=0.0), embedding_dim=2, n_speakers=2)
    >>> emb_BD = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> loss(emb_BD, torch.tensor([0, 0, 1])).item()  # 1 - sigmoid(1) + sigmoid(0)
    0.768...
    """

    Config = Ge2eConfig
    name = "ge2e"
    config: Ge2eConfig

    def _loss(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        cos_BP, place_B, paired_B = _cosines(emb_BD, labels_B)
        total = paired_B.sum()
        self.active = ((cos_BP.detach().argmax(dim=1) != place_B) & paired_B).sum() / total
        similar_BP = self.similar(cos_BP)
        cost = _contrast if self.config.kind == "contrast" else _softmax
        return torch.where(paired_B, cost(similar_BP, place_B), 0).sum() / total


def _cosines(emb_BD: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (cos_BP, place_B, paired_B): cosines to centroids, the own one without the row; who has one."""
    unit_BD = F.normalize(emb_BD)
    sum_PD, count_P, place_B = sums_of_speakers(unit_BD, labels_B)
    cos_BP = unit_BD @ F.normalize(sum_PD).T
    others_BD = sum_PD[place_B] - unit_BD  # direction is all that counts: no division by count - 1
    own_B1 = (unit_BD * F.normalize(others_BD)).sum(dim=1, keepdim=True)
    return cos_BP.scatter(1, place_B[:, None], own_B1), place_B, count_P[place_B] > 1


def _softmax(similar_BP: Tensor, place_B: Tensor) -> Tensor:
    return F.cross_entropy(similar_BP, place_B, reduction="none")


def _contrast(similar_BP: Tensor, place_B: Tensor) -> Tensor:
    own_B = similar_BP.gather(1, place_B[:, None])[:, 0].sigmoid()
    rival_B = similar_BP.scatter(1, place_B[:, None], -torch.inf).amax(dim=1).sigmoid()
    return 1 - own_B + rival_B
