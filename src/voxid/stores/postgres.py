"""People in PostgreSQL with pgvector: for many machines, and for more people than fit into memory.

One HNSW index for each collection and model, over the rows of those alone, so that nobody of another
collection stands in the way of the nearest. `optimize` builds it without locking anybody out.

# D embedding
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

import numpy as np

import voxid.stores.checks as checks
from voxid.errors import BadStoreUrl, NotWritable, StoreBusy
from voxid.stores.people import People
from voxid.stores.portable import Portable
from voxid.stores.postgres_database import (
    PostgresDatabase,
    as_vector,
    build_index,
    prepare,
    without_password,
)
from voxid.stores.protocol import DEFAULT
from voxid.stores.reading import Reading, State
from voxid.stores.session import Session
from voxid.stores.upgrading import Upgrading

TIMEOUT_S = 10.0  # how long to wait for others who write to the same collection
INDEX_FROM = 10_000  # voiceprints; fewer are compared one by one in a few milliseconds
MOST_INDEXED = 2_000  # numbers in an embedding that HNSW takes
EF_SEARCH = 100  # how widely HNSW looks; more finds more and takes longer
MOST_EF = 1_000
LINKS, EF_BUILD = 16, 64  # of each element of the index; pgvector's own defaults
MOST_BUILD_MB = 2_048  # that optimize asks for by itself; a million voiceprints of 192 numbers take 1,590
LINK_BYTES = 900  # of an element of the index besides its numbers: 715 on average, and some room


class PostgresStore(People, Reading, Upgrading, Portable):
    """Who is enrolled, in a PostgreSQL database. See `Store` for what each method does.

    `url`: postgresql://user@host/database, with `?ef_search=200` for a wider search of the index. `timeout`:
    seconds to wait for others who write. The tables are in the schema `voxid`.
    """

    def __init__(self, url: str, *, timeout: float = TIMEOUT_S) -> None:
        plain, self.ef_search = _split(url)
        self.url = without_password(url)
        self._server = PostgresDatabase(plain, timeout=timeout)
        self._database = self._server
        try:
            prepare(self._server)
        except BaseException:
            self._server.pool.close()
            raise

    def optimize(self, *, collection: str = DEFAULT) -> None:
        """See `Store.optimize`. Nobody is locked out; it may take minutes for a million voiceprints."""
        name = checks.collection_name(collection)
        with self._server.connection() as connection:
            connection.execute("ANALYZE voiceprints, people")
            row = connection.execute(
                """SELECT c.id, c.model, c.dim, (SELECT count(*) FROM voiceprints v
                WHERE v.collection = c.id AND v.model = c.model) FROM collections c WHERE c.name = %s""",
                (name,),
            ).fetchone()
            if row is None:
                return
            id, model, dim, count = row
            wanted = _index_name(id, model, dim)
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
                    statement = _create_index(wanted, id, model, dim)
                    build_index(connection, wanted, statement, _build_mb(count, dim))
            finally:
                connection.close()  # with its lock and settings

    def purge(self) -> bool:
        """See `Store.purge`: the tables are written anew, and nobody else can use them meanwhile."""
        try:
            with self._server.connection() as connection:
                connection.execute("VACUUM (FULL, ANALYZE) voiceprints, people, audit")
                with suppress(NotWritable):
                    connection.execute("CHECKPOINT")
        except (StoreBusy, NotWritable):
            return False
        return True

    def _wipe(self, session: Session) -> bool:
        return session.note == 0  # nobody can read it; its bytes stay until `purge`

    def _nearest(
        self, session: Session, state: State, emb_D: np.ndarray, top: int, exact: bool
    ) -> list[tuple[int, float]]:
        id, model, dim = state[:3]
        is_indexed = not exact and top <= MOST_EF and _has_index(session, _index_name(id, model, dim))
        if is_indexed:
            session.run(f"SET LOCAL hnsw.ef_search = {min(max(self.ef_search, top), MOST_EF)}")
            session.run("SET LOCAL enable_sort = off")  # leaves the planner the index
        else:
            session.run("SET LOCAL enable_indexscan = off")
        # The model is written out, and not a parameter: the planner must see that the index is meant.
        distance = f"embedding::vector({dim}) <=> '{as_vector(emb_D)}'::vector({dim})"
        return session.rows(
            f"""SELECT number, 1 - ({distance}) FROM voiceprints
            WHERE collection = {id} AND model = {_quoted(model)}
            ORDER BY {distance}{"" if is_indexed else ", number"} LIMIT {int(top)}"""
        )

    def close(self) -> None:
        """See `Store.close`."""
        self._server.pool.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"PostgresStore({self.url!r})"


def _split(url: str) -> tuple[str, int]:
    """Return the address without our own option, and the option."""
    parts = urlsplit(url)
    asked = dict(parse_qsl(parts.query, keep_blank_values=True))
    ef_search = asked.pop("ef_search", str(EF_SEARCH))
    if not ef_search.isdecimal() or not 1 <= int(ef_search) <= MOST_EF:
        raise BadStoreUrl(f"ef_search is a whole number from 1 to {MOST_EF:,}; got {ef_search!r}.")
    return parts._replace(query=urlencode(asked)).geturl(), int(ef_search)


def _index_name(collection: int, model: str, dim: int) -> str:
    return f"hnsw_{collection}_{dim}_{sha256(model.encode()).hexdigest()[:16]}"


def _build_mb(count: int, dim: int) -> int:
    """Return the memory to ask for: building an index that outgrows it takes much longer, says pgvector."""
    return min(count * (4 * dim + LINK_BYTES) // 2**20 + 32, MOST_BUILD_MB)


def _create_index(name: str, collection: int, model: str, dim: int) -> bytes:
    return (
        f"CREATE INDEX CONCURRENTLY {name} ON voiceprints "
        f"USING hnsw ((embedding::vector({dim})) vector_cosine_ops) "
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
