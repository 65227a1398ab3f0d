"""What a store of enrolled people does: one class with all the calls, in the SQL that every database shares.

A kind of store adds how it opens a transaction and moves rows in bulk (`Session`), and how it wipes its disk.

# N voiceprints, D embedding
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np

import voxid.stores.portable as portable
from voxid.errors import (
    BadVoiceprint,
    ModelMismatch,
    PersonExists,
    PersonNotFound,
    StoreError,
    VoiceprintNotFound,
)
from voxid.stores.held import AUDIT_COLUMNS, Held, batches, checked, refused
from voxid.stores.kept import Kept
from voxid.stores.rows import UNREADABLE, damaged, find, nobody, persons, trail
from voxid.stores.session import SOME, Session, State, marks, parts
from voxid.stores.values import (
    DEFAULT,
    MOST_DIM,
    AuditEntry,
    Change,
    Changes,
    CollectionInfo,
    Erasure,
    Matrix,
    Neighbour,
    NewPerson,
    Person,
    Upgrade,
    Voiceprint,
    checked_embedding,
    checked_metadata,
    checked_name,
    checked_voiceprints,
    collection_name,
    comparable,
    from_time,
    merged,
    now,
    to_json,
    to_time,
)

BLOCK_ROWS = 16_384  # voiceprints read at a time
NAMED = 5  # people an error names


class Store(Kept):
    """Who is enrolled. Thread-safe; any number of processes may use one store at once.

    Names are unicode in NFC, 1 to 1,000 characters, any but NUL. Every method may raise StoreBusy (another
    process held the store too long), StoreUnavailable (the server or file cannot be reached), StoreDamaged
    (which says who is damaged; everybody else can be used, and deleting that person works), and those that
    write NotWritable and DiskFull; then nothing has changed.

    >>> from voxid import stores
    >>> with stores.open("sqlite://") as store:
    ...     person = store.enroll("alice", [stores.voiceprint([0.6, 0.8], model="m")], model="m")
    ...     store.count()
    1
    >>> store = stores.open("sqlite://")
    >>> clip = stores.voiceprint([0.6, 0.8], model="m", speech_s=4.0)
    >>> store.enroll("alice", [clip]).speech_s
    4.0
    >>> store.enroll_many([stores.NewPerson("bob", [stores.voiceprint([1.0, 0.0], model="m")])])
    1
    >>> [person.name for person in store.people(prefix="a")], store.find("carol"), store.get("bob").prints
    (['alice'], None, 1)
    >>> store.model(), [info.people for info in store.collections()]
    ('m', [2])
    >>> store.nearest([0.6, 0.7], top=1)[0].name
    'alice'
    >>> store.rename("bob", "robert").name, dict(store.update_metadata("alice", {"room": 7}).metadata)
    ('robert', {'room': 7})

    A program that keeps a copy reads everybody, or blocks of them, and then asks who changed:

    >>> held, blocks = store.matrix(), list(store.matrix_blocks(rows=1))
    >>> store.enroll("alice", [stores.voiceprint([0.5, 0.8], model="m")]).prints
    2
    >>> [change.name for change in store.changes(held.sequence, epoch=held.epoch).changes]
    ['alice']
    >>> [person.name for person in store.people_by_id(held.people_N.tolist()).values()]
    ['alice', 'robert']

    A clip is removed by its id, and a person as a whole. An export can be imported again:

    >>> store.delete_voiceprint("alice", clip.id).prints
    1
    >>> everything = store.export("alice")
    >>> store.delete("alice").wiped, store.import_(everything).name
    (True, 'alice')
    >>> [line.action for line in store.audit(name="robert")]
    ['enrolled', 'renamed']

    Another model:

    >>> _ = store.begin_upgrade("n", dim=3)
    >>> for person in store.upgrade_pending():
    ...     _ = store.upgrade_person(person, [stores.voiceprint([1.0, 0.0, 0.0], model="n")])
    >>> store.upgrade().done
    2
    >>> _ = store.finish_upgrade()  # or cancel_upgrade()
    >>> store.model()
    'n'

    Opting out, and collections:

    >>> _ = store.opt_out("robert")
    >>> [one.name for one in store.opted_out()]
    ['robert']
    >>> store.opt_in("robert")
    >>> store.create_collection("calls")
    >>> store.set_notes({"decide": {"far": 0.01}}, collection="calls")
    >>> store.note("decide", collection="calls"), store.delete_collection("calls")
    ({'far': 0.01}, 0)
    >>> store.optimize()
    >>> store.purge()
    True
    >>> store.close()
    """

    url: str

    # -- what a kind of store does its own way, besides the transactions of `Kept` ---------------------

    @abstractmethod
    def purge(self) -> bool:
        """Wipe what deletions left on the disk; True when nothing is left (docs/stores.md says how far).

        SQLite rewrites the file, which needs as much free space again. PostgreSQL rewrites the tables, and
        nobody else can use them meanwhile.
        """

    @abstractmethod
    def optimize(self, *, collection: str = DEFAULT) -> None:
        """Prepare for fast answers: statistics, and in PostgreSQL the HNSW index of a large collection.

        Nobody is locked out; the index may take minutes for a million voiceprints.
        """

    @abstractmethod
    def close(self) -> None:
        """Close every connection. Closing twice is harmless; using a closed store raises StoreUnavailable."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    # -- enrolling and changing ------------------------------------------------------------------------

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
        """Return the person after adding the voiceprints (at least one) in one transaction.

        A new person is created; `replace` removes the voiceprints held before; `metadata` is merged as by
        `update_metadata`. The first enrollment fixes the model of the collection. Raise ModelMismatch,
        BadVoiceprint, BadName, StoreError, and PersonExists when `exist_ok` is False.
        """
        one = checked(NewPerson(name, voiceprints, metadata), model)
        with self._change(collection, create=True) as held:
            held.enroll([one], replace=replace, exist_ok=exist_ok)
            person = held.person(one.name)
        self._wipe(held.session)
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
        """Return how many people were enrolled, `batch` in a transaction; each as by `enroll`."""
        collection_name(collection)
        done, removes = 0, False
        for some in batches((checked(one, model) for one in people), batch):
            with self._change(collection, create=True) as held:
                held.enroll(some, replace=replace, exist_ok=True)
            done += len(some)
            removes |= held.session.removes
        if removes:
            self.purge()
        return done

    def rename(self, old: str, new: str, *, collection: str = DEFAULT) -> Person:
        """Return the renamed person; raise PersonNotFound, PersonExists, BadName."""
        new = checked_name(new)
        with self._change(collection) as held:
            id, old = held.known(old)
            if new != old:
                taken = "SELECT 1 FROM people WHERE collection = ? AND name = ?"
                if held.opted_out([new]):
                    raise refused(new, held.name)
                if held.session.one(taken, (held.id, new)) is not None:
                    raise PersonExists(f"{new!r} is enrolled in {held.name!r} already. Choose another name.")
                held.change(id, "name", new)
                held.record("renamed", id, new, {"from": old})
            return held.person(new)

    def update_metadata(self, name: str, changes: Mapping[str, Any], *, collection: str = DEFAULT) -> Person:
        """Return the person after setting the keys of `changes`; a key whose value is None is removed."""
        changes = checked_metadata(changes)
        with self._change(collection) as held:
            person = held.person(name)
            held.change(person.id, "metadata", to_json(merged(person.metadata, changes)))
            held.record("metadata", person.id, person.name, {"keys": sorted(changes)})
            return held.person(name)

    def delete(self, name: str, *, collection: str = DEFAULT) -> Erasure:
        """Delete everything about a person, damaged or not; return the receipt. Raise PersonNotFound."""
        with self._change(collection) as held:
            id, name = held.known(name)
            [person] = persons(held.session, "WHERE p.id = ?", (id,), voiceprints=False)
            held.erase([id])
            audit, time = held.record("deleted", id, "", {"voiceprints": person.prints})
        return Erasure(id, audit, time, person.prints, self._wipe(held.session))

    def delete_voiceprint(self, name: str, id: str, *, collection: str = DEFAULT) -> Person:
        """Return the person without that voiceprint; raise VoiceprintNotFound, StoreError."""
        with self._change(collection) as held:
            who, name = held.known(name)
            query = "SELECT id FROM voiceprints WHERE person = ? AND model = ? ORDER BY number"
            prints = [v for (v,) in held.session.rows(query, (who, held.model))]
            if id not in prints:
                raise VoiceprintNotFound(
                    f"{name!r} has no voiceprint {id!r:.200}. They have: {', '.join(map(str, prints))}."
                )
            if len(prints) == 1:
                raise StoreError(
                    f"{id!r} is the only voiceprint of {name!r}: without it nobody could be recognised. "
                    "Enroll another one first, or delete the person."
                )
            # What a change of model has made of the voiceprints held before is out of date.
            held.forget("person = ? AND (id = ? OR model <> ?)", (who, id, held.model))
            held.touch(who)
            held.record("voiceprint deleted", who, name, {"voiceprint": id})
            person = held.person(name)
        self._wipe(held.session)
        return person

    def import_(
        self, exported: Mapping[str, Any], *, replace: bool = False, collection: str | None = None
    ) -> Person:
        """Return the person that `export` described, put (back) into `collection` or the one exported from.

        Raise StoreError for a value that `export` did not make, PersonExists unless `replace`, ModelMismatch.
        """
        one, space, created = portable.imported(exported)
        with self._change(collection or space, create=True) as held:
            held.enroll([one], replace=replace, exist_ok=replace)
            held.session.run(
                "UPDATE people SET metadata = ?, created = ? WHERE collection = ? AND name = ?",
                (to_json(one.metadata or {}), created, held.id, one.name),
            )
            person = held.person(one.name)
            held.record("imported", person.id, one.name, {"voiceprints": len(one.voiceprints)})
        self._wipe(held.session)
        return person

    # -- reading ---------------------------------------------------------------------------------------

    def get(self, name: str, *, collection: str = DEFAULT) -> Person:
        """Return the person with their voiceprints, oldest first; raise PersonNotFound."""
        person = self.find(name, collection=collection)
        if person is None:
            raise nobody(name, collection)
        return person

    def find(self, name: str, *, collection: str = DEFAULT) -> Person | None:
        """Return the person with their voiceprints, or None when there is nobody of that name."""
        name, collection = checked_name(name), collection_name(collection)
        with self._read() as session:
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
        """Return people in the order of the code points of their names: with `prefix`, after `after`.

        A person who is damaged is in the list, and `Person.damaged` says so.
        """
        where, values = ["c.name = ?"], [collection_name(collection)]
        if prefix:
            prefix = checked_name(prefix)
            where, values = [*where, "p.name >= ?"], [*values, prefix]
            if (end := _after_prefix(prefix)) is not None:
                where, values = [*where, "p.name < ?"], [*values, end]
        if after is not None:
            where, values = [*where, "p.name > ?"], [*values, after]
        ordered = f"WHERE {' AND '.join(where)} ORDER BY p.name"
        ordered += "" if limit is None else f" LIMIT {int(limit)}"
        with self._read() as session:
            return persons(session, ordered, values, voiceprints=voiceprints)

    def people_by_id(self, ids: Iterable[int], *, voiceprints: bool = False) -> dict[int, Person]:
        """Return id -> person for those ids that exist; who is damaged as `people` does."""
        wanted, found = sorted({int(i) for i in ids}), {}
        with self._read() as session:
            for some in parts(wanted):
                where = f"WHERE p.id IN ({marks(some)})"
                found |= {p.id: p for p in persons(session, where, some, voiceprints=voiceprints)}
        return found

    def count(self, *, collection: str = DEFAULT) -> int:
        """Return how many people are enrolled; 0 for a collection that does not exist."""
        with self._read() as session:
            row = session.one(
                "SELECT count(*) FROM people p JOIN collections c ON c.id = p.collection WHERE c.name = ?",
                (collection_name(collection),),
            )
        return row[0] if row else 0

    def collections(self) -> list[CollectionInfo]:
        """Return all collections by name."""
        with self._read() as session:
            rows = session.rows(
                """SELECT c.name, c.model, c.dim,
                    (SELECT count(*) FROM people p WHERE p.collection = c.id),
                    (SELECT count(*) FROM voiceprints v WHERE v.collection = c.id AND v.model = c.model),
                    c.sequence, c.created FROM collections c ORDER BY c.name"""
            )
        try:
            return [CollectionInfo(*row[:-1], created=from_time(row[-1])) for row in rows]
        except UNREADABLE as error:
            raise damaged("the list of collections", f"a time of creation {error}") from error

    def model(self, *, collection: str = DEFAULT) -> str | None:
        """Return the fingerprint of the model a collection was made with; None while nobody is in it."""
        with self._read() as session:
            row = session.one(
                """SELECT c.model FROM collections c
                WHERE c.name = ? AND EXISTS (SELECT 1 FROM people p WHERE p.collection = c.id)""",
                (collection_name(collection),),
            )
        return row[0] if row else None

    def export(self, name: str, *, collection: str = DEFAULT) -> dict[str, Any]:
        """Return everything that is stored about a person, audit trail too, as values that JSON can hold."""
        name, collection = checked_name(name), collection_name(collection)
        with self._read() as session:
            person = find(session, name, collection, live=False)
            if person is None:
                raise nobody(name, collection)
            lines = trail(session, "a.person = ?", [person.id])
            model = Held.take(session, collection, lock=False).model
        return portable.exported(person, model, lines)

    def audit(
        self,
        *,
        name: str | None = None,
        person: int | None = None,
        after: int = 0,
        limit: int | None = None,
        collection: str | None = None,
    ) -> list[AuditEntry]:
        """Return the trail after a sequence, oldest first, of one person or collection or of all."""
        where: list[str] = ["a.sequence > ?"]
        values: list[Any] = [after]
        if collection is not None:
            where.append("a.collection = ?")
            values.append(collection_name(collection))
        if name is not None:
            where.append(
                """a.person IN (SELECT p.id FROM people p JOIN collections c ON c.id = p.collection
                WHERE c.name = ? AND p.name = ?)"""
            )
            values += [collection_name(collection or DEFAULT), checked_name(name)]
        if person is not None:
            where.append("a.person = ?")
            values.append(person)
        with self._read() as session:
            return trail(session, " AND ".join(where), values, limit)

    # -- for an index and a search ---------------------------------------------------------------------

    def changes(self, after: int, *, epoch: str = "", collection: str = DEFAULT) -> Changes:
        """Return who changed after the sequence `after`, so that an index elsewhere can follow.

        Pass the `epoch` of the `Matrix` or `Changes` that `after` came from; see `Changes.reload`.
        """
        collection = collection_name(collection)
        with self._read() as session:
            state = _state(session, collection)
            if state is None:
                return Changes((), 0, "", reload=after > 0 or epoch != "")
            id, latest = state.id, state.sequence
            if (epoch and epoch != state.epoch) or after > latest or after < state.reloaded:
                return Changes((), latest, state.epoch, reload=True)
            query = """SELECT sequence, id, name FROM people WHERE collection = ? AND sequence > ?
                UNION ALL SELECT sequence, person, '' FROM gone WHERE collection = ? AND sequence > ?
                ORDER BY 1"""
            rows = [] if after == latest else session.rows(query, (id, after, id, after))
        found = (Change(n, who, name, collection, "changed" if name else "deleted") for n, who, name in rows)
        return Changes(tuple(found), latest, state.epoch)

    def matrix(self, *, people: Iterable[int] | None = None, collection: str = DEFAULT) -> Matrix:
        """Return the voiceprints of a collection, or of some people in it, in one snapshot."""
        with self._read() as session:
            state = _state(session, collection_name(collection))
            if state is None:
                return State().matrix()
            some = None if people is None else sorted({int(i) for i in people})
            blocks = map(_comparable, session.blocks(state, BLOCK_ROWS, some))
            return Matrix.joined([state.matrix(), *blocks])

    def matrix_blocks(self, *, rows: int = BLOCK_ROWS, collection: str = DEFAULT) -> Iterator[Matrix]:
        """Yield the voiceprints of a collection in blocks of up to `rows`, all of one snapshot."""
        with self._read() as session:
            state = _state(session, collection_name(collection))
            if state is not None:
                yield from map(_comparable, session.blocks(state, rows))

    def nearest(
        self,
        embedding: Any,
        top: int = 10,
        *,
        model: str | None = None,
        exact: bool = False,
        collection: str = DEFAULT,
    ) -> list[Neighbour]:
        """Return the `top` voiceprints of the highest cosine, best first.

        PostgreSQL answers from an HNSW index where `optimize` has built one, unless `exact`.
        """
        if top < 1:
            return []
        with self._read() as session:
            state = _state(session, collection_name(collection))
            if state is None:
                return []
            if model is not None and model != state.model:
                raise ModelMismatch(
                    f"the collection {collection!r} holds voiceprints of model {state.model}; got a probe of "
                    f"{model}. Embed the recording with the model of the collection."
                )
            emb_D = checked_embedding(embedding, dim=state.dim)
            best = self._nearest(session, state, emb_D, top, exact)
            whose = {}
            for some in parts([number for number, _ in best]):
                query = f"""SELECT v.number, p.id, p.name, v.id FROM voiceprints v
                    JOIN people p ON p.id = v.person WHERE v.number IN ({marks(some)})"""
                whose |= {number: who for number, *who in session.rows(query, some)}
        return [Neighbour(*whose[number], cosine=cosine) for number, cosine in best]

    def _nearest(
        self, session: Session, state: State, emb_D: np.ndarray, top: int, exact: bool
    ) -> list[tuple[int, float]]:
        """Return (number, cosine) of the nearest voiceprints, best first: exact, in constant memory."""
        unit_D = emb_D / np.linalg.norm(emb_D)
        numbers_N, cosines_N = np.empty(0, np.int64), np.empty(0, np.float32)
        for part in map(_comparable, session.blocks(state, BLOCK_ROWS)):
            norms_N = np.sqrt(np.einsum("nd,nd->n", part.emb_ND, part.emb_ND))
            numbers_N = np.concatenate((numbers_N, part.rows_N))
            cosines_N = np.concatenate((cosines_N, part.emb_ND @ unit_D / norms_N))
            order = np.lexsort((numbers_N, -cosines_N))[:top]  # of equal ones, the one enrolled first
            numbers_N, cosines_N = numbers_N[order], cosines_N[order]
        return list(zip(numbers_N.tolist(), cosines_N.tolist(), strict=True))

    # -- a change of model: new voiceprints lie beside the old ones, unseen, until the end puts them into use

    def begin_upgrade(self, model: str, *, dim: int, collection: str = DEFAULT) -> Upgrade:
        """Begin, or go on with, the change of a collection to another model. The old one stays in use.

        Raise ModelMismatch when a change to a third model is under way.
        """
        if not model or "\0" in model or not 1 <= dim <= MOST_DIM:
            raise BadVoiceprint(
                f"a model has a fingerprint and from 1 to {MOST_DIM:,} numbers; got {model!r}, {dim}."
            )
        with self._change(collection) as held:
            if not held.id:
                raise PersonNotFound(f"there is no collection {collection!r:.200}: nobody is enrolled in it.")
            if model == held.model:
                raise ModelMismatch(
                    f"the collection {held.name!r} is of model {model} already: nothing to change."
                )
            if held.next_model and (held.next_model, held.next_dim) != (model, dim):
                raise ModelMismatch(
                    f"the collection {held.name!r} is on its way to model {held.next_model}; got {model}. "
                    "Finish or cancel that first."
                )
            if not held.next_model:
                held.set_next(model, dim)
                held.record("upgrade begun", 0, "", {"from": held.model, "to": model})
            return _progress(held)

    def upgrade(self, *, collection: str = DEFAULT) -> Upgrade | None:
        """Return how far the change of model is, or None when none is under way."""
        with self._read() as session:
            held = Held.take(session, collection, lock=False)
            return _progress(held) if held.next_model else None

    def upgrade_pending(
        self, *, after: str | None = None, limit: int = 100, collection: str = DEFAULT
    ) -> list[Person]:
        """Return people, with their old voiceprints, whose new ones are missing or out of date; by name."""
        with self._read() as session:
            held = _under_way(Held.take(session, collection, lock=False))
            return held.pending(after, limit)

    def upgrade_person(
        self, person: Person, voiceprints: Sequence[Voiceprint], *, collection: str = DEFAULT
    ) -> bool:
        """Keep the new voiceprints of a person from `upgrade_pending`, in one transaction.

        False: the person was changed or deleted in the meantime; ask `upgrade_pending` again.
        """
        with self._change(collection) as held:
            prints = checked_voiceprints(voiceprints, _under_way(held).next_model, person.name)
            if len(prints[0].embedding) != held.next_dim:
                raise BadVoiceprint(
                    f"model {held.next_model} makes {held.next_dim} numbers; got {len(prints[0].embedding)} "
                    f"for {person.name!r}."
                )
            return held.stage(person, prints)

    def finish_upgrade(
        self, *, missing: Literal["refuse", "delete"] = "refuse", collection: str = DEFAULT
    ) -> Upgrade:
        """Put the new model into use and remove the old voiceprints, in one transaction.

        `missing`: people without new voiceprints are an error (StoreError), or are deleted.
        """
        with self._change(collection) as held:
            progress = _progress(_under_way(held))
            left = progress.people - progress.done
            if left and missing != "delete":
                names = ", ".join(repr(p.name) for p in held.pending(None, NAMED))
                raise StoreError(
                    f"{left:,} of {progress.people:,} people in {held.name!r} have no voiceprints of model "
                    f"{held.next_model}: {names}{' ...' if left > NAMED else ''}. Embed their recordings "
                    "again, enroll them anew, or finish with missing='delete', which deletes them."
                )
            while pending := held.pending(None, SOME):
                held.erase([p.id for p in pending])
                time = to_time(now())
                lines = [(time, "deleted", held.name, p.id, "", '{"model": "changed"}') for p in pending]
                held.session.add("audit", AUDIT_COLUMNS, lines)
            held.record(
                "upgrade finished", 0, "", {"from": held.model, "to": held.next_model, "deleted": left}
            )
            held.use(held.next_model, held.next_dim)
            held.set_next()
            held.drop_other_models()
        self.purge()
        return progress

    def cancel_upgrade(self, *, collection: str = DEFAULT) -> None:
        """Remove the new voiceprints; the old model stays.

        >>> from voxid import stores
        >>> with stores.open("sqlite://") as store:
        ...     person = store.enroll("alice", [stores.voiceprint([0.6, 0.8], model="m")])
        ...     begun = store.begin_upgrade("n", dim=3)
        ...     store.cancel_upgrade()
        ...     store.upgrade() is None
        True
        """
        with self._change(collection) as held:
            _under_way(held).drop_other_models()
            held.record("upgrade cancelled", 0, "", {"from": held.model, "to": held.next_model})
            held.set_next()
        self.purge()


def _after_prefix(prefix: str) -> str | None:
    """Return the smallest text greater than all that start with `prefix`; None when there is none.

    >>> _after_prefix("ab")
    'ac'
    """
    letters = prefix.rstrip("\U0010ffff")
    if not letters:
        return None
    following = ord(letters[-1]) + 1
    return letters[:-1] + chr(0xE000 if following == 0xD800 else following)


def _state(session: Session, collection: str) -> State | None:
    query = "SELECT id, model, dim, sequence, reloaded, epoch FROM collections WHERE name = ?"
    row = session.one(query, (collection,))
    return State(*row) if row else None


def _comparable(block: Matrix) -> Matrix:
    """Return the voiceprints that can be compared; whose cannot, is named in `damaged`."""
    sound_N = comparable(block.emb_ND, block.speech_N)
    if sound_N.all():
        return block
    damaged = {*block.damaged, *block.people_N[~sound_N].tolist()}
    return replace(block.take(sound_N), damaged=tuple(sorted(damaged)))


def _progress(held: Held) -> Upgrade:
    row = held.session.one(
        """SELECT coalesce(sum(CASE WHEN staged = revision THEN 1 ELSE 0 END), 0), count(*)
        FROM people WHERE collection = ?""",
        (held.id,),
    )
    assert row is not None
    return Upgrade(held.name, held.model, held.next_model, int(row[0]), row[1])


def _under_way(held: Held) -> Held:
    """Return the collection; raise StoreError where no change of model is under way."""
    if not held.next_model:
        raise StoreError(
            f"no change of model is under way in the collection {held.name!r:.200}. "
            "Begin one with `begin_upgrade`."
        )
    return held
