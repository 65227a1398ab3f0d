"""Everybody of a collection, ready to be searched, following what any process changes in the store.

# P people, N voiceprints, C candidates, K hits, D embedding
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Container, Iterable, Iterator
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np

from voxid.errors import BadConfig, BadScores
from voxid.recognizer.scan import Rows
from voxid.scoring import Side, reference, unit_rows
from voxid.stores import Matrix, Store

MEMORY = "2GB"
READ_ROWS = 4_096  # voiceprints read at a time
BESIDE = 20  # bytes of a person besides the row: id, length, speech, clips
UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """The people nearest to a probe: ids, cosines (K,), what they are compared by; how many there are in all.

    `damaged` are ids of people who are left out, since what is held on them cannot be read.
    """

    person_K: np.ndarray
    cosine_K: np.ndarray
    side: Side
    people: int
    damaged: tuple[int, ...] = ()

    def only(self, kept: Container[int]) -> Near:
        """Return those of them who are in `kept`."""
        return self.take(np.flatnonzero([person in kept for person in self.person_K.tolist()]))

    def ranked(self, llr_K: np.ndarray) -> Near:
        """Return them by LLR, the best first."""
        return self.take(np.argsort(-llr_K, kind="stable"))

    def take(self, at: np.ndarray) -> Near:
        """Return some of them, in this order."""
        return replace(self, person_K=self.person_K[at], cosine_K=self.cosine_K[at], side=self.side.take(at))


class Roster:
    """One direction a person, in memory. `near` first asks the store what changed, so it is never stale.

    Up to `memory` bytes, directions are kept in float32. If that is too little, they are kept in int8, and
    the few that may be among the nearest are read from the store: the answer is the same. If even that is too
    little, the store searches (PostgreSQL by its HNSW index, where `optimize` has built one).

    Thread-safe.
    """

    def __init__(self, store: Store, collection: str, memory: int | float | str = MEMORY) -> None:
        self._store, self._collection, self._memory = store, collection, in_bytes(memory)
        self._lock = Lock()
        self._rows: Rows | None = None
        self._person_P = np.empty(0, np.int64)
        self._beside_3P = np.empty((3, 0), np.float32)  # length, seconds of speech, clips
        self._damaged: set[int] = set()
        self._sequence, self._epoch = 0, ""  # "": read everybody anew

    def load(self, progress: Progress | None = None) -> int:
        """Read everybody, if that was not done; return how many people are in memory."""
        with self._lock:
            self._follow(progress)
            return 0 if self._rows is None else len(self._rows)

    def near(self, emb_D: np.ndarray, top: int) -> Near:
        """Return the `top` nearest people by cosine; none when nobody is enrolled."""
        unit_D = unit_rows(emb_D[None])[0]
        person_C, people = np.empty(0, np.int64), 0
        found: tuple[np.ndarray, Side] | None = None  # their directions, what they are compared by
        with self._lock:
            self._follow()
            rows, damaged = self._rows, tuple(sorted(self._damaged))
            if rows is not None:
                # A probe of another size is of another model, to which the collection has just changed.
                at_C = rows.nearest(unit_D, top) if rows.dim == len(unit_D) else np.empty(0, np.int64)
                person_C, people = self._person_P[at_C], len(rows)
                if not rows.small:
                    unit_CD, (length_C, speech_s_C, clips_C) = rows.take(at_C), self._beside_3P[:, at_C]
                    found = unit_CD, Side(unit_CD * length_C[:, None], speech_s_C, clips_C)
        if rows is None:
            person_C, people = self._near_in_store(emb_D, top)
        if found is None:
            some = self._store.matrix(people=person_C.tolist(), collection=self._collection)
            person_C, side, _ = _sides(some)
            found = unit_rows(side.emb_ND), side
        unit_CD, side = found
        if not len(person_C):  # of a probe of another model, too, which has another size
            return Near(person_C, np.empty(0), side, people, damaged)
        cosine_C = np.clip((unit_CD.astype(np.float64) * unit_D).sum(axis=1), -1, 1)
        best = np.lexsort((person_C, -cosine_C))[:top]  # of equal ones, who was enrolled first
        return Near(person_C, cosine_C, side, people, damaged).take(best)

    def _near_in_store(self, emb_D: np.ndarray, top: int) -> tuple[np.ndarray, int]:
        """Return the people of the nearest voiceprints, and how many people there are."""
        found = self._store.nearest(emb_D, top, collection=self._collection)
        people = self._store.count(collection=self._collection)
        if _bytes(people, len(emb_D), small=True) < self._memory // 2:
            self._epoch = ""  # there is room again
        return np.array([neighbour.person for neighbour in found], np.int64), people

    # -- following the store -----------------------------------------------------------------------------

    def _follow(self, progress: Progress | None = None) -> None:
        """Take in what changed in the store since the last time."""
        if not self._epoch:
            self._load(progress)
        if self._rows is None:
            return
        told = self._store.changes(self._sequence, epoch=self._epoch, collection=self._collection)
        kept = [change.person for change in told.changes if change.kind == "changed"]
        room = _bytes(len(self._rows) + len(kept), self._rows.dim, small=self._rows.small) <= self._memory
        if told.reload or not room:
            self._load(progress)
            return
        if told.changes:
            gone = {change.person for change in told.changes}
            self._damaged -= gone
            self._remove(gone)
            for first in range(0, len(kept), READ_ROWS):
                some = self._store.matrix(people=kept[first : first + READ_ROWS], collection=self._collection)
                if some.emb_ND.shape[1] != self._rows.dim:  # the collection took another model meanwhile
                    self._load(progress)
                    return
                self._take([some])
        self._sequence, self._epoch = told.latest, told.epoch

    def _load(self, progress: Progress | None) -> None:
        """Read everybody anew, in the largest form that has room."""
        held = [info for info in self._store.collections() if info.name == self._collection]
        people, dim = (held[0].people, held[0].dim) if held else (0, 0)
        self._damaged, self._rows = set(), None
        self._person_P, self._beside_3P = np.empty(0, np.int64), np.empty((3, 0), np.float32)
        head = self._store.matrix(people=(), collection=self._collection)
        self._sequence, self._epoch = head.sequence, head.epoch or "none"
        if (small := _form(people, dim, self._memory)) is None:
            return
        self._rows = Rows(dim, small=small)

        def read() -> Iterator[Matrix]:
            for block in self._store.matrix_blocks(rows=READ_ROWS, collection=self._collection):
                self._sequence, self._epoch = block.sequence, block.epoch
                yield block
                if progress is not None and self._rows is not None:
                    progress(len(self._rows), max(people, len(self._rows)))

        try:
            self._take(_whole_people(read()))
        except BaseException:
            self._epoch = ""  # what is here is not everybody
            raise

    def _take(self, blocks: Iterable[Matrix]) -> None:
        """Add the people of `blocks`, none of whom is here or in two of them."""
        assert self._rows is not None
        persons, beside = [self._person_P], [self._beside_3P]
        for block in blocks:
            self._damaged.update(block.damaged)
            person_P, side, unlike = _sides(block)
            self._damaged.update(unlike)
            first = len(self._rows)
            if not first and self._rows.dim != block.emb_ND.shape[1]:  # it took another model meanwhile
                self._rows = Rows(block.emb_ND.shape[1], small=self._rows.small)
            self._rows.resize(first + len(person_P))
            self._rows.put(np.arange(first, len(self._rows)), unit_rows(side.emb_ND))
            persons.append(person_P)
            length_P = np.sqrt(np.einsum("pd,pd->p", side.emb_ND, side.emb_ND))
            beside.append(np.stack([length_P, side.speech_s_N, side.clips_N]).astype(np.float32))
        self._person_P, self._beside_3P = np.concatenate(persons), np.concatenate(beside, axis=1)
        self._remove(self._damaged)

    def _remove(self, people: Collection[int]) -> None:
        """Fill the gaps that people leave with the last rows that stay, then cut the end off."""
        assert self._rows is not None
        gone = np.flatnonzero(np.isin(self._person_P, np.array(sorted(people), np.int64)))
        if not gone.size:
            return
        left = len(self._rows) - len(gone)
        into_K = gone[gone < left]
        from_K = np.setdiff1d(np.arange(left, len(self._rows)), gone, assume_unique=True)
        self._rows.move(into_K, from_K)
        self._rows.resize(left)
        self._person_P[into_K] = self._person_P[from_K]
        self._beside_3P[:, into_K] = self._beside_3P[:, from_K]
        self._person_P, self._beside_3P = self._person_P[:left], self._beside_3P[:, :left]


def in_bytes(memory: int | float | str) -> int:
    """Return a number of bytes, or a text such as "500MB", as bytes; raise BadConfig.

    >>> in_bytes("1.5GB")
    1500000000
    """
    text = f"{memory:.0f}" if isinstance(memory, int | float) and 0 <= memory < float("inf") else str(memory)
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)b?\s*", text.lower())
    if found is None or isinstance(memory, bool):
        raise BadConfig(
            "memory is how much people may take in memory: bytes from 0, or a text such as '500MB' or '2GB'; "
            f"got {memory!r}."
        )
    return int(float(found[1]) * UNITS[found[2]])


def _bytes(people: int, dim: int, *, small: bool) -> int:
    return people * (Rows.bytes_each(dim, small=small) + BESIDE)


def _form(people: int, dim: int, memory: int) -> bool | None:
    """Return whether people have to be kept small; None where not even that has room."""
    for small in (False, True):
        if _bytes(people, dim, small=small) <= memory:
            return small
    return None


def _sides(matrix: Matrix) -> tuple[np.ndarray, Side, list[int]]:
    """Return people and what each is compared by; and those whose clips cancel each other out."""
    begin_P = np.flatnonzero(np.diff(matrix.people_N, prepend=-1))
    person_P = matrix.people_N[begin_P]
    if len(person_P) == len(matrix):  # one clip each: that is what they are compared by
        return person_P, Side.of(matrix.emb_ND, matrix.speech_N), []
    try:
        return person_P, reference(matrix.emb_ND, matrix.speech_N, begin_P), []
    except BadScores:
        if len(person_P) == 1:
            none = matrix.take(np.empty(0, np.intp))
            return none.people_N, Side.of(none.emb_ND, none.speech_N), person_P.tolist()
    half = int(begin_P[len(begin_P) // 2])
    one, other = (_sides(matrix.take(part)) for part in (slice(half), slice(half, None)))
    return np.concatenate((one[0], other[0])), Side.joined((one[1], other[1])), one[2] + other[2]


def _whole_people(blocks: Iterable[Matrix]) -> Iterator[Matrix]:
    """Yield the same rows in blocks that hold all of each person."""
    rest: Matrix | None = None
    for block in blocks:
        both = block if rest is None else Matrix.joined([rest, block])
        cut = int(np.searchsorted(both.people_N, both.people_N[-1])) if len(both) else 0
        yield replace(both.take(slice(cut)), damaged=block.damaged)
        rest = both.take(slice(cut, None))
    if rest is not None:
        yield rest
