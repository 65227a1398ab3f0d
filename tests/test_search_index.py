"""The index under threads, bad input and stale sources, and what it costs."""

from __future__ import annotations

from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from voxid.errors import BadVoiceprint, StoreError, VoiceprintNotFound
from voxid.search import Index, blocks, index, kernels, ranking
from voxid.search.kernels import STORAGES
from voxid.search.workers import Workers

RNG = np.random.default_rng(0)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 64 rows, so that little data fills many."""
    for module in (blocks, index, ranking):
        monkeypatch.setattr(module, "ROWS", 64)
    for module in (blocks, index):
        monkeypatch.setattr(module, "FIRST", 4)


def noise(rows: int, dim: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, dim), np.float32)


# -- refused, with nothing changed --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("emb", "says"),
    [
        ([[1, 2, 3], [0, 0, 0]], "row 1"),
        ([[1, 2, np.nan], [1, 0, 0]], "row 0"),
        ([[1, 2, 3], [np.inf, 0, 0]], "row 1"),
        ([[1, 2], [3, 4]], "3 numbers"),
        ([[1, 2, 3]], "2 ids"),
        ([1, 2, 3], "2 ids"),
        ([["a", "b", "c"], ["d", "e", "f"]], "real numbers"),
        (np.ones((2, 3), complex), "real numbers"),
    ],
)
@pytest.mark.parametrize("storage", STORAGES)
def test_what_has_no_direction_is_refused(storage: kernels.Storage, emb: Any, says: str) -> None:
    held = Index(3, storage)
    held.add(["old", "older"], [[0, 0, 1], [0, 1, 1]])
    with pytest.raises(BadVoiceprint, match=says):
        held.add(["a", "b"], emb)
    with pytest.raises(BadVoiceprint, match=says):
        held.update(["old", "older"], emb)
    if says != "2 ids":
        with pytest.raises(BadVoiceprint, match=says):
            held.search(emb)
    assert len(held) == 2
    assert next(iter(held.search([0, 0, 2]))) == ("old", "old", 1.0)
    held.add(["a", "b"], [[1, 0, 0], [1, 1, 0]])
    assert held.search([1, 0, 0], top=1).ids_QK.tolist() == [["a"]]


def test_a_bad_row_far_in_adds_none_of_those_before(small_blocks: None) -> None:
    held, emb_ND = Index(3, "int8"), noise(500, 3)
    held.add(range(1000, 1010), emb_ND[:10])
    bad_ND = emb_ND.copy()
    bad_ND[400] = 0
    with pytest.raises(BadVoiceprint):
        held.add(range(500), bad_ND, groups=["g"] * 500)
    assert len(held) == 10
    assert set(held.search(emb_ND[0], top=600).ids_QK[0]) == set(range(1000, 1010))
    held.add(range(500), emb_ND)
    assert set(held.search(emb_ND[0], top=600).ids_QK[0]) == {*range(500), *range(1000, 1010)}


def test_ids_there_already_or_not_there() -> None:
    held = Index(2)
    held.add(["a", "b"], np.eye(2))
    for ids in (["a"], ["c", "c"]):
        with pytest.raises(StoreError, match=repr(ids[0])):
            held.add(ids, np.ones((len(ids), 2)))
    for ids in (["c"], ["a", "a"], ["b", "c"]):
        with pytest.raises(VoiceprintNotFound, match=repr(ids[-1])):
            held.remove(ids)
        with pytest.raises(VoiceprintNotFound):
            held.update(ids, np.ones((len(ids), 2)))
    with pytest.raises(TypeError):
        held.add(["c"], np.ones((1, 2)), groups=[["unhashable"]])
    assert held.search([1, 0]).ids_QK.tolist() == [["a", "b"]]


def test_arguments_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="int8"):
        Index(2, "int4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="0 dimensions"):
        Index(0)
    with pytest.raises(ValueError, match="fetch"):
        Index(2, fetch=lambda ids: [])
    with pytest.raises(ValueError, match="threads"):
        Index(2, threads=0)
    held = Index(2)
    with pytest.raises(ValueError, match="top=0"):
        held.search([1, 0], top=0)
    with pytest.raises(ValueError, match="worst"):
        held.search([1, 0], by="worst")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="list of ids"):
        held.add("ab", np.eye(2))
    with pytest.raises(ValueError, match="groups"):
        held.add(["a", "b"], np.eye(2), groups=["g"])


@pytest.mark.parametrize("by", ["voiceprint", "best", "mean"])
def test_nobody_is_found_in_an_empty_index(by: index.By) -> None:
    held = Index(2)
    assert held.search([[1, 0], [0, 1]], by=by).ids_QK.shape == (2, 0)
    held.add([1], [[1, 1]])
    held.remove([1])
    assert list(held.search([1, 0], by=by)) == []
    assert held.search(np.empty((0, 2)), by=by).cosines_QK.shape == (0, 0)


# -- costs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("storage", "least"), [("float16", 2), ("int8", 1)])
def test_few_rows_are_looked_at_again_and_fetch_saves_memory(storage: kernels.Storage, least: int) -> None:
    emb_ND, asked = noise(20_000, 192), []

    def fetch(ids: list[int]) -> np.ndarray:
        asked.extend(ids)
        return emb_ND[ids]

    held = Index(192, storage, fetch=fetch)
    held.add(range(20_000), emb_ND)
    exact = Index(192)
    exact.add(range(20_000), emb_ND)
    query_D = noise(1, 192, seed=1)[0]
    assert held.search(query_D, top=5).ids_QK.tolist() == exact.search(query_D, top=5).ids_QK.tolist()
    assert 5 <= len(asked) < 100
    per_row = held.memory / 20_000
    assert least * 192 < per_row < least * 192 * (2**15 / 20_000) + 150
    assert held.memory < exact.memory


def test_memory_goes_back_when_people_go(small_blocks: None) -> None:
    held = Index(256, "int8")
    held.add(range(640), noise(640, 256))
    full = held.memory
    for start in range(0, 636, 4):
        held.remove(range(start, start + 4))
    assert held.memory < full / 3
    held.remove(range(636, 640))
    held.add(range(640), noise(640, 256))
    assert held.memory <= full * 1.1


def test_search_many_streams_batches_of_one_moment() -> None:
    held = Index(4)
    held.add(range(3), np.eye(4)[:3])
    found = held.search_many(iter([np.eye(4), np.eye(4)[:1]]), top=1)
    first = next(found)
    held.add([3], np.eye(4)[3:])
    held.remove([0])
    assert next(found).ids_QK.tolist() == [[0]]
    assert first.ids_QK[:3, 0].tolist() == [0, 1, 2]
    assert held.search(np.eye(4), top=1).cosines_QK[3, 0] == 1


def test_more_queries_than_share_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    emb_ND = noise(300, 16)
    held = Index(16, "int8")
    held.add(range(300), emb_ND)
    for by in ("voiceprint", "mean"):
        assert held.search(emb_ND, top=1, by=by).ids_QK[:, 0].tolist() == list(range(300))


# -- fetch --------------------------------------------------------------------------------------------------


def test_a_source_that_changed_is_noticed() -> None:
    source = dict(enumerate(noise(50, 16)))
    held = Index(16, "int8", fetch=lambda ids: [source[n] for n in ids if n in source])
    held.add(list(source), list(source.values()))
    query_D = source[7]
    source[7] = noise(1, 16, seed=5)[0]
    with pytest.raises(StoreError, match="7"):
        held.search(query_D, top=1)
    held.update([7], [source[7]])
    assert held.search(source[7], top=1).ids_QK.tolist() == [[7]]
    query_D = source.pop(7)
    with pytest.raises(StoreError, match="gone"):
        held.search(query_D, top=1)


# -- threads ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("small", [1, 10_000])
@pytest.mark.parametrize("storage", STORAGES)
def test_a_search_sees_one_moment(
    small_blocks: None, monkeypatch: pytest.MonkeyPatch, storage: kernels.Storage, small: int
) -> None:
    """Two sets of people take turns, and residents are moved about by it. Every answer is one of the two."""
    monkeypatch.setattr(index, "SMALL", small)
    dim, one, two = 16, list(range(100)), list(range(100, 170))
    emb_ND = noise(170, dim)
    home_ND = noise(130, dim, seed=3)
    held = Index(dim, storage, threads=2)
    held.add([f"home {n}" for n in range(65)], home_ND[:65])
    held.add(one, emb_ND[one])
    held.add([f"home {n}" for n in range(65, 130)], home_ND[65:])
    homes = {f"home {n}" for n in range(130)}
    stop, wrong = Event(), []

    def look() -> None:
        while not stop.is_set():
            found = set(held.search(home_ND[0], top=1000).ids_QK[0])
            if not homes <= found or (found - homes) not in (set(one), set(two), set()):
                wrong.append(found)
                return

    readers = [Thread(target=look) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(30):
        held.remove(one)
        held.add(two, emb_ND[two])
        held.remove(two)
        held.add(one, emb_ND[one])
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert len(held) == 230


def test_what_is_being_read_is_never_written(small_blocks: None) -> None:
    """A search is stopped in the middle; whatever is done meanwhile, it answers for the moment it began."""
    emb_ND = noise(200, 8)
    for storage in STORAGES:
        held = Index(8, storage, threads=1)
        held.add(range(200), emb_ND)
        with held._reading() as moment:
            before = [b.columns_DN[:, :n].copy() for b, n in zip(moment.blocks, moment.counts, strict=True)]
            ids = [b.id_N[:n].tolist() for b, n in zip(moment.blocks, moment.counts, strict=True)]
            held.remove([0, 70, 199])
            held.update([1], -emb_ND[1:2])
            held.add(["new", "newer"], emb_ND[:2])
            held.remove(list(range(2, 60)))
            held.add(range(500, 560), emb_ND[:60])
            for block, count, was, names in zip(moment.blocks, moment.counts, before, ids, strict=True):
                assert (block.columns_DN[:, :count] == was).all()
                assert block.id_N[:count].tolist() == names
        assert len(held) == 200 - 3 + 2 - 58 + 60


def test_a_long_addition_keeps_no_search_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Index(4)
    held.add(["a"], [[1, 0, 0, 0]])
    begun, go_on, slow = Event(), Event(), index.unit_rows

    def stuck(emb_ND: Any, dim: int) -> np.ndarray:
        if len(emb_ND) == 5:
            begun.set()
            assert go_on.wait(200)
        return slow(emb_ND, dim)

    monkeypatch.setattr(index, "unit_rows", stuck)
    writer = Thread(target=lambda: held.add(range(5), noise(5, 4)))
    writer.start()
    assert begun.wait(200)
    found = held.search([1, 0, 0, 0]).ids_QK.tolist()
    go_on.set()
    writer.join()
    assert found == [["a"]]
    assert len(held) == 6


def test_after_churn_blocks_nobody_reads_are_changed_in_place(small_blocks: None) -> None:
    held = Index(4)
    held.add(range(100), noise(100, 4))
    before = list(held._blocks)
    for n in range(20):
        held.search([1, 0, 0, 0])
        held.remove([n])
        held.add([n], noise(1, 4))
    assert all(a is b for a, b in zip(before, held._blocks, strict=True))


@pytest.mark.parametrize("threads", [1, 4])
def test_workers_do_everything_once_and_raise(threads: int) -> None:
    workers, done = Workers(threads), []
    workers.each(done.append, range(100))
    assert sorted(done) == list(range(100))

    def fail(item: int) -> None:
        if item == 50:
            raise KeyError(item)

    with pytest.raises(KeyError):
        workers.each(fail, range(100))
    workers.each(done.append, range(100))
    assert len(done) == 200
