"""People in one SQLite file (or in memory): the default store, safe for any number of processes at once.

Write-ahead log, so that readers never wait for a writer; a commit is on the disk before it is acknowledged.

# N voiceprints, D embedding
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from threading import Lock, RLock
from time import monotonic, sleep
from typing import Any

import numpy as np

import voxid.stores.wiping as wiping
from voxid.errors import (
    DiskFull,
    NotWritable,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    VoxidError,
)
from voxid.files import output_error
from voxid.stores.schema import APPLICATION, READABLE, SCHEMA, beside, known, sqlite_steps
from voxid.stores.session import Row, Session, State, marks, parts
from voxid.stores.store import BLOCK_ROWS, Store
from voxid.stores.values import DEFAULT, Matrix, collection_name, now, to_time

TIMEOUT_S = 10.0  # how long to wait for another process that writes
LEAST_SQLITE = (3, 35, 0)  # RETURNING
PAGE = 8192  # bytes; an embedding of 1,900 numbers fits in, so that it is one piece on the disk
LEAST_FILE = 512  # bytes of the smallest database
IDLE = 16  # connections kept open for the next user
MOST_OF = 4  # a collection with one in so many of all voiceprints is read by walking over all of them
ENOUGH = 4 << 20  # bytes free: with less than that a failed write is a full disk
UNWRITABLE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)


class SqliteStore(Store):
    """Who is enrolled, in a SQLite file.

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
        self._read_only, self._timeout = read_only, timeout
        if self.path is not None:
            _check_place(self.path, read_only)
        self._pool = _Pool(self._connect, "in memory" if self.path is None else str(self.path))
        # In memory there is one connection, which all threads share in turn.
        self._turn = RLock() if path is None else nullcontext()
        try:
            with self._connection() as connection:
                _prepare(connection, self.url, read_only)
            if self.path is not None and not read_only:
                with suppress(StoreBusy, DiskFull), self._connection() as connection:
                    wiping.wipe_left(connection)
        except BaseException:
            self.close()
            raise

    def _read(self) -> AbstractContextManager[Session]:
        return self._transaction("BEGIN")

    def _write(self) -> AbstractContextManager[Session]:
        return self._transaction("BEGIN IMMEDIATE")  # locked from the start, so that no writer fails half-way

    def _wipe(self, session: Session) -> bool:
        assert isinstance(session, SqliteSession)
        if self.path is None or not session.removes:
            return True
        try:
            with self._connection() as connection:
                if wiping.wipe(connection, self.path, session.removed, session.note):
                    return True
                wiping.leave(connection)
        except (StoreBusy, DiskFull):
            pass  # deleted all the same, and noted in the file: done at the next chance
        return False

    def matrix_blocks(self, *, rows: int = BLOCK_ROWS, collection: str = DEFAULT) -> Iterator[Matrix]:
        if self.path is not None:
            yield from super().matrix_blocks(rows=rows, collection=collection)
        else:  # the one connection must not stay in use between blocks
            yield from list(super().matrix_blocks(rows=rows, collection=collection))

    def purge(self) -> bool:
        if self.path is None:
            return True
        try:
            with self._connection() as connection:
                done = wiping.purge(connection)
                if not done:
                    wiping.leave(connection)
                return done
        except (StoreBusy, DiskFull):
            return False

    def optimize(self, *, collection: str = DEFAULT) -> None:
        collection_name(collection)
        with self._connection() as connection:
            connection.execute("PRAGMA analysis_limit = 1000")
            connection.execute("ANALYZE")

    def close(self) -> None:
        self._pool.close()

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection outside any transaction; errors of SQLite come out as ours."""
        with self._turn:
            try:
                with self._pool.take() as connection:
                    yield connection
            except sqlite3.Error as error:
                raise _translated(error, self.path, self._timeout) from error

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Session]:
        with self._connection() as connection, _begun(connection, begin):
            yield SqliteSession(connection)

    def _connect(self) -> sqlite3.Connection:
        options: dict[str, Any] = {
            "timeout": self._timeout,
            "isolation_level": None,
            "check_same_thread": False,
        }
        if self.path is None:
            connection = sqlite3.connect(":memory:", **options)
        elif self._read_only:
            connection = _connect_read_only(self.path, options)
        else:
            connection = sqlite3.connect(self.path, **options)
        try:
            # Text that is not UTF-8 is damage to one row, and must not stop the reading of others.
            connection.text_factory = lambda packed: packed.decode(errors="surrogateescape")
            _refuse_others(connection, self.path)
            connection.execute(f"PRAGMA page_size = {PAGE}")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = FULL")
            if not self._read_only:
                _use_log(connection, self._timeout)
            elif connection.execute("PRAGMA user_version").fetchone()[0] == READABLE:
                for statement in beside():  # empty, and of this connection alone: the file stays as it is
                    connection.execute(statement)
        except BaseException:
            connection.close()
            raise
        return connection


class SqliteSession(Session):
    """One transaction of a SQLite connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.removed: list[bytes] = []  # what must not be found in the file once the transaction is kept
        self.note = 0  # of the row in the file which says that something is to be wiped

    def forget(self, sql: str = "", values: Sequence[Any] = ()) -> None:
        if not self.removes:  # written down, in case this process ends before it is done
            [(self.note,)] = self.rows(
                "INSERT INTO wiping (since) VALUES (?) RETURNING id", (to_time(now()),)
            )
            self.removes = True
        for row in self.rows(sql, values) if sql else ():
            self.removed += wiping.needles(row)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        return self.connection.execute(sql, values).fetchall()

    def of_each(self, sql: str, values: Sequence[Any], keys: Sequence[Any]) -> list[Row]:
        return [row for key in keys for row in self.connection.execute(sql, (*values, key))]

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        self.connection.executemany(sql, rows)

    def add(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        if not rows:
            return
        packed = (
            [c.astype("<f4", copy=False).tobytes() if isinstance(c, np.ndarray) else c for c in row]
            for row in rows
        )
        self.connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks(rows[0])})", packed)

    def new_ids(self, count: int) -> list[int]:
        row = self.one("SELECT seq FROM sqlite_sequence WHERE name = 'people'")
        first = (row[0] if row else 0) + 1  # the write lock is held: nobody else takes them
        return list(range(first, first + count))

    def blocks(self, state: State, rows: int, people: Sequence[int] | None = None) -> Iterator[Matrix]:
        query = """SELECT number, person, speech_s, embedding FROM voiceprints
            WHERE {0}collection = ? AND {0}model = ? {1} ORDER BY person, number"""
        mine = (state.id, state.model)
        for some in parts(people or ()):
            found = self.rows(query.format("+", f"AND person IN ({marks(some)})"), (*mine, *some))
            yield _block(state, found)
        if people is not None:
            return
        # A plus keeps SQLite from an index. It then walks over everybody in order, and need not sort.
        counted = "SELECT count(*) FROM voiceprints WHERE collection = ? AND model = ?"
        [(share, every)] = self.rows(f"SELECT ({counted}), (SELECT count(*) FROM voiceprints)", mine)
        cursor = self.connection.execute(query.format("+" if share * MOST_OF > every else "", ""), mine)
        while part := cursor.fetchmany(rows):
            yield _block(state, part)

    def embedding(self, column: Any) -> np.ndarray:
        return np.frombuffer(column, "<f4").astype(np.float32, copy=False)


def _block(state: State, rows: list[Row]) -> Matrix:
    """Return rows of (number, person, speech_s, embedding) as columns, without those that are damaged."""
    if not rows:
        return state.matrix()
    numbers, people, speech, embeddings = zip(*rows, strict=True)
    kinds, size = {*map(type, speech)}, 4 * state.dim
    if not (
        kinds <= {int, float} and {*map(type, embeddings)} == {bytes} and {*map(len, embeddings)} == {size}
    ):
        whole = [
            r for r in rows if isinstance(r[2], int | float) and isinstance(r[3], bytes) and len(r[3]) == size
        ]
        damaged = {row[1] for row in set(rows).difference(whole)}
        return replace(_block(state, whole), damaged=tuple(sorted(damaged)))
    emb_ND = np.frombuffer(b"".join(embeddings), "<f4").reshape(-1, state.dim)
    return state.matrix(numbers, people, speech, emb_ND)


class _Pool:
    """Connections, one a thread at a time, opened when none is idle.

    A process that was forked does not touch the connections of its parent.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], where: str) -> None:
        self._connect, self._where = connect, where
        self._idle: list[sqlite3.Connection] = []
        self._lock = Lock()
        self._pid = os.getpid()
        self._closed = False

    @contextmanager
    def take(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection that nobody else uses until the block ends."""
        connection = self._get()
        try:
            yield connection
        finally:
            with self._lock:
                keep = not connection.in_transaction and not self._closed and len(self._idle) < IDLE
                if keep:
                    self._idle.append(connection)
            if not keep:
                connection.close()

    def _get(self) -> sqlite3.Connection:
        with self._lock:
            if self._closed:
                raise StoreUnavailable(f"the store {self._where} was closed. Open it again.")
            if self._pid != os.getpid():
                self._inherited = self._idle  # kept, never closed: closing would act on the parent's files
                self._pid, self._idle = os.getpid(), []
            if self._idle:
                return self._idle.pop()
        return self._connect()

    def close(self) -> None:
        """Close all connections; those in use when they come back."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


@contextmanager
def _begun(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Hold a transaction, which is kept when the block ends well, and undone when it raises."""
    connection.execute(begin)
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        raise


def _prepare(connection: sqlite3.Connection, where: str, read_only: bool) -> None:
    """Make the tables, or bring those of an older voxid up to ours, in one transaction."""
    if _schema(connection, where) == SCHEMA:
        return
    if read_only:
        if _schema(connection, where) >= READABLE:
            return
        raise NotWritable(
            f"{where} is of an older schema. Open it once with write permission, so that it is changed."
        )
    with _begun(connection, "BEGIN IMMEDIATE"):
        for statement in sqlite_steps(_schema(connection, where)):  # another process may have been first
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {SCHEMA}")


def _schema(connection: sqlite3.Connection, where: str) -> int:
    return known(connection.execute("PRAGMA user_version").fetchone()[0], where)


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


def _connect_read_only(path: Path, options: dict[str, Any]) -> sqlite3.Connection:
    """Open without writing; where no file can be made beside it, the file alone if its log is empty."""
    address = path.absolute().as_uri()
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True, **options)
    try:
        connection.execute("SELECT 1 FROM sqlite_master")
        return connection
    except sqlite3.OperationalError as error:
        connection.close()
        log = path.with_name(path.name + "-wal")
        if error.sqlite_errorcode & 0xFF not in UNWRITABLE or (log.exists() and log.stat().st_size):
            raise
    return sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True, **options)


def _check_place(path: Path, read_only: bool) -> None:
    """Say early what is wrong with the place of a file; make the file, for nobody else to read."""
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else f"cannot be: there is no folder {path.parent}"
        raise StoreUnavailable(f"the store {path} {what}. Name a file in a folder that exists.")
    if path.exists() and 0 < path.stat().st_size < LEAST_FILE:  # SQLite would take it for empty
        raise StoreDamaged(
            f"{path} is not a SQLite database: it has {path.stat().st_size} bytes. Choose another."
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


def _translated(error: sqlite3.Error, path: Path | None, timeout: float) -> VoxidError:
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
            f"of the size of files; to only read meanwhile, open sqlite:///{where}?mode=ro ({said})."
        )
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreDamaged(
            f"{where} is not a SQLite database, or is damaged ({said}). Restore it from a backup; "
            "`sqlite3 FILE .recover` may save what is left."
        )
    if primary in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR):
        return StoreUnavailable(f"the store {where} cannot be opened or read ({said}). Check path and disk.")
    return StoreError(f"the store {where} failed. {said} ({type(error).__name__}).")


def _is_full(code: int, path: Path | None) -> bool:
    """Whether a failed write was for want of room: on the disk, or in the limits of this process."""
    log = (sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_IOERR_SHMSIZE)
    writing = (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_TRUNCATE, sqlite3.SQLITE_IOERR_FSYNC, *log)
    if path is None or code not in writing:
        return False
    return shutil.disk_usage(path.parent).free < ENOUGH or _has_size_limit()


def _has_size_limit() -> bool:
    try:
        import resource
    except ModuleNotFoundError:  # Windows has none
        return False
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
