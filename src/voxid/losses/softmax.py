"""Softmax: plain classification of the training speakers.

Shapes: B batch, D embedding, C classes.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.config import Config
from voxid.losses.base import check_classes, check_shapes


class SoftmaxConfig(Config):
    """The options of `SoftmaxLoss`."""

    smoothing: float = Field(0.0, ge=0, lt=1)  # of the true class' weight, shared out among all classes


class SoftmaxLoss(nn.Module):
    """Cross entropy of a linear layer over the embedding, one output a class (Snyder et al. 2018).

    `.active` is the share of rows whose largest output is not the true one.

    >>> loss = SoftmaxLoss(SoftmaxConfig(), embedding_dim=2, n_speakers=4)
    >>> _ = loss.linear.weight.data.zero_(), loss.linear.bias.data.zero_()
    >>> loss(torch.ones(3, 2), torch.tensor([0, 1, 3])).item()  # ln 4
    1.386...
    """

    Config = SoftmaxConfig
    needs = "rows"

    def __init__(self, config: SoftmaxConfig, embedding_dim: int, n_speakers: int) -> None:
        super().__init__()
        self.config = config
        self.classes = n_speakers
        self.active = torch.zeros(())
        self.linear = nn.Linear(embedding_dim, n_speakers)

    def forward(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Return the loss, a scalar; raise TrainingError for other shapes and labels that are no class."""
        check_shapes("softmax", emb_BD, labels_B, self.linear.in_features)
        check_classes("softmax", labels_B, self.classes)
        with torch.autocast(emb_BD.device.type, enabled=False):
            emb_BD = emb_BD.to(self.linear.weight.dtype)
            logit_BC = F.linear(emb_BD, self.linear.weight[: self.classes], self.linear.bias[: self.classes])
            self.active = (logit_BC.detach().argmax(dim=1) != labels_B).float().mean()
            return F.cross_entropy(logit_BC, labels_B, label_smoothing=self.config.smoothing)
