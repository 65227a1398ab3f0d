"""One pass over a block of stored voiceprints: approximate cosines, and a proven bound on their error.

A block lies column by column, (D, N): one dimension of all its voiceprints is contiguous. Summed in that
order, a query reads memory as fast as memory can be read; row by row takes about twice as long.

The bounds hold for any order of summation, with or without fused multiply-add: Higham, Accuracy and
Stability of Numerical Algorithms, section 3.1, and the inequality of Cauchy and Schwarz.
"""

# D dimensions, N voiceprints of a block, Q queries

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

Storage = Literal["float32", "float16", "int8"]
STORAGES: tuple[Storage, ...] = ("float32", "float16", "int8")
ROUNDING = 2.0**-24  # of one operation in float32, relative
TIE = 2.0**-22  # so that rows whose cosines round to the same float32 are all looked at again
LARGEST_QUERY = 63  # 7 bits: no sum of two products with an int8 leaves 16 bits, in which AVX2 adds them
OFFSET = 64  # the query is stored unsigned
LARGEST_ROW = 127


@dataclass(frozen=True, slots=True)
class Query:
    """Queries made ready for a storage: `exact_QD` float64 unit rows, `parts` what the kernel multiplies."""

    exact_QD: np.ndarray
    parts: np.ndarray  # float32 (Q, D), or uint8 (Q, D) for int8
    step_Q: np.ndarray  # what one unit of an integer query stands for; ones for floats
    off_Q: np.ndarray  # length of the difference between a query and what `parts` stands for


def prepare(exact_QD: np.ndarray, storage: Storage) -> Query:
    """Return the float64 unit queries as the kernel of `storage` reads them."""
    ones = np.ones(len(exact_QD), np.float32)
    if storage != "int8":
        single = exact_QD.astype(np.float32)
        return Query(exact_QD, single, ones, _length(exact_QD - single))
    step_Q = (np.abs(exact_QD).max(1) / LARGEST_QUERY).astype(np.float32)
    whole = np.clip(np.rint(exact_QD / step_Q[:, None]), -LARGEST_QUERY, LARGEST_QUERY)
    off_Q = _length(exact_QD - whole * step_Q[:, None].astype(np.float64))
    return Query(exact_QD, (whole + OFFSET).astype(np.uint8), step_Q, off_Q)


@dataclass(frozen=True, slots=True)
class Stored:
    """Voiceprints as a block keeps them. `off` is the greatest distance of one from what it stands for."""

    columns_DN: np.ndarray  # float32, float16 or int8
    step_N: np.ndarray  # float32: what one unit of an integer stands for; empty for floats
    sum_N: np.ndarray  # int32: OFFSET times the sum of each row's integers; empty for floats
    off: float


def store(unit_ND: np.ndarray, storage: Storage) -> Stored:
    """Return float32 unit rows in the form that a block of `storage` keeps."""
    empty, none = np.empty(0, np.float32), np.empty(0, np.int32)
    if storage == "float32":
        return Stored(unit_ND.T, empty, none, 0.0)
    if storage == "float16":
        half_ND = unit_ND.astype(np.float16)
        return Stored(half_ND.T, empty, none, _greatest(unit_ND - half_ND.astype(np.float32)))
    step_N = np.abs(unit_ND).max(1) / np.float32(LARGEST_ROW)
    whole_ND = np.clip(np.rint(unit_ND / step_N[:, None]), -LARGEST_ROW, LARGEST_ROW)
    off = _greatest(unit_ND - whole_ND * step_N[:, None])
    whole_ND = whole_ND.astype(np.int8)
    return Stored(whole_ND.T, step_N, OFFSET * whole_ND.sum(1, dtype=np.int32), off)


def scan(query: Query, rows: Stored, storage: Storage) -> tuple[np.ndarray, np.ndarray]:
    """Return approximate cosines (Q, N) float32, and a bound on the error of each query's (Q,)."""
    dim = len(rows.columns_DN)
    products = (dim + 8) * ROUNDING * 1.01
    if storage == "float32":
        return query.parts @ rows.columns_DN, query.off_Q + products + TIE
    if storage == "float16":
        (approx_QN,) = _session("float16").run(None, {"q": query.parts, "x": rows.columns_DN})
        return approx_QN, query.off_Q + rows.off + products * 1.001 + TIE
    (whole_QN,) = _session("int8").run(None, {"q": query.parts, "x": rows.columns_DN})
    np.subtract(whole_QN, rows.sum_N, out=whole_QN)
    approx_QN = whole_QN.astype(np.float32)
    approx_QN *= rows.step_N
    approx_QN *= query.step_Q[:, None]
    return approx_QN, query.off_Q * 1.001 + (1 + query.off_Q) * rows.off + 16 * ROUNDING + TIE


def _length(rows_ND: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("nd,nd->n", rows_ND, rows_ND)) * (1 + 1e-12)


def _greatest(difference_ND: np.ndarray) -> float:
    """Return the greatest length of a row, rounded up by more than float32 can have lost."""
    return float(np.sqrt(np.einsum("nd,nd->n", difference_ND, difference_ND).max(initial=0))) * 1.001 + 2.5e-7


@cache
def _session(storage: Storage) -> Any:
    """Return the runtime's session of a kernel: one thread, since blocks run side by side."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph(storage), options, providers=["CPUExecutionProvider"])


# -- the graphs, written by hand: the bare install has no package to build ONNX with ------------------------

_FLOAT, _UINT8, _INT8, _INT32, _FLOAT16 = 1, 2, 3, 6, 10  # onnx.TensorProto.DataType


def graph(storage: Storage) -> bytes:
    """Return an ONNX model: q (Q, D) times x (D, N), as float16 widened to float32, or as integers."""
    if storage == "int8":
        nodes = [_node("MatMulInteger", ["q", "x"], "y")]
        kinds = (_UINT8, _INT8, _INT32)
    else:
        to = _text(1, "to") + _number(3, _FLOAT) + _number(20, 2)  # an attribute: name, i, type INT
        nodes = [_node("Cast", ["x"], "wide", _bytes(5, to)), _node("MatMul", ["q", "wide"], "y")]
        kinds = (_FLOAT, _FLOAT16, _FLOAT)
    body = b"".join(_bytes(1, node) for node in nodes) + _text(2, "scan")
    body += _bytes(11, _value("q", kinds[0])) + _bytes(11, _value("x", kinds[1]))
    body += _bytes(12, _value("y", kinds[2]))
    return _number(1, 8) + _bytes(7, body) + _bytes(8, _number(2, 17))  # IR version, graph, opset


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _node(operator: str, inputs: list[str], output: str, attributes: bytes = b"") -> bytes:
    return b"".join(_text(1, name) for name in inputs) + _text(2, output) + _text(4, operator) + attributes


def _value(name: str, kind: int) -> bytes:
    """Return a ValueInfoProto of two free dimensions."""
    shape = _bytes(1, b"") + _bytes(1, b"")
    return _text(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))
