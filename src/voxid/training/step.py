"""One training step: forward, backward, update. The place to make the compute faster."""

# B rows (three a triplet), T frames, F features per frame, D embedding

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class StepResult:
    """Scalars on the device: the loss before the update, the share of triplets that violate the margin."""

    loss: Tensor
    active: Tensor


class Stepper:
    """Calls of it are the steps: `stepper(feat_BTF, labels_B) -> StepResult`."""

    def __init__(
        self, encoder: nn.Module, loss: Any, optimizer: torch.optim.Optimizer, clip_norm: float | None
    ) -> None:
        self.encoder = encoder
        self.loss = loss
        self.optimizer = optimizer
        self.clip_norm = clip_norm

    def __call__(self, feat_BTF: Tensor, labels_B: Tensor) -> StepResult:
        """Take one step, and return what it saw; whether the loss is finite is for the caller to look at."""
        self.optimizer.zero_grad(set_to_none=True)
        emb_BD = self.encoder(feat_BTF)
        loss = self.loss(emb_BD, labels_B)
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], self.clip_norm)
        self.optimizer.step()
        return StepResult(loss.detach(), active_share(emb_BD.detach(), self.loss.config.margin))


def active_share(emb_BD: Tensor, margin: float) -> Tensor:
    """Return the share of triplets (rows anchor, positive, negative, ...) that violate the margin."""
    anchor, positive, negative = emb_BD[0::3], emb_BD[1::3], emb_BD[2::3]
    same = F.cosine_similarity(anchor, positive)
    other = F.cosine_similarity(anchor, negative)
    return (other - same + margin > 0).float().mean()
