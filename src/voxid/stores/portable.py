"""A person as a value that JSON can hold: all that is held on them, to hand out and to bring back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import numpy as np

import voxid.stores.checks as checks
import voxid.stores.enrolling as enrolling
from voxid.errors import BadExport, StoreError
from voxid.stores.protocol import DEFAULT, NewPerson, Person, Voiceprint, checked_embedding
from voxid.stores.reading import trail
from voxid.stores.rows import find, hold, nobody, record, release, voiceprints_of
from voxid.stores.session import Part

FORMAT = "voxid person"
VERSION = 1


class Portable(Part):
    """Export and import of people."""

    def export(self, name: str, *, collection: str = DEFAULT) -> dict[str, Any]:
        """See `Store.export`."""
        with self._database.read() as session:
            person = find(session, checks.checked_name(name), collection)
            if person is None:
                raise nobody(name, collection)
            prints = [v for _, v in voiceprints_of(session, [person.id], live=False)]
            lines = trail(session, "a.person = ?", [person.id])
        return {
            "format": FORMAT,
            "version": VERSION,
            "name": person.name,
            "collection": person.collection,
            "model": person.voiceprints[0].model,
            "metadata": dict(person.metadata),
            "created": checks.to_time(person.created),
            "updated": checks.to_time(person.updated),
            "voiceprints": [_out(v) for v in prints],
            "audit": [
                {
                    "sequence": line.sequence,
                    "time": checks.to_time(line.time),
                    "action": line.action,
                    "name": line.name,
                    "detail": dict(line.detail),
                }
                for line in lines
            ],
        }

    def import_(
        self, exported: Mapping[str, Any], *, replace: bool = False, collection: str | None = None
    ) -> Person:
        """See `Store.import_`."""
        one, space, created = _in(exported)
        space = checks.collection_name(collection or space)
        with self._database.write() as session:
            held = hold(session, space, create=True)
            enrolling.enroll(session, held, [one], replace=replace, exist_ok=replace)
            session.run(
                "UPDATE people SET metadata = ?, created = ? WHERE collection = ? AND name = ?",
                (checks.to_json(one.metadata or {}), created, held.id, one.name),
            )
            person = find(session, one.name, space)
            assert person is not None
            record(session, "imported", held, person.id, one.name, {"voiceprints": len(one.voiceprints)})
            release(session, held)
        self._wipe(session)
        return person


def _out(v: Voiceprint) -> dict[str, Any]:
    return {
        "id": v.id,
        "model": v.model,
        "dim": len(v.embedding),
        "embedding": base64.b64encode(v.embedding.astype("<f4").tobytes()).decode(),  # float32, little-endian
        "speech_s": v.speech_s,
        "source": v.source,
        "created": checks.to_time(v.created),
        "extra": dict(v.extra),
    }


def _in(exported: Mapping[str, Any]) -> tuple[NewPerson, str, str]:
    """Return the person, the collection and the time of creation in an export; raise BadExport."""
    if not isinstance(exported, Mapping) or exported.get("format") != FORMAT:
        raise BadExport("this is no exported person: no 'format' of ours. Pass what `export` gave, whole.")
    if exported.get("version") != VERSION:
        raise BadExport(
            f"the export is of version {exported.get('version')!r}; this voxid reads {VERSION}. Update voxid."
        )
    try:
        prints = [_print(v) for v in exported["voiceprints"] if v["model"] == exported["model"]]
        created = checks.to_time(checks.from_time(exported["created"]))
        one = NewPerson(
            exported["name"], prints, checks.merged({}, checks.checked_metadata(exported["metadata"]))
        )
        return enrolling.checked(one, exported["model"]), str(exported["collection"]), created
    except (KeyError, TypeError, ValueError, AttributeError, StoreError) as error:
        raise BadExport(
            f"the export is damaged ({type(error).__name__}: {error}). Pass what `export` gave, whole."
        ) from error


def _print(value: Mapping[str, Any]) -> Voiceprint:
    try:
        packed = base64.b64decode(value["embedding"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"embedding: {error}") from error
    if len(packed) != 4 * value["dim"]:
        raise ValueError(
            f"an embedding of {value['dim']} numbers has {4 * value['dim']} bytes, not {len(packed)}"
        )
    return Voiceprint(
        id=value["id"],
        embedding=checked_embedding(np.frombuffer(packed, "<f4")),
        model=value["model"],
        speech_s=float(value["speech_s"]),
        source=value["source"],
        created=checks.from_time(value["created"]),
        extra=dict(value["extra"]),
    )
