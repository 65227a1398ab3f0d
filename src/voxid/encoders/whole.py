"""What an encoder asks of a whole recording, so that a long one can be read in pieces of time.

A convolution sees a few frames around each; only means over all frames tie a recording together: those of
squeeze-excitation, those that the attention sees, those that are pooled. They are all asked for here. Outside
of `asking`, the frames at hand are the recording. Inside, they are a piece of it: of the frames at hand those
in `own` count, the others are what convolutions see around them, and `known` are the answers so far. Whoever
goes through all pieces once for each question, and puts the parts together (`voxid.embed.passes`), gets what
the whole would have given. An encoder that asks nothing else has a `reach`, the frames on either side that a
frame depends on, and a `stride`, the frames that become one.

Shapes: B batch, T frames, C values of which means are asked for, N weights of a frame, each for C / N values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor


class Unknown(Exception):
    """Raised at the first question whose answer is not known; `part_B3C` is what the piece says of it."""

    def __init__(self, part_B3C: Tensor) -> None:
        super().__init__("the whole recording is not known yet")
        self.part_B3C = part_B3C


class Piece:
    """Some frames of a recording, and what is known of the whole; `parts` is what they say when asked."""

    def __init__(self, own_2: Tensor, known: Sequence[Tensor]) -> None:
        self.own_2, self.known = own_2, known
        self.parts: list[Tensor] = []

    def own(self, frames: int) -> Tensor:
        """Return (1, T, 1), True where a frame is the piece's own."""
        place_T = torch.arange(frames, device=self.own_2.device)
        return ((place_T >= self.own_2[0]) & (place_T < self.own_2[1]))[None, :, None]

    def weights(self, out_BTC: Tensor) -> Tensor:
        """Return (1, 1, T), equal for the piece's own frames and zero for the others; the sum is one."""
        own_11T = self.own(out_BTC.shape[1]).to(out_BTC.dtype).transpose(1, 2)
        return own_11T / own_11T.sum(dim=2, keepdim=True)

    @property
    def frames(self) -> Tensor:
        """The logarithm of the number of the piece's own frames, (1, 1)."""
        return (self.own_2[1:] - self.own_2[:1]).float().log()[None]

    def told(self, part_B3C: Tensor) -> Tensor:
        """Return the answer to the next question, of which the piece says `part_B3C`; raise Unknown."""
        self.parts.append(part_B3C)
        if len(self.parts) > len(self.known):
            raise Unknown(part_B3C)
        return self.known[len(self.parts) - 1]


_PIECE: ContextVar[Piece | None] = ContextVar("piece", default=None)


@contextmanager
def asking(own_2: Tensor, known: Sequence[Tensor]) -> Iterator[Piece]:
    """Let an encoder that is called inside see a piece.

    Frames own_2[0] to own_2[1] are its own, counted after the encoder's stride; `known` are the answers
    (1, 3, C) so far, in the order of the questions.
    """
    piece = Piece(own_2, known)
    token = _PIECE.set(piece)
    try:
        yield piece
    finally:
        _PIECE.reset(token)


def at_hand() -> bool:
    """Return whether the whole recording is at hand."""
    return _PIECE.get() is None


def mean(out_BTC: Tensor) -> Tensor:
    """Return the mean over the frames of the whole recording, (B, C)."""
    if (piece := _PIECE.get()) is None:
        return out_BTC.mean(dim=1)
    mean_BC = (piece.weights(out_BTC) @ out_BTC)[:, 0]
    return of_all(mean_BC, torch.zeros_like(mean_BC), piece.frames)[0]


def moments(out_BTC: Tensor) -> tuple[Tensor, ...] | None:
    """Return mean, variance and count of frames (B, C) of the whole recording; None with all at hand."""
    if (piece := _PIECE.get()) is None:
        return None
    weight_11T = piece.weights(out_BTC)
    mean_B1C = weight_11T @ out_BTC
    variance_BC = (weight_11T @ (out_BTC - mean_B1C).square())[:, 0]
    mean_BC, variance_BC, amount_BC = of_all(mean_B1C[:, 0], variance_BC, piece.frames)
    return mean_BC, variance_BC, amount_BC.exp()


def own_scores(score_BTN: Tensor) -> Tensor:
    """Return the logarithms of weights, without weight for frames that are not the piece's own."""
    if (piece := _PIECE.get()) is None:
        return score_BTN
    return score_BTN + torch.where(piece.own(score_BTN.shape[1]), 0.0, -torch.inf)


def amount(score_BTN: Tensor, weight_BTN: Tensor) -> Tensor | None:
    """Return the sum of exp(score) as its logarithm (B, N); with all at hand nobody needs it: None.

    `weight_BTN` is the softmax of the scores. A sum over the largest would pass over all frames once more.
    """
    return None if at_hand() else score_BTN.amax(dim=1) - weight_BTN.amax(dim=1).log()


def of_all(mean_BC: Tensor, variance_BC: Tensor, *amounts: Tensor | None) -> tuple[Tensor, ...]:
    """Return mean, variance and amount (B, C) over the whole recording, given those of the frames at hand.

    `amounts` are those of groups of values, in their order; only a piece needs them.
    """
    if (piece := _PIECE.get()) is None:
        return mean_BC, variance_BC
    amount_BN = torch.cat([amount_BN for amount_BN in amounts if amount_BN is not None], dim=1)
    each = mean_BC.shape[1] // amount_BN.shape[1]
    amount_BC = torch.zeros_like(mean_BC) + amount_BN[:, :, None].expand(-1, -1, each).flatten(1)
    return piece.told(torch.stack([mean_BC, variance_BC, amount_BC], dim=1)).unbind(dim=1)
