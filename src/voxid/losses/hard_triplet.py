"""Triplet loss with mining: triplets are made of all rows of the batch, and the hard ones are kept.

Shapes: B batch, D embedding.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from voxid.config import Config
from voxid.losses.base import PairLoss, cosine_matrix, same_speaker


class HardTripletConfig(Config):
    """The options of `HardTripletLoss`."""

    margin: float = Field(0.2, ge=0)  # of cosine
    mining: Literal["hard", "semi-hard"] = "hard"


class HardTripletLoss(PairLoss):
    """The mean of max(0, cos(anchor, negative) - cos(anchor, positive) + margin) over mined triplets.

    "hard" (Hermans et al. 2017, batch hard): every row that has a partner is an anchor once, with its
    farthest positive and its nearest negative. "semi-hard" (Schroff et al. 2015): every pair of one speaker,
    with the nearest negative that is farther away than the positive; where there is none, the farthest.
    `.active` is the share of these triplets that violate the margin.

    >>> loss = HardTripletLoss(HardTripletConfig(margin=0.5), embedding_dim=2, n_speakers=2)
    >>> emb_BD = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> loss(emb_BD, torch.tensor([0, 0, 1])).item()  # cosine 1 to the positive, 0 to the negative
    0.0
    """

    Config = HardTripletConfig
    name = "hard-triplet"

    config: HardTripletConfig

    def __init__(self, config: HardTripletConfig, embedding_dim: int, n_speakers: int) -> None:
        super().__init__(config, embedding_dim, n_speakers)
        self.margin = config.margin

    def set_margin(self, value: float) -> None:
        """Use `value` as the margin from now on."""
        self.margin = value

    def _loss(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        cos_BB = cosine_matrix(emb_BD)
        same_BB = same_speaker(labels_B)
        other_BB = labels_B[:, None] != labels_B
        mine = _hard if self.config.mining == "hard" else _semi_hard
        gap, counts = mine(cos_BB, same_BB, other_BB)
        cost = (gap + self.margin).clamp_min(0)
        total = counts.sum()
        self.active = ((cost.detach() > 0) & counts).sum() / total
        return torch.where(counts, cost, 0).sum() / total


def _hard(cos_BB: Tensor, same_BB: Tensor, other_BB: Tensor) -> tuple[Tensor, Tensor]:
    """Return gap_B, how much nearer each anchor's negative is than its positive, and which anchors count."""
    anchors_B = same_BB.any(dim=1) & other_BB.any(dim=1)
    positive_B = cos_BB.masked_fill(~same_BB, math.inf).amin(dim=1)
    negative_B = cos_BB.masked_fill(~other_BB, -math.inf).amax(dim=1)
    gap_B = torch.where(anchors_B, negative_B, 0) - torch.where(anchors_B, positive_B, 0)
    return gap_B, anchors_B


def _semi_hard(cos_BB: Tensor, same_BB: Tensor, other_BB: Tensor) -> tuple[Tensor, Tensor]:
    """Return gap_BB of each pair (anchor, positive) of one speaker, and which pairs count."""
    pairs_BB = same_BB & other_BB.any(dim=1)[:, None]
    # [anchor, positive, negative]: a negative has to be another speaker, and farther away than the positive
    farther_BBB = (cos_BB[:, None, :] < cos_BB[:, :, None]) & other_BB[:, None, :]
    semi_BB = torch.where(farther_BBB, cos_BB[:, None, :], -math.inf).amax(dim=2)
    easiest_B = cos_BB.masked_fill(~other_BB, math.inf).amin(dim=1)
    negative_BB = torch.where(farther_BBB.any(dim=2), semi_BB, easiest_B[:, None])
    return torch.where(pairs_BB, negative_BB, 0) - torch.where(pairs_BB, cos_BB, 0), pairs_BB
