"""A person as a value that JSON can hold: all that is held on them, to hand out and to bring back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from voxid.errors import StoreError
from voxid.stores.held import checked
from voxid.stores.values import (
    AuditEntry,
    NewPerson,
    Person,
    Voiceprint,
    checked_embedding,
    checked_metadata,
    from_time,
    merged,
    to_time,
)

FORMAT = "voxid person"
VERSION = 1


def exported(person: Person, model: str, lines: Sequence[AuditEntry]) -> dict[str, Any]:
    """Return a person with all their voiceprints (of the model in use and others), and their trail."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": person.name,
        "collection": person.collection,
        "model": model,
        "metadata": dict(person.metadata),
        "created": to_time(person.created),
        "updated": to_time(person.updated),
        "voiceprints": [_out(v) for v in person.voiceprints],
        "audit": [
            {
                "sequence": line.sequence,
                "time": to_time(line.time),
                "action": line.action,
                "name": line.name,
                "detail": dict(line.detail),
            }
            for line in lines
        ],
    }


def _out(v: Voiceprint) -> dict[str, Any]:
    return {
        "id": v.id,
        "model": v.model,
        "dim": len(v.embedding),
        "embedding": base64.b64encode(v.embedding.astype("<f4").tobytes()).decode(),  # float32, little-endian
        "speech_s": v.speech_s,
        "source": v.source,
        "created": to_time(v.created),
        "extra": dict(v.extra),
    }


def imported(value: Mapping[str, Any]) -> tuple[NewPerson, str, str]:
    """Return the person, the collection and the time of creation in an export; raise StoreError."""
    if not isinstance(value, Mapping) or value.get("format") != FORMAT:
        raise StoreError(
            "this is not an exported person: it has no 'format' of voxid. Pass what `export` gave, whole."
        )
    if value.get("version") != VERSION:
        raise StoreError(
            f"the export is of version {value.get('version')!r}; this voxid reads {VERSION}. Update voxid."
        )
    try:
        prints = [_voiceprint(v) for v in value["voiceprints"] if v["model"] == value["model"]]
        metadata = merged({}, checked_metadata(value["metadata"]))
        one = checked(NewPerson(value["name"], prints, metadata), value["model"])
        return one, str(value["collection"]), to_time(from_time(value["created"]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, StoreError) as error:
        name = value.get("name")
        raise StoreError(
            f"the export of {name!r:.200} cannot be taken ({type(error).__name__}: {error!s:.300}). "
            "Pass what `export` gave, whole."
        ) from error


def _voiceprint(value: Mapping[str, Any]) -> Voiceprint:
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
        created=from_time(value["created"]),
        extra=checked_metadata(value["extra"]),
    )
