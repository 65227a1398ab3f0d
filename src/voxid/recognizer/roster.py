"""Everybody of a collection, ready to be searched, following what any process changes in the store.

# P people, Q queries, K hits, D embedding
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from threading import Lock

import numpy as np

from voxid.recognizer.people import sides
from voxid.scoring import Side, reference
from voxid.scoring.evidence import cosines
from voxid.search import Index
from voxid.stores import Matrix, Store


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """The people nearest to a probe: ids, raw cosines, clips they are worth, (K,) each; how many in all."""

    person_K: np.ndarray
    cosine_K: np.ndarray
    clips_K: np.ndarray
    people: int

    def only(self, kept: Container[int]) -> Near:
        """Return those of them who are in `kept`."""
        here = np.array([person in kept for person in self.person_K.tolist()], dtype=bool)
        return Near(self.person_K[here], self.cosine_K[here], self.clips_K[here], self.people)


MOST = 1_000_000  # voiceprints; beyond, the store searches (pgvector by an HNSW index)


class Roster:
    """One reference a person, in memory. `near` first asks the store what changed, so it is never stale.

    Thread-safe. It holds D numbers and one more for each person. A collection of more than `most` voiceprints
    is not read: the store names the voiceprints nearest to the probe, and their people are weighed exactly.
    """

    def __init__(self, store: Store, collection: str, most: int = MOST) -> None:
        self._store, self._collection, self._most = store, collection, most
        self._in_store = False
        self._lock = Lock()
        self._index: Index | None = None
        self._worth: dict[int, float] = {}  # person -> clips
        self._sequence, self._epoch = 0, ""
        self.model = ""

    def near(self, emb_D: np.ndarray, top: int) -> Near:
        """Return the `top` nearest people by cosine; none when nobody is enrolled."""
        with self._lock:
            self._follow()
            if self._in_store:
                return _near_in_store(self._store, self._collection, emb_D, top)
            people = len(self._worth)
            if self._index is None or not people:
                return Near(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), 0)
            hits = self._index.search(emb_D, top=min(top, people))
            ids = hits.ids_QK[0].tolist()
            return Near(
                np.array(ids, dtype=np.int64),
                np.asarray(hits.cosines_QK[0], dtype=np.float64),
                np.array([self._worth[person] for person in ids]),
                people,
            )

    def _follow(self) -> None:
        """Take in what changed in the store since the last time."""
        if self._in_store:
            return
        if not self._epoch:
            self._load()
            return
        told = self._store.changes(self._sequence, epoch=self._epoch, collection=self._collection)
        if told.reload:
            self._load()
            return
        if told.changes:
            gone = {change.person for change in told.changes}
            kept = [change.person for change in told.changes if change.kind == "changed"]
            matrix = self._store.matrix(people=kept, collection=self._collection) if kept else None
            if self._index is not None:
                here = list(gone & self._worth.keys())
                self._index.remove(here)
                for person in here:
                    del self._worth[person]
            if matrix is not None:
                self._take(matrix)
        self._sequence, self._epoch = told.latest, told.epoch

    def _load(self) -> None:
        held = {info.name: info.voiceprints for info in self._store.collections()}
        if held.get(self._collection, 0) > self._most:
            self._in_store, self._index, self._worth = True, None, {}
            return
        matrix = self._store.matrix(collection=self._collection)
        self._index, self._worth = None, {}
        self._take(matrix)
        self.model, self._sequence, self._epoch = matrix.model, matrix.sequence, matrix.epoch

    def _take(self, matrix: Matrix) -> None:
        """Add the people of `matrix`, none of whom is here."""
        if not len(matrix):
            return
        order = np.argsort(matrix.people_N, kind="stable")
        people_P, first_P = np.unique(matrix.people_N[order], return_index=True)
        made = reference(matrix.emb_ND[order], matrix.speech_N[order], first_P)
        if self._index is None:
            self._index = Index(made.emb_ND.shape[1])
        people = people_P.tolist()
        self._index.add(people, made.emb_ND)
        self._worth.update(zip(people, made.clips_N.tolist(), strict=True))


def _near_in_store(store: Store, collection: str, emb_D: np.ndarray, top: int) -> Near:
    """Return the people of the nearest voiceprints, with the cosines of their references."""
    neighbours = store.nearest(emb_D, top, collection=collection)
    found = store.people_by_id(dict.fromkeys(n.person for n in neighbours), voiceprints=True)
    if not found:
        return Near(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), store.count(collection=collection))
    made = sides([person.voiceprints for person in found.values()])
    cosine_K = cosines(made, Side.of(emb_D[None], [np.nan]))
    people = store.count(collection=collection)
    return Near(np.array(list(found), np.int64), cosine_K, made.clips_N, people)
