"""Margins on the angle to a class' centre: AM and AAM, with sub-centres, nearest rivals, masks of classes.

Shapes: B batch, D embedding, C classes, K nearest rivals, P speakers, H rows whose true class is here: all of
them, but in a training of several processes that share the classes out.
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
from voxid.losses.shards import Ranks

FARTHEST = -1e4  # in place of a cosine: farther than any; finite, since processes may have no other


class MarginConfig(Config):
    """The options of `AmLoss` and `AamLoss`; the defaults are those of the VoxCeleb recipes of WeSpeaker."""

    scale: float = Field(32.0, gt=0)  # cosines are multiplied by it before the softmax
    margin: float = Field(0.2, ge=0)  # radians for aam, cosine for am
    sub_centers: int = Field(1, ge=1)  # of each class; the nearest counts (Deng et al. 2020)
    top_k: int = Field(0, ge=0)  # nearest other classes that are penalised (Zhao et al. 2021); 0: none
    top_k_margin: float = Field(0.06, ge=0)  # their penalty at the full margin; it grows along with it
    # the share of the classes that a batch is compared with, drawn anew, besides those of its rows (An et al.
    # 2021, "Partial FC"): for millions of classes
    sample: float = Field(1.0, gt=0, le=1)
    # which classes a row is told from: all, those of its corpus, or those of its corpus and language; then it
    # does not pay to know the data set
    rivals: Literal["all", "corpus", "language"] = "all"


class MarginLoss(nn.Module):
    """Cross entropy over scaled cosines of an embedding and the class centres, the true one made harder.

    Subclasses say how: `_harder` takes a margin off the true class' cosine, `_easier` adds one to a rival's.
    Computed in float32 whatever autocast says. `.active` is the share of rows whose nearest centre, without
    any margin, is not the true one.
    """

    Config = MarginConfig
    name = "margin"
    needs = "rows"
    no_rival: ClassVar[float] = FARTHEST  # the cosine of a class that a row is not told from
    group_P: Tensor | None

    def __init__(self, config: MarginConfig, embedding_dim: int, n_speakers: int) -> None:
        super().__init__()
        self.config = config
        self.classes = n_speakers
        self.ranks, self.first = Ranks(), 0  # the first class of this process
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

    def share_out(self, ranks: Ranks) -> None:
        """Keep the classes of this process only: from now on the embeddings of all processes come in."""
        self.ranks, self.all_classes = ranks, self.classes
        mine, each = ranks.cut(self.classes), self.config.sub_centers
        self.first = mine.start
        self.weight = nn.Parameter(self.weight.detach()[mine.start * each : mine.stop * each].clone())

    def forward(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Return the loss, a scalar; raise TrainingError for other shapes and labels that are no class."""
        check_shapes(self.name, emb_BD, labels_B, self.weight.shape[1])
        check_classes(self.name, labels_B, self.classes)
        with torch.autocast(emb_BD.device.type, enabled=False):
            place_B = labels_B - self.first
            chosen_C = self._chosen(place_B)
            cos_BC = self.cosines(emb_BD.to(self.weight.dtype), chosen_C)
            if chosen_C is not None:
                place_B = torch.where(
                    (place_B >= 0) & (place_B < self._here), torch.searchsorted(chosen_C, place_B), -1
                )
            rows_H = torch.arange(len(place_B), device=place_B.device)
            if self.ranks.world > 1:
                rows_H = ((place_B >= 0) & (place_B < cos_BC.shape[1])).nonzero()[:, 0]
            true_H = (rows_H, place_B[rows_H])  # where, among the classes here, the true ones are
            wrong_BC = cos_BC.detach().index_put(true_H, cos_BC.new_tensor(FARTHEST))
            hidden_BC = self._hidden(labels_B, chosen_C)
            wrong_BC = _hide(wrong_BC, hidden_BC, FARTHEST)
            self.active = self._still_wrong(cos_BC.detach()[true_H], wrong_BC, rows_H)
            if self.config.top_k:
                cos_BC = self._with_rivals(cos_BC, wrong_BC)
            cost = self._costs(_hide(cos_BC, hidden_BC, self.no_rival), cos_BC[true_H], true_H)
            return self.ranks.total(cost / len(labels_B))

    @property
    def _here(self) -> int:
        """How many classes this process has in the stage that is going on."""
        return max(0, min(self.classes - self.first, len(self.weight) // self.config.sub_centers))

    def _chosen(self, place_B: Tensor) -> Tensor | None:
        """Return which classes here a batch is compared with, its own among them; None for all."""
        if self.config.sample == 1:
            return None
        drawn = torch.randperm(self._here, device=place_B.device)[
            : math.ceil(self.config.sample * self._here)
        ]
        return torch.unique(torch.cat([drawn, place_B[(place_B >= 0) & (place_B < self._here)]]))

    def _hidden(self, labels_B: Tensor, chosen_C: Tensor | None) -> Tensor | None:
        """Return True at the classes (B, C) that a row is not told from; None where it is from all."""
        if self.group_P is None:
            return None
        group_C = self.group_P.repeat(-(-self.classes // len(self.group_P)))[: self.classes]
        here_C = group_C[self.first : self.first + self._here]
        return group_C[labels_B][:, None] != (here_C if chosen_C is None else here_C[chosen_C])

    def _still_wrong(self, true_H: Tensor, wrong_BC: Tensor, rows_H: Tensor) -> Tensor:
        """Return the share of rows to which a wrong class is nearer than the true one."""
        rival_B = wrong_BC.amax(dim=1) if wrong_BC.shape[1] else wrong_BC.new_full((len(wrong_BC),), FARTHEST)
        true_B = rival_B.new_full(rival_B.shape, FARTHEST).index_put((rows_H,), true_H)
        return (self.ranks.max(rival_B) > self.ranks.max(true_B)).float().mean()

    def _costs(self, cos_BC: Tensor, true_H: Tensor, where_H: tuple[Tensor, Tensor]) -> Tensor:
        """Return this process' part of the sum of the rows' losses.

        `cos_BC` are cosines with the classes here, rivals made nearer, `true_H` those with the true classes,
        which are at `where_H` among them.
        """
        harder_H = self.config.scale * self._harder(true_H, self.margin)
        logit_BC = (self.config.scale * cos_BC).index_put(where_H, harder_H)
        return self.ranks.logsumexp(logit_BC.logsumexp(dim=1)).sum() - harder_H.sum()

    def cosines(self, emb_BD: Tensor, chosen_C: Tensor | None = None) -> Tensor:
        """Return cos_BC, of each embedding and the nearest centre of each class here, or of those chosen."""
        each = self.config.sub_centers
        used = self.weight[: self._here * each]
        if chosen_C is not None:
            used = used.unflatten(0, (self._here, each))[chosen_C].flatten(0, 1)
        cos_BX = (F.normalize(emb_BD) @ F.normalize(used).T).clamp(-1, 1)
        if each == 1:
            return cos_BX
        return cos_BX.unflatten(1, (len(used) // each, each)).amax(dim=2)

    def _with_rivals(self, cos_BC: Tensor, wrong_BC: Tensor) -> Tensor:
        """Return cos_BC where the `top_k` nearest wrong classes of each row count as nearer."""
        share = self.margin / self.config.margin if self.config.margin else 1.0
        count = min(self.config.top_k, self.classes - 1)
        near_BK, rivals_BK = wrong_BC.topk(min(count, wrong_BC.shape[1]), dim=1)
        if self.ranks.world > 1:  # of the nearest on each process, the nearest of all
            missing = (0, count - near_BK.shape[1])
            everywhere = self.ranks.concat(F.pad(near_BK, missing, value=FARTHEST), dim=1)
            counts_BK = near_BK >= everywhere.topk(count, dim=1).values[:, -1:]
        else:
            counts_BK = near_BK > FARTHEST
        cos_BK = cos_BC.gather(1, rivals_BK)
        nearer_BK = torch.where(counts_BK, self._easier(cos_BK, share * self.config.top_k_margin), cos_BK)
        return cos_BC.scatter(1, rivals_BK, nearer_BK)

    def _harder(self, cos: Tensor, margin: float) -> Tensor:
        raise NotImplementedError

    def _easier(self, cos: Tensor, margin: float) -> Tensor:
        raise NotImplementedError


def _hide(cos_BC: Tensor, hidden_BC: Tensor | None, value: float) -> Tensor:
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
