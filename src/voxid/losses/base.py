"""What losses share: which batches they take, said in their own words, and how pairs of a batch are compared.

Labels are looked at only where that is free: on the CPU. Elsewhere it would wait for the device. A speaker
with a single row in the batch makes no pair: it is compared with, and makes no term of its own.

Shapes: B batch, D embedding, P speakers of the batch.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.config import Config
from voxid.errors import TrainingError


class PairLoss(nn.Module):
    """The base of losses over pairs: a subclass writes `_loss`, and says its `name` and `Config`.

    Computed in 32 bits or more whatever autocast says.
    """

    Config: type[Config]
    name: ClassVar[str]
    needs = "pairs"

    def __init__(self, config: Config, embedding_dim: int, n_speakers: int) -> None:
        super().__init__()
        self.config = config
        self.dim = embedding_dim
        self.active = torch.zeros(())

    def forward(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Return the loss, a scalar; raise TrainingError for other shapes and batches without a pair."""
        check_shapes(self.name, emb_BD, labels_B, self.dim)
        check_pairs(self.name, labels_B)
        with torch.autocast(emb_BD.device.type, enabled=False):
            wanted = next((parameter.dtype for parameter in self.parameters()), torch.float32)
            emb_BD = emb_BD.to(torch.promote_types(emb_BD.dtype, wanted))
            return self._loss(emb_BD, labels_B)

    def _loss(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Return the loss, and set `.active`."""
        raise NotImplementedError


class ScaledPairLoss(PairLoss):
    """A loss over w * cos + b, of which w and b are learned and begin as the config's scale and offset."""

    def __init__(self, config: Config, embedding_dim: int, n_speakers: int) -> None:
        super().__init__(config, embedding_dim, n_speakers)
        self.scale = nn.Parameter(torch.tensor(config.scale))  # pyright: ignore[reportAttributeAccessIssue]
        self.offset = nn.Parameter(torch.tensor(config.offset))  # pyright: ignore[reportAttributeAccessIssue]

    def similar(self, cos: Tensor) -> Tensor:
        """Return w * cos + b; w never is negative."""
        return self.scale.clamp_min(1e-6) * cos + self.offset


def same_speaker(labels_B: Tensor) -> Tensor:
    """Return same_BB, True where two different rows are of one speaker.

    >>> same_speaker(torch.tensor([5, 7, 5])).int().tolist()
    [[0, 0, 1], [0, 0, 0], [1, 0, 0]]
    """
    same_BB = labels_B[:, None] == labels_B
    return same_BB & ~torch.eye(len(labels_B), dtype=torch.bool, device=labels_B.device)


def cosine_matrix(emb_BD: Tensor) -> Tensor:
    """Return cos_BB of all rows with all rows; a row of zeros has cosine 0 with everything."""
    unit_BD = F.normalize(emb_BD)
    return unit_BD @ unit_BD.T


def sums_of_speakers(emb_BD: Tensor, labels_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (sum_PD, count_P, place_B): each speaker's rows added up, counted, and which P row b is of.

    >>> sums_of_speakers(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([9, 4, 9]))[0].tolist()
    [[2.0], [4.0]]
    """
    _, place_B, count_P = torch.unique(labels_B, return_inverse=True, return_counts=True)
    sum_PD = emb_BD.new_zeros(len(count_P), emb_BD.shape[1]).index_add(0, place_B, emb_BD)
    return sum_PD, count_P, place_B


def check_shapes(name: str, emb_BD: Tensor, labels_B: Tensor, dim: int) -> None:
    """Raise TrainingError unless there are embeddings of `dim` values and one whole number for each."""
    if emb_BD.ndim != 2 or not len(emb_BD) or emb_BD.shape[1] != dim or labels_B.shape != emb_BD.shape[:1]:
        raise TrainingError(
            f"the {name} loss got embeddings of shape {tuple(emb_BD.shape)} and labels of shape "
            f"{tuple(labels_B.shape)}. It takes (rows, {dim}) and one label a row, at least one row."
        )
    if labels_B.is_floating_point():
        raise TrainingError(f"the {name} loss got labels of {labels_B.dtype}. Labels are whole numbers.")


def check_classes(name: str, labels_B: Tensor, classes: int) -> None:
    """Raise TrainingError where a label is none of the loss' classes."""
    if labels_B.device.type == "cpu" and (int(labels_B.min()) < 0 or int(labels_B.max()) >= classes):
        raise TrainingError(
            f"the {name} loss got labels from {int(labels_B.min())} to {int(labels_B.max())}. It was made "
            f"for {classes} speakers, numbered from 0: build it for the speakers of the training data."
        )


def check_pairs(name: str, labels_B: Tensor) -> None:
    """Raise TrainingError unless two rows are of one speaker, and some row is of another."""
    if labels_B.device.type != "cpu":
        return
    counts = torch.unique(labels_B, return_counts=True)[1]
    if len(counts) < 2 or int(counts.max()) < 2:
        raise TrainingError(
            f"the {name} loss got {len(labels_B)} rows of {len(counts)} speakers, at most "
            f"{int(counts.max())} of one. It takes two speakers or more, and two rows of one of them: "
            'data.sampler = "pk" makes such batches.'
        )
