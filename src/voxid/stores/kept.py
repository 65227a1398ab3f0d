"""What a store keeps beside the people: who opted out, settings of a collection, keys of a service."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from voxid.errors import StoreError
from voxid.stores.held import Held, refused
from voxid.stores.session import Session, parts
from voxid.stores.values import (
    DEFAULT,
    Erasure,
    checked_metadata,
    checked_name,
    collection_name,
    from_json,
    from_time,
    now,
    to_json,
    to_time,
)


@dataclass(frozen=True, slots=True)
class OptOut:
    """Somebody whose voice is refused, until they opt in again.

    >>> rec.opt_out("eve")
    >>> [(one.name, one.since.year > 2000) for one in rec.opted_out()]
    [('eve', True)]
    >>> rec.opt_in("eve")
    """

    name: str
    since: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of a service, of which only a digest is kept. `collection` is "" for every collection.

    >>> [key.name for key in rec.store.api_keys()]
    []
    """

    id: str
    digest: str
    name: str
    scope: str
    collection: str
    created: datetime
    revoked: datetime | None = None


class Kept(ABC):
    """The calls of a store that are not about voiceprints. See `Store`."""

    # -- what a kind of store does its own way ---------------------------------------------------------

    @abstractmethod
    def _read(self) -> AbstractContextManager[Session]:
        """Return a transaction that sees one snapshot and changes nothing."""

    @abstractmethod
    def _write(self) -> AbstractContextManager[Session]:
        """Return a transaction that is kept when the block ends well, and undone when it raises."""

    @abstractmethod
    def _wipe(self, session: Session) -> bool:
        """Make sure that what a transaction removed is gone from the disk; True when it is."""

    @contextmanager
    def _change(self, collection: str, *, create: bool = False) -> Iterator[Held]:
        """Yield a collection, held by a transaction that is kept when the block ends well."""
        collection_name(collection)
        with self._write() as session:
            held = Held.take(session, collection, create=create)
            yield held
            held.release()

    # -- who opted out -----------------------------------------------------------------------------------

    def opt_out(self, name: str, *, collection: str = DEFAULT) -> Erasure | None:
        """Refuse the voice of `name` from now on; return the receipt for what was held, None for nothing.

        Voiceprints are deleted; the name is kept, since it has to be refused. Twice is harmless.
        """
        name = checked_name(name)
        with self._change(collection, create=True) as held:
            query = """SELECT p.id, (SELECT count(*) FROM voiceprints v WHERE v.person = p.id)
                FROM people p WHERE p.collection = ? AND p.name = ?"""
            row = held.session.one(query, (held.id, name))
            if row is not None:
                held.erase([row[0]])
            held.session.run(
                "INSERT INTO opted_out (collection, name, since) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (held.id, name, to_time(now())),
            )
            detail = {"voiceprints": row[1] if row else 0}
            audit, time = held.record("opted out", row[0] if row else 0, "", detail)
        wiped = self._wipe(held.session)
        return Erasure(row[0], audit, time, row[1], wiped) if row else None

    def opt_in(self, name: str, *, collection: str = DEFAULT) -> None:
        """Let `name` be enrolled again, from nothing; raise StoreError for who did not opt out."""
        name = checked_name(name)
        with self._change(collection) as held:
            if not held.opted_out([name]):
                raise StoreError(f"{name!r:.200} did not opt out of {collection!r:.200}: nothing to undo.")
            held.session.forget(
                "SELECT name FROM opted_out WHERE collection = ? AND name = ?", (held.id, name)
            )
            held.session.run("DELETE FROM opted_out WHERE collection = ? AND name = ?", (held.id, name))
            held.record("opted in", 0, "", {})
        self._wipe(held.session)

    def opted_out(self, *, collection: str = DEFAULT) -> list[OptOut]:
        """Return who opted out of a collection, by name."""
        query = """SELECT o.name, o.since FROM opted_out o JOIN collections c ON c.id = o.collection
            WHERE c.name = ? ORDER BY o.name"""
        with self._read() as session:
            rows = session.rows(query, (collection_name(collection),))
        return [OptOut(name, from_time(since)) for name, since in rows]

    def refuse_opted_out(self, name: str, *, collection: str = DEFAULT) -> None:
        """Raise OptedOut if `name` opted out of the collection.

        >>> rec.store.refuse_opted_out("alice")  # raises OptedOut for a person who opted out
        """
        with self._read() as session:
            held = Held.take(session, collection, lock=False)
            if held.opted_out([checked_name(name)]):
                raise refused(name, held.name)

    # -- collections -------------------------------------------------------------------------------------

    def create_collection(self, collection: str) -> None:
        """Make a collection, if it is not there."""
        with self._change(collection, create=True):
            pass

    def delete_collection(self, collection: str) -> int:
        """Remove a collection with settings and opt-outs; return how many people were in it."""
        with self._change(collection) as held:
            if not held.id:
                raise StoreError(f"there is no collection {collection!r:.200}: nothing was deleted.")
            ids = [
                id for (id,) in held.session.rows("SELECT id FROM people WHERE collection = ?", (held.id,))
            ]
            for some in parts(ids):
                held.erase(some)
            held.session.forget("SELECT name FROM opted_out WHERE collection = ?", (held.id,))
            for table in ("opted_out", "notes", "gone"):
                held.session.run(f"DELETE FROM {table} WHERE collection = ?", (held.id,))
            held.session.run("DELETE FROM collections WHERE id = ?", (held.id,))
            held.record("collection deleted", 0, "", {"people": len(ids)})
        self._wipe(held.session)
        return len(ids)

    def note(self, what: str, *, collection: str = DEFAULT) -> dict[str, Any]:
        """Return what was noted of a collection under a word; empty where nothing was."""
        query = """SELECT n.value FROM notes n JOIN collections c ON c.id = n.collection
            WHERE c.name = ? AND n.what = ?"""
        with self._read() as session:
            row = session.one(query, (collection_name(collection), what))
        return from_json(row[0]) if row else {}

    def set_notes(self, notes: Mapping[str, Mapping[str, Any]], *, collection: str = DEFAULT) -> None:
        """Note values of a collection, each under its word; an empty value removes the note."""
        kept = {what: checked_metadata(value) for what, value in notes.items()}
        with self._change(collection, create=True) as held:
            for what, value in kept.items():
                held.session.run("DELETE FROM notes WHERE collection = ? AND what = ?", (held.id, what))
                if value:
                    held.session.add("notes", "collection, what, value", [(held.id, what, to_json(value))])
                held.record("noted", 0, "", {"what": what})

    # -- keys of a service -------------------------------------------------------------------------------

    def add_key(self, key: ApiKey) -> None:
        """Keep a new key.

        >>> from datetime import datetime, timezone
        >>> from voxid import stores
        >>> with stores.open("sqlite://") as store:
        ...     store.add_key(ApiKey("k1", "digest", "door", "read", "", datetime.now(timezone.utc)))
        ...     [key.name for key in store.api_keys()], store.revoke_key("k1").revoked is None
        (['door'], False)
        """
        row = (key.id, key.digest, checked_name(key.name, "the name of a key"), key.scope, key.collection)
        with self._write() as session:
            session.add(
                "api_keys", "id, digest, name, scope, collection, created", [(*row, to_time(key.created))]
            )

    def api_keys(self, id: str | None = None) -> list[ApiKey]:
        """Return all keys, revoked ones too, oldest first; or the one of an id, if there is one.

        >>> rec.store.api_keys()
        []
        """
        where = "" if id is None else "WHERE id = ?"
        query = f"""SELECT id, digest, name, scope, collection, created, revoked FROM api_keys {where}
            ORDER BY created, id"""
        with self._read() as session:
            rows = session.rows(query, () if id is None else (id,))
        return [
            ApiKey(*row, created=from_time(created), revoked=None if revoked is None else from_time(revoked))
            for *row, created, revoked in rows
        ]

    def revoke_key(self, id: str) -> ApiKey:
        """Return a key that counts no more from now on; raise StoreError for one that is not there.

        >>> from voxid import errors
        >>> try:
        ...     rec.store.revoke_key("k1")
        ... except errors.StoreError as error:
        ...     print(error)
        there is no key 'k1'. `voxid keys list` shows all.
        """
        with self._write() as session:
            session.run(
                "UPDATE api_keys SET revoked = ? WHERE id = ? AND revoked IS NULL", (to_time(now()), id)
            )
        found = self.api_keys(id)
        if not found:
            raise StoreError(f"there is no key {id!r:.100}. `voxid keys list` shows all.")
        return found[0]
