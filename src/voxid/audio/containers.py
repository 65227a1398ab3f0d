"""What a container says of its sound, held against the bytes that are there.

Decoders believe a header and hide what is missing: they stop where it says the end is, and skip what is
damaged. `survey` looks at the container first. Where a writer was only sloppy (a length that is wrong or was
never filled in, an end that is not marked, files appended to one another) it gives views of the file that a
decoder reads to the end. Where sound is missing or damaged it raises AudioTruncated and says how much.

Formats: RIFF, RIFX, RF64 (WAV), FORM (AIFF), Ogg (RFC 3533), FLAC (RFC 9639), MPEG audio with ID3v2 and Xing.
"""

from __future__ import annotations

import io
import mmap
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

from voxid.errors import AudioTruncated, AudioUndecodable

SLACK_S = 0.3  # a header may promise so much more than there is: rounding and encoder delay, no missing end
HEARD_S = 0.05  # from here on a difference is told
MAX_CHUNKS = 10_000  # of a WAV or AIFF file; real ones have a few
BLOCK = 1 << 20  # bytes that are looked at together

# Sizes that recorders write while the length is still unknown (a pipe, a live stream): no promise to break.
_UNKNOWN_FROM = 0x7FFFF000
_FLAC_START = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
_W64_RIFF = bytes.fromhex("726966662e91cf11a5d628db04c10000")
_FLAC_BLOCK = (0, 192, 576, 1152, 2304, 4608, 0, 0, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


@dataclass
class Survey:
    """What there is to decode: `parts` one after the other, each a whole file for a decoder.

    `flawed` says that a decoder needs the parts, and cannot take the file itself. `foreign` names a format
    that libsndfile does not read. `exact` is False where the decoder's number of frames is a guess. `missing`
    is the share of the promised samples that is not there. `notes` are for a person.
    """

    parts: Sequence[Any]
    flawed: bool = False
    foreign: str = ""
    exact: bool = True
    missing: float = 0.0
    notes: list[str] = field(default_factory=list)


class View(io.RawIOBase):
    """Stretches (start, end) of a file, and bytes, read as one file.

    >>> View(io.BytesIO(b"0123456789"), [b"ab", (2, 4), b"c", (9, 10)]).read()
    b'ab23c9'
    """

    def __init__(self, file: BinaryIO, pieces: list[bytes | tuple[int, int]]) -> None:
        self._file, self._pieces = file, pieces
        self._sizes = [len(p) if isinstance(p, bytes) else p[1] - p[0] for p in pieces]
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, and return it."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: sum(self._sizes)}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill `buffer`, as far as there are bytes, and return their number."""
        done, begin = 0, 0
        for piece, size in zip(self._pieces, self._sizes, strict=True):
            inside = self._position - begin
            if 0 <= inside < size and done < len(buffer):
                wanted = min(size - inside, len(buffer) - done)
                if isinstance(piece, bytes):
                    got = piece[inside : inside + wanted]
                else:
                    self._file.seek(piece[0] + inside)
                    got = self._file.read(wanted)
                buffer[done : done + len(got)] = got
                done += len(got)
                self._position += len(got)
            begin += size
        return done


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
        return _ogg(file, name, size)
    if head[:4] == b"fLaC":
        return _flac(file, size)
    if foreign := _foreign(head):
        return Survey([file], foreign=foreign)
    if head[:3] == b"ID3" or _frame(head[:4]):
        return _mpeg(file, name, size)
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
        rest = View(file, [(end, size)])
        return Survey([View(file, [(0, start + length)]), rest], flawed=True)
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
        header = file.read(12)
        if header[:4] in (b"RIFF", b"RF64", b"FORM") and header[8:12] in (b"WAVE", b"AIFF", b"AIFC"):
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


# -- Ogg ---------------------------------------------------------------------------------------------------


class _Page(NamedTuple):
    start: int
    end: int
    flags: int  # 1 goes on with a packet, 2 first of its stream, 4 last
    granule: int  # where its last sample lies, -1 if no packet ends in it
    serial: int
    sequence: int
    whole: bool  # has its checksum
    head: bytes  # the first bytes of its body


def _ogg(file: BinaryIO, name: str, size: int) -> Survey:
    """Hold every page against its checksum and its place in the sequence."""
    pages = list(_pages(file, size))
    if not pages or pages[-1].end > size:
        raise AudioTruncated(f"{name}: breaks off, its last Ogg page is cut. Copy or download it again.")
    links: list[list[_Page]] = []
    for page in pages:
        if page.flags & 2 and not (links and links[-1][-1].flags & 2):  # streams side by side begin together
            links.append([])
        if not links:
            raise AudioTruncated(f"{name}: its first Ogg page is missing. Copy or download it again.")
        links[-1].append(page)
    codec, rate = _ogg_codec(links[0][0].head)
    lost = [place for link in links for place in _lost(link, rate)]
    if lost:
        raise AudioTruncated(
            f"{name}: damaged, Ogg pages are missing, out of order or without their checksum, the first at "
            f"byte {lost[0][0]:,}: about {sum(seconds for _, seconds in lost):.2f} s are lost. Copy or "
            "download it again."
        )
    found = Survey([file], foreign=codec)
    last = pages[-1]
    if not last.flags & 4:
        found.notes.append(
            "its last page is not marked as the end: if the recording was cut, its end is missing."
        )
    if len(links) > 1 or not last.flags & 4:
        found.flawed = True
        found.parts = [_link(file, link) for link in links]
    return found


def _pages(file: BinaryIO, size: int) -> Iterator[_Page]:
    """Yield the pages; what lies between two of them belongs to no page."""
    position = 0
    while position < size:
        file.seek(position)
        head = file.read(27)
        if head[:4] != b"OggS" or len(head) < 27:
            position = _next_page(file, position + 1, size)
            continue
        flags, granule, serial, sequence, checksum, segments = struct.unpack("<xBqIIIB", head[4:])
        table = file.read(segments)
        length = 27 + segments + sum(table)
        body = file.read(sum(table))
        page = head[:22] + bytes(4) + head[26:] + table + body
        whole = len(page) == length and ogg_checksum(page) == checksum
        yield _Page(position, position + length, flags, granule, serial, sequence, whole, body[:64])
        # a damaged length would jump over good pages
        position = (
            position + length if whole or position + length >= size else _next_page(file, position + 1, size)
        )


def _next_page(file: BinaryIO, position: int, size: int) -> int:
    while position < size:
        file.seek(position)
        block = file.read(BLOCK)
        if (found := block.find(b"OggS")) >= 0:
            return position + found
        position += max(1, len(block) - 3)
    return size


def ogg_checksum(page: bytes) -> int:
    """Return the checksum of an Ogg page whose own field is zero.

    It has the polynomial of zlib's, with bits in the other order and no inversion.
    """
    mirrored = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(mirrored.to_bytes(4, "little").translate(_REVERSED), "big")


def _lost(link: list[_Page], rate: int) -> Iterator[tuple[int, float]]:
    """Yield (byte, seconds) for each place where pages of a link are damaged, missing or out of order."""
    last: dict[int, _Page] = {}
    bad: _Page | None = None
    for page in link:
        before = last.get(page.serial)
        if not page.whole or (before is not None and page.sequence <= before.sequence):
            bad = page
            continue
        if before is not None and page.sequence > before.sequence + 1:
            missing = page.sequence - before.sequence - 1
            seconds = (page.granule - before.granule) / rate * missing / (missing + 1)
            yield before.end, max(0.0, seconds)
            bad = None
        last[page.serial] = (
            page if page.granule >= 0 or before is None else page._replace(granule=before.granule)
        )
    if bad is not None:  # at the end, or only out of order
        yield bad.start, 0.0


def _link(file: BinaryIO, link: list[_Page]) -> View:
    """Return one chain of pages as a file whose last page is marked as the end."""
    last = link[-1]
    pieces: list[bytes | tuple[int, int]] = [(link[0].start, last.start)]
    file.seek(last.start)
    page = bytearray(file.read(last.end - last.start))
    page[5] |= 4
    page[22:26] = bytes(4)
    page[22:26] = struct.pack("<I", ogg_checksum(bytes(page)))
    return View(file, [*pieces, bytes(page)])


def _ogg_codec(head: bytes) -> tuple[str, int]:
    """Return (name of a codec that libsndfile does not read, its rate in Hz) from the first page's body."""
    if head[:8] == b"OpusHead":
        return "", 48_000
    if head[1:7] == b"vorbis" and len(head) >= 16:
        return "", max(1, struct.unpack("<I", head[12:16])[0])
    if head[:8] == b"Speex   " and len(head) >= 40:
        return "Speex", max(1, struct.unpack("<I", head[36:40])[0])
    if head[:5] == b"\x7fFLAC":
        return "FLAC in Ogg", 44_100
    return "Ogg with another codec", 44_100


# -- MPEG audio --------------------------------------------------------------------------------------------

_KBPS = {  # (MPEG-1, layer): kbit/s by index 1 to 14
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class _Frame(NamedTuple):
    length: int  # bytes
    samples: int
    rate: int  # Hz
    info: int  # where a Xing header would begin


def _frame(head: bytes) -> _Frame | None:
    """Return what the header of an MPEG audio frame says; None if it is none, or of free format."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    kbps, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or not 1 <= kbps <= 14 or rate == 3:
        return None
    first = version == 3
    hertz = (44_100, 48_000, 32_000)[rate] >> (0 if first else 1 if version == 2 else 2)
    samples = 384 if layer == 1 else 1152 if layer == 2 or first else 576
    bits = _KBPS[first, layer][kbps - 1] * 1000
    length = (12 * bits // hertz + padding) * 4 if layer == 1 else samples // 8 * bits // hertz + padding
    mono = head[3] >> 6 == 3
    info = 4 + ((17 if mono else 32) if first else (9 if mono else 17))
    return _Frame(length, samples, hertz, info)


def _mpeg(file: BinaryIO, name: str, size: int) -> Survey:
    """Count the frames: without a Xing header the length of a file is a guess, and a Xing header may lie."""
    start = _after_tags(file)
    file.seek(start)
    head = file.read(256)
    first = _frame(head)
    if first is None:  # free format, or bytes before the first frame: the decoder's to find
        return Survey([file], exact=False)
    found = _frames(file, start, first)
    promised = _promised(head, first)
    frames, frame_s = found.frames - (promised is not None), first.samples / first.rate
    if promised is not None and (promised - frames) * frame_s > SLACK_S:
        raise AudioTruncated(
            f"{name}: breaks off or is damaged at {frames * frame_s:.2f} s, and its header promises "
            f"{promised * frame_s:.2f} s: {(promised - frames) * frame_s:.2f} s are missing. Copy or "
            "download it again."
        )
    if found.lost:
        seconds = found.lost / max(1, size - start) * found.frames * frame_s
        raise AudioTruncated(
            f"{name}: damaged, {found.lost:,} bytes between its frames belong to none, about {seconds:.2f} "
            "s. Copy or download it again."
        )
    notes = []
    if found.behind and (promised is None or frames < promised):
        notes = [f"{found.behind:,} bytes behind its last whole frame were not read: its end may be missing."]
    if promised is not None and (promised - frames) * frame_s > HEARD_S:
        notes = [f"its header promises {promised * frame_s:.2f} s, and {frames * frame_s:.2f} s are there."]
    pieces: list[bytes | tuple[int, int]] = [*found.runs]
    count = struct.pack(">I", frames)
    if promised is None:
        if found.even and len(pieces) == 1:
            return Survey([file], exact=False, notes=notes)  # the guess is right at a constant bit rate
        silent = bytearray(max(first.length, first.info + 12))  # a frame that says how many follow
        silent[:4] = head[:4]
        silent[1] |= 1  # no checksum
        silent[first.info : first.info + 12] = b"Info" + struct.pack(">I", 1) + count
        return Survey([View(file, [bytes(silent), *pieces])], flawed=True, notes=notes)
    if abs(frames - promised) * frame_s <= HEARD_S and len(pieces) == 1:
        return Survey([file], notes=notes)
    if frames > promised:
        notes.append(
            f"its header promises {promised * frame_s:.2f} s; all {frames * frame_s:.2f} s were read."
        )
    at = start + first.info + 8
    count += struct.pack(">I", size - start) if head[first.info + 7] & 2 else b""  # its size stands behind
    pieces[:1] = [(start, at), count, (at + len(count), found.runs[0][1])]
    return Survey([View(file, pieces)], flawed=True, notes=notes)


def _promised(head: bytes, first: _Frame) -> int | None:
    """Return the number of frames in a Xing or Info header that a decoder takes; None without one."""
    tag = head[first.info : first.info + 12]
    plain = tag[:4] in (b"Xing", b"Info") and not any(head[4 : first.info]) and tag[4:7] == bytes(3)
    return struct.unpack(">I", tag[8:])[0] or None if plain and tag[7] < 16 and tag[7] & 1 else None


def _after_tags(file: BinaryIO) -> int:
    """Return where the first frame begins: behind ID3v2 tags, whose size is 4 x 7 bits."""
    position = 0
    while True:
        file.seek(position)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            return position
        position += 10 + sum((byte & 0x7F) << 7 * (3 - place) for place, byte in enumerate(head[6:10]))
        position += 10 * (head[5] >> 4 & 1)  # a footer


class _Frames(NamedTuple):
    frames: int
    runs: list[tuple[int, int]]  # bytes of frames one after the other
    lost: int  # bytes between runs that are neither a tag nor zero
    behind: int  # the same, behind the last run
    even: bool  # all frames have one bit rate


def _frames(file: BinaryIO, start: int, first: _Frame) -> _Frames:
    """Walk from frame to frame."""
    content = _content(file)
    position, frames, even = start, 0, True
    runs, gaps = [], []
    while position < len(content):
        begin = position
        while frame := _frame(content[position : position + 4]):
            if (frame.rate, frame.samples) != (first.rate, first.samples) or frame.length > len(
                content
            ) - position:
                break
            even = even and abs(frame.length - first.length) <= 4  # padding
            frames += 1
            position += frame.length
        if position > begin:
            runs.append((begin, position))
        after = _resume(content, position, first)
        tag = content[position : position + 3] in (b"TAG", b"APE", b"LYR", b"ID3")
        gaps.append(0 if tag or not content[position:after].strip(b"\0") else after - position)
        position = after
    # the last gap lies behind all frames, and may be nothing
    return _Frames(frames, runs, sum(gaps[:-1]), gaps[-1] if gaps else 0, even)


def _content(file: BinaryIO) -> bytes | mmap.mmap:
    """Return the bytes of a file, without reading them where the system can map them."""
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, AttributeError, ValueError):
        file.seek(0)
        return file.read()


def _resume(content: bytes | mmap.mmap, position: int, first: _Frame) -> int:
    """Return where frames go on: at a header that another one follows; the end if nowhere."""
    for found in re.compile(rb"\xff[\xe2-\xff]").finditer(content, position + 1):
        frame = _frame(content[found.start() : found.start() + 4])
        if frame is None or frame.rate != first.rate or frame.samples != first.samples:
            continue
        if _frame(content[found.start() + frame.length : found.start() + frame.length + 4]):
            return found.start()
    return len(content)
