"""Embed millions of recordings in parts, so that a worker may die at any moment: each part is one file.

An output folder holds

    inputs.parquet            what there is to embed, a row each; a row group is a part
    plan.json                 the model, and how it is used; with this file the list is whole
    part-00000012.parquet     the answers of a part, a row for each of its inputs, in their order
    tries/00000012.json       what was going on in a part that is not finished

A part file appears whole or not at all, and whoever makes it again makes the same: so every input has one
row, however often workers die. A part whose worker died is gone through input by input, and one that was in
work at three deaths is an error row. `cluster.py` hands the parts to a cluster.

Shapes: D embedding.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from voxid import audio, corpora, stores
from voxid.audio import AUDIO_SUFFIXES, Inspected, Part, name_of
from voxid.data.pack import is_prepared
from voxid.embed.embedder import Embedder
from voxid.errors import AudioError, CorpusError, EmptyCorpus, RunExists
from voxid.files import atomic_write, fetched
from voxid.types import Utterance

PART = 256  # inputs
TRIES = 3  # deaths of a worker on one input, then it is an error row
INPUTS, PLAN = "inputs.parquet", "plan.json"
COLUMNS = {
    "utterance": "string",
    "speaker": "string",
    "path": "string",
    "start_s": "float64",
    "duration_s": "float64",
    "channel": "int32",
    "offset": "int64",  # of a member of a tar: its bytes ...
    "size": "int64",  # ... and how many
}
Outcome = Inspected | tuple[str, str]  # opened and measured, or (reason, detail)


def plan(
    out: Path, paths: Sequence[str], about: dict[str, Any], *, layout: str = "auto", part: int = PART
) -> int:
    """List what is to be embedded in `out`, once, and return how many parts it has.

    `paths` are corpora, audio files, tar files, or Parquet lists with a column `path` (and `speaker`,
    `utterance`), all of them on disk or at an address that fsspec reads (s3://...), where folders of
    recordings and tar files take the place of corpora. `about` is what decides the answers.

    Raise RunExists when `out` holds another list or other answers, a CorpusError, EmptyCorpus.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {**about, "paths": list(paths), "layout": layout}
    if (out / PLAN).exists():
        held = json.loads((out / PLAN).read_text("utf-8"))
        if {**held, "parts": None, "inputs": None} != {**about, "parts": None, "inputs": None}:
            different = [key for key in about if held.get(key) != about[key]]
            raise RunExists(
                f"{out} was begun with other {', '.join(different)}. Use those, or choose another folder."
            )
        return held["parts"]
    schema = pa.schema([(name, getattr(pa, kind)()) for name, kind in COLUMNS.items()])
    parts = inputs = 0
    with atomic_write(out / INPUTS) as file, pq.ParquetWriter(file, schema, compression="zstd") as writer:
        listed = _listed(paths, layout)
        while rows := list(itertools.islice(listed, part)):
            writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=part)
            parts, inputs = parts + 1, inputs + len(rows)
    if not inputs:
        raise EmptyCorpus(f"there is no recording in {', '.join(paths)}.")
    with atomic_write(out / PLAN, "w") as file:
        json.dump({**about, "parts": parts, "inputs": inputs}, file, indent=2)
    return parts


def missing_parts(out: Path, parts: int) -> list[int]:
    """Return the numbers of the parts that have no answers yet."""
    return [number for number in range(parts) if not part_file(out, number).exists()]


def part_file(out: Path, number: int) -> Path:
    """Return where the answers of a part lie."""
    return out / f"part-{number:08d}.parquet"


def inputs_of(out: Path) -> int:
    """Return how many inputs there are."""
    return json.loads((out / PLAN).read_text("utf-8"))["inputs"]


def decode_part(out: Path, number: int, vad: str = "energy") -> list[Outcome]:
    """Return the inputs of a part, opened and measured."""
    tries, found = Tries(out, number), []
    for i, row in enumerate(_inputs(out, number)):
        found.append(tries.lost(i))
        if found[-1] is None:
            tries.begin(i)
            found[-1] = _inspect(row, vad)
    tries.pause()
    return found


def embed_part(embedder: Embedder, out: Path, number: int, found: list[Outcome]) -> int:
    """Write the answers of a part, and return how many of them are embeddings."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    tries = Tries(out, number)
    found = [tries.lost(i) or one for i, one in enumerate(found)]
    usable = [i for i, one in enumerate(found) if isinstance(one, Inspected)]
    embeddings: dict[int, np.ndarray] = {}
    for some in [[i] for i in usable] if tries.careful else [usable]:
        tries.begin(some[0] if some else None)

        def fail(at: int, error: AudioError, some: list[int] = some) -> None:
            found[some[at]] = (error.reason, str(error))

        for one in embedder.embed_each([found[i] for i in some], fail, vad=None):
            embeddings[some[one.position]] = one.embedding
    rows = _inputs(out, number)
    errors = [one if isinstance(one, tuple) else (None, None) for one in found]
    columns = {
        "utterance": pa.array([row["utterance"] for row in rows], pa.string()),
        "speaker": pa.array([row["speaker"] for row in rows], pa.string()),
        "embedding": pa.array(map(embeddings.get, range(len(rows))), pa.list_(pa.float32(), embedder.dim)),
        "net_speech_s": pa.array([getattr(one, "net_speech_s", None) for one in found], pa.float64()),
        "model": pa.array([embedder.fingerprint] * len(rows), pa.string()),
        "error": pa.array([reason for reason, _ in errors], pa.string()),
        "detail": pa.array([detail for _, detail in errors], pa.string()),
    }
    with atomic_write(part_file(out, number)) as file:
        pq.write_table(pa.table(columns), file, compression="zstd")
    tries.end()
    return len(embeddings)


class Tries:
    """What a part's worker was doing, on disk, so that the next one knows what it died of.

    The first time through, a part only says that it has begun. Where that is found by the next worker, each
    input is named before it is touched.
    """

    def __init__(self, out: Path, number: int) -> None:
        self.path = out / "tries" / f"{number:08d}.json"
        held: dict[str, Any] = {"working": False, "careful": False, "deaths": {}, "on": None}
        with suppress(OSError, ValueError):
            held |= json.loads(self.path.read_text("utf-8"))
        if held["working"]:  # and nobody said that it ended
            held["careful"] = True
            if held["on"] is not None:
                held["deaths"][str(held["on"])] = held["deaths"].get(str(held["on"]), 0) + 1
        self.held = {**held, "working": True, "on": None}
        self.careful: bool = held["careful"]
        self._write()

    def lost(self, i: int) -> tuple[str, str] | None:
        """Return the error of an input that workers have died of often enough; the first died unseen."""
        if self.held["deaths"].get(str(i), 0) < TRIES - 1:
            return None
        return "worker_died", f"the worker died {TRIES} times on it: it crashes a decoder or fills the memory"

    def begin(self, i: int | None) -> None:
        """Say that input `i` is in work from now on, where it may be one that kills."""
        if self.careful:
            self.held["on"] = i
            self._write()

    def pause(self) -> None:
        """Say that nothing is in work."""
        self.held |= {"working": False, "on": None}
        self._write()

    def end(self) -> None:
        """Forget it all: the part is finished."""
        self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        with atomic_write(self.path, "w") as file:
            json.dump(self.held, file)


def _inputs(out: Path, number: int) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.ParquetFile(out / INPUTS).read_row_group(number).to_pylist()


def _inspect(row: dict[str, Any], vad: str) -> Outcome:
    path, whole = row["path"], row["size"] is None
    try:
        source: Any = Path(path)
        if "://" in path or not whole:
            end = None if whole else row["offset"] + row["size"]
            source = fetched(path, row["offset"] or 0, end)
        part = Part(source, row["start_s"] or 0.0, row["duration_s"], row["channel"])
        return replace(audio.inspect(part, vad=vad), name=row["utterance"])
    except AudioError as error:
        return error.reason, str(error)
    except OSError as error:
        return "unreadable", f"{path} cannot be read ({error})."


def _listed(paths: Sequence[str], layout: str) -> Iterator[dict[str, Any]]:
    """Yield what there is to embed under each path."""
    for path in paths:
        if path.endswith((".tar", ".tar.gz")):
            yield from _members(path)
        elif path.endswith(".parquet"):
            yield from _of_list(path)
        elif "://" in path:
            yield from _at_address(path)
        elif Path(path).suffix.lower() in AUDIO_SUFFIXES and not Path(path).is_dir():
            yield _row(Utterance("", name_of(path), path))
        elif is_prepared(path):
            raise CorpusError(
                f"{path} is a prepared folder, and parts are made of recordings. Give what it was prepared "
                "from, or leave --engine out: one machine embeds prepared folders."
            )
        else:
            yield from map(_row, corpora.scan([path], layout=layout))


def _row(said: Utterance, **more: Any) -> dict[str, Any]:
    return {**{name: getattr(said, name, None) for name in COLUMNS}, **more}


def _at_address(path: str) -> Iterator[dict[str, Any]]:
    """Yield the recording at an address, or all below it, those in tar files too; folders are speakers."""
    import fsspec

    files, place = fsspec.core.url_to_fs(path)
    if Path(path).suffix.lower() in AUDIO_SUFFIXES or not files.isdir(place):
        yield _row(Utterance("", path, path))
        return
    place = place.rstrip("/")
    for folder, _, names in files.walk(place):
        for name in sorted(names):
            address = files.unstrip_protocol(f"{folder}/{name}")
            if name.endswith((".tar", ".tar.gz")):
                yield from _members(address)
            elif Path(name).suffix.lower() in AUDIO_SUFFIXES:
                within = f"{folder}/{name}".removeprefix(f"{place}/")
                yield _row(Utterance(Path(within).parent.name, within, address))


def _members(path: str) -> Iterator[dict[str, Any]]:
    """Yield the recordings in a tar file, each with the place of its bytes; the folder is the speaker."""
    import fsspec

    if path.endswith(".gz"):
        raise CorpusError(
            f"{path} is compressed, so nothing in it can be reached by itself. Give it as .tar."
        )
    with fsspec.open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:  # type: ignore[arg-type]
        for member in tar:
            if member.isfile() and Path(member.name).suffix.lower() in AUDIO_SUFFIXES:
                speaker = Path(member.name).parent.name
                said = Utterance(speaker, f"{Path(path).name}/{member.name}", path)
                yield _row(said, offset=member.offset_data, size=member.size)


def _of_list(path: str) -> Iterator[dict[str, Any]]:
    import fsspec
    import pyarrow.parquet as pq

    with fsspec.open(path, "rb") as file:
        table = pq.ParquetFile(file)
        if "path" not in table.schema_arrow.names:
            raise CorpusError(f"{path} has no column 'path'. It has: {', '.join(table.schema_arrow.names)}.")
        for batch in table.iter_batches():
            for row in batch.to_pylist():
                said = Utterance(row.get("speaker") or "", row.get("utterance") or row["path"], row["path"])
                yield _row(said, **{name: row[name] for name in COLUMNS if row.get(name) is not None})


def read_answers(out: Path) -> Iterator[dict[str, np.ndarray]]:
    """Yield the embeddings part by part, each column an array: "embedding" (N, D), "utterance" (N,), ..."""
    import pyarrow.parquet as pq

    for path in sorted(out.glob("part-*.parquet")):
        table = pq.read_table(path)
        good = table.filter(table["error"].is_null())
        if good.num_rows:
            flat = good["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            columns = {
                name: good[name].to_numpy()
                for name in good.column_names
                if name not in ("embedding", "error", "detail")
            }
            yield {**columns, "embedding": flat.reshape(good.num_rows, -1)}


def enroll_parquet(store: stores.Store, out: Path, *, collection: str = stores.DEFAULT) -> dict[str, int]:
    """Enroll the speakers of all answers in `out`, in bulk; return counts: people, voiceprints, nameless.

    Each voiceprint has an id made of its model and utterance: what was loaded before is not loaded again, so
    a load that broke off is done again from the start. Raise ModelMismatch, CorpusError, a StoreError.
    """
    people: set[str] = set()
    counts = {"voiceprints": 0, "nameless": 0}
    if not list(out.glob("part-*.parquet")):
        raise CorpusError(f"{out} holds no answers (part-*.parquet) of voxid embed --engine ray.")
    for some in read_answers(out):
        of_speaker: dict[str, list[stores.Voiceprint]] = {}
        for n, speaker in enumerate(some["speaker"].tolist()):
            name, model = some["utterance"][n], some["model"][n]
            id = hashlib.sha256(f"{model}\0{name}".encode()).hexdigest()[:32]
            speech_s = float(some["net_speech_s"][n])
            made = stores.voiceprint(some["embedding"][n], model=model, speech_s=speech_s, source=name, id=id)
            of_speaker.setdefault(speaker or "", []).append(made)
        counts["nameless"] += len(of_speaker.pop("", []))
        counts["voiceprints"] += sum(map(len, of_speaker.values()))
        people |= of_speaker.keys()
        store.enroll_many(itertools.starmap(stores.NewPerson, of_speaker.items()), collection=collection)
    return {"people": len(people), **counts}
