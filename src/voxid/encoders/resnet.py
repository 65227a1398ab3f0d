"""ResNet for spectrograms: He et al. (2016), used for speakers by Zeinali et al. (VoxSRC 2019) and WeSpeaker.

Shapes: B batch, C channels, T frames, F features per frame (bins), D embedding.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.encoders import layers
from voxid.encoders.layers import Head, Shortcut, SqueezeExcitation, blank
from voxid.encoders.pooling import Pooling, PoolingConfig


class ResNetConfig(PoolingConfig):
    """The options of `ResNetEncoder`; the defaults are ResNet34 with 32 channels (WeSpeaker, r-vector)."""

    channels: int = Field(32, ge=1)  # of the first stage; each further stage has twice as many
    blocks: tuple[int, ...] = Field((3, 4, 6, 3), min_length=1)  # of each stage
    squeeze: int = Field(0, ge=0)  # channels inside squeeze-excitation are divided by this; 0: none
    pooling: Pooling = "statistics"
    embedding: int = Field(256, ge=1)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, and the input added to them."""

    def __init__(self, inputs: int, outputs: int, stride: int, squeeze: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.excite = SqueezeExcitation(outputs, max(1, outputs // squeeze)) if squeeze else None
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else Shortcut(inputs, outputs, (stride, stride))

    def forward(self, x_BCTF: Tensor, valid: Tensor | None) -> Tensor:
        """Return x_BCTF with frames and bins divided by the stride; `valid` is the mask of these frames."""
        inside = blank(F.relu(self.norm1(self.conv1(x_BCTF)), inplace=True), valid)
        inside = self.norm2(self.conv2(inside))
        if self.excite is not None:
            inside = self.excite(inside, valid)
        return blank(F.relu(inside + self.shortcut(x_BCTF), inplace=True), valid)


class ResNetEncoder(nn.Module):
    """Residual 3x3 convolutions over time and frequency; both are halved before each stage but the first.

    Statistics over the frames of every channel at every remaining bin, and a linear layer. About 6.6 M
    parameters with 80 bins.

    >>> encoder = ResNetEncoder(ResNetConfig(channels=8, blocks=(1, 1)), input_dim=80).eval()
    >>> encoder.dim, tuple(encoder(torch.zeros(2, 100, 80)).shape)
    (256, (2, 256))
    """

    Config = ResNetConfig
    splits_by_rows = False  # batch normalisation

    def __init__(self, config: ResNetConfig, input_dim: int) -> None:
        super().__init__()
        self.config = config
        self.dim = config.embedding
        self.first = nn.Conv2d(1, config.channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(config.channels)
        self.blocks, self.strides = nn.ModuleList(), []
        width, bins = config.channels, input_dim
        for stage, count in enumerate(config.blocks):
            for number in range(count):
                stride = 2 if stage and not number else 1
                wider = config.channels * 2**stage
                self.blocks.append(BasicBlock(width, wider, stride, config.squeeze))
                self.strides.append(stride)
                width, bins = wider, -(-bins // stride)
        self.head = Head(config, width * bins)
        layers.kaiming(self)
        layers.channels_last(self)

    def forward(self, feat_BTF: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return emb_BD; rows are valid for `frames_B` frames, at least one (None: all)."""
        x_BCTF = feat_BTF[:, None]
        valid = layers.valid_frames(x_BCTF, frames_B, axis=2)
        x_BCTF = self.first(blank(x_BCTF, valid)).contiguous(memory_format=torch.channels_last)
        x_BCTF = blank(F.relu(self.norm(x_BCTF), inplace=True), valid)
        for block, stride in zip(self.blocks, self.strides, strict=True):
            if frames_B is not None and valid is not None and stride > 1:
                valid, frames_B = valid[:, :, ::stride], (frames_B + stride - 1) // stride
            x_BCTF = block(x_BCTF, valid)
        return self.head(layers.bins_to_frames(x_BCTF), frames_B)
