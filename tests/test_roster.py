"""Whoever is nearest among all who are enrolled: what comparing with everybody finds, in every form."""

# P people, N voiceprints, C candidates, K hits, D embedding

from __future__ import annotations

import sqlite3
import tracemalloc
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from voxid import stores
from voxid.errors import BadConfig
from voxid.recognizer import roster, scan
from voxid.recognizer.people import sides
from voxid.recognizer.roster import Near, Roster, in_bytes
from voxid.recognizer.scan import FLOAT32_PRODUCT, INT8_PRODUCT, Rows, candidates
from voxid.scoring import Side, unit_rows
from voxid.scoring.evidence import cosines
from voxid.stores import NewPerson, Store, voiceprint

DIM = 6
FORMS = ("float32", "int8", "store")


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 16 rows, so that little data fills many."""
    monkeypatch.setattr(scan, "BLOCK_ROWS", 16)
    monkeypatch.setattr(roster, "READ_ROWS", 5)


def memory_for(form: str, people: int, dim: int = DIM) -> int:
    """Return a limit by which so many people, and a few more, are kept in that form."""
    if form == "int8":
        return (people + 20) * (dim + 4 + roster.BESIDE)
    return {"float32": 10**9, "store": 0}[form]


def lattice(rng: np.random.Generator, rows: int, dim: int = DIM) -> np.ndarray:
    """Vectors of small whole numbers, many alike or of equal cosine; some moved by very little."""
    emb_ND = rng.integers(-2, 3, (rows, dim)).astype(np.float32)
    emb_ND[~emb_ND.any(1)] = 1
    nudged = rng.random(rows) < 0.3
    emb_ND[nudged] += rng.normal(0, 10.0 ** rng.integers(-8, -1), (nudged.sum(), dim)).astype(np.float32)
    return emb_ND * rng.choice([1e-3, 1.0, 7.0, 1e3], (rows, 1)).astype(np.float32)


def looked_up(store: Store, emb_D: np.ndarray, top: int) -> tuple[list[int], np.ndarray]:
    """Return ids and cosines of the nearest people, by comparing the probe with every one of them."""
    people = store.people(voiceprints=True)
    if not people:
        return [], np.empty(0)
    unit_PD = unit_rows(sides([p.voiceprints for p in people]).emb_ND).astype(np.float64)
    cosine_P = np.clip((unit_PD * unit_rows(emb_D[None])[0]).sum(axis=1), -1, 1)
    ids_P = np.array([p.id for p in people])
    best = np.lexsort((ids_P, -cosine_P))[:top]
    return ids_P[best].tolist(), cosine_P[best]


def assert_nearest(near: Near, store: Store, emb_D: np.ndarray, top: int) -> None:
    ids, cosine_K = looked_up(store, emb_D, top)
    np.testing.assert_allclose(near.cosine_K, cosine_K, atol=3e-7)
    apart = np.flatnonzero(np.abs(np.diff(cosine_K, prepend=2, append=-2)) < 1e-6)
    told = [n for n in range(len(ids)) if n not in apart and n + 1 not in apart]  # others may change places
    assert [near.person_K.tolist()[n] for n in told] == [ids[n] for n in told]
    assert near.people == store.count()


# -- exact --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [False, True])
@given(seed=st.integers(0, 2**32), rows=st.integers(1, 60), dim=st.sampled_from([1, 2, 7, 192]))
@settings(max_examples=40, deadline=None)
def test_no_error_is_above_its_bound(small: bool, seed: int, rows: int, dim: int) -> None:
    rng = np.random.default_rng(seed)
    scale = rng.choice([0.0, 1.0, 1e-3], (rows, dim)) * rng.standard_normal((rows, dim)) ** 3
    unit_ND = unit_rows(scale + 1e-9 * rng.standard_normal((rows, dim)))
    kept = Rows(dim, small=small)
    kept.resize(rows)
    kept.put(np.arange(rows), unit_ND)
    probe_D = unit_rows(rng.standard_normal((1, dim)) ** 3 + 1e-9)[0]
    approx_N, bound = kept.approximate(probe_D)
    error_N = np.abs(approx_N - unit_ND.astype(np.float64) @ probe_D.astype(np.float64))
    assert error_N.max() <= bound < (0.06 if small else 2e-5)


@given(seed=st.integers(0, 2**32), rows=st.integers(1, 3_000), top=st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_candidates_are_all_who_may_be_among_the_top_and_few_others(seed: int, rows: int, top: int) -> None:
    rng = np.random.default_rng(seed)
    approx_N = np.round(rng.standard_normal(rows), 1).astype(np.float32)
    found = candidates(approx_N, 0.05, top)
    floor = np.sort(approx_N.astype(np.float64))[-min(top, rows)] - 0.1
    assert set(np.flatnonzero(approx_N >= floor)) <= set(found)
    assert approx_N[found].min() >= floor - 1e-6


@pytest.mark.parametrize("small", [False, True])
def test_rows_are_moved_and_taken(small_blocks: None, small: bool) -> None:
    unit_ND = unit_rows(np.random.default_rng(0).standard_normal((50, DIM)))
    kept = Rows(DIM, small=small)
    kept.resize(50)
    kept.put(np.arange(50), unit_ND)
    kept.move(np.array([3, 17, 20]), np.array([49, 47, 48]))
    kept.resize(47)
    unit_ND[[3, 17, 20]] = unit_ND[[49, 47, 48]]
    np.testing.assert_allclose(
        kept.take(np.array([46, 3, 17, 20, 0])), unit_ND[[46, 3, 17, 20, 0]], atol=6e-3 * small
    )
    kept.resize(0)
    assert len(kept.nearest(unit_ND[0], 3)) == 0


def test_the_products_are_what_they_are_said_to_be() -> None:
    import onnx

    for model, operator, inputs in ((FLOAT32_PRODUCT, "MatMul", "qx"), (INT8_PRODUCT, "MatMulInteger", "xq")):
        held = onnx.load_model_from_string(model)
        onnx.checker.check_model(held)
        [node] = held.graph.node
        assert (node.op_type, list(node.input), held.ir_version) == (operator, list(inputs), 8)


# -- whatever happens in the store ---------------------------------------------------------------------------


class Following(RuleBasedStateMachine):
    """People come, go and change in any order; every form finds who is nearest in truth."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.store = stores.open("sqlite://")
        self.roster = Roster(self.store, "default", 0 if roster._form(1, DIM, 0) is None else 10**9)
        self.next = 0

    def some(self, most: int) -> list[str]:
        names = [p.name for p in self.store.people()]
        return [names[n] for n in self.rng.permutation(len(names))[: self.rng.integers(0, most + 1)]]

    @rule(people=st.integers(0, 40))
    def enroll(self, people: int) -> None:
        clips = [voiceprint(e, model="m", speech_s=self.rng.uniform(0, 9)) for e in lattice(self.rng, people)]
        self.store.enroll_many(NewPerson(f"p{self.next + n}", [clip]) for n, clip in enumerate(clips))
        self.next += people

    @rule(most=st.sampled_from([1, 5, 30]))
    def add(self, most: int) -> None:
        for name in self.some(most):
            clip = np.abs(lattice(self.rng, 1)[0]) + 1  # no two clips cancel out
            self.store.enroll(
                name, [voiceprint(clip, model="m", speech_s=3.0)], replace=bool(self.rng.integers(2))
            )

    @rule(most=st.sampled_from([1, 30]))
    def delete(self, most: int) -> None:
        for name in self.some(most):
            self.store.delete(name)

    @rule()
    def change_model(self) -> None:
        if self.store.count():
            model = f"m{self.next}"
            self.store.begin_upgrade(model, dim=DIM)
            for person in self.store.upgrade_pending():
                self.store.upgrade_person(person, [voiceprint(lattice(self.rng, 1)[0], model=model)])
            self.store.finish_upgrade(missing="delete")
            self.store.begin_upgrade("m", dim=DIM)
            for person in self.store.upgrade_pending():
                self.store.upgrade_person(person, [voiceprint(lattice(self.rng, 1)[0], model="m")])
            self.store.finish_upgrade(missing="delete")

    @invariant()
    def finds_the_nearest(self) -> None:
        if not hasattr(self, "rng"):
            return
        probe_D = lattice(self.rng, 1)[0]
        top = int(self.rng.choice([1, 3, 100]))
        if roster._form(1, DIM, 0) is None:  # the store finds voiceprints: with all of them, all people
            top = 1_000
        assert_nearest(self.roster.near(probe_D, top), self.store, probe_D, top)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("form", FORMS)
def test_any_sequence_of_changes(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"float32": False, "int8": True, "store": None}[form]
    monkeypatch.setattr(roster, "_form", lambda people, dim, memory: small)
    run_state_machine_as_test(
        Following,
        settings=settings(
            max_examples=8, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def filled(people: int, dim: int = DIM, seed: int = 0, clips: int = 1, url: str = "sqlite://") -> Store:
    rng = np.random.default_rng(seed)
    store = stores.open(url)
    for _ in range(clips):
        prints = (voiceprint(rng.standard_normal(dim), model="m", speech_s=2.0) for _ in range(people))
        store.enroll_many(NewPerson(f"p{n}", [one]) for n, one in enumerate(prints))
    return store


@pytest.mark.parametrize("form", FORMS)
def test_the_side_is_what_verify_compares_with(form: str, small_blocks: None) -> None:
    store = filled(40, clips=3)
    held = Roster(store, "default", memory_for(form, 40))
    probe_D = np.random.default_rng(1).standard_normal(DIM).astype(np.float32)
    near = held.near(probe_D, 12)
    people = store.people_by_id(near.person_K.tolist(), voiceprints=True)
    whole = sides([people[person].voiceprints for person in near.person_K.tolist()])
    np.testing.assert_allclose(near.side.emb_ND, whole.emb_ND, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(near.side.speech_s_N, 6.0)
    np.testing.assert_allclose(near.side.clips_N, 3.0)
    np.testing.assert_allclose(near.cosine_K, cosines(whole, Side.of(probe_D[None], [1.0])), atol=3e-7)


def test_people_outgrow_the_memory_in_steps_and_come_back() -> None:
    store = filled(30)
    float_bytes, int_bytes = (4 * DIM + roster.BESIDE), (DIM + 4 + roster.BESIDE)
    held = Roster(store, "default", 40 * float_bytes)
    probe_D = np.ones(DIM, np.float32)
    forms = []

    def look() -> None:
        assert_nearest(held.near(probe_D, 1000), store, probe_D, 1000)
        forms.append("store" if held._rows is None else "int8" if held._rows.small else "float32")

    look()
    for people in (40, 41, 40 * float_bytes // int_bytes + 1, 10):
        have = store.count()
        for n in range(people, have):
            store.delete(f"p{n}")
        store.enroll_many(
            NewPerson(f"p{n}", [voiceprint(np.eye(DIM)[n % DIM] + 0.1, model="m")])
            for n in range(have, people)
        )
        look()
    look()  # what it saw is that there is room again
    assert forms == ["float32", "float32", "int8", "store", "store", "float32"]


@pytest.mark.parametrize("form", FORMS)
def test_nobody_and_another_model(form: str) -> None:
    store = stores.open("sqlite://")
    held = Roster(store, "default", memory_for(form, 5))
    assert held.near(np.ones(DIM, np.float32), 3).people == 0
    store.enroll("a", [voiceprint(np.ones(DIM), model="m")])
    assert held.near(np.ones(DIM, np.float32), 3).person_K.tolist() == [1]
    store.delete("a")
    assert held.near(np.ones(DIM, np.float32), 3).person_K.tolist() == []
    store.enroll("b", [voiceprint([1.0, 2.0], model="of two")])
    if form != "store":  # the store refuses a probe of another size by itself
        assert held.near(np.ones(DIM, np.float32), 3).person_K.tolist() == []
    assert held.near(np.ones(2, np.float32), 3).person_K.tolist() == [2]


def test_loading_is_seen_and_is_done_once(small_blocks: None) -> None:
    store = filled(23)
    held, seen = Roster(store, "default"), []
    assert held.load(lambda done, people: seen.append((done, people))) == 23
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {people for _, people in seen} == {23}
    assert len(seen) == 5
    assert held.load(lambda done, people: seen.append((done, people))) == 23
    assert len(seen) == 5
    assert Roster(store, "default", 0).load() == 0


def test_a_load_that_was_broken_off_is_begun_anew(small_blocks: None) -> None:
    store, held = filled(23), Roster(stores.open("sqlite://"), "default")
    held = Roster(store, "default")

    def stop(done: int, people: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        held.load(stop)
    assert held.near(np.ones(DIM, np.float32), 100).people == 23


def test_loading_takes_little_more_than_what_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = filled(12_000, dim=128, url=f"sqlite:///{tmp_path}/people.db")
    monkeypatch.setattr(roster, "READ_ROWS", 256)
    monkeypatch.setattr(scan, "BLOCK_ROWS", 1_000)
    for memory, each in ((10**9, 4 * 128), (12_000 * 300, 128 + 4)):
        held = Roster(store, "default", memory)
        tracemalloc.start()
        held.load()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1.3 * 12_000 * (each + roster.BESIDE) + 2_000_000  # a block being read


# -- damage ------------------------------------------------------------------------------------------------


def test_who_cannot_be_compared_is_left_out_and_named(tmp_path: Path, small_blocks: None) -> None:
    path = tmp_path / "people.db"
    store = filled(23, clips=2, url=f"sqlite:///{path}")
    held = Roster(store, "default")
    assert held.load() == 23
    store.enroll("opposite", [voiceprint(np.ones(DIM), model="m"), voiceprint(-np.ones(DIM), model="m")])
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE voiceprints SET embedding = substr(embedding, 4) WHERE number = 9")
        raw.execute(
            "UPDATE voiceprints SET embedding = ? WHERE number = 40", (np.full(DIM, 3e38, "<f4").tobytes(),)
        )
        raw.execute("UPDATE voiceprints SET speech_s = 1e39 WHERE number = 12")
        raw.commit()
    bad = [store.people(prefix=name)[0].id for name in ("p8", "p16", "p11", "opposite")]
    for form in ("float32", "int8"):
        fresh = Roster(store, "default", memory_for(form, 30))
        near = fresh.near(np.ones(DIM, np.float32), 100)
        assert near.damaged == tuple(sorted(bad))
        assert near.people == len(near.person_K) == 20
        assert np.isfinite(near.side.emb_ND).all()
        store.delete("p11") if form == "float32" else store.delete("p8")
        assert len(fresh.near(np.ones(DIM, np.float32), 100).damaged) == len(bad) - 1
        bad.remove(bad[2] if form == "float32" else bad[0])
    assert held.near(np.ones(DIM, np.float32), 100).damaged == (bad[-1],)  # read before the damage was done


# -- the limit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("memory", "limit"),
    [
        (0, 0),
        (1.5e9, 1_500_000_000),
        ("500MB", 500_000_000),
        ("2 gb", 2 * 10**9),
        ("1.5k", 1_500),
        ("77", 77),
    ],
)
def test_memory_in_bytes(memory: int | float | str, limit: int) -> None:
    assert in_bytes(memory) == limit


@pytest.mark.parametrize("memory", ["all", -1, float("nan"), float("inf"), None, True, "-2GB", "", "GB"])
def test_what_is_no_memory(memory: object) -> None:
    with pytest.raises(BadConfig, match=r"'500MB' or '2GB'; got"):
        in_bytes(memory)  # type: ignore[arg-type]
