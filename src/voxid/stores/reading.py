"""What an index and a search need: voiceprints in bulk, who changed, who is near; and the audit trail.

# N voiceprints, D embedding
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

import voxid.stores.checks as checks
from voxid.errors import ModelMismatch
from voxid.stores.protocol import (
    DEFAULT,
    AuditEntry,
    Change,
    Changes,
    Matrix,
    Neighbour,
    checked_embedding,
)
from voxid.stores.rows import parts
from voxid.stores.session import Part, Session

State = tuple[int, str, int, int, int, str]  # id, model, dim, sequence, reloaded, epoch


class Reading(Part):
    """The reading side of a store."""

    def changes(self, after: int, *, epoch: str = "", collection: str = DEFAULT) -> Changes:
        """See `Store.changes`."""
        collection = checks.collection_name(collection)
        with self._database.read() as session:
            state = _state(session, collection)
            if state is None:
                return Changes((), 0, "", reload=after > 0 or epoch != "")
            id, _, _, latest, reloaded, now = state
            if (epoch and epoch != now) or after > latest or after < reloaded:
                return Changes((), latest, now, reload=True)
            rows = (
                []
                if after == latest
                else session.rows(
                    """SELECT sequence, id, name FROM people WHERE collection = ? AND sequence > ?
                UNION ALL SELECT sequence, person, '' FROM gone WHERE collection = ? AND sequence > ?
                ORDER BY 1""",
                    (id, after, id, after),
                )
            )
        found = (
            Change(step, who, name, collection, "changed" if name else "deleted") for step, who, name in rows
        )
        return Changes(tuple(found), latest, now)

    def matrix(self, *, people: Iterable[int] | None = None, collection: str = DEFAULT) -> Matrix:
        """See `Store.matrix`."""
        with self._database.read() as session:
            state = _state(session, checks.collection_name(collection))
            if state is None:
                return _matrix(None, _nothing(0))
            if people is not None:
                return _matrix(state, _of_people(session, state, people))
            count = session.one(
                "SELECT count(*) FROM voiceprints WHERE collection = ? AND model = ?", state[:2]
            )
            columns = _nothing(state[2], count[0] if count else 0)
            end = 0
            for block in session.blocks(state[0], state[1], state[2], 65_536):
                begin, end = end, end + len(block[0])
                for whole, part in zip(columns, block, strict=True):
                    whole[begin:end] = part
            return _matrix(state, columns)

    def matrix_blocks(self, *, rows: int = 65_536, collection: str = DEFAULT) -> Iterator[Matrix]:
        """See `Store.matrix_blocks`."""
        with self._database.read() as session:
            state = _state(session, checks.collection_name(collection))
            if state is not None:
                for block in session.blocks(state[0], state[1], state[2], rows):
                    yield _matrix(state, block)

    def nearest(
        self,
        embedding: Any,
        top: int = 10,
        *,
        model: str | None = None,
        exact: bool = False,
        collection: str = DEFAULT,
    ) -> list[Neighbour]:
        """See `Store.nearest`."""
        if top < 1:
            return []
        with self._database.read() as session:
            state = _state(session, checks.collection_name(collection))
            if state is None:
                return []
            if model is not None and model != state[1]:
                raise ModelMismatch(
                    f"the collection {collection!r} holds voiceprints of model {state[1]}; got a probe of "
                    f"{model}. Embed the recording with the model of the collection."
                )
            emb_D = checked_embedding(embedding, dim=state[2])
            best = self._nearest(session, state, emb_D, top, exact)
            return _named(session, best)

    def _nearest(
        self, session: Session, state: State, emb_D: np.ndarray, top: int, exact: bool
    ) -> list[tuple[int, float]]:
        """Return (number, cosine) of the nearest voiceprints, best first: exact, in constant memory."""
        unit_D = emb_D / np.linalg.norm(emb_D)
        best: tuple[np.ndarray, np.ndarray] = np.empty(0, np.int64), np.empty(0, np.float32)
        for numbers_N, _, _, emb_ND in session.blocks(state[0], state[1], state[2], 65_536):
            norms_N = np.sqrt(np.einsum("nd,nd->n", emb_ND, emb_ND))
            cosines_N = emb_ND @ unit_D / norms_N
            numbers_N = np.concatenate((best[0], numbers_N))
            cosines_N = np.concatenate((best[1], cosines_N))
            # Ties go to the voiceprint that was enrolled first.
            order = np.lexsort((numbers_N, -cosines_N))[:top] if len(numbers_N) > top else slice(None)
            best = numbers_N[order], cosines_N[order]
        order = np.lexsort((best[0], -best[1]))
        return [(int(best[0][i]), float(best[1][i])) for i in order]

    def audit(
        self,
        *,
        name: str | None = None,
        person: int | None = None,
        after: int = 0,
        limit: int | None = None,
        collection: str | None = None,
    ) -> list[AuditEntry]:
        """See `Store.audit`."""
        where: list[str] = ["a.sequence > ?"]
        values: list[Any] = [after]
        if collection is not None:
            where.append("a.collection = ?")
            values.append(checks.collection_name(collection))
        if name is not None:
            where.append(
                """a.person IN (SELECT p.id FROM people p JOIN collections c ON c.id = p.collection
                WHERE c.name = ? AND p.name = ?)"""
            )
            values += [checks.collection_name(collection or DEFAULT), checks.checked_name(name)]
        if person is not None:
            where.append("a.person = ?")
            values.append(person)
        with self._database.read() as session:
            return trail(session, " AND ".join(where), values, limit)


def trail(session: Session, where: str, values: list[Any], limit: int | None = None) -> list[AuditEntry]:
    """Return the lines of the audit trail (named a) that `where` finds, oldest first."""
    rows = session.rows(
        f"""SELECT a.sequence, a.time, a.action, a.collection, a.person, a.name, a.detail FROM audit a
        WHERE {where} ORDER BY a.sequence {"" if limit is None else f"LIMIT {int(limit)}"}""",
        values,
    )
    return [
        AuditEntry(step, checks.from_time(time), action, space, who, name, checks.from_json(detail))
        for step, time, action, space, who, name, detail in rows
    ]


def _state(session: Session, collection: str) -> Any:
    return session.one(
        "SELECT id, model, dim, sequence, reloaded, epoch FROM collections WHERE name = ?", (collection,)
    )


def _matrix(state: State | None, columns: tuple[np.ndarray, ...]) -> Matrix:
    _, model, _, sequence, _, epoch = state or (0, "", 0, 0, 0, "")
    numbers_N, people_N, speech_N, emb_ND = columns
    return Matrix(numbers_N, people_N, speech_N, emb_ND, model, sequence, epoch)


def _nothing(dim: int, rows: int = 0) -> tuple[np.ndarray, ...]:
    return (
        np.empty(rows, np.int64),
        np.empty(rows, np.int64),
        np.empty(rows, np.float32),
        np.empty((rows, dim), np.float32),
    )


def _of_people(session: Session, state: State, people: Iterable[int]) -> tuple[np.ndarray, ...]:
    found = []
    for some in parts(sorted({int(i) for i in people})):
        found += session.rows(
            f"""SELECT number, person, speech_s, embedding FROM voiceprints
            WHERE collection = ? AND model = ? AND person IN ({checks.marks(some)})""",
            [state[0], state[1], *some],
        )
    found.sort(key=lambda row: row[0])
    columns = _nothing(state[2], len(found))
    for i, (number, person, speech_s, embedding) in enumerate(found):
        columns[0][i], columns[1][i], columns[2][i] = number, person, speech_s
        columns[3][i] = session.embedding(embedding)
    return columns


def _named(session: Session, best: list[tuple[int, float]]) -> list[Neighbour]:
    whose = {}
    for some in parts([number for number, _ in best]):
        for number, *who in session.rows(
            f"""SELECT v.number, p.id, p.name, v.id FROM voiceprints v JOIN people p ON p.id = v.person
            WHERE v.number IN ({checks.marks(some)})""",
            some,
        ):
            whose[number] = who
    return [Neighbour(*whose[number], cosine=cosine) for number, cosine in best]
