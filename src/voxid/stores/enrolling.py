"""Enrolling many people in few statements: one road for one person and for thousands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import voxid.stores.checks as checks
from voxid.errors import BadVoiceprint, ModelMismatch, PersonExists
from voxid.stores.protocol import NewPerson, Voiceprint
from voxid.stores.rows import AUDIT_COLUMNS, Held, parts, remains, voiceprint_row
from voxid.stores.session import Session

Known = Mapping[str, tuple[int, dict[str, Any]]]


def checked(one: NewPerson, model: str | None) -> NewPerson:
    """Return what is to be enrolled, as it will be kept; raise what `Store.enroll` does."""
    name = checks.checked_name(one.name)
    prints = checks.checked_voiceprints(one.voiceprints, model, name)
    return NewPerson(name, prints, None if one.metadata is None else checks.checked_metadata(one.metadata))


def batches(people: Iterable[NewPerson], size: int) -> Iterator[list[NewPerson]]:
    """Yield lists of up to `size` people in which no name is twice."""
    some: dict[str, NewPerson] = {}
    for one in people:
        if len(some) >= size or one.name in some:
            yield list(some.values())
            some = {}
        some[one.name] = one
    if some:
        yield list(some.values())


def enroll(
    session: Session, held: Held, people: Sequence[NewPerson], *, replace: bool, exist_ok: bool
) -> None:
    """Enroll people of different names."""
    _fit_model(session, held, people)
    query = "SELECT id, name, metadata FROM people WHERE collection = ? AND name = ?"
    known = {
        name: (id, checks.from_json(metadata))
        for id, name, metadata in session.of_each(query, [held.id], [one.name for one in people])
    }
    if known and not exist_ok:
        raise PersonExists(
            f"{next(iter(known))!r} is enrolled in {held.name!r} already. "
            "Choose another name, or allow to add to them."
        )
    kept: set[tuple[int, str]] = set()
    ids = [id for id, _ in known.values()]
    if replace:
        for some in parts(ids):
            among = f"person IN ({checks.marks(some)})"
            session.forget(remains(session, among, some))
            session.run(f"DELETE FROM voiceprints WHERE {among}", some)
    else:
        query = "SELECT person, id FROM voiceprints WHERE model = ? AND person = ?"
        kept = set(session.of_each(query, [held.model], ids))
    _add_new(session, held, [one for one in people if one.name not in known])
    _add_to(session, held, [one for one in people if one.name in known], known, kept, replace=replace)


def _fit_model(session: Session, held: Held, people: Sequence[NewPerson]) -> None:
    """Give a collection without people the model of those who come; raise ModelMismatch for any other."""
    model, dim = people[0].voiceprints[0].model, len(people[0].voiceprints[0].embedding)
    empty = session.one("SELECT 1 FROM people WHERE collection = ? LIMIT 1", (held.id,)) is None
    if empty and not held.next_model and (held.model, held.dim) != (model, dim):
        held.model, held.dim = model, dim
        session.run(
            "UPDATE collections SET model = ?, dim = ?, reloaded = ? WHERE id = ?",
            (model, dim, held.step(), held.id),
        )
    for one in people:
        for v in one.voiceprints:
            if v.model != held.model:
                raise ModelMismatch(
                    f"the collection {held.name!r} holds voiceprints of model {held.model}; got one of "
                    f"{v.model} for {one.name!r}. Those of two models cannot be compared: use the model "
                    "of the collection, another collection, or move the collection to the new model."
                )
            if len(v.embedding) != held.dim:
                raise BadVoiceprint(
                    f"the collection {held.name!r} holds embeddings of {held.dim} numbers; got one of "
                    f"{len(v.embedding)} for {one.name!r}, said to be of the same model. Embed it again."
                )


def _add_new(session: Session, held: Held, people: Sequence[NewPerson]) -> None:
    if not people:
        return
    time = checks.to_time(checks.now())
    ids = session.new_ids(len(people))
    rows, prints, trail = [], [], []
    for id, one in zip(ids, people, strict=True):
        step = held.step()
        metadata = checks.to_json(checks.merged({}, one.metadata or {}))
        rows.append((id, held.id, one.name, metadata, time, time, step, step))
        prints += [voiceprint_row(v, id, held.id) for v in one.voiceprints]
        trail.append((time, "enrolled", held.name, id, one.name, _counted(one.voiceprints)))
    columns = "id, collection, name, metadata, created, updated, sequence, revision"
    session.add("people", columns, rows)
    session.add_voiceprints(prints)
    session.add("audit", AUDIT_COLUMNS, trail)


def _add_to(
    session: Session,
    held: Held,
    people: Sequence[NewPerson],
    known: Known,
    kept: set[tuple[int, str]],
    *,
    replace: bool,
) -> None:
    """Add to people who exist. A voiceprint that is held already stays as it is: twice is harmless."""
    time = checks.to_time(checks.now())
    rows, prints, trail = [], [], []
    for one in people:
        id, metadata = known[one.name]
        new = [v for v in one.voiceprints if (id, v.id) not in kept]
        changed = checks.merged(metadata, one.metadata or {})
        if not new and changed == metadata:
            continue
        step = held.step()
        rows.append((checks.to_json(changed), time, step, step if new else None, id))
        prints += [voiceprint_row(v, id, held.id) for v in new]
        trail.append((time, "replaced" if replace else "added", held.name, id, one.name, _counted(new)))
    if rows:
        session.many(
            "UPDATE people SET metadata = ?, updated = ?, sequence = ?, revision = coalesce(?, revision) "
            "WHERE id = ?",
            rows,
        )
        session.add_voiceprints(prints)
        session.add("audit", AUDIT_COLUMNS, trail)


def _counted(voiceprints: Sequence[Voiceprint]) -> str:
    return checks.to_json({"voiceprints": len(voiceprints)})
