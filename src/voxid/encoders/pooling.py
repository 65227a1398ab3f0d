"""From one vector a frame to one vector an utterance, over the valid frames only.

Shapes: B batch, T frames, H values per frame.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mask(frames_B: Tensor, length: int) -> Tensor:
    """Return valid_BT, True where frame t of row b is one of its first `frames_B[b]`.

    >>> mask(torch.tensor([1, 3]), 3).tolist()
    [[True, False, False], [True, True, True]]
    """
    return torch.arange(length, device=frames_B.device) < frames_B[:, None]


def mean(out_BTH: Tensor, frames_B: Tensor | None = None) -> Tensor:
    """Return the mean over each row's valid frames, (B, H).

    >>> mean(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2])).tolist()
    [[2.0]]
    """
    if frames_B is None:
        return out_BTH.mean(dim=1)
    valid_BT = mask(frames_B, out_BTH.shape[1])
    return out_BTH.masked_fill(~valid_BT[:, :, None], 0).sum(dim=1) / frames_B[:, None]


def last(out_BTH: Tensor, frames_B: Tensor | None = None) -> Tensor:
    """Return each row's last valid frame, (B, H).

    >>> last(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2])).tolist()
    [[3.0]]
    """
    if frames_B is None:
        return out_BTH[:, -1]
    return out_BTH[torch.arange(len(out_BTH), device=out_BTH.device), frames_B - 1]
