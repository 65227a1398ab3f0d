"""Who is enrolled: people, their voiceprints, and the trail of what happened to them."""

import os
import re
from typing import Any
from urllib.parse import parse_qsl, unquote

from voxid.errors import BadStoreUrl, did_you_mean
from voxid.stores.held import acting
from voxid.stores.kept import ApiKey, OptOut
from voxid.stores.store import Store
from voxid.stores.values import (
    DEFAULT,
    AuditEntry,
    Change,
    Changes,
    CollectionInfo,
    Erasure,
    Matrix,
    Neighbour,
    NewPerson,
    Person,
    Upgrade,
    Voiceprint,
    voiceprint,
    without_password,
)

__all__ = [
    "DEFAULT",
    "ApiKey",
    "AuditEntry",
    "Change",
    "Changes",
    "CollectionInfo",
    "Erasure",
    "Matrix",
    "Neighbour",
    "NewPerson",
    "OptOut",
    "Person",
    "Store",
    "Upgrade",
    "Voiceprint",
    "acting",
    "open",
    "voiceprint",
]

# An address, or what somebody took for one: a scheme of two letters or more (C: is a disk), libpq's words.
NO_PATH = re.compile(r"://|^[A-Za-z][A-Za-z0-9+.-]+:|^:memory:$|\b(dbname|host)=")
KINDS = (
    "a file such as people.db, sqlite:///people.db, sqlite:////folder/people.db, sqlite:// (in memory), "
    "postgresql://user@host/database"
)


def open(url: str | os.PathLike[str], *, timeout: float | None = None) -> Store:
    """Return the store at `url`, ready for use; a SQLite file that does not exist is made.

    A plain path is a SQLite file. `sqlite:///people.db` is relative to the working folder,
    `sqlite:////data/people.db` absolute, `sqlite://` in memory; `?mode=ro` only reads. `timeout`: seconds to
    wait for others who write (10). Raise BadStoreUrl, StoreUnavailable, StoreBusy, StoreDamaged, StoreTooNew,
    NotWritable, DiskFull, MissingExtra.

    >>> with open("sqlite://") as store:
    ...     store.count()
    0
    """
    if not isinstance(url, str | os.PathLike):
        raise BadStoreUrl(f"a store is named by text or a path; got {type(url).__name__}. Allowed: {KINDS}.")
    url = os.fspath(url)
    options: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
    if url and not NO_PATH.search(url):
        from voxid.stores.sqlite import SqliteStore

        return SqliteStore(os.path.expanduser(url), **options)  # noqa: PTH111 -- an unknown ~name stays
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and "://" in url:
        from voxid.stores.sqlite import SqliteStore

        path, _, query = rest.partition("?")
        asked = dict(parse_qsl(query, keep_blank_values=True))
        if path == "/:memory:":
            raise BadStoreUrl(f"{url!r} would be a file of that name. In memory is sqlite://.")
        if asked not in ({}, {"mode": "ro"}) or (path and not path.startswith("/")) or path == "/":
            raise BadStoreUrl(
                f"not the address of a store: {url!r}. Allowed: {KINDS}, and ?mode=ro to only read."
            )
        return SqliteStore(unquote(path[1:]) if path else None, read_only=bool(asked), **options)
    if scheme in ("postgresql", "postgres") and "://" in url:
        from voxid.stores.postgres import PostgresStore

        return PostgresStore(url, **options)
    shown = without_password(f"//{url}")[2:]
    hint = did_you_mean(scheme.partition(":")[0], ["sqlite", "postgresql"])
    if url == ":memory:":
        hint = " In memory is sqlite://."
    raise BadStoreUrl(f"not the address of a store: {shown!r}. Allowed: {KINDS}.{hint}")
