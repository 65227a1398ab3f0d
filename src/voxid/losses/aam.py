"""Additive angular margin softmax (ArcFace): the loss of most published speaker encoders."""

from __future__ import annotations

from torch import Tensor

from voxid.losses.margins import MarginLoss, turned


class AamLoss(MarginLoss):
    """Cross entropy of scale * cos(theta + margin) for the true class, scale * cos(theta) for the others.

    Deng et al. 2019, "ArcFace", in its form without an easy margin; sub-centres of Deng et al. 2020 and the
    inter-top-k penalty of Zhao et al. 2021 are options of the config. `turned` says what happens near pi.

    >>> import torch
    >>> loss = AamLoss(AamLoss.Config(scale=1.0, margin=0.0), embedding_dim=2, n_speakers=2)
    >>> _ = loss.weight.data.copy_(torch.eye(2))
    >>> loss(torch.tensor([[3.0, 0.0]]), torch.tensor([0])).item()  # ln(1 + e^-1)
    0.3132...
    """

    name = "aam"

    def _harder(self, cos: Tensor, margin: float) -> Tensor:
        return turned(cos, margin)

    def _easier(self, cos: Tensor, margin: float) -> Tensor:
        return turned(cos, -margin)
