"""What a store of enrolled people is: the values that go in and out, and the protocol every store keeps.

A *collection* is a name space of people whose voiceprints were all made by one model. Everything that changes
a person is one transaction, moves the `sequence` of the collection on, and leaves a line in the audit trail.

# N voiceprints, D embedding
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, Self, runtime_checkable
from uuid import uuid4

import numpy as np

from voxid.errors import BadVoiceprint

DEFAULT = "default"  # the collection of those who do not name one
MOST_NAME = 1_000  # characters in a name
MOST_DIM = 16_000  # numbers in an embedding; what pgvector can store


@dataclass(frozen=True, slots=True, eq=False)
class Voiceprint:
    """One embedding of a person's voice, and where it came from.

    `embedding` is float32 (D,), read-only; `model` the fingerprint of the model that made it; `speech_s` the
    seconds of net speech in it; `source` a label such as a file name. No audio is kept. `id` is made by
    whoever makes the voiceprint: enrolling the same one twice (after a lost connection) keeps it once.
    """

    id: str
    embedding: np.ndarray
    model: str
    speech_s: float = 0.0
    source: str = ""
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Voiceprint):
            return NotImplemented
        mine, its = ((v.id, v.model, v.speech_s, v.source, v.created, v.extra) for v in (self, other))
        return mine == its and np.array_equal(self.embedding, other.embedding)

    def __hash__(self) -> int:
        return hash((self.id, self.model))


def voiceprint(
    embedding: Any,
    *,
    model: str,
    speech_s: float = 0.0,
    source: str = "",
    extra: Mapping[str, Any] | None = None,
    id: str | None = None,
) -> Voiceprint:
    """Return a new Voiceprint with an id of its own, made now. `embedding`: any (D,) of numbers.

    Raise BadVoiceprint for an embedding that is no vector of finite numbers, or is all zeros.

    >>> voiceprint([3.0, 4.0], model="abc").embedding.tolist()
    [3.0, 4.0]
    """
    return Voiceprint(
        id=uuid4().hex if id is None else id,
        embedding=checked_embedding(embedding),
        model=model,
        speech_s=float(speech_s),
        source=source,
        extra=dict(extra or {}),
    )


def checked_embedding(embedding: Any, *, dim: int | None = None) -> np.ndarray:
    """Return `embedding` as a read-only float32 (D,) of its own; raise BadVoiceprint that says why not."""
    try:
        emb_D = np.array(embedding, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise BadVoiceprint(f"an embedding is a row of numbers; got {type(embedding).__name__}.") from error
    if emb_D.ndim != 1 or not 1 <= emb_D.size <= MOST_DIM:
        raise BadVoiceprint(
            f"an embedding has the shape (D,), D from 1 to {MOST_DIM:,}; got {emb_D.shape}. "
            "Pass what `model.embed` gave, one recording at a time."
        )
    if dim is not None and emb_D.size != dim:
        raise BadVoiceprint(
            f"the embedding has {emb_D.size} numbers; the collection holds embeddings of {dim}. "
            "Use the model the collection was made with."
        )
    if not np.isfinite(emb_D).all():
        raise BadVoiceprint(
            f"the embedding holds {int((~np.isfinite(emb_D)).sum())} numbers that are NaN or infinite; "
            "only finite ones can be compared. Embed the recording again."
        )
    if not emb_D.any():
        raise BadVoiceprint(
            "the embedding is all zeros: it has no direction to compare. Embed the recording again."
        )
    emb_D.setflags(write=False)
    return emb_D


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody enrolled. `id` is never given to anybody else, and stays through renaming.

    `prints` and `speech_s` count all their voiceprints; `voiceprints` is empty where only a list was asked
    for. `revision` is the sequence of the last change to their voiceprints.
    """

    id: int
    name: str
    collection: str
    metadata: Mapping[str, Any]
    created: datetime
    updated: datetime
    revision: int
    prints: int
    speech_s: float
    voiceprints: tuple[Voiceprint, ...] = ()


@dataclass(frozen=True, slots=True)
class NewPerson:
    """One person for `enroll_many`."""

    name: str
    voiceprints: Sequence[Voiceprint]
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection: its model and size. `model` is "" and `dim` 0 while nobody was ever enrolled."""

    name: str
    model: str
    dim: int
    people: int
    voiceprints: int
    sequence: int
    created: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """The latest change of one person: `kind` is "changed", or "deleted" (then `name` is empty)."""

    sequence: int
    person: int
    name: str
    collection: str
    kind: Literal["changed", "deleted"]


@dataclass(frozen=True, slots=True)
class Changes:
    """Who changed since a sequence, oldest first, each person once.

    `latest` is the sequence to ask from next time. `reload` is True when the asker must read `matrix` anew:
    the collection took another model, or the store is not the one that was asked before (a restored backup).
    """

    changes: tuple[Change, ...]
    latest: int
    epoch: str
    reload: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Voiceprints for an index, read in one snapshot.

    `rows_N` int64 are keys of voiceprints, never used twice; `people_N` int64 the ids of their people;
    `speech_N` float32 the seconds of speech in each; `emb_ND` float32. `sequence` and `epoch` are what to ask
    `changes` with.
    """

    rows_N: np.ndarray
    people_N: np.ndarray
    speech_N: np.ndarray
    emb_ND: np.ndarray
    model: str
    sequence: int
    epoch: str

    def __len__(self) -> int:
        return len(self.rows_N)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A voiceprint near a probe: whose it is, and the raw cosine."""

    person: int
    name: str
    voiceprint: str
    cosine: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of the audit trail. After a person was deleted, `name` is empty in all lines about them.

    `person` is 0 for lines about a whole collection.
    """

    sequence: int
    time: datetime
    action: str
    collection: str
    person: int
    name: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Erasure:
    """The receipt of a deletion: the audit entry that records it, and what was removed.

    `wiped` is False when the bytes could not yet be wiped from the disk because another process was reading;
    that is then done at the next chance, or by `purge`.
    """

    person: int
    audit: int
    time: datetime
    voiceprints: int
    wiped: bool


@dataclass(frozen=True, slots=True)
class Upgrade:
    """How far a change of model has come: people whose new voiceprints are ready, of all people."""

    collection: str
    old: str
    new: str
    done: int
    people: int


@runtime_checkable
class Store(Protocol):
    """Who is enrolled. Thread-safe; any number of processes may use one store at once.

    Names are unicode in NFC, 1 to 1,000 characters, any but NUL. Every method may raise StoreBusy (another
    process held the store too long), StoreUnavailable (the server or file cannot be reached), StoreDamaged,
    and those that write NotWritable and DiskFull; then nothing has changed.
    """

    url: str

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
        BadVoiceprint, BadName, BadMetadata, and PersonExists when `exist_ok` is False.
        """
        ...

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
        ...

    def get(self, name: str, *, collection: str = DEFAULT) -> Person:
        """Return the person with their voiceprints, oldest first; raise PersonNotFound."""
        ...

    def find(self, name: str, *, collection: str = DEFAULT) -> Person | None:
        """Return the person with their voiceprints, or None when there is nobody of that name."""
        ...

    def people(
        self,
        *,
        prefix: str | None = None,
        after: str | None = None,
        limit: int | None = None,
        voiceprints: bool = False,
        collection: str = DEFAULT,
    ) -> list[Person]:
        """Return people in the order of the code points of their names: with `prefix`, after `after`."""
        ...

    def people_by_id(self, ids: Iterable[int], *, voiceprints: bool = False) -> dict[int, Person]:
        """Return id -> person for those ids that exist."""
        ...

    def count(self, *, collection: str = DEFAULT) -> int:
        """Return how many people are enrolled; 0 for a collection that does not exist."""
        ...

    def rename(self, old: str, new: str, *, collection: str = DEFAULT) -> Person:
        """Return the renamed person; raise PersonNotFound, PersonExists, BadName."""
        ...

    def update_metadata(self, name: str, changes: Mapping[str, Any], *, collection: str = DEFAULT) -> Person:
        """Return the person after setting the keys of `changes`; a key whose value is None is removed."""
        ...

    def delete(self, name: str, *, collection: str = DEFAULT) -> Erasure:
        """Remove everything held on a person and return the receipt; raise PersonNotFound."""
        ...

    def delete_voiceprint(self, name: str, id: str, *, collection: str = DEFAULT) -> Person:
        """Return the person without that voiceprint; raise VoiceprintNotFound, LastVoiceprint."""
        ...

    def collections(self) -> list[CollectionInfo]:
        """Return all collections by name."""
        ...

    def model(self, *, collection: str = DEFAULT) -> str | None:
        """Return the fingerprint of the model a collection was made with; None while nobody is in it."""
        ...

    def export(self, name: str, *, collection: str = DEFAULT) -> dict[str, Any]:
        """Return everything held on a person, audit trail too, as values that JSON can hold."""
        ...

    def import_(
        self, exported: Mapping[str, Any], *, replace: bool = False, collection: str | None = None
    ) -> Person:
        """Return the person that `export` described, put (back) into `collection` or the one exported from.

        Raise BadExport for a value that `export` did not make, PersonExists unless `replace`, ModelMismatch.
        """
        ...

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
        ...

    def changes(self, after: int, *, epoch: str = "", collection: str = DEFAULT) -> Changes:
        """Return who changed after the sequence `after`, so that an index elsewhere can follow.

        Pass the `epoch` of the `Matrix` or `Changes` that `after` came from; see `Changes.reload`.
        """
        ...

    def matrix(self, *, people: Iterable[int] | None = None, collection: str = DEFAULT) -> Matrix:
        """Return the voiceprints of a collection, or of some people in it, in one snapshot."""
        ...

    def matrix_blocks(self, *, rows: int = 65_536, collection: str = DEFAULT) -> Iterator[Matrix]:
        """Yield the voiceprints of a collection in blocks of up to `rows`, all of one snapshot."""
        ...

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
        ...

    def begin_upgrade(self, model: str, *, dim: int, collection: str = DEFAULT) -> Upgrade:
        """Begin, or go on with, the change of a collection to another model. The old one stays in use.

        Raise ModelMismatch when a change to a third model is under way.
        """
        ...

    def upgrade(self, *, collection: str = DEFAULT) -> Upgrade | None:
        """Return how far the change of model is, or None when none is under way."""
        ...

    def upgrade_pending(
        self, *, after: str | None = None, limit: int = 100, collection: str = DEFAULT
    ) -> list[Person]:
        """Return people, with their old voiceprints, whose new ones are missing or out of date; by name."""
        ...

    def upgrade_person(
        self, person: Person, voiceprints: Sequence[Voiceprint], *, collection: str = DEFAULT
    ) -> bool:
        """Keep the new voiceprints of a person from `upgrade_pending`, in one transaction.

        False: the person was changed or deleted in the meantime; ask `upgrade_pending` again.
        """
        ...

    def finish_upgrade(
        self, *, missing: Literal["refuse", "delete"] = "refuse", collection: str = DEFAULT
    ) -> Upgrade:
        """Put the new model into use and remove the old voiceprints, in one transaction.

        `missing`: people without new voiceprints are an error (UpgradeIncomplete), or are deleted.
        """
        ...

    def cancel_upgrade(self, *, collection: str = DEFAULT) -> None:
        """Remove the new voiceprints; the old model stays."""
        ...

    def purge(self) -> bool:
        """Wipe what deletions left on the disk; True when nothing is left (docs/stores.md says how far)."""
        ...

    def optimize(self, *, collection: str = DEFAULT) -> None:
        """Prepare for fast answers: statistics, and in PostgreSQL the HNSW index of a large collection."""
        ...

    def close(self) -> None:
        """Close every connection. Closing twice is harmless; using a closed store raises StoreUnavailable."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...
