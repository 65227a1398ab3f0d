"""A client of `voxid serve` with the verbs and the answers of `Recognizer`. Extra `serve`, no torch."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Self, Unpack
from urllib.parse import quote
from uuid import uuid4

import httpx
import numpy as np
import soundfile

from voxid import errors
from voxid.audio import Part, Source, is_one, load, name_of
from voxid.audio.sources import rereadable
from voxid.errors import ServiceError, VoxidError
from voxid.scoring.decision import RuleOptions
from voxid.stores import AuditEntry, Erasure, Person, Voiceprint
from voxid.timeline import Timeline, TimelineSpeaker, Turn
from voxid.types import SAMPLE_RATE, Candidate, Clip, Decision, Enrollment, Identification

TRIES = 4
NOT_SENT = np.zeros(0, np.float32)  # the embedding of a voiceprint of a service
NO_DECISION: dict[str | None, type[VoxidError]] = {
    "not_enough_speech": errors.TooLittleSpeech,
    "not_enrolled": errors.PersonNotFound,
    "opted_out": errors.OptedOut,
}


class Client:
    """A `Recognizer` whose people are those of one collection of a service at `url`.

    `key` is one that `voxid keys create` made. A service that is busy is asked again when it says so, up to
    `tries` times; enrolling twice is harmless. Errors are those of the library, by the service's codes;
    ServiceError for what it cannot be asked at all. Thread-safe.

    Example: `with Client("https://voices.example", key=KEY) as rec: rec.verify("alice", "a.wav").accepted`
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        collection: str = "default",
        timeout: float = 60.0,
        verify_tls: bool | str = True,
        tries: int = TRIES,
    ) -> None:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.url, self.collection, self._tries = url.rstrip("/"), collection, max(1, tries)
        self._http = httpx.Client(base_url=self.url, headers=headers, timeout=timeout, verify=verify_tls)

    # -- the three questions -----------------------------------------------------------------------------

    def enroll(self, name: str, audio: Any, *, replace: bool = False) -> Enrollment:
        """Return how much speech of `name` is enrolled, after adding clips."""
        clips = [audio] if is_one(audio) else list(audio)
        said = self._ask(
            "POST",
            self._person(name, "/recordings"),
            [("file", clip) for clip in clips],
            params={"replace": replace},
            headers={"Idempotency-Key": uuid4().hex},
        )
        return _made(Enrollment, {**said, "clips": tuple(_made(Clip, one) for one in said["clips"])})

    def verify(self, name: str, audio: Source, **options: Unpack[RuleOptions]) -> Decision:
        """Return whether `audio` is of `name`."""
        return _decision(self._ask("POST", self._person(name, "/verify"), [("file", audio)], params=options))

    def identify(self, audio: Source, *, top: int = 5, **options: Unpack[RuleOptions]) -> Identification:
        """Return who of the enrolled people speaks in `audio`, or unknown."""
        params = {"top": top, **options}
        said = self._ask("POST", self._path("/identify"), [("file", audio)], params=params)
        candidates = tuple(_made(Candidate, one) for one in said["candidates"])
        return _made(Identification, {**said, "candidates": candidates})

    def timeline(
        self, audio: Source, speakers: int | None = None, **options: Unpack[RuleOptions]
    ) -> Timeline:
        """Return who spoke when, under the names of enrolled people."""
        params = {"speakers": speakers, **options}
        said = self._ask("POST", self._path("/timeline"), [("file", audio)], params=params)
        turns = tuple(_made(Turn, one) for one in said["turns"])
        found = tuple(_made(TimelineSpeaker, one) for one in said["speakers"])
        return _made(Timeline, {**said, "turns": turns, "speakers": found})

    def compare(self, a: Source, b: Source, **options: Unpack[RuleOptions]) -> Decision:
        """Return whether one person speaks in both recordings."""
        return _decision(self._ask("POST", "/v1/compare", [("a", a), ("b", b)], params=options))

    def embed(self, audio: Source) -> list[float]:
        """Return the embedding of a recording."""
        return self._ask("POST", "/v1/embed", [("file", audio)])["embedding"]

    # -- the people ----------------------------------------------------------------------------------------

    def speakers(self, *, prefix: str | None = None) -> list[str]:
        """Return the names of all who are enrolled."""
        return [one["name"] for one in self._pages(prefix)]

    @property
    def where(self) -> str:
        """Where the people are, for messages."""
        return f"collection {self.collection!r} of {self.url}"

    def people(self, *, prefix: str | None = None) -> list[Person]:
        """Return all who are enrolled, by name."""
        return [self._made_person(one) for one in self._pages(prefix)]

    def _pages(self, prefix: str | None) -> Iterator[dict[str, Any]]:
        after: str | None = None
        while True:
            params = {"prefix": prefix, "after": after, "limit": 1000}
            found = self._ask("GET", self._path("/speakers"), params=params)
            yield from found["speakers"]
            if (after := found["next"]) is None:
                return

    def get(self, name: str) -> Person:
        """Return one person, with when and how much was recorded; embeddings stay with the service."""
        return self._made_person(self._ask("GET", self._person(name)))

    def rename(self, old: str, new: str) -> Person:
        """Return the renamed person."""
        return self._made_person(self._ask("PATCH", self._person(old), json={"name": new}))

    def delete(self, name: str) -> Erasure:
        """Delete everything that is stored about a person; return the receipt."""
        return _erasure(self._ask("DELETE", self._person(name)))

    def remove_clip(self, name: str, voiceprint: str) -> Person:
        """Return the person without one recording, named by `Clip.voiceprint`."""
        path = self._person(name, f"/recordings/{quote(voiceprint, safe='')}")
        return self._made_person(self._ask("DELETE", path))

    def export(self, name: str) -> dict[str, Any]:
        """Return everything that is stored about a person."""
        return self._ask("GET", self._person(name, "/export"))

    def opt_out(self, name: str) -> Erasure | None:
        """Refuse the voice of `name` from now on; return the receipt for what was held, None for nothing."""
        said = self._ask("PUT", self._person(name, "/opt-out"))
        return _erasure(said) if said["deleted"] else None

    def opt_in(self, name: str) -> None:
        """Let `name` be enrolled again."""
        self._ask("DELETE", self._person(name, "/opt-out"))

    def audit(self, name: str | None = None) -> list[AuditEntry]:
        """Return what was done, oldest first, a thousand lines at most."""
        lines = self._ask("GET", self._path("/audit"), params={"name": name, "limit": 1000})["lines"]
        return [
            _made(AuditEntry, {**line, "person": line["id"], "time": datetime.fromisoformat(line["time"])})
            for line in lines
        ]

    def adapt(self, recordings: list[Source]) -> dict[str, Any]:
        """Adapt the collection's decisions to recordings of other people; return what was heard."""
        return self._ask("PUT", self._path("/surroundings"), [("file", one) for one in recordings])

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _made_person(self, said: dict[str, Any]) -> Person:
        clips = [
            Voiceprint(**one | {"embedding": NOT_SENT, "created": datetime.fromisoformat(one["created"])})
            for one in said.get("recordings") or ()
        ]
        named_here = {
            "collection": self.collection,
            "created": datetime.fromisoformat(said["created"]),
            "updated": datetime.fromisoformat(said["updated"]),
            "revision": 0,
            "prints": said["voiceprints"],
            "speech_s": said["net_speech_s"],
            "voiceprints": tuple(clips),
        }
        return _made(Person, said | named_here)

    # -- the road --------------------------------------------------------------------------------------------

    def _path(self, rest: str) -> str:
        return f"/v1/collections/{quote(self.collection, safe='')}{rest}"

    def _person(self, name: str, rest: str = "") -> str:
        return self._path(f"/speakers/{quote(name, safe='')}{rest}")

    def _ask(
        self,
        method: str,
        path: str,
        audio: list[tuple[str, Any]] | None = None,
        *,
        params: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        files, channel = (None, None) if audio is None else _contents(audio)
        given = {**(params or {}), "channel": channel}
        asked = {key: value for key, value in given.items() if value is not None}
        for attempt in range(self._tries):
            last = attempt == self._tries - 1
            try:
                answer = self._http.request(method, path, params=asked, files=files, **more)
            except httpx.TransportError as error:
                if last or (method not in ("GET", "POST")):
                    raise ServiceError(
                        f"{self.url} cannot be reached ({error or type(error).__name__}). Is `voxid serve` "
                        "running there? Check the address."
                    ) from None
                time.sleep(0.2 * 2**attempt)
                continue
            if answer.status_code not in (429, 503) or last:
                return _said(answer)
            time.sleep(min(30.0, float(answer.headers.get("retry-after", 1))))
        raise AssertionError("the last try returns or raises")


def _said(answer: httpx.Response) -> dict[str, Any]:
    """Return what a service said; raise the error that a problem document names."""
    try:
        said = answer.json()
    except ValueError:
        raise ServiceError(
            f"the answer ({answer.status_code}) does not come from `voxid serve`. Check the URL."
        ) from None
    if answer.status_code < 400:
        if undecided := NO_DECISION.get(said.get("decision")):
            raise undecided(said["reason"])
        return said
    kind = getattr(errors, str(said.get("code")), None)
    detail = str(said.get("detail"))
    if isinstance(kind, type) and issubclass(kind, VoxidError):
        raise kind(detail)
    raise ServiceError(f"{said.get('code')}: {detail}")


def _contents(audio: list[tuple[str, Any]]) -> tuple[list[tuple[str, tuple[str, bytes]]], Any]:
    """Return recordings as files, and the channel that is meant of all of them.

    Stretches of recordings and samples in memory are sent as samples; so are all where a channel is meant
    that is not the same of each, since a request names one.
    """
    named = [Part.of(source) for _, source in audio]
    names = [os.path.basename(name_of(part.source)) or "recording" for part in named]  # noqa: PTH119
    parts = [replace(part, source=rereadable(part.source)) for part in named]
    contents = [_content(part) for part in parts]
    channels = {part.channel for part in parts}
    if channels != {None} and (len(channels) > 1 or None in contents):
        contents, channels = [None] * len(parts), {None}
    files = [_as_wav(part) if held is None else held for part, held in zip(parts, contents, strict=True)]
    fields = [field for field, _ in audio]
    return list(zip(fields, zip(names, files, strict=True), strict=True)), channels.pop()


def _content(part: Part) -> bytes | None:
    """Return the file that a whole recording is; None for a stretch of one, and for samples in memory."""
    inner = part.source
    if part.start_s or part.duration_s is not None:
        return None
    if isinstance(inner, str | os.PathLike):
        try:
            with open(inner, "rb") as file:  # noqa: PTH123 -- a path may be bytes
                return file.read()
        except OSError as error:
            raise errors.AudioNotFound(f"{name_of(inner)}: {error.strerror}. Check the path.") from None
    if isinstance(inner, bytes | bytearray | memoryview):
        return bytes(inner)
    return inner.read() if hasattr(inner, "read") else None  # type: ignore[union-attr]


def _as_wav(part: Part) -> bytes:
    """Return a WAV file of floats, mono at 16 kHz."""
    memory = io.BytesIO()
    soundfile.write(memory, load(part), SAMPLE_RATE, format="WAV", subtype="FLOAT")
    return memory.getvalue()


def _decision(said: dict[str, Any]) -> Decision:
    for name in ("speech_s", "net_speech_s"):
        said[name] = tuple(float("nan") if value is None else value for value in said[name])
    return _made(Decision, said)


def _erasure(said: dict[str, Any]) -> Erasure:
    return _made(Erasure, {**said, "person": said["id"], "time": datetime.fromisoformat(said["time"])})


def _made(kind: type[Any], said: dict[str, Any]) -> Any:
    """Return a value of the library from what a service said; what it says more is left out."""
    fields = {name: said[name] for name in kind.__dataclass_fields__ if name in said}
    if "warnings" in fields:
        fields["warnings"] = tuple(fields["warnings"])
    return kind(**fields)
