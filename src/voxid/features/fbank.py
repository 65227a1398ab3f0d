"""Logarithms of mel filter bank energies, as Kaldi computes them, with the utterance's mean taken off.

Shapes: B batch, S samples, T frames, N samples in a window, K frequency bins, M mel bands (here also the
features per frame), X rows and frames together, U numbers in an utterance's summary: every band's mean.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from voxid.config import GrownConfig
from voxid.features.base import Count, Features, dense_blocks, highest_hz, mean_of_frames, mirrored
from voxid.framing import DB, STEP_DB
from voxid.types import SAMPLE_RATE

ENERGY_FLOOR = float(np.finfo(np.float32).eps)  # Kaldi's: a band with less energy counts as this much


class FbankConfig(GrownConfig):
    """The options of `Fbank`; the defaults are Kaldi's, with 80 bins and without dither.

    >>> FbankConfig(bins=40).bins
    40
    """

    later = frozenset({"pause_db"})
    sample_rate: int = Field(SAMPLE_RATE, gt=0)  # Hz
    bins: int = Field(80, gt=0)  # mel bands: the features of a frame
    window_ms: float = Field(25.0, gt=0)
    hop_ms: float = Field(10.0, gt=0)  # from one frame to the next
    window: Literal["povey", "hamming", "hann"] = "povey"
    preemphasis: float = Field(0.97, ge=0, le=1)
    remove_dc: bool = True  # take each window's mean off
    snip_edges: bool = True  # only windows that lie inside; False: one every hop, mirrored at the ends
    f_min: float = Field(20.0, ge=0)  # Hz
    f_max: float | None = Field(None, gt=0)  # Hz; None is half the sample rate
    scale: float = Field(32768.0, gt=0)  # of the samples: Kaldi's waves are in -32768..32767
    energy_floor: float = Field(ENERGY_FLOOR, gt=0)  # under the logarithm
    mean_norm: bool = True  # take the utterance's mean off every band
    pause_db: float | None = Field(None, gt=0)  # leave out frames so much softer than the speech; None: none

    @model_validator(mode="after")
    def _fits_together(self) -> FbankConfig:
        highest_hz(self)
        if self.hop_ms > self.window_ms:
            raise ValueError(f"hop_ms cannot exceed window_ms, {self.hop_ms:g} > {self.window_ms:g}")
        if self.samples_of(self.hop_ms) < 1 or self.samples_of(self.window_ms) < 2:
            raise ValueError("a window needs two samples and a hop one: window_ms or hop_ms is too short")
        if (empty := int((_mel_bands(self) == 0).all(dim=0).sum())) > 0:
            raise ValueError(f"bins is too high: {empty} of {self.bins} bands would hold no frequency")
        return self

    def samples_of(self, milliseconds: float) -> int:
        """Return how many whole samples fit into `milliseconds`.

        >>> FbankConfig().samples_of(25.0)
        400
        """
        return int(self.sample_rate * 0.001 * milliseconds)

    @property
    def n_fft(self) -> int:
        """The length of the Fourier transform: the power of two that a window fits into."""
        return 1 << (self.samples_of(self.window_ms) - 1).bit_length()


class Fbank(Features):
    """Log mel filter bank energies equal to Kaldi's within 1e-3 (its dither is 0 here), in batches.

    Windows without their mean, pre-emphasis, power spectrum, triangles on the mel scale 1127 ln(1 + f / 700),
    natural logarithms; then, with `mean_norm`, the mean of every band over the utterance is subtracted: over
    its own frames in a padded batch, over the crop where a crop is all there is.

    >>> fbank = Fbank(FbankConfig())
    >>> tuple(fbank(torch.zeros(2, 16_000)).shape)
    (2, 98, 80)
    """

    Config = FbankConfig
    summary_kind = "mean"
    window_N: Tensor

    def __init__(self, config: FbankConfig) -> None:
        super().__init__()
        self.config = config
        self.dim = config.bins
        self.pause_db = config.pause_db
        self.hop = config.samples_of(config.hop_ms)
        self.window = config.samples_of(config.window_ms)
        self.lead = 0 if config.snip_edges else self.window // 2 - self.hop // 2
        window_N = _window(config.window, self.window) * config.scale
        self.register_buffer("window_N", window_N.float(), persistent=False)
        self.register_buffer("mel_KM", _mel_bands(config).float(), persistent=False)
        self._blocks = dense_blocks(self.mel_KM)

    def frames(self, samples: Count) -> Count:
        """Return the number of frames of an utterance of `samples` samples; 0 if too short for a window."""
        if not self.config.snip_edges:
            return (samples + self.hop // 2) // self.hop
        frames = 1 + (samples - self.window) // self.hop
        return frames.clamp_min(0) if isinstance(frames, Tensor) else max(0, frames)

    def samples(self, frames: int) -> int:
        """Return the least number of samples that makes `frames` frames."""
        if not self.config.snip_edges:
            return frames * self.hop - self.hop // 2
        return (frames - 1) * self.hop + self.window

    def _extend(self, wave_BS: Tensor, before: int, after: int, samples_B: Tensor | None = None) -> Tensor:
        """Return wave_BS mirrored at its ends, the outermost sample twice; without, if edges are snipped."""
        if self.config.snip_edges or wave_BS.shape[1] == 0:
            return wave_BS
        return mirrored(wave_BS, before, after, samples_B, twice=1)

    def _of_windows(self, window_XN: Tensor) -> Tensor:
        """Return logmel_XM, natural logarithms."""
        config = self.config
        if config.remove_dc:
            window_XN = window_XN - window_XN.mean(dim=1, keepdim=True)
        emphasised_XN = torch.cat(
            [
                (1 - config.preemphasis) * window_XN[:, :1],
                torch.add(window_XN[:, 1:], window_XN[:, :-1], alpha=-config.preemphasis),
            ],
            dim=1,
        )
        power_XK = self.spectrum(emphasised_XN * self.window_N, config.n_fft)
        return self._banded(power_XK).clamp_min(config.energy_floor).log()

    def _summary(self, logmel_BTM: Tensor, valid_BT1: Tensor | None) -> Tensor:
        """Return each row's mean of every band over its valid frames that are no pause.

        With `pause_db` the step of loudness follows from which a frame is none (see `voxid.framing`).
        """
        if self.pause_db is None:
            return mean_of_frames(logmel_BTM, valid_BT1)
        step_BT = loudness_steps(logmel_BTM)
        amplitude_BT = 10 ** (step_BT * (STEP_DB / 20))
        if valid_BT1 is not None:
            amplitude_BT = amplitude_BT * valid_BT1[:, :, 0]
        speech_B1 = amplitude_BT.square().sum(dim=1, keepdim=True) / amplitude_BT.sum(dim=1, keepdim=True)
        pause_B1 = ((20 * speech_B1.log10() - self.pause_db) / STEP_DB + 1e-3).floor()
        spoken_BT1 = (step_BT >= pause_B1)[:, :, None]
        if valid_BT1 is not None:
            spoken_BT1 = spoken_BT1 & valid_BT1
        return torch.cat([mean_of_frames(logmel_BTM, spoken_BT1), pause_B1], dim=1)

    def spoken(self, logmel_BTM: Tensor, summary_BU: Tensor) -> Tensor | None:
        """Return True at the frames (B, T) that are not pauses of the utterance; None without `pause_db`."""
        if self.pause_db is None:
            return None
        return loudness_steps(logmel_BTM) >= summary_BU[:, -1:]

    def from_log_mel(self, logmel_BTM: Tensor, summary_BU: Tensor) -> Tensor:
        """Return feat_BTF: `log_mel`'s values, less each utterance's mean with `mean_norm`."""
        return logmel_BTM - summary_BU[:, None, : self.dim] if self.config.mean_norm else logmel_BTM


def loudness_steps(logmel_BTM: Tensor) -> Tensor:
    """Return the loudness of frames (B, T) in whole steps of STEP_DB, as `voxid.framing` says it."""
    return ((logmel_BTM * 0.25).exp().mean(dim=2).log() * (DB / STEP_DB)).floor()


def _window(name: str, samples: int) -> Tensor:
    """Return window_N (float64), symmetric: both its ends are its least values."""
    if name == "hamming":
        return torch.hamming_window(samples, periodic=False, dtype=torch.float64)
    hann_N = torch.hann_window(samples, periodic=False, dtype=torch.float64)
    return hann_N**0.85 if name == "povey" else hann_N


def _mel_bands(config: FbankConfig) -> Tensor:
    """Return mel_KM (float64): triangles whose sides are straight on the mel scale, of height 1."""
    edges = torch.linspace(_mel(config.f_min), _mel(highest_hz(config)), config.bins + 2, dtype=torch.float64)
    bins_hz = torch.arange(config.n_fft // 2 + 1, dtype=torch.float64) * config.sample_rate / config.n_fft
    mel_K1 = 1127.0 * torch.log1p(bins_hz / 700.0)[:, None]
    left, middle, right = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (mel_K1 - left) / (middle - left), (right - mel_K1) / (right - middle)
    return torch.minimum(rising, falling).clamp_min(0.0)


def _mel(hz: float) -> float:
    return 1127.0 * float(np.log1p(hz / 700.0))
