"""x-vector TDNN: Snyder et al., "X-vectors: robust DNN embeddings for speaker recognition" (ICASSP 2018).

Shapes: B batch, T frames, F features per frame, C channels, D embedding.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from voxid.encoders import layers
from voxid.encoders.layers import ConvReluNorm, Head, blank
from voxid.encoders.pooling import PoolingConfig

KERNELS = (5, 3, 3, 1)  # frames of context of the first layers, and how far they lie apart
DILATIONS = (1, 2, 3, 1)


class XVectorConfig(PoolingConfig):
    """The options of `XVectorEncoder`; the defaults are the paper's network."""

    channels: int = Field(512, ge=1)
    aggregate: int = Field(1500, ge=1)  # channels that are pooled
    embedding: int = Field(512, ge=1)


class XVectorEncoder(nn.Module):
    """Five layers that see ever more context, 15 frames in the end; mean and deviation; a linear layer.

    The embedding is the paper's "a", before the nonlinearity: what follows it there belongs to the
    classifier, here to the loss. Beyond the ends of an utterance there are zeros, so that short ones have
    frames too. 4.2 M parameters with the paper's 24 features.

    >>> import torch
    >>> encoder = XVectorEncoder(XVectorConfig(), input_dim=24).eval()
    >>> encoder.dim, tuple(encoder(torch.zeros(2, 100, 24)).shape)
    (512, (2, 512))
    """

    Config = XVectorConfig
    splits_by_rows = False  # batch normalisation

    def __init__(self, config: XVectorConfig, input_dim: int) -> None:
        super().__init__()
        self.config = config
        self.dim = config.embedding
        widths = (input_dim, *[config.channels] * len(KERNELS))
        self.context = nn.ModuleList(
            ConvReluNorm(width, config.channels, kernel, dilation)
            for width, kernel, dilation in zip(widths, KERNELS, DILATIONS, strict=False)
        )
        self.aggregate = ConvReluNorm(config.channels, config.aggregate)
        self.head = Head(config, config.aggregate)
        beside = (dilation * (kernel // 2) for kernel, dilation in zip(KERNELS, DILATIONS, strict=True))
        self.stride, self.reach = 1, layers.reach(config, sum(beside))
        layers.channels_last(self)

    def forward(self, feat_BTF: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return emb_BD; rows are valid for `frames_B` frames, at least one (None: all)."""
        x_BC1T = layers.as_sequence(feat_BTF)
        valid = layers.valid_frames(x_BC1T, frames_B, axis=3)
        for layer in self.context:
            x_BC1T = layer(blank(x_BC1T, valid))
        return self.head(layers.as_frames(self.aggregate(x_BC1T)), frames_B)
