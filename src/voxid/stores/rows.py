"""Rows and values: what everything that reads or writes people is made of.

Whoever writes holds the row of the collection until the transaction ends. So the writers of one collection
queue up, and the numbers in `sequence` appear to readers in their order: an index that follows misses none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

import voxid.stores.checks as checks
from voxid.errors import PersonNotFound
from voxid.stores.protocol import Person, Voiceprint, checked_embedding
from voxid.stores.session import Session

AUDIT_COLUMNS = "time, action, collection, person, name, detail"
SOME = 500  # values in one IN (...): SQLite takes 999
PERSON = """
    SELECT p.id, p.name, c.name, p.metadata, p.created, p.updated, p.revision,
        (SELECT count(*) FROM voiceprints v WHERE v.person = p.id AND v.model = c.model),
        (SELECT coalesce(sum(v.speech_s), 0) FROM voiceprints v WHERE v.person = p.id AND v.model = c.model)
    FROM people p JOIN collections c ON c.id = p.collection """


@dataclass(slots=True)
class Held:
    """A collection whose row this transaction holds. `sequence` counts on and is written at the end."""

    id: int
    name: str
    model: str
    dim: int
    next_model: str
    next_dim: int
    sequence: int

    def step(self) -> int:
        """Return the next number of the sequence."""
        self.sequence += 1
        return self.sequence


def hold(session: Session, name: str, *, create: bool = False, lock: bool = True) -> Held:
    """Return the collection, held until the transaction ends; an unknown one is made, or has nobody in it."""
    name = checks.collection_name(name)
    sql = "SELECT id, name, model, dim, next_model, next_dim, sequence FROM collections WHERE name = ?" + (
        session.lock_row if lock else ""
    )
    row = session.one(sql, (name,))
    if row is None and create:
        session.run(
            "INSERT INTO collections (name, epoch, created) VALUES (?, ?, ?) ON CONFLICT (name) DO NOTHING",
            (name, fresh_epoch(), checks.to_time(checks.now())),
        )
        row = session.one(sql, (name,))
    return Held(*row) if row else Held(0, name, "", 0, "", 0, 0)


def release(session: Session, held: Held) -> None:
    """Write how far the sequence of a held collection has come."""
    session.run("UPDATE collections SET sequence = ? WHERE id = ?", (held.sequence, held.id))


def record(
    session: Session, action: str, held: Held, person: int, name: str, detail: Mapping[str, Any]
) -> tuple[int, datetime]:
    """Write a line of the audit trail; return its sequence and time."""
    time = checks.now()
    row = session.one(
        f"INSERT INTO audit ({AUDIT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) RETURNING sequence",
        (checks.to_time(time), action, held.name, person, name, checks.to_json(detail)),
    )
    assert row is not None
    return row[0], time


def erase(session: Session, held: Held, people: Sequence[Person]) -> None:
    """Remove all that is held on up to SOME people. The caller records that it was done."""
    ids = [person.id for person in people]
    among = f"IN ({checks.marks(ids)})"
    removed: list[bytes | str] = [*remains(session, f"person {among}", ids)]
    for person in people:
        removed += [person.name, checks.to_json(person.metadata)] if person.metadata else [person.name]
    for name, detail in session.rows(f"SELECT name, detail FROM audit WHERE person {among}", ids):
        removed += [text for text in (name, checks.from_json(detail).get("from")) if text]
    session.forget(removed)
    session.run(f"DELETE FROM voiceprints WHERE person {among}", ids)
    session.run(f"DELETE FROM people WHERE id {among}", ids)
    session.add("gone", "person, collection, sequence", [(id, held.id, held.step()) for id in ids])
    session.run(f"UPDATE audit SET name = '', detail = '{{}}' WHERE person {among}", ids)


def remains(session: Session, where: str, values: Sequence[Any]) -> Iterator[bytes | str]:
    """Yield the embeddings (as bytes) and texts of voiceprints: what must not be found after they went."""
    for embedding, source, extra in session.rows(
        f"SELECT embedding, source, extra FROM voiceprints WHERE {where}", values
    ):
        yield session.embedding(embedding).astype("<f4").tobytes()
        if source:
            yield source
        if checks.from_json(extra):
            yield checks.to_json(checks.from_json(extra))


def persons(session: Session, where: str, values: Sequence[Any], *, voiceprints: bool) -> list[Person]:
    """Return the people that `where` (a clause over p and c) finds."""
    found = [_person(row) for row in session.rows(PERSON + where, values)]
    if not voiceprints:
        return found
    prints: dict[int, list[Voiceprint]] = {p.id: [] for p in found}
    for some in parts(list(prints)):
        for person, one in voiceprints_of(session, some):
            prints[person].append(one)
    return [replace(p, voiceprints=tuple(prints[p.id])) for p in found]


def voiceprints_of(
    session: Session, people: Sequence[int], *, live: bool = True
) -> Iterator[tuple[int, Voiceprint]]:
    """Yield (person, voiceprint), oldest first; `live`: only those of the model in use."""
    only = "AND v.model = c.model" if live else ""
    for person, id, embedding, model, speech_s, source, created, extra in session.rows(
        f"""SELECT v.person, v.id, v.embedding, v.model, v.speech_s, v.source, v.created, v.extra
        FROM voiceprints v JOIN collections c ON c.id = v.collection
        WHERE v.person IN ({checks.marks(people)}) {only} ORDER BY v.number""",
        people,
    ):
        yield (
            person,
            Voiceprint(
                id,
                session.embedding(embedding),
                model,
                speech_s,
                source,
                checks.from_time(created),
                checks.from_json(extra),
            ),
        )


def voiceprint_row(v: Voiceprint, person: int, collection: int) -> tuple[Any, ...]:
    """Return the row of VOICEPRINT_COLUMNS for a voiceprint."""
    return (
        v.id,
        person,
        collection,
        v.model,
        checked_embedding(v.embedding),
        float(v.speech_s),
        v.source,
        checks.to_time(v.created),
        checks.to_json(checks.checked_metadata(v.extra)),
    )


def fresh_epoch() -> str:
    """Return what tells this collection from one of the same name in another store."""
    return uuid4().hex


def _person(row: Sequence[Any]) -> Person:
    id, name, collection, metadata, created, updated, revision, prints, speech_s = row
    return Person(
        id,
        name,
        collection,
        checks.from_json(metadata),
        checks.from_time(created),
        checks.from_time(updated),
        revision,
        prints,
        float(speech_s),
    )


def find(session: Session, name: str, collection: str) -> Person | None:
    """Return the person with their voiceprints, or None."""
    collection = checks.collection_name(collection)
    found = persons(session, "WHERE c.name = ? AND p.name = ?", (collection, name), voiceprints=True)
    return found[0] if found else None


def known(session: Session, held: Held, name: str, collection: str) -> Person:
    """Return the person with their voiceprints; raise PersonNotFound."""
    person = find(session, checks.checked_name(name), collection) if held.id else None
    if person is None:
        raise nobody(name, collection)
    return person


def nobody(name: str, collection: str) -> PersonNotFound:
    """Return the error for a name that is not there."""
    return PersonNotFound(
        f"nobody named {name!r:.200} is enrolled in the collection {collection!r:.200}. "
        "Names are told apart by case and spaces; enroll the person, or look at the list of people."
    )


def touch(session: Session, held: Held, people: Iterable[int]) -> None:
    """Say that the voiceprints of these people changed."""
    time = checks.to_time(checks.now())
    rows = [(time, step, step, person) for person in people if (step := held.step())]
    session.many("UPDATE people SET updated = ?, sequence = ?, revision = ? WHERE id = ?", rows)


def parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield `values` in parts that fit into one IN (...)."""
    for first in range(0, len(values), SOME):
        yield values[first : first + SOME]
