"""Transformer encoder-decoder: the encoder of the original's fifth system.

Shapes: B batch, T frames, F features per frame, D embedding (also the width inside).
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from voxid.config import Config
from voxid.encoders import pooling


class TransformerConfig(Config):
    """The options of `TransformerEncoder`; the defaults are the original's published system."""

    dim: int = Field(32, ge=1)
    encoder_layers: int = Field(2, ge=1)
    decoder_layers: int = Field(1, ge=1)
    heads: int = Field(8, ge=1)
    feedforward: int = Field(2048, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)  # in training only

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> TransformerConfig:
        if self.dim % self.heads:
            raise ValueError(
                f"dim has to be a multiple of heads, {self.dim} is not a multiple of {self.heads}"
            )
        return self


class TransformerEncoder(nn.Module):
    """Self-attention over the frames; one query that starts at zero reads the embedding out of them.

    There is no position code, as in the original: the frames are a set. Parameter names are the original's
    (`linear_layer`, `encoder`, `decoder`). The first decoder layer's self-attention sees a single zero
    vector, so of its input projection only the bias ever learns.

    >>> encoder = TransformerEncoder(TransformerConfig(), input_dim=40).eval()
    >>> encoder.dim, tuple(encoder(torch.zeros(2, 100, 40)).shape)
    (32, (2, 32))
    """

    Config = TransformerConfig

    def __init__(self, config: TransformerConfig, input_dim: int) -> None:
        super().__init__()
        self.config = config
        self.dim = config.dim
        self.splits_by_rows = config.dropout == 0
        sizes = {
            "d_model": config.dim,
            "nhead": config.heads,
            "dim_feedforward": config.feedforward,
            "dropout": config.dropout,
            "batch_first": True,
        }
        self.linear_layer = nn.Linear(input_dim, config.dim)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(**sizes),
            config.encoder_layers,
            enable_nested_tensor=False,  # a prototype that warns, and gains nothing at this size
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(**sizes), config.decoder_layers)

    def forward(self, feat_BTF: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return emb_BD; rows are valid for `frames_B` frames, at least one (None: all)."""
        padding_BT = None
        if frames_B is not None:
            padding_BT = ~pooling.mask(frames_B.to(feat_BTF.device), feat_BTF.shape[1])
        inside_BTD = torch.sigmoid(self.linear_layer(feat_BTF))
        memory_BTD = self.encoder(inside_BTD, src_key_padding_mask=padding_BT)
        query_B1D = inside_BTD.new_zeros(len(feat_BTF), 1, self.dim)
        return self.decoder(query_B1D, memory_BTD, memory_key_padding_mask=padding_BT)[:, 0]
