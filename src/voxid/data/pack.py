"""Prepared speech on disk: decoded once, kept as 16-bit samples, read back as memory-mapped crops.

A prepared folder holds

    audio.i16            int16 little endian at 16 kHz, all utterances back to back
    offsets.npy          int64 (N+1,): utterance i is audio[offsets[i]:offsets[i+1]]
    speakers.npy         int32 (N,): index into the sorted speaker names
    speaker_names.json   the sorted speaker names
    manifest.parquet     one row an utterance, in the same order, with whatever labels the corpus has
    dropped.csv          what was left out, and why
    prepared.json        version, counts, sources, fingerprint

Only the three small index files are read when a folder is opened; memory does not grow with hours of speech.
"""

# S samples, N utterances

from __future__ import annotations

import csv
import hashlib
import json
import mmap
import os
from array import array
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from voxid.corpora.seen import Seen
from voxid.data.samples import SHARDED, ShardedSamples, index_of, release
from voxid.errors import CorpusError, EmptyCorpus, OutputError, missing_extra
from voxid.files import atomic_write, output_error
from voxid.types import SAMPLE_RATE, Dropped, Utterance

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
ROWS_PER_GROUP = 20_000  # manifest rows held in memory before they are written
MANIFEST_COLUMNS = {
    "speaker": "string",
    "utterance": "string",
    "path": "string",
    "start_s": "float64",
    "duration_s": "float64",
    "sample_rate": "int32",
    "sex": "string",
    "age": "float64",
    "language": "string",
    "session": "string",
    "channel": "int32",
}


def to_int16(wave_S: np.ndarray) -> np.ndarray:
    """Return float samples as int16 (S,): rounded, clipped at full scale; int16 passes through.

    The inverse of `x / 32768`, so samples that came from a 16-bit file come back as they were.

    >>> to_int16(np.array([0.0, 0.5, -1.0, 1.0], np.float32)).tolist()
    [0, 16384, -32768, 32767]
    """
    if wave_S.dtype == np.int16:
        return wave_S
    scaled_S = np.multiply(wave_S, np.float32(32768), dtype=np.float32)
    np.rint(scaled_S, out=scaled_S)
    return np.clip(scaled_S, -32768, 32767, out=scaled_S).astype("<i2")


def _need_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_extra(error) or error from None


class PackWriter:
    """Writes a prepared folder in one pass and constant memory; `prepare` gives it a temporary folder.

    Use it as a context manager, and call `finish` inside: a folder without prepared.json is not a prepared
    folder. Raise DiskFull, NotWritable or OutputError; MissingExtra without pyarrow.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self._offsets = array("q", [0])
        self._first_seen: dict[str, int] = {}  # speaker -> number in the order of first use
        self._speakers = array("i")
        self._rows: dict[str, list] = {name: [] for name in MANIFEST_COLUMNS}
        self._dropped: Counter[str] = Counter()
        self._hash = hashlib.sha256()
        self._manifest: Any = None

    def __enter__(self) -> Self:
        _need_pyarrow()  # now, not after hours of decoding
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._audio = (self.folder / "audio.i16").open("wb")
            self._csv_file = (self.folder / "dropped.csv").open("w", newline="", encoding="utf-8")
        except OSError as error:
            raise output_error(error, self.folder) from error
        self._csv = csv.writer(self._csv_file)
        self._csv.writerow(["utterance", "path", "reason", "detail"])
        return self

    def __exit__(self, *_: object) -> None:
        for file in (self._audio, self._csv_file):
            with suppress(OSError):  # a full disk was reported where it was met; `finish` flushes
                file.close()
        if self._manifest is not None:
            self._manifest.close()

    @property
    def n(self) -> int:
        """Return how many utterances are packed so far."""
        return len(self._speakers)

    def add(
        self, utterance: Utterance, wave: np.ndarray | Iterable[np.ndarray], seen: Seen | None = None
    ) -> int | None:
        """Append one utterance, unless `seen` holds its samples: then return the row that they are in.

        `wave` is float32 or int16 (S,), or an iterator of such pieces for recordings too long for memory.
        When the iterator raises, nothing of the utterance stays. Its duration in the manifest is what was
        packed. Raise DiskFull, NotWritable or OutputError.
        """
        digest = hashlib.sha256()
        end = start = self._offsets[-1]
        try:
            for piece_S in [wave] if isinstance(wave, np.ndarray) else wave:
                pcm = to_int16(piece_S).astype("<i2", copy=False).tobytes()
                digest.update(pcm)
                self._write(pcm)
                end += len(pcm) // 2
        except BaseException:
            with suppress(OutputError):  # what went wrong first is what counts
                self._cut(start)
            raise
        if seen is not None:
            if (row := seen.find(digest.digest())) is not None:
                self._cut(start)
                return row
            seen.add(digest.digest(), self.n)
        self._offsets.append(end)
        self._speakers.append(self._first_seen.setdefault(utterance.speaker, len(self._first_seen)))
        for name, values in self._rows.items():
            values.append((end - start) / SAMPLE_RATE if name == "duration_s" else getattr(utterance, name))
        self._hash.update(digest.digest() + f"{utterance.speaker}\0{utterance.utterance}\n".encode())
        if len(self._rows["speaker"]) >= ROWS_PER_GROUP:
            self._write_rows()
        return None

    def drop(self, dropped: Dropped) -> None:
        """Count an utterance that is left out, and write its line of dropped.csv."""
        self._dropped[dropped.reason] += 1
        self._csv.writerow([dropped.utterance, dropped.path, dropped.reason, dropped.detail])

    def finish(self, sources: list[str], warnings: list[str]) -> dict[str, Any]:
        """Write the index files and prepared.json, and return what prepared.json says.

        Raise EmptyCorpus when nothing was added.
        """
        if not self.n:
            reasons = ", ".join(f"{n} {reason}" for reason, n in self._dropped.most_common())
            raise EmptyCorpus(
                f"no utterance was left to pack from {', '.join(sources)} "
                f"(dropped: {reasons or 'none seen'}). Check the folder and its layout."
            )
        seen_N = np.frombuffer(self._speakers, np.int32)
        names = sorted(self._first_seen)
        sorted_place = np.argsort([self._first_seen[name] for name in names]).astype(np.int32)
        info = {
            "version": VERSION,
            "sample_rate": SAMPLE_RATE,
            "n_utterances": self.n,
            "n_speakers": len(names),
            "seconds": round(self._offsets[-1] / SAMPLE_RATE, 3),
            "sources": sources,
            "dropped": dict(self._dropped.most_common()),
            "warnings": warnings,
            "fingerprint": self._hash.hexdigest(),
        }
        self._write_rows()
        self._manifest.close()
        try:
            for file in (self._audio, self._csv_file):
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise output_error(error, self.folder) from error
        with atomic_write(self.folder / "offsets.npy") as file:
            np.save(file, np.frombuffer(self._offsets, np.int64))
        with atomic_write(self.folder / "speakers.npy") as file:
            np.save(file, sorted_place[seen_N])
        with atomic_write(self.folder / "speaker_names.json", "w") as file:
            json.dump(names, file, ensure_ascii=False, indent=0)
        with atomic_write(self.folder / "prepared.json", "w") as file:
            json.dump(info, file, ensure_ascii=False, indent=2)
        return info

    def _write(self, pcm: bytes) -> None:
        try:
            self._audio.write(pcm)
        except OSError as error:
            raise output_error(error, self.folder / "audio.i16") from error

    def _cut(self, samples: int) -> None:
        """Shorten the audio to `samples`."""
        try:
            self._audio.flush()
            self._audio.seek(2 * samples)
            self._audio.truncate()
        except OSError as error:
            raise output_error(error, self.folder / "audio.i16") from error

    def _write_rows(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in MANIFEST_COLUMNS.items()])
        path = self.folder / "manifest.parquet"
        try:
            if self._manifest is None:
                self._manifest = pq.ParquetWriter(path, schema, compression="zstd")
            if self._rows["speaker"]:
                self._manifest.write_table(pa.table(self._rows, schema=schema))
        except OSError as error:
            raise output_error(error, path) from error
        self._rows = {name: [] for name in MANIFEST_COLUMNS}


class Packed:
    """A prepared folder, opened for reading: `.n` utterances of `.speaker_names`, samples on demand.

    `.lengths_N` are samples, `.speakers_N` indices into `.speaker_names`, `.info` is prepared.json.
    """

    def __init__(
        self, folder: Path, info: dict[str, Any], offsets: np.ndarray, speakers_N: np.ndarray
    ) -> None:
        self.folder = folder
        self.info = info
        self.offsets = offsets
        self.lengths_N = np.diff(offsets)
        self.speakers_N = speakers_N
        self._by_speaker: tuple[np.ndarray, np.ndarray] | None = None
        self.speaker_names: list[str] = json.loads((folder / "speaker_names.json").read_text("utf-8"))
        self._samples: Any
        if info["version"] == SHARDED:
            self._samples = ShardedSamples(folder, info)
            self._release = self._samples.release
            return
        with (folder / "audio.i16").open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._samples = np.frombuffer(mapped, "<i2")
        self._release = partial(release, mapped)

    @classmethod
    def open(cls, folder: str | Path) -> Packed:
        """Return the prepared folder, its index checked; raise CorpusError.

        A folder of shards may lie at an address such as s3://bucket/speech.

        >>> Packed.open("prepared").wave(0).dtype  # doctest: +SKIP
        dtype('int16')
        """
        if "://" in str(folder):
            folder = index_of(str(folder))
        folder = Path(folder)
        info = _read_info(folder)
        try:
            offsets = np.load(folder / "offsets.npy", allow_pickle=False)
            speakers_N = np.load(folder / "speakers.npy", allow_pickle=False)
            size = sum(s["bytes"] for s in info.get("shards", ())) or (folder / "audio.i16").stat().st_size
            n, last = info["n_utterances"], int(offsets[-1])
            fault = (
                f"offsets.npy has {offsets.shape} entries for {n} utterances"
                if offsets.shape != (n + 1,)
                else f"speakers.npy has {speakers_N.shape} entries for {n} utterances"
                if speakers_N.shape != (n,)
                else f"audio.i16 has {size} bytes, its index says {2 * last}"
                if size != 2 * last
                else "offsets.npy is not increasing from 0"
                if offsets[0] != 0 or bool((np.diff(offsets) <= 0).any())
                else ""
            )
            if fault:
                raise _bad(folder, fault)
            packed = cls(folder, info, offsets, speakers_N)
            if not 0 <= speakers_N.min() <= speakers_N.max() < len(packed.speaker_names):
                raise _bad(folder, f"speakers.npy goes up to {speakers_N.max()}, beyond speaker_names.json")
        except (OSError, ValueError, KeyError, EOFError, IndexError) as error:
            raise _bad(folder, str(error)) from error
        return packed

    @property
    def n(self) -> int:
        """Return the number of utterances."""
        return len(self.lengths_N)

    @property
    def fingerprint(self) -> str:
        """Return the sha256 (hex) of all samples, speaker names and utterance names."""
        return self.info["fingerprint"]

    def of_speaker(self, speaker: int) -> np.ndarray:
        """Return the numbers of the utterances of a speaker, as `speakers_N` numbers them."""
        if self._by_speaker is None:
            order_N = np.argsort(self.speakers_N, kind="stable").astype(np.int32)
            every = np.arange(len(self.speaker_names) + 1)
            self._by_speaker = order_N, np.searchsorted(self.speakers_N[order_N], every)
        order_N, starts = self._by_speaker
        return order_N[starts[speaker] : starts[speaker + 1]]

    def wave(self, i: int) -> np.ndarray:
        """Return utterance `i` as an int16 view (S,) of the file; `/ 32768` makes it float."""
        return self._samples[self.offsets[i] : self.offsets[i + 1]]

    def crop(self, i: int, start: int, samples: int) -> np.ndarray:
        """Return `samples` samples of utterance `i` from `start` on, an int16 view; raise IndexError."""
        if start < 0 or samples < 0 or start + samples > self.lengths_N[i]:
            raise IndexError(
                f"samples {start}..{start + samples} of utterance {i}: it has {self.lengths_N[i]}"
            )
        first = self.offsets[i] + start
        return self._samples[first : first + samples]

    def release(self) -> None:
        """Let go of the pages that reads have mapped, so that resident memory stays small."""
        self._release()

    def manifest(self) -> pa.Table:
        """Return the manifest as a pyarrow table, read from disk now."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / "manifest.parquet")

    def utterances(self) -> list[str]:
        """Return the utterance names in pack order, read from disk now."""
        import pyarrow.parquet as pq

        return pq.read_table(self.folder / "manifest.parquet", columns=["utterance"])["utterance"].to_pylist()


def is_prepared(folder: str | Path) -> bool:
    """Return whether `folder` was written by `voxid prepare`."""
    return (Path(folder) / "prepared.json").is_file()


def _read_info(folder: Path) -> dict[str, Any]:
    try:
        info = json.loads((folder / "prepared.json").read_text("utf-8"))
    except FileNotFoundError:
        raise CorpusError(
            f"{folder} is not a prepared folder: it has no prepared.json. "
            f"Prepare the corpus first: voxid prepare CORPUS -o {folder}."
        ) from None
    except (OSError, ValueError) as error:
        raise _bad(folder, f"prepared.json cannot be read ({error})") from error
    version = info.get("version") if isinstance(info, dict) else None
    if version not in (VERSION, SHARDED):
        raise _bad(folder, f"it is of version {version!r}, this voxid reads {VERSION} and {SHARDED}")
    if info.get("sample_rate") != SAMPLE_RATE:
        raise _bad(folder, f"its sample rate is {info.get('sample_rate')!r}, voxid works at {SAMPLE_RATE} Hz")
    return info


def _bad(folder: Path, what: str) -> CorpusError:
    return CorpusError(
        f"prepared folder {folder} cannot be used: {what}. "
        "Delete it and run voxid prepare on the corpus again."
    )
