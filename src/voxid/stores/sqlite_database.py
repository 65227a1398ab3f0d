"""A SQLite file as a database: connections, transactions, and what to check before using one.

# N voiceprints, D embedding
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from threading import RLock
from time import monotonic, sleep
from typing import Any

import numpy as np

import voxid
import voxid.stores.checks as checks
from voxid.errors import NotWritable, StoreDamaged, StoreTooNew, StoreUnavailable
from voxid.files import output_error
from voxid.stores.schema import APPLICATION, SCHEMA, sqlite_steps
from voxid.stores.session import VOICEPRINT_COLUMNS, Database, Pool, Row, Session
from voxid.stores.sqlite_errors import translated

PAGE = 8192  # bytes; an embedding of 1,900 numbers fits in, so that it is one piece on the disk
LEAST_FILE = 512  # bytes of the smallest database
IDLE = 16  # connections kept open for the next user


class SqliteSession(Session):
    """One transaction of a SQLite connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__()
        self.connection = connection

    def note_removal(self) -> int:
        """See `Session.note_removal`."""
        row = self.one("INSERT INTO wiping (since) VALUES (?) RETURNING id", (checks.to_time(checks.now()),))
        return row[0] if row else 0

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """See `Session.rows`."""
        return self.connection.execute(sql, values).fetchall()

    def of_each(self, sql: str, values: Sequence[Any], keys: Sequence[Any]) -> list[Row]:
        """See `Session.of_each`."""
        return [row for key in keys for row in self.connection.execute(sql, (*values, key))]

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """See `Session.many`."""
        self.connection.executemany(sql, rows)

    def add(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        """See `Session.add`."""
        if rows:
            self.many(f"INSERT INTO {table} ({columns}) VALUES ({checks.marks(rows[0])})", rows)

    def new_ids(self, count: int) -> list[int]:
        """See `Session.new_ids`. The write lock is held: nobody else takes them."""
        row = self.one("SELECT seq FROM sqlite_sequence WHERE name = 'people'")
        first = (row[0] if row else 0) + 1
        return list(range(first, first + count))

    def add_voiceprints(self, rows: Sequence[Sequence[Any]]) -> None:
        """See `Session.add_voiceprints`."""
        packed = [(*row[:4], row[4].astype("<f4", copy=False).tobytes(), *row[5:]) for row in rows]
        self.add("voiceprints", VOICEPRINT_COLUMNS, packed)

    def blocks(self, collection: int, model: str, dim: int, rows: int) -> Iterator[tuple[np.ndarray, ...]]:
        """See `Session.blocks`."""
        cursor = self.connection.execute(
            """SELECT number, person, speech_s, embedding FROM voiceprints
            WHERE collection = ? AND model = ? ORDER BY number""",
            (collection, model),
        )
        while part := cursor.fetchmany(rows):
            numbers, people, speech, embeddings = zip(*part, strict=True)
            joined = b"".join(embeddings)
            if len(joined) != 4 * dim * len(part):
                raise StoreDamaged(
                    f"the embeddings of collection {collection} are not of {dim} numbers each."
                )
            yield (
                np.array(numbers, np.int64),
                np.array(people, np.int64),
                np.array(speech, np.float32),
                np.frombuffer(joined, "<f4").astype(np.float32, copy=False).reshape(-1, dim),
            )

    def embedding(self, column: Any) -> np.ndarray:
        """See `Session.embedding`."""
        emb_D = np.frombuffer(column, "<f4").astype(np.float32, copy=False)
        emb_D.setflags(write=False)
        return emb_D


class SqliteDatabase(Database):
    """A SQLite file, or a database in memory when `path` is None."""

    def __init__(self, path: Path | None, *, read_only: bool, timeout: float) -> None:
        self.path, self.read_only, self.timeout = path, read_only, timeout
        where = "in memory" if path is None else str(path)
        self.pool = Pool(self._connect, _close, _is_idle, idle=IDLE, where=where)
        # In memory there is one connection, which all threads share in turn.
        self._turn = RLock() if path is None else nullcontext()
        try:
            with self.connection() as connection:
                _prepare(connection, where, read_only)
        except BaseException:
            self.pool.close()
            raise

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection outside any transaction; errors of SQLite come out as ours."""
        with self._turn:
            try:
                with self.pool.take() as connection:
                    yield connection
            except sqlite3.Error as error:
                raise translated(error, self.path, self.timeout) from error

    @contextmanager
    def read(self) -> Iterator[Session]:
        """See `Database.read`."""
        with self._transaction("BEGIN") as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """See `Database.write`. The lock is taken at the start, so that no writer fails half-way."""
        with self._transaction("BEGIN IMMEDIATE") as session:
            yield session

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Session]:
        with self.connection() as connection:
            connection.execute(begin)
            try:
                yield SqliteSession(connection)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                raise

    def _connect(self) -> sqlite3.Connection:
        options: dict[str, Any] = {
            "timeout": self.timeout,
            "isolation_level": None,
            "check_same_thread": False,
        }
        if self.path is None:
            connection = sqlite3.connect(":memory:", **options)
        elif self.read_only:
            connection = _read_only(self.path, options)
        else:
            connection = sqlite3.connect(self.path, **options)
        try:
            _refuse_others(connection, self.path)
            connection.execute(f"PRAGMA page_size = {PAGE}")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            if not self.read_only:
                _use_log(connection, self.timeout)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, where: str, read_only: bool) -> None:
    """Make the tables, or bring those of an older voxid up to ours, in one transaction."""
    if _schema(connection, where) == SCHEMA:
        return
    if read_only:
        raise NotWritable(
            f"{where} is of an older schema. Open it once with write permission, so that it is changed."
        )
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in sqlite_steps(_schema(connection, where)):  # another process may have been first
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


def _schema(connection: sqlite3.Connection, where: str) -> int:
    schema = connection.execute("PRAGMA user_version").fetchone()[0]
    if schema > SCHEMA:
        raise StoreTooNew(
            f"{where} has schema {schema}; voxid {voxid.__version__} knows up to {SCHEMA}. It was made by "
            "a newer voxid: update this one. Nothing was changed."
        )
    return schema


def _refuse_others(connection: sqlite3.Connection, path: Path | None) -> None:
    """Raise StoreDamaged for the database of another program, before anything of it is changed."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    if owner == APPLICATION:
        return
    if owner or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
        raise StoreDamaged(
            f"{path} is a SQLite database of another program, not a store. Choose another file."
        )


def _use_log(connection: sqlite3.Connection, timeout: float) -> None:
    """Switch to the write-ahead log. SQLite does not wait here for another process that does the same."""
    give_up = monotonic() + timeout
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() > give_up:
                raise
            sleep(0.01)


def _read_only(path: Path, options: dict[str, Any]) -> sqlite3.Connection:
    """Open without writing; where not even the log can be looked at, the file alone when the log is empty."""
    address = path.absolute().as_uri()
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True, **options)
    try:
        connection.execute("SELECT 1 FROM sqlite_master")
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        log = path.with_name(path.name + "-wal")
        blocked = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
        if not blocked or (log.exists() and log.stat().st_size):
            raise
    return sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True, **options)


def check_place(path: Path, read_only: bool) -> None:
    """Say early what is wrong with the place of a file; make the file, for nobody else to read."""
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"cannot be: there is no folder {path.parent}"
        raise StoreUnavailable(f"the store {path} {what}. Name a file in a folder that exists.")
    if path.exists() and 0 < path.stat().st_size < LEAST_FILE:  # SQLite would take it for empty
        raise StoreDamaged(
            f"{path} is no SQLite database: it has {path.stat().st_size} bytes. Choose another."
        )
    if read_only:
        if not path.exists():
            raise StoreUnavailable(
                f"there is no store {path} to read. Enroll somebody first, or check the path."
            )
        return
    if not path.exists():
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        except OSError as error:
            raise output_error(error, path) from error
    effective = os.access in os.supports_effective_ids
    for place in (path, path.parent):
        if not os.access(place, os.W_OK, effective_ids=effective):
            raise NotWritable(
                f"{place} cannot be written by this user, and the store {path} needs it to be. "
                "Give it write permission, or open the store with ?mode=ro to only read."
            )


def _close(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        connection.close()


def _is_idle(connection: sqlite3.Connection) -> bool:
    return not connection.in_transaction
