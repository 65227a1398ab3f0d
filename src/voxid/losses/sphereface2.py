"""SphereFace2: every class says yes or no for itself, all of them at one and the same threshold.

Shapes: B batch, D embedding, C classes.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.losses.margins import MarginConfig, MarginLoss


class SphereFace2Config(MarginConfig):
    """The options of `SphereFace2Loss`; the defaults are those found best for speakers by Han et al. 2023."""

    sharpness: float = Field(3.0, ge=1)  # t: how much cosines are spread towards 1; 1 leaves them as they are
    balance: float = Field(0.7, gt=0, lt=1)  # weight of the true class; the others share what is left


class SphereFace2Loss(MarginLoss):
    """Binary cross entropy of all classes at once: the true one against a threshold, and every other one.

    A softmax only asks that the true class be nearer than the others of the same row; what a cosine of 0.5
    means may differ from row to row. Here one learned threshold serves all rows, as one threshold will serve
    all trials. With g(x) = 2 ((x + 1) / 2)^t - 1 and the learned `bias`, the loss of a row is

        balance * softplus(-(scale * (g(cos true) - margin) + bias))
        + (1 - balance) * sum over others of softplus(scale * (g(cos other) + margin) + bias)

    Wen et al. 2022, "SphereFace2: binary classification is all you need for deep face recognition", without
    its constant factor of 1 / scale, and with the margin on the cosine's side, as Han, Chen and Qian 2023
    ("Exploring binary classification loss for speaker verification") found best. Sub-centres as in AAM;
    `top_k` adds its penalty to the nearest rivals.

    >>> loss = SphereFace2Loss(SphereFace2Config(scale=1.0, margin=0.0, sharpness=1.0, balance=0.5), 2, 2)
    >>> _ = loss.weight.data.copy_(torch.eye(2))
    >>> loss(torch.tensor([[3.0, 0.0]]), torch.tensor([0])).item()  # (ln(1 + e^-1) + ln 2) / 2
    0.5032...
    """

    Config = SphereFace2Config
    name = "sphereface2"
    no_rival = -1.0
    config: SphereFace2Config

    def __init__(self, config: SphereFace2Config, embedding_dim: int, n_speakers: int) -> None:
        super().__init__(config, embedding_dim, n_speakers)
        self.bias = nn.Parameter(torch.zeros(()))

    def _costs(self, cos_BC: Tensor, true_H: Tensor, where_H: tuple[Tensor, Tensor]) -> Tensor:
        config, margin = self.config, self.margin
        other_BC = F.softplus(config.scale * (self._spread(cos_BC) + margin) + self.bias)
        true = F.softplus(-config.scale * (self._spread(true_H) - margin) - self.bias).sum()
        other = other_BC.index_put(where_H, other_BC.new_zeros(())).sum()
        return config.balance * true + (1 - config.balance) * other

    def _spread(self, cos: Tensor) -> Tensor:
        return 2 * ((cos + 1) / 2).pow(self.config.sharpness) - 1

    def _easier(self, cos: Tensor, margin: float) -> Tensor:
        return (cos + margin).clamp_max(1.0)
