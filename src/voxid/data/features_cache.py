"""Features of every utterance, computed once and read back as random windows.

Without augmentation of the waveform the features of an utterance never change, so training reads windows
of frames from a file instead of computing them 24 times a step. The original did the same in memory; a
mapped file costs no memory, whatever the hours.
"""

# N utterances, B rows, S samples, T frames, F features per frame

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from voxid.data.pack import Packed
from voxid.data.samples import release
from voxid.errors import CorpusError
from voxid.files import atomic_write, user_cache
from voxid.parallel import OneThreadWorkers
from voxid.types import SAMPLE_RATE

FORMAT = 1  # a change of what is stored, or of how features are computed, makes old files be left alone
BATCH_SAMPLES = 15 * SAMPLE_RATE  # padded samples that go through the features module at once
LONG_SAMPLES = 120 * SAMPLE_RATE  # longer utterances are walked in blocks
THREADS = 2
RELEASE_EVERY = 8  # gathers: mapped pages count as resident memory until they are let go


class FeatureStore:
    """Features of whole utterances in one file of float32: `.frames_N` of each, `.dim` wide."""

    def __init__(self, path: Path, frames_N: np.ndarray, dim: int) -> None:
        self.path = path
        self.frames_N = frames_N
        self.dim = dim
        self.offsets = np.concatenate([[0], np.cumsum(frames_N, dtype=np.int64)])
        expected = int(self.offsets[-1]) * dim * 4
        if path.stat().st_size != expected:
            raise CorpusError(
                f"{path} has {path.stat().st_size} bytes, its utterances need {expected}. Delete it; "
                "the next training writes it again."
            )
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._frames = np.frombuffer(self._map, "<f4").reshape(-1, dim)
        self._gathers = 0

    def utterance(self, i: int) -> np.ndarray:
        """Return all frames of utterance `i`, float32 (T, F), a view of the file."""
        return self._frames[self.offsets[i] : self.offsets[i + 1]]

    def gather(self, rows_B: np.ndarray, starts_B: np.ndarray, window: int) -> np.ndarray:
        """Return feat_BTF, `window` frames from `starts_B` of utterances `rows_B`, a copy.

        A window that runs over the end goes on at the utterance's first frame.
        """
        place_BT = (starts_B[:, None] + np.arange(window)) % self.frames_N[rows_B][:, None]
        feat_BTF = self._frames[self.offsets[rows_B][:, None] + place_BT]
        self._gathers += 1
        if self._gathers % RELEASE_EVERY == 0:
            release(self._map)
        return feat_BTF


def cached_features(
    packed: Packed, features: Any, progress: Callable[[int, int], None] | None = None
) -> FeatureStore:
    """Return the features of all utterances of `packed`, computing them the first time.

    `features` is a module such as `Mfcc`. The file lies in the prepared folder, or in voxid's cache where
    that folder is read-only; its name holds a hash of the features' config and the samples. `progress` gets
    (utterances done, all of them). Raise DiskFull, NotWritable or OutputError.
    """
    path = features_path(packed, features)
    if not path.is_file():
        with atomic_write(path) as file:
            _compute(packed, features, file, progress)
    frames_N = features.frames(torch.from_numpy(packed.lengths_N)).numpy()
    return FeatureStore(path, frames_N, features.dim)


def features_path(packed: Packed, features: Any) -> Path:
    """Return where the features of `packed` are, or will be, stored."""
    config = {"class": type(features).__name__, **features.config.model_dump(mode="json"), "format": FORMAT}
    key = json.dumps([config, packed.fingerprint], sort_keys=True)
    name = f"features-{hashlib.sha256(key.encode()).hexdigest()[:16]}.f32"
    path = packed.folder / name
    if path.is_file() or os.access(packed.folder, os.W_OK):
        return path
    return user_cache() / "features" / name


def _compute(packed: Packed, features: Any, file: IO, progress: Callable[[int, int], None] | None) -> None:
    """Write the features of all utterances in pack order; batches are computed side by side."""

    def compute(run: tuple[int, int]) -> tuple[int, Iterable[bytes]]:
        first, last = run
        if packed.lengths_N[first] > LONG_SAMPLES:
            return last, _features_of_long(packed.wave(first), features)  # computed here, as it is written
        return last, _features_of_batch(packed, features, first, last)

    with OneThreadWorkers(THREADS, "voxid-features", engine=torch) as workers:
        for last, pieces in workers.map(compute, _runs(packed.lengths_N), ahead=THREADS):
            file.writelines(pieces)
            packed.release()
            if progress:
                progress(last, packed.n)


def _features_of_batch(packed: Packed, features: Any, first: int, last: int) -> list[bytes]:
    """Return the features of utterances `first` to `last` - 1, each as bytes."""
    device = next(features.buffers()).device
    samples_B = torch.from_numpy(packed.lengths_N[first:last])
    wave_BS = torch.zeros(last - first, int(samples_B.max()))
    for row in range(last - first):
        wave_BS[row, : samples_B[row]] = to_float(packed.wave(first + row))
    with torch.inference_mode():
        feat_BTF = features(wave_BS.to(device), samples_B).cpu()
    frames_B = features.frames(samples_B).tolist()
    return [_to_bytes(feat_TF[:frames]) for feat_TF, frames in zip(feat_BTF, frames_B, strict=True)]


def _features_of_long(wave_S: np.ndarray, features: Any) -> Iterator[bytes]:
    """Yield the features of one utterance in pieces: walked twice, in blocks, in constant memory."""
    device = next(features.buffers()).device

    def pieces() -> Iterator[Tensor]:
        for start in range(0, len(wave_S), BATCH_SAMPLES):
            yield to_float(wave_S[start : start + BATCH_SAMPLES]).to(device)

    with torch.inference_mode():
        summary = features.summary(features.log_mel_blocks(pieces()))
        for logmel_TM in features.log_mel_blocks(pieces()):
            yield _to_bytes(features.from_log_mel(logmel_TM[None], summary)[0])


def _to_bytes(feat_TF: Tensor) -> bytes:
    return feat_TF.cpu().numpy().astype("<f4", copy=False).tobytes()


def _runs(lengths_N: np.ndarray) -> Iterator[tuple[int, int]]:
    """Yield (first, last + 1) of neighbours that fit into one padded batch; a longer one is alone."""
    first, longest = 0, 0
    for i, length in enumerate(lengths_N.tolist()):
        longest = max(longest, length)
        if i > first and longest * (i + 1 - first) > BATCH_SAMPLES:
            yield first, i
            first, longest = i, length
    yield first, len(lengths_N)


def to_float(pcm_S: np.ndarray) -> Tensor:
    """Return int16 samples as a float32 tensor in -1..1, the scale of all waves in voxid."""
    return torch.from_numpy(pcm_S.astype(np.float32) / 32768)
