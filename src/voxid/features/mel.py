"""Mel spectrograms as published speaker encoders compute them: one module, an option for each difference.

Shapes: B batch, S samples, T frames, N samples in a window, K frequency bins, M mel bands (and up to two
values more), X rows and frames together, F features per frame, U numbers in an utterance's summary.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from voxid.config import Config
from voxid.features.base import CentredFeatures, dense_blocks, highest_hz, mean_of_frames, mirrored, within
from voxid.features.mfcc import slaney_mel_bands
from voxid.framing import CLIP_DB, Summary
from voxid.types import SAMPLE_RATE

DEVIATION_FLOOR = 1e-5  # that `norm` adds to a band's deviation, or to its variance


class MelConfig(Config):
    """The options of `Mel`; the defaults are librosa's power spectrogram, with 40 bands of 25 ms windows.

    >>> MelConfig(bins=80, log="db", floor=1e-10).bins
    80
    """

    sample_rate: int = Field(SAMPLE_RATE, gt=0)  # Hz
    bins: int = Field(40, gt=0)  # mel bands: the features of a frame
    length: int = Field(400, gt=1)  # samples in a window
    hop: int = Field(160, gt=0)  # samples from one frame to the next
    n_fft: int = Field(400, gt=1)  # of the Fourier transform; what the window does not fill is zero
    window: Literal["hann", "hamming", "hann_symmetric"] = "hann"
    edges: Literal["zeros", "mirror"] = "zeros"  # what lies beyond the ends of the wave
    bands: Literal["slaney", "htk", "left"] = "slaney"  # "left": triangles as wide as their left half, twice
    f_min: float = Field(0.0, ge=0)  # Hz
    f_max: float | None = Field(None, gt=0)  # Hz; None is half the sample rate
    preemphasis: float = Field(0.0, ge=0, le=1)
    scale: float = Field(1.0, gt=0)  # of the samples
    log: Literal["none", "ln", "db"] = "none"
    floor: float = Field(0.0, ge=0)  # under the logarithm: added ("ln"), or the least power ("db")
    clip: bool = False  # what is over 80 dB softer than the utterance's loudest band counts as that ("db")
    norm: Literal["none", "mean", "deviation", "variance"] = "none"  # of every band over the utterance
    level_db: float | None = None  # dBFS that a softer utterance is raised to; only without a logarithm

    @model_validator(mode="after")
    def _fits_together(self) -> MelConfig:
        highest_hz(self)
        if self.n_fft < self.length:
            raise ValueError(f"n_fft cannot be less than length, {self.n_fft} < {self.length}")
        if self.hop > self.length // 2:
            raise ValueError(f"hop cannot exceed half of length, {self.hop} > {self.length // 2}")
        if self.clip and (self.log, self.norm) != ("db", "mean"):
            raise ValueError("clip needs log = 'db' and norm = 'mean'")
        if self.level_db is not None and (self.log, self.norm) != ("none", "none"):
            raise ValueError("level_db needs log = 'none' and norm = 'none'")
        if self.log != "none" and not self.floor:
            raise ValueError("floor has to be above 0 where there is a logarithm, got 0")
        return self


class Mel(CentredFeatures):
    """Power spectra of centred windows in mel bands; a logarithm, a level or a normalisation as asked for.

    With `norm` "deviation" a band is divided by its deviation (of one frame less) plus 1e-5, with "variance"
    by the root of its variance plus 1e-5. `Mel(MelConfig())` equals `librosa.feature.melspectrogram`.

    >>> tuple(Mel(MelConfig())(torch.zeros(2, 16_000)).shape)
    (2, 101, 40)
    """

    Config = MelConfig
    window_N: Tensor

    def __init__(self, config: MelConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.bins
        self.hop, self.window, self.lead = config.hop, config.length, config.length // 2
        periodic = config.window != "hann_symmetric"
        shape = torch.hamming_window if config.window == "hamming" else torch.hann_window
        window_N = shape(config.length, periodic=periodic, dtype=torch.float64) * config.scale
        self.register_buffer("window_N", window_N.float(), persistent=False)
        self.register_buffer("mel_KM", _mel_bands(config), persistent=False)
        self._blocks = dense_blocks(self.mel_KM)

    @property
    def summary_kind(self) -> Summary:  # type: ignore[override]
        """How the summary of an utterance comes together: means, or with `clip` its peak and then means."""
        return "clipped" if self.config.clip else "mean"

    def log_mel(self, wave_BS: Tensor, samples_B: Tensor | None = None) -> Tensor:
        """Return logmel_BTM; behind the bands, what the summary needs: squares, or energy and samples."""
        config = self.config
        if config.preemphasis:
            before_BS = F.pad(wave_BS[:, :-1], (1, 0))
            wave_BS = wave_BS - config.preemphasis * before_BS
        logmel_BTM = super().log_mel(wave_BS, samples_B)
        if config.norm in ("deviation", "variance"):
            return torch.cat([logmel_BTM, logmel_BTM.square()], dim=2)
        if config.level_db is None:
            return logmel_BTM
        # of each frame's hop: its energy came from the window, and this is how many samples are the wave's
        starts_T = torch.arange(logmel_BTM.shape[1], device=wave_BS.device) * self.hop
        ends_B1 = wave_BS.shape[1] if samples_B is None else samples_B.to(wave_BS.device)[:, None]
        count_BT = (ends_B1 - starts_T).clamp(0, self.hop).expand(wave_BS.shape[0], -1)
        return torch.cat([logmel_BTM, count_BT[:, :, None].to(logmel_BTM.dtype)], dim=2)

    def _extend(self, wave_BS: Tensor, before: int, after: int, samples_B: Tensor | None = None) -> Tensor:
        """Return wave_BS among zeros, or mirrored at its ends without the outermost sample."""
        if self.config.edges == "zeros" or wave_BS.shape[1] < 2:
            return super()._extend(wave_BS, before, after, samples_B)
        return mirrored(within(wave_BS, samples_B), before, after, samples_B, twice=0)

    def _of_windows(self, window_XN: Tensor) -> Tensor:
        """Return logmel_XM; with a level the energy of the hop in the middle behind it."""
        config = self.config
        power_XK = self.spectrum(window_XN * self.window_N, config.n_fft)
        mel_XM = self._banded(power_XK)
        if config.log == "ln":
            return (mel_XM + config.floor).log()
        if config.log == "db":
            return mel_XM.clamp_min(config.floor).log10().mul(10)
        if config.level_db is None:
            return mel_XM
        middle_XN = window_XN[:, self.lead : self.lead + self.hop]
        return torch.cat([mel_XM, middle_XN.square().sum(dim=1, keepdim=True)], dim=1)

    def _summary(self, logmel_BTM: Tensor, valid_BT1: Tensor | None) -> Tensor:
        """Return each row's means over its valid frames; with `clip` its peak, then clipped means."""
        if not self.config.clip:
            return mean_of_frames(logmel_BTM, valid_BT1)
        loud_BTM = logmel_BTM if valid_BT1 is None else logmel_BTM.masked_fill(~valid_BT1, -torch.inf)
        peak_B1 = loud_BTM.amax(dim=(1, 2))[:, None]
        clipped_BTM = torch.maximum(logmel_BTM, (peak_B1 - CLIP_DB)[:, :, None])
        return torch.cat([peak_B1, mean_of_frames(clipped_BTM, valid_BT1)], dim=1)

    def from_log_mel(self, logmel_BTM: Tensor, summary_BU: Tensor) -> Tensor:
        """Return feat_BTF by the options, from `log_mel`'s values and the summary of each utterance."""
        config, band_BTF = self.config, logmel_BTM[:, :, : self.dim]
        if config.level_db is not None:
            # the mean square of the samples
            power_B1 = (summary_BU[:, -2:-1] / summary_BU[:, -1:].clamp_min(1e-9)).clamp_min(1e-20)
            return band_BTF * (10 ** (config.level_db / 10) / power_B1).clamp_min(1)[:, :, None]
        if config.norm == "none":
            return band_BTF
        if config.clip:
            band_BTF = torch.maximum(band_BTF, (summary_BU[:, :1] - CLIP_DB)[:, :, None])
            return band_BTF - summary_BU[:, None, 1:]
        mean_BF = summary_BU[:, : self.dim]
        if config.norm == "mean":
            return band_BTF - mean_BF[:, None]
        variance_BF = (summary_BU[:, self.dim :] - mean_BF.square()).clamp_min(0)
        if config.norm == "variance":
            return (band_BTF - mean_BF[:, None]) * (variance_BF + DEVIATION_FLOOR).rsqrt()[:, None]
        return (band_BTF - mean_BF[:, None]) / (variance_BF.sqrt() + DEVIATION_FLOOR)[:, None]


def _mel_bands(config: MelConfig) -> Tensor:
    """Return mel_KM, the triangles of each band over the frequencies."""
    f_max = highest_hz(config)
    if config.bands == "slaney":
        return slaney_mel_bands(config.bins, config.n_fft, config.sample_rate, config.f_min, f_max)
    low, high = 2595 * np.log10(1 + np.array([config.f_min, f_max]) / 700)
    edges_hz = 700 * (10 ** (np.linspace(low, high, config.bins + 2) / 2595) - 1)
    bins_hz = np.arange(config.n_fft // 2 + 1)[:, None] * config.sample_rate / config.n_fft
    left, middle, right = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    falling = middle - left if config.bands == "left" else right - middle
    bands_KM = np.minimum((bins_hz - left) / (middle - left), 1 - (bins_hz - middle) / falling)
    return torch.from_numpy(np.maximum(0.0, bands_KM).astype(np.float32))
