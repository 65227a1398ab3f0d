"""Augmentation of a batch of waveforms, in the order of the world: room, other sounds, microphone, line.

Shapes: B batch, S samples, C rows that a change falls on, L samples of a room's response.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args

import numpy as np
import torch
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from torch import Tensor

from voxid.augment.channel import amplify, band_limit, clip, mu_law
from voxid.augment.clips import Clips
from voxid.augment.faults import FAULTS, Fault, spoil
from voxid.augment.levels import INAUDIBLE, active_rms, add_at_snr
from voxid.augment.lossy import CODECS, Codec, Line, compress
from voxid.augment.reverb import Rooms, convolve
from voxid.config import Config


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] <= pair[1]:
        raise ValueError(f"the smaller number comes first, {pair[0]:g} > {pair[1]:g}")
    return pair


Probability = Annotated[float, Field(ge=0, le=1)]
Span = Annotated[tuple[float, float], AfterValidator(_ordered)]  # least and most, drawn evenly in between
Folders = Annotated[tuple[str, ...], BeforeValidator(lambda v: (v,) if isinstance(v, str) else v)]


class AugmentConfig(Config):
    """How often each change falls on a row of a batch, and how strong it may be: a recipe's [augment].

    Noise and music need recordings, so both are off until their folders are named.

    >>> AugmentConfig(rir_prob=0.5, noise_prob=0.0, music_prob=0.0, babble_prob=0.0).rir_prob
    0.5
    """

    rir_prob: Probability = 0.3
    rir: Folders = ()  # folders of measured impulse responses
    rooms: int = Field(200, ge=0)  # simulated rooms beside them
    rt60: Span = (0.1, 0.7)  # s, of the simulated rooms
    rir_seconds: float = Field(0.5, gt=0, le=10)  # kept of each response after its direct path
    noise_prob: Probability = 0.0
    noise: Folders = ()
    noise_snr: Span = (0.0, 20.0)  # dB
    music_prob: Probability = 0.0
    music: Folders = ()
    music_snr: Span = (5.0, 20.0)  # dB
    babble_prob: Probability = 0.2
    babble: Folders = ()  # none: other speakers of the batch
    babble_snr: Span = (10.0, 20.0)  # dB
    babble_voices: tuple[int, int] = (3, 7)
    gain_prob: Probability = 0.2
    gain_db: Span = (-20.0, 6.0)
    clip_prob: Probability = 0.05
    clip_db: Span = (2.0, 12.0)  # dB of the row's peak that are cut off
    telephone_prob: Probability = 0.05
    telephone_band: Span = (300.0, 3400.0)  # Hz
    codec_prob: Probability = 0.05  # 8 bits of mu-law
    lossy_prob: Probability = 0.0
    lossy: tuple[Codec, ...] = CODECS  # one of them, at random; naming one twice makes it twice as likely
    lossy_level: Span = (0.5, 1.0)  # how hard they compress, 1 most
    line_prob: Probability = 0.0  # a telephone call: a band of its own, 8 kHz, and one of these codecs
    lines: tuple[Line, ...] = get_args(Line)
    line_low: Span = (100.0, 400.0)  # Hz, where the band of a call begins ...
    line_high: Span = (2800.0, 3900.0)  # ... and ends
    fault_prob: Probability = 0.0  # silence, a beep, lost packets: what may be beside the speech
    faults: tuple[Fault, ...] = FAULTS
    clips_seconds: float = Field(3600.0, gt=0)  # of noise, of music and of babble that are held in memory

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> AugmentConfig:
        for kind in ("noise", "music"):
            probability = getattr(self, f"{kind}_prob")
            if probability > 0 and not getattr(self, kind):
                raise ValueError(
                    f"{kind}_prob is {probability:g}, and no recordings are named: "
                    f'set {kind} = ["FOLDER"], or {kind}_prob = 0'
                )
            if getattr(self, kind) and probability == 0:
                raise ValueError(
                    f"{kind} names recordings, and {kind}_prob is 0, so none would be used: "
                    f"set {kind}_prob, 0.3 say, or leave {kind} out"
                )
        if self.rir_prob > 0 and not self.rir and not self.rooms:
            raise ValueError('rir_prob needs rooms: set rir = ["FOLDER"], rooms = 200, or rir_prob = 0')
        if not 1 <= self.babble_voices[0] <= self.babble_voices[1]:
            raise ValueError("babble_voices are two whole numbers from 1 up, the smaller first")
        if not 0 <= self.telephone_band[0] < self.telephone_band[1]:
            raise ValueError("telephone_band is two frequencies in Hz, the lower first")
        for kind, of, known in (
            ("lossy", "lossy", CODECS),
            ("line", "lines", get_args(Line)),
            ("fault", "faults", FAULTS),
        ):
            if (probability := getattr(self, f"{kind}_prob")) > 0 and not getattr(self, of):
                raise ValueError(
                    f"{kind}_prob is {probability:g}, and {of} is empty: name {', '.join(known)}"
                )
        if not 0 <= self.line_low[0] <= self.line_low[1] < self.line_high[0]:
            raise ValueError("line_low and line_high are spans in Hz, the lower first")
        if not 0 <= self.lossy_level[0] <= self.lossy_level[1] <= 1:
            raise ValueError("lossy_level is two numbers from 0 to 1, the smaller first")
        if self.rt60[0] < 0.05:
            raise ValueError("rt60 has to be 0.05 s or more")
        return self


@dataclass(frozen=True)
class Sources:
    """The recordings and rooms that augmentation draws from; None where it needs none.

    >>> Sources().noise is None  # nothing is loaded
    True
    """

    noise: Clips | None = None
    music: Clips | None = None
    babble: Clips | None = None
    rooms: Rooms | None = None

    @classmethod
    def load(cls, config: AugmentConfig) -> Sources:
        """Return what `config` needs, read once; raise CorpusNotFound or EmptyCorpus, naming the folder.

        >>> Sources.load(AugmentConfig(babble_prob=0.0)).noise is None  # no folder is named
        True
        """

        def clips(kind: str) -> Clips | None:
            folders = getattr(config, kind)
            wanted = folders and getattr(config, f"{kind}_prob") > 0
            return Clips.load(folders, kind, config.clips_seconds) if wanted else None

        rooms = None
        if config.rir_prob > 0:
            rooms = Rooms.make(config.rir, config.rooms, config.rt60, config.rir_seconds)
        return cls(clips("noise"), clips("music"), clips("babble"), rooms)

    @property
    def warnings(self) -> list[str]:
        """What was found and is not used, in words."""
        parts = (self.noise, self.music, self.babble, self.rooms)
        return [warning for part in parts if part is not None for warning in part.warnings]


class WaveAugment:
    """Change rows of a batch at random; the same generator state gives the same batch.

    Every change draws for itself, and on its own: switching one off leaves the others as they were.
    `sources` (None: loaded here) are read once and shared. Safe to call from several threads.

    >>> augment = WaveAugment(AugmentConfig(rir_prob=0, babble_prob=0, gain_prob=1, gain_db=(6.0, 6.0)))
    >>> wave_BS = torch.full((2, 800), 0.1)
    >>> changed_BS = augment(wave_BS, torch.tensor([0, 1]), np.random.default_rng(0))
    >>> round(float(changed_BS[0, 0]), 3), round(float(wave_BS[0, 0]), 3)
    (0.2, 0.1)
    """

    Config = AugmentConfig

    def __init__(self, config: AugmentConfig, sources: Sources | None = None) -> None:
        self.config = config
        self.sources = Sources.load(config) if sources is None else sources
        change = self._changes()
        self._steps = [(getattr(config, f"{name}_prob"), change[name]) for name in change]

    def __call__(
        self, wave_BS: Tensor, labels_B: Tensor, generator: np.random.Generator | torch.Generator
    ) -> Tensor:
        """Return a new batch of the same shape, on the same device.

        `labels_B` are speaker numbers: babble over a row is made of other speakers' rows.
        """
        rng = _numpy_generator(generator)
        labels = labels_B.detach().cpu().numpy()
        out_BS = wave_BS.clone()
        for (probability, change), seed in zip(
            self._steps, rng.integers(2**63, size=len(self._steps)), strict=True
        ):
            draws = np.random.default_rng(seed)
            rows_C = np.flatnonzero(draws.random(len(wave_BS)) < probability)
            if rows_C.size:
                index_C = torch.from_numpy(rows_C).to(wave_BS.device)
                out_BS[index_C] = change(out_BS[index_C], _Rows(rows_C, wave_BS, labels), draws)
        return out_BS

    def _changes(self) -> dict[str, Callable[[Tensor, _Rows, np.random.Generator], Tensor]]:
        """Return name -> change, in the order in which they happen."""
        config = self.config
        return {
            "rir": self._reverberate,
            "noise": self._adder("noise"),
            "music": self._adder("music"),
            "babble": self._adder("babble") if config.babble else self._babble_of_batch,
            "gain": lambda wave_CS, _, rng: amplify(wave_CS, _draw(rng, config.gain_db, wave_CS)),
            "clip": lambda wave_CS, _, rng: clip(wave_CS, _draw(rng, config.clip_db, wave_CS)),
            "telephone": lambda wave_CS, _, rng: band_limit(wave_CS, *config.telephone_band),
            "codec": lambda wave_CS, _, rng: mu_law(wave_CS),
            "lossy": self._compress,
            "line": self._call,
            "fault": lambda wave_CS, _, rng: spoil(wave_CS, config.faults, rng),
        }

    def _reverberate(self, wave_CS: Tensor, _: _Rows, rng: np.random.Generator) -> Tensor:
        assert self.sources.rooms is not None
        return convolve(wave_CS, self.sources.rooms.draw(rng, len(wave_CS)).to(wave_CS.device))

    def _compress(self, wave_CS: Tensor, _: _Rows, rng: np.random.Generator) -> Tensor:
        return self._through(wave_CS, self.config.lossy, rng)

    def _call(self, wave_CS: Tensor, _: _Rows, rng: np.random.Generator) -> Tensor:
        low_C, high_C = (_draw(rng, span, wave_CS) for span in (self.config.line_low, self.config.line_high))
        return self._through(band_limit(wave_CS, low_C[:, None], high_C[:, None]), self.config.lines, rng)

    def _through(
        self, wave_CS: Tensor, codecs: tuple[Codec, ...] | tuple[Line, ...], rng: np.random.Generator
    ) -> Tensor:
        """Return each row after one of `codecs`, drawn for it."""
        codec_C = rng.integers(len(codecs), size=len(wave_CS))
        level_C = rng.uniform(*self.config.lossy_level, size=len(wave_CS))
        rows = zip(wave_CS.cpu().numpy(), codec_C.tolist(), level_C.tolist(), strict=True)
        coded = [compress(wave_S, codecs[codec], level) for wave_S, codec, level in rows]
        return torch.from_numpy(np.stack(coded)).to(wave_CS.device)

    def _adder(self, kind: str) -> Callable[[Tensor, _Rows, np.random.Generator], Tensor]:
        """Return the change that adds pieces of recordings; several on top of each other for babble."""

        def add(wave_CS: Tensor, _: _Rows, rng: np.random.Generator) -> Tensor:
            clips: Clips = getattr(self.sources, kind)
            snr_C = _draw(rng, getattr(self.config, f"{kind}_snr"), wave_CS)
            least, most = self.config.babble_voices if kind == "babble" else (1, 1)
            rows, samples = wave_CS.shape
            voices_C = rng.integers(least, most + 1, size=rows)
            noise_CS = torch.stack([clips.draw(rng, count, samples).sum(dim=0) for count in voices_C])
            return add_at_snr(wave_CS, noise_CS.to(wave_CS.device), snr_C)

        return add

    def _babble_of_batch(self, wave_CS: Tensor, rows: _Rows, rng: np.random.Generator) -> Tensor:
        """Add some rows of other speakers, equally loud, shifted; a row without others stays as it is."""
        snr_C = _draw(rng, self.config.babble_snr, wave_CS)
        least, most = self.config.babble_voices
        weight_CB = np.zeros((len(wave_CS), len(rows.labels)), np.float32)
        for weight_B, row in zip(weight_CB, rows.rows_C, strict=True):
            others = np.flatnonzero(rows.labels != rows.labels[row])
            count = min(int(rng.integers(least, most + 1)), len(others))
            weight_B[rng.permutation(others)[:count]] = 1.0
        used_B = np.flatnonzero(weight_CB.any(axis=0))
        shift_B = rng.integers(wave_CS.shape[1], size=len(used_B))
        voice_BS = torch.stack(
            [rows.wave_BS[row].roll(int(shift)) for row, shift in zip(used_B.tolist(), shift_B, strict=True)]
            or [torch.zeros_like(wave_CS[0])]
        )
        voice_BS = voice_BS / active_rms(voice_BS).clamp_min(INAUDIBLE)[:, None]
        weight_CU = torch.from_numpy(weight_CB[:, used_B] if used_B.size else weight_CB[:, :1])
        return add_at_snr(wave_CS, weight_CU.to(wave_CS) @ voice_BS, snr_C)


@dataclass(frozen=True)
class _Rows:
    """Which rows of the batch a change falls on, and the batch as it came."""

    rows_C: np.ndarray
    wave_BS: Tensor
    labels: np.ndarray


def _draw(rng: np.random.Generator, span: tuple[float, float], like_CS: Tensor) -> Tensor:
    """Return a number of `span` for each row."""
    return torch.from_numpy(rng.uniform(*span, size=len(like_CS)).astype(np.float32)).to(like_CS.device)


def _numpy_generator(generator: Any) -> np.random.Generator:
    """Return numpy's generator; torch's gives the seed of one, so that every device draws the same."""
    if isinstance(generator, np.random.Generator):
        return generator
    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))
