"""From approximate cosines with a bound on their error to the exact top.

While blocks are scanned, a floor rises: the K-th highest value that is certain so far. A row whose cosine
cannot reach the floor is out; the few others are looked at again in float64.
"""

# Q queries, N rows of a block, C candidates, K hits, D dimensions

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from voxid.errors import StoreError
from voxid.search.blocks import ROWS, Block
from voxid.search.kernels import Query, scan, store
from voxid.search.unit import unit_rows
from voxid.search.workers import Workers

EXACT_ROWS = 4_096  # looked at again at a time: 6 MiB of float64 at D = 192


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Blocks, and how many rows of each there were, when a search began. All but the last block are full."""

    blocks: tuple[Block, ...]
    counts: tuple[int, ...]

    def __len__(self) -> int:
        return sum(self.counts)

    def pick(self, array: str, rows_C: np.ndarray) -> np.ndarray:
        """Return the values of rows in one of the blocks' arrays of one value a row."""
        if not self.blocks:
            return np.empty(0, object)
        out = np.empty(len(rows_C), getattr(self.blocks[0], array).dtype)
        which_C, row_C = np.divmod(rows_C, ROWS)
        for which in np.unique(which_C):
            here = which_C == which
            out[here] = getattr(self.blocks[which], array)[row_C[here]]
        return out

    def all(self, array: str) -> np.ndarray:
        """Return one of the blocks' arrays for all rows."""
        return np.concatenate([getattr(b, array)[:n] for b, n in zip(self.blocks, self.counts, strict=True)])


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best rows of one query: positions in the snapshot and cosines, best first."""

    rows_K: np.ndarray
    cosines_K: np.ndarray


class Search:
    """One batch of queries against one snapshot."""

    def __init__(
        self,
        snapshot: Snapshot,
        query: Query,
        top: int,
        workers: Workers,
        fetch: Callable[[list[Any]], ArrayLike] | None,
    ) -> None:
        self.snapshot, self.query, self.top = snapshot, query, top
        self.workers, self.fetch = workers, fetch

    def by_row(self, keys: str) -> list[Ranked]:
        """Return the best rows, no two of which have the same value in the blocks' array `keys`."""
        pools = [_Pool(self.top) for _ in self.query.exact_QD]

        def look(which: int) -> None:
            block, count = self.snapshot.blocks[which], self.snapshot.counts[which]
            approx_QN, off_Q = scan(self.query, block.stored, block.storage)
            key_N = getattr(block, keys)
            for pool, approx_N, off in zip(pools, approx_QN[:, :count], off_Q.tolist(), strict=True):
                pool.offer(approx_N, off, key_N, which * ROWS)

        self.workers.each(look, range(len(self.snapshot.blocks)))
        return [self._settle(q, pool.candidates(), keys) for q, pool in enumerate(pools)]

    def by_mean(self) -> list[Ranked]:
        """Return the best groups by the mean cosine of their rows; each is named by its nearest row."""
        approx_QN = np.empty((len(self.query.exact_QD), len(self.snapshot)), np.float32)
        off_Q = np.zeros(len(approx_QN))
        lock = Lock()

        def look(which: int) -> None:
            block, count = self.snapshot.blocks[which], self.snapshot.counts[which]
            part_QN, part_off_Q = scan(self.query, block.stored, block.storage)
            approx_QN[:, which * ROWS : which * ROWS + count] = part_QN[:, :count]
            with lock:
                np.maximum(off_Q, part_off_Q, out=off_Q)

        self.workers.each(look, range(len(self.snapshot.blocks)))
        group_N = self.snapshot.all("group_N")
        if group_N.max(initial=0) > 4 * len(group_N) + ROWS:  # codes of people long gone
            group_N = np.unique(group_N, return_inverse=True)[1]
        rows_G = np.bincount(group_N)
        return [self._settle_mean(q, approx_QN[q], off_Q[q], group_N, rows_G) for q in range(len(off_Q))]

    def _settle(self, q: int, rows_C: np.ndarray, keys: str) -> Ranked:
        cosine_C = self._exact(q, rows_C).astype(np.float32)
        order_C = np.lexsort((self.snapshot.pick("age_N", rows_C), -cosine_C))
        _, first = np.unique(self.snapshot.pick(keys, rows_C[order_C]), return_index=True)
        chosen_K = order_C[np.sort(first)[: self.top]]
        return Ranked(rows_C[chosen_K], cosine_C[chosen_K])

    def _settle_mean(
        self, q: int, approx_N: np.ndarray, off: float, group_N: np.ndarray, rows_G: np.ndarray
    ) -> Ranked:
        mean_G = np.bincount(group_N, approx_N) / np.maximum(rows_G, 1)
        mean_G[rows_G == 0] = -np.inf
        top = min(self.top, int((rows_G > 0).sum()))
        floor = np.partition(mean_G, -top)[-top] - 2 * off
        rows_C = np.flatnonzero((mean_G >= floor)[group_N])
        age_C = self.snapshot.pick("age_N", rows_C)
        rows_C, age_C = rows_C[np.argsort(age_C)], np.sort(age_C)  # so sums do not depend on where rows lie
        cosine_C = self._exact(q, rows_C)
        codes, first, code_C = np.unique(group_N[rows_C], return_index=True, return_inverse=True)
        mean = (np.bincount(code_C, cosine_C, len(codes)) / np.bincount(code_C)).astype(np.float32)
        chosen_K = np.lexsort((age_C[first], -mean))[:top]
        order_C = np.lexsort((age_C, -cosine_C.astype(np.float32), code_C))  # nearest of each group first
        nearest = order_C[np.searchsorted(code_C[order_C], np.arange(len(codes)))]
        return Ranked(rows_C[nearest[chosen_K]], mean[chosen_K])

    def _exact(self, q: int, rows_C: np.ndarray) -> np.ndarray:
        """Return float64 cosines of rows with query `q`. The sum of a row does not depend on the others."""
        out_C = np.empty(len(rows_C))
        which_C, row_C = np.divmod(rows_C, ROWS)
        for which in np.unique(which_C):
            here_C = np.flatnonzero(which_C == which)
            for start in range(0, len(here_C), EXACT_ROWS):
                part = here_C[start : start + EXACT_ROWS]
                unit_CD = self._rows(self.snapshot.blocks[which], row_C[part])
                out_C[part] = (unit_CD * self.query.exact_QD[q]).sum(1)
        return out_C

    def _rows(self, block: Block, row_C: np.ndarray) -> np.ndarray:
        if self.fetch is None:
            return block.exact(row_C)
        ids = block.id_N[row_C].tolist()
        fetched = np.asarray(self.fetch(ids))
        if len(fetched) != len(ids):
            raise StoreError(
                f"fetch was asked for {len(ids)} voiceprints and gave {len(fetched)}. Some are gone: "
                "remove them from the index, then search again."
            )
        unit_CD = unit_rows(fetched, block.dim).astype(np.float32)
        again = store(unit_CD, block.storage)
        same_C = (again.columns_DN == block.columns_DN[:, row_C]).all(0)
        if block.storage == "int8":
            same_C &= again.step_N == block.step_N[row_C]
        if not same_C.all():
            bad = ids[int(np.flatnonzero(~same_C)[0])]
            raise StoreError(
                f"fetch gave another embedding for the voiceprint {bad!r} than the index holds. "
                "Update it in the index, then search again."
            )
        return unit_CD


class _Pool:
    """What one query has found so far: the floor, and every row that may yet be among the top."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.floor = -np.inf
        self._lock = Lock()
        self._keys = np.empty(0, np.int64)  # of the surest `top`, no two alike
        self._sure = np.empty(0)  # values that their cosines reach at least
        self._rows: list[np.ndarray] = []
        self._most: list[np.ndarray] = []  # values that their cosines reach at most

    def offer(self, approx_N: np.ndarray, off: float, key_N: np.ndarray, start: int) -> None:
        """Take in the rows of a block; `start` is the position of its first."""
        row_C = np.flatnonzero(approx_N >= _below(self.floor - off))
        if not len(row_C):
            return
        value_C = approx_N[row_C].astype(np.float64)
        with self._lock:
            self._raise_floor(key_N[row_C], value_C - off)
            keep = value_C + off >= self.floor
            self._rows.append(row_C[keep] + start)
            self._most.append(value_C[keep] + off)

    def candidates(self) -> np.ndarray:
        """Return the positions of all rows that may be among the top, in order."""
        rows, most = np.concatenate(self._rows), np.concatenate(self._most)
        return np.sort(rows[most >= self.floor])

    def _raise_floor(self, key_C: np.ndarray, sure_C: np.ndarray) -> None:
        if sure_C.max() <= self.floor:
            return
        few = 4 * self.top
        if (
            len(sure_C) > 2 * few
        ):  # the first blocks: no need to sort them whole, unless many are of one person
            part = np.argpartition(sure_C, -few)[-few:]
            if len(np.unique(key_C[part])) >= self.top:
                key_C, sure_C = key_C[part], sure_C[part]
        keys, sure = np.concatenate([self._keys, key_C]), np.concatenate([self._sure, sure_C])
        order = np.argsort(-sure)
        _, first = np.unique(keys[order], return_index=True)
        best = order[np.sort(first)[: self.top]]
        self._keys, self._sure = keys[best], sure[best]
        if len(best) == self.top:
            self.floor = max(self.floor, float(self._sure[-1]))


def _below(value: float) -> np.float32:
    """Return a float32 that is not above `value`."""
    return np.nextafter(np.float32(value), np.float32(-np.inf))
