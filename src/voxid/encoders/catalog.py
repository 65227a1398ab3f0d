"""The encoders as they were published, with the figures that were published with them, and ours.

No torch: our figures are written down, and tests/test_encoder_cost.py counts them again (`encoders.cost`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FRAMES = 200  # 2 s, 10 ms apart: how the field counts


@dataclass(frozen=True)
class Variant:
    """One way to configure an encoder: the table of a recipe, and the features it was made for.

    `parameters` and `multiply_adds` are the published figures, of 2 s in `frames` frames of `input_dim`
    values; None where none were found. `counted` are the parameters and the MACs of the encoder here, as
    `encoders.cost` counts them. `shared` MACs are in the published figure and not in `counted`: products
    that are equal for many frames, which the publications repeat for each of them.
    """

    name: str
    encoder: dict[str, Any]
    source: str
    counted: tuple[int, int]
    input_dim: int = 80
    frames: int = FRAMES
    parameters: float | None = None
    multiply_adds: float | None = None
    shared: int = 0


def _context(channels: int, frames: int) -> int:
    """Return the MACs of W [mean; deviation] for all frames but one (see `pooling.Attentive`)."""
    return (frames - 1) * 2 * channels * 128  # values inside the attention


REDIMNET = "Yakovlev et al. (Interspeech 2024)"
HALF = FRAMES // 2  # CAM++ computes on every second frame
SHORT = 134  # the frames of 2 s, 15 ms apart, of ReDimNet's features

VARIANTS = (
    Variant(
        "x-vector",
        {"name": "xvector"},
        "Snyder et al. (ICASSP 2018)",
        counted=(4_211_604, 534_425_600),
        input_dim=24,
        parameters=4.2e6,
    ),
    Variant(
        "ECAPA-512",
        {"name": "ecapa"},
        "Desplanques et al. (Interspeech 2020); MACs by WeSpeaker",
        counted=(6_189_376, 959_021_056),
        parameters=6.2e6,
        multiply_adds=1.04e9,
        shared=_context(1536, FRAMES),
    ),
    Variant(
        "ECAPA-1024",
        {"name": "ecapa", "channels": 1024},
        "Desplanques et al. (Interspeech 2020); MACs by Yakovlev et al. (2024)",
        counted=(14_655_744, 2_570_780_672),
        parameters=14.7e6,
        multiply_adds=2.67e9,
        shared=_context(1536, FRAMES),
    ),
    Variant(
        "ResNet34",
        {"name": "resnet"},
        "Wang et al., WeSpeaker (ICASSP 2023)",
        counted=(6_634_336, 4_527_902_720),
        parameters=6.6e6,
        multiply_adds=4.55e9,
    ),
    Variant(
        "CAM++",
        {"name": "campplus"},
        "Wang et al. (Interspeech 2023); MACs by WeSpeaker",
        counted=(7_176_224, 1_077_052_928),
        parameters=7.2e6,
        multiply_adds=1.15e9,
        shared=(12 + 24 + 16) * (HALF - 1) * (128 * 64 + 64 * 32),  # its masks, the same in all a segment
    ),
    Variant(
        "ReDimNet-B0",
        {"name": "redimnet"},
        REDIMNET,
        counted=(1_001_910, 392_510_880),
        input_dim=60,
        frames=SHORT,
        parameters=1.0e6,
        multiply_adds=0.43e9,
        shared=_context(600, SHORT),
    ),
    Variant(
        "ReDimNet-B2",
        {
            "name": "redimnet",
            "channels": 16,
            "strides": [1, 2, 1, 2, 1, 2],
            "blocks": [2, 2, 3, 4, 4, 4],
            "widen": [1, 1, 1, 1, 1, 1],
            "reduce": [12, 12, 12, 8, 8, 4],
            "block": "convnext",
            "group": 4,
        },
        REDIMNET,
        counted=(4_886_160, 901_783_296),
        input_dim=72,
        frames=SHORT,
        parameters=4.7e6,
        multiply_adds=0.90e9,
        shared=_context(1152, SHORT),
    ),
)
