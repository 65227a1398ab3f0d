"""What a database must offer so that `SqlStore` can be written once: transactions, and three shapes of query.

SQL is written in the words that SQLite and PostgreSQL share, with `?` as placeholder.

# N voiceprints, D embedding
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Any

import numpy as np

from voxid.errors import StoreUnavailable

Row = tuple[Any, ...]


class Session(ABC):
    """One transaction on one connection."""

    lock_row = ""  # what a SELECT ends in to hold the row until the transaction ends

    def __init__(self) -> None:
        self.removed: list[
            bytes | str
        ] = []  # what must not be found on the disk once the transaction is kept
        self.note = 0  # where the database itself says that something is to be wiped; 0: nothing is

    def forget(self, removed: Iterable[bytes | str]) -> None:
        """Say that these bytes and texts go with this transaction."""
        self.removed += removed
        self.note = self.note or self.note_removal()

    def note_removal(self) -> int:
        """Write down that something is to be wiped, in case this process ends before it is; return where."""
        return -1

    @abstractmethod
    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query."""

    @abstractmethod
    def of_each(self, sql: str, values: Sequence[Any], keys: Sequence[Any]) -> list[Row]:
        """Return the rows of a query for each of many keys, which take the place of its last `?` in turn."""

    @abstractmethod
    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run one statement for each row of values."""

    @abstractmethod
    def add(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows into a table."""

    @abstractmethod
    def new_ids(self, count: int) -> list[int]:
        """Return ids for new people, never given before."""

    @abstractmethod
    def add_voiceprints(self, rows: Sequence[Sequence[Any]]) -> None:
        """Insert rows of `VOICEPRINT_COLUMNS`; the embedding is a float32 (D,)."""

    @abstractmethod
    def blocks(self, collection: int, model: str, dim: int, rows: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield (numbers_N, people_N, speech_N, emb_ND), up to `rows` at a time, by number."""

    @abstractmethod
    def embedding(self, column: Any) -> np.ndarray:
        """Return the float32 (D,), read-only, in a column."""

    def one(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """Return the first row, or None."""
        found = self.rows(sql, values)
        return found[0] if found else None

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement that gives nothing back."""
        self.many(sql, [values])


VOICEPRINT_COLUMNS = "id, person, collection, model, embedding, speech_s, source, created, extra"


class Database(ABC):
    """Opens transactions."""

    @abstractmethod
    def read(self) -> AbstractContextManager[Session]:
        """A transaction that sees one snapshot and changes nothing."""

    @abstractmethod
    def write(self) -> AbstractContextManager[Session]:
        """A transaction that is kept when the block ends well, and undone when it raises."""


class Part:
    """What the parts of a store share: its database, and what each kind of store does its own way."""

    _database: Database

    def purge(self) -> bool:
        """See `Store.purge`."""
        raise NotImplementedError

    def _wipe(self, session: Session) -> bool:
        """Make sure that what a transaction removed is gone from the disk; True when it is."""
        raise NotImplementedError


class Pool:
    """Connections, one a thread at a time, opened when none is idle.

    `usable` tells whether one can serve the next user. A process that was forked does not touch the
    connections of its parent.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        close: Callable[[Any], None],
        usable: Callable[[Any], bool],
        *,
        idle: int,
        where: str,
    ) -> None:
        self._connect, self._close, self._usable = connect, close, usable
        self._most_idle, self._where = idle, where
        self._idle: list[Any] = []
        self._lock = Lock()
        self._pid = os.getpid()
        self._closed = False

    @contextmanager
    def take(self) -> Iterator[Any]:
        """Yield a connection that nobody else uses until the block ends."""
        connection = self._get()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def _get(self) -> Any:
        with self._lock:
            if self._closed:
                raise StoreUnavailable(f"the store {self._where} was closed. Open it again.")
            if self._pid != os.getpid():
                # Kept, never closed: closing would act on the parent's files and sockets.
                self._inherited = self._idle
                self._pid, self._idle = os.getpid(), []
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def _give_back(self, connection: Any) -> None:
        usable = self._usable(connection)
        with self._lock:
            keep = usable and not self._closed and len(self._idle) < self._most_idle
            if keep:
                self._idle.append(connection)
        if not keep:
            self._close(connection)

    def drop(self) -> None:
        """Close the idle connections: the server they lead to went away."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            self._close(connection)

    def close(self) -> None:
        """Close all connections; those in use when they come back."""
        with self._lock:
            self._closed = True
        self.drop()
