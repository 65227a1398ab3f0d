"""Mel-frequency cepstral coefficients, as librosa and the original system compute them.

Shapes: B batch, S samples, T frames, N samples in a window, K frequency bins, M mel bands, X rows and frames
together, F features per frame (the encoder's input), U numbers in an utterance's summary: here its peak.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from voxid.config import Config
from voxid.features.base import CentredFeatures, dense_blocks, highest_hz
from voxid.types import SAMPLE_RATE

POWER_FLOOR = 1e-10  # -100 dB: a band with less power than this counts as this much
BLOCK_MELS = 32  # bands whose part of the matrix is multiplied at once


class MfccConfig(Config):
    """The options of `Mfcc`; the defaults are librosa's, with the 40 coefficients of the original system.

    >>> MfccConfig(coefficients=20).coefficients
    20
    """

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
        highest_hz(self)
        if self.coefficients > self.mels:
            raise ValueError(f"coefficients cannot exceed mels, {self.coefficients} > {self.mels}")
        if self.n_fft % 2:
            raise ValueError(f"n_fft has to be even, {self.n_fft} is odd")
        return self


class Mfcc(CentredFeatures):
    """Mel-frequency cepstral coefficients equal to `librosa.feature.mfcc` within 1e-3, in batches.

    Power spectrum of centred periodic Hann windows (zeros beyond the ends), Slaney mel bands, decibels
    clipped at `top_db` below the utterance's peak, orthonormal DCT-II.

    >>> mfcc = Mfcc(MfccConfig())
    >>> tuple(mfcc(torch.zeros(2, 16_000)).shape)
    (2, 32, 40)
    """

    Config = MfccConfig
    summary_kind = "peak"
    window_N: Tensor
    dct_MF: Tensor

    def __init__(self, config: MfccConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.coefficients
        self.hop = config.hop
        self.window = config.n_fft
        self.lead = config.n_fft // 2
        window_N = torch.hann_window(config.n_fft, periodic=True, dtype=torch.float64)
        self.register_buffer("window_N", window_N.float(), persistent=False)
        f_max = highest_hz(config)
        mel_KM = slaney_mel_bands(config.mels, config.n_fft, config.sample_rate, config.f_min, f_max)
        self.register_buffer("mel_KM", mel_KM, persistent=False)
        self._blocks = dense_blocks(self.mel_KM, BLOCK_MELS)
        self.register_buffer("dct_MF", _dct(config.mels, config.coefficients), persistent=False)

    def _of_windows(self, window_XN: Tensor) -> Tensor:
        """Return logmel_XM in decibels."""
        power_XK = self.spectrum(window_XN * self.window_N, self.window)
        return self._banded(power_XK).clamp_min(POWER_FLOOR).log10().mul(10)

    def _summary(self, logmel_BTM: Tensor, valid_BT1: Tensor | None) -> Tensor:
        """Return each row's loudest band in decibels."""
        if valid_BT1 is not None:
            logmel_BTM = logmel_BTM.masked_fill(~valid_BT1, -torch.inf)
        return logmel_BTM.amax(dim=(1, 2))[:, None]

    def from_log_mel(self, logmel_BTM: Tensor, summary_BU: Tensor) -> Tensor:
        """Return feat_BTF of `log_mel`'s decibels, clipped at `top_db` below each utterance's peak (dB)."""
        with torch.autocast(logmel_BTM.device.type, enabled=False):
            if self.config.top_db is not None:
                logmel_BTM = torch.maximum(logmel_BTM, (summary_BU - self.config.top_db)[:, :, None])
            # A frame's mean is large beside the rest and concerns coefficient 0 alone: summing it apart keeps
            # the rounding of the product ten times smaller.
            mean_BT1 = logmel_BTM.mean(dim=2, keepdim=True)
            feat_BTF = (logmel_BTM - mean_BT1) @ self.dct_MF
            feat_BTF[:, :, :1] += mean_BT1 * self.config.mels**0.5
            return feat_BTF


def slaney_mel_bands(mels: int, n_fft: int, sample_rate: int, f_min: float, f_max: float) -> Tensor:
    """Return mel_KM: triangles on Slaney's Auditory Toolbox scale (1998), each of unit area in Hz."""
    low, high = _hz_to_mel(np.array([f_min, f_max]))
    edges_hz = _mel_to_hz(np.linspace(low, high, mels + 2))
    bins_hz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
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
