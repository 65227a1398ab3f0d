"""One transaction: what each kind of database does its own way, so that the rest is written once.

SQL is written in the words that SQLite and PostgreSQL share, with `?` as placeholder.

# N voiceprints, D embedding
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

Row = tuple[Any, ...]
VOICEPRINT_COLUMNS = "id, person, collection, model, embedding, speech_s, source, created, extra"
SOME = 500  # values in one IN (...): SQLite takes 999


class Block(NamedTuple):
    """Voiceprints in bulk, as `Matrix` has them; `damaged` are people of whom some could not be read."""

    rows_N: np.ndarray
    people_N: np.ndarray
    speech_N: np.ndarray
    emb_ND: np.ndarray
    damaged: tuple[int, ...] = ()

    def take(self, rows: np.ndarray) -> Block:
        """Return some of the rows."""
        return Block(self.rows_N[rows], self.people_N[rows], self.speech_N[rows], self.emb_ND[rows])

    @classmethod
    def joined(cls, blocks: Sequence[Block], dim: int) -> Block:
        """Return the rows of several blocks, or of none."""
        integers = np.empty(0, np.int64)
        none = cls(integers, integers, np.empty(0, np.float32), np.empty((0, dim), np.float32))
        columns = zip(*((b.rows_N, b.people_N, b.speech_N, b.emb_ND) for b in (none, *blocks)), strict=True)
        rows_N, people_N, speech_N, emb_ND = (np.concatenate(column) for column in columns)
        return cls(rows_N, people_N, speech_N, emb_ND)


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
    def blocks(
        self, collection: int, model: str, dim: int, rows: int, people: Sequence[int] | None = None
    ) -> Iterator[Block]:
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
