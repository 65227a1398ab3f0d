"""What a request brings: recordings, as multipart/form-data or as the raw body; nothing touches the disk.

Limits hold while the body streams in: whoever sends too much, too slowly or something else is told at once.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from voxid.server.problems import Refusal
from voxid.server.settings import Settings

MOST_FIELDS = 20
MOST_FIELD = 100_000  # bytes of a field that is no file
MOST_LABEL = 200  # characters of a file's name that are kept
RAW = ("audio/", "video/", "application/octet-stream", "application/ogg")
ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\r\n-_"


@dataclass(frozen=True, slots=True)
class Sent:
    """One recording as it was sent."""

    field: str
    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Body:
    """What a request brought: recordings in their order, other fields, the bytes of all."""

    files: tuple[Sent, ...]
    fields: dict[str, str] = field(default_factory=dict)
    size: int = 0

    def of(self, *names: str) -> list[Sent]:
        """Return the recordings of these fields, one each; raise Refusal for more or fewer."""
        found = [[one for one in self.files if one.field == name] for name in names]
        if any(len(some) != 1 for some in found) or len(self.files) != len(names):
            got = ", ".join(one.field for one in self.files) or "none"
            raise Refusal(
                400,
                "BadRequest",
                f"one recording is needed in {' and in '.join(names)}; got {got}. Send multipart/form-data, "
                f"for example: curl {' '.join(f'-F {name}=@{name}.wav' for name in names)} URL",
            )
        return [some[0] for some in found]


class _InMemory(MultiPartParser):
    """Starlette's parser, without its temporary files."""

    spool_max_size = 0  # no size is too large for memory: the body as a whole is limited


class Intake:
    """Reads bodies, within what each and all of them may hold."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self.held = settings, 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[Body]:
        """Yield what a request brought, and count its bytes as long as the block lasts; raise Refusal."""
        taken = _Counted(self, request)
        try:
            yield await self._read(request, taken)
        finally:
            self.held -= taken.size

    async def _read(self, request: Request, taken: _Counted) -> Body:
        kind = request.headers.get("content-type", "").lower()
        name = request.query_params.get("filename") or "recording"
        if kind.startswith("multipart/form-data"):
            return await self._multipart(request, taken)
        if kind.startswith("application/json"):
            raise _base64()
        if kind and not kind.startswith(RAW):
            raise Refusal(
                415,
                "NotAudio",
                f"a body of {kind.split(';')[0]!r:.80} is not taken. Send multipart/form-data (curl -F "
                "file=@me.wav), or the bytes of one recording with Content-Type: audio/wav.",
            )
        content = b"".join([chunk async for chunk in taken.stream()])
        return Body((_sent("file", name, content),), {}, taken.size)

    async def _multipart(self, request: Request, taken: _Counted) -> Body:
        parser = _InMemory(
            request.headers,
            taken.stream(),
            max_files=self._settings.files,
            max_fields=MOST_FIELDS,
            max_part_size=MOST_FIELD,
        )
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise Refusal(
                400, "BadRequest", f"the multipart body cannot be read: {error.message} Send it again."
            ) from None
        except (KeyError, ValueError, AssertionError, UnicodeError) as error:  # no boundary, broken headers
            raise Refusal(
                400, "BadRequest", f"the multipart body cannot be read ({error!s:.100}). Send it again."
            ) from None
        files, fields = [], {}
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.append(_sent(key, value.filename or "recording", value.file.read()))
                value.file.close()
            else:
                fields[key] = value
        if any(key in ("file", "a", "b") for key in fields):
            raise _base64()
        return Body(tuple(files), fields, taken.size)


class _Counted:
    """The bytes of one body, counted as they come."""

    def __init__(self, intake: Intake, request: Request) -> None:
        self._intake, self._request, self.size = intake, request, 0
        self._most = int(intake._settings.body_mb * 1e6)
        self._all = int(intake._settings.bodies_mb * 1e6)
        promised = request.headers.get("content-length", "0")
        if promised.isdigit() and int(promised) > self._most:
            raise self._too_large()

    async def stream(self) -> AsyncGenerator[bytes]:
        """Yield the body as it comes; raise Refusal when it is too much."""
        async for chunk in self._request.stream():
            self.size += len(chunk)
            self._intake.held += len(chunk)
            if self.size > self._most:
                raise self._too_large()
            if self._intake.held > self._all:
                raise Refusal(
                    429, "TooManyBytes", "other requests hold all the room there is. Try again.", retry_s=1
                )
            yield chunk

    def _too_large(self) -> Refusal:
        return Refusal(
            413,
            "BodyTooLarge",
            f"a request brings at most {self._most / 1e6:g} MB. Send fewer recordings, or FLAC or Opus.",
        )


def _sent(field_: str, name: str, content: bytes) -> Sent:
    label = name.replace("\\", "/").rsplit("/", 1)[-1][:MOST_LABEL].strip() or "recording"
    label = "".join(letter if letter.isprintable() else " " for letter in label)
    head = content[:4096]
    if head.startswith(b"data:") or (
        len(head) >= 64 and not head.translate(None, ALPHABET) and _decodes(head)
    ):
        raise _base64()
    return Sent(field_, label, content)


def _decodes(head: bytes) -> bool:
    """Return whether bytes are the beginning of base64 text."""
    packed = head.translate(None, b"\r\n").replace(b"-", b"+").replace(b"_", b"/")
    try:
        return bool(base64.b64decode(packed[: len(packed) // 4 * 4], validate=True))
    except binascii.Error:
        return False


def _base64() -> Refusal:
    return Refusal(
        415,
        "Base64Audio",
        "audio as text (base64, JSON) is not taken: it is a third larger and has to be held twice. Send the "
        "file itself: curl -F file=@me.wav URL, or the raw bytes with Content-Type: audio/wav.",
    )


def channel_of(text: str | None) -> int | Literal["mix"] | None:
    """Return the channel that a request asked for; raise Refusal."""
    if text is None or text == "":
        return None
    if text == "mix":
        return "mix"
    if text.isascii() and text.isdigit() and int(text) < 32:
        return int(text)
    raise Refusal(
        400,
        "BadConfig",
        f"channel is a number counted from 0, or mix; got {text!r:.50}. Leave it out for mono.",
    )
