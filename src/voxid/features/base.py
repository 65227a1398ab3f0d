"""What every kind of features shares: windows cut from waves, padded rows, recordings walked in blocks.

Features come about in two steps. The first, `log_mel`, looks at one window at a time. The second,
`from_log_mel`, also wants to know something about the whole utterance, its summary: the loudest band, the
mean of every band. So a recording of any length is walked twice in constant memory: once for the summary,
once for the features.

Shapes: B batch, S samples, T frames, N samples in a window, K frequency bins, M mel bands, X rows and frames
together, F features per frame (the encoder's input), U numbers in an utterance's summary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, overload

import torch
from torch import Tensor, nn

CACHED_SAMPLES = 1 << 19  # of windows taken at once on a CPU: 2 MB stay in its cache, which doubles the speed


class Features(nn.Module, ABC):
    """The base of all features: a module without weights, `Feature(config)`.

    A subclass sets the four numbers below and writes the abstract methods; `_extend` says what lies beyond
    the ends of a wave.
    """

    config: Any
    dim: int  # features per frame, F
    hop: int  # samples from one frame to the next
    window: int  # samples in a window, N
    lead: int  # samples by which the first window begins before the wave

    @overload
    def frames(self, samples: int) -> int: ...
    @overload
    def frames(self, samples: Tensor) -> Tensor: ...
    @abstractmethod
    def frames(self, samples: int | Tensor) -> int | Tensor:
        """Return the number of frames of an utterance of `samples` samples."""

    @abstractmethod
    def samples(self, frames: int) -> int:
        """Return the least number of samples that makes `frames` frames."""

    @abstractmethod
    def from_log_mel(self, logmel_BTM: Tensor, summary_BU: Tensor) -> Tensor:
        """Return feat_BTF of `log_mel`'s values and the summary of each row's whole utterance."""

    @abstractmethod
    def _of_windows(self, window_XN: Tensor) -> Tensor:
        """Return logmel_XM of windows cut from waves; it must not write into them."""

    @abstractmethod
    def _summary(self, logmel_BTM: Tensor, valid_BT1: Tensor | None) -> Tensor:
        """Return summary_BU of whole utterances; frames that are not valid are padding."""

    @abstractmethod
    def summary(self, blocks: Iterable[Tensor]) -> Tensor:
        """Return the summary (1, U) of one utterance from its `log_mel_blocks`, holding one at a time."""

    def forward(self, wave_BS: Tensor, samples_B: Tensor | None = None) -> Tensor:
        """Return feat_BTF of float32 waves in -1..1 at the config's sample rate.

        `samples_B` says how long each row is (None: all of it); what lies beyond is ignored, and the frames
        beyond `frames(samples_B)` come back as zeros. Every row equals its result alone.
        """
        if samples_B is None:
            logmel_BTM = self.log_mel(wave_BS)
            return self.from_log_mel(logmel_BTM, self._summary(logmel_BTM, None))
        samples_B = samples_B.to(wave_BS.device)
        logmel_BTM = self.log_mel(wave_BS, samples_B)
        steps_T = torch.arange(logmel_BTM.shape[1], device=wave_BS.device)
        valid_BT1 = (steps_T < self.frames(samples_B)[:, None])[:, :, None]
        feat_BTF = self.from_log_mel(logmel_BTM, self._summary(logmel_BTM, valid_BT1))
        return feat_BTF.masked_fill(~valid_BT1, 0.0)

    def log_mel(self, wave_BS: Tensor, samples_B: Tensor | None = None) -> Tensor:
        """Return the logarithms of the mel bands, logmel_BTM, as they are before `from_log_mel`.

        Frames beyond a row's own `frames(samples_B)` hold anything.
        """
        if wave_BS.ndim != 2:
            kind = type(self).__name__
            raise ValueError(f"{kind} takes waves of shape (batch, samples), got {tuple(wave_BS.shape)}")
        wave_BS = wave_BS.float()
        samples = wave_BS.shape[1]
        end = (self.frames(samples) - 1) * self.hop - self.lead + self.window  # of the last window
        return self._windowed(self._extend(wave_BS, self.lead, max(0, end - samples), samples_B))

    @abstractmethod
    def _extend(self, wave_BS: Tensor, before: int, after: int, samples_B: Tensor | None = None) -> Tensor:
        """Return wave_BS with so many samples more at its ends.

        After a row of `samples_B` samples follows what would follow it alone. It may look at the last half
        of a window before an end, no further: of a recording in blocks there is no more at hand.
        """

    def _windowed(self, wave_BS: Tensor) -> Tensor:
        """Return logmel_BTM of every whole window of waves, the first of which begins at sample 0."""
        rows, samples = wave_BS.shape
        if samples < self.window:
            wave_BS, samples = wave_BS.new_zeros(rows, self.window), 0  # no frame, but of the right shape
        with torch.autocast(wave_BS.device.type, enabled=False):  # 16-bit logarithms are too coarse
            window_BTN = wave_BS.unfold(1, self.window, self.hop)
            if samples == 0:
                return self._of_batch(window_BTN)[:, :0]
            if wave_BS.device.type != "cpu":
                return self._of_batch(window_BTN)
            most = max(1, CACHED_SAMPLES // self.window)
            groups = [
                group.split(most, dim=1) for group in window_BTN.split(max(1, most // window_BTN.shape[1]))
            ]
            return torch.cat([torch.cat([self._of_batch(part) for part in group], dim=1) for group in groups])

    def _of_batch(self, window_BTN: Tensor) -> Tensor:
        return self._of_windows(window_BTN.flatten(0, 1)).unflatten(0, window_BTN.shape[:2])

    def log_mel_blocks(self, waves: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield logmel_TM in pieces that together equal `log_mel` of the joined pieces wave_S.

        Memory does not grow with the length. Walk twice for the features: once for the `summary`, once for
        `from_log_mel(piece[None], summary)`.
        """
        held_S = next(self.buffers()).new_zeros(0)
        first, total, done = 0, 0, 0  # sample that `held_S` begins with; samples met; frames yielded
        for wave_S in waves:
            held_S = torch.cat([held_S, wave_S.to(held_S)])
            total += len(wave_S)
            start = done * self.hop - self.lead - first
            ready = (len(held_S) - start - self.window) // self.hop + 1
            if ready > 0:
                yield self._block(held_S, start, start + (ready - 1) * self.hop + self.window)
                done += ready
                drop = min(max(0, start + ready * self.hop), len(held_S))
                held_S, first = held_S[drop:], first + drop
        if left := self.frames(total) - done:
            start = done * self.hop - self.lead - first
            yield self._block(held_S, start, start + (left - 1) * self.hop + self.window)

    def _block(self, held_S: Tensor, start: int, end: int) -> Tensor:
        """Return logmel_TM of the windows from sample `start` to `end`, which may lie beyond the ends."""
        extended_BS = self._extend(held_S[None], max(0, -start), max(0, end - len(held_S)))
        return self._windowed(extended_BS[:, max(0, start) : max(0, start) + end - start])[0]


def dense_blocks(mel_KM: Tensor, width: int) -> list[tuple[slice, slice]]:
    """Return (bins, mels) for every `width` bands: outside these blocks the matrix is zero.

    A band covers few bins, so the blocks together cost a fraction of the whole product.
    """
    blocks = []
    for first in range(0, mel_KM.shape[1], width):
        bins = mel_KM[:, first : first + width].any(dim=1).nonzero().flatten().tolist() or [0]
        blocks.append((slice(bins[0], bins[-1] + 1), slice(first, first + width)))
    return blocks


def power(spectrum_XK: Tensor) -> Tensor:
    """Return power_XK of a complex spectrum."""
    squares_XK2 = torch.view_as_real(spectrum_XK).square()
    return squares_XK2[..., 0] + squares_XK2[..., 1]  # .sum(-1) takes ten times as long
