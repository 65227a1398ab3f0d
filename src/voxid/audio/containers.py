"""What a container says of its sound, held against the bytes that are there.

Decoders believe a header and hide what is missing: they stop where it says the end is, and skip what is
damaged. `survey` looks at the container first. Where a writer was only sloppy (a length that is wrong or was
never filled in, an end that is not marked, files appended to one another) it gives views of the file that a
decoder reads to the end. Where sound is missing or damaged it raises AudioTruncated and says how much.

Formats: RIFF, RIFX, RF64 (WAV), FORM (AIFF), Ogg (RFC 3533), FLAC (RFC 9639), MPEG audio with ID3v2 and Xing.
"""

from __future__ import annotations

import io
import re
import struct
from typing import BinaryIO

from voxid.audio.streams import frame_at, mpeg, ogg
from voxid.audio.views import BLOCK, Survey, View
from voxid.errors import AudioTruncated, AudioUndecodable

MAX_CHUNKS = 10_000  # of a WAV or AIFF file; real ones have a few

# Sizes that recorders write while the length is still unknown (a pipe, a live stream): no promise to break.
_UNKNOWN_FROM = 0x7FFFF000
_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_FLAC_BLOCK = (0, 192, 576, 1152, 2304, 4608, 0, 0, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


def survey(file: BinaryIO, name: str) -> Survey:
    """Return what is in `file`; raise AudioTruncated or AudioUndecodable. The position of `file` is moved."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(4096)
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:12] == b"WAVE":
        return _chunks(file, name, size, ">I" if head[:4] == b"RIFX" else "<I", b"data")
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _chunks(file, name, size, ">I", b"SSND")
    if head[:4] == b".snd" and len(head) >= 24:
        start, length = struct.unpack(">II", head[4:12])
        return _samples_of(file, size, start, length)
    if head[:16] == _W64_RIFF:
        return _w64(file, size)
    if head[:4] == b"OggS":
        return ogg(file, name, size)
    if head[:4] == b"fLaC":
        return _flac(file, size)
    if foreign := _foreign(head):
        return Survey([file], foreign=foreign)
    if head[:3] == b"ID3" or frame_at(head[:4]):
        return mpeg(file, name, size)
    if head[:4] not in (b".snd", b"dns.") and _is_text(head):
        raise AudioUndecodable(f"{name}: it is text, not sound. Give the path of a recording.")
    return Survey([file])


def _foreign(head: bytes) -> str:
    """Return the name of a well-known format that libsndfile does not read, or an empty string."""
    if head[4:8] == b"ftyp":
        return "MPEG-4 (m4a, mp4)"
    known = {
        b"\x1a\x45\xdf\xa3": "WebM or Matroska",
        b"\x30\x26\xb2\x75": "Windows Media (wma)",
        b"#!AMR": "AMR",
        b"#!SILK": "SILK",
        b"\x0b\x77": "AC-3",
        b"\xff\xf1": "raw AAC",
        b"\xff\xf9": "raw AAC",
    }
    return next((words for magic, words in known.items() if head.startswith(magic)), "")


def _is_text(head: bytes) -> bool:
    """Return whether bytes are words: a decoder takes a file without a header for samples, by its name."""
    printable = sum(32 <= byte < 127 or byte in b"\t\r\n\f" for byte in head)
    if printable >= 0.97 * len(head):
        return True
    try:
        return "\0" not in head[:-3].decode() and printable > 0.5 * len(head)
    except UnicodeDecodeError:
        return False


# -- WAV and AIFF ------------------------------------------------------------------------------------------


def _chunks(file: BinaryIO, name: str, size: int, number: str, wanted: bytes) -> Survey:
    """Walk the chunks to the one with the samples, hold its length against what is there, and look behind."""
    position, long_size = 12, None
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8 or not _is_name(header[:4]):
            break
        length = struct.unpack(number, header[4:])[0]
        if header[:4] == b"ds64":  # RF64 keeps 64-bit lengths here: RIFF size, then data size
            sizes = file.read(16)
            long_size = struct.unpack("<QQ", sizes)[1] if len(sizes) == 16 else None
        if header[:4] == b"fmt ":
            _check_fmt(file.read(26), name, number)
        if header[:4] == wanted:
            if length >= _UNKNOWN_FROM:
                length = size - position - 8 if long_size is None else long_size
            return _samples(file, size, position + 8, length, number)
        position += 8 + length + length % 2
    if position >= size:
        raise AudioTruncated(
            f"{name}: breaks off, it ends before its {wanted.decode()} chunk. Copy or download it again."
        )
    raise AudioUndecodable(
        f"{name}: damaged, there is no {wanted.decode()} chunk where its header says. Copy or download it "
        "again."
    )


def _check_fmt(chunk: bytes, name: str, number: str) -> None:
    """Raise AudioUndecodable for a header that contradicts itself: it would be read at another pace."""
    if len(chunk) < 16:
        return
    tag, channels, rate, bytes_a_second, block, bits = struct.unpack(number[0] + "HHIIHH", chunk[:16])
    if tag == 0xFFFE and len(chunk) == 26:  # extensible: what it is stands further behind
        tag = struct.unpack(number[0] + "H", chunk[24:])[0]
    if tag in (1, 3) and (block != channels * -(-bits // 8) or bytes_a_second not in (0, rate * block)):
        raise AudioUndecodable(
            f"{name}: its header contradicts itself: {channels} channels of {bits} bits at {rate} Hz, and "
            f"{block} bytes a frame, {bytes_a_second} a second. Convert it again."
        )


def _is_name(name: bytes) -> bool:
    return all(32 <= byte < 127 for byte in name)


def _samples(file: BinaryIO, size: int, start: int, length: int, number: str) -> Survey:
    """Judge a chunk of samples that begins at `start` and says it is `length` bytes long."""
    there = size - start
    if length > there:
        return _samples_of(file, size, start, length)
    end = start + length + length % 2
    following = _following(file, end, size, number)
    if following == "file":
        return Survey([View(file, [(0, start + length)])], flawed=True, behind=View(file, [(end, size)]))
    if following == "samples" and there < _UNKNOWN_FROM:
        repaired = View(file, [(0, start - 4), struct.pack(number, there), (start, size)])
        share = f"{length:,} of {there:,} bytes of samples"
        note = f"its header was never finished: it counts {share}, and all that are there were read."
        return Survey([repaired], flawed=True, notes=[note])
    return Survey([file])


def _samples_of(file: BinaryIO, size: int, start: int, length: int) -> Survey:
    """Hold the promised length of the samples that begin at `start` against what is there."""
    if length >= _UNKNOWN_FROM or start + length <= size:
        return Survey([file])
    return Survey([file], missing=1 - max(0, size - start) / length)


def _w64(file: BinaryIO, size: int) -> Survey:
    """Walk the chunks of a Sony Wave64 file, whose names and lengths are longer."""
    position = 40
    for _ in range(MAX_CHUNKS):
        file.seek(position)
        header = file.read(24)
        if len(header) < 24:
            break
        length = struct.unpack("<Q", header[16:])[0]
        if header[:4] == b"data":
            return _samples_of(file, size, position + 24, length - 24)
        position = min(size, position + max(24, length + -length % 8))
    return Survey([file])


def _following(file: BinaryIO, position: int, size: int, number: str) -> str:
    """Return what follows the samples: "chunks", another "file", or more "samples" that no header counts."""
    for _ in range(MAX_CHUNKS):
        if size - position < 1024:  # a tag, padding
            return "chunks"
        file.seek(position)
        header = file.read(64)
        if header[:4] in (b"RIFF", b"RF64", b"FORM") and header[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
            return "file"
        if header.startswith((b"OggS", b"fLaC", b"ID3\3", b"ID3\4")):
            return "file"
        if frame_at(header[:4]) and (b"Xing" in header or b"Info" in header):  # MPEG audio
            return "file"
        if not _is_name(header[:4]) or b"TAG" in header[:4]:
            break
        position += 8 + struct.unpack(number, header[4:8])[0]
        position += position % 2
    file.seek(position)
    while block := file.read(BLOCK):
        if block.strip(b"\0"):
            return "samples"
    return "chunks"


# -- FLAC --------------------------------------------------------------------------------------------------


def _flac(file: BinaryIO, size: int) -> Survey:
    """Return one part for each FLAC file that was appended to the first, each with its length filled in."""
    starts, position, tail = [], 0, b""
    file.seek(0)
    while block := file.read(BLOCK):
        window = tail + block
        starts += [position - len(tail) + found.start() for found in _FLAC_START.finditer(window)]
        position += len(block)
        tail = window[-7:]
    starts = starts or [0]  # another block comes first: the decoder's to refuse
    repaired = [_flac_part(file, start, end) for start, end in zip(starts, [*starts[1:], size], strict=True)]
    if len(starts) == 1 and len(repaired[0]) == 1:
        return Survey([file])
    return Survey([View(file, pieces) for pieces in repaired], flawed=True)


def _flac_part(file: BinaryIO, start: int, end: int) -> list[bytes | tuple[int, int]]:
    """Return the pieces of a FLAC file whose header counts all samples; one from a pipe counts none."""
    file.seek(start)
    head = file.read(42)
    if len(head) < 42:
        return [(start, end)]
    known = int.from_bytes(head[21:26], "big") & 0xFFFFFFFFF
    total = _flac_samples(file, start, end, int.from_bytes(head[10:12], "big"))
    if total <= known:  # one that breaks off is the decoder's to refuse
        return [(start, end)]
    counted = (head[21] & 0xF0) << 32 | total
    return [(start, start + 21), counted.to_bytes(5, "big"), (start + 26, end)]


def _flac_samples(file: BinaryIO, start: int, end: int, block_size: int) -> int:
    """Return how many samples there are up to the last frame, by its header; 0 when none is found."""
    begin = max(start, end - BLOCK)
    file.seek(begin)
    content = file.read(end - begin)
    place = len(content)
    while (place := content.rfind(b"\xff", 0, place)) >= 0:
        if last := _flac_frame(content[place : place + 16], block_size):
            return last
    return 0


def _flac_frame(head: bytes, block_size: int) -> int:
    """Return the number of samples up to the end of the frame whose header this is; 0 if it is none."""
    if len(head) < 16 or head[1] not in (0xF8, 0xF9):
        return 0
    ones = 8 - (~head[4] & 0xFF).bit_length()  # the number is written as UTF-8: so many bytes, if not one
    number = head[4] & (0x7F >> ones)
    for byte in head[5 : 4 + ones]:
        number = number << 6 | byte & 0x3F
    at = 4 + max(1, ones)
    code, rate = head[2] >> 4, head[2] & 15
    extra = {6: 1, 7: 2}.get(code, 0)
    samples = _FLAC_BLOCK[code] or int.from_bytes(head[at : at + extra], "big") + bool(extra)
    at += extra + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if not samples or at >= len(head) or _crc8(head[:at]) != head[at]:
        return 0
    return (number if head[1] == 0xF9 else number * block_size) + samples


def _crc8(content: bytes) -> int:
    value = 0
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = value << 1 & 0xFF ^ (7 if value & 0x80 else 0)
    return value
