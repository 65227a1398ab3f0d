"""A PostgreSQL database with pgvector as a database of people: connections, transactions, reconnecting.

# N voiceprints, D embedding
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import numpy as np

import voxid
import voxid.stores.checks as checks
from voxid.errors import StoreTooNew, missing_extra
from voxid.stores.schema import APPLICATION, SCHEMA, postgres_steps
from voxid.stores.session import VOICEPRINT_COLUMNS, Database, Pool, Row, Session

try:
    import psycopg
    import psycopg.conninfo
    import psycopg.sql
    from psycopg.pq import TransactionStatus
except ModuleNotFoundError as error:
    raise missing_extra(error) or error from error

from voxid.stores.postgres_errors import is_lost, translated

IDLE = 16  # connections kept open for the next user
CONNECT_S = 10  # seconds to wait for a server that does not answer


class PostgresSession(Session):
    """One transaction of a PostgreSQL connection."""

    lock_row = " FOR UPDATE"

    def __init__(self, connection: psycopg.Connection) -> None:
        super().__init__()
        self.connection = connection

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        """See `Session.rows`."""
        with self.connection.cursor(binary=True) as cursor:
            _execute(cursor, sql, values)
            return cursor.fetchall()

    def of_each(self, sql: str, values: Sequence[Any], keys: Sequence[Any]) -> list[Row]:
        """See `Session.of_each`.

        OFFSET 0 keeps the planner from anything but looking each key up. An `IN` of hundreds it may take for
        most of a table that has grown since it last counted, and read all of it for every batch.
        """
        if not keys:
            return []
        before, _, after = sql.rpartition("?")
        kind = "text" if isinstance(keys[0], str) else "bigint"
        found = f"LATERAL ({before}each.key{after} OFFSET 0) found"
        sql = f"SELECT found.* FROM unnest(?::{kind}[]) each (key), {found}"
        return self.rows(sql, [list(keys), *values])

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """See `Session.many`."""
        with self.connection.cursor() as cursor:
            if len(rows) == 1:
                _execute(cursor, sql, rows[0])
            elif rows:
                cursor.executemany(_placed(sql), rows)

    def add(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        """See `Session.add`."""
        if len(rows) == 1:
            self.many(f"INSERT INTO {table} ({columns}) VALUES ({checks.marks(rows[0])})", rows)
        elif rows:
            statement = f"COPY {table} ({columns}) FROM STDIN".encode()
            with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
                for row in rows:
                    copy.write_row(row)

    def new_ids(self, count: int) -> list[int]:
        """See `Session.new_ids`."""
        taken = "SELECT nextval(pg_get_serial_sequence('people', 'id')) FROM generate_series(1, ?)"
        return [id for (id,) in self.rows(taken, (count,))]

    def add_voiceprints(self, rows: Sequence[Sequence[Any]]) -> None:
        """See `Session.add_voiceprints`. A binary COPY: writing numbers as text took half of enrolling."""
        if not rows:
            return
        statement = f"COPY voiceprints ({VOICEPRINT_COLUMNS}) FROM STDIN (FORMAT BINARY)".encode()
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.set_types(VOICEPRINT_TYPES)
            for *before, emb_D, speech_s, source, created, extra in rows:
                packed = _sent(emb_D), speech_s, source, checks.from_time(created), extra
                copy.write_row((*before, *packed))

    def blocks(self, collection: int, model: str, dim: int, rows: int) -> Iterator[tuple[np.ndarray, ...]]:
        """See `Session.blocks`. A binary COPY, read in place: every row of one model takes the same bytes."""
        fields = [("fields", ">i2"), ("l1", ">i4"), ("number", ">i8"), ("l2", ">i4"), ("person", ">i8")]
        fields += [
            ("l3", ">i4"),
            ("speech", ">f4"),
            ("l4", ">i4"),
            ("size", ">i4"),
            ("vector", ">f4", (dim,)),
        ]
        layout = np.dtype(fields)
        query = """COPY (SELECT number, person, speech_s::real, embedding FROM voxid.voiceprints
            WHERE collection = {} AND model = {} ORDER BY number) TO STDOUT (FORMAT BINARY)"""
        statement = psycopg.sql.SQL(query).format(collection, model)
        waiting = bytearray()
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            head = HEADER
            for piece in copy:
                waiting += piece
                if head and len(waiting) >= head:
                    del waiting[:head]
                    head = 0
                while not head and len(waiting) >= rows * layout.itemsize:
                    yield _columns(waiting, rows, layout)
                    del waiting[: rows * layout.itemsize]
            left = (len(waiting) - TRAILER) // layout.itemsize
            if left > 0:
                yield _columns(waiting, left, layout)

    def embedding(self, column: Any) -> np.ndarray:
        """See `Session.embedding`. pgvector sends a size, two bytes unused, and float32 in network order."""
        emb_D = np.frombuffer(column, ">f4", offset=4).astype(np.float32)
        emb_D.setflags(write=False)
        return emb_D


# Of VOICEPRINT_COLUMNS. The embedding is bytes to psycopg, which go out as they are; JSON goes out as text.
VOICEPRINT_TYPES = ["text", "int8", "int8", "text", "bytea", "float8", "text", "timestamptz", "text"]
HEADER = 19  # bytes before the first row of a binary COPY: signature, flags, length of the extension
TRAILER = 2  # bytes after the last


class PostgresDatabase(Database):
    """Transactions on the server at `url`, which may go away and come back."""

    def __init__(self, url: str, *, timeout: float) -> None:
        self.url, self.timeout = url, timeout
        self.where = without_password(url)
        self.pool = Pool(self._connect, _close, _is_idle, idle=IDLE, where=self.where)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """Yield a connection outside any transaction; errors of PostgreSQL come out as ours."""
        try:
            with self.pool.take() as connection:
                yield connection
        except psycopg.Error as error:
            raise translated(error, self.where, self.timeout) from error

    def read(self) -> AbstractContextManager[Session]:
        """See `Database.read`."""
        return self._transaction("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def write(self) -> AbstractContextManager[Session]:
        """See `Database.write`."""
        return self._transaction("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Session]:
        with self.connection() as first, self._begun(first, begin) as connection:
            try:
                yield PostgresSession(connection)
                connection.execute("COMMIT")
            except BaseException:
                with suppress(psycopg.Error):
                    if not connection.closed:
                        connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _begun(self, connection: psycopg.Connection, begin: str) -> Iterator[psycopg.Connection]:
        """Yield a connection in a transaction; a fresh one when the server was restarted meanwhile."""
        try:
            connection.execute(begin.encode())
        except psycopg.OperationalError as error:
            if not is_lost(error, connection):
                raise
            self.pool.drop()
            with self.pool.take() as fresh:
                fresh.execute(begin.encode())
                yield fresh
            return
        yield connection

    def _connect(self) -> psycopg.Connection:
        asked: dict[str, Any] = dict(psycopg.conninfo.conninfo_to_dict(self.url))
        asked.setdefault("connect_timeout", CONNECT_S)
        asked.setdefault("application_name", "voxid")
        connection = psycopg.connect(psycopg.conninfo.make_conninfo(**asked), autocommit=True)
        try:
            connection.execute("SET search_path = voxid, public")
            connection.execute(f"SET lock_timeout = {int(1000 * self.timeout)}".encode())
        except BaseException:
            connection.close()
            raise
        return connection


def prepare(database: PostgresDatabase) -> None:
    """Make the tables, or bring those of an older voxid up to ours, in one transaction."""
    with database.connection() as connection:
        if _schema(connection, database.where) == SCHEMA:
            return
        with connection.transaction():
            # Several processes may open a new database at once; the first one makes it.
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (APPLICATION,))
            connection.execute("CREATE SCHEMA IF NOT EXISTS voxid")
            connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
            connection.execute("CREATE TABLE IF NOT EXISTS voxid.about (schema int NOT NULL)")
            since = _schema(connection, database.where)
            for statement in postgres_steps(since):
                connection.execute(statement.encode())
            connection.execute("DELETE FROM voxid.about")
            connection.execute("INSERT INTO voxid.about VALUES (%s)", (SCHEMA,))


def _schema(connection: psycopg.Connection, where: str) -> int:
    row = connection.execute("SELECT to_regclass('voxid.about')").fetchone()
    if row is None or row[0] is None:
        return 0
    row = connection.execute("SELECT max(schema) FROM voxid.about").fetchone()
    schema = 0 if row is None or row[0] is None else int(row[0])
    if schema > SCHEMA:
        raise StoreTooNew(
            f"{where} has schema {schema}; voxid {voxid.__version__} knows up to {SCHEMA}. It was made by a "
            "newer voxid: update this one. Nothing was changed."
        )
    return schema


def build_index(connection: psycopg.Connection, name: str, statement: bytes, memory_mb: int) -> None:
    """Run a statement that builds an index, with at least this much memory."""
    connection.execute(
        """SELECT set_config('maintenance_work_mem', %s, false)
        WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes(%s)""",
        [f"{memory_mb}MB"] * 2,
    )
    try:
        connection.execute(statement)
    except psycopg.errors.DiskFull:
        # Processes that build together share memory, of which a container has 64 MB unless told otherwise.
        connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}".encode())
        connection.execute("SET max_parallel_maintenance_workers = 0")
        connection.execute(statement)


def without_password(url: str) -> str:
    """Return `url` for messages."""
    try:
        parts = urlsplit(url)
        if not parts.password:
            return url
        return parts._replace(netloc=parts.netloc.replace(f":{parts.password}@", ":***@")).geturl()
    except ValueError:
        return "postgresql://..."


def _execute(cursor: psycopg.Cursor, sql: str, values: Sequence[Any]) -> None:
    if values:
        cursor.execute(_placed(sql), values)
    else:  # as it stands: what looks like a placeholder may be in a text
        cursor.execute(sql.encode())


@cache
def _placed(sql: str) -> bytes:
    """Return `sql` with the placeholders of PostgreSQL."""
    return sql.replace("?", "%s").encode()


def _close(connection: psycopg.Connection) -> None:
    with suppress(psycopg.Error):
        connection.close()


def _is_idle(connection: psycopg.Connection) -> bool:
    return not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE


def as_vector(emb_D: np.ndarray) -> str:
    """Return the text that pgvector reads back as the same float32."""
    return "[" + ",".join(map(repr, emb_D.tolist())) + "]"


def _sent(emb_D: np.ndarray) -> bytes:
    """Return what pgvector receives: the size and two bytes unused, then float32, in network order.

    It refuses sizes above 16,000.
    """
    return struct.pack(">Hxx", min(len(emb_D), 0xFFFF)) + emb_D.astype(">f4").tobytes()


def _columns(packed: bytearray, rows: int, layout: np.dtype) -> tuple[np.ndarray, ...]:
    table = np.frombuffer(bytes(packed[: rows * layout.itemsize]), layout)
    return (
        table["number"].astype(np.int64),
        table["person"].astype(np.int64),
        table["speech"].astype(np.float32),
        table["vector"].astype(np.float32),
    )
