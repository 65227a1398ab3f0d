"""Waveform -> features: torch modules, the one road used in training, inference and export.

Shapes: B batch, S samples, T frames, N samples in a window, K frequency bins, M mel bands,
F features per frame (the encoder's input),
X rows and frames together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import overload

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from voxid.config import Config
from voxid.registry import Registry
from voxid.types import SAMPLE_RATE

FEATURES = Registry("features", {"mfcc": "voxid.features:Mfcc"})

POWER_FLOOR = 1e-10  # -100 dB: a band with less power than this counts as this much
CACHED_FRAMES = 256  # taken at once on a CPU: 2 MB of windows stay in its cache, which doubles the speed


class MfccConfig(Config):
    """The options of `Mfcc`; the defaults are librosa's, with the 40 coefficients of the original system."""

    sample_rate: int = Field(SAMPLE_RATE, gt=0)  # Hz
    coefficients: int = Field(40, gt=0)
    n_fft: int = Field(2048, gt=1)  # samples in a window
    hop: int = Field(512, gt=0)  # samples from one frame to the next
    mels: int = Field(128, gt=0)
    f_min: float = Field(0.0, ge=0)  # Hz
    f_max: float | None = Field(None, gt=0)  # Hz; None is half the sample rate
    top_db: float | None = Field(80.0, gt=0)  # quieter than the utterance's peak by more than this: clipped

    @model_validator(mode="after")
    def _fits_together(self) -> MfccConfig:
        top = self.sample_rate / 2 if self.f_max is None else self.f_max
        if not self.f_min < top <= self.sample_rate / 2:
            raise ValueError(f"f_min < f_max <= {self.sample_rate / 2:g} is needed")
        if self.coefficients > self.mels:
            raise ValueError(f"coefficients cannot exceed mels, {self.coefficients} > {self.mels}")
        if self.n_fft % 2:
            raise ValueError(f"n_fft has to be even, {self.n_fft} is odd")
        return self


class Mfcc(nn.Module):
    """Mel-frequency cepstral coefficients equal to `librosa.feature.mfcc` within 1e-3, in batches.

    Power spectrum of centred periodic Hann windows (zeros beyond the ends), Slaney mel bands, decibels
    clipped at `top_db` below the utterance's peak, orthonormal DCT-II.

    >>> mfcc = Mfcc(MfccConfig())
    >>> tuple(mfcc(torch.zeros(2, 16_000)).shape)
    (2, 32, 40)
    """

    Config = MfccConfig
    window_N: Tensor
    mel_KM: Tensor
    dct_MF: Tensor

    def __init__(self, config: MfccConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.coefficients
        self.hop = config.hop
        self.n_fft = config.n_fft
        window_N = torch.hann_window(config.n_fft, periodic=True, dtype=torch.float64)
        self.register_buffer("window_N", window_N.float(), persistent=False)
        self.register_buffer("mel_KM", _slaney_mel_bands(config), persistent=False)
        self._blocks = _dense_blocks(self.mel_KM)
        self.register_buffer("dct_MF", _dct(config.mels, config.coefficients), persistent=False)

    @overload
    def frames(self, samples: int) -> int: ...
    @overload
    def frames(self, samples: Tensor) -> Tensor: ...
    def frames(self, samples: int | Tensor) -> int | Tensor:
        """Return the number of frames of an utterance of `samples` samples."""
        return 1 + samples // self.hop

    def forward(self, wave_BS: Tensor, samples_B: Tensor | None = None) -> Tensor:
        """Return feat_BTF of float32 waves in -1..1 at the config's sample rate.

        `samples_B` says how long each row is (None: all of it); what lies beyond is taken as zeros, and the
        frames beyond `frames(samples_B)` come back as zeros. Every row equals its result alone.
        """
        if samples_B is None:
            logmel_BTM = self.log_mel(wave_BS)
            return self.from_log_mel(logmel_BTM, logmel_BTM.amax(dim=(1, 2)))
        samples_B = samples_B.to(wave_BS.device)
        inside_BS = torch.arange(wave_BS.shape[1], device=wave_BS.device) < samples_B[:, None]
        logmel_BTM = self.log_mel(wave_BS * inside_BS)
        steps_T = torch.arange(logmel_BTM.shape[1], device=wave_BS.device)
        valid_BT1 = (steps_T < self.frames(samples_B)[:, None])[:, :, None]
        peak_B = logmel_BTM.masked_fill(~valid_BT1, -torch.inf).amax(dim=(1, 2))
        return self.from_log_mel(logmel_BTM, peak_B) * valid_BT1

    def log_mel(self, wave_BS: Tensor, center: bool = True) -> Tensor:
        """Return the mel bands in decibels, logmel_BTM, before any clipping.

        With `center`, frame t is centred on sample t * hop; without, it starts there, and only windows that
        lie wholly inside the wave are taken (for callers that walk an utterance in blocks).
        """
        if wave_BS.ndim != 2:
            raise ValueError(f"Mfcc takes waves of shape (batch, samples), got {tuple(wave_BS.shape)}")
        with torch.autocast(wave_BS.device.type, enabled=False):  # 16-bit decibels are too coarse
            wave_BS = wave_BS.to(self.window_N.dtype)
            if center:
                wave_BS = F.pad(wave_BS, (self.n_fft // 2, self.n_fft // 2))
            frames_BTN = wave_BS.unfold(1, self.n_fft, self.hop)
            if wave_BS.device.type != "cpu":
                return self._decibels(frames_BTN)
            rows = max(1, CACHED_FRAMES // frames_BTN.shape[1])
            groups = [group.split(CACHED_FRAMES, dim=1) for group in frames_BTN.split(rows)]
            return torch.cat([torch.cat([self._decibels(part) for part in group], dim=1) for group in groups])

    def _decibels(self, frames_BTN: Tensor) -> Tensor:
        """Return logmel_BTM of frames cut from the wave."""
        spectrum_BTK = torch.fft.rfft(frames_BTN * self.window_N)
        squares_BTK2 = torch.view_as_real(spectrum_BTK).square()
        power_XK = (squares_BTK2[..., 0] + squares_BTK2[..., 1]).flatten(
            0, 1
        )  # .sum(-1) takes ten times as long
        bands = [power_XK[:, bins] @ self.mel_KM[bins, mels] for bins, mels in self._blocks]
        return (
            torch.cat(bands, dim=1).clamp_min(POWER_FLOOR).log10().mul(10).unflatten(0, frames_BTN.shape[:2])
        )

    def from_log_mel(self, logmel_BTM: Tensor, peak_B: Tensor | float) -> Tensor:
        """Return feat_BTF of `log_mel`'s decibels, clipped at `top_db` below each utterance's peak (dB)."""
        with torch.autocast(logmel_BTM.device.type, enabled=False):
            if self.config.top_db is not None:
                floor = torch.as_tensor(peak_B, device=logmel_BTM.device) - self.config.top_db
                logmel_BTM = torch.maximum(logmel_BTM, floor.reshape(-1, 1, 1))
            # A frame's mean is large beside the rest and concerns coefficient 0 alone: summing it apart keeps
            # the rounding of the product ten times smaller.
            mean_BT1 = logmel_BTM.mean(dim=2, keepdim=True)
            feat_BTF = (logmel_BTM - mean_BT1) @ self.dct_MF
            feat_BTF[:, :, :1] += mean_BT1 * self.config.mels**0.5
            return feat_BTF

    def log_mel_blocks(self, waves: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield logmel_TM in pieces that together equal `log_mel` of the joined pieces wave_S.

        Memory does not grow with the length. Walk twice for the coefficients: once for the peak (the
        largest value), once for `from_log_mel(piece[None], peak)`.
        """
        half = self.window_N.new_zeros(self.n_fft // 2)
        kept_S = half
        for wave_S in chain(waves, [half]):
            kept_S = torch.cat([kept_S, wave_S.to(half)])
            if len(kept_S) >= self.n_fft:
                logmel_BTM = self.log_mel(kept_S[None], center=False)
                kept_S = kept_S[logmel_BTM.shape[1] * self.hop :]
                yield logmel_BTM[0]


def _dense_blocks(mel_KM: Tensor, width: int = 32) -> list[tuple[slice, slice]]:
    """Return (bins, mels) for every `width` bands: outside these blocks the matrix is zero.

    A band covers few bins, so the blocks together cost a quarter of the whole product.
    """
    blocks = []
    for first in range(0, mel_KM.shape[1], width):
        bins = mel_KM[:, first : first + width].any(dim=1).nonzero().flatten().tolist() or [0]
        blocks.append((slice(bins[0], bins[-1] + 1), slice(first, first + width)))
    return blocks


def _slaney_mel_bands(config: MfccConfig) -> Tensor:
    """Return mel_KM: triangles on Slaney's Auditory Toolbox scale (1998), each of unit area in Hz."""
    f_max = config.sample_rate / 2 if config.f_max is None else config.f_max
    low, high = _hz_to_mel(np.array([config.f_min, f_max]))
    edges_hz = _mel_to_hz(np.linspace(low, high, config.mels + 2))
    bins_hz = np.arange(config.n_fft // 2 + 1) * config.sample_rate / config.n_fft
    left, middle, right = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz[:, None] - left) / (middle - left)
    falling = (right - bins_hz[:, None]) / (right - middle)
    bands_KM = np.maximum(0.0, np.minimum(rising, falling)) * 2.0 / (right - left)
    return torch.from_numpy(bands_KM.astype(np.float32))


MEL_HZ = 200 / 3  # Hz in a mel below the corner
CORNER_HZ = 1000.0  # linear below, logarithmic above
CORNER_MEL = CORNER_HZ / MEL_HZ
LOG_STEP = np.log(6.4) / 27  # 27 mels above the corner are a factor of 6.4


def _hz_to_mel(hz: np.ndarray) -> np.ndarray:
    above = CORNER_MEL + np.log(np.maximum(hz, CORNER_HZ) / CORNER_HZ) / LOG_STEP
    return np.where(hz < CORNER_HZ, hz / MEL_HZ, above)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    above = CORNER_HZ * np.exp(LOG_STEP * (mel - CORNER_MEL))
    return np.where(mel < CORNER_MEL, mel * MEL_HZ, above)


def _dct(mels: int, coefficients: int) -> Tensor:
    """Return dct_MF, the first columns of the orthonormal DCT-II."""
    angles_MF = np.pi / mels * (np.arange(mels)[:, None] + 0.5) * np.arange(coefficients)
    dct_MF = np.cos(angles_MF) * np.sqrt(2 / mels)
    dct_MF[:, 0] /= np.sqrt(2)
    return torch.from_numpy(dct_MF.astype(np.float32))
