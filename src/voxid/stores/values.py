"""What goes into a store of enrolled people and comes out of it: the values, and the rules they keep.

A *collection* is a name space of people whose voiceprints were all made by one model. Everything that changes
a person is one transaction, moves the `sequence` of the collection on, and leaves a line in the audit trail.

# N voiceprints, D embedding
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

import numpy as np

from voxid.errors import BadName, BadVoiceprint, ModelMismatch, StoreError

DEFAULT = "default"  # the collection of those who do not name one
MOST_NAME = 1_000  # characters in a name
MOST_DIM = 16_000  # numbers in an embedding; what pgvector can store
MOST_METADATA = 1_000_000  # characters of JSON: notes on a person, not their files
LENGTHS = (1e-12, 1e12)  # of an embedding: squares of anything else overflow or vanish in float32
MOST_SPEECH_S = 1e9  # seconds of speech in a voiceprint: 31 years
YEARS = (1970, 9000)  # of a time that is brought in
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, eq=False)
class Voiceprint:
    """One embedding of a person's voice, and where it came from.

    `embedding` is float32 (D,), read-only; `model` the fingerprint of the model that made it; `speech_s` the
    seconds of net speech in it; `source` a label such as a file name. No audio is kept. `id` is made by
    whoever makes the voiceprint: enrolling the same one twice (after a lost connection) keeps it once.

    >>> [print_.source for print_ in rec.get("bob").voiceprints]
    ['bob.wav']
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

    Raise BadVoiceprint for an embedding that is not a vector of finite numbers, or whose length is almost 0.

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
    length = float(np.linalg.norm(emb_D.astype(np.float64)))
    if not LENGTHS[0] <= length <= LENGTHS[1]:
        raise BadVoiceprint(
            "the embedding is all zeros: it has no direction to compare. Embed the recording again."
            if length == 0
            else f"the embedding has the length {length:.3g}; from {LENGTHS[0]:g} to {LENGTHS[1]:g} can be "
            "compared, and models make lengths near 1 to 100. Embed the recording again."
        )
    emb_D.setflags(write=False)
    return emb_D


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody enrolled. `id` is never given to anybody else, and stays through renaming.

    `prints` and `speech_s` count all their voiceprints; `voiceprints` is empty where only a list was asked
    for. `revision` is the sequence of the last change to their voiceprints. `damaged` says, in lists, what
    of their row cannot be read; nothing else is known of such a person, who can still be deleted.

    >>> person = rec.get("alice")
    >>> person.prints, person.collection
    (2, 'default')
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
    damaged: str = ""


@dataclass(frozen=True, slots=True)
class NewPerson:
    """One person for `enroll_many`.

    >>> NewPerson("frank", [voiceprint([0.6, 0.8], model="m")]).name
    'frank'
    """

    name: str
    voiceprints: Sequence[Voiceprint]
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection: its model and size. `model` is "" and `dim` 0 while nobody was ever enrolled.

    >>> [info.name for info in rec.store.collections()]
    ['default']
    """

    name: str
    model: str
    dim: int
    people: int
    voiceprints: int
    sequence: int
    created: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """The latest change of one person: `kind` is "changed", or "deleted" (then `name` is empty).

    >>> Change(sequence=7, person=2, name="bob", collection="default", kind="changed").kind
    'changed'
    """

    sequence: int
    person: int
    name: str
    collection: str
    kind: Literal["changed", "deleted"]


@dataclass(frozen=True, slots=True)
class Changes:
    """Who changed since a sequence, oldest first, each person once.

    `latest` is the sequence to ask from next time. `reload` is True when the asker must read `matrix` again:
    the collection took another model, or the store is not the one that was asked before (a restored backup).

    >>> rec.store.changes(0).latest > 0
    True
    """

    changes: tuple[Change, ...]
    latest: int
    epoch: str
    reload: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Matrix:
    """Voiceprints in bulk, read in one snapshot: a person's together, oldest first, people by id.

    `rows_N` int64 are keys of voiceprints, never used twice; `people_N` int64 the ids of their people;
    `speech_N` float32 the seconds of speech in each; `emb_ND` float32. `sequence` and `epoch` are what to ask
    `changes` with. `damaged` are ids of people of whom voiceprints were left out, since they cannot be read
    or compared.

    >>> rec.store.matrix().emb_ND.shape[1]
    192
    """

    rows_N: np.ndarray
    people_N: np.ndarray
    speech_N: np.ndarray
    emb_ND: np.ndarray
    model: str
    sequence: int
    epoch: str
    damaged: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.rows_N)

    def take(self, rows: np.ndarray | slice) -> Matrix:
        """Return some of the rows.

        >>> len(rec.store.matrix().take(slice(0, 2)).rows_N)
        2
        """
        columns = (self.rows_N[rows], self.people_N[rows], self.speech_N[rows], self.emb_ND[rows])
        return Matrix(*columns, self.model, self.sequence, self.epoch, self.damaged)

    @classmethod
    def joined(cls, blocks: Sequence[Matrix]) -> Matrix:
        """Return the rows of several, at least one, of the snapshot of the first.

        >>> whole = rec.store.matrix()
        >>> len(Matrix.joined([whole.take(slice(0, 1)), whole.take(slice(1, 2))]).rows_N)
        2
        """
        columns = zip(*((b.rows_N, b.people_N, b.speech_N, b.emb_ND) for b in blocks), strict=True)
        rows_N, people_N, speech_N, emb_ND = (np.concatenate(column) for column in columns)
        damaged = tuple(sorted({person for block in blocks for person in block.damaged}))
        first = blocks[0]
        return cls(rows_N, people_N, speech_N, emb_ND, first.model, first.sequence, first.epoch, damaged)


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A voiceprint near a probe: whose it is, and the raw cosine.

    >>> [near.name for near in rec.store.nearest(model.embed("bob.wav"), top=1)]
    ['bob']
    """

    person: int
    name: str
    voiceprint: str
    cosine: float


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A line of the audit trail. After a person was deleted, `name` is empty in all lines about them.

    `person` is 0 for lines about a whole collection.

    >>> rec.audit("bob")[0].action
    'enrolled'
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

    >>> done = rec.enroll("carol", "alice3.wav")
    >>> rec.delete("carol").voiceprints
    1
    """

    person: int
    audit: int
    time: datetime
    voiceprints: int
    wiped: bool


@dataclass(frozen=True, slots=True)
class Upgrade:
    """How far a change of model has come: people whose new voiceprints are ready, of all people.

    >>> Upgrade("default", old="model-a", new="model-b", done=1, people=2).done
    1
    """

    collection: str
    old: str
    new: str
    done: int
    people: int


# -- what may be put in ------------------------------------------------------------------------------------


def checked_text(text: Any, what: str, most: int = MOST_METADATA) -> str:
    """Return text that every store can keep; raise ValueError that says why not."""
    if not isinstance(text, str):
        raise ValueError(f"{what} is text; got {type(text).__name__}.")
    if len(text) > most:
        raise ValueError(f"{what} has at most {most:,} characters; got {len(text):,}. Shorten it.")
    if "\0" in text:
        raise ValueError(
            f"{what} holds a NUL character, which PostgreSQL cannot keep; got {text!r}. Remove it."
        )
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError(f"{what} holds half a character (a lone surrogate); got {text!r}. Decode it again.")
    return text


def checked_name(name: Any, what: str = "a person's name") -> str:
    """Return `name` in NFC; raise BadName for what no store can keep.

    >>> checked_name("Zoe\\u0308") == checked_name("Zo\\u00eb")
    True
    """
    try:
        name = checked_text(
            unicodedata.normalize("NFC", name) if isinstance(name, str) else name, what, MOST_NAME
        )
    except ValueError as error:
        raise BadName(str(error)) from None
    if not name.strip():
        raise BadName(f"{what} is empty; got {name!r}. Give at least one character that is not a space.")
    return name


def collection_name(name: Any) -> str:
    """Return the name of a collection in NFC; raise BadName."""
    return checked_name(name, "a collection's name")


def checked_voiceprints(voiceprints: Sequence[Voiceprint], model: str | None, name: str) -> list[Voiceprint]:
    """Return the voiceprints, whole and of one model; raise BadVoiceprint or ModelMismatch."""
    sizes = {_checked_voiceprint(v, name) for v in voiceprints}
    if not sizes:
        raise BadVoiceprint(
            f"{name!r} has no voiceprint; at least one is needed. Enroll from one recording or more."
        )
    if len({v.id for v in voiceprints}) < len(voiceprints):
        raise BadVoiceprint(f"two of the voiceprints of {name!r} have one id. Give each an id of its own.")
    models = {v.model for v in voiceprints} | ({model} if model else set())
    if len(models) > 1:
        raise ModelMismatch(
            f"the voiceprints of {name!r} are of several models ({', '.join(sorted(models))}); "
            "all must be of one. Embed the recordings with one model."
        )
    if len(sizes) > 1:
        raise BadVoiceprint(f"the embeddings of {name!r} differ in size; one model makes one size.")
    return list(voiceprints)


def _checked_voiceprint(v: Any, name: str) -> int:
    """Return the size of a voiceprint's embedding; raise BadVoiceprint."""
    if not isinstance(v, Voiceprint):
        raise BadVoiceprint(f"a voiceprint of {name!r} is made by `voiceprint(...)`; got {type(v).__name__}.")
    try:
        for text, what in ((v.id, "id"), (v.model, "model"), (v.source, "source")):
            if not checked_text(text, f"the {what} of a voiceprint of {name!r}") and what != "source":
                raise ValueError(f"the {what} of a voiceprint of {name!r} is empty.")
    except ValueError as error:
        raise BadVoiceprint(str(error)) from None
    if not is_speech(v.speech_s):
        raise BadVoiceprint(
            f"seconds of speech are a number from 0 to {MOST_SPEECH_S:g}; got {v.speech_s!r} for {name!r}."
        )
    return checked_embedding(v.embedding).size


def is_speech(seconds: Any) -> bool:
    """Return whether this can be the seconds of speech in a recording."""
    return isinstance(seconds, int | float | np.number) and bool(0 <= seconds <= MOST_SPEECH_S)


def comparable(emb_ND: np.ndarray, speech_N: np.ndarray) -> np.ndarray:
    """Return which rows are what `checked_voiceprints` lets in, (N,) bool."""
    with np.errstate(over="ignore", invalid="ignore"):
        length_N = np.sqrt(np.einsum("nd,nd->n", emb_ND, emb_ND))
        return (
            (length_N >= LENGTHS[0])
            & (length_N <= LENGTHS[1])
            & (speech_N >= 0)
            & (speech_N <= MOST_SPEECH_S)
        )


def checked_metadata(metadata: Any) -> dict[str, Any]:
    """Return `metadata` as JSON gives it back; raise StoreError."""
    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        raise StoreError(f"metadata is a dict with text as keys; got {metadata!r:.200}.")
    try:
        return json.loads(to_json(metadata))
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"metadata holds what JSON cannot ({error}). Use text, numbers, lists and dicts."
        ) from None


def merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `old` with the keys of `changes` set, and those that are None there removed.

    >>> merged({"room": 1, "floor": 2}, {"room": None, "door": 3})
    {'floor': 2, 'door': 3}
    """
    new = {key: value for key, value in {**old, **changes}.items() if value is not None}
    if len(text := to_json(new)) > MOST_METADATA:
        raise StoreError(
            f"metadata has at most {MOST_METADATA:,} characters of JSON; got {len(text):,}. "
            "Keep large things elsewhere."
        )
    return new


# -- values as columns -------------------------------------------------------------------------------------


def to_json(value: Any) -> str:
    """Return `value` as one line of ASCII JSON; raise ValueError for NaN and infinity."""
    return _ENCODER.encode(dict(value)) if value else "{}"


def from_json(value: Any) -> dict[str, Any]:
    """Return the dict in a column: SQLite gives text, PostgreSQL the value; raise ValueError."""
    found = json.loads(value) if isinstance(value, str | bytes) else value
    if not isinstance(found, dict):
        raise ValueError(f"is not a JSON object: {value!r:.60}")
    return found


def now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


def to_time(value: datetime) -> str:
    """Return `value` as text that sorts: UTC, always with microseconds."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def from_time(value: Any) -> datetime:
    """Return the time in a column, UTC. Raise ValueError for what is none."""
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(found, datetime) or not YEARS[0] <= found.year < YEARS[1]:
        raise ValueError(f"is not a time: {value!r:.60}")
    return found.astimezone(UTC)


def without_password(text: str) -> str:
    """Return an address, or a text that quotes one, for messages.

    >>> without_password("postgresql://me:secret@host/people?password=secret&sslmode=require")
    'postgresql://me:***@host/people?password=***&sslmode=require'
    """
    text = re.sub(r"(//[^:@/?#]*):.*@", r"\1:***@", text, flags=re.DOTALL)
    return re.sub(r"(password\s*=\s*)('[^']*'|[^&\s\"']*)", r"\1***", text, flags=re.IGNORECASE)
