"""Enrolling, reading, changing and deleting people: the same SQL in every store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import voxid.stores.checks as checks
import voxid.stores.enrolling as enrolling
from voxid.errors import LastVoiceprint, PersonExists, VoiceprintNotFound
from voxid.stores.protocol import DEFAULT, CollectionInfo, Erasure, NewPerson, Person, Voiceprint
from voxid.stores.rows import (
    erase,
    find,
    hold,
    known,
    nobody,
    parts,
    persons,
    record,
    release,
    remains,
    touch,
)
from voxid.stores.session import Part


class People(Part):
    """The people of a store."""

    # -- writing ---------------------------------------------------------------------------------------

    def enroll(
        self,
        name: str,
        voiceprints: Sequence[Voiceprint],
        *,
        model: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        replace: bool = False,
        exist_ok: bool = True,
        collection: str = DEFAULT,
    ) -> Person:
        """See `Store.enroll`."""
        one = enrolling.checked(NewPerson(name, voiceprints, metadata), model)
        space = checks.collection_name(collection)
        with self._database.write() as session:
            held = hold(session, space, create=True)
            enrolling.enroll(session, held, [one], replace=replace, exist_ok=exist_ok)
            release(session, held)
            person = find(session, one.name, space)
        assert person is not None
        self._wipe(session)
        return person

    def enroll_many(
        self,
        people: Iterable[NewPerson],
        *,
        model: str | None = None,
        replace: bool = False,
        batch: int = 1_000,
        collection: str = DEFAULT,
    ) -> int:
        """See `Store.enroll_many`."""
        space = checks.collection_name(collection)
        done, removing = 0, False
        for some in enrolling.batches((enrolling.checked(one, model) for one in people), batch):
            with self._database.write() as session:
                held = hold(session, space, create=True)
                enrolling.enroll(session, held, some, replace=replace, exist_ok=True)
                release(session, held)
            done += len(some)
            removing |= session.note != 0
        if removing:
            self.purge()
        return done

    def rename(self, old: str, new: str, *, collection: str = DEFAULT) -> Person:
        """See `Store.rename`."""
        new = checks.checked_name(new)
        with self._database.write() as session:
            held = hold(session, collection)
            person = known(session, held, old, collection)
            if new != person.name:
                if find(session, new, collection) is not None:
                    raise PersonExists(f"{new!r} is enrolled in {collection!r} already. Choose another name.")
                session.run(
                    "UPDATE people SET name = ?, updated = ?, sequence = ? WHERE id = ?",
                    (new, checks.to_time(checks.now()), held.step(), person.id),
                )
                record(session, "renamed", held, person.id, new, {"from": person.name})
                release(session, held)
            return known(session, held, new, collection)

    def update_metadata(self, name: str, changes: Mapping[str, Any], *, collection: str = DEFAULT) -> Person:
        """See `Store.update_metadata`."""
        changes = checks.checked_metadata(changes)
        with self._database.write() as session:
            held = hold(session, collection)
            person = known(session, held, name, collection)
            session.run(
                "UPDATE people SET metadata = ?, updated = ?, sequence = ? WHERE id = ?",
                (
                    checks.to_json(checks.merged(person.metadata, changes)),
                    checks.to_time(checks.now()),
                    held.step(),
                    person.id,
                ),
            )
            record(session, "metadata", held, person.id, person.name, {"keys": sorted(changes)})
            release(session, held)
            return known(session, held, name, collection)

    def delete(self, name: str, *, collection: str = DEFAULT) -> Erasure:
        """See `Store.delete`."""
        with self._database.write() as session:
            held = hold(session, collection)
            person = known(session, held, name, collection)
            erase(session, held, [person])
            audit, time = record(session, "deleted", held, person.id, "", {"voiceprints": person.prints})
            release(session, held)
        wiped = self._wipe(session)
        return Erasure(person.id, audit, time, person.prints, wiped)

    def delete_voiceprint(self, name: str, id: str, *, collection: str = DEFAULT) -> Person:
        """See `Store.delete_voiceprint`."""
        with self._database.write() as session:
            held = hold(session, collection)
            person = known(session, held, name, collection)
            if id not in {v.id for v in person.voiceprints}:
                raise VoiceprintNotFound(
                    f"{name!r} has no voiceprint {id!r:.200}. "
                    f"They have: {', '.join(v.id for v in person.voiceprints)}."
                )
            if len(person.voiceprints) == 1:
                raise LastVoiceprint(
                    f"{id!r} is the only voiceprint of {name!r}: without it nobody could be recognised. "
                    "Enroll another one first, or delete the person."
                )
            session.forget(remains(session, "person = ? AND id = ?", (person.id, id)))
            session.run("DELETE FROM voiceprints WHERE person = ? AND id = ?", (person.id, id))
            # What a change of model has made of the voiceprints held before is out of date.
            session.run("DELETE FROM voiceprints WHERE person = ? AND model <> ?", (person.id, held.model))
            touch(session, held, [person.id])
            record(session, "voiceprint deleted", held, person.id, person.name, {"voiceprint": id})
            release(session, held)
            person = known(session, held, name, collection)
        self._wipe(session)
        return person

    # -- reading ---------------------------------------------------------------------------------------

    def get(self, name: str, *, collection: str = DEFAULT) -> Person:
        """See `Store.get`."""
        person = self.find(name, collection=collection)
        if person is None:
            raise nobody(name, collection)
        return person

    def find(self, name: str, *, collection: str = DEFAULT) -> Person | None:
        """See `Store.find`."""
        name = checks.checked_name(name)
        with self._database.read() as session:
            return find(session, name, collection)

    def people(
        self,
        *,
        prefix: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        voiceprints: bool = False,
        collection: str = DEFAULT,
    ) -> list[Person]:
        """See `Store.people`."""
        where, values = ["c.name = ?"], [checks.collection_name(collection)]
        if prefix:
            prefix = checks.checked_name(prefix)
            where, values = [*where, "p.name >= ?"], [*values, prefix]
            if (end := checks.after_prefix(prefix)) is not None:
                where, values = [*where, "p.name < ?"], [*values, end]
        if after is not None:
            where, values = [*where, "p.name > ?"], [*values, after]
        with self._database.read() as session:
            return persons(
                session,
                f"WHERE {' AND '.join(where)} ORDER BY p.name"
                + ("" if limit is None else f" LIMIT {int(limit)}"),
                values,
                voiceprints=voiceprints,
            )

    def people_by_id(self, ids: Iterable[int], *, voiceprints: bool = False) -> dict[int, Person]:
        """See `Store.people_by_id`."""
        wanted, found = sorted({int(i) for i in ids}), {}
        with self._database.read() as session:
            for some in parts(wanted):
                where = f"WHERE p.id IN ({checks.marks(some)})"
                found |= {p.id: p for p in persons(session, where, some, voiceprints=voiceprints)}
        return found

    def count(self, *, collection: str = DEFAULT) -> int:
        """See `Store.count`."""
        with self._database.read() as session:
            row = session.one(
                "SELECT count(*) FROM people p JOIN collections c ON c.id = p.collection WHERE c.name = ?",
                (checks.collection_name(collection),),
            )
        return row[0] if row else 0

    def collections(self) -> list[CollectionInfo]:
        """See `Store.collections`."""
        with self._database.read() as session:
            rows = session.rows(
                """SELECT c.name, c.model, c.dim,
                    (SELECT count(*) FROM people p WHERE p.collection = c.id),
                    (SELECT count(*) FROM voiceprints v WHERE v.collection = c.id AND v.model = c.model),
                    c.sequence, c.created FROM collections c ORDER BY c.name"""
            )
        return [CollectionInfo(*row[:-1], created=checks.from_time(row[-1])) for row in rows]

    def model(self, *, collection: str = DEFAULT) -> str | None:
        """See `Store.model`."""
        with self._database.read() as session:
            row = session.one(
                """SELECT c.model FROM collections c
                WHERE c.name = ? AND EXISTS (SELECT 1 FROM people p WHERE p.collection = c.id)""",
                (checks.collection_name(collection),),
            )
        return row[0] if row else None
