"""What a request brings: recordings, as multipart/form-data or as the raw body; nothing touches the disk.

Limits of size and time hold while the body streams in (`app.Exchange`).
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Literal

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from voxid.server.problems import Refusal

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
    """What a request brought: recordings in their order, and other fields."""

    files: tuple[Sent, ...]
    fields: dict[str, str] = field(default_factory=dict)

    def of(self, *names: str) -> list[Sent]:
        """Return the recordings of these fields, one each; without names all. Raise Refusal for others."""
        got = [one.field for one in self.files]
        if sorted(got) != sorted(names) if names else not got:
            wanted = names or ("file",)
            raise Refusal(
                400,
                "BadRequest",
                f"one recording is needed in {' and in '.join(wanted)}; got {', '.join(got) or 'none'}. Send "
                "multipart/form-data, for example: "
                f"curl {' '.join(f'-F {name}=@{name}.wav' for name in wanted)} URL",
            )
        return sorted(self.files, key=lambda one: names.index(one.field)) if names else list(self.files)


class _InMemory(MultiPartParser):
    """Starlette's parser, without its temporary files."""

    spool_max_size = 0  # no size is too large for memory: the body as a whole is limited


async def read(request: Request, most_files: int) -> Body:
    """Return what a request brought; raise Refusal for what is no recording."""
    kind = request.headers.get("content-type", "").lower()
    if kind.startswith("multipart/form-data"):
        return await _multipart(request, most_files)
    if kind.startswith("application/json"):
        raise _base64()
    if kind and not kind.startswith(RAW):
        raise Refusal(
            415,
            "NotAudio",
            f"a body of {kind.split(';')[0]!r:.80} is not taken. Send multipart/form-data (curl -F "
            "file=@me.wav), or the bytes of one recording with Content-Type: audio/wav.",
        )
    name = request.query_params.get("filename") or "recording"
    return Body((_sent("file", name, await request.body()),))


async def _multipart(request: Request, most_files: int) -> Body:
    options = {"max_files": most_files, "max_fields": MOST_FIELDS, "max_part_size": MOST_FIELD}
    try:
        form = await _InMemory(request.headers, request.stream(), **options).parse()
    except MultiPartException as error:
        raise _unreadable(error.message) from None
    except (KeyError, ValueError, AssertionError, UnicodeError) as error:  # no boundary, broken headers
        raise _unreadable(f"{error!s:.100}") from None
    files, fields = [], {}
    for key, value in form.multi_items():
        if isinstance(value, UploadFile):
            files.append(_sent(key, value.filename or "recording", value.file.read()))
            value.file.close()
        else:
            fields[key] = value
    if any(key in ("file", "a", "b") for key in fields):
        raise _base64()
    return Body(tuple(files), fields)


def _unreadable(said: str) -> Refusal:
    return Refusal(400, "BadRequest", f"the multipart body cannot be read ({said}). Send it again.")


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
