"""The index gives exactly what looking at every voiceprint would, whatever it stores and whatever happens."""

# N voiceprints, Q queries, K hits, D embedding

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from voxid import search
from voxid.search import Index, blocks, index, kernels, ranking
from voxid.search.kernels import STORAGES, Stored
from voxid.search.unit import unit_rows

DIM = 6


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 16 rows, so that little data fills many."""
    for module in (blocks, index, ranking):
        monkeypatch.setattr(module, "ROWS", 16)
    for module in (blocks, index):
        monkeypatch.setattr(module, "FIRST", 4)


def units(emb_ND: Any) -> np.ndarray:
    rows_ND = np.asarray(emb_ND, np.float64)
    return rows_ND / np.sqrt((rows_ND * rows_ND).sum(1))[:, None]


def lattice(rng: np.random.Generator, rows: int, dim: int = DIM) -> np.ndarray:
    """Vectors of small whole numbers, many alike or of equal cosine; some moved by very little."""
    emb_ND = rng.integers(-2, 3, (rows, dim)).astype(np.float32)
    emb_ND[~emb_ND.any(1)] = 1
    nudged = rng.random(rows) < 0.3
    emb_ND[nudged] += rng.normal(0, 10.0 ** rng.integers(-8, -1), (nudged.sum(), dim))
    return emb_ND * rng.choice([1e-30, 1.0, 7.0, 1e30], (rows, 1)).astype(np.float32)


def looked_up(held: dict[Any, tuple[np.ndarray, Any]], query_D: Any, top: int, by: str) -> list[tuple]:
    """Return (id, group, cosine) by looking at all that is held (id -> embedding, group), in order of age."""
    if not held:
        return []
    # scaled as the index does: in cosines near 0, one bit of a query more or less is seen after rounding
    unit_ND = unit_rows([emb for emb, _ in held.values()], DIM).astype(np.float32)
    cosine_N = (unit_ND * unit_rows([query_D], DIM)[0]).sum(1)
    single_N = cosine_N.astype(np.float32)
    ids, groups = list(held), [group for _, group in held.values()]
    order = sorted(range(len(ids)), key=lambda n: (-single_N[n], n))
    if by == "voiceprint":
        return [(ids[n], groups[n], single_N[n]) for n in order[:top]]
    best: dict[Any, int] = {}
    for n in order:
        best.setdefault(groups[n], n)
    if by == "best":
        return [(ids[n], group, single_N[n]) for group, n in list(best.items())[:top]]
    rows = {group: [n for n in range(len(ids)) if groups[n] == group] for group in best}
    means = {g: np.float32(np.bincount([0] * len(ns), cosine_N[ns])[0] / len(ns)) for g, ns in rows.items()}
    people = sorted(best, key=lambda group: (-means[group], rows[group][0]))
    return [(ids[best[group]], group, means[group]) for group in people[:top]]


def assert_same(hits: search.Hits, held: dict[Any, Any], emb_QD: np.ndarray, top: int, by: str) -> None:
    for q, query_D in enumerate(emb_QD):
        want = looked_up(held, query_D, top, by)
        assert list(zip(hits.ids_QK[q], hits.groups_QK[q], hits.cosines_QK[q], strict=True)) == want


# -- exact --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("storage", STORAGES)
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 60), dim=st.sampled_from([1, 2, 7, 192]))
@settings(max_examples=40)
def test_no_error_is_above_its_bound(storage: kernels.Storage, seed: int, rows: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    scale = rng.choice([0.0, 1.0, 1e-3], (rows, dim)) * rng.standard_normal((rows, dim)) ** 3
    unit_ND = units(scale + 1e-9 * rng.standard_normal((rows, dim))).astype(np.float32)
    query = kernels.prepare(units(rng.standard_normal((3, dim)) ** 3 + 1e-9), storage)
    rows_in = kernels.store(unit_ND, storage)
    rows_in = Stored(np.ascontiguousarray(rows_in.columns_DN), rows_in.step_N, rows_in.sum_N, rows_in.off)
    approx_QN, off_Q = kernels.scan(query, rows_in, storage)
    error_QN = np.abs(approx_QN - query.exact_QD @ unit_ND.T.astype(np.float64))
    assert (error_QN <= off_Q[:, None]).all()
    assert off_Q.max() < {"float32": 5e-5, "float16": 6e-4, "int8": 0.2}[storage]


class Changing(RuleBasedStateMachine):
    """People come, go and change in any order; the answers are those of a plain dict."""

    @initialize(
        storage=st.sampled_from(STORAGES),
        fetches=st.booleans(),
        seed=st.integers(0, 2**32),
        threads=st.integers(1, 3),
    )
    def begin(self, storage: kernels.Storage, fetches: bool, seed: int, threads: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.held: dict[Any, tuple[np.ndarray, Any]] = {}
        self.next = 0
        fetch = self.fetch if fetches and storage != "float32" else None
        self.index = Index(DIM, storage, fetch=fetch, threads=threads)

    def fetch(self, ids: list[Any]) -> np.ndarray:
        return np.array([self.held[id][0] for id in ids])

    def some(self, most: int) -> list[Any]:
        count = int(self.rng.integers(0, min(most, len(self.held)) + 1))
        return [list(self.held)[n] for n in self.rng.permutation(len(self.held))[:count]]

    @rule(rows=st.integers(0, 40), grouped=st.booleans())
    def add(self, rows: int, grouped: bool) -> None:
        emb_ND = lattice(self.rng, rows)
        ids = [f"v{self.next + n}" if n % 2 else self.next + n for n in range(rows)]
        self.next += rows
        groups = [("person", int(g)) for g in self.rng.integers(0, 9, rows)] if grouped else None
        self.index.add(ids, emb_ND, groups=groups)
        self.held |= {id: (emb, group) for id, emb, group in zip(ids, emb_ND, groups or ids, strict=True)}

    @rule(most=st.sampled_from([1, 5, 100]), small=st.sampled_from([3, 1000]))
    def remove(self, most: int, small: int) -> None:
        ids = self.some(most)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(index, "SMALL", small)
            self.index.remove(ids)
        for id in ids:
            del self.held[id]

    @rule(most=st.sampled_from([1, 100]), small=st.sampled_from([3, 1000]))
    def update(self, most: int, small: int) -> None:
        ids = self.some(most)
        emb_ND = lattice(self.rng, len(ids))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(index, "SMALL", small)
            self.index.update(ids, emb_ND)
        for id, emb in zip(ids, emb_ND, strict=True):
            self.held[id] = (emb, self.held[id][1])

    @rule(
        queries=st.integers(1, 5),
        top=st.sampled_from([1, 3, 20, 1000]),
        by=st.sampled_from(get_args(index.By)),
    )
    def search(self, queries: int, top: int, by: index.By) -> None:
        emb_QD = lattice(self.rng, queries)
        assert_same(self.index.search(emb_QD, top, by=by), self.held, emb_QD, top, by)

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "index"):
            assert len(self.index) == len(self.held)
            assert all(id in self.index for id in self.held)


@pytest.mark.usefixtures("small_blocks")
def test_any_sequence_of_changes() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(
        Changing,
        settings=settings(max_examples=40, stateful_step_count=20, suppress_health_check=list(HealthCheck)),
    )
