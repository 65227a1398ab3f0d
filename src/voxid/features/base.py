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
from itertools import chain
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.framing import Framing, Summary, Summing

Count = TypeVar("Count", int, Tensor)  # of one utterance, or of each row of a batch
CACHED_SAMPLES = 1 << 19  # of windows taken at once on a CPU: 2 MB stay in its cache, which doubles the speed


class Features(nn.Module, ABC):
    """The base of all features: a module without weights, `Feature(config)`.

    A subclass sets the four numbers below and writes the abstract methods; `_extend` says what lies beyond
    the ends of a wave.

    >>> from voxid.features import Fbank, FbankConfig
    >>> tuple(Fbank(FbankConfig(bins=40))(torch.zeros(1, 16_000)).shape)
    (1, 98, 40)
    >>> fbank = Fbank(FbankConfig(bins=40))
    >>> fbank.frames(16_000), fbank.samples(98)
    (98, 15920)

    A recording in blocks gives the same:

    >>> wave_S = torch.randn(16_000, generator=torch.Generator().manual_seed(0)) / 10
    >>> logmel_BTM = fbank.log_mel(wave_S[None])
    >>> summary_BU = fbank.summary(fbank.log_mel_blocks([wave_S[:9_000], wave_S[9_000:]]))
    >>> feat_BTF = fbank.from_log_mel(logmel_BTM, summary_BU)
    >>> torch.allclose(feat_BTF, fbank(wave_S[None]), atol=1e-4)
    True
    >>> fbank.spoken(logmel_BTM, summary_BU) is None, fbank.packed(wave_S[None])[1]  # pauses count
    (True, None)
    """

    config: Any
    dim: int  # features per frame, F
    hop: int  # samples from one frame to the next
    window: int  # samples in a window, N
    lead: int  # samples by which the first window begins before the wave
    mel_KM: Tensor  # how much of a frequency is in a band; with `_blocks`, where it has them
    _blocks: list[tuple[slice, slice]]
    summary_kind: ClassVar[Summary]  # how `summary` puts pieces together, for engines without torch
    pause_db: float | None = None  # so much softer than the speech, a frame is a pause and left out
    in_parts = True  # windows go through in parts that fit the cache; an exported graph has no loop

    @abstractmethod
    def frames(self, samples: Count) -> Count:
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

    def spectrum(self, window_XN: Tensor, n_fft: int) -> Tensor:
        """Return power_XK of windows, with zeros after them up to `n_fft` samples.

        A method, so that an exported graph can say the same sums as a matrix product.

        >>> from voxid.features import Fbank, FbankConfig
        >>> tuple(Fbank(FbankConfig()).spectrum(torch.zeros(3, 400), n_fft=512).shape)
        (3, 257)
        """
        return power(torch.fft.rfft(window_XN, n=n_fft))

    @abstractmethod
    def _summary(self, logmel_BTM: Tensor, valid_BT1: Tensor | None) -> Tensor:
        """Return summary_BU of whole utterances; frames that are not valid are padding."""

    def summary(self, blocks: Iterable[Tensor]) -> Tensor:
        """Return the summary (1, U) of one utterance from its `log_mel_blocks`, holding one at a time."""
        summing = self.summing()
        for logmel_TM in blocks:
            summing.add(logmel_TM.cpu().numpy())
        return torch.from_numpy(summing.value()).to(next(self.buffers()).device)

    def summing(self) -> Summing:
        """Return what takes an utterance's summary together, for engines without torch.

        >>> from voxid.features import Fbank, FbankConfig
        >>> type(Fbank(FbankConfig()).summing()).__name__
        'Summing'
        """
        return Summing(self.summary_kind, self.pause_db)

    def spoken(self, logmel_BTM: Tensor, summary_BU: Tensor) -> Tensor | None:
        """Return True at the frames (B, T) that are not pauses of the utterance; None where all count."""
        return None

    def forward(self, wave_BS: Tensor, samples_B: Tensor | None = None) -> Tensor:
        """Return feat_BTF of float32 waves in -1..1 at the config's sample rate.

        `samples_B` says how long each row is (None: all of it); what lies beyond is ignored, and the frames
        beyond `frames(samples_B)` come back as zeros. Every row equals its result alone. Where pauses are
        left out, what was spoken is repeated until the row is as long as it was: a batch of a training
        stays a rectangle in which every frame is speech.
        """
        feat_BTF, spoken_B = self.packed(wave_BS, samples_B)
        if self.pause_db is None or spoken_B is None or not feat_BTF.shape[1]:
            return feat_BTF
        steps_T = torch.arange(feat_BTF.shape[1], device=wave_BS.device)
        place_BT = steps_T % spoken_B[:, None].clamp_min(1)
        feat_BTF = feat_BTF.gather(1, place_BT[:, :, None].expand(-1, -1, self.dim))
        if samples_B is None:
            return feat_BTF
        beyond_BT = steps_T >= self.frames(samples_B.to(wave_BS.device))[:, None]
        return feat_BTF.masked_fill(beyond_BT[:, :, None], 0.0)

    def packed(self, wave_BS: Tensor, samples_B: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return feat_BTF without the pauses, and how many frames of each row are its own (None: all).

        Behind them are zeros. Waves as in `forward`.
        """
        if samples_B is not None:
            samples_B = samples_B.to(wave_BS.device)
        logmel_BTM = self.log_mel(wave_BS, samples_B)
        valid_BT1, frames_B = None, None
        if samples_B is not None:
            steps_T = torch.arange(logmel_BTM.shape[1], device=wave_BS.device)
            frames_B = self.frames(samples_B)
            valid_BT1 = (steps_T < frames_B[:, None])[:, :, None]
        summary_BU = self._summary(logmel_BTM, valid_BT1)
        feat_BTF = self.from_log_mel(logmel_BTM, summary_BU)
        spoken_BT = self.spoken(logmel_BTM, summary_BU)
        if spoken_BT is not None:
            if valid_BT1 is not None:
                spoken_BT = spoken_BT & valid_BT1[:, :, 0]
            frames_B = spoken_BT.sum(dim=1)
            spoken_BT, order_BT = spoken_BT.sort(dim=1, descending=True, stable=True)
            feat_BTF = feat_BTF.gather(1, order_BT[:, :, None].expand(-1, -1, feat_BTF.shape[2]))
            valid_BT1 = spoken_BT[:, :, None]
        return (feat_BTF if valid_BT1 is None else feat_BTF.masked_fill(~valid_BT1, 0.0)), frames_B

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
            if wave_BS.device.type != "cpu" or not self.in_parts:
                return self._of_batch(window_BTN)
            most = max(1, CACHED_SAMPLES // self.window)
            groups = [
                group.split(most, dim=1) for group in window_BTN.split(max(1, most // window_BTN.shape[1]))
            ]
            return torch.cat([torch.cat([self._of_batch(part) for part in group], dim=1) for group in groups])

    def _banded(self, power_XK: Tensor) -> Tensor:
        """Return the energy in each mel band, mel_XM, by `mel_KM` in its `dense_blocks`."""
        bands = [power_XK[:, bins] @ self.mel_KM[bins, mels] for bins, mels in self._blocks]
        return torch.cat(bands, dim=1)

    def _of_batch(self, window_BTN: Tensor) -> Tensor:
        return self._of_windows(window_BTN.flatten(0, 1)).unflatten(0, window_BTN.shape[:2])

    def log_mel_blocks(self, waves: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield logmel_TM in pieces that together equal `log_mel` of the joined pieces wave_S.

        Memory does not grow with the length. Walk twice for the features: once for the `summary`, once for
        `from_log_mel(piece[None], summary)`.
        """
        nothing_S = next(self.buffers()).new_zeros(0)  # even that is a frame of some features
        pieces = chain([nothing_S], (wave_S.to(nothing_S) for wave_S in waves))
        for wave_S, frames in self.framing.cut(pieces, torch.cat):
            logmel_TM = self.log_mel(wave_S[None])[0, frames]
            if len(logmel_TM):
                yield logmel_TM

    @property
    def framing(self) -> Framing:
        """Where windows lie: what a recording in blocks is cut by."""
        return Framing(self.hop, self.lead, self.window)


class CentredFeatures(Features):
    """Features of windows whose middles lie at every hop from the first sample on, among zeros."""

    def frames(self, samples: Count) -> Count:
        """Return the number of frames of an utterance of `samples` samples."""
        return 1 + samples // self.hop

    def samples(self, frames: int) -> int:
        """Return the least number of samples that makes `frames` frames."""
        return (frames - 1) * self.hop

    def _extend(self, wave_BS: Tensor, before: int, after: int, samples_B: Tensor | None = None) -> Tensor:
        """Return wave_BS among zeros."""
        return F.pad(within(wave_BS, samples_B), (before, after))


def within(wave_BS: Tensor, samples_B: Tensor | None) -> Tensor:
    """Return waves with zeros beyond the samples of each row; None: all are its own."""
    if samples_B is None:
        return wave_BS
    inside_BS = torch.arange(wave_BS.shape[1], device=wave_BS.device) < samples_B[:, None]
    return wave_BS.masked_fill(~inside_BS, 0.0)


def mirrored(wave_BS: Tensor, before: int, after: int, samples_B: Tensor | None, twice: int) -> Tensor:
    """Return waves with so many samples more at their ends, mirrored there and back as often as it takes.

    The outermost sample stands there once more (`twice` 1), or not (0).
    """
    if samples_B is None:
        samples_B = torch.tensor([wave_BS.shape[1]], device=wave_BS.device)
    place_S = torch.arange(-before, wave_BS.shape[1] + after, device=wave_BS.device)
    last_B1 = (samples_B - 1).clamp_min(1 - twice)[:, None]
    place_BS = place_S % (2 * (last_B1 + twice))
    place_BS = torch.where(place_BS > last_B1, 2 * last_B1 + twice - place_BS, place_BS)
    return wave_BS.gather(1, place_BS.clamp_max(wave_BS.shape[1] - 1).expand(wave_BS.shape[0], -1))


def highest_hz(config: Any) -> float:
    """Return where the last band of a config ends; raise ValueError unless it fits `f_min` and the rate."""
    half = config.sample_rate / 2
    top = half if config.f_max is None else config.f_max
    if not config.f_min < top <= half:
        raise ValueError(f"f_min < f_max <= {half:g} is needed")
    return top


def mean_of_frames(logmel_BTM: Tensor, valid_BT1: Tensor | None) -> Tensor:
    """Return the mean of every band (B, M) over the valid frames."""
    if valid_BT1 is None:
        return logmel_BTM.sum(dim=1) / max(1, logmel_BTM.shape[1])
    return logmel_BTM.masked_fill(~valid_BT1, 0.0).sum(dim=1) / valid_BT1.sum(dim=1).clamp_min(1)


def dense_blocks(mel_KM: Tensor, width: int = 20) -> list[tuple[slice, slice]]:
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
