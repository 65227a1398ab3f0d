"""One transaction: what each kind of database does its own way, so that the rest is written once.

SQL is written in the words that SQLite and PostgreSQL share, with `?` as placeholder.

# N voiceprints, D embedding
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from voxid.stores.values import Matrix

Row = tuple[Any, ...]
VOICEPRINT_COLUMNS = "id, person, collection, model, embedding, speech_s, source, created, extra"
SOME = 500  # values in one IN (...): SQLite takes 999


class State(NamedTuple):
    """What a reader needs to know of a collection."""

    id: int = 0
    model: str = ""
    dim: int = 0
    sequence: int = 0
    reloaded: int = 0
    epoch: str = ""

    def matrix(
        self, rows_N: Any = (), people_N: Any = (), speech_N: Any = (), emb_ND: np.ndarray | None = None
    ) -> Matrix:
        """Return voiceprints of the collection; none, if no columns are given."""
        with np.errstate(over="ignore"):
            return Matrix(
                np.array(rows_N, np.int64),
                np.array(people_N, np.int64),
                np.array(speech_N, np.float32),
                np.empty((0, self.dim), np.float32)
                if emb_ND is None
                else emb_ND.astype(np.float32, copy=False),
                self.model,
                self.sequence,
                self.epoch,
            )


class Session(ABC):
    """One transaction on one connection."""

    lock_row = ""  # what a SELECT ends in to hold the row until the transaction ends
    removes = False  # whether something goes with this transaction that must be wiped from the disk

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
        """Insert rows into a table; an embedding is a float32 (D,)."""

    @abstractmethod
    def new_ids(self, count: int) -> list[int]:
        """Return ids for new people, never given before."""

    @abstractmethod
    def blocks(self, state: State, rows: int, people: Sequence[int] | None = None) -> Iterator[Matrix]:
        """Yield the voiceprints of all or of some people (rising ids), by person and number.

        Those of all come up to `rows` at a time.
        """

    @abstractmethod
    def embedding(self, column: Any) -> np.ndarray:
        """Return the float32 (D,), read-only, in a column; raise ValueError or TypeError."""

    def forget(self, sql: str = "", values: Sequence[Any] = ()) -> None:
        """Say what goes with this transaction and must not stay on the disk: what the query finds."""
        self.removes = True

    def one(self, sql: str, values: Sequence[Any] = ()) -> Row | None:
        """Return the first row, or None."""
        found = self.rows(sql, values)
        return found[0] if found else None

    def run(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Run a statement that gives nothing back."""
        self.many(sql, [values])


def marks(values: Iterable[Any]) -> str:
    """Return "?,?,?": a placeholder for each value."""
    return ",".join("?" for _ in values)


def parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Yield `values` in parts that fit into one IN (...)."""
    for first in range(0, len(values), SOME):
        yield values[first : first + SOME]
