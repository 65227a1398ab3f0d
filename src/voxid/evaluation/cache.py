"""Embeddings kept from one evaluation to the next, so that scoring anew costs no inference.

A stale entry cannot be met, because an entry is found by everything that made it:

- the name of a cache is the digest of the model's fingerprint, of the engine, of the libraries behind it, and
  of voxid's own source code for audio, features, encoders and inference;
- inside, the key is the digest of the audio itself: the bytes of the file and the part of it that is meant,
  or the samples. An embedding is kept only if the file did not change while it was made.

# N recordings, D embedding
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import voxid
from voxid.audio import Part
from voxid.embed import Embedder, EmbedInfo
from voxid.files import user_cache
from voxid.types import Utterance

# what makes an embedding
ROOMS = ("audio", "features", "encoders", "framing.py", "model", "embed", "parallel.py")
LIBRARIES = ("numpy", "soundfile", "soxr", "torch", "onnxruntime")
CHECK = 8  # bytes of digest that guard a row against damage on the disk
SOME = 500  # keys a query: SQLite takes 999

Known = dict[int, tuple[np.ndarray, EmbedInfo]]


class EmbeddingCache:
    """The embeddings of one model by what was said, in one SQLite file.

    Any number of processes may use it at once. A file that is damaged, locked or cannot be written costs the
    time it would have saved and nothing else: `warnings` says what happened.

    >>> import tempfile
    >>> cache = EmbeddingCache("name", tempfile.mkdtemp(), dim=2)
    >>> heard = EmbedInfo(total_s=1.0, full_sequence=False, windows=3)
    >>> cache.put([b"key"], [(np.ones(2, np.float32), heard)])
    >>> cache.get([b"other", b"key", None])[1][0].tolist()
    [1.0, 1.0]
    """

    def __init__(self, name: str, folder: str | os.PathLike[str], *, dim: int) -> None:
        self.path = Path(folder) / f"{name}.sqlite"
        self.dim = dim
        self.warnings: list[str] = []

    @classmethod
    def of(
        cls, runtime: Embedder, folder: str | os.PathLike[str] | None = None, *, vad: str = "energy"
    ) -> EmbeddingCache | None:
        """Return the cache of a model's embeddings and of the net speech that `vad` measures.

        It lies in `folder` or $VOXID_CACHE/embeddings.

        None for an engine that does not say what it is (`engine`): its embeddings could not be told apart.
        """
        engine = getattr(runtime, "engine", None)
        if engine is None:
            return None
        made_by = f"{runtime.fingerprint} {runtime.dim} {engine} {vad} {_program()}"
        name = hashlib.sha256(made_by.encode()).hexdigest()[:32]
        return cls(name, folder or user_cache() / "embeddings", dim=runtime.dim)

    def get(self, keys_N: Sequence[bytes | None]) -> Known:
        """Return position -> (emb_D float32, info) for the keys that are known; None is never known."""
        if not self.path.is_file():
            return {}
        places: dict[bytes, list[int]] = {}
        for position, key in enumerate(keys_N):
            if key is not None:
                places.setdefault(key, []).append(position)
        wanted, known = list(places), {}
        try:
            with closing(self._open()) as database:
                for first in range(0, len(wanted), SOME):
                    some = wanted[first : first + SOME]
                    marks = ",".join("?" * len(some))
                    found = database.execute(
                        f"SELECT key, content FROM embeddings WHERE key IN ({marks})", some
                    )
                    for key, content in found:
                        value = self._unpack(key, content)
                        known |= dict.fromkeys(places[key], value) if value else {}
        except sqlite3.Error as error:
            self._warn("read", error)
            return {}
        return known

    def put(self, keys_N: Iterable[bytes | None], values_N: Iterable[tuple[np.ndarray, EmbedInfo]]) -> None:
        """Keep the embeddings under their keys; those without a key (None) are passed over."""
        rows = [
            (key, _pack(key, emb_D, info))
            for key, (emb_D, info) in zip(keys_N, values_N, strict=True)
            if key is not None
        ]
        if not rows:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(self._open()) as database, database:
                database.executemany("INSERT OR REPLACE INTO embeddings VALUES (?, ?)", rows)
        except (sqlite3.Error, OSError) as error:
            self._warn("written", error)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=30)
        try:
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute("CREATE TABLE IF NOT EXISTS embeddings (key BLOB PRIMARY KEY, content BLOB)")
        except sqlite3.Error:
            database.close()
            raise
        return database

    def _unpack(self, key: bytes, content: Any) -> tuple[np.ndarray, EmbedInfo] | None:
        """Return the embedding, or None when the row was damaged."""
        if not isinstance(content, bytes) or _check(key, content[CHECK:]) != content[:CHECK]:
            return None
        split = CHECK + 4 * self.dim
        emb_D = np.frombuffer(content[CHECK:split], dtype="<f4").astype(np.float32)
        return emb_D, EmbedInfo(**json.loads(content[split:]))

    def _warn(self, what: str, error: Exception) -> None:
        text = f"the embedding cache {self.path} could not be {what} ({error}); everything was computed."
        if text not in self.warnings:
            self.warnings.append(text)


def _pack(key: bytes, emb_D: np.ndarray, info: EmbedInfo) -> bytes:
    body = emb_D.astype("<f4").tobytes() + json.dumps(asdict(info)).encode()
    return _check(key, body) + body


def _check(key: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(key + body, digest_size=CHECK).digest()


class Contents:
    """What recordings sound like, as digests. Each file is read once, however many utterances are in it.

    >>> Contents().key((np.zeros(3, np.int16), 16_000)) == Contents().key((np.zeros(3, np.int16), 8_000))
    False
    """

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, tuple[int, ...]]] = {}

    def key(self, audio: Any) -> bytes | None:
        """Return the digest of an Utterance, a path or (samples, rate); None when it has none.

        A file's is of its bytes, and of the part of it that is meant. None: the file cannot be read, or this
        is another kind of audio.
        """
        if isinstance(audio, tuple) and len(audio) == 2 and isinstance(audio[0], np.ndarray):
            samples = np.ascontiguousarray(audio[0])
            digest = hashlib.sha256(samples.view(np.uint8).data).digest()
            part = f"{samples.dtype.str} {samples.shape} {audio[1]!r}"
        elif (path := _path(audio)) is not None:
            digest = self._digest(path)
            meant = Part.of(audio)
            part = f"{meant.start_s!r} {meant.duration_s!r} {meant.channel!r}"
        else:
            return None
        return None if digest is None else hashlib.sha256(digest + part.encode()).digest()

    def unchanged(self, audio: Any) -> bool:
        """Return whether the file of `audio` is still the one that `key` read."""
        path = _path(audio)
        if path is None:
            return True
        try:
            return path in self._files and _signature(os.stat(path)) == self._files[path][1]  # noqa: PTH116
        except OSError:
            return False

    def _digest(self, path: str) -> bytes | None:
        if path not in self._files:
            try:
                with open(path, "rb", buffering=0) as file:  # noqa: PTH123
                    signature = _signature(os.fstat(file.fileno()))
                    self._files[path] = hashlib.file_digest(file, "sha256").digest(), signature
            except OSError:
                return None
        return self._files[path][0]


def _path(audio: Any) -> str | None:
    if isinstance(audio, Utterance):
        return os.path.expanduser(audio.path)  # noqa: PTH111 - as decoding does
    if isinstance(audio, str | os.PathLike):
        return os.path.expanduser(os.fspath(audio))  # noqa: PTH111
    return None


def _signature(stat: os.stat_result) -> tuple[int, ...]:
    """Return what changes whenever a file does: its identity, size, and times of change."""
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@cache
def _program() -> str:
    """Return what else an embedding depends on: voxid's code, and the libraries under it."""
    digest = hashlib.sha256()
    home = Path(voxid.__file__).parent
    for room in ROOMS:
        here = home / room
        for path in sorted(here.rglob("*.py")) if here.is_dir() else [here]:
            digest.update(path.relative_to(home).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    for library in LIBRARIES:
        try:
            digest.update(f"{library} {version(library)}\n".encode())
        except PackageNotFoundError:
            continue
    return digest.hexdigest()
