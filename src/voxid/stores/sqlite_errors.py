"""What an error of SQLite means for whoever uses the store."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

from voxid.errors import (
    DiskFull,
    NotWritable,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    VoxidError,
)

ENOUGH = 4 << 20  # bytes free: with less than that a failed write is a full disk


def translated(error: sqlite3.Error, path: Path | None, timeout: float) -> VoxidError:
    """Return the exception of voxid that says what `error` means for the store at `path`."""
    where = "in memory" if path is None else str(path)
    code = getattr(error, "sqlite_errorcode", 0)
    primary, said = code & 0xFF, f"SQLite says: {error}"
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreBusy(
            f"the store {where} was held by another process for more than {timeout:g} s. Nothing was "
            "changed. Try again, or find out who holds a transaction open."
        )
    if primary == sqlite3.SQLITE_READONLY:
        return NotWritable(
            f"the store {where} cannot be written: the file or its folder is read-only for this user. "
            f"Give it write permission ({said})."
        )
    if primary == sqlite3.SQLITE_FULL or (primary == sqlite3.SQLITE_IOERR and _is_full(code, path)):
        return DiskFull(
            f"no room to write the store {where}. Nothing was changed. Free some space, or raise the limit "
            f"of the size of files ({said})."
        )
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(
            f"{where} is no SQLite database, or is damaged ({said}). Restore it from a backup; "
            "`sqlite3 FILE .recover` may save what is left."
        )
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR):
        return StoreUnavailable(f"the store {where} cannot be opened or read ({said}). Check path and disk.")
    return StoreError(f"the store {where} failed. {said} ({type(error).__name__}).")


def _is_full(code: int, path: Path | None) -> bool:
    """Whether a failed write was for want of room: on the disk, or in the limits of this process."""
    writing = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_FSYNC)
    if path is None or code not in (*writing, sqlite3.SQLITE_IOERR_SHMSIZE):
        return False
    return shutil.disk_usage(path.parent).free < ENOUGH or _has_size_limit()


def _has_size_limit() -> bool:
    try:
        import resource
    except ModuleNotFoundError:  # Windows has none
        return False
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
