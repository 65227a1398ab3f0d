"""People in PostgreSQL with pgvector: for many machines, and for more people than fit into memory.

One HNSW index for each collection and model, over the rows of those alone, so that nobody of another
collection stands in the way of the nearest. `optimize` builds it without locking anybody out.

# N voiceprints, D embedding
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np

from voxid.errors import (
    BadStoreUrl,
    DiskFull,
    NotWritable,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreUnavailable,
    VoxidError,
    missing_extra,
)
from voxid.stores.schema import APPLICATION, SCHEMA, known, postgres_steps
from voxid.stores.session import VOICEPRINT_COLUMNS, Row, Session, State, marks
from voxid.stores.store import Store
from voxid.stores.values import DEFAULT, Matrix, collection_name, from_time, without_password

try:
    import psycopg
    from pgvector.psycopg import register_vector
    from psycopg import IsolationLevel, errors, sql
    from psycopg.conninfo import conninfo_to_dict, make_conninfo
    from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout
except ModuleNotFoundError as error:
    raise missing_extra(error) or error from error

TIMEOUT_S = 10.0  # how long to wait for others who write to the same collection
CONNECTIONS = 16  # in the pool; who finds none free opens one of their own
POOL_S = 1.0  # how long to wait for one of the pool
CONNECT_S = 10  # how long to wait for a server that does not answer
INDEX_FROM = 10_000  # voiceprints; fewer are compared one by one in a few milliseconds
MOST_INDEXED = 2_000  # numbers in an embedding that HNSW takes
EF_SEARCH = 100  # how widely HNSW looks; more finds more and takes longer
MOST_EF = 1_000
LINKS, EF_BUILD = 24, 200  # of each element of the index (docs/scale.md has what 16 and 64 find)
MORE = 20  # rows that an index of 16-bit numbers gives beyond those asked for, to be ranked exactly
MOST_BUILD_MB = 2_048  # that optimize asks for by itself; more does not help
LINK_BYTES = 1_350  # of an element of the index besides its numbers: 1,070 on average, and some room
HEADER, TRAILER = 19, 2  # bytes of a binary COPY: signature, flags, extension; what follows the last row
# Of VOICEPRINT_COLUMNS, in a binary COPY; JSON goes out as text.
VOICEPRINT_TYPES = ["text", "int8", "int8", "text", "vector", "float8", "text", "timestamptz", "text"]


class PostgresStore(Store):
    """Who is enrolled, in a PostgreSQL database.

    `url`: postgresql://user@host/database, with `?ef_search=200` for a wider search of the index. `timeout`:
    seconds to wait for others who write. The tables are in the schema `voxid`.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT_S) -> None:
        self.url, self._timeout = without_password(url), timeout
        plain, self.ef_search = _split(url)
        with self._errors():
            asked: dict[str, Any] = dict(conninfo_to_dict(plain))
            asked.setdefault("connect_timeout", CONNECT_S)
            asked.setdefault("application_name", "voxid")
            self._address = make_conninfo(**asked)
            with psycopg.connect(self._address, autocommit=True) as connection:
                _prepare(connection, self.url)
        self._closed = False
        self._pool, self._pid = self._new_pool(), os.getpid()

    def _read(self) -> AbstractContextManager[Session]:
        return self._transaction(IsolationLevel.REPEATABLE_READ, read_only=True)

    def _write(self) -> AbstractContextManager[Session]:
        return self._transaction(IsolationLevel.READ_COMMITTED, read_only=False)

    def _wipe(self, session: Session) -> bool:
        return not session.removes  # nobody can read it; its bytes stay until `purge`

    def purge(self) -> bool:
        try:
            with self._connection() as connection:
                connection.execute("VACUUM (FULL, ANALYZE) voiceprints, people, audit")
                with suppress(errors.InsufficientPrivilege):
                    connection.execute("CHECKPOINT")
        except (StoreBusy, NotWritable):
            return False
        return True

    def optimize(self, *, collection: str = DEFAULT) -> None:
        name = collection_name(collection)
        with self._connection() as connection:
            connection.execute("ANALYZE voiceprints, people")
            row = connection.execute(
                """SELECT c.id, c.model, c.dim, (SELECT count(*) FROM voiceprints v
                WHERE v.collection = c.id AND v.model = c.model) FROM collections c WHERE c.name = %s""",
                (name,),
            ).fetchone()
            if row is None:
                return
            id, model, dim, count = row
            half = connection.execute("SELECT to_regtype('halfvec') IS NOT NULL").fetchone() == (True,)
            wanted = _index_name(id, model, dim, half)
            connection.execute("SET lock_timeout = 0")
            connection.execute("SELECT pg_advisory_lock(%s)", (id,))
            try:
                found = connection.execute(
                    """SELECT c.relname, i.indisvalid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
                    WHERE c.relnamespace = 'voxid'::regnamespace AND starts_with(c.relname, %s)""",
                    (f"hnsw_{id}_",),
                ).fetchall()
                for old, is_valid in found:
                    if old != wanted or not is_valid:  # of a former model, or of a build that was broken off
                        connection.execute(f"DROP INDEX CONCURRENTLY {old}".encode())
                if (wanted, True) not in found and count >= INDEX_FROM and dim <= MOST_INDEXED:
                    statement = _create_index(wanted, id, model, dim, half)
                    _build_index(connection, wanted, statement, _build_mb(count, dim))
            finally:
                connection.close()  # with its lock and settings

    def close(self) -> None:
        self._closed = True
        self._pool.close()

    def _nearest(
        self, session: Session, state: State, emb_D: np.ndarray, top: int, exact: bool
    ) -> list[tuple[int, float]]:
        id, model, dim = state.id, state.model, state.dim
        searched = not exact and top + MORE <= MOST_EF
        half = searched and _has_index(session, _index_name(id, model, dim, True))
        is_indexed = half or (searched and _has_index(session, _index_name(id, model, dim, False)))
        if is_indexed:
            session.run(f"SET LOCAL hnsw.ef_search = {min(max(self.ef_search, top + MORE), MOST_EF)}")
            session.run("SET LOCAL enable_sort = off")  # leaves the planner the index
        else:
            session.run("SET LOCAL enable_indexscan = off")
        # The model is written out, and not a parameter: the planner must see that the index is meant.
        distance, values = f"embedding::vector({dim}) <=> ?", [emb_D, emb_D]
        found = f"FROM voiceprints WHERE collection = {id} AND model = {_quoted(model)}"
        if half:
            near = f"ORDER BY embedding::halfvec({dim}) <=> ?::halfvec({dim}) LIMIT {int(top) + MORE}"
            found = f"FROM (SELECT number, embedding {found} {near}) near"
            values = [emb_D, emb_D, emb_D]
        rows = session.rows(
            f"""SELECT number, 1 - ({distance}) {found}
            ORDER BY {distance}{"" if is_indexed else ", number"} LIMIT {int(top)}""",
            values,
        )
        return [(number, cosine) for number, cosine in rows if np.isfinite(cosine)]

    # -- connections and transactions ------------------------------------------------------------------

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection]:
        """Yield a connection outside any transaction; errors of PostgreSQL come out as ours."""
        if self._pid != os.getpid() and not self._closed:
            self._inherited = self._pool  # kept, never closed: its sockets are those of the parent
            self._pool, self._pid = self._new_pool(), os.getpid()
        with self._errors(), ExitStack() as stack:
            try:
                connection = stack.enter_context(self._pool.connection())
            except PoolTimeout:  # all are in use, or the server is away: trying once more says which
                connection = stack.enter_context(psycopg.connect(self._address, autocommit=True))
                self._configure(connection)
            yield connection

    @contextmanager
    def _transaction(self, level: IsolationLevel, *, read_only: bool) -> Iterator[Session]:
        with self._connection() as connection:
            connection.isolation_level, connection.read_only = level, read_only
            with connection.transaction():
                yield PostgresSession(connection)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            cause = error if _said(error) == " ".join(str(error).split()) else None
            raise _translated(error, self.url, self._timeout) from cause

    def _new_pool(self) -> ConnectionPool:
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)  # what it warns of is raised here
        return ConnectionPool(
            self._address,
            kwargs={"autocommit": True},
            configure=self._configure,
            check=ConnectionPool.check_connection,
            min_size=0,
            max_size=CONNECTIONS,
            timeout=POOL_S,
            open=True,
        )

    def _configure(self, connection: psycopg.Connection) -> None:
        connection.execute("SET search_path = voxid, public")
        connection.execute(f"SET lock_timeout = {int(1000 * self._timeout)}".encode())
        register_vector(connection)


class PostgresSession(Session):
    """One transaction of a PostgreSQL connection."""

    lock_row = " FOR UPDATE"

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Row]:
        with self.connection.cursor(binary=True) as cursor:
            _execute(cursor, sql, values)
            return cursor.fetchall()

    def of_each(self, sql: str, values: Sequence[Any], keys: Sequence[Any]) -> list[Row]:
        # OFFSET 0 keeps the planner from anything but looking each key up. An `IN` of hundreds it may take
        # for most of a table that has grown since it last counted, and read all of it for every batch.
        if not keys:
            return []
        before, _, after = sql.rpartition("?")
        kind = "text" if isinstance(keys[0], str) else "bigint"
        found = f"LATERAL ({before}each.key{after} OFFSET 0) found"
        sql = f"SELECT found.* FROM unnest(?::{kind}[]) each (key), {found}"
        return self.rows(sql, [list(keys), *values])

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        with self.connection.cursor() as cursor:
            if len(rows) == 1:
                _execute(cursor, sql, rows[0])
            elif rows:
                cursor.executemany(_placed(sql), rows)

    def add(self, table: str, columns: str, rows: Sequence[Sequence[Any]]) -> None:
        with self.connection.cursor() as cursor:
            if columns == VOICEPRINT_COLUMNS:  # binary: writing numbers as text took half of enrolling
                statement = f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)".encode()
                with cursor.copy(statement) as copy:
                    copy.set_types(VOICEPRINT_TYPES)
                    for *before, created, extra in rows:
                        copy.write_row((*before, from_time(created), extra))
            elif len(rows) == 1:
                self.many(f"INSERT INTO {table} ({columns}) VALUES ({marks(rows[0])})", rows)
            elif rows:
                with cursor.copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy:
                    for row in rows:
                        copy.write_row(row)

    def new_ids(self, count: int) -> list[int]:
        taken = "SELECT nextval(pg_get_serial_sequence('people', 'id')) FROM generate_series(1, ?)"
        return [id for (id,) in self.rows(taken, (count,))]

    def blocks(self, state: State, rows: int, people: Sequence[int] | None = None) -> Iterator[Matrix]:
        # A binary COPY, read in place: every row of one model takes the same bytes.
        fields = [("fields", ">i2"), ("l1", ">i4"), ("number", ">i8"), ("l2", ">i4"), ("person", ">i8")]
        fields += [("l3", ">i4"), ("speech", ">f8"), ("l4", ">i4"), ("size", ">i4")]
        layout = np.dtype([*fields, ("emb", ">f4", (state.dim,))])
        query = sql.SQL(
            """COPY (SELECT number, person, speech_s, embedding FROM voiceprints
            WHERE collection = {} AND model = {} AND vector_dims(embedding) = {} {} ORDER BY person, number)
            TO STDOUT (FORMAT BINARY)"""
        )
        some = sql.SQL("" if people is None else "AND person = ANY ({})").format(list(people or ()))
        waiting = bytearray()
        with (
            self.connection.cursor() as cursor,
            cursor.copy(query.format(state.id, state.model, state.dim, some)) as copy,
        ):
            head = HEADER
            for piece in copy:
                waiting += piece
                if head and len(waiting) >= head:
                    del waiting[:head]
                    head = 0
                while not head and len(waiting) >= rows * layout.itemsize:
                    yield _block(state, waiting, rows, layout)
                    del waiting[: rows * layout.itemsize]
            left = (len(waiting) - TRAILER) // layout.itemsize
            if left > 0:
                yield _block(state, waiting, left, layout)

    def embedding(self, column: Any) -> np.ndarray:
        return column.to_numpy()


def _block(state: State, packed: bytearray, rows: int, layout: np.dtype) -> Matrix:
    table = np.frombuffer(bytes(packed[: rows * layout.itemsize]), layout)
    return state.matrix(table["number"], table["person"], table["speech"], table["emb"])


def _execute(cursor: psycopg.Cursor, sql: str, values: Sequence[Any]) -> None:
    if values:
        cursor.execute(_placed(sql), values)
    else:  # as it stands: what looks like a placeholder may be in a text
        cursor.execute(sql.encode())


@cache
def _placed(sql: str) -> bytes:
    """Return `sql` with the placeholders of PostgreSQL."""
    return sql.replace("?", "%s").encode()


# -- tables and index --------------------------------------------------------------------------------------


def _prepare(connection: psycopg.Connection, where: str) -> None:
    """Make the tables, or bring those of an older voxid up to ours, in one transaction."""
    if _schema(connection, where) == SCHEMA:
        return
    with connection.transaction():
        # Several processes may open a new database at once; the first one makes it.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (APPLICATION,))
        connection.execute("SET LOCAL search_path = voxid, public")
        connection.execute("CREATE SCHEMA IF NOT EXISTS voxid")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        connection.execute("CREATE TABLE IF NOT EXISTS voxid.about (schema int NOT NULL)")
        for statement in postgres_steps(_schema(connection, where)):
            connection.execute(statement.encode())
        connection.execute("DELETE FROM voxid.about")
        connection.execute("INSERT INTO voxid.about VALUES (%s)", (SCHEMA,))


def _schema(connection: psycopg.Connection, where: str) -> int:
    row = connection.execute("SELECT to_regclass('voxid.about')").fetchone()
    if row is None or row[0] is None:
        return 0
    row = connection.execute("SELECT max(schema) FROM voxid.about").fetchone()
    return known(0 if row is None or row[0] is None else int(row[0]), where)


def _build_index(connection: psycopg.Connection, name: str, statement: bytes, memory_mb: int) -> None:
    """Run a statement that builds an index, with at least this much memory."""
    connection.execute(
        """SELECT set_config('maintenance_work_mem', %s, false)
        WHERE pg_size_bytes(current_setting('maintenance_work_mem')) < pg_size_bytes(%s)""",
        [f"{memory_mb}MB"] * 2,
    )
    try:
        connection.execute(statement)
    except errors.DiskFull:
        # Processes that build together share memory, of which a container has 64 MB unless told otherwise.
        connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}".encode())
        connection.execute("SET max_parallel_maintenance_workers = 0")
        connection.execute(statement)


def _index_name(collection: int, model: str, dim: int, half: bool) -> str:
    """Return the name of the index of 16-bit numbers (pgvector from 0.7 on), or of that of 32."""
    return f"hnsw_{collection}_{dim}{'h' * half}_{sha256(model.encode()).hexdigest()[:16]}"


def _build_mb(count: int, dim: int) -> int:
    """Return the memory to ask for: building an index that outgrows it takes much longer, says pgvector."""
    return min(count * (4 * dim + LINK_BYTES) // 2**20 + 32, MOST_BUILD_MB)


def _create_index(name: str, collection: int, model: str, dim: int, half: bool) -> bytes:
    kind = "halfvec" if half else "vector"
    return (
        f"CREATE INDEX CONCURRENTLY {name} ON voiceprints "
        f"USING hnsw ((embedding::{kind}({dim})) {kind}_cosine_ops) "
        f"WITH (m = {LINKS}, ef_construction = {EF_BUILD}) "
        f"WHERE collection = {collection} AND model = {_quoted(model)}"
    ).encode()


def _has_index(session: Session, name: str) -> bool:
    found: Any = session.one(
        """SELECT i.indisvalid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
        WHERE c.relnamespace = 'voxid'::regnamespace AND c.relname = ?""",
        (name,),
    )
    return bool(found and found[0])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


# -- addresses and errors ----------------------------------------------------------------------------------


def _split(url: str) -> tuple[str, int]:
    """Return the address without our own option, and the option."""
    address, _, query = url.partition("?")
    options = [option for option in query.split("&") if option]
    own = [option.partition("=")[2] for option in options if option.startswith("ef_search=")]
    ef_search = own[-1] if own else str(EF_SEARCH)
    if not ef_search.isdecimal() or not 1 <= int(ef_search) <= MOST_EF:
        raise BadStoreUrl(f"ef_search is a whole number from 1 to {MOST_EF:,}; got {ef_search!r:.60}.")
    rest = "&".join(option for option in options if not option.startswith("ef_search="))
    return (f"{address}?{rest}" if rest else address), int(ef_search)


def _said(error: psycopg.Error) -> str:
    """Return what PostgreSQL says, without pieces of an address that may be of a password."""
    said = without_password(" ".join(str(error).split()))
    return re.sub(r"(['\"])[^'\"]*[@%][^'\"]*\1", "'***'", said)


def _translated(error: psycopg.Error, where: str, timeout: float) -> VoxidError:
    """Return the exception of voxid that says what `error` means for the store at `where`."""
    said = f"PostgreSQL says: {_said(error)}"
    if isinstance(error, PoolClosed):
        return StoreUnavailable(f"the store {where} was closed. Open it again.")
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
