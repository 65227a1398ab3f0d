"""What a store keeps beside the people, in SQLite and in PostgreSQL: opt-outs, notes, keys, who did it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from stores_server import Server

from voxid import stores
from voxid.errors import OptedOut, StoreError
from voxid.stores import ApiKey, NewPerson, Store, acting, voiceprint
from voxid.stores.values import now

PRINT = voiceprint([1.0, 2.0], model="m")


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/people.db"
    if request.param == "postgres":
        server: Server = request.getfixturevalue("postgres")
        server.clear()
        url = server.url
    with stores.open(url) as opened:
        yield opened


def test_who_opted_out_is_refused_on_every_way_in(store: Store) -> None:
    store.enroll("bea", [PRINT])
    store.enroll("al", [PRINT])
    exported = store.export("bea")
    with acting("door (k1)"):
        receipt = store.opt_out("bea")
    assert receipt is not None
    assert receipt.voiceprints == 1
    assert store.opt_out("never seen") is None
    assert store.opt_out("bea") is None  # twice is harmless
    assert [one.name for one in store.opted_out()] == ["bea", "never seen"]
    assert store.find("bea") is None
    for way_in in (
        lambda: store.enroll("bea", [PRINT]),
        lambda: store.enroll_many([NewPerson("cy", [PRINT]), NewPerson("never seen", [PRINT])]),
        lambda: store.rename("al", "bea"),
        lambda: store.import_(exported),
        lambda: store.refuse_opted_out("bea"),
    ):
        with pytest.raises(OptedOut, match="opted out"):
            way_in()
    assert [person.name for person in store.people()] == ["al"]
    store.enroll("bea", [PRINT], collection="elsewhere")
    store.opt_in("bea")
    assert store.enroll("bea", [PRINT]).prints == 1
    with pytest.raises(StoreError, match="did not opt out"):
        store.opt_in("bea")
    lines = [line for line in store.audit(collection="default") if line.action == "opted out"]
    assert dict(lines[0].detail) == {"voiceprints": 1, "by": "door (k1)"}


def test_collections_have_notes_and_end_whole(store: Store) -> None:
    store.set_notes({"settings": {"far": 0.1}, "place": {"a": 1}}, collection="c")
    store.set_notes({"place": {}}, collection="c")
    assert (store.note("settings", collection="c"), store.note("place", collection="c")) == ({"far": 0.1}, {})
    assert store.note("settings") == {}
    store.enroll("al", [PRINT], collection="c")
    store.opt_out("bo", collection="c")
    seen = store.changes(0, collection="c")
    assert store.delete_collection("c") == 1
    assert store.collections() == []
    store.enroll("cy", [PRINT], collection="c")  # another one of that name
    assert (store.opted_out(collection="c"), store.note("settings", collection="c")) == ([], {})
    assert store.changes(seen.latest, epoch=seen.epoch, collection="c").reload
    with pytest.raises(StoreError, match="no collection"):
        store.delete_collection("gone")


def test_keys_are_kept_and_revoked(store: Store) -> None:
    store.add_key(ApiKey("k1", "digest", "door", "read", "", now()))
    assert [(key.id, key.revoked) for key in store.api_keys("k1")] == [("k1", None)]
    assert store.revoke_key("k1").revoked is not None
    assert store.api_keys("k2") == []
    with pytest.raises(StoreError, match="no key 'k2'"):
        store.revoke_key("k2")


def test_a_file_of_0_1_0_is_read_without_a_change(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript((Path(__file__).parent / "store_0_1_0.sql").read_text("utf-8"))
    before = path.read_bytes()
    with stores.open(f"sqlite:///{path}?mode=ro") as store:
        assert (store.opted_out(), store.note("settings"), store.api_keys()) == ([], {}, [])
        store.refuse_opted_out("alicia")
    assert path.read_bytes() == before
