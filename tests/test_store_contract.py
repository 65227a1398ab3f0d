"""What every store must do. A new store passes by being added to KINDS."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import numpy as np
import pytest
from stores_server import Server

from voxid import stores
from voxid.errors import (
    BadName,
    BadVoiceprint,
    ModelMismatch,
    PersonExists,
    PersonNotFound,
    StoreError,
    StoreUnavailable,
    VoiceprintNotFound,
)
from voxid.stores import NewPerson, Store, Voiceprint, voiceprint

KINDS = ("sqlite", "memory", "postgres")
NAMES = [
    "alice",
    "Anna Maria  Müller",
    'O\'Brien "the voice"',
    "🎤👩‍🎤",
    "Robert'); DROP TABLE people;--",
    "100% _like_ %s ? :name {} \\",
    "名前",
    "line\nbreak\ttab",
    " space at both ends ",
    "x" * 1000,
]


def print_of(seed: int, model: str = "m", dim: int = 8, **more) -> Voiceprint:
    return voiceprint(np.random.default_rng(seed).standard_normal(dim), model=model, **more)


@pytest.fixture(params=KINDS)
def opened(request: pytest.FixtureRequest, tmp_path) -> Iterator[Callable[[], Store]]:
    """Opens the store under test; every call opens it anew, but in memory."""
    made: list[Store] = []
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        server.clear()
        url = server.url
    else:
        url = "sqlite://" if request.param == "memory" else f"sqlite:///{tmp_path}/people.db"

    def open_one() -> Store:
        if request.param == "memory" and made:
            return made[0]
        made.append(stores.open(url))
        return made[-1]

    yield open_one
    for store in made:
        store.close()


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    return opened()


def test_keeps_the_protocol(store: Store) -> None:
    assert isinstance(store, Store)


def test_what_was_enrolled_comes_back_whole(opened: Callable[[], Store]) -> None:
    first = print_of(1, speech_s=3.25, source="a 1.wav", extra={"snr": 20.5})
    second = print_of(2, speech_s=2.0)
    before = datetime.now(UTC)
    person = opened().enroll("alice", [first, second], metadata={"room": 7, "tags": ["x", None]})
    again = opened().get("alice")
    assert again == person
    assert again.voiceprints == (first, second)
    assert again.voiceprints[0].embedding.dtype == np.float32
    assert not again.voiceprints[0].embedding.flags.writeable
    assert again.metadata == {"room": 7, "tags": ["x", None]}
    assert (again.prints, again.speech_s) == (2, 5.25)
    assert before <= again.created <= again.updated <= datetime.now(UTC)


def test_a_second_enrollment_adds_and_replace_replaces(store: Store) -> None:
    one, two, three = print_of(1), print_of(2), print_of(3)
    store.enroll("alice", [one])
    assert store.enroll("alice", [two]).voiceprints == (one, two)
    assert store.enroll("alice", [three], replace=True).voiceprints == (three,)
    assert store.count() == 1


def test_enrolling_the_same_voiceprint_twice_keeps_it_once(store: Store) -> None:
    one = print_of(1)
    first = store.enroll("alice", [one])
    assert store.enroll("alice", [one]) == first


def test_exist_ok_false_refuses_and_changes_nothing(store: Store) -> None:
    person = store.enroll("alice", [print_of(1)])
    with pytest.raises(PersonExists, match="'alice' is enrolled"):
        store.enroll("alice", [print_of(2)], exist_ok=False)
    assert store.get("alice") == person


@pytest.mark.parametrize("name", NAMES, ids=lambda n: ascii(n[:12]))
def test_any_name_is_kept(store: Store, name: str) -> None:
    store.enroll("somebody", [print_of(0)])
    store.enroll(name, [print_of(1, source=name)], metadata={name: name})
    found = store.get(name)
    assert (found.name, found.voiceprints[0].source, found.metadata) == (name, name, {name: name})
    assert [p.name for p in store.people(prefix=name[:3])] == [name]
    assert store.export(name)["name"] == name
    store.delete(name)
    assert store.find(name) is None
    assert store.count() == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "is empty"),
        (" \t", "is empty"),
        ("a\0b", "NUL"),
        ("x" * 10_000, "at most 1,000 characters; got 10,000"),
        ("\ud800", "surrogate"),
        (b"bytes", "is text; got bytes"),
        (None, "is text; got NoneType"),
    ],
)
def test_a_name_that_cannot_be_kept_is_refused(store: Store, name, said: str) -> None:
    with pytest.raises(BadName, match=said):
        store.enroll(name, [print_of(1)])
    with pytest.raises(BadName, match=said):
        store.enroll("alice", [print_of(1)], collection=name)
    assert store.collections() == []


def test_names_are_one_however_they_are_composed(store: Store) -> None:
    store.enroll("Zoe\u0308", [print_of(1)])
    assert store.get("Zo\u00eb").name == "Zo\u00eb"


@pytest.mark.parametrize(
    ("embedding", "said"),
    [
        ([1.0, float("nan")], "1 numbers that are NaN or infinite"),
        ([float("inf"), 1.0], "NaN or infinite"),
        ([0.0, 0.0], "all zeros"),
        ([], r"got \(0,\)"),
        ([[1.0], [2.0]], r"got \(2, 1\)"),
        ("text", "got str"),
    ],
)
def test_an_embedding_that_cannot_be_compared_is_refused(store: Store, embedding, said: str) -> None:
    with pytest.raises(BadVoiceprint, match=said):
        voiceprint(embedding, model="m")
    with pytest.raises(BadVoiceprint, match=said):
        store.enroll("alice", [Voiceprint("id", embedding, "m")])
    assert store.count() == 0


def test_a_person_without_voiceprints_is_refused(store: Store) -> None:
    with pytest.raises(BadVoiceprint, match="at least one"):
        store.enroll("alice", [])
    assert store.find("alice") is None


def test_another_model_or_size_is_refused(store: Store) -> None:
    store.enroll("alice", [print_of(1, "old")])
    with pytest.raises(ModelMismatch, match="of model old; got one of new"):
        store.enroll("alice", [print_of(2, "new")])
    with pytest.raises(ModelMismatch, match="several models"):
        store.enroll("bob", [print_of(2, "old"), print_of(2, "new")])
    with pytest.raises(ModelMismatch, match="got a probe of new"):
        store.nearest(print_of(2).embedding, model="new")
    with pytest.raises(BadVoiceprint, match="embeddings of 8 numbers; got one of 9"):
        store.enroll("bob", [print_of(1, "old", dim=9)])
    assert store.model() == "old"
    assert (store.count(), store.get("alice").prints) == (1, 1)
    store.enroll("alice", [print_of(2, "new")], collection="other")  # each collection has its own


def test_an_emptied_collection_takes_another_model(store: Store) -> None:
    store.enroll("alice", [print_of(1, "old")])
    seen = store.matrix()
    store.delete("alice")
    assert store.model() is None
    store.enroll("alice", [print_of(1, "new", dim=5)])
    assert store.model() == "new"
    assert store.changes(seen.sequence, epoch=seen.epoch).reload


def test_metadata_is_merged_and_nothing_is_lost(store: Store) -> None:
    store.enroll("alice", [print_of(1)], metadata={"a": 1, "b": 2})
    store.enroll("alice", [print_of(2)], metadata={"c": 3})
    assert store.update_metadata("alice", {"a": None, "b": [True]}).metadata == {"b": [True], "c": 3}
    for bad in ({"x": float("nan")}, {"x": object()}, {1: 2}, ["x"], {"x": "y" * 1_000_001}):
        with pytest.raises(StoreError):
            store.update_metadata("alice", bad)
    assert store.get("alice").metadata == {"b": [True], "c": 3}


def test_rename(store: Store) -> None:
    person = store.enroll("alice", [print_of(1)])
    store.enroll("bob", [print_of(2)])
    with pytest.raises(PersonExists):
        store.rename("alice", "bob")
    assert store.rename("alice", "alicia").id == person.id
    with pytest.raises(PersonNotFound, match="nobody named 'alice'"):
        store.rename("alice", "x")
    assert [p.name for p in store.people()] == ["alicia", "bob"]


def test_lists_by_name_in_pages(store: Store) -> None:
    names = ["Z", "a", "ab", "abc", "b", "ä", "🎤"]
    store.enroll_many(NewPerson(name, [print_of(i)]) for i, name in enumerate(reversed(names)))
    assert [p.name for p in store.people()] == sorted(names)
    assert [p.name for p in store.people(prefix="ab")] == ["ab", "abc"]
    assert [p.name for p in store.people(after="ab", limit=2)] == ["abc", "b"]
    assert store.people(limit=1)[0].voiceprints == ()
    listed = store.people(prefix="abc", voiceprints=True)[0]
    assert listed == store.get("abc")
    assert store.people_by_id([listed.id, 10**9]) == {listed.id: store.people(prefix="abc")[0]}


def test_collections_are_apart(store: Store) -> None:
    store.enroll("alice", [print_of(1)])
    store.enroll("alice", [print_of(2), print_of(3)], collection="büro")
    assert [(c.name, c.people, c.voiceprints, c.dim) for c in store.collections()] == [
        ("büro", 1, 2, 8),
        ("default", 1, 1, 8),
    ]
    store.delete("alice", collection="bu\u0308ro")
    assert store.get("alice").prints == 1
    assert store.count(collection="nothing") == 0
    with pytest.raises(PersonNotFound, match="'nothing'"):
        store.get("alice", collection="nothing")


def test_enroll_many_is_enroll_many_times(store: Store) -> None:
    people = [NewPerson(f"p{i:03}", [print_of(i)], {"n": i}) for i in range(120)]
    more = [NewPerson("p007", [print_of(1000)]), NewPerson("p007", [print_of(1001)])]
    assert store.enroll_many(people + more, batch=50) == 122
    assert store.count() == 120
    assert store.get("p007").prints == 3
    assert store.get("p119").metadata == {"n": 119}
    assert len(store.audit()) == 122


def test_enroll_many_keeps_whole_batches_only(store: Store) -> None:
    people = [NewPerson(f"p{i}", [print_of(i)]) for i in range(7)] + [NewPerson("bad", [])]
    with pytest.raises(BadVoiceprint, match="'bad'"):
        store.enroll_many(people, batch=3)
    assert store.count() == 6


def test_deleting_a_voiceprint(store: Store) -> None:
    one, two = print_of(1), print_of(2)
    store.enroll("alice", [one, two])
    assert store.delete_voiceprint("alice", one.id).voiceprints == (two,)
    with pytest.raises(VoiceprintNotFound, match=two.id):
        store.delete_voiceprint("alice", one.id)
    with pytest.raises(StoreError):
        store.delete_voiceprint("alice", two.id)


def test_an_id_is_never_given_again(store: Store) -> None:
    first = store.enroll("alice", [print_of(1)])
    store.delete("alice")
    assert store.enroll("alice", [print_of(1)]).id > first.id


def test_the_trail_says_what_happened_and_forgets_who_was_deleted(store: Store) -> None:
    alice = store.enroll("alice", [print_of(1), print_of(2)])
    store.enroll("bob", [print_of(3)])
    store.rename("alice", "alicia")
    store.update_metadata("alicia", {"secret": "x"})
    lines = store.audit(name="alicia")
    assert [(line.action, line.name) for line in lines] == [
        ("enrolled", "alice"),
        ("renamed", "alicia"),
        ("metadata", "alicia"),
    ]
    assert lines[0].detail == {"voiceprints": 2}
    assert lines[1].detail == {"from": "alice"}
    receipt = store.delete("alicia")
    after = store.audit(person=alice.id)
    assert [line.action for line in after] == ["enrolled", "renamed", "metadata", "deleted"]
    assert [line.time for line in after[:3]] == [line.time for line in lines]
    assert (after[-1].sequence, after[-1].time, receipt.voiceprints) == (receipt.audit, receipt.time, 2)
    assert "alic" not in repr(store.audit())
    assert "secret" not in repr(store.audit())
    assert [line.name for line in store.audit() if line.name] == ["bob"]
    assert store.audit(after=receipt.audit) == []
    assert len(store.audit(limit=2)) == 2


def test_export_holds_everything_and_import_brings_it_back(store: Store) -> None:
    store.enroll(
        "alice", [print_of(1, source="a.wav", speech_s=2.5), print_of(2, extra={"k": 1})], metadata={"a": 1}
    )
    store.rename("alice", "alicia")
    before = store.get("alicia")
    exported = json.loads(json.dumps(store.export("alicia")))
    assert [line["action"] for line in exported["audit"]] == ["enrolled", "renamed"]
    with pytest.raises(PersonExists):
        store.import_(exported)
    store.delete("alicia")
    back = store.import_(exported)
    assert back.voiceprints == before.voiceprints
    assert (back.metadata, back.created, back.name) == (before.metadata, before.created, "alicia")
    assert store.import_(exported, replace=True).prints == 2
    assert store.import_(exported, collection="second").collection == "second"
    assert store.audit(collection="second")[-1].action == "imported"


def test_import_refuses_what_export_did_not_make(store: Store) -> None:
    store.enroll("alice", [print_of(1)])
    whole = store.export("alice")
    store.delete("alice")
    broken = [
        {},
        {**whole, "version": 99},
        {k: v for k, v in whole.items() if k != "voiceprints"},
        {**whole, "voiceprints": [{**whole["voiceprints"][0], "embedding": "AAAA"}]},
        {**whole, "voiceprints": [{**whole["voiceprints"][0], "embedding": "not base64!"}]},
        {**whole, "voiceprints": []},
        {**whole, "name": ""},
        {**whole, "created": "yesterday"},
    ]
    for bad in broken:
        with pytest.raises(StoreError):
            store.import_(bad)
    assert store.count() == 0


def packed(*numbers: float) -> str:
    return base64.b64encode(np.array(numbers, "<f4").tobytes()).decode()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"embedding": packed(3e38, 3e38), "dim": 2}, "the length 4.24e+38"),
        ({"embedding": packed(1e-45, 0), "dim": 2}, "the length 1.4e-45"),
        ({"speech_s": 1e39}, "seconds of speech"),
        ({"speech_s": 10**400}, "too large"),
        ({"speech_s": -1}, "seconds of speech"),
        ({"source": "\ud800"}, "lone surrogate"),
        ({"source": None}, "is text; got NoneType"),
        ({"id": "a\0b"}, "NUL"),
        ({"created": "0001-01-01T00:00:00+14:00"}, "is not a time"),
        ({"created": 17}, "is not a time"),
        ({"extra": ["x"]}, "metadata is a dict"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_import_refuses_by_name_what_would_spoil_the_search_of_all(
    store: Store, changed: dict, said: str
) -> None:
    store.enroll("mallory", [print_of(1)])
    whole = store.export("mallory")
    store.delete("mallory")
    broken = {**whole, "voiceprints": [{**whole["voiceprints"][0], **changed}]}
    with pytest.raises(StoreError, match=f"'mallory'.*{re.escape(said)}"):
        store.import_(broken)
    if "created" in changed:
        with pytest.raises(StoreError, match=f"'mallory'.*{re.escape(said)}"):
            store.import_({**whole, "created": changed["created"]})
    assert store.count() == 0


def test_matrix_holds_every_voiceprint(store: Store) -> None:
    people = [store.enroll(f"p{i}", [print_of(2 * i, speech_s=i), print_of(2 * i + 1)]) for i in range(5)]
    store.delete("p2")
    whole = store.matrix()
    assert whole.emb_ND.dtype == np.float32
    np.testing.assert_array_equal(
        whole.people_N, [p.id for p in people if p.name != "p2" for _ in p.voiceprints]
    )
    kept = [v for p in people if p.name != "p2" for v in p.voiceprints]
    np.testing.assert_array_equal(whole.emb_ND, [v.embedding for v in kept])
    np.testing.assert_array_equal(whole.speech_N, [v.speech_s for v in kept])
    assert len(set(whole.rows_N.tolist())) == 8
    for size in (1, 3, 8, 100):
        blocks = list(store.matrix_blocks(rows=size))
        assert all(len(block) == size for block in blocks[:-1])
        np.testing.assert_array_equal(np.concatenate([b.emb_ND for b in blocks]), whole.emb_ND)
        np.testing.assert_array_equal(np.concatenate([b.rows_N for b in blocks]), whole.rows_N)
    some = store.matrix(people=[people[3].id, people[2].id])
    np.testing.assert_array_equal(some.rows_N, whole.rows_N[whole.people_N == people[3].id])
    np.testing.assert_array_equal(some.emb_ND, whole.emb_ND[whole.people_N == people[3].id])
    assert len(store.matrix(collection="nothing")) == 0


def test_blocks_are_of_one_moment(opened: Callable[[], Store]) -> None:
    store = opened()
    for i in range(4):
        store.enroll(f"p{i}", [print_of(i)])
    blocks = store.matrix_blocks(rows=1)
    first = next(blocks)
    opened().enroll("late", [print_of(9)])
    assert [first.sequence, *(b.sequence for b in blocks)] == [first.sequence] * 4


def test_an_index_can_follow(opened: Callable[[], Store]) -> None:
    store, other = opened(), opened()
    ids = [store.enroll(f"p{i}", [print_of(i)]).id for i in range(3)]
    seen = store.matrix()
    assert store.changes(seen.sequence, epoch=seen.epoch).changes == ()
    other.delete("p0")
    other.enroll("p1", [print_of(7)])
    late = other.enroll("p3", [print_of(8)]).id
    other.rename("p1", "q1")
    told = store.changes(seen.sequence, epoch=seen.epoch)
    assert not told.reload
    assert [(c.person, c.name, c.kind) for c in told.changes] == [
        (ids[0], "", "deleted"),
        (late, "p3", "changed"),
        (ids[1], "q1", "changed"),
    ]
    assert told.latest == store.matrix().sequence
    assert store.changes(told.latest, epoch=told.epoch).changes == ()
    assert store.changes(told.latest, epoch="of another store").reload
    assert store.changes(told.latest + 1).reload
    assert store.changes(5, collection="nothing").reload


def test_nearest_is_the_highest_cosine(store: Store) -> None:
    rng = np.random.default_rng(3)
    emb_ND = rng.standard_normal((60, 8)) * rng.uniform(0.1, 10, (60, 1))
    store.enroll_many(NewPerson(f"p{i}", [voiceprint(e, model="m")]) for i, e in enumerate(emb_ND))
    store.enroll("elsewhere", [print_of(1)], collection="other")
    probe = rng.standard_normal(8)
    cosines = emb_ND @ probe / np.linalg.norm(emb_ND, axis=1) / np.linalg.norm(probe)
    best = np.argsort(-cosines)[:5]
    found = store.nearest(probe, 5, model="m")
    assert [n.name for n in found] == [f"p{i}" for i in best]
    np.testing.assert_allclose([n.cosine for n in found], cosines[best], atol=1e-6)
    assert found[0].voiceprint == store.get(found[0].name).voiceprints[0].id
    assert len(store.nearest(probe, 100)) == 60
    assert store.nearest(probe, 0) == store.nearest(probe, collection="nothing") == []
    store.optimize()
    store.delete(found[0].name)
    assert [n.name for n in store.nearest(probe, 4)] == [f"p{i}" for i in best[1:]]
    with pytest.raises(BadVoiceprint, match="has 3 numbers"):
        store.nearest([1, 2, 3])


def test_a_change_of_model_goes_on_where_it_was_and_is_not_seen_before_its_end(
    opened: Callable[[], Store],
) -> None:
    store = opened()
    old = [store.enroll(f"p{i}", [print_of(i, "old")]) for i in range(5)]
    seen = store.matrix()
    with pytest.raises(StoreError, match="no change of model"):
        store.finish_upgrade()
    store.begin_upgrade("new", dim=3)
    for person in store.upgrade_pending(limit=2):
        assert store.upgrade_person(person, [print_of(9, "new", dim=3, id=person.voiceprints[0].id)])
    again = opened()  # as if the program had been killed here
    progress = again.begin_upgrade("new", dim=3)
    assert (progress.done, progress.people, progress.old, progress.new) == (2, 5, "old", "new")
    with pytest.raises(ModelMismatch, match="on its way to model new"):
        again.begin_upgrade("third", dim=3)
    assert [p.name for p in again.upgrade_pending()] == ["p2", "p3", "p4"]
    np.testing.assert_array_equal(again.matrix().emb_ND, seen.emb_ND)
    assert again.get("p0") == old[0]
    assert len(again.export("p0")["voiceprints"]) == 2  # everything held, and that is two
    with pytest.raises(BadVoiceprint, match="makes 3 numbers; got 4"):
        again.upgrade_person(old[2], [print_of(1, "new", dim=4)])
    with pytest.raises(StoreError, match=r"3 of 5 people.*'p2', 'p3', 'p4'"):
        again.finish_upgrade()
    again.enroll("p0", [print_of(50, "old")])  # what was made for p0 is out of date now
    assert [p.name for p in again.upgrade_pending()] == ["p0", "p2", "p3", "p4"]
    assert not again.upgrade_person(old[0], [print_of(9, "new", dim=3)])
    again.delete("p4")
    for person in again.upgrade_pending():
        assert again.upgrade_person(person, [print_of(person.id, "new", dim=3)])
    again.finish_upgrade()
    assert again.upgrade() is None
    assert store.model() == "new"
    assert store.changes(seen.sequence, epoch=seen.epoch).reload
    assert store.matrix().emb_ND.shape == (4, 3)
    assert [p.name for p in store.people()] == ["p0", "p1", "p2", "p3"]
    assert [line.action for line in store.audit(person=0)] == ["upgrade begun", "upgrade finished"]


def test_a_change_of_model_can_leave_people_or_be_cancelled(store: Store) -> None:
    old = [store.enroll(f"p{i}", [print_of(i, "old")]) for i in range(3)]
    store.begin_upgrade("new", dim=8)
    store.upgrade_person(old[0], [print_of(9, "new")])
    store.cancel_upgrade()
    assert (store.upgrade(), store.matrix().emb_ND.shape) == (None, (3, 8))
    store.begin_upgrade("new", dim=8)
    assert store.upgrade_person(old[1], [print_of(9, "new")])
    store.finish_upgrade(missing="delete")
    assert [p.name for p in store.people()] == ["p1"]
    assert [line.name for line in store.audit(person=old[0].id)] == ["", ""]


def test_many_threads_lose_nothing(store: Store) -> None:
    failed: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for i in range(6):
                store.enroll("shared", [print_of(100 * thread + i)], metadata={f"{thread}-{i}": i})
                store.enroll(f"own {thread} {i}", [print_of(i)])
                store.nearest(print_of(i).embedding, 1)
                if i % 2:
                    store.delete(f"own {thread} {i}")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    shared = store.get("shared")
    assert (shared.prints, len(shared.metadata)) == (24, 24)
    assert store.count() == 1 + 4 * 3
    assert len(store.matrix()) == 24 + 12


def test_a_closed_store_says_so(opened: Callable[[], Store]) -> None:
    store = opened()
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="was closed"):
        store.count()
