"""ReDimNet: Yakovlev et al., "Reshape dimensions network for speaker recognition" (Interspeech 2024).

Shapes: B batch, C channels, T frames, F bins, H = C * F values per frame, R reduced values, D embedding.
"""

from __future__ import annotations

from math import prod
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.encoders import layers
from voxid.encoders.layers import Head, blank
from voxid.encoders.pooling import Pooling, PoolingConfig
from voxid.errors import BadConfig

KERNELS = (7, 19, 31, 59)  # frames, of the convolutions before the attention
HEADS = 4  # of the attention over time


class ReDimNetConfig(PoolingConfig):
    """The options of `ReDimNetEncoder`, a number for each stage; the defaults are the paper's B0.

    The input's bins have to be a multiple of the product of `strides`; B0 was published with 60, B2 with 72.
    """

    later = PoolingConfig.later | {"tanh_gelu"}
    channels: int = Field(10, ge=1)  # of the first map; F bins make F * channels values a frame
    strides: tuple[int, ...] = Field((1, 2, 1, 2, 1), min_length=1)  # bins become fewer, channels more
    blocks: tuple[int, ...] = Field((2, 3, 3, 4, 3), min_length=1)  # two-dimensional blocks
    widen: tuple[int, ...] = Field((1, 2, 3, 2, 1), min_length=1)  # factor of the channels inside the stage
    reduce: tuple[int, ...] = Field((30, 30, 30, 10, 10), min_length=1)  # of H over time; 0: no such block
    block: Literal["residual", "residual_se", "convnext"] = "residual"
    group: int = Field(1, ge=1)  # channels that a 3x3 convolution sees together
    pooling: Pooling = "attentive"
    tanh_gelu: bool = False  # the attention's GELU by Hendrycks and Gimpel's formula with tanh

    @model_validator(mode="after")
    def _fits_together(self) -> ReDimNetConfig:
        lengths = {len(self.strides), len(self.blocks), len(self.widen), len(self.reduce)}
        if len(lengths) > 1:
            raise ValueError("strides, blocks, widen and reduce need one number for each stage")
        if min(*self.strides, *self.widen) < 1 or min(*self.blocks, *self.reduce) < 0:
            raise ValueError("strides and widen are 1 or more, blocks and reduce 0 or more")
        width = self.channels
        for stride in self.strides:
            width *= stride
            if width % self.group:
                raise ValueError(
                    f"group has to divide the channels of every stage; {self.group} does not divide {width}"
                )
        return self


class LayerNorm(nn.Module):
    """Normalisation of every frame (and bin) over its channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Return a tensor of the same shape."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Convolution within groups, batch normalisation, GELU, 1x1; the input is added."""

    def __init__(self, channels: int, kernel: tuple[int, int], group: int) -> None:
        super().__init__()
        padding = (kernel[0] // 2, kernel[1] // 2)
        self.conv = nn.Conv2d(
            channels, channels, kernel, padding=padding, groups=channels // group, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return a tensor of the same shape, zero in the frames that are not valid."""
        return blank(x + self.mix(F.gelu(self.norm(self.conv(x)))), valid)


class BinExcitation(nn.Module):
    """Scales each bin by what the means of all bins over channels and frames say."""

    def __init__(self, bins: int, squeeze: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(bins, squeeze), nn.Linear(squeeze, bins)

    def forward(self, x_BCTF: Tensor, valid: Tensor | None) -> Tensor:
        """Return x_BCTF scaled."""
        mean_BTF = x_BCTF.mean(dim=1)
        if valid is None:
            mean_BF = mean_BTF.mean(dim=1)
        else:
            mean_BF = mean_BTF.masked_fill(~valid[:, 0], 0).sum(dim=1) / valid[:, 0].sum(dim=1)
        return x_BCTF * torch.sigmoid(self.up(F.relu(self.down(mean_BF))))[:, None, None]


class Residual(nn.Module):
    """Two 3x3 convolutions within groups, each mixed by a 1x1; the input is added.

    With `bins`, every bin of what they give is scaled by what the means of all bins say.
    """

    def __init__(self, channels: int, group: int, bins: int = 0) -> None:
        super().__init__()
        squeeze = min(64, max(channels, 32))
        self.excite = BinExcitation(bins, squeeze) if bins else None

        def grouped() -> nn.Conv2d:
            return nn.Conv2d(channels, channels, 3, padding=1, groups=channels // group, bias=False)

        self.conv1, self.mix1 = grouped(), nn.Conv2d(channels, channels, 1)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2, self.mix2 = grouped(), nn.Conv2d(channels, channels, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return a tensor of the same shape, zero in the frames that are not valid."""
        inside = self.norm1(F.relu(self.mix1(self.conv1(x)), inplace=True))
        inside = self.norm2(self.mix2(self.conv2(blank(inside, valid))))
        if self.excite is not None:
            inside = self.excite(inside, valid)
        return blank(F.relu(inside + x, inplace=True), valid)


class Attention(nn.Module):
    """A transformer layer over time, normalised after each of its halves (Vaswani et al., 2017).

    The keys have no bias: it would add the same to every frame's score, which no softmax can see.
    """

    def __init__(self, channels: int, tanh_gelu: bool) -> None:
        super().__init__()
        self.gelu = "tanh" if tanh_gelu else "none"
        self.query, self.value = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)
        self.out = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.wide, self.narrow = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.last_norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x_BTR: Tensor, valid_B11T: Tensor | None) -> Tensor:
        """Return x_BTR; no frame looks at one that is not valid."""
        inputs = (self.query, self.key, self.value)
        parts = (layer(x_BTR).unflatten(2, (HEADS, -1)).transpose(1, 2) for layer in inputs)
        seen = F.scaled_dot_product_attention(*parts, attn_mask=valid_B11T)
        x_BTR = self.norm(x_BTR + self.out(seen.transpose(1, 2).flatten(2)))
        return self.last_norm(x_BTR + self.narrow(F.gelu(self.wide(x_BTR), approximate=self.gelu)))


class TimeBlock(nn.Module):
    """Reduce a frame's values, look ever farther over time, expand again; the input is added."""

    def __init__(self, values: int, reduced: int, tanh_gelu: bool) -> None:
        super().__init__()
        self.reduce, self.norm = nn.Linear(values, reduced), nn.LayerNorm(reduced, eps=1e-6)
        # a kernel along the axis before the last: oneDNN is fastest so where each channel is alone
        self.convs = nn.ModuleList(ConvNeXt(reduced, (kernel, 1), group=1) for kernel in KERNELS)
        self.attention = Attention(reduced, tanh_gelu)
        self.expand = nn.Linear(reduced, values)

    def forward(self, out_BTH: Tensor, valid_B1T1: Tensor | None) -> Tensor:
        """Return out_BTH."""
        x_BRT1 = self.norm(self.reduce(out_BTH)).transpose(1, 2)[..., None]
        x_BRT1 = blank(x_BRT1, valid_B1T1)
        for conv in self.convs:
            x_BRT1 = conv(x_BRT1, valid_B1T1)
        keys_B11T = None if valid_B1T1 is None else valid_B1T1.transpose(2, 3)
        x_BTR = self.attention(x_BRT1[..., 0].transpose(1, 2), keys_B11T)
        return out_BTH + self.expand(x_BTR)


class ReDimNetStage(nn.Module):
    """Frames as a map of channels and bins through two-dimensional blocks, back to frames, over time."""

    def __init__(self, config: ReDimNetConfig, number: int, channels: int, bins: int) -> None:
        super().__init__()
        stride, factor = config.strides[number], config.widen[number]
        values, self.channels = channels * bins, channels
        narrow, wide = channels * stride, channels * stride * factor
        self.enter = nn.Conv2d(channels, wide, (1, stride), stride=(1, stride))
        self.blocks = nn.ModuleList(
            ConvNeXt(wide, (3, 3), config.group)
            if config.block == "convnext"
            else Residual(wide, config.group, bins // stride if config.block == "residual_se" else 0)
            for _ in range(config.blocks[number])
        )
        self.leave = None
        if factor > 1:
            groups = narrow // config.group
            self.leave = nn.Sequential(
                nn.Conv2d(wide, narrow, 3, padding=1, groups=groups, bias=False),
                nn.BatchNorm2d(narrow),
                nn.GELU(),
                nn.Conv2d(narrow, narrow, 1),
            )
        reduced = values // config.reduce[number] if config.reduce[number] else 0
        self.over_time = TimeBlock(values, reduced, config.tanh_gelu) if reduced else None

    def forward(self, out_BTH: Tensor, valid_B1T1: Tensor | None) -> Tensor:
        """Return out_BTH: bin by bin, all channels of this stage."""
        x_BCTF = out_BTH.unflatten(2, (-1, self.channels)).permute(0, 3, 1, 2)
        x_BCTF = blank(self.enter(x_BCTF), valid_B1T1)
        for block in self.blocks:
            x_BCTF = block(x_BCTF, valid_B1T1)
        if self.leave is not None:
            x_BCTF = self.leave(x_BCTF)
        out_BTH = layers.bins_to_frames(x_BCTF)
        return out_BTH if self.over_time is None else self.over_time(out_BTH, valid_B1T1)


class ReDimNetEncoder(nn.Module):
    """Stages that read a weighted sum of all that came before them, as a map and as a sequence.

    A stage with stride s has s times the channels and an s-th of the bins, so that a frame always has H
    values, and outputs of any stage can be added. B0: 1.0 M parameters, B2: 4.7 M.

    >>> encoder = ReDimNetEncoder(ReDimNetConfig(), input_dim=60).eval()
    >>> encoder.dim, tuple(encoder(torch.zeros(2, 100, 60)).shape)
    (192, (2, 192))

    Raise BadConfig when the features' bins are no multiple of the strides' product, or a reduced size is none
    of the attention's 4 heads.
    """

    Config = ReDimNetConfig
    splits_by_rows = False  # batch normalisation

    def __init__(self, config: ReDimNetConfig, input_dim: int) -> None:
        super().__init__()
        _check(config, input_dim)
        self.config = config
        self.dim = config.embedding
        self.first = nn.Conv2d(1, config.channels, 3, padding=1)
        self.norm = LayerNorm(config.channels)
        channels, bins = config.channels, input_dim
        self.stages = nn.ModuleList()
        for number, stride in enumerate(config.strides):
            self.stages.append(ReDimNetStage(config, number, channels, bins))
            channels, bins = channels * stride, bins // stride
        values = channels * bins
        # how much of each earlier output stage n reads; the first has one input, and nothing to weigh
        self.weights = nn.ParameterList(
            nn.Parameter(torch.zeros(inputs, values)) for inputs in range(2, len(config.strides) + 2)
        )
        self.head = Head(config, values, norm_pooled=True)
        layers.channels_last(self)

    def forward(self, feat_BTF: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return emb_BD; rows are valid for `frames_B` frames, at least one (None: all)."""
        x_BCTF = feat_BTF[:, None]
        valid_B1T1 = layers.valid_frames(x_BCTF, frames_B, axis=2)
        x_BCTF = self.first(blank(x_BCTF, valid_B1T1)).contiguous(memory_format=torch.channels_last)
        outputs = [layers.bins_to_frames(self.norm(x_BCTF))]
        out_BTH = outputs[0]
        for stage, weight in zip(self.stages, self.weights, strict=True):
            outputs.append(stage(out_BTH, valid_B1T1))
            out_BTH = _weighted_sum(outputs, weight)
        return self.head(out_BTH, frames_B)


def _weighted_sum(outputs: list[Tensor], weight: Tensor) -> Tensor:
    """Return the sum of `outputs`, each value of a frame weighed by a softmax over them."""
    shares = F.softmax(weight, dim=0).unbind()
    total = outputs[0] * shares[0]
    for out_BTH, share in zip(outputs[1:], shares[1:], strict=True):
        total = torch.addcmul(total, out_BTH, share)
    return total


def _check(config: ReDimNetConfig, input_dim: int) -> None:
    if input_dim % (step := prod(config.strides)):
        raise BadConfig(
            f"encoder.strides: {list(config.strides)} divide the features' bins by {step}, "
            f"got {input_dim} bins. Take features with a multiple of {step}, or other strides."
        )
    for reduce in config.reduce:
        reduced = config.channels * input_dim // reduce if reduce else HEADS
        if not reduced or reduced % HEADS:
            raise BadConfig(
                f"encoder.reduce: {config.channels} channels x {input_dim} bins / {reduce} = {reduced} has "
                f"to be a multiple of the attention's {HEADS} heads. Take another number for this stage, "
                "or 0 for no block over time."
            )
