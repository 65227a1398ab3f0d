"""People in one SQLite file (or in memory): the default store, safe for any number of processes at once.

Write-ahead log, so that readers never wait for a writer; a commit is on the disk before it is acknowledged.

# N voiceprints, D embedding
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import voxid.stores.checks as checks
import voxid.stores.wiping as wiping
from voxid.errors import DiskFull, StoreBusy, StoreUnavailable
from voxid.stores.people import People
from voxid.stores.portable import Portable
from voxid.stores.protocol import DEFAULT, Matrix
from voxid.stores.reading import Reading
from voxid.stores.session import Session
from voxid.stores.sqlite_database import SqliteDatabase, check_place
from voxid.stores.upgrading import Upgrading

TIMEOUT_S = 10.0  # how long to wait for another process that writes
LEAST_SQLITE = (3, 35, 0)  # RETURNING


class SqliteStore(People, Reading, Upgrading, Portable):
    """Who is enrolled, in a SQLite file. See `Store` for what each method does.

    `path`: the file, made when it does not exist (its folder must); None for a store in memory that ends with
    `close`. `timeout`: seconds to wait for another process that writes. `read_only`: never write.

    >>> from voxid.stores import voiceprint
    >>> with SqliteStore(None) as store:
    ...     store.enroll("alice", [voiceprint([1.0, 0.0], model="m")]).prints
    1
    """

    def __init__(
        self, path: str | Path | None, *, read_only: bool = False, timeout: float = TIMEOUT_S
    ) -> None:
        if sqlite3.sqlite_version_info < LEAST_SQLITE:
            raise StoreUnavailable(
                f"SQLite {sqlite3.sqlite_version} is too old; 3.35 is needed. Use a newer Python."
            )
        self.path = None if path is None else Path(path)
        self.url = "sqlite://" if self.path is None else f"sqlite:///{self.path}"
        if self.path is not None:
            check_place(self.path, read_only)
        self._file = SqliteDatabase(self.path, read_only=read_only, timeout=timeout)
        self._database = self._file
        try:
            if self.path is not None and not read_only:
                with self._file.connection() as connection:
                    left = wiping.was_left(connection)
                if left:
                    self.purge()
        except BaseException:
            self.close()
            raise

    def matrix_blocks(self, *, rows: int = 65_536, collection: str = DEFAULT) -> Iterator[Matrix]:
        """See `Store.matrix_blocks`."""
        if self.path is not None:
            yield from super().matrix_blocks(rows=rows, collection=collection)
            return
        whole = self.matrix(collection=collection)  # the one connection must not stay in use between blocks
        for first in range(0, len(whole), rows):
            part = slice(first, first + rows)
            yield replace(
                whole,
                rows_N=whole.rows_N[part],
                people_N=whole.people_N[part],
                speech_N=whole.speech_N[part],
                emb_ND=whole.emb_ND[part],
            )

    def purge(self) -> bool:
        """See `Store.purge`: the file is written anew. Needs as much free room again as the file takes."""
        if self.path is None:
            return True
        try:
            with self._file.connection() as connection:
                return wiping.purge(connection)
        except (StoreBusy, DiskFull):
            return False

    def _wipe(self, session: Session) -> bool:
        if self.path is None or not session.note:
            return True
        try:
            with self._file.connection() as connection:
                return wiping.wipe(connection, self.path, session.removed, session.note)
        except (StoreBusy, DiskFull):
            return False  # deleted all the same, and noted in the file: done at the next chance

    def optimize(self, *, collection: str = DEFAULT) -> None:
        """See `Store.optimize`: statistics for the planner of queries."""
        checks.collection_name(collection)
        with self._file.connection() as connection:
            connection.execute("PRAGMA analysis_limit = 1000")
            connection.execute("ANALYZE")

    def close(self) -> None:
        """See `Store.close`."""
        self._file.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SqliteStore({self.url!r})"
