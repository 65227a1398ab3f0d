"""Who is enrolled: people, their voiceprints, and the trail of what happened to them."""

from urllib.parse import parse_qsl, unquote

from voxid.errors import BadStoreUrl, did_you_mean
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
    "AuditEntry",
    "Change",
    "Changes",
    "CollectionInfo",
    "Erasure",
    "Matrix",
    "Neighbour",
    "NewPerson",
    "Person",
    "Store",
    "Upgrade",
    "Voiceprint",
    "open",
    "voiceprint",
]

KINDS = (
    "sqlite:///people.db, sqlite:////folder/people.db, sqlite:// (in memory), postgresql://user@host/database"
)


def open(url: str, *, timeout: float | None = None) -> Store:
    """Return the store at `url`, ready for use; a SQLite file that does not exist is made.

    `sqlite:///people.db` is relative to the working folder, `sqlite:////data/people.db` absolute, `sqlite://`
    in memory; `?mode=ro` only reads. `timeout`: seconds to wait for others who write (10). Raise BadStoreUrl,
    StoreUnavailable, StoreBusy, StoreDamaged, StoreTooNew, NotWritable, DiskFull, MissingExtra.

    >>> with open("sqlite://") as store:
    ...     store.count()
    0
    """
    if not isinstance(url, str):
        raise BadStoreUrl(f"the address of a store is text; got {type(url).__name__}. Allowed: {KINDS}.")
    options = {} if timeout is None else {"timeout": timeout}
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
    hint = did_you_mean(scheme, ["sqlite", "postgresql"])
    if "://" not in url and url:  # a path
        hint = f" Did you mean 'sqlite:///{shown}'?"
    raise BadStoreUrl(f"not the address of a store: {shown!r}. Allowed: {KINDS}.{hint}")
