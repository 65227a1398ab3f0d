"""A collection that one transaction holds, and what is done to its people there.

Whoever writes holds the row of the collection until the transaction ends. So the writers of one collection
queue up, and the numbers in `sequence` appear to readers in their order: an index that follows misses none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from voxid.errors import BadVoiceprint, ModelMismatch, OptedOut, PersonExists
from voxid.stores.rows import UNREADABLE, damaged, find, nobody, persons, voiceprint_row
from voxid.stores.session import VOICEPRINT_COLUMNS, Session, marks, parts
from voxid.stores.values import (
    NewPerson,
    Person,
    Voiceprint,
    checked_metadata,
    checked_name,
    checked_voiceprints,
    collection_name,
    from_json,
    merged,
    now,
    to_json,
    to_time,
)

AUDIT_COLUMNS = "time, action, collection, person, name, detail"
_by: ContextVar[str] = ContextVar("by", default="")  # who acts, for the audit trail


@contextmanager
def acting(by: str) -> Iterator[None]:
    """Within the block, lines of the audit trail say that `by` (the name of a key) did it.

    >>> with acting("the night job"):
    ...     done = rec.rename("bob", "robert"), rec.rename("robert", "bob")
    """
    token = _by.set(by)
    try:
        yield
    finally:
        _by.reset(token)


@dataclass(slots=True)
class Held:
    """A collection within a transaction; `id` is 0 for one that does not exist.

    `sequence` counts on, and is written at the end of the transaction.
    """

    session: Session
    id: int
    name: str
    model: str
    dim: int
    next_model: str
    next_dim: int
    sequence: int

    @classmethod
    def take(cls, session: Session, name: str, *, create: bool = False, lock: bool = True) -> Held:
        """Return the collection, held until the transaction ends; one that does not exist may be made."""
        name = collection_name(name)
        sql = "SELECT id, name, model, dim, next_model, next_dim, sequence FROM collections WHERE name = ?"
        sql += session.lock_row if lock else ""
        row = session.one(sql, (name,))
        if row is None and create:
            session.run(
                "INSERT INTO collections (name, epoch, created) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (name, uuid4().hex, to_time(now())),  # the epoch tells it from one of that name elsewhere
            )
            row = session.one(sql, (name,))
        return cls(session, *row) if row else cls(session, 0, name, "", 0, "", 0, 0)

    def step(self) -> int:
        """Return the next number of the sequence."""
        self.sequence += 1
        return self.sequence

    def release(self) -> None:
        """Write how far the sequence has come."""
        self.session.run("UPDATE collections SET sequence = ? WHERE id = ?", (self.sequence, self.id))

    def record(self, action: str, person: int, name: str, detail: Mapping[str, Any]) -> tuple[int, datetime]:
        """Write a line of the audit trail; return its sequence and time."""
        time = now()
        row = self.session.one(
            f"INSERT INTO audit ({AUDIT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) RETURNING sequence",
            (to_time(time), action, self.name, person, name, _detail(detail)),
        )
        assert row is not None
        return row[0], time

    # -- one person --------------------------------------------------------------------------------------

    def known(self, name: str) -> tuple[int, str]:
        """Return the id of a person, damaged or not, and the name in NFC; raise PersonNotFound."""
        name = checked_name(name)
        row = self.session.one("SELECT id FROM people WHERE collection = ? AND name = ?", (self.id, name))
        if row is None:
            raise nobody(name, self.name)
        return row[0], name

    def person(self, name: str) -> Person:
        """Return the person with their voiceprints; raise PersonNotFound, StoreDamaged."""
        name = checked_name(name)
        found = find(self.session, name, self.name)
        if found is None:
            raise nobody(name, self.name)
        return found

    def change(self, person: int, column: str, value: str) -> None:
        """Give a person another name or other metadata."""
        self.session.run(
            f"UPDATE people SET {column} = ?, updated = ?, sequence = ? WHERE id = ?",
            (value, to_time(now()), self.step(), person),
        )

    def touch(self, person: int) -> None:
        """Say that the voiceprints of a person changed."""
        step = self.step()
        self.session.run(
            "UPDATE people SET updated = ?, sequence = ?, revision = ? WHERE id = ?",
            (to_time(now()), step, step, person),
        )

    def forget(self, where: str, values: Sequence[Any]) -> None:
        """Remove voiceprints."""
        self.session.forget(f"SELECT embedding, source, extra FROM voiceprints WHERE {where}", values)
        self.session.run(f"DELETE FROM voiceprints WHERE {where}", values)

    def erase(self, ids: Sequence[int]) -> None:
        """Remove all that is held on up to SOME people. The caller records that it was done."""
        among = f"IN ({marks(ids)})"
        self.session.forget(f"SELECT name, metadata FROM people WHERE id {among}", ids)
        earlier = "CASE WHEN action = 'renamed' THEN detail END"
        self.session.forget(f"SELECT name, {earlier} FROM audit WHERE person {among}", ids)
        self.forget(f"person {among}", ids)
        self.session.run(f"DELETE FROM people WHERE id {among}", ids)
        gone = [(id, self.id, self.step()) for id in ids]
        self.session.add("gone", "person, collection, sequence", gone)
        self.session.run(f"UPDATE audit SET name = '', detail = '{{}}' WHERE person {among}", ids)

    def opted_out(self, names: Sequence[str]) -> list[str]:
        """Return those of the names who opted out."""
        if self.session.one("SELECT 1 FROM opted_out WHERE collection = ? LIMIT 1", (self.id,)) is None:
            return []
        query = "SELECT name FROM opted_out WHERE collection = ? AND name = ?"
        return [name for (name,) in self.session.of_each(query, [self.id], names)]

    # -- enrolling: one road for one person and for thousands ----------------------------------------------

    def enroll(self, people: Sequence[NewPerson], *, replace: bool, exist_ok: bool) -> None:
        """Enroll people of different names, who were `checked`; raise OptedOut for who opted out."""
        if out := self.opted_out([one.name for one in people]):
            raise refused(out[0], self.name)
        self._fit_model(people)
        query = "SELECT id, name, metadata FROM people WHERE collection = ? AND name = ?"
        found = self.session.of_each(query, [self.id], [one.name for one in people])
        known = {name: (id, metadata) for id, name, metadata in found}
        if known and not exist_ok:
            raise PersonExists(
                f"{next(iter(known))!r} is enrolled in {self.name!r} already. "
                "Choose another name, or allow to add to them."
            )
        kept: set[tuple[int, str]] = set()
        ids = [id for id, _ in known.values()]
        if replace:
            for some in parts(ids):
                self.forget(f"person IN ({marks(some)})", some)
        else:
            query = "SELECT person, id FROM voiceprints WHERE model = ? AND person = ?"
            kept = set(self.session.of_each(query, [self.model], ids))
        self._add_new([one for one in people if one.name not in known])
        self._add_to([(one, *known[one.name]) for one in people if one.name in known], kept, replace)

    def _fit_model(self, people: Sequence[NewPerson]) -> None:
        """Give a collection without people the model of those who come; raise ModelMismatch for any other."""
        model, dim = people[0].voiceprints[0].model, len(people[0].voiceprints[0].embedding)
        empty = self.session.one("SELECT 1 FROM people WHERE collection = ? LIMIT 1", (self.id,)) is None
        if empty and not self.next_model and (self.model, self.dim) != (model, dim):
            self.use(model, dim)
        for one in people:
            v = one.voiceprints[0]
            if v.model != self.model:
                raise ModelMismatch(
                    f"the collection {self.name!r} holds voiceprints of model {self.model}; got one of "
                    f"{v.model} for {one.name!r}. Those of two models cannot be compared: use the model "
                    "of the collection, another collection, or move the collection to the new model."
                )
            if len(v.embedding) != self.dim:
                raise BadVoiceprint(
                    f"the collection {self.name!r} holds embeddings of {self.dim} numbers; got one of "
                    f"{len(v.embedding)} for {one.name!r}, said to be of the same model. Embed it again."
                )

    def _add_new(self, people: Sequence[NewPerson]) -> None:
        if not people:
            return
        time, rows, prints, lines = to_time(now()), [], [], []
        for id, one in zip(self.session.new_ids(len(people)), people, strict=True):
            step = self.step()
            metadata = to_json(merged({}, one.metadata or {}))
            rows.append((id, self.id, one.name, metadata, time, time, step, step))
            prints += [voiceprint_row(v, id, self.id) for v in one.voiceprints]
            lines.append((time, "enrolled", self.name, id, one.name, _counted(one.voiceprints)))
        self.session.add(
            "people", "id, collection, name, metadata, created, updated, sequence, revision", rows
        )
        self.session.add("voiceprints", VOICEPRINT_COLUMNS, prints)
        self.session.add("audit", AUDIT_COLUMNS, lines)

    def _add_to(
        self, people: Sequence[tuple[NewPerson, int, Any]], kept: set[tuple[int, str]], replace: bool
    ) -> None:
        """Add to people who exist. A voiceprint that is held already stays as it is: twice is harmless."""
        time, rows, prints, lines = to_time(now()), [], [], []
        for one, id, column in people:
            new = [v for v in one.voiceprints if (id, v.id) not in kept]
            try:
                metadata = from_json(column)
            except UNREADABLE as error:
                if not replace:
                    raise damaged(f"the metadata of {one.name!r}", str(error)) from error
                metadata = {}
            changed = merged(metadata, one.metadata or {})
            if not new and changed == metadata:
                continue
            step = self.step()
            rows.append((to_json(changed), time, step, step if new else None, id))
            prints += [voiceprint_row(v, id, self.id) for v in new]
            lines.append((time, "replaced" if replace else "added", self.name, id, one.name, _counted(new)))
        if rows:
            self.session.many(
                "UPDATE people SET metadata = ?, updated = ?, sequence = ?, revision = coalesce(?, revision) "
                "WHERE id = ?",
                rows,
            )
            self.session.add("voiceprints", VOICEPRINT_COLUMNS, prints)
            self.session.add("audit", AUDIT_COLUMNS, lines)

    # -- its model, and the change to another --------------------------------------------------------------

    def use(self, model: str, dim: int) -> None:
        """Give the collection another model; whoever follows must read it anew."""
        self.model, self.dim = model, dim
        self.session.run(
            "UPDATE collections SET model = ?, dim = ?, reloaded = ? WHERE id = ?",
            (model, dim, self.step(), self.id),
        )

    def set_next(self, model: str = "", dim: int = 0) -> None:
        """Write to which model the collection is on its way; "" for none."""
        self.next_model, self.next_dim = model, dim
        self.session.run(
            "UPDATE collections SET next_model = ?, next_dim = ? WHERE id = ?", (model, dim, self.id)
        )

    def stage(self, person: Person, voiceprints: Sequence[Voiceprint]) -> bool:
        """Keep a person's voiceprints of the next model; False: the person changed since they were read."""
        same = "SELECT 1 FROM people WHERE id = ? AND collection = ? AND revision = ?"
        if self.session.one(same, (person.id, self.id, person.revision)) is None:
            return False
        drop = "DELETE FROM voiceprints WHERE person = ? AND model = ?"
        self.session.run(drop, (person.id, self.next_model))
        rows = [voiceprint_row(v, person.id, self.id) for v in voiceprints]
        self.session.add("voiceprints", VOICEPRINT_COLUMNS, rows)
        self.session.run("UPDATE people SET staged = ? WHERE id = ?", (person.revision, person.id))
        return True

    def drop_other_models(self) -> None:
        """Remove all voiceprints that are not of the model in use."""
        self.session.forget()
        self.session.run("DELETE FROM voiceprints WHERE collection = ? AND model <> ?", (self.id, self.model))
        self.session.run("UPDATE people SET staged = -1 WHERE collection = ?", (self.id,))

    def pending(self, after: str | None, limit: int) -> list[Person]:
        """Return people whose voiceprints of the next model are missing or out of date, by name."""
        return persons(
            self.session,
            "WHERE p.collection = ? AND p.staged <> p.revision AND p.name > ? ORDER BY p.name "
            f"LIMIT {int(limit)}",
            (self.id, after or ""),
            voiceprints=True,
        )


def checked(one: NewPerson, model: str | None) -> NewPerson:
    """Return what is to be enrolled, as it will be kept; raise what `Store.enroll` does."""
    name = checked_name(one.name)
    prints = checked_voiceprints(one.voiceprints, model, name)
    return NewPerson(name, prints, None if one.metadata is None else checked_metadata(one.metadata))


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


def _counted(voiceprints: Sequence[Voiceprint]) -> str:
    return _detail({"voiceprints": len(voiceprints)})


def _detail(detail: Mapping[str, Any]) -> str:
    """Return what a line of the trail says, and who did it where that is known."""
    return to_json({**detail, "by": _by.get()} if _by.get() else detail)


def refused(name: str, collection: str) -> OptedOut:
    """Return the error for somebody who opted out."""
    return OptedOut(
        f"{name!r:.200} opted out of the collection {collection!r:.200}: their voice is refused, and nothing "
        "of it was kept. If they want to be known again, let them opt in first."
    )
