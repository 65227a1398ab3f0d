"""Does a file end before its own container says it does? Decoders often hide it and return what is there."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

# Sizes that recorders write while the length is still unknown (a pipe, a live stream): no promise to break.
_UNKNOWN_FROM = 0x7FFFF000
_OGG_PAGE_MAX = 27 + 255 + 255 * 255  # bytes: header, segment table, body (RFC 3533)


def breaks_off(file: BinaryIO) -> str | None:
    """Return a sentence when the container of `file` shows that its end is missing, else None.

    Knows RIFF/RF64 (WAV), FORM (AIFF) and Ogg (RFC 3533); other formats are judged by their decoder.
    The position of `file` is moved.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    magic = file.read(12)
    if magic[:4] in (b"RIFF", b"RF64") and magic[8:] == b"WAVE":
        return _chunks_break_off(file, size, "<I", b"data")
    if magic[:4] == b"FORM" and magic[8:12] in (b"AIFF", b"AIFC"):
        return _chunks_break_off(file, size, ">I", b"SSND")
    if magic[:4] == b"OggS":
        return _ogg_breaks_off(file, size)
    return None


def _chunks_break_off(file: BinaryIO, size: int, number: str, wanted: bytes) -> str | None:
    """Walk the chunks up to the one with the samples, and compare its length with what is there."""
    position, long_size = 12, None
    while position + 8 <= size:
        file.seek(position)
        header = file.read(8)
        name, length = header[:4], struct.unpack(number, header[4:])[0]
        if name == b"ds64":  # RF64 keeps 64-bit lengths here: RIFF size, then data size
            sizes = file.read(16)
            long_size = struct.unpack("<QQ", sizes)[1] if len(sizes) == 16 else None
        if name == wanted:
            if length >= _UNKNOWN_FROM:
                length = long_size or 0
            there = size - position - 8
            if length > there:
                return f"its header promises {length} bytes of samples, and {there} are there"
            return None
        position += 8 + length + length % 2
    return f"it ends before its {wanted.decode()} chunk"


def _ogg_breaks_off(file: BinaryIO, size: int) -> str | None:
    """Look at the last page: it must be whole and carry the end-of-stream flag."""
    file.seek(max(0, size - _OGG_PAGE_MAX))
    tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:] if start >= 0 else b""
    segments = page[26] if len(page) > 26 else 0
    table = page[27 : 27 + segments]
    if len(page) <= 26 or len(table) < segments or len(page) < 27 + segments + sum(table):
        return "its last Ogg page is cut"
    if not page[5] & 0x04:
        return "its last Ogg page is not marked as the end of the stream"
    return None


def foreign_format(file: BinaryIO) -> str:
    """Return the name of a well-known format that voxid does not read, or an empty string."""
    file.seek(0)
    head = file.read(12)
    if head[4:8] == b"ftyp":
        return "MPEG-4 (m4a, mp4)"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "WebM or Matroska"
    if head[:4] == b"\x30\x26\xb2\x75":
        return "Windows Media (wma)"
    if head[:2] in (b"\xff\xf1", b"\xff\xf9"):
        return "raw AAC"
    return ""


def states_length(file: BinaryIO) -> bool:
    """Return whether the container states its length; for an MP3 without Xing or Info it is a guess.

    The guess is good at a constant bit rate. At a varying one (an encoder that writes no Xing header then is
    rare) libsndfile reads as far as it guessed.
    """
    file.seek(0)
    head = file.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:  # tags come first; their size is 4 x 7 bits (ID3v2)
        start = 10 + sum(byte << 7 * (3 - place) for place, byte in enumerate(head[6:10]))
    file.seek(start)
    frame = file.read(64)
    if not (frame[:1] == b"\xff" and frame[1:2] and frame[1] & 0xE6 == 0xE2):  # MPEG audio, layer III
        return True
    return b"Xing" in frame or b"Info" in frame
