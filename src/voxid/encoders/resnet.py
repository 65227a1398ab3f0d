"""ResNet for spectrograms: He et al. (2016), used for speakers by Zeinali et al. (VoxSRC 2019) and WeSpeaker.

Shapes: B batch, C channels, T frames, F features per frame (bins), D embedding.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.encoders import layers
from voxid.encoders.layers import Head, Shortcut, SqueezeExcitation, blank
from voxid.encoders.pooling import Pooling, PoolingConfig


class ResNetConfig(PoolingConfig):
    """The options of `ResNetEncoder`; the defaults are ResNet34 with 32 channels (WeSpeaker, r-vector)."""

    later = PoolingConfig.later | {"bottleneck", "first", "strides", "relu_first", "bin_mean", "two_layers"}
    channels: int = Field(32, ge=1)  # of the first stage; each further stage has twice as many
    blocks: tuple[int, ...] = Field((3, 4, 6, 3), min_length=1)  # of each stage
    squeeze: int = Field(0, ge=0)  # channels inside squeeze-excitation are divided by this; 0: none
    pooling: Pooling = "statistics"
    embedding: int = Field(256, ge=1)
    bottleneck: bool = False  # blocks of 1x1, 3x3 and 1x1, with four times the channels outside (ResNet50 up)
    first: tuple[int, int] = (3, 1)  # the first convolution: its width, and its stride over the bins
    strides: tuple[int, ...] | None = None  # of the stages; None: 1, then 2
    relu_first: bool = False  # in the middle of a block, before the batch normalisation instead of after
    bin_mean: bool = False  # the mean over the bins is pooled, not every bin
    two_layers: bool = False  # ReLU, batch normalisation and a second linear layer behind the first

    @model_validator(mode="after")
    def _a_stride_a_stage(self) -> ResNetConfig:
        if self.strides is not None and (len(self.strides) != len(self.blocks) or min(self.strides) < 1):
            raise ValueError(f"strides have to be 1 or more, one a stage, got {list(self.strides)}")
        if self.first[0] % 2 == 0 or min(self.first) < 1:
            raise ValueError(
                f"first has to be an odd width and a stride of 1 or more, got {list(self.first)}"
            )
        return self


class Block(nn.Module):
    """Convolutions with batch normalisation, the input added: two 3x3, or 1x1, 3x3, 1x1 (`bottleneck`)."""

    def __init__(self, config: ResNetConfig, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        kernels, outputs = ((1, 3, 1), 4 * channels) if config.bottleneck else ((3, 3), channels)
        self.relu_first = config.relu_first
        self.count, width = len(kernels), inputs
        for number, kernel in enumerate(kernels, start=1):
            wider = outputs if number == self.count else channels
            strided = stride if number == self.count - 1 else 1
            conv = nn.Conv2d(width, wider, kernel, stride=strided, padding=kernel // 2, bias=False)
            setattr(self, f"conv{number}", conv)
            setattr(self, f"norm{number}", nn.BatchNorm2d(wider))
            width = wider
        squeeze = config.squeeze
        self.excite = SqueezeExcitation(outputs, max(1, outputs // squeeze)) if squeeze else None
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else Shortcut(inputs, outputs, (stride, stride))

    def forward(self, x_BCTF: Tensor, before: Tensor | None, valid: Tensor | None) -> Tensor:
        """Return x_BCTF with frames and bins divided by the stride.

        `valid` is the mask of these frames, `before` that of the frames that come in.
        """
        inside = x_BCTF
        for number in range(1, self.count):
            conv, norm = getattr(self, f"conv{number}"), getattr(self, f"norm{number}")
            inside = (
                norm(F.relu(conv(inside))) if self.relu_first else F.relu(norm(conv(inside)), inplace=True)
            )
            inside = blank(inside, valid if number == self.count - 1 else before)
        inside = getattr(self, f"norm{self.count}")(getattr(self, f"conv{self.count}")(inside))
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
        width, step = config.first
        self.first = nn.Conv2d(1, config.channels, width, stride=(1, step), padding=width // 2, bias=False)
        self.norm = nn.BatchNorm2d(config.channels)
        self.blocks, self.strides = nn.ModuleList(), []
        beside, self.stride = width // 2, 1
        width, bins = config.channels, -(-input_dim // step)
        stages = config.strides or (1, *[2] * (len(config.blocks) - 1))
        for stage, (count, stage_stride) in enumerate(zip(config.blocks, stages, strict=True)):
            channels = config.channels * 2**stage
            for number in range(count):
                stride = 1 if number else stage_stride
                self.blocks.append(Block(config, width, channels, stride))
                self.strides.append(stride)
                beside += self.stride + (0 if config.bottleneck else self.stride * stride)
                self.stride *= stride
                width, bins = channels * (4 if config.bottleneck else 1), -(-bins // stride)
        self.head = Head(config, width if config.bin_mean else width * bins, two_layers=config.two_layers)
        # the means of squeeze-excitation are asked for before all strides are behind them
        self.reach = None if config.squeeze else layers.reach(config, beside)
        layers.kaiming(self)
        layers.channels_last(self)

    def forward(self, feat_BTF: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return emb_BD; rows are valid for `frames_B` frames, at least one (None: all)."""
        x_BCTF = feat_BTF[:, None]
        valid = layers.valid_frames(x_BCTF, frames_B, axis=2)
        x_BCTF = self.first(blank(x_BCTF, valid)).contiguous(memory_format=torch.channels_last)
        x_BCTF = blank(F.relu(self.norm(x_BCTF), inplace=True), valid)
        for block, stride in zip(self.blocks, self.strides, strict=True):
            before = valid
            if frames_B is not None and valid is not None and stride > 1:
                valid, frames_B = valid[:, :, ::stride], (frames_B + stride - 1) // stride
            x_BCTF = block(x_BCTF, before, valid)
        if self.config.bin_mean:
            return self.head(x_BCTF.mean(dim=3).transpose(1, 2), frames_B)
        return self.head(layers.bins_to_frames(x_BCTF), frames_B)
