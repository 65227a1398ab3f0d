"""ECAPA-TDNN: Desplanques, Thienpondt and Demuynck (Interspeech 2020), arXiv 2005.07143.

Shapes: B batch, T frames, F features per frame, C channels, D embedding.
"""

from __future__ import annotations

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.encoders import layers
from voxid.encoders.layers import ConvReluNorm, Head, SqueezeExcitation, blank
from voxid.encoders.pooling import Pooling, PoolingConfig


class EcapaConfig(PoolingConfig):
    """The options of `EcapaEncoder`; the defaults are the paper's smaller network (its larger: 1,024)."""

    later = PoolingConfig.later | {"summed", "mirror", "norm_aggregate"}
    channels: int = Field(512, ge=1)
    dilations: tuple[int, ...] = Field((2, 3, 4), min_length=1)  # one block each
    stride: int = Field(1, ge=1)  # frames, of the first convolution: 2 halves the work of all that follows
    kernel: int = Field(3, ge=1)  # frames, of the blocks
    scale: int = Field(8, ge=2)  # parts a block cuts its channels into
    squeeze: int = Field(128, ge=1)  # values inside squeeze-excitation
    aggregate: int = Field(1536, ge=1)  # channels that are pooled
    pooling: Pooling = "attentive"
    summed: bool = True  # a block reads the sum of all before it; False: the block before it alone
    mirror: bool = False  # beyond the ends lie the frames inside, mirrored, instead of zeros
    norm_aggregate: bool = False  # batch normalisation of the channels that are pooled

    @model_validator(mode="after")
    def _fits_together(self) -> EcapaConfig:
        if self.channels % self.scale:
            raise ValueError(f"channels has to be a multiple of scale, got {self.channels} and {self.scale}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel has to be odd, or frames would shift: {self.kernel} is even")
        if min(self.dilations) < 1:
            raise ValueError(f"dilations have to be 1 or more, {min(self.dilations)} is not")
        return self


class SeRes2Block(nn.Module):
    """1x1, dilated convolutions that hand their result to the next part of the channels, 1x1, excitation.

    The first part passes as it is; part n is convolved together with what came of part n - 1 (Gao et al.,
    Res2Net, 2019), so that later parts see further into the past and the future.
    """

    def __init__(self, config: EcapaConfig, dilation: int) -> None:
        super().__init__()
        channels, part = config.channels, config.channels // config.scale
        self.scale = config.scale
        self.before = ConvReluNorm(channels, channels)
        self.parts = nn.ModuleList(
            ConvReluNorm(part, part, config.kernel, dilation, mirror=config.mirror)
            for _ in range(config.scale - 1)
        )
        self.after = ConvReluNorm(channels, channels)
        self.excite = SqueezeExcitation(channels, config.squeeze)

    def forward(self, x_BC1T: Tensor, valid: Tensor | None) -> Tensor:
        """Return x_BC1T, as many channels and frames as before."""
        first, *rest = blank(self.before(x_BC1T), valid).chunk(self.scale, dim=1)
        outputs = [first]
        for layer, part in zip(self.parts, rest, strict=True):
            together = part if len(outputs) == 1 else part + outputs[-1]
            outputs.append(blank(layer(together, valid), valid))
        inside = self.after(torch.cat(outputs, dim=1))
        return x_BC1T + self.excite(inside, valid)


class EcapaEncoder(nn.Module):
    """Dilated SE-Res2 blocks, their outputs aggregated and pooled by attention.

    A block reads the sum of all that came before it, as in section 2.3 of the paper. About 6.2 M parameters;
    1,024 channels: 14.7 M.

    >>> encoder = EcapaEncoder(EcapaConfig(channels=64, aggregate=96), input_dim=80).eval()
    >>> encoder.dim, tuple(encoder(torch.zeros(2, 100, 80)).shape)
    (192, (2, 192))
    """

    Config = EcapaConfig
    splits_by_rows = False  # batch normalisation

    def __init__(self, config: EcapaConfig, input_dim: int) -> None:
        super().__init__()
        self.config = config
        self.dim = config.embedding
        self.first = ConvReluNorm(
            input_dim, config.channels, kernel=5, stride=config.stride, mirror=config.mirror
        )
        self.blocks = nn.ModuleList(SeRes2Block(config, dilation) for dilation in config.dilations)
        self.aggregate = nn.Conv2d(len(config.dilations) * config.channels, config.aggregate, 1)
        self.norm = nn.BatchNorm2d(config.aggregate) if config.norm_aggregate else nn.Identity()
        self.head = Head(config, config.aggregate, norm_pooled=True, norm_embedding=True)
        beside = sum(
            dilation * (config.scale - 1) * (config.kernel - 1) // 2 for dilation in config.dilations
        )
        self.stride, self.reach = config.stride, layers.reach(config, 2 + config.stride * beside)
        layers.channels_last(self)

    def forward(self, feat_BTF: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return emb_BD; rows are valid for `frames_B` frames, at least one (None: all)."""
        x_BC1T = layers.as_sequence(feat_BTF)
        valid = layers.valid_frames(x_BC1T, frames_B, axis=3)
        outputs = [self.first(blank(x_BC1T, valid), valid)]
        stride = self.config.stride
        if frames_B is not None and valid is not None and stride > 1:
            valid, frames_B = valid[..., ::stride], (frames_B + stride - 1) // stride
        for block in self.blocks:
            before = sum(outputs[1:], start=outputs[0]) if self.config.summed else outputs[-1]
            outputs.append(block(before, valid))
        aggregated = self.norm(F.relu(self.aggregate(torch.cat(outputs[1:], dim=1)), inplace=True))
        return self.head(layers.as_frames(aggregated), frames_B)
