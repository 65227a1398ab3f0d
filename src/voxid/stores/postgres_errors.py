"""What an error of PostgreSQL means for whoever uses the store."""

from __future__ import annotations

import psycopg
from psycopg import errors

from voxid.errors import (
    BadStoreUrl,
    DiskFull,
    NotWritable,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    VoxidError,
)

LOST = (errors.AdminShutdown, errors.CrashShutdown, errors.CannotConnectNow)


def is_lost(error: psycopg.Error, connection: psycopg.Connection) -> bool:
    """Whether the server ended this connection: it was restarted, or went away."""
    return connection.closed or isinstance(error, LOST)


def translated(error: psycopg.Error, where: str, timeout: float) -> VoxidError:
    """Return the exception of voxid that says what `error` means for the store at `where`."""
    said = f"PostgreSQL says: {' '.join(str(error).split())}"
    if isinstance(error, errors.LockNotAvailable | errors.DeadlockDetected | errors.QueryCanceled):
        return StoreBusy(
            f"the store {where} was held by somebody else for more than {timeout:g} s. Nothing was changed. "
            f"Try again, or find out who holds a transaction open ({said})."
        )
    if isinstance(error, errors.DiskFull):
        return DiskFull(
            f"the server of {where} has no room left. Nothing was changed. Free some space ({said})."
        )
    if isinstance(error, errors.ReadOnlySqlTransaction | errors.InsufficientPrivilege):
        return NotWritable(
            f"this user may not write to {where}, or the server is a read-only replica. "
            f"Use another user or server ({said})."
        )
    if isinstance(error, errors.FeatureNotSupported | errors.UndefinedFile) and "vector" in said:
        return StoreUnavailable(
            f"the server of {where} has no pgvector. Install the extension 'vector' there: "
            f"https://github.com/pgvector/pgvector ({said})."
        )
    if isinstance(error, errors.DataCorrupted | errors.IndexCorrupted):
        return StoreDamaged(f"{where} is damaged. Restore it from a backup ({said}).")
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return BadStoreUrl(
            f"not the address of a PostgreSQL database: {where!r}. "
            f"Allowed: postgresql://user@host/database ({said})."
        )
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return StoreUnavailable(
            f"the server of {where} cannot be reached. Try again when it is back: whether the last change "
            f"was kept can be asked then, and doing it again is harmless ({said})."
        )
    return StoreError(f"the store {where} failed. {said} ({type(error).__name__}).")
