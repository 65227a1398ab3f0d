"""Learning from another model: AAM over the classes, and the teacher's embedding of each recording.

Shapes: B batch, D embedding of the student, E of the teacher, N utterances.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.losses.margins import AamLoss, MarginConfig


class DistilConfig(MarginConfig):
    """The options of `DistilLoss`."""

    teacher: str = "voxid-base"  # a model folder, or the name of a shipped model
    weight: float = Field(10.0, ge=0)  # of what is learned from the teacher, beside the classes


class DistilLoss(AamLoss):
    """AAM, plus `weight` times one less the cosine with the teacher's embedding of the same recording.

    Where the teacher's embeddings have another length, a linear layer that is learned along brings the
    student's to it; the model does not keep it. Rows at another speed are another speaker, whom the teacher
    did not hear: they learn by classes alone. Without a teacher (`set_teacher`) it is AAM.

    >>> loss = DistilLoss(DistilConfig(), embedding_dim=2, n_speakers=2)
    >>> loss.set_teacher(np.array([[0.0, 3.0], [2.0, 0.0]]), speakers=2)
    >>> loss.set_rows(np.array([0, 1]))
    >>> loss.far(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 1])).item()
    0.5
    """

    Config = DistilConfig
    config: DistilConfig
    name = "distil"
    teacher_NE: Tensor | None

    def __init__(self, config: DistilConfig, embedding_dim: int, n_speakers: int) -> None:
        super().__init__(config, embedding_dim, n_speakers)
        self.register_buffer("teacher_NE", None, persistent=False)
        self.project: nn.Linear | None = None
        self._rows_B: Tensor | None = None
        self._speakers = n_speakers

    def set_teacher(self, emb_NE: np.ndarray, speakers: int) -> None:
        """Learn from the teacher's embeddings of all utterances, of which `speakers` are heard at speed 1."""
        self.teacher_NE = F.normalize(torch.from_numpy(emb_NE).to(self.weight))
        self._speakers = speakers
        if emb_NE.shape[1] != self.weight.shape[1]:
            layer = nn.Linear(self.weight.shape[1], emb_NE.shape[1], bias=False)
            alike = torch.Generator().manual_seed(0)  # in all processes of a training
            nn.init.xavier_uniform_(layer.weight, generator=alike)
            self.project = layer.to(self.weight.device)

    def set_rows(self, rows_B: np.ndarray) -> None:
        """Say which utterances the next batch is of, as far as it is this process' own."""
        self._rows_B = torch.from_numpy(rows_B.astype(np.int64)).to(self.weight.device)

    def forward(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Return the loss, a scalar; raise TrainingError as AAM does."""
        loss = super().forward(emb_BD, labels_B)
        if self.teacher_NE is None or self._rows_B is None:
            return loss
        return loss + self.config.weight * self.far(emb_BD, labels_B)

    def far(self, emb_BD: Tensor, labels_B: Tensor) -> Tensor:
        """Return one less the mean cosine with the teacher's embeddings, a scalar.

        The rows are those of all processes, each of which compares its own.
        """
        assert self.teacher_NE is not None
        assert self._rows_B is not None
        first = self.ranks.rank * len(self._rows_B)
        mine = slice(first, first + len(self._rows_B))
        emb_BE = emb_BD[mine] if self.project is None else self.project(emb_BD[mine])
        cos_B = (F.normalize(emb_BE) * self.teacher_NE[self._rows_B]).sum(dim=1)
        heard_B = labels_B < self._speakers
        return self.ranks.total(((1 - cos_B) * heard_B[mine]).sum() / heard_B.sum().clamp_min(1))
