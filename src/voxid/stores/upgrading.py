"""Moving a collection to another model while it stays in use.

New voiceprints are kept beside the old ones, a person in a transaction; nobody sees them until
`finish_upgrade` puts them into use and removes the old ones, for all at once. So what is compared is of one
model at every moment, and what was done is kept when the program that does it is interrupted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import voxid.stores.checks as checks
from voxid.errors import BadVoiceprint, ModelMismatch, PersonNotFound, UpgradeIncomplete
from voxid.stores.protocol import DEFAULT, MOST_DIM, Person, Upgrade, Voiceprint
from voxid.stores.rows import AUDIT_COLUMNS, SOME, Held, erase, hold, persons, record, release, voiceprint_row
from voxid.stores.session import Part, Session

NAMED = 5  # people an error names


class Upgrading(Part):
    """Changes of model."""

    def begin_upgrade(self, model: str, *, dim: int, collection: str = DEFAULT) -> Upgrade:
        """See `Store.begin_upgrade`."""
        if not model or "\0" in model or not 1 <= dim <= MOST_DIM:
            raise BadVoiceprint(
                f"a model has a fingerprint and from 1 to {MOST_DIM:,} numbers; got {model!r}, {dim}."
            )
        with self._database.write() as session:
            held = hold(session, collection)
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
                held.next_model, held.next_dim = model, dim
                _set_next(session, held)
                record(session, "upgrade begun", held, 0, "", {"from": held.model, "to": model})
            return _progress(session, held)

    def upgrade(self, *, collection: str = DEFAULT) -> Upgrade | None:
        """See `Store.upgrade`."""
        with self._database.read() as session:
            held = hold(session, collection, lock=False)
            return _progress(session, held) if held.next_model else None

    def upgrade_pending(
        self, *, after: str | None = None, limit: int = 100, collection: str = DEFAULT
    ) -> list[Person]:
        """See `Store.upgrade_pending`."""
        with self._database.read() as session:
            held = hold(session, collection, lock=False)
            if not held.next_model:
                raise _none_under_way(held)
            return _pending(session, held, after, limit)

    def upgrade_person(
        self, person: Person, voiceprints: Sequence[Voiceprint], *, collection: str = DEFAULT
    ) -> bool:
        """See `Store.upgrade_person`."""
        with self._database.write() as session:
            held = hold(session, collection)
            if not held.next_model:
                raise _none_under_way(held)
            prints = checks.checked_voiceprints(voiceprints, held.next_model, person.name)
            if len(prints[0].embedding) != held.next_dim:
                raise BadVoiceprint(
                    f"model {held.next_model} makes {held.next_dim} numbers; got {len(prints[0].embedding)} "
                    f"for {person.name!r}."
                )
            same = session.one(
                "SELECT 1 FROM people WHERE id = ? AND collection = ? AND revision = ?",
                (person.id, held.id, person.revision),
            )
            if same is None:
                return False
            session.run(
                "DELETE FROM voiceprints WHERE person = ? AND model = ?", (person.id, held.next_model)
            )
            session.add_voiceprints([voiceprint_row(v, person.id, held.id) for v in prints])
            session.run("UPDATE people SET staged = ? WHERE id = ?", (person.revision, person.id))
            return True

    def finish_upgrade(
        self, *, missing: Literal["refuse", "delete"] = "refuse", collection: str = DEFAULT
    ) -> Upgrade:
        """See `Store.finish_upgrade`."""
        with self._database.write() as session:
            held = hold(session, collection)
            if not held.next_model:
                raise _none_under_way(held)
            progress = _progress(session, held)
            left = progress.people - progress.done
            if left and missing != "delete":
                names = ", ".join(repr(p.name) for p in _pending(session, held, None, NAMED))
                raise UpgradeIncomplete(
                    f"{left:,} of {progress.people:,} people in {held.name!r} have no voiceprints of model "
                    f"{held.next_model}: {names}{' ...' if left > NAMED else ''}. Embed their recordings "
                    "again, enroll them anew, or finish with missing='delete', which deletes them."
                )
            while pending := _pending(session, held, None, SOME):
                erase(session, held, pending)
                time = checks.to_time(checks.now())
                lines = [(time, "deleted", held.name, p.id, "", '{"model": "changed"}') for p in pending]
                session.add("audit", AUDIT_COLUMNS, lines)
            old, held.model, held.dim = held.model, held.next_model, held.next_dim
            session.forget(())
            session.run("DELETE FROM voiceprints WHERE collection = ? AND model <> ?", (held.id, held.model))
            session.run("UPDATE people SET staged = -1 WHERE collection = ?", (held.id,))
            session.run(
                "UPDATE collections SET model = ?, dim = ?, reloaded = ? WHERE id = ?",
                (held.model, held.dim, held.step(), held.id),
            )
            held.next_model, held.next_dim = "", 0
            _set_next(session, held)
            record(session, "upgrade finished", held, 0, "", {"from": old, "to": held.model, "deleted": left})
            release(session, held)
        self.purge()
        return progress

    def cancel_upgrade(self, *, collection: str = DEFAULT) -> None:
        """See `Store.cancel_upgrade`."""
        with self._database.write() as session:
            held = hold(session, collection)
            if not held.next_model:
                raise _none_under_way(held)
            session.forget(())
            session.run("DELETE FROM voiceprints WHERE collection = ? AND model <> ?", (held.id, held.model))
            session.run("UPDATE people SET staged = -1 WHERE collection = ?", (held.id,))
            record(session, "upgrade cancelled", held, 0, "", {"from": held.model, "to": held.next_model})
            held.next_model, held.next_dim = "", 0
            _set_next(session, held)
        self.purge()


def _set_next(session: Session, held: Held) -> None:
    session.run(
        "UPDATE collections SET next_model = ?, next_dim = ? WHERE id = ?",
        (held.next_model, held.next_dim, held.id),
    )


def _progress(session: Session, held: Held) -> Upgrade:
    row = session.one(
        """SELECT coalesce(sum(CASE WHEN staged = revision THEN 1 ELSE 0 END), 0), count(*)
        FROM people WHERE collection = ?""",
        (held.id,),
    )
    assert row is not None
    return Upgrade(held.name, held.model, held.next_model, int(row[0]), row[1])


def _pending(session: Session, held: Held, after: str | None, limit: int) -> list[Person]:
    return persons(
        session,
        "WHERE p.collection = ? AND p.staged <> p.revision AND p.name > ? ORDER BY p.name "
        f"LIMIT {int(limit)}",
        (held.id, after or ""),
        voiceprints=True,
    )


def _none_under_way(held: Held) -> UpgradeIncomplete:
    return UpgradeIncomplete(
        f"no change of model is under way in the collection {held.name!r:.200}. "
        "Begin one with `begin_upgrade`."
    )
