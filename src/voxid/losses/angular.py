"""Angular prototypical loss: one query of each speaker against the prototypes made of the others.

Shapes: B batch, D embedding, P speakers of the batch, Q speakers with two rows or more.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from voxid.config import Config
from voxid.losses.base import ScaledPairLoss, sums_of_speakers


class AngularConfig(Config):
    """The options of `AngularLoss`; the defaults are the paper's."""

    scale: float = Field(10.0, gt=0)  # w and b of w * cos + b at the start; both are learned
    offset: float = -5.0


class AngularLoss(ScaledPairLoss):
    """Chung et al. 2020, "In defence of metric learning for speaker recognition".

    The last row of each speaker is its query, the mean of its other rows its prototype; cross entropy of
    w * cos + b of the query with all prototypes of the batch. A speaker's only row is a prototype. `.active`
    is the share of queries whose nearest prototype is another speaker's.

    >>> loss = AngularLoss(AngularConfig(scale=1.0, offset=0.0), embedding_dim=2, n_speakers=2)
    >>> emb_BD = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> loss(emb_BD, torch.tensor([0, 0, 1])).item()  # ln(1 + e^-1)
    0.3132...
    """

    Config = AngularConfig
    name = "angular"
    config: AngularConfig

    def _loss(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        sum_PD, count_P, place_B = sums_of_speakers(emb_BD, labels_B)
        rows_B = torch.arange(len(emb_BD), device=emb_BD.device)
        last_P = torch.zeros_like(count_P).scatter_reduce(0, place_B, rows_B, "amax")
        paired_P = count_P > 1
        query_PD = emb_BD[last_P]
        prototype_PD = sum_PD - torch.where(paired_P[:, None], query_PD, 0)
        cos_QP = F.normalize(query_PD[paired_P]) @ F.normalize(prototype_PD).T
        true_Q = torch.arange(len(count_P), device=emb_BD.device)[paired_P]
        self.active = (cos_QP.detach().argmax(dim=1) != true_Q).float().mean()
        return F.cross_entropy(self.similar(cos_QP), true_Q)
