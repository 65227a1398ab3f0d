"""Where the samples of prepared speech lie when they are many files: shards, mapped or read from elsewhere.

S samples, K shards
"""

from __future__ import annotations

import hashlib
import json
import mmap
from pathlib import Path
from typing import Any

import numpy as np

from voxid.errors import CorpusError
from voxid.files import atomic_write, fetched, user_cache

SHARDED = 2  # the version of a prepared.json that lists shards
INDEX = ("prepared.json", "offsets.npy", "speakers.npy", "speaker_names.json", "manifest.parquet")


def index_of(where: str) -> Path:
    """Return a folder of this machine's cache that holds the index of the shards at an address.

    Raise CorpusError.
    """
    kept = user_cache() / "shards" / hashlib.sha256(where.encode()).hexdigest()[:16]
    info = {**json.loads(read_of(where, "prepared.json")), "at": where}
    held = kept / INDEX[0]
    if not held.is_file() or json.loads(held.read_text("utf-8")) != info:
        for name in INDEX[1:]:
            with atomic_write(kept / name) as file:
                file.write(read_of(where, name))
        with atomic_write(held, "w") as file:
            json.dump(info, file)
    return kept


class ShardedSamples:
    """The samples of all shards in a row: `samples[first:last]` is int16 (S,), of one shard.

    Shards on disk are mapped when they are first read, others read as much as is asked for.
    """

    def __init__(self, folder: Path, info: dict[str, Any]) -> None:
        self.shards, self.at = info["shards"], info.get("at")
        self.folder = folder
        self.starts_K = np.cumsum([0, *(shard["bytes"] // 2 for shard in self.shards)])
        self._maps: dict[int, mmap.mmap] = {}
        if self.at is None:
            for shard in self.shards:
                _need_whole(folder / shard["name"] / "audio.i16", shard["bytes"])

    def __getitem__(self, where: slice) -> np.ndarray:
        """Return the samples from `where.start` to `where.stop`; raise CorpusError."""
        k = int(np.searchsorted(self.starts_K, where.start, side="right")) - 1
        first, last = 2 * int(where.start - self.starts_K[k]), 2 * int(where.stop - self.starts_K[k])
        name = f"{self.shards[k]['name']}/audio.i16"
        if self.at is None:
            return np.frombuffer(self._map(k, name), "<i2", (last - first) // 2, first)
        try:
            return np.frombuffer(fetched(f"{self.at}/{name}", first, last), "<i2")
        except OSError as error:
            raise CorpusError(f"{self.at}/{name} cannot be read ({error.strerror or error}).") from error

    def _map(self, k: int, name: str) -> mmap.mmap:
        if k not in self._maps:
            with (self.folder / name).open("rb") as file:
                self._maps[k] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[k]

    def release(self) -> None:
        """Let go of the pages that reads have mapped."""
        for mapped in self._maps.values():
            release(mapped)


def release(mapped: mmap.mmap) -> None:
    """Unmap a mapping's resident pages where the system can; their bytes stay in the page cache."""
    if hasattr(mapped, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _need_whole(path: Path, size: int) -> None:
    found = path.stat().st_size if path.exists() else None
    if found != size:
        what = "is missing" if found is None else f"has {found} bytes, and the index says {size}"
        raise CorpusError(
            f"{path} {what}. Delete its folder and run the same voxid prepare again: only what is not there "
            "is packed."
        )


def read_of(where: str, name: str) -> bytes:
    """Return the content of a file under a folder or an address; raise CorpusError."""
    try:
        return fetched(f"{where}/{name}")
    except OSError as error:
        raise CorpusError(f"{where}/{name} cannot be read ({error.strerror or error}).") from error
