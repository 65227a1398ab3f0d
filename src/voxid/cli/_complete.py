"""What a shell may complete: names of people, models, recipes. Nothing is made, and no error is shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import typer

from voxid.cli._common import COLLECTION, DB

if TYPE_CHECKING:
    from voxid.stores import Store

MOST = 50  # names shown together


@contextmanager
def peek(db: str) -> Iterator[Store]:
    """Yield a store that is only read; raise a StoreError where there is none yet."""
    from voxid import stores

    if not stores.NO_PATH.search(db):
        db = f"sqlite:///{quote(str(Path(db).expanduser()))}"
    with stores.open(f"{db}?mode=ro" if db.startswith("sqlite:///") and "?" not in db else db) as store:
        yield store


def names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the enrolled people whose names begin so."""
    with suppress(Exception), peek(ctx.params.get("db") or DB) as store:
        collection = ctx.params.get("collection") or COLLECTION
        people = store.people(prefix=incomplete or None, limit=MOST, collection=collection)
        return [person.name for person in people]
    return []


def models(incomplete: str) -> list[str]:
    """Return the shipped models and the model folders that begin so."""
    with suppress(Exception):
        from voxid.pretrained import shipped

        found = [name for name in shipped() if name.startswith(incomplete)]
        return [*found, *(path for path in _paths(incomplete) if path.endswith("/"))]
    return []


def recipes(incomplete: str) -> list[str]:
    """Return the shipped recipes and the TOML files that begin so."""
    with suppress(Exception):
        from voxid.recipes import shipped_recipes

        found = [name for name in shipped_recipes() if name.startswith(incomplete)]
        return [*found, *(path for path in _paths(incomplete) if path.endswith((".toml", "/")))]
    return []


def _paths(incomplete: str) -> list[str]:
    """Return the paths that begin so; a folder ends with a slash."""
    head, _, tail = incomplete.rpartition("/")
    folder = Path(f"{head}/" if "/" in incomplete else ".").expanduser()
    prefix = f"{head}/" if "/" in incomplete else ""
    return sorted(
        f"{prefix}{path.name}{'/' if path.is_dir() else ''}"
        for path in folder.iterdir()
        if path.name.startswith(tail) and (tail or not path.name.startswith("."))
    )
