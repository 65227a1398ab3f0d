"""Margins on the angle to a class' centre: AM and AAM, with sub-centres, nearest rivals, masks of classes.

Shapes: B batch, D embedding, C classes, K sub-centres of a class, P speakers.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.config import Config
from voxid.losses.base import check_classes, check_shapes


class MarginConfig(Config):
    """The options of `AmLoss` and `AamLoss`; the defaults are those of the VoxCeleb recipes of WeSpeaker."""

    scale: float = Field(32.0, gt=0)  # cosines are multiplied by it before the softmax
    margin: float = Field(0.2, ge=0)  # radians for aam, cosine for am
    sub_centers: int = Field(1, ge=1)  # of each class; the nearest counts (Deng et al. 2020)
    top_k: int = Field(0, ge=0)  # nearest other classes that are penalised (Zhao et al. 2021); 0: none
    top_k_margin: float = Field(0.06, ge=0)  # their penalty at the full margin; it grows along with it
    rivals: Literal["all", "corpus", "language"] = (
        "all"  # which classes a row is told from: all, those of its
    )
    # corpus, or those of its corpus and language; then it does not pay to know the data set


class MarginLoss(nn.Module):
    """Cross entropy over scaled cosines of an embedding and the class centres, the true one made harder.

    Subclasses say how: `_harder` takes a margin off the true class' cosine, `_easier` adds one to a rival's.
    Computed in float32 whatever autocast says. `.active` is the share of rows whose nearest centre, without
    any margin, is not the true one.
    """

    Config = MarginConfig
    name = "margin"
    needs = "rows"
    no_rival: ClassVar[float] = -math.inf  # the cosine of a class that a row is not told from
    group_P: Tensor | None

    def __init__(self, config: MarginConfig, embedding_dim: int, n_speakers: int) -> None:
        super().__init__()
        self.config = config
        self.classes = n_speakers
        self.margin = config.margin
        self.active = torch.zeros(())
        self.register_buffer("group_P", None, persistent=False)
        self.weight = nn.Parameter(torch.empty(n_speakers * config.sub_centers, embedding_dim))
        nn.init.xavier_uniform_(self.weight)

    def set_margin(self, value: float) -> None:
        """Use `value` as the margin from now on; the penalty of rivals keeps its proportion to it."""
        self.margin = value

    def set_groups(self, group_P: Tensor) -> None:
        """Tell a row from the classes of its own group only; `group_P` says which each speaker's is.

        Classes beyond the speakers are the same speakers again, at another speed.
        """
        self.group_P = group_P.to(self.weight.device)

    @torch.no_grad()
    def set_centers(self, center_CD: Tensor) -> None:
        """Begin with these centres of the classes, all sub-centres of a class nearly alike."""
        center_CD = center_CD.repeat_interleave(self.config.sub_centers, dim=0)
        if self.config.sub_centers > 1:
            center_CD = F.normalize(center_CD) + 0.01 * torch.randn_like(center_CD)
        self.weight.copy_(F.normalize(center_CD) * self.weight.norm(dim=1).mean())

    def forward(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Return the loss, a scalar; raise TrainingError for other shapes and labels that are no class."""
        check_shapes(self.name, emb_BD, labels_B, self.weight.shape[1])
        check_classes(self.name, labels_B, self.classes)
        with torch.autocast(emb_BD.device.type, enabled=False):
            cos_BC = self.cosines(emb_BD.to(self.weight.dtype))
            true_B1 = labels_B[:, None]
            cos_B1 = cos_BC.gather(1, true_B1)
            hidden_BC = self._hidden(labels_B)
            self.active = (_hide(cos_BC.detach(), hidden_BC).argmax(dim=1) != labels_B).float().mean()
            if self.config.top_k:
                cos_BC = self._with_rivals(cos_BC, true_B1, hidden_BC)
            return self._loss(_hide(cos_BC, hidden_BC, self.no_rival), cos_B1, labels_B)

    def _hidden(self, labels_B: Tensor) -> Tensor | None:
        """Return True at the classes (B, C) that a row is not told from; None where it is from all."""
        if self.group_P is None:
            return None
        group_C = self.group_P.repeat(-(-self.classes // len(self.group_P)))[: self.classes]
        return group_C[labels_B][:, None] != group_C

    def _loss(self, cos_BC: Tensor, cos_B1: Tensor, labels_B: Tensor) -> Tensor:
        """Return the loss of cosines with all classes, rivals made nearer, and with the true one."""
        logit_BC = cos_BC.scatter(1, labels_B[:, None], self._harder(cos_B1, self.margin))
        return F.cross_entropy(self.config.scale * logit_BC, labels_B)

    def cosines(self, emb_BD: Tensor) -> Tensor:
        """Return cos_BC, of each embedding and the nearest centre of each class."""
        used = self.weight[: self.classes * self.config.sub_centers]
        cos_BX = (F.normalize(emb_BD) @ F.normalize(used).T).clamp(-1, 1)
        if self.config.sub_centers == 1:
            return cos_BX
        return cos_BX.unflatten(1, (self.classes, self.config.sub_centers)).amax(dim=2)

    def _with_rivals(self, cos_BC: Tensor, true_B1: Tensor, hidden_BC: Tensor | None) -> Tensor:
        """Return cos_BC where the `top_k` nearest wrong classes of each row count as nearer."""
        share = self.margin / self.config.margin if self.config.margin else 1.0
        count = min(self.config.top_k, self.classes - 1)
        wrong_BC = _hide(cos_BC.detach().scatter(1, true_B1, -math.inf), hidden_BC)
        rivals_BK = wrong_BC.topk(count, dim=1).indices
        nearer_BK = self._easier(cos_BC.gather(1, rivals_BK), share * self.config.top_k_margin)
        return cos_BC.scatter(1, rivals_BK, nearer_BK)

    def _harder(self, cos: Tensor, margin: float) -> Tensor:
        raise NotImplementedError

    def _easier(self, cos: Tensor, margin: float) -> Tensor:
        raise NotImplementedError


def _hide(cos_BC: Tensor, hidden_BC: Tensor | None, value: float = -math.inf) -> Tensor:
    return cos_BC if hidden_BC is None else cos_BC.masked_fill(hidden_BC, value)


def turned(cos: Tensor, angle: float) -> Tensor:
    """Return cos(theta + angle) of cos(theta), theta in 0..pi, falling all the way: no easy margin.

    Beyond theta + angle = pi (below 0, for a negative angle) the cosine would turn round, and reward what it
    should punish; there it goes on in parallel to cos(theta), without a jump. The gradient is finite
    everywhere: at theta = 0 and pi, where the sine's is not, that part of it is taken as zero.

    >>> turned(torch.tensor([0.5, -1.0]), math.pi / 3)
    tensor([-0.5000, -1.5000])
    """
    sin = (1 - cos.square()).clamp_min(torch.finfo(cos.dtype).eps).sqrt()
    shifted = cos * math.cos(angle) - sin * math.sin(angle)
    turn = math.cos(angle)
    if angle >= 0:
        return torch.where(cos > -turn, shifted, cos - (1 - turn))
    return torch.where(cos < turn, shifted, cos + (1 - turn))


class AmLoss(MarginLoss):
    """Cross entropy of scale * (cos(theta) - margin) for the true class, scale * cos(theta) for the others.

    Wang et al. 2018, "Additive margin softmax for face verification"; sub-centres and the inter-top-k
    penalty as in `AamLoss`.

    >>> loss = AmLoss(MarginConfig(scale=1.0, margin=1.0), embedding_dim=2, n_speakers=2)
    >>> _ = loss.weight.data.copy_(torch.eye(2))
    >>> loss(torch.tensor([[3.0, 0.0]]), torch.tensor([0])).item()  # both classes at 0: ln 2
    0.6931...
    """

    name = "am"

    def _harder(self, cos: Tensor, margin: float) -> Tensor:
        return cos - margin

    def _easier(self, cos: Tensor, margin: float) -> Tensor:
        return cos + margin


class AamLoss(MarginLoss):
    """Cross entropy of scale * cos(theta + margin) for the true class, scale * cos(theta) for the others.

    Deng et al. 2019, "ArcFace", in its form without an easy margin; sub-centres of Deng et al. 2020 and the
    inter-top-k penalty of Zhao et al. 2021 are options of the config. `turned` says what happens near pi.

    >>> loss = AamLoss(MarginConfig(scale=1.0, margin=0.0), embedding_dim=2, n_speakers=2)
    >>> _ = loss.weight.data.copy_(torch.eye(2))
    >>> loss(torch.tensor([[3.0, 0.0]]), torch.tensor([0])).item()  # ln(1 + e^-1)
    0.3132...
    """

    name = "aam"

    def _harder(self, cos: Tensor, margin: float) -> Tensor:
        return turned(cos, margin)

    def _easier(self, cos: Tensor, margin: float) -> Tensor:
        return turned(cos, -margin)
