"""Blocks of voiceprints in memory, which grow and shrink without disturbing readers.

A reader holds blocks and the number of rows it saw in each. A writer may fill rows that no reader has seen,
but never touches one that a reader may be reading: it writes a copy of the block and puts that in its place.
"""

# D dimensions, N voiceprints of a block

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from voxid.search.kernels import Storage, Stored, store

ROWS = 16_384  # of a full block: enough to hide the cost of a call, few enough to copy in some milliseconds
FIRST = 256  # rows of the first block, which doubles until it is full
_TYPES: dict[Storage, type] = {"float32": np.float32, "float16": np.float16, "int8": np.int8}


class Block:
    """Up to `ROWS` voiceprints: `columns_DN` in the form of the storage, `exact_ND` in float32 or None."""

    def __init__(self, dim: int, storage: Storage, exact: bool, rows: int, born: int) -> None:
        whole = storage == "int8"
        self.dim, self.born = dim, born
        self.storage: Storage = storage
        self.count = 0  # rows in use; no reader looks beyond
        self.columns_DN = np.zeros((dim, rows), _TYPES[storage])
        self.exact_ND = np.empty((rows, dim), np.float32) if exact else None
        self.step_N = np.zeros(rows if whole else 0, np.float32)
        self.sum_N = np.zeros(rows if whole else 0, np.int32)
        self.off = 0.0  # never shrinks: a bound that is too wide costs little
        self.age_N = np.zeros(rows, np.int64)
        self.group_N = np.zeros(rows, np.int64)
        self.id_N = np.empty(rows, object)
        self.label_N = np.empty(rows, object)  # whose it is

    def __len__(self) -> int:
        return self.columns_DN.shape[1]

    @property
    def stored(self) -> Stored:
        """All rows, unused ones too, as the kernels read them."""
        return Stored(self.columns_DN, self.step_N, self.sum_N, self.off)

    def arrays(self) -> list[tuple[np.ndarray, bool]]:
        """Return every array, and whether its rows are the second axis."""
        found = [(self.columns_DN, True)]
        found += [(array, False) for array in (self.age_N, self.group_N, self.id_N, self.label_N)]
        if self.exact_ND is not None:
            found.append((self.exact_ND, False))
        if self.storage == "int8":
            found += [(self.step_N, False), (self.sum_N, False)]
        return found

    @property
    def bytes(self) -> int:
        """Bytes of the arrays."""
        return sum(array.nbytes for array, _ in self.arrays())

    def copy(self, rows: int, born: int) -> Block:
        """Return a block of `rows` with the same voiceprints."""
        new = Block(self.dim, self.storage, self.exact_ND is not None, rows, born)
        for (old, flipped), (into, _) in zip(self.arrays(), new.arrays(), strict=True):
            if flipped:
                into[:, : self.count] = old[:, : self.count]
            else:
                into[: self.count] = old[: self.count]
        new.count = self.count
        new.off = self.off
        return new

    def write(self, at: slice | np.ndarray, unit_ND: np.ndarray) -> None:
        """Put float32 unit rows at these rows."""
        rows = store(unit_ND, self.storage)
        self.columns_DN[:, at] = rows.columns_DN
        if self.storage == "int8":
            self.step_N[at], self.sum_N[at] = rows.step_N, rows.sum_N
        if self.exact_ND is not None:
            self.exact_ND[at] = unit_ND
        self.off = max(self.off, rows.off)

    def move(self, into_K: np.ndarray, other: Block, from_K: np.ndarray) -> None:
        """Overwrite rows with rows of `other`."""
        for (into, flipped), (source, _) in zip(self.arrays(), other.arrays(), strict=True):
            if flipped:
                into[:, into_K] = source[:, from_K]
            else:
                into[into_K] = source[from_K]
        self.off = max(self.off, other.off)

    def cut(self, count: int) -> None:
        """Forget all rows but the first `count`, and let go of their ids."""
        self.id_N[count : self.count] = None
        self.label_N[count : self.count] = None
        self.count = count

    def exact(self, rows_K: np.ndarray) -> np.ndarray:
        """Return float32 unit rows (K, D) of a block that keeps them."""
        if self.storage == "float32":
            return np.ascontiguousarray(self.columns_DN[:, rows_K].T)
        assert self.exact_ND is not None
        return self.exact_ND[rows_K]


def object_array(values: Sequence[Any]) -> np.ndarray:
    """Return the values as an object array (N,), also when they are sequences themselves."""
    array = np.empty(len(values), object)
    array[:] = values if not isinstance(values, np.ndarray) else values.tolist()
    return array
