"""Ogg and MPEG audio: formats without a length in front, walked from page to page and frame to frame.

An Ogg page (RFC 3533) has a checksum and a place in a sequence. An MPEG frame says its length; how many there
are stands at best in a Xing header, in the first of them.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from voxid.audio.views import BLOCK, HEARD_S, SLACK_S, Survey, View
from voxid.errors import AudioTruncated

_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


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


def ogg(file: BinaryIO, name: str, size: int) -> Survey:
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


def frame_at(head: bytes) -> _Frame | None:
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


def mpeg(file: BinaryIO, name: str, size: int) -> Survey:
    """Count the frames: without a Xing header the length of a file is a guess, and a Xing header may lie."""
    start = _after_tags(file)
    file.seek(start)
    head = file.read(256)
    first = frame_at(head)
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
            f"{name}: damaged, {found.lost:,} bytes between its frames are not part of any, "
            f"about {seconds:.2f} s. Copy or download it again."
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
        while frame := frame_at(content[position : position + 4]):
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
        frame = frame_at(content[found.start() : found.start() + 4])
        if frame is None or frame.rate != first.rate or frame.samples != first.samples:
            continue
        if frame_at(content[found.start() + frame.length : found.start() + frame.length + 4]):
            return found.start()
    return len(content)
