"""Rows as people, voiceprints and lines of the trail; a row that cannot be read is damaged.

Lists mark who is damaged and go on (`Person.damaged`); whoever asks for one person gets StoreDamaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from voxid.errors import BadVoiceprint, PersonNotFound, StoreDamaged
from voxid.stores.session import Session, marks, parts
from voxid.stores.values import (
    AuditEntry,
    Person,
    Voiceprint,
    checked_embedding,
    checked_metadata,
    from_json,
    from_time,
    is_speech,
    to_json,
    to_time,
)

PERSON = """
    SELECT p.id, p.name, c.name, p.metadata, p.created, p.updated, p.revision,
        (SELECT count(*) FROM voiceprints v WHERE v.person = p.id AND v.model = c.model),
        (SELECT coalesce(sum(v.speech_s), 0) FROM voiceprints v WHERE v.person = p.id AND v.model = c.model)
    FROM people p JOIN collections c ON c.id = p.collection """
UNREADABLE = (ValueError, TypeError, OverflowError, BadVoiceprint)
NEVER = datetime.min.replace(tzinfo=UTC)  # stands for a time that cannot be read


def persons(
    session: Session, where: str, values: Sequence[Any], *, voiceprints: bool, live: bool = True
) -> list[Person]:
    """Return the people that `where` (over p and c) finds; `live`: with prints of the model in use."""
    found = [_person(row) for row in session.rows(PERSON + where, values)]
    if not voiceprints:
        return found
    prints: dict[int, list[Voiceprint]] = {p.id: [] for p in found}
    damaged = {p.id: p.damaged for p in found}
    for some in parts(list(prints)):
        for person, one in _voiceprints(session, some, live):
            if isinstance(one, Voiceprint):
                prints[person].append(one)
            else:
                damaged[person] = damaged[person] or one
    return [replace(p, voiceprints=tuple(prints[p.id]), damaged=damaged[p.id]) for p in found]


def find(session: Session, name: str, collection: str, *, live: bool = True) -> Person | None:
    """Return the person with their voiceprints, or None; raise StoreDamaged. Both names are in NFC."""
    where = "WHERE c.name = ? AND p.name = ?"
    for person in persons(session, where, (collection, name), voiceprints=True, live=live):
        if person.damaged:
            raise damaged(f"what is held on {name!r} in the collection {collection!r:.200}", person.damaged)
        return person
    return None


def damaged(what: str, said: str) -> StoreDamaged:
    """Return the error for rows of one person, or one line, that cannot be read."""
    return StoreDamaged(
        f"{what} is damaged: {said}. Everybody else can be used. Restore a backup, or delete the person "
        "(that works) and enroll them again."
    )


def nobody(name: str, collection: str) -> PersonNotFound:
    """Return the error for a name that is not there."""
    return PersonNotFound(
        f"nobody named {name!r:.200} is enrolled in the collection {collection!r:.200}. "
        "Case and spaces count in names; enroll the person, or look at the list of people."
    )


def _person(row: Sequence[Any]) -> Person:
    id, name, collection, metadata, created, updated, revision, prints, speech_s = row
    said: list[str] = []

    def read(what: str, parse: Callable[[Any], Any], column: Any, instead: Any) -> Any:
        try:
            return parse(column)
        except UNREADABLE as error:
            said.append(f"their {what} ({' '.join(str(error).split())})")
            return instead

    return Person(
        id,
        name,
        collection,
        metadata=read("metadata", from_json, metadata, {}),
        created=read("time", from_time, created, NEVER),
        updated=read("time", from_time, updated, NEVER),
        revision=revision,
        prints=prints,
        speech_s=float(speech_s),
        damaged=", ".join(said),
    )


def _voiceprints(
    session: Session, people: Sequence[int], live: bool
) -> Iterator[tuple[int, Voiceprint | str]]:
    """Yield (person, voiceprint), oldest first; for one that cannot be read, what is wrong with it."""
    only = "AND v.model = c.model" if live else ""
    for person, dim, embedding, *columns in session.rows(
        f"""SELECT v.person, CASE WHEN v.model = c.model THEN c.dim ELSE c.next_dim END, v.embedding,
            v.id, v.model, v.speech_s, v.source, v.created, v.extra
        FROM voiceprints v JOIN collections c ON c.id = v.collection
        WHERE v.person IN ({marks(people)}) {only} ORDER BY v.number""",
        people,
    ):
        try:
            id, model, speech_s, source, created, extra = columns
            emb_D = checked_embedding(session.embedding(embedding), dim=dim)
            if not is_speech(speech_s) or not isinstance(source, str):
                raise ValueError(f"{speech_s!r:.60} s of speech from {source!r:.60}")
            yield person, Voiceprint(id, emb_D, model, speech_s, source, from_time(created), from_json(extra))
        except UNREADABLE as error:
            yield person, f"their voiceprint {columns[0]!r:.60} ({' '.join(str(error).split())})"


def voiceprint_row(v: Voiceprint, person: int, collection: int) -> tuple[Any, ...]:
    """Return the row of VOICEPRINT_COLUMNS for a voiceprint."""
    emb_D = np.asarray(v.embedding, np.float32)
    created, extra = to_time(v.created), to_json(checked_metadata(v.extra))
    return (v.id, person, collection, v.model, emb_D, float(v.speech_s), v.source, created, extra)


def trail(session: Session, where: str, values: Sequence[Any], limit: int | None = None) -> list[AuditEntry]:
    """Return the lines of the audit trail (named a) that `where` finds, oldest first."""
    found = []
    for step, time, action, space, who, name, detail in session.rows(
        f"""SELECT a.sequence, a.time, a.action, a.collection, a.person, a.name, a.detail FROM audit a
        WHERE {where} ORDER BY a.sequence {"" if limit is None else f"LIMIT {int(limit)}"}""",
        values,
    ):
        try:
            found.append(AuditEntry(step, from_time(time), action, space, who, name, from_json(detail)))
        except UNREADABLE as error:
            raise damaged(
                f"line {step} of the audit trail, about {name or f'person {who}'!r},", str(error)
            ) from error
    return found
