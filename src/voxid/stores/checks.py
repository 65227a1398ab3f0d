"""What may be put into a store, and how values become columns: the same rules for every store."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from voxid.errors import BadMetadata, BadName, BadVoiceprint, ModelMismatch
from voxid.stores.protocol import MOST_NAME, Voiceprint, checked_embedding

_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
MOST_METADATA = 1_000_000  # characters of JSON: notes on a person, not their files


def checked_name(name: Any, what: str = "a person's name") -> str:
    """Return `name` in NFC; raise BadName for what no store can keep.

    >>> checked_name("Zoe\\u0308") == checked_name("Zo\\u00eb")
    True
    """
    if not isinstance(name, str):
        raise BadName(f"{what} is text; got {type(name).__name__}.")
    name = unicodedata.normalize("NFC", name)
    if not name.strip():
        raise BadName(f"{what} is empty; got {name!r}. Give at least one character that is no space.")
    if len(name) > MOST_NAME:
        raise BadName(f"{what} has at most {MOST_NAME:,} characters; got {len(name):,}. Shorten it.")
    if "\0" in name:
        raise BadName(f"{what} holds a NUL character, which PostgreSQL cannot keep; got {name!r}. Remove it.")
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise BadName(f"{what} holds half a character (a lone surrogate); got {name!r}. Decode it anew.")
    return name


def collection_name(name: Any) -> str:
    """Return the name of a collection in NFC; raise BadName."""
    return checked_name(name, "a collection's name")


def checked_voiceprints(voiceprints: Sequence[Voiceprint], model: str | None, name: str) -> list[Voiceprint]:
    """Return the voiceprints, whole and of one model; raise BadVoiceprint or ModelMismatch."""
    whole = []
    for v in voiceprints:
        if not isinstance(v, Voiceprint):
            raise BadVoiceprint(
                f"a voiceprint of {name!r} is made by `voiceprint(...)`; got {type(v).__name__}."
            )
        if not isinstance(v.model, str) or not v.model or "\0" in v.model:
            raise BadVoiceprint(
                f"a voiceprint of {name!r} does not say which model made it; got {v.model!r}."
            )
        if not v.speech_s >= 0 or v.speech_s == float("inf"):
            raise BadVoiceprint(f"seconds of speech are a number from 0; got {v.speech_s!r} for {name!r}.")
        if not v.id or "\0" in v.id or "\0" in v.source:
            raise BadVoiceprint(f"a voiceprint of {name!r} has an empty id, or NUL in its id or source.")
        whole.append((v, checked_embedding(v.embedding)))
    if not whole:
        raise BadVoiceprint(
            f"{name!r} has no voiceprint; at least one is needed. Enroll from one recording or more."
        )
    if len({v.id for v, _ in whole}) < len(whole):
        raise BadVoiceprint(f"two of the voiceprints of {name!r} have one id. Give each an id of its own.")
    models = {v.model for v, _ in whole} | ({model} if model else set())
    if len(models) > 1:
        raise ModelMismatch(
            f"the voiceprints of {name!r} are of several models ({', '.join(sorted(models))}); "
            "all must be of one. Embed the recordings with one model."
        )
    if len({emb_D.size for _, emb_D in whole}) > 1:
        raise BadVoiceprint(f"the embeddings of {name!r} differ in size; one model makes one size.")
    return [v for v, _ in whole]


def checked_metadata(metadata: Any) -> dict[str, Any]:
    """Return `metadata` as JSON gives it back; raise BadMetadata."""
    if not isinstance(metadata, Mapping) or not all(isinstance(key, str) for key in metadata):
        raise BadMetadata(f"metadata is a dict with text as keys; got {metadata!r:.200}.")
    try:
        return json.loads(to_json(metadata))
    except (TypeError, ValueError, RecursionError) as error:
        raise BadMetadata(
            f"metadata holds what JSON cannot ({error}). Use text, numbers, lists and dicts."
        ) from None


def merged(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `old` with the keys of `changes` set, and those that are None there removed.

    >>> merged({"room": 1, "floor": 2}, {"room": None, "door": 3})
    {'floor': 2, 'door': 3}
    """
    new = {key: value for key, value in {**old, **changes}.items() if value is not None}
    if len(text := to_json(new)) > MOST_METADATA:
        raise BadMetadata(
            f"metadata has at most {MOST_METADATA:,} characters of JSON; got {len(text):,}. "
            "Keep large things elsewhere."
        )
    return new


def to_json(value: Any) -> str:
    """Return `value` as one line of ASCII JSON; raise ValueError for NaN and infinity."""
    return _ENCODER.encode(dict(value)) if value else "{}"


def from_json(value: Any) -> dict[str, Any]:
    """Return the dict in a column: SQLite gives text, PostgreSQL the value."""
    return json.loads(value) if isinstance(value, str | bytes) else value


def now() -> datetime:
    """Return the time, UTC."""
    return datetime.now(UTC)


def to_time(value: datetime) -> str:
    """Return `value` as text that sorts: UTC, always with microseconds."""
    return value.astimezone(UTC).isoformat(timespec="microseconds")


def from_time(value: Any) -> datetime:
    """Return the time in a column, UTC."""
    return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


def after_prefix(prefix: str) -> str | None:
    """Return the smallest text greater than all that start with `prefix`; None when there is none.

    >>> after_prefix("ab")
    'ac'
    """
    letters = prefix.rstrip("\U0010ffff")
    if not letters:
        return None
    following = ord(letters[-1]) + 1
    return letters[:-1] + chr(0xE000 if following == 0xD800 else following)


def marks(values: Iterable[Any]) -> str:
    """Return "?,?,?": a placeholder for each value."""
    return ",".join("?" for _ in values)
