"""A file as a decoder should see it, and what is known of it before anything is decoded."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

SLACK_S = 0.3  # a header may promise so much more than there is: rounding and encoder delay, no missing end
HEARD_S = 0.05  # from here on a difference is told
BLOCK = 1 << 20  # bytes that are looked at together


@dataclass
class Survey:
    """What there is to decode: `parts` one after the other, each a whole file for a decoder.

    `flawed` says that a decoder needs the parts, and cannot take the file itself. `foreign` names a format
    that libsndfile does not read. `exact` is False where the decoder's number of frames is a guess. `missing`
    is the share of the promised samples that is not there. `notes` are for a person. In `behind` another
    file begins, of any format.
    """

    parts: Sequence[Any]
    flawed: bool = False
    foreign: str = ""
    exact: bool = True
    missing: float = 0.0
    notes: list[str] = field(default_factory=list)
    behind: Any = None


class View(io.RawIOBase):
    """Stretches (start, end) of a file, and bytes, read as one file.

    >>> View(io.BytesIO(b"0123456789"), [b"ab", (2, 4), b"c", (9, 10)]).read()
    b'ab23c9'
    """

    def __init__(self, file: BinaryIO, pieces: list[bytes | tuple[int, int]]) -> None:
        if isinstance(file, View) and len(file._pieces) == 1 and isinstance(base := file._pieces[0], tuple):
            # a view of a stretch of a view: one step to the file, however many files lie behind one another
            pieces = [p if isinstance(p, bytes) else (p[0] + base[0], p[1] + base[0]) for p in pieces]
            file = file._file
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
