"""LSTM over the frames, pooled to one embedding: the encoder of four of the original's five systems.

Shapes: B batch, T frames, F features per frame, D embedding.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from voxid.config import GrownConfig
from voxid.encoders import pooling
from voxid.encoders.pooling import Pooling, PoolingConfig


class LstmConfig(GrownConfig):
    """The options of `LstmEncoder`; the defaults are the original's published systems."""

    later = frozenset({"project"})
    layers: int = Field(3, ge=1)
    hidden: int = Field(64, ge=1)  # per direction
    bidirectional: bool = True
    aggregation: Pooling = "mean"
    project: int = Field(0, ge=0)  # values of a last layer with ReLU, cut to unit length (GE2E); 0: none


class LstmEncoder(nn.Module):
    """A stack of LSTM layers; the embedding pools the top layer's outputs, as a rule their mean.

    At the last frame the top layer's backward direction has seen that one frame only, as in the original.
    The parameters are `nn.LSTM`'s under the name `lstm`, so that the original's checkpoints load by name.

    >>> import torch
    >>> encoder = LstmEncoder(LstmConfig(), input_dim=40)
    >>> encoder.dim, tuple(encoder(torch.zeros(2, 100, 40)).shape)
    (128, (2, 128))
    """

    Config = LstmConfig
    splits_by_rows = True

    def __init__(self, config: LstmConfig, input_dim: int) -> None:
        super().__init__()
        self.config = config
        self.pool = pooling.build(
            PoolingConfig(pooling=config.aggregation), config.hidden * (2 if config.bidirectional else 1)
        )
        self.linear = nn.Linear(self.pool.dim, config.project) if config.project else None
        self.dim = config.project or self.pool.dim
        self.lstm = nn.LSTM(
            input_dim, config.hidden, config.layers, batch_first=True, bidirectional=config.bidirectional
        )

    def forward(self, feat_BTF: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return emb_BD; rows are valid for `frames_B` frames, at least one (None: all)."""
        if frames_B is None:
            return self._projected(self.pool(self.lstm(feat_BTF)[0]))
        # Packed, so that the backward direction of a padded row starts at its last valid frame.
        packed = pack_padded_sequence(feat_BTF, frames_B.cpu(), batch_first=True, enforce_sorted=False)
        out_BTD, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self._projected(self.pool(out_BTD, frames_B.to(out_BTD.device)))

    def _projected(self, emb_BD: Tensor) -> Tensor:
        return emb_BD if self.linear is None else F.normalize(F.relu(self.linear(emb_BD)), dim=1)
