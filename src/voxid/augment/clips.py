"""Recordings of noise, music or voices in memory, to be laid under speech in random pieces.

Shapes: B batch, S samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from voxid import audio
from voxid.corpora.files import audio_files
from voxid.errors import AudioError, AudioSilent, CorpusNotFound, EmptyCorpus
from voxid.types import SAMPLE_RATE

R = TypeVar("R")
QUIET = 1e-6  # of full scale: a recording that never swings further holds nothing


@dataclass(frozen=True)
class Clips:
    """Recordings as 16-bit samples, each at its own full scale: how loud it becomes, an SNR decides.

    `warnings` says in words what was found and is not here.
    """

    pcm: tuple[np.ndarray, ...]
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long the recordings are together."""
        return sum(map(len, self.pcm)) / SAMPLE_RATE

    @classmethod
    def load(cls, folders: Iterable[str], what: str, most_s: float = 3600.0) -> Clips:
        """Return the recordings below `folders` (or files), up to `most_s` seconds of them (115 MB an hour).

        `what` is their name in messages. Which ones are taken where there are more is drawn, always alike.
        Raise CorpusNotFound or EmptyCorpus.
        """
        paths = find(folders, what)
        left = round(most_s * SAMPLE_RATE)
        unheard = 0

        def read(path: Path) -> np.ndarray | None:
            nonlocal left, unheard
            if left <= 0:
                unheard += 1
                return None
            pcm_S = _read_pcm(path, left)
            left -= len(pcm_S)
            return pcm_S

        drawn = np.random.default_rng(0).permutation(len(paths))
        pcm, warnings = read_all([paths[i] for i in drawn], read, what)
        if unheard:
            warnings = (*warnings, f"{what}: {unheard} of {len(paths)} files beyond the first {most_s:g} s")
        return cls(tuple(pcm), warnings)

    def draw(self, rng: np.random.Generator, rows: int, samples: int) -> Tensor:
        """Return `rows` random pieces, float32 (B, S); a recording shorter than that is repeated."""
        piece_BS = np.empty((rows, samples), np.int16)
        for piece_S, number in zip(piece_BS, rng.integers(len(self.pcm), size=rows), strict=True):
            clip = self.pcm[number]
            if len(clip) >= samples:
                start = rng.integers(len(clip) - samples + 1)
                piece_S[:] = clip[start : start + samples]
            else:
                piece_S[:] = np.resize(np.roll(clip, -int(rng.integers(len(clip)))), samples)
        return torch.from_numpy(piece_BS).float().div_(32768)


def find(folders: Iterable[str], what: str) -> list[Path]:
    """Return all audio files below `folders`; raise CorpusNotFound or EmptyCorpus that names the folder."""
    paths: list[Path] = []
    for name in folders:
        folder = Path(name).expanduser()
        try:
            if folder.is_file():
                paths.append(folder)
                continue
            if not folder.is_dir():
                raise CorpusNotFound(f"there is no {what} folder {folder}. Name a folder of audio files.")
            found = list(audio_files(folder))
        except OSError as error:
            raise CorpusNotFound(
                f"the {what} folder {folder} cannot be read ({error.strerror}: {error.filename}). "
                "Check its permissions."
            ) from error
        if not found:
            raise EmptyCorpus(
                f"the {what} folder {folder} holds no audio: {_contents(folder)}. "
                f"voxid reads {', '.join(sorted(audio.AUDIO_SUFFIXES))}. Name another folder."
            )
        paths += found
    return paths


def read_all(
    paths: list[Path], read: Callable[[Path], R | None], what: str
) -> tuple[list[R], tuple[str, ...]]:
    """Return what `read` makes of each path, None left out, and warnings about those it cannot read.

    Raise EmptyCorpus when it can read none.
    """
    values: list[R] = []
    failed: Counter[str] = Counter()
    first = ""
    for path in paths:
        try:
            value = read(path)
        except AudioError as error:
            failed[error.reason] += 1
            first = first or str(error)
            continue
        if value is not None:
            values.append(value)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(failed.items()))
    if not values:
        raise EmptyCorpus(
            f"none of the {len(paths)} {what} files can be used ({reasons}). Name a folder of recordings "
            f"that play. The first: {first}"
        )
    if not failed:
        return values, ()
    return values, (f"{what}: {failed.total()} of {len(paths)} files cannot be used ({reasons}): {first}",)


def _read_pcm(path: Path, most: int) -> np.ndarray:
    """Return up to `most` samples of a recording at full scale, int16; raise an AudioError."""
    pieces: list[np.ndarray] = []
    held = 0
    for wave_S in audio.blocks(path):
        pieces.append(wave_S)
        held += len(wave_S)
        if held >= most:
            break
    wave_S = np.concatenate(pieces)[:most]
    peak = float(np.abs(wave_S).max(initial=0.0))
    if peak < QUIET:
        raise AudioSilent(f"{path}: silence. Leave it out.")
    return np.round(wave_S * (32767 / peak)).astype(np.int16)


def _contents(folder: Path) -> str:
    """Return in words what lies in a folder without audio."""
    suffixes = Counter(path.suffix.lower() or "no suffix" for path in folder.rglob("*") if path.is_file())
    if not suffixes:
        return "it is empty"
    return "its files are " + ", ".join(f"{count} x {suffix}" for suffix, count in suffixes.most_common(5))
