"""From one vector a frame to one vector an utterance, over the valid frames only.

`build(config, channels)` gives the pooling that a recipe names; `mean`, `last` and `statistics` are also
plain functions. Deviations lose digits quickly, so they are computed in 32 bits.

Shapes: B batch, T frames, H values per frame, A values inside the attention, N heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from voxid.config import GrownConfig
from voxid.encoders import whole
from voxid.errors import BadConfig

GROUP = 128  # channels that attention weighs at once, in use: a long recording has many frames
LEAST_VARIANCE = 1e-6  # a deviation below 1e-3 counts as that: the root's slope has no end at zero


Pooling = Literal["mean", "last", "statistics", "attentive", "multihead", "self_attentive"]


class PoolingConfig(GrownConfig):
    """The options of pooling and embedding that convolutional encoders share; flat, as tables of a recipe.

    The last ones are for published networks, whose deviations differ in what they do about zero.
    """

    later = frozenset({"unbiased", "least_variance", "added_variance", "attention_norm"})
    pooling: Pooling = "statistics"
    attention: int = Field(default=128, ge=1)  # values a frame inside the attention
    global_context: bool = True  # the attention also sees the utterance's mean and deviation
    heads: int = Field(default=4, ge=1)  # of "multihead"
    embedding: int = Field(default=192, ge=1)  # length of the embedding
    unbiased: bool = False  # plain deviations divide by one frame less than there are
    added_variance: float = Field(default=0.0, ge=0)  # to plain ones, before the root
    least_variance: float = Field(default=LEAST_VARIANCE, ge=0)  # before the root, of all deviations
    attention_norm: bool = False  # ReLU and batch normalisation inside the attention, before tanh


def mask(frames_B: Tensor, length: int) -> Tensor:
    """Return valid_BT, True where frame t of row b is one of its first `frames_B[b]`.

    >>> mask(torch.tensor([1, 3]), 3).tolist()
    [[True, False, False], [True, True, True]]
    """
    return torch.arange(length, device=frames_B.device) < frames_B[:, None]


def at_least_float32(x: Tensor) -> Tensor:
    """Return `x` in 32 bits or more: sums over many frames lose too much in 16."""
    return x if x.dtype == torch.float64 else x.float()


def mean(out_BTH: Tensor, frames_B: Tensor | None = None) -> Tensor:
    """Return the mean over each row's valid frames, (B, H).

    >>> mean(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2])).tolist()
    [[2.0]]
    """
    if frames_B is None:
        return whole.mean(out_BTH)
    valid_BT = mask(frames_B, out_BTH.shape[1])
    return out_BTH.masked_fill(~valid_BT[:, :, None], 0).sum(dim=1) / frames_B[:, None]


def last(out_BTH: Tensor, frames_B: Tensor | None = None) -> Tensor:
    """Return each row's last valid frame, (B, H).

    >>> last(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2])).tolist()
    [[3.0]]
    """
    if frames_B is None:
        return out_BTH[:, -1]
    last_B11 = (frames_B - 1)[:, None, None]
    return out_BTH.gather(1, last_B11.expand(-1, 1, out_BTH.shape[2]))[:, 0]


def statistics(
    out_BTH: Tensor, frames_B: Tensor | None = None, config: PoolingConfig | None = None
) -> Tensor:
    """Return the mean and, after it, the standard deviation of each row's valid frames, (B, 2H).

    Snyder et al., "Deep neural network embeddings for text-independent speaker verification" (2017). The
    deviation divides by the number of frames, so that a single frame has one too; it is 1e-3 at least.

    `config` may say that it divides by one less, and what is done about variances near zero.

    >>> statistics(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2])).tolist()
    [[2.0, 1.0]]
    """
    out_BTH, config = at_least_float32(out_BTH), config or PoolingConfig()
    if frames_B is not None:
        valid_BT1, count_BH = mask(frames_B, out_BTH.shape[1])[:, :, None], frames_B[:, None]
        out_BTH = out_BTH.masked_fill(~valid_BT1, 0)
        mean_BH, variance_BH = moments(out_BTH, valid_BT1.to(out_BTH.dtype) / count_BH[:, None])
    elif (of_all := whole.moments(out_BTH)) is not None:
        mean_BH, variance_BH, count_BH = of_all
    else:
        count_BH = out_BTH.new_ones(1, out_BTH.shape[1]).sum(dim=1, keepdim=True)
        mean_BH, variance_BH = moments(out_BTH, out_BTH.new_ones(1, 1, 1) / out_BTH.shape[1])
    if config.unbiased:
        variance_BH = variance_BH * (count_BH / (count_BH - 1).clamp_min(1))
    if config.added_variance:
        variance_BH = variance_BH + config.added_variance
    return _with_deviation(mean_BH, variance_BH, config)


def moments(out_BTH: Tensor, weight_BTH: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance, (B, H) each, under weights that sum to one over the frames."""
    mean_BH, variance_BH = _Moments.apply(at_least_float32(out_BTH), at_least_float32(weight_BTH))
    return mean_BH.flatten(1), variance_BH.flatten(1)


def _with_deviation(mean_BH: Tensor, variance_BH: Tensor, config: PoolingConfig) -> Tensor:
    """Return the mean and after it the deviation, (B, 2H)."""
    return torch.cat([mean_BH, variance_BH.clamp_min(config.least_variance).sqrt()], dim=1)


class _Moments(torch.autograd.Function):
    """Weighted mean and variance over the frames, and their gradients written out.

    These are the largest arrays of a one-dimensional network, and an operation on them costs the way
    to memory: the operations that autograd would note down take twice as long.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        mean = (x * weight).sum(dim=1, keepdim=True)
        squares = (x - mean).square_()
        variance = squares.mul_(weight).sum(dim=1)
        ctx.save_for_backward(x, weight, mean)
        return mean.squeeze(1), variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, weight, mean = ctx.saved_tensors
        of_mean, of_variance = (grad.unsqueeze(1) for grad in grads)
        away = x - mean  # weighted, these sum to zero: that the variance depends on the mean does not matter
        grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = away.square().mul_(of_variance).addcmul_(x, of_mean).sum_to_size(weight.shape)
        return away.mul_(2 * of_variance).add_(of_mean).mul_(weight), grad_weight


class PoolingLayer(nn.Module):
    """The base of all poolings: `dim` is the number of values it gives a row."""

    dim: int


class Mean(PoolingLayer):
    """`mean`, as a part of a network."""

    def __init__(self, config: PoolingConfig, channels: int) -> None:
        super().__init__()
        self.dim = channels

    def forward(self, out_BTH: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return (B, dim); rows are valid for `frames_B` frames (None: all)."""
        return mean(out_BTH, frames_B)


class Last(Mean):
    """`last`, as a part of a network."""

    def forward(self, out_BTH: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return (B, dim); rows are valid for `frames_B` frames (None: all)."""
        return last(out_BTH, frames_B)


class Statistics(Mean):
    """`statistics`, as a part of a network."""

    def __init__(self, config: PoolingConfig, channels: int) -> None:
        super().__init__(config, channels)
        self.config = config
        self.dim = 2 * channels

    def forward(self, out_BTH: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return (B, dim); rows are valid for `frames_B` frames (None: all)."""
        return statistics(out_BTH, frames_B, self.config)


class Attentive(PoolingLayer):
    """Mean and deviation in which every channel weighs the frames in its own way: dim is 2 * channels.

    The channel- and context-dependent statistics pooling of ECAPA-TDNN (Desplanques et al., 2020, section
    2.1): softmax over the frames of v_c . tanh(W [h_t; mean; deviation] + b). The paper's W is kept in two
    parts: what it says of the utterance's mean and deviation is the same for all frames, and is computed once
    for each row instead of once for each frame. The paper adds a constant to each channel's scores, which no
    softmax can see; it is left out.
    """

    def __init__(self, config: PoolingConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.dim = 2 * channels
        self.frame = nn.Linear(channels, config.attention)
        context = config.global_context
        self.context = nn.Linear(2 * channels, config.attention, bias=False) if context else None
        self.norm = nn.BatchNorm1d(config.attention) if config.attention_norm else None
        self.score = nn.Linear(config.attention, self._weights(config, channels), bias=False)

    def _weights(self, config: PoolingConfig, channels: int) -> int:
        """Return how many weights a frame has."""
        return channels

    def forward(self, out_BTH: Tensor, frames_B: Tensor | None = None) -> Tensor:
        """Return (B, dim); rows are valid for `frames_B` frames (None: all)."""
        inside_BTA = self.frame(out_BTH)
        if self.context is not None:
            inside_BTA = inside_BTA + self.context(statistics(out_BTH, frames_B, self.config))[:, None]
        if self.norm is not None:
            inside_BTA = self.norm(F.relu(inside_BTA).transpose(1, 2)).transpose(1, 2)
        inside_BTA, weight_HA, channels = torch.tanh(inside_BTA), self.score.weight, out_BTH.shape[2]
        beyond_BT1 = None if frames_B is None else ~mask(frames_B, out_BTH.shape[1])[:, :, None]
        groups = [(out_BTH, weight_HA)]
        if not self.training and channels > GROUP and len(weight_HA) == channels:
            parts = (slice(first, first + GROUP) for first in range(0, channels, GROUP))
            groups = [(out_BTH[:, :, part], weight_HA[part]) for part in parts]
        weighed = [self._weighed(out, inside_BTA, weight, beyond_BT1) for out, weight in groups]
        means, variances, amounts = zip(*weighed, strict=True)
        return self._pooled(*whole.of_all(torch.cat(means, dim=1), torch.cat(variances, dim=1), *amounts)[:2])

    def _weighed(
        self, out_BTH: Tensor, inside_BTA: Tensor, weight_HA: Tensor, beyond_BT1: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return mean and variance of some channels, weighed by attention, and `whole.amount` of that."""
        score_BTH = whole.own_scores(at_least_float32(F.linear(inside_BTA, weight_HA)))
        if beyond_BT1 is not None:
            score_BTH = score_BTH.masked_fill(beyond_BT1, -torch.inf)
            out_BTH = out_BTH.masked_fill(beyond_BT1, 0)  # 0 times NaN would be NaN
        weight_BTH = F.softmax(score_BTH, dim=1)
        return *self._moments(out_BTH, weight_BTH), whole.amount(score_BTH, weight_BTH)

    def _moments(self, out_BTH: Tensor, weight_BTH: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean and variance under weights that sum to one over the frames."""
        return moments(out_BTH, weight_BTH)

    def _pooled(self, mean_BH: Tensor, variance_BH: Tensor) -> Tensor:
        """Return what is pooled of them, (B, dim)."""
        return _with_deviation(mean_BH, variance_BH, self.config)


class SelfAttentive(Attentive):
    """The mean of the frames, one weight a frame for all channels: dim is channels.

    Cai, Chen and Li, "Exploring the encoding layer and loss function in end-to-end speaker and language
    recognition system" (Odyssey 2018).
    """

    def __init__(self, config: PoolingConfig, channels: int) -> None:
        super().__init__(config, channels)
        self.dim = channels

    def _weights(self, config: PoolingConfig, channels: int) -> int:
        return 1

    def _moments(self, out_BTH: Tensor, weight_BTH: Tensor) -> tuple[Tensor, Tensor]:
        mean_BH = (at_least_float32(out_BTH) * weight_BTH).sum(dim=1)
        return mean_BH, torch.zeros_like(mean_BH)  # nobody asks for the variance

    def _pooled(self, mean_BH: Tensor, variance_BH: Tensor) -> Tensor:
        return mean_BH


class MultiHead(Attentive):
    """Attentive statistics with `heads` weights a frame, each for its own part of the channels.

    India, Safari and Hernando, "Self multi-head attention for speaker recognition" (2019), where a head sees
    its own part of the channels; scored by the two layers of Zhu et al., "Self-attentive speaker embeddings"
    (2018), with mean and deviation. Raise BadConfig unless `heads` divides the channels.
    """

    def __init__(self, config: PoolingConfig, channels: int) -> None:
        if channels % config.heads:
            raise BadConfig(
                f"encoder.heads: has to divide the {channels} channels that are pooled, got {config.heads}. "
                f"Possible: {', '.join(str(n) for n in range(1, 17) if channels % n == 0)}."
            )
        super().__init__(config, channels)

    def _weights(self, config: PoolingConfig, channels: int) -> int:
        return config.heads

    def _moments(self, out_BTH: Tensor, weight_BTH: Tensor) -> tuple[Tensor, Tensor]:
        return moments(out_BTH.unflatten(2, (weight_BTH.shape[2], -1)), weight_BTH[..., None])


POOLINGS: dict[str, Callable[[PoolingConfig, int], PoolingLayer]] = {
    "mean": Mean,
    "last": Last,
    "statistics": Statistics,
    "attentive": Attentive,
    "multihead": MultiHead,
    "self_attentive": SelfAttentive,
}


def build(config: PoolingConfig, channels: int) -> PoolingLayer:
    """Return the pooling `config` names, for `channels` values a frame; `.dim` is what it gives a row.

    >>> pool = build(PoolingConfig(pooling="attentive"), channels=6)
    >>> pool.dim, tuple(pool(torch.zeros(2, 9, 6)).shape)
    (12, (2, 12))
    """
    return POOLINGS[config.pooling](config, channels)
