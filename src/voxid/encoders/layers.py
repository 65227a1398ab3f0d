"""What the convolutional encoders share: convolutions over time, the mask of valid frames, the last layer.

Activations have four axes and lie in memory frame by frame ("channels last"): x_BC1T of one-dimensional
networks and x_BCTF of two-dimensional ones are both, in memory, (B, T, ...). So features come in and frames
go out as views, never copied, and oneDNN's and cuDNN's kernels for this layout are their fastest.

Shapes: B batch, C channels, T frames, F frequency bins, H values per frame, D embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.encoders import pooling, whole
from voxid.encoders.pooling import PoolingConfig


def valid_frames(x: Tensor, frames_B: Tensor | None, axis: int) -> Tensor | None:
    """Return True at each row's first `frames_B` frames, which lie on `axis` of `x`; None when all are valid.

    Every stride over the frames takes the same stride over this mask.
    """
    if frames_B is None:
        return None
    valid_BT = pooling.mask(frames_B.to(x.device), x.shape[axis])
    return valid_BT[:, None, None] if axis == 3 else valid_BT[:, None, :, None]


def blank(x: Tensor, valid: Tensor | None) -> Tensor:
    """Return `x` with zeros in the frames beyond a row's end: what a convolution sees beyond the edge.

    With `valid` None there are no such frames, and nothing is done. Whatever follows a bias or a batch
    normalisation has to be blanked before the next convolution over time.
    """
    return x if valid is None else x.masked_fill(~valid, 0)


def mirrored(x_BC1T: Tensor, valid: Tensor | None, reach: int) -> Tensor:
    """Return x_BC1T with `reach` frames more at either end of each row, its own ones mirrored there.

    >>> mirrored(torch.tensor([[[[1.0, 2.0, 3.0]]]]), None, 1).tolist()
    [[[[2.0, 1.0, 2.0, 3.0, 2.0]]]]
    """
    if valid is None:
        return F.pad(x_BC1T, (reach, reach, 0, 0), mode="reflect")
    last_B111 = valid.sum(dim=3, keepdim=True) - 1
    place_T = torch.arange(-reach, x_BC1T.shape[3] + reach, device=x_BC1T.device).abs()
    place_B11T = torch.where(place_T > last_B111, 2 * last_B111 - place_T, place_T).abs()
    place_B11T = place_B11T.clamp_max(x_BC1T.shape[3] - 1)  # beyond a row's mirror: anything
    return x_BC1T.gather(3, place_B11T.expand(-1, x_BC1T.shape[1], -1, -1))


def mean_over(x: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean of each channel over the valid frames (and all bins), (B, C, 1, 1)."""
    x = pooling.at_least_float32(x)
    if valid is None and whole.at_hand():
        return x.mean(dim=(2, 3), keepdim=True)
    if valid is None:
        return whole.mean(as_frames(x))[..., None, None]
    count = valid.expand(-1, -1, *x.shape[2:]).sum(dim=(2, 3), keepdim=True)
    return blank(x, valid).sum(dim=(2, 3), keepdim=True) / count


class SqueezeExcitation(nn.Module):
    """Scales each channel by what the means over the utterance say (Hu et al., 2018)."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, squeeze, 1)
        self.up = nn.Conv2d(squeeze, channels, 1)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Return `x` scaled."""
        return x * torch.sigmoid(self.up(F.relu(self.down(mean_over(x, valid)))))


def reach(config: PoolingConfig, frames: int) -> int | None:
    """Return `frames`, those on either side that a frame sees, where `whole` is asked all else; or None."""
    return None if config.pooling == "last" else frames


def as_sequence(feat_BTF: Tensor) -> Tensor:
    """Return x_BC1T, a view of the features with the bins as channels."""
    return feat_BTF.transpose(1, 2)[:, :, None]


def as_frames(x_BC1T: Tensor) -> Tensor:
    """Return out_BTH, a view of what a one-dimensional network computed."""
    return x_BC1T[:, :, 0].transpose(1, 2)


def bins_to_frames(x_BCTF: Tensor) -> Tensor:
    """Return out_BTH, a view of what a two-dimensional network computed: bin by bin, all its channels."""
    return x_BCTF.permute(0, 2, 3, 1).flatten(2)


def time_conv(
    inputs: int, outputs: int, kernel: int, *, dilation: int = 1, stride: int = 1, bias: bool = True
) -> nn.Conv2d:
    """Return a convolution over the frames of x_BC1T that keeps their number (with a stride: divides it).

    The kernel is odd, and beyond the edges there are zeros: the mean of normalised features.
    """
    return nn.Conv2d(
        inputs,
        outputs,
        (1, kernel),
        stride=(1, stride),
        padding=(0, dilation * (kernel - 1) // 2),
        dilation=(1, dilation),
        bias=bias,
    )


class Shortcut(nn.Module):
    """The way around a block whose shape changes: every `stride`-th frame and bin, 1x1, batch normalisation.

    The stride is a view before the convolution, not the convolution's own: oneDNN's weight gradient of a
    strided 1x1 convolution in this memory layout writes outside its buffer when there are fewer than 16 input
    channels (oneDNN issue 6035, seen with torch 2.13).
    """

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x_BCTF: Tensor) -> Tensor:
        """Return x_BCTF in the shape of the block's output."""
        return self.norm(self.conv(x_BCTF[:, :, :: self.stride[0], :: self.stride[1]]))


class ConvReluNorm(nn.Module):
    """Convolution over time, ReLU, batch normalisation: the layer of x-vector and ECAPA-TDNN."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        dilation: int = 1,
        stride: int = 1,
        mirror: bool = False,
    ) -> None:
        super().__init__()
        self.conv = time_conv(inputs, outputs, kernel, dilation=dilation, stride=stride)
        self.norm = nn.BatchNorm2d(outputs)
        self.reach = dilation * (kernel - 1) // 2 if mirror else 0
        if self.reach:
            self.conv.padding = (0, 0)

    def forward(self, x_BC1T: Tensor, valid: Tensor | None = None) -> Tensor:
        """Return x_BC1T, as many frames as before, divided by the stride; only a mirror needs `valid`."""
        if self.reach:
            x_BC1T = mirrored(x_BC1T, valid, self.reach)
        return self.norm(F.relu(self.conv(x_BC1T), inplace=True))


class Head(nn.Module):
    """Pooling and a linear layer: frames in, embedding out.

    `norm_pooled` normalises what comes out of the pooling by its batch statistics, `norm_embedding` the
    embedding itself (then the layer needs no bias, and `affine` says whether the norm may rescale);
    `two_layers` puts a layer with ReLU and normalisation before the last one.
    """

    def __init__(
        self,
        config: PoolingConfig,
        channels: int,
        *,
        norm_pooled: bool = False,
        norm_embedding: bool = False,
        affine: bool = True,
        two_layers: bool = False,
    ) -> None:
        super().__init__()
        self.pool = pooling.build(config, channels)
        width = self.pool.dim
        self.norm = nn.BatchNorm1d(width) if norm_pooled else nn.Identity()
        if two_layers:
            norm = nn.BatchNorm1d(config.embedding, affine=False)
            self.norm = nn.Sequential(self.norm, nn.Linear(width, config.embedding), nn.ReLU(), norm)
            width = config.embedding
        self.linear = nn.Linear(width, config.embedding, bias=not norm_embedding)
        self.norm_embedding = (
            nn.BatchNorm1d(config.embedding, affine=affine) if norm_embedding else nn.Identity()
        )

    def forward(self, out_BTH: Tensor, frames_B: Tensor | None) -> Tensor:
        """Return emb_BD."""
        if frames_B is not None:
            frames_B = frames_B.to(out_BTH.device)
        return self.norm_embedding(self.linear(self.norm(self.pool(out_BTH, frames_B))))

    @torch.no_grad()
    def affine(self, center_D: Tensor, project_DD: Tensor) -> None:
        """Make the embedding x of evaluation (x - center_D) @ project_DD, by changing the last layer.

        A batch normalisation of the embedding goes into the layer, and does nothing after that.
        """
        norm, linear = self.norm_embedding, self.linear
        weight_DH, project_DD = linear.weight.double(), project_DD.to(linear.weight.device, torch.float64)
        center_D = center_D.to(weight_DH)
        if not isinstance(norm, nn.BatchNorm1d):
            linear.weight.copy_(project_DD.T @ weight_DH)
            linear.bias.copy_(project_DD.T @ (linear.bias.double() - center_D))
            return
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale_D = (norm.running_var.double() + norm.eps).rsqrt()
        shift_D = -norm.running_mean * scale_D
        if norm.affine:
            scale_D, shift_D = scale_D * norm.weight, shift_D * norm.weight + norm.bias
            norm.weight.fill_(1)
            norm.bias.zero_()
        linear.weight.copy_(project_DD.T @ (scale_D[:, None] * weight_DH))
        norm.running_var.fill_(1 - norm.eps)
        norm.running_mean.copy_(-(project_DD.T @ (shift_D - center_D)))


def kaiming(module: nn.Module) -> None:
    """Draw the weights of all convolutions for the ReLU that follows them (He et al., 2015)."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def channels_last(module: nn.Module) -> None:
    """Lay the weights of 2-D convolutions out as their inputs are, once instead of at every call."""
    module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
