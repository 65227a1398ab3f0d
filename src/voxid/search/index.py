"""Index: exact cosine search among up to a million voiceprints, while people come and go."""

# N voiceprints, Q queries, K hits of each, D embedding

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import BadVoiceprint, StoreError, VoiceprintNotFound
from voxid.parallel import usable_cores
from voxid.search.blocks import FIRST, ROWS, Block, object_array
from voxid.search.kernels import STORAGES, Storage, prepare
from voxid.search.ranking import Search, Snapshot
from voxid.search.unit import unit_rows
from voxid.search.workers import Workers

MOST_DIM = 16_000  # as in the stores
BATCH = 64  # queries that share one pass over the voiceprints
BATCH_MEAN = 4  # of them when every cosine is kept: 16 MB for a million voiceprints
SMALL = 2_048  # rows changed in place, while searches cannot begin; more than these in copies of their blocks
By = Literal["voiceprint", "best", "mean"]
Fetch = Callable[[list[Any]], ArrayLike]


@dataclass(frozen=True, slots=True, eq=False)
class Hits:
    """What a search found, best first. K is the `top` asked for, or as many as there are.

    `ids_QK` are ids of voiceprints (objects), `groups_QK` the people they belong to, `cosines_QK` float32:
    the cosine of that voiceprint, or with `by="mean"` the mean over the person's voiceprints (then `ids_QK`
    names the nearest of them). Iterating gives (id, group, cosine) of the first query.
    """

    ids_QK: np.ndarray
    cosines_QK: np.ndarray
    groups_QK: np.ndarray

    def __len__(self) -> int:
        return len(self.ids_QK)

    def __iter__(self) -> Iterator[tuple[Any, Any, float]]:
        if len(self):
            yield from zip(self.ids_QK[0], self.groups_QK[0], self.cosines_QK[0].tolist(), strict=True)


class Index:
    """Voiceprints in memory, and the nearest of them by cosine: exactly, at the speed of reading them once.

    `storage` is what a search reads: "float32" (4 bytes a number), "float16" (2) or "int8" (1). The answer is
    the same: a bound on the error of the smaller forms says which voiceprints can be among the top, and those
    are looked at again in full. For that the smaller forms keep float32 rows beside them, or, with `fetch`,
    ask `fetch(ids) -> (n, D)` for the embeddings as they were added; then memory is the small form alone.

    Exact means: embeddings are scaled to length 1 in float32; a cosine is their product with the query's in
    float64, rounded to float32; the highest are returned, and of equal ones the one that was added first.

    Safe to share between threads. A search answers for the content at the moment it began, and keeps no
    writer waiting. While up to 2,048 rows are removed or updated in one call, no search can begin. `threads`
    is how many cores a search may use (all this process may use by default).

    >>> index = Index(2)
    >>> index.add(["a", "b", "c"], [[1, 0], [0, 1], [1, 1]])
    >>> list(index.search([2.0, 0.0], top=2))[0]
    ('a', 'a', 1.0)
    """

    def __init__(
        self,
        dim: int,
        storage: Storage = "float32",
        *,
        fetch: Fetch | None = None,
        threads: int | None = None,
    ) -> None:
        if storage not in STORAGES:
            raise ValueError(f"got storage {storage!r}; known are {', '.join(STORAGES)}.")
        if not 1 <= dim <= MOST_DIM:
            raise ValueError(f"got {dim} dimensions; 1 to {MOST_DIM:,} are possible.")
        if fetch is not None and storage == "float32":
            raise ValueError(
                "float32 holds the exact rows, so nothing is ever fetched. Drop fetch, or use int8."
            )
        self.dim, self._fetch = dim, fetch
        self.storage: Storage = storage
        self._writing = Lock()  # one writer at a time
        self._lock = Lock()  # held for a moment: to begin or end a search, to change a few rows, to publish
        self._blocks: list[Block] = []
        self._published = Snapshot((), ())
        self._readers: Counter[int] = Counter()  # version -> searches that read it
        self._version = self._age = self._next_code = 0
        self._row_of: dict[Hashable, int] = {}
        self._groups: dict[Hashable, list[int]] = {}  # group -> [code, voiceprints]
        self._workers = Workers(usable_cores() if threads is None else threads)

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, id: object) -> bool:
        return id in self._row_of

    def __repr__(self) -> str:
        return f"Index({self.dim}, {self.storage!r}): {len(self):,} voiceprints, {self.memory / 1e6:.1f} MB"

    @property
    def memory(self) -> int:
        """Bytes that the index holds, without the ids and groups themselves."""
        tables = sys.getsizeof(self._row_of) + sys.getsizeof(self._groups)
        return sum(block.bytes for block in list(self._blocks)) + tables

    # -- searching ------------------------------------------------------------------------------------------

    def search(self, emb_QD: ArrayLike, top: int = 10, *, by: By = "voiceprint") -> Hits:
        """Return the `top` voiceprints of the highest cosine with each query, or the `top` people.

        `emb_QD` is (Q, D) or (D,), of any length but zero. `by`: "voiceprint" ranks voiceprints; "best" ranks
        people by their nearest voiceprint; "mean" by the mean cosine of theirs. Up to 64 queries share one
        reading of the memory (4 with "mean"), so memory does not grow with Q.

        Raise BadVoiceprint for queries of another size, NaN, infinity or zeros; StoreError when `fetch` no
        longer gives what was added; ValueError for a `top` below 1.
        """
        emb_QD = np.asarray(emb_QD)
        found = list(self.search_many([emb_QD[None] if emb_QD.ndim == 1 else emb_QD], top, by=by))
        return found[0]

    def search_many(
        self, batches: Iterable[ArrayLike], top: int = 10, *, by: By = "voiceprint"
    ) -> Iterator[Hits]:
        """Return an iterator over the Hits of each (Q, D) of queries, all in the content at the first.

        For more queries than fit in memory; see `search` for the rest.
        """
        if top < 1:
            raise ValueError(f"got top={top}; 1 or more can be returned.")
        if by not in ("voiceprint", "best", "mean"):
            raise ValueError(f"got by={by!r}; known are voiceprint, best, mean.")

        def found() -> Iterator[Hits]:
            with self._reading() as snapshot:
                for emb_QD in batches:
                    yield self._search(snapshot, unit_rows(emb_QD, self.dim), top, by)

        return found()

    def _search(self, snapshot: Snapshot, unit_QD: np.ndarray, top: int, by: By) -> Hits:
        size = BATCH_MEAN if by == "mean" else BATCH
        found = []
        for start in range(0, len(unit_QD) if snapshot.blocks else 0, size):
            query = prepare(unit_QD[start : start + size], self.storage)
            search = Search(snapshot, query, top, self._workers, self._fetch)
            if by == "mean":
                found += search.by_mean()
            else:
                found += search.by_row("age_N" if by == "voiceprint" else "group_N")
        shape = (len(unit_QD), len(found[0].rows_K) if found else 0)
        rows = np.concatenate([ranked.rows_K for ranked in found]) if found else np.empty(0, np.int64)
        cosines = [ranked.cosines_K for ranked in found]
        return Hits(
            ids_QK=snapshot.pick("id_N", rows).reshape(shape),
            cosines_QK=np.array(cosines, np.float32).reshape(shape),
            groups_QK=snapshot.pick("label_N", rows).reshape(shape),
        )

    @contextmanager
    def _reading(self) -> Iterator[Snapshot]:
        """Give the content of this moment; what it is made of stays as it is until the end."""
        with self._lock:
            snapshot, version = self._published, self._version
            self._readers[version] += 1
        try:
            yield snapshot
        finally:
            with self._lock:
                self._readers[version] -= 1
                if not self._readers[version]:
                    del self._readers[version]

    # -- changing -------------------------------------------------------------------------------------------

    def add(self, ids: Sequence[Any], emb_ND: ArrayLike, *, groups: Sequence[Any] | None = None) -> None:
        """Add voiceprints, all or none. `ids` are hashable and new; `groups` says whose they are.

        A voiceprint without a group is a person of its own. Raise StoreError for an id that is there
        or comes twice, BadVoiceprint for embeddings that are not (N, D), have NaN, infinity or only zeros.
        """
        names, labels = _listed(ids), None if groups is None else _listed(groups)
        rows_ND = _rows(emb_ND, len(names), "ids")
        if labels is not None and len(labels) != len(names):
            raise ValueError(f"got {len(names)} ids and {len(labels)} groups; each id needs one.")
        set(labels or ())  # an unhashable one raises before anything is changed
        with self._writing:
            self._refuse_known(names)
            start = len(self)
            begun = self._fill(start, names, names if labels is None else labels, rows_ND)
            code_N = self._take_codes(len(names), labels)
            for block, first, offset, rows in begun:
                block.group_N[first : first + rows] = code_N[offset : offset + rows]
                block.age_N[first : first + rows] = np.arange(self._age + offset, self._age + offset + rows)
            with self._lock:
                for block, first, _, rows in begun:
                    block.count = first + rows
                self._row_of.update(zip(names, range(start, start + len(names)), strict=True))
                self._age += len(names)
                self._publish()

    def remove(self, ids: Sequence[Any]) -> None:
        """Remove voiceprints, all or none.

        Raise VoiceprintNotFound for an id that is not there or comes twice.
        """
        names = _listed(ids)
        with self._writing:
            self._refuse_unknown(names)
            with self._changing(len(names)) as exclusive:
                self._remove(names, exclusive)

    def update(self, ids: Sequence[Any], emb_ND: ArrayLike) -> None:
        """Give voiceprints new embeddings, all or none; their groups and ages stay.

        Raise VoiceprintNotFound for an id that is not there or comes twice, BadVoiceprint as `add` does.
        """
        names = _listed(ids)
        unit_ND = unit_rows(_rows(emb_ND, len(names), "ids"), self.dim).astype(np.float32)
        with self._writing:
            self._refuse_unknown(names)
            with self._changing(len(names)) as exclusive:
                rows_N = np.array([self._row_of[name] for name in names], np.int64)
                order = np.argsort(rows_N)
                unit_ND, done = unit_ND[order], 0
                for which, row_N in _by_block(rows_N[order]):
                    self._writable(which, exclusive).write(row_N, unit_ND[done : done + len(row_N)])
                    done += len(row_N)

    def _remove(self, names: list[Any], exclusive: bool) -> None:
        """Fill the gaps with the last rows that stay, then cut the end off."""
        left = len(self) - len(names)
        rows_N = np.sort(np.array([self._row_of[name] for name in names], np.int64))
        for which, row_N in _by_block(rows_N):
            self._forget_groups(self._blocks[which], row_N)
        gaps_N = rows_N[rows_N < left]
        movers_N = np.setdiff1d(np.arange(left, len(self)), rows_N, assume_unique=True)
        for which, into_N in _by_block(gaps_N):
            block = self._writable(which, exclusive)
            sources_N, movers_N = movers_N[: len(into_N)], movers_N[len(into_N) :]
            done = 0
            for source, from_N in _by_block(sources_N):
                block.move(into_N[done : done + len(from_N)], self._blocks[source], from_N)
                done += len(from_N)
            self._row_of.update(
                zip(block.id_N[into_N].tolist(), (into_N + which * ROWS).tolist(), strict=True)
            )
        for name in names:
            del self._row_of[name]
        used = -(-left // ROWS)
        del self._blocks[used + 1 if exclusive else used :]  # one may stay, for those who come next
        for which in range(left // ROWS, len(self._blocks)):
            if self._blocks[which].count > max(0, left - which * ROWS):
                self._writable(which, exclusive).cut(max(0, left - which * ROWS))

    def _forget_groups(self, block: Block, row_N: np.ndarray) -> None:
        for label, code in zip(block.label_N[row_N].tolist(), block.group_N[row_N].tolist(), strict=True):
            known = self._groups.get(label)
            if known is not None and known[0] == code:
                known[1] -= 1
                if not known[1]:
                    del self._groups[label]

    def _fill(
        self, start: int, names: list[Any], labels: list[Any], rows_ND: np.ndarray
    ) -> list[tuple[Block, int, int, int]]:
        """Write rows where no reader looks; return (block, first row, place in the input, rows)."""
        begun, offset = [], 0
        while offset < len(names):
            which, first = divmod(start + offset, ROWS)
            rows = min(ROWS - first, len(names) - offset)
            block = self._room(which, first + rows)
            end = offset + rows
            at = slice(first, first + rows)
            block.write(at, unit_rows(rows_ND[offset:end], self.dim).astype(np.float32))
            block.id_N[at], block.label_N[at] = (
                object_array(names[offset:end]),
                object_array(labels[offset:end]),
            )
            begun.append((block, first, offset, rows))
            offset = end
        return begun

    def _room(self, which: int, rows: int) -> Block:
        """Return the block number `which`, the last, with room for `rows` rows that nobody reads."""
        if which == len(self._blocks):
            size = FIRST if which == 0 else ROWS // 8
            while size < rows:
                size *= 2
            exact = self.storage != "float32" and self._fetch is None
            self._blocks.append(Block(self.dim, self.storage, exact, size, self._version + 1))
        block = self._blocks[which]
        if len(block) < rows:
            size = len(block)
            while size < rows:
                size *= 2
            self._blocks[which] = block = block.copy(size, self._version + 1)
        return block

    def _writable(self, which: int, exclusive: bool) -> Block:
        """Return a block whose visible rows may be changed: itself if nobody reads it, else a copy."""
        block = self._blocks[which]
        if block.born <= self._version and (not exclusive or self._read(block)):
            self._blocks[which] = block = block.copy(len(block), self._version + 1)
        return block

    def _read(self, block: Block) -> bool:
        """Return whether a search under way may be reading the block; the lock must be held."""
        return any(version >= block.born for version in self._readers)

    @contextmanager
    def _changing(self, rows: int) -> Iterator[bool]:
        """Hold what changing visible rows needs, and publish at the end.

        True: no search can begin meanwhile, so that blocks nobody reads may be changed in place. False: every
        block must be copied first.
        """
        if rows <= SMALL:
            with self._lock:
                yield True
                self._publish()
        else:
            yield False
            with self._lock:
                self._publish()

    def _publish(self) -> None:
        used = [block for block in self._blocks if block.count]
        self._published = Snapshot(tuple(used), tuple(block.count for block in used))
        self._version += 1

    def _take_codes(self, rows: int, labels: list[Any] | None) -> np.ndarray:
        """Return an integer for the group of each row."""
        if labels is None:
            code_N = np.arange(self._next_code, self._next_code + rows)
            self._next_code += rows
            return code_N
        code_N = np.empty(rows, np.int64)
        for row, label in enumerate(labels):
            known = self._groups.get(label)
            if known is None:
                known = self._groups[label] = [self._next_code, 0]
                self._next_code += 1
            known[1] += 1
            code_N[row] = known[0]
        return code_N

    def _refuse_known(self, names: list[Any]) -> None:
        fresh = dict.fromkeys(names)
        if len(fresh) == len(names) and self._row_of.keys().isdisjoint(fresh):
            return
        seen: set[Any] = set()
        for name in names:
            if name in self._row_of or name in seen:
                raise StoreError(
                    f"the voiceprint {name!r} is in the index already, or comes twice. Nothing was added. "
                    "Use update() for a new embedding of it."
                )
            seen.add(name)

    def _refuse_unknown(self, names: list[Any]) -> None:
        seen: set[Any] = set()
        for name in names:
            if name not in self._row_of or name in seen:
                raise VoiceprintNotFound(
                    f"the voiceprint {name!r} is not among the {len(self):,} of the index, or comes twice. "
                    "Nothing was changed."
                )
            seen.add(name)


def _by_block(rows_N: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (block, rows in it) of rising positions."""
    edges = np.flatnonzero(np.diff(rows_N // ROWS)) + 1
    for part in np.split(rows_N, edges):
        if len(part):
            yield int(part[0] // ROWS), part % ROWS


def _listed(values: Sequence[Any]) -> list[Any]:
    if isinstance(values, str | bytes):
        raise ValueError(f"got one id, {values!r}, where a list of ids is expected. Write [{values!r}].")
    return values.tolist() if isinstance(values, np.ndarray) else list(values)


def _rows(emb_ND: ArrayLike, count: int, what: str) -> np.ndarray:
    rows_ND = np.asarray(emb_ND)
    if rows_ND.ndim != 2 or len(rows_ND) != count:
        raise BadVoiceprint(
            f"got {count} {what} and embeddings of shape {rows_ND.shape}; each needs one row."
        )
    return rows_ND
