"""Making sure that what was deleted from a SQLite file is not in it any more.

`secure_delete` overwrites what is deleted, but not the copies that SQLite leaves behind in the free room of a
page when it moves rows to another page. So after each deletion the log is folded into the file and cut to
nothing, and the file is searched for the bytes that must be gone; where any are left, it is written anew
(VACUUM). What could not be done because another process was reading is noted in the file, and done at the
next chance.
"""

from __future__ import annotations

import json
import mmap
import os
import sqlite3
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from voxid.stores.values import now, to_time

GRACE = timedelta(seconds=30)  # a note older than that was left by a process that did not finish
PATIENCE_MS = 1_000  # how long a deletion waits for readers
PIECE = 64  # bytes searched for at a time; longer needles are found faster
STRIDE = 192  # bytes from one piece to the next: a leftover of 256 bytes holds a whole piece


def needles(row: Iterable[Any]) -> list[bytes]:
    """Return what must not be found once a row is gone: texts, bytes, names in lines of the trail."""
    found = []
    for column in row:
        packed = column.encode(errors="surrogateescape") if isinstance(column, str) else column
        if not isinstance(packed, bytes) or packed in (b"", b"{}"):
            continue
        found.append(packed)
        with suppress(ValueError, KeyError, TypeError):  # a line of the trail about a name held before
            found.append(str(json.loads(packed)["from"]).encode())
    return found


def wipe(connection: sqlite3.Connection, path: Path, removed: Iterable[bytes], note: int) -> bool:
    """Return whether nothing that was `removed` is on the disk any more; `note`: where that was asked."""
    if was_left(connection):
        return purge(connection)
    if not cut_log(connection):
        return False
    if holds_any(path, removed):
        return purge(connection)
    connection.execute("DELETE FROM wiping WHERE id = ?", (note,))
    return True


def leave(connection: sqlite3.Connection) -> None:
    """Note that nobody is at work on the wiping, so that the next deletion does not wait for them."""
    connection.execute("UPDATE wiping SET since = ''")


def wipe_left(connection: sqlite3.Connection) -> None:
    """Do what others left, unless somebody is still reading."""
    asked = connection.execute("SELECT 1 FROM wiping LIMIT 1").fetchone()
    if asked and cut_log(connection):
        purge(connection)


def purge(connection: sqlite3.Connection) -> bool:
    """Write the whole file anew, and cut the log; False when somebody still reads from it."""
    last = connection.execute("SELECT max(id) FROM wiping").fetchone()[0]
    connection.execute("VACUUM")
    if not cut_log(connection):
        return False
    connection.execute("DELETE FROM wiping WHERE id <= ?", (last,))
    return True


def was_left(connection: sqlite3.Connection) -> bool:
    """Whether somebody deleted, and did not get to wipe: killed, or kept from it by a reader."""
    before = to_time(now() - GRACE)
    return (
        connection.execute("SELECT 1 FROM wiping WHERE since < ? LIMIT 1", (before,)).fetchone() is not None
    )


def cut_log(connection: sqlite3.Connection) -> bool:
    """Fold the log into the file and cut it to nothing; False when somebody still reads from it."""
    patience = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute(f"PRAGMA busy_timeout = {min(patience, PATIENCE_MS)}")
    try:
        row = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return row is not None and row[0] == 0
    finally:
        connection.execute(f"PRAGMA busy_timeout = {patience}")


def holds_any(path: Path, removed: Iterable[bytes]) -> bool:
    """Whether the file holds any of what was removed."""
    with path.open("rb") as file:
        if not os.fstat(file.fileno()).st_size:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return any(content.find(piece) >= 0 for piece in _pieces(removed))


def _pieces(removed: Iterable[bytes]) -> Iterable[bytes]:
    for packed in dict.fromkeys(removed):
        last = max(len(packed) - PIECE, 0)
        for start in dict.fromkeys([*range(0, last + 1, STRIDE), last]):
            yield packed[start : start + PIECE]
