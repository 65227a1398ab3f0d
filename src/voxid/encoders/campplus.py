"""CAM++: Wang, Zheng, Chen, Cheng and Chen (Interspeech 2023), arXiv 2303.00332.

Shapes: B batch, C channels, T frames, F features per frame (bins), S segments, D embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.encoders import layers
from voxid.encoders.layers import Head, Shortcut, blank, time_conv
from voxid.encoders.pooling import PoolingConfig

REDUCTION = 2  # the context is squeezed by this before it becomes a mask


class CamPlusConfig(PoolingConfig):
    """The options of `CamPlusEncoder`; the defaults are the paper's network."""

    front: int = Field(32, ge=1)  # channels of the two-dimensional front end
    channels: int = Field(128, ge=1)  # that enter the dense blocks
    growth: int = Field(32, ge=1)  # channels that each dense layer adds
    bottleneck: int = Field(128, ge=REDUCTION)  # channels inside a dense layer
    blocks: tuple[int, ...] = Field((12, 24, 16), min_length=1)  # layers of each dense block
    dilations: tuple[int, ...] = Field((1, 2, 2), min_length=1)  # of each dense block
    segment: int = Field(100, ge=1)  # frames (after the stride of 2) that share one mask
    embedding: int = Field(512, ge=1)

    @model_validator(mode="after")
    def _a_dilation_a_block(self) -> CamPlusConfig:
        if len(self.blocks) != len(self.dilations) or min(*self.blocks, *self.dilations) < 1:
            raise ValueError(
                "blocks and dilations need the same number of entries, all 1 or more, "
                f"got {self.blocks} and {self.dilations}"
            )
        return self


class NormRelu(nn.Module):
    """Batch normalisation and ReLU, before the convolution they serve."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return a tensor of the same shape, zero in the frames that are not valid."""
        return blank(F.relu(self.norm(x), inplace=True), valid)


class FrontBlock(nn.Module):
    """A residual block of two 3x3 convolutions; the stride is over the bins alone."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, stride=(1, stride), padding=1, bias=False)
        self.relu1 = NormRelu(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut = Shortcut(channels, channels, (1, stride)) if stride > 1 else nn.Identity()

    def forward(self, x_BCTF: Tensor, valid: Tensor | None) -> Tensor:
        """Return x_BCTF with the bins divided by the stride."""
        inside = self.norm2(self.conv2(self.relu1(self.conv1(x_BCTF), valid)))
        return blank(F.relu(inside + self.shortcut(x_BCTF), inplace=True), valid)


class FrontEnd(nn.Module):
    """Two-dimensional convolutions: patterns are found at any height. An eighth of the bins comes out."""

    def __init__(self, channels: int, bins: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, padding=1, bias=False)
        self.first_relu = NormRelu(channels)
        self.blocks = nn.ModuleList(FrontBlock(channels, stride) for stride in (2, 1, 2, 1))
        self.last = nn.Conv2d(channels, channels, 3, stride=(1, 2), padding=1, bias=False)
        self.last_relu = NormRelu(channels)
        self.dim = channels * -(-bins // 8)

    def forward(self, feat_BTF: Tensor, valid_B1T1: Tensor | None) -> Tensor:
        """Return out_BTH with `dim` values a frame."""
        x_BCTF = self.first(blank(feat_BTF[:, None], valid_B1T1)).contiguous(
            memory_format=torch.channels_last
        )
        x_BCTF = self.first_relu(x_BCTF, valid_B1T1)
        for block in self.blocks:
            x_BCTF = block(x_BCTF, valid_B1T1)
        return layers.bins_to_frames(self.last_relu(self.last(x_BCTF), valid_B1T1))


class ContextMask(nn.Module):
    """How much of each channel to let through, from the means of the utterance and of the frame's segment.

    All frames of a segment share their mask, so it is computed once for each segment, not for each frame.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(inputs, inputs // REDUCTION)
        self.expand = nn.Linear(inputs // REDUCTION, outputs)

    def forward(self, x_BC1T: Tensor, segments: Segments) -> Tensor:
        """Return the mask of each frame, (B, outputs, 1, T); in `x_BC1T`, invalid frames are zero."""
        sum_BSC = segments.member_TS.T @ layers.as_frames(x_BC1T)
        mean_BSC = sum_BSC / segments.frames_BS1.clamp_min(1)  # some lie beyond a row's end
        mean_B1C = sum_BSC.sum(dim=1, keepdim=True) / segments.frames_BS1.sum(dim=1, keepdim=True)
        mask_BSC = torch.sigmoid(self.expand(F.relu(self.squeeze(mean_B1C + mean_BSC))))
        return layers.as_sequence(segments.member_TS @ mask_BSC)


@dataclass(frozen=True)
class Segments:
    """Which segment each frame is in (1 there, else 0), and how many valid frames each segment has."""

    member_TS: Tensor
    frames_BS1: Tensor

    @classmethod
    def of(cls, x_BC1T: Tensor, valid: Tensor | None, length: int) -> Segments:
        """Return the segments of `length` frames; the last ones may be shorter, or empty."""
        frames = x_BC1T.shape[3]
        segment_T = torch.arange(frames, device=x_BC1T.device) // length
        # never one alone: an exported graph would take a single segment for all there can be
        numbers_S = torch.arange(frames // length + 2, device=x_BC1T.device)
        member_TS = (segment_T[:, None] == numbers_S).to(x_BC1T.dtype)
        if valid is None:
            return cls(member_TS, member_TS.sum(dim=0)[None, :, None])
        return cls(member_TS, member_TS.T @ valid[:, 0, 0, :, None].to(x_BC1T.dtype))


class DenseLayer(nn.Module):
    """Squeeze all channels so far, convolve over time, mask by the context: `growth` new channels."""

    def __init__(self, config: CamPlusConfig, channels: int, dilation: int) -> None:
        super().__init__()
        self.relu1 = NormRelu(channels)
        self.squeeze = nn.Conv2d(channels, config.bottleneck, 1, bias=False)
        self.relu2 = NormRelu(config.bottleneck)
        self.conv = time_conv(config.bottleneck, config.growth, 3, dilation=dilation, bias=False)
        self.mask = ContextMask(config.bottleneck, config.growth)

    def forward(self, x_BC1T: Tensor, valid: Tensor | None, segments: Segments) -> Tensor:
        """Return the new channels alone."""
        inside = self.relu2(self.squeeze(self.relu1(x_BC1T, None)), valid)
        return self.conv(inside) * self.mask(inside, segments)


class Transition(nn.Module):
    """Halve the channels between dense blocks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.relu = NormRelu(channels)
        self.conv = nn.Conv2d(channels, channels // 2, 1, bias=False)

    def forward(self, x_BC1T: Tensor) -> Tensor:
        """Return half as many channels."""
        return self.conv(self.relu(x_BC1T, None))


class CamPlusEncoder(nn.Module):
    """A small two-dimensional front end, then densely connected TDNN layers masked by their context.

    Every layer of a block reads the outputs of all layers before it. About 7.2 M parameters.

    >>> small = CamPlusConfig(front=4, channels=8, growth=4, bottleneck=8, blocks=(2, 1), dilations=(1, 2))
    >>> encoder = CamPlusEncoder(small, input_dim=80).eval()
    >>> encoder.dim, tuple(encoder(torch.zeros(2, 100, 80)).shape)
    (512, (2, 512))
    """

    Config = CamPlusConfig
    splits_by_rows = False  # batch normalisation

    def __init__(self, config: CamPlusConfig, input_dim: int) -> None:
        super().__init__()
        self.config = config
        self.dim = config.embedding
        self.front = FrontEnd(config.front, input_dim)
        self.first = time_conv(self.front.dim, config.channels, 5, stride=2, bias=False)
        self.first_relu = NormRelu(config.channels)
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        width = config.channels
        for count, dilation in zip(config.blocks, config.dilations, strict=True):
            widths = [width + n * config.growth for n in range(count + 1)]
            self.blocks.append(nn.ModuleList(DenseLayer(config, w, dilation) for w in widths[:-1]))
            self.transitions.append(Transition(widths[-1]))
            width = widths[-1] // 2
        self.last_relu = NormRelu(width)
        self.head = Head(config, width, norm_embedding=True, affine=False)
        layers.kaiming(self)
        layers.channels_last(self)

    def forward(self, feat_BTF: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return emb_BD; rows are valid for `frames_B` frames, at least one (None: all)."""
        valid_B1T1 = layers.valid_frames(feat_BTF[:, None], frames_B, axis=2)
        x_BC1T = self.first(layers.as_sequence(self.front(feat_BTF, valid_B1T1)))
        if frames_B is not None:
            frames_B = (frames_B + 1) // 2
        valid = layers.valid_frames(x_BC1T, frames_B, axis=3)
        segments = Segments.of(x_BC1T, valid, self.config.segment)
        x_BC1T = self.first_relu(x_BC1T, valid)
        for block, transition in zip(self.blocks, self.transitions, strict=True):
            for layer in block:  # pyright: ignore[reportGeneralTypeIssues]
                x_BC1T = torch.cat([x_BC1T, layer(x_BC1T, valid, segments)], dim=1)
            x_BC1T = transition(x_BC1T)
        return self.head(layers.as_frames(self.last_relu(x_BC1T, None)), frames_B)
