"""Prepared speech in many shards, on disk or in object storage: packed side by side, read as one.

A sharded folder is a prepared folder (`pack.py`) without audio.i16 of its own. Instead it holds shard-00000/,
shard-00001/, ..., each a prepared folder of the speakers that hash to it, and its prepared.json lists them
with their bytes and sha256. offsets.npy, speakers.npy and manifest.parquet are those of all shards in a
row, so utterance numbers, samplers and trainings know nothing of shards. With an address such as
s3://bucket/speech the small index files are fetched once, and samples are read from there a crop at a time.

S samples, N utterances, K shards
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from voxid.data.prepare import prepare
from voxid.data.samples import INDEX, SHARDED, read_of
from voxid.errors import EmptyCorpus
from voxid.files import atomic_write, fetched
from voxid.types import SAMPLE_RATE, Utterance

CHUNK = 1 << 24  # bytes read at a time to check them
Scanned = Callable[[], Iterable[Utterance]]


def prepare_shards(scanned: Scanned, out: str, shards: int, *, workers: int = 1) -> dict[str, Any]:
    """Pack what `scanned()` yields into `shards` shards under `out`, and return what its prepared.json says.

    `workers` processes pack a shard each; `scanned` has to be picklable, and the same every time. A shard
    that is there is not packed again: the same call goes on where one was stopped, and other machines may
    pack other shards of one folder with `prepare_shard`. Raise as `prepare` does.
    """
    missing = [number for number in range(shards) if not _is_there(out, number)]
    if missing:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            for done in as_completed(pool.submit(prepare_shard, scanned, out, k, shards) for k in missing):
                done.result()
    return join_shards(out, shards)


def prepare_shard(scanned: Scanned, out: str, number: int, shards: int) -> None:
    """Pack one shard, unless it is there: the speakers whose names hash to its number."""
    import fsspec

    if _is_there(out, number):
        return
    files, root = fsspec.core.url_to_fs(out)
    name = shard_name(number)
    mine = (said for said in scanned() if zlib.crc32(said.speaker.encode()) % shards == number)
    with tempfile.TemporaryDirectory(prefix="voxid-shard") as temporary:
        folder = Path(root) / name if "file" in files.protocol else Path(temporary) / name
        content = None
        try:
            prepare(mine, folder, overwrite=True)
        except EmptyCorpus:
            folder.mkdir(parents=True, exist_ok=True)  # nobody hashes to it
        else:
            audio = folder / "audio.i16"
            with audio.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            content = {"name": name, "bytes": audio.stat().st_size, "sha256": digest}
        with atomic_write(folder / "shard.json", "w") as file:
            json.dump(content, file)
        if "file" not in files.protocol:  # shard.json last: with it the shard is whole
            files.makedirs(f"{root}/{name}", exist_ok=True)
            for path in sorted(folder.iterdir(), key=lambda path: path.name == "shard.json"):
                files.put_file(str(path), f"{root}/{name}/{path.name}")


def _is_there(out: str, number: int) -> bool:
    import fsspec

    files, root = fsspec.core.url_to_fs(out)
    return files.exists(f"{root}/{shard_name(number)}/shard.json")


def join_shards(out: str, shards: int) -> dict[str, Any]:
    """Write the index of all shards, and return what its prepared.json says; raise CorpusError."""
    import fsspec

    read = partial(read_of, out)
    found = [json.loads(read(f"{shard_name(k)}/shard.json")) for k in range(shards)]
    listed = [shard for shard in found if shard is not None]
    if not listed:
        raise EmptyCorpus(f"none of the {shards} shards in {out} has an utterance.")
    infos = [json.loads(read(f"{shard['name']}/prepared.json")) for shard in listed]
    names = [json.loads(read(f"{shard['name']}/speaker_names.json")) for shard in listed]
    everyone = sorted(name for some in names for name in some)  # a speaker is in one shard
    place = {name: number for number, name in enumerate(everyone)}
    lengths = [np.diff(_array(read(f"{shard['name']}/offsets.npy"))) for shard in listed]
    speakers = [
        np.array([place[name] for name in some], np.int32)[_array(read(f"{shard['name']}/speakers.npy"))]
        for some, shard in zip(names, listed, strict=True)
    ]
    dropped: Counter[str] = Counter()
    for info in infos:
        dropped.update(info["dropped"])
    info = {
        "version": SHARDED,
        "sample_rate": SAMPLE_RATE,
        "n_utterances": sum(info["n_utterances"] for info in infos),
        "n_speakers": len(everyone),
        "seconds": round(sum(info["seconds"] for info in infos), 3),
        "sources": infos[0]["sources"] or [out],
        "dropped": dropped,
        "warnings": [warning for info in infos for warning in info["warnings"]],
        "fingerprint": hashlib.sha256("".join(i["fingerprint"] for i in infos).encode()).hexdigest(),
        "shards": listed,
    }
    files, root = fsspec.core.url_to_fs(out)
    with tempfile.TemporaryDirectory(prefix="voxid-index") as temporary:
        folder = Path(temporary)
        np.save(folder / "offsets.npy", np.concatenate([[0], np.cumsum(np.concatenate(lengths))]))
        np.save(folder / "speakers.npy", np.concatenate(speakers))
        listed_names = json.dumps(everyone, ensure_ascii=False, indent=0)
        (folder / "speaker_names.json").write_text(listed_names, "utf-8")
        _join_manifests(read, [shard["name"] for shard in listed], folder / "manifest.parquet")
        (folder / "prepared.json").write_text(json.dumps(info, ensure_ascii=False, indent=2), "utf-8")
        for name in reversed(INDEX):  # prepared.json last
            files.put_file(str(folder / name), f"{root}/{name}")
    return info


def damaged_shards(where: str) -> list[str]:
    """Return what is wrong with the shards of a folder, read to their last byte; [] when nothing is."""
    wrong = []
    for shard in json.loads(read_of(where, "prepared.json")).get("shards", ()):
        digest, size = hashlib.sha256(), shard["bytes"]
        try:
            for first in range(0, size, CHUNK):
                digest.update(fetched(f"{where}/{shard['name']}/audio.i16", first, min(size, first + CHUNK)))
        except OSError as error:
            wrong.append(f"{shard['name']}: {error.strerror or error}")
        else:
            if digest.hexdigest() != shard["sha256"]:
                wrong.append(f"{shard['name']}: its content does not have its checksum")
    return wrong


def shard_name(number: int) -> str:
    """Return the folder of a shard."""
    return f"shard-{number:05d}"


def _array(content: bytes) -> np.ndarray:
    return np.load(io.BytesIO(content), allow_pickle=False)


def _join_manifests(read: Callable[[str], bytes], names: list[str], out: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    for name in names:
        table = pq.read_table(pa.BufferReader(read(f"{name}/manifest.parquet")))
        writer = writer or pq.ParquetWriter(out, table.schema, compression="zstd")
        writer.write_table(table)
    assert writer is not None
    writer.close()
