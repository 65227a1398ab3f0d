"""What an encoder costs: its parameters, and the MACs of an utterance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from voxid.encoders import ENCODERS
from voxid.encoders.catalog import FRAMES


@dataclass(frozen=True)
class Cost:
    """Trainable numbers of an encoder, and MACs of one utterance through it."""

    parameters: int
    multiply_adds: int


def cost(encoder: dict[str, Any], input_dim: int, frames: int = FRAMES) -> Cost:
    """Return what the encoder of a recipe's table costs, for one utterance of `frames` frames.

    Counted by torch at every matrix product and convolution as they are carried out, attention included;
    additions, norms and activations are not, as is custom. Nothing is computed: the tensors have shapes only.
    Raise UnknownComponent or BadConfig.

    >>> cost({"name": "lstm", "layers": 1, "hidden": 64, "bidirectional": False}, input_dim=40, frames=100)
    Cost(parameters=27136, multiply_adds=2662400)
    """
    cls, config = ENCODERS.parse(encoder)
    with torch.device("meta"):
        network = cls(config, input_dim).eval()
        feat_BTF = torch.zeros(1, frames, input_dim)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(feat_BTF)
    parameters = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return Cost(parameters, counter.get_total_flops() // 2)
