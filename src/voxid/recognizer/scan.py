"""Rows of length 1 in memory, and which of them can be among the nearest to a probe.

One pass over all rows gives approximate cosines and a proven bound on their error. Whatever may be among the
top within that bound is a candidate, and whoever asked looks at the candidates again in full. So the answer
is that of comparing with everybody, at the cost of reading the memory once.

float32 rows lie column by column in blocks, (D, N): a probe multiplied in that order reads memory as fast as
it can be read; row by row takes about twice as long. int8 rows take a quarter, and lie row by row, as the
integer product of onnxruntime wants them. For them a probe is two vectors of 7 bits, the second for what the
first leaves: its error is next to nothing beside that of the rows, and no sum of two products leaves the 16
bits in which AVX2 adds them.

The bounds hold for any order of summation, with or without fused multiply-add: Higham, Accuracy and Stability
of Numerical Algorithms, section 3.1, and the inequality of Cauchy and Schwarz.

# N rows, D dimensions, C candidates, K chosen rows
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

from voxid.parallel import Workers, usable_cores

BLOCK_ROWS = 16_384  # enough to hide the cost of a call, few enough that a part-filled block wastes little
ROUNDING = 2.0**-24  # of one operation in float32, relative
TIE = 2.0**-22  # so that rows whose cosines round to the same float32 are all looked at again
MOST_ROW, MOST_PROBE = 127, 63  # integers of a row, stored with ZERO added, and of a probe
ZERO = 128
# ONNX models of one product each, q (1, D) times x (D, N), and x (N, D) times q (D, 2): the bare install has
# no package to build them with. tests/test_roster.py says what they hold.
FLOAT32_PRODUCT = base64.b64decode(
    "CAg6TAoRCgFxCgF4EgF5IgZNYXRNdWwSBHNjYW5aDwoBcRIKCggIARIECgAKAFoPCgF4EgoKCAgBEgQKAAoAYg8KAXkSCgoICAESBAoACgBC"
    "AhAR"
)
INT8_PRODUCT = base64.b64decode(
    "CAg6UwoYCgF4CgFxEgF5Ig1NYXRNdWxJbnRlZ2VyEgRzY2FuWg8KAXgSCgoICAISBAoACgBaDwoBcRIKCggIAxIECgAKAGIPCgF5EgoKCAgG"
    "EgQKAAoAQgIQEQ=="
)


class Rows:
    """Up to any number of float32 rows of length 1, kept as they are or, `small`, as int8."""

    def __init__(self, dim: int, *, small: bool = False) -> None:
        self.dim, self.small = dim, small
        self.count = 0
        self._blocks: list[np.ndarray] = []  # float32 (D, BLOCK_ROWS), or uint8 (BLOCK_ROWS, D)
        self._steps: list[np.ndarray] = []  # what one unit of an integer of each row stands for
        self._workers = Workers(max(1, usable_cores() - 1), "voxid-scan")  # beside the caller
        self._off = 0.0  # the greatest distance of a row from what it is kept as; never shrinks

    def __len__(self) -> int:
        return self.count

    @staticmethod
    def bytes_each(dim: int, *, small: bool) -> int:
        """Return the bytes that a row takes."""
        return dim + 4 if small else 4 * dim

    def resize(self, count: int) -> None:
        """Make room for rows that `put` will fill, or forget the last."""
        while len(self._blocks) * BLOCK_ROWS < count:
            shape = (BLOCK_ROWS, self.dim) if self.small else (self.dim, BLOCK_ROWS)
            self._blocks.append(np.empty(shape, np.uint8 if self.small else np.float32))
            self._steps.append(np.zeros(BLOCK_ROWS if self.small else 0, np.float32))
        del self._blocks[-(-count // BLOCK_ROWS) :], self._steps[-(-count // BLOCK_ROWS) :]
        self.count = count

    def put(self, rows_K: np.ndarray, unit_KD: np.ndarray) -> None:
        """Write float32 rows of length 1 at these places."""
        for block, at, here in self._by_block(rows_K):
            if not self.small:
                self._blocks[block][:, at] = unit_KD[here].T
                continue
            step_K = np.abs(unit_KD[here]).max(axis=1) / np.float32(MOST_ROW)
            whole_KD = np.clip(np.rint(unit_KD[here] / step_K[:, None]), -MOST_ROW, MOST_ROW)
            left_KD = unit_KD[here] - whole_KD * step_K[:, None]
            # Rounded up by more than float32 can have lost.
            off = float(np.sqrt(np.einsum("kd,kd->k", left_KD, left_KD).max(initial=0))) * 1.001 + 2.5e-7
            self._off = max(self._off, off)
            self._blocks[block][at] = whole_KD + ZERO
            self._steps[block][at] = step_K

    def move(self, into_K: np.ndarray, from_K: np.ndarray) -> None:
        """Overwrite rows with others."""
        kept_KD = np.empty((len(from_K), self.dim), np.uint8 if self.small else np.float32)
        steps_K = np.empty(len(from_K), np.float32)
        for block, at, here in self._by_block(from_K):
            kept_KD[here] = self._blocks[block][at] if self.small else self._blocks[block][:, at].T
            steps_K[here] = self._steps[block][at] if self.small else 0
        for block, at, here in self._by_block(into_K):
            if self.small:
                self._blocks[block][at], self._steps[block][at] = kept_KD[here], steps_K[here]
            else:
                self._blocks[block][:, at] = kept_KD[here].T

    def take(self, rows_K: np.ndarray) -> np.ndarray:
        """Return float32 rows (K, D); of rows kept as int8, what they are kept as."""
        found_KD = np.empty((len(rows_K), self.dim), np.float32)
        for block, at, here in self._by_block(rows_K):
            if self.small:
                whole_KD = self._blocks[block][at].astype(np.float32) - ZERO
                found_KD[here] = whole_KD * self._steps[block][at][:, None]
            else:
                found_KD[here] = self._blocks[block][:, at].T
        return found_KD

    def nearest(self, unit_D: np.ndarray, top: int) -> np.ndarray:
        """Return the places (C,) of all rows that may be among the `top` nearest to a float32 unit probe."""
        return candidates(*self.approximate(unit_D), top)

    def approximate(self, unit_D: np.ndarray) -> tuple[np.ndarray, float]:
        """Return the approximate cosine of each row (N,), and how far they may be off."""
        approx_N = np.empty(len(self._blocks) * BLOCK_ROWS, np.float32)
        cosines_of, bound = self._small_product(unit_D) if self.small else self._product(unit_D)

        def look(block: int) -> None:
            approx_N[block * BLOCK_ROWS : (block + 1) * BLOCK_ROWS] = cosines_of(block)

        self._workers.each(look, range(len(self._blocks)))
        return approx_N[: self.count], bound

    def _product(self, unit_D: np.ndarray) -> tuple[Callable[[int], np.ndarray], float]:
        """Return what gives the cosines of a block, and how far they may be off."""
        probe, run = np.ascontiguousarray(unit_D[None]), _session(FLOAT32_PRODUCT).run
        bound = (self.dim + 8) * ROUNDING * 1.01 + TIE
        return lambda block: run(None, {"q": probe, "x": self._blocks[block]})[0][0], bound

    def _small_product(self, unit_D: np.ndarray) -> tuple[Callable[[int], np.ndarray], float]:
        """Return what gives the approximate cosines of a block, and how far they may be off."""
        probe_D2, step_2, off = _in_two(unit_D.astype(np.float64))
        zero = float(ZERO * (probe_D2.sum(axis=0, dtype=np.int64) @ step_2))

        def cosines_of(block: int) -> np.ndarray:
            (found,) = _session(INT8_PRODUCT).run(None, {"q": probe_D2, "x": self._blocks[block]})
            return (found @ step_2 - zero) * self._steps[block]

        return cosines_of, self._off + off * (1.001 + self._off) + 16 * ROUNDING + TIE

    def _by_block(self, rows_K: np.ndarray) -> Iterator[tuple[int, np.ndarray | slice, np.ndarray | slice]]:
        """Yield (block, places in it, places in `rows_K`)."""
        block_K, at_K = np.divmod(rows_K, BLOCK_ROWS)
        for block in np.unique(block_K).tolist():
            here = np.flatnonzero(block_K == block)
            at = at_K[here]
            if at[-1] - at[0] == len(at) - 1 and (np.diff(at) == 1).all():  # slices are written faster
                yield block, slice(int(at[0]), int(at[-1]) + 1), here
            else:
                yield block, at, here


def candidates(approx_N: np.ndarray, bound: float, top: int) -> np.ndarray:
    """Return the places of all rows that may be among the `top` highest, when each may be off by `bound`."""
    if len(approx_N) <= top:
        return np.arange(len(approx_N))
    # The `top`-th highest of the maxima of parts is a floor: so many rows reach it.
    size = max(1, min(64, len(approx_N) // (4 * top)))
    parts_NP = approx_N[: len(approx_N) // size * size].reshape(-1, size).max(axis=1)
    near_C = np.flatnonzero(approx_N >= _below(_highest(parts_NP, top) - 2 * bound))
    value_C = approx_N[near_C]
    return near_C[value_C >= _below(_highest(value_C, top) - 2 * bound)]


def _highest(values_N: np.ndarray, top: int) -> float:
    return float(np.partition(values_N, -top)[-top])


def _below(value: float) -> np.float32:
    """Return a float32 that is not above `value`."""
    return np.nextafter(np.float32(value), np.float32(-np.inf))


def _in_two(probe_D: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a probe as integers (D, 2), what their units stand for (2,), and how far that is from it."""
    whole, steps, left_D = [], [], probe_D
    for _ in range(2):
        step = float(np.abs(left_D).max()) / MOST_PROBE or 1.0
        whole.append(np.rint(left_D / step))
        steps.append(step)
        left_D = left_D - whole[-1] * step
    off = float(np.sqrt(left_D @ left_D)) * 1.001 + 1e-12
    return np.ascontiguousarray(np.stack(whole, axis=1).astype(np.int8)), np.array(steps), off


@cache
def _session(model: bytes) -> Any:
    """Return the runtime's session of a product: one thread, since blocks run side by side."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
