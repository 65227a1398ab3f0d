"""What the losses over pairs share: which rows of a batch are of one speaker, and the speakers' centroids.

A speaker with a single row in the batch makes no pair: it is compared with, and makes no term of its own.

Shapes: B batch, D embedding, P speakers of the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
