"""Everybody of a collection, ready to be searched, following what any process changes in the store.

# P people, Q queries, K hits, D embedding
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock

import numpy as np

from voxid.recognizer.references import References, references
from voxid.search import Index
from voxid.stores import Matrix, Store


@dataclass(frozen=True, slots=True, eq=False)
class Near:
    """The people nearest to a probe: ids (K,), raw cosines (K,), their references; and how many there are."""

    person_K: np.ndarray
    cosine_K: np.ndarray
    reference_K: References
    people: int


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    clips: float
    length: float
    speech_s: float
    direction_D: np.ndarray


class Roster:
    """One reference a person, in memory. `near` first asks the store what changed, so it is never stale.

    Thread-safe. It holds one row of D numbers for each person in the index, and one beside it.
    """

    def __init__(self, store: Store, collection: str) -> None:
        self._store, self._collection = store, collection
        self._lock = Lock()
        self._index: Index | None = None
        self._entries: dict[int, _Entry] = {}
        self._sequence, self._epoch = 0, ""
        self.model = ""

    def near(self, emb_D: np.ndarray, top: int) -> Near:
        """Return the `top` nearest people by cosine; none when nobody is enrolled."""
        with self._lock:
            self._follow()
            people = len(self._entries)
            if self._index is None or not people:
                return _nobody(emb_D.size)
            hits = self._index.search(emb_D, top=min(top, people))
            found = [self._entries[person] for person in hits.ids_QK[0]]
            return Near(
                np.array(hits.ids_QK[0], dtype=np.int64),
                np.asarray(hits.cosines_QK[0], dtype=np.float64),
                References(
                    np.stack([entry.direction_D for entry in found]),
                    np.array([entry.clips for entry in found]),
                    np.array([entry.length for entry in found]),
                    np.array([entry.speech_s for entry in found]),
                ),
                people,
            )

    def _follow(self) -> None:
        """Take in what changed in the store since the last time."""
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
            for person in gone & self._entries.keys():
                del self._entries[person]
                assert self._index is not None
                self._index.remove([person])
            if matrix is not None:
                self._take(matrix)
        self._sequence, self._epoch = told.latest, told.epoch

    def _load(self) -> None:
        matrix = self._store.matrix(collection=self._collection)
        self._index, self._entries = None, {}
        self._take(matrix)
        self.model, self._sequence, self._epoch = matrix.model, matrix.sequence, matrix.epoch

    def _take(self, matrix: Matrix) -> None:
        """Add the people of `matrix`, none of whom is here."""
        if not len(matrix):
            return
        order = np.argsort(matrix.people_N, kind="stable")
        people_P, first_P = np.unique(matrix.people_N[order], return_index=True)
        made = references(matrix.emb_ND[order], matrix.speech_N[order], first_P)
        if self._index is None:
            self._index = Index(made.direction_PD.shape[1])
        people = people_P.tolist()
        self._index.add(people, made.direction_PD)
        columns = (made.clips_P.tolist(), made.length_P.tolist(), made.speech_P.tolist())
        for person, clips, length, speech_s, direction_D in zip(
            people, *columns, made.direction_PD, strict=True
        ):
            self._entries[person] = _Entry(clips, length, speech_s, direction_D)


def _nobody(dim: int) -> Near:
    none = np.zeros(0)
    return Near(np.zeros(0, np.int64), none, References(np.zeros((0, dim), np.float32), none, none, none), 0)
