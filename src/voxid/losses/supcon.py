"""Supervised contrastive loss: every row is drawn to all rows of its speaker, away from all others.

Shapes: B batch, D embedding.
"""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor

from voxid.config import Config
from voxid.losses.base import PairLoss, cosine_matrix, same_speaker


class SupConConfig(Config):
    """The options of `SupConLoss`; the temperature is the paper's."""

    temperature: float = Field(0.1, gt=0)


class SupConLoss(PairLoss):
    """Khosla et al. 2020, "Supervised contrastive learning", its form with the sum outside the logarithm.

    For each row with a partner, the mean over its partners p of -log(exp(cos_p / t) / sum of exp(cos / t)
    over all other rows); then the mean over these rows. `.active` is the share of them whose nearest other
    row is of another speaker.

    >>> loss = SupConLoss(SupConConfig(temperature=1.0), embedding_dim=2, n_speakers=2)
    >>> emb_BD = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> loss(emb_BD, torch.tensor([0, 0, 1])).item()  # ln(1 + e^-1)
    0.3132...
    """

    Config = SupConConfig
    name = "supcon"
    config: SupConConfig

    def _loss(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        cos_BB = cosine_matrix(emb_BD)
        same_BB = same_speaker(labels_B)
        itself_BB = torch.eye(len(labels_B), dtype=torch.bool, device=emb_BD.device)
        partners_B = same_BB.sum(dim=1)
        paired_B = partners_B > 0
        log_share_BB = (cos_BB / self.config.temperature).masked_fill(itself_BB, -math.inf)
        log_share_BB = log_share_BB - log_share_BB.logsumexp(dim=1, keepdim=True)
        cost_B = -torch.where(same_BB, log_share_BB, 0).sum(dim=1) / partners_B.clamp_min(1)
        nearest_B = cos_BB.detach().masked_fill(itself_BB, -math.inf).argmax(dim=1)
        wrong_B = paired_B & ~same_BB.gather(1, nearest_B[:, None])[:, 0]
        self.active = wrong_B.sum() / paired_B.sum()
        return cost_B.sum() / paired_B.sum()
