"""Additive margin softmax (CosFace): a margin on the cosine itself."""

from __future__ import annotations

from torch import Tensor

from voxid.losses.margins import MarginLoss


class AmLoss(MarginLoss):
    """Cross entropy of scale * (cos(theta) - margin) for the true class, scale * cos(theta) for the others.

    Wang et al. 2018, "Additive margin softmax for face verification"; sub-centres and the inter-top-k
    penalty as in `AamLoss`.

    >>> import torch
    >>> loss = AmLoss(AmLoss.Config(scale=1.0, margin=1.0), embedding_dim=2, n_speakers=2)
    >>> _ = loss.weight.data.copy_(torch.eye(2))
    >>> loss(torch.tensor([[3.0, 0.0]]), torch.tensor([0])).item()  # both classes at 0: ln 2
    0.6931...
    """

    name = "am"

    def _harder(self, cos: Tensor, margin: float) -> Tensor:
        return cos - margin

    def _easier(self, cos: Tensor, margin: float) -> Tensor:
        return cos + margin
