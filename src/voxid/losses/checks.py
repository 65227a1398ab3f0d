"""What a batch has to be like, said in the losses' own words.

Labels are looked at only where that is free: on the CPU. Elsewhere it would wait for the device.

Shapes: B batch, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from voxid.errors import TrainingError


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
