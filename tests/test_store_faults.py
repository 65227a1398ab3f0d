"""What goes wrong around a store: processes that are killed or meet, disks, files and servers that fail."""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shutil
import sqlite3
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from store_children import come_and_go, enrol_for_ever, fill_the_disk, prints_for, read_on_a_full_disk
from stores_server import Server

from voxid import stores
from voxid.errors import (
    BadStoreUrl,
    NotWritable,
    StoreBusy,
    StoreDamaged,
    StoreError,
    StoreTooNew,
    StoreUnavailable,
)
from voxid.stores import Matrix, NewPerson, Store, voiceprint, wiping
from voxid.stores.schema import APPLICATION, SQLITE_STEPS, SQLITE_WORDS
from voxid.stores.session import State
from voxid.stores.sqlite import SqliteStore

# Children are forked from a small process that has voxid.stores imported: real, and quick to start.
START = multiprocessing.get_context("forkserver")
START.set_forkserver_preload(["store_children"])


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store that several processes can use."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/people.db"
    server: Server = request.getfixturevalue("postgres")
    server.clear()
    return server.url


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(path) as opened:
        yield opened


def enrol_some(store: Store, count: int = 30) -> None:
    store.enroll_many(NewPerson(f"p{i}", prints_for(f"p{i}")) for i in range(count))


# -- processes that are killed, and that meet -------------------------------------------------------------


def kill_while_enrolling(url: str, kills: int) -> None:
    """Kill a process at any moment of its enrolling, many times; each time see that no word was broken."""
    rng = random.Random(kills)
    with stores.open(url) as store:
        for round in range(kills):
            mine, its = START.Pipe(duplex=False)
            child = START.Process(target=enrol_for_ever, args=(url, f"r{round}", its))
            child.start()
            its.close()
            heard = [mine.recv() for _ in range(1 + rng.randrange(6))]
            child.join(rng.random() * 0.01)
            child.kill()
            child.join()
            heard += rest_of(mine)
            check_kept(store, f"r{round}-", heard)
        whole = store.matrix()
        assert len(whole) == 2 * store.count() == sum(p.prints for p in store.people())


def rest_of(mine: Connection) -> list[tuple[str, list[str]]]:
    """Return what the child still said; the last message may be half."""
    heard = []
    with mine:
        while True:
            try:
                heard.append(mine.recv())
            except (EOFError, OSError):
                return heard


def check_kept(store: Store, prefix: str, heard: list[tuple[str, list[str]]]) -> None:
    must, gone = set(), set()
    for what, names in heard:
        if what == "enrolled":
            must |= set(names)
        elif what == "deleting":  # acknowledged or not: either is right
            must -= set(names)
        elif what == "deleted":
            gone |= set(names)
    found = {p.name: p for p in store.people(prefix=prefix, voiceprints=True)}
    assert must <= set(found), f"acknowledged, and lost: {must - set(found)}"
    assert not gone & set(found), f"deleted, and there: {gone & set(found)}"
    for name, person in found.items():
        assert person.metadata == {"name": name}
        assert [v.id for v in person.voiceprints] == [v.id for v in prints_for(name)]
        np.testing.assert_array_equal(person.voiceprints[1].embedding, prints_for(name)[1].embedding)
        assert [line.action for line in store.audit(person=person.id)] == ["enrolled"]
    of_five = {name.rsplit("-", 1)[0] for name in found if name.count("-") == 2}
    assert all(f"{five}-{i}" in found for five in of_five for i in range(5)), "half a batch"


def test_killed_while_enrolling(url: str) -> None:
    kill_while_enrolling(url, 10)


@pytest.mark.slow
@pytest.mark.timeout(3_600)  # a process is started for each kill; minutes on a quiet machine
def test_killed_200_times_while_enrolling(url: str) -> None:
    kill_while_enrolling(url, 200)


def test_processes_that_enrol_identify_and_delete_at_once(url: str) -> None:
    rounds, index = 15, {}
    with stores.open(url, timeout=60) as store:
        store.enroll("shared", prints_for("shared"))
        seen: Matrix = store.matrix()
        latest, epoch = seen.sequence, seen.epoch
        put(index, seen)
        children = [START.Process(target=come_and_go, args=(url, f"c{n}", rounds)) for n in range(2)]
        for child in children:
            child.start()
        running = True
        while running:  # one more look after the last has ended
            running = any(child.is_alive() for child in children)
            told = store.changes(latest, epoch=epoch)
            assert not told.reload
            for change in told.changes:
                index.pop(change.person, None)
            put(index, store.matrix(people=[c.person for c in told.changes]))
            latest = told.latest
        assert [child.exitcode for child in children] == [0, 0]
        shared = store.get("shared")
        assert (shared.prints, len(shared.metadata)) == (2 + 2 * rounds, 2 * rounds)
        assert store.count() == 1 + 2 * (rounds - len(range(0, rounds, 3)))
        whole: dict[int, dict[int, bytes]] = {}
        put(whole, store.matrix())
        assert index == whole


def put(index: dict[int, dict[int, bytes]], matrix: Matrix) -> None:
    for row, person, emb_D in zip(matrix.rows_N, matrix.people_N, matrix.emb_ND, strict=True):
        index.setdefault(int(person), {})[int(row)] = emb_D.tobytes()


def test_a_fork_opens_connections_of_its_own(store: SqliteStore) -> None:
    enrol_some(store, 3)
    child = os.fork()
    if child == 0:
        try:
            store.enroll("of the child", prints_for("c"))
            os._exit(0 if store.count() == 4 else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert store.enroll("of the parent", prints_for("p")).prints == 2
    assert store.count() == 5


# -- deleting ---------------------------------------------------------------------------------------------


def bytes_on_disk(path: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(path.parent.glob(path.name + "*")))


def test_what_was_deleted_is_not_in_the_file_nor_in_its_log(path: Path, store: SqliteStore) -> None:
    names = [
        f"person {i * 7919 % 1500:05} {'name' * 12}" for i in range(1500)
    ]  # in no order: index pages split
    for some in (names[:700], names[700:]):
        store.enroll_many(NewPerson(n, prints_for(n), {"note": f"secret of {n}"}) for n in some)
    store.rename(names[3], "renamed, and then deleted")
    store.delete_voiceprint(names[4], f"{names[4]}/0")
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    content = path.read_bytes()
    # Rows that SQLite has moved leave a copy where they were, which no deletion overwrites.
    counts = Counter(found.decode() for found in re.findall(rb"person \d{5}", content))
    usual = sorted(counts.values())[len(counts) // 2]
    copied = [n for n in names if counts[n[:12]] > usual and n != names[3]]
    assert copied, "SQLite left no copies: this test must find another way to make them"
    for name in [*copied[:3], names[4], names[-1]]:
        assert name.encode() in bytes_on_disk(path)
        assert store.delete(name).wiped
        left = bytes_on_disk(path)
        assert name.encode() not in left
        for v in prints_for(name):
            packed = v.embedding.astype("<f4").tobytes()
            assert not any(packed[i : i + 64] in left for i in range(0, len(packed), 64))
    assert names[3].encode() in bytes_on_disk(path)  # the trail still says what the name was before
    assert store.delete("renamed, and then deleted").wiped
    left = bytes_on_disk(path)
    assert names[3].encode() not in left
    assert b"renamed, and then" not in left


def test_a_voiceprint_that_was_replaced_is_not_in_the_file(path: Path, store: SqliteStore) -> None:
    one, two = prints_for("a")
    store.enroll("a", [one])
    store.enroll("a", [two], replace=True)
    assert two.embedding.tobytes() in bytes_on_disk(path)
    assert one.embedding.tobytes()[:64] not in bytes_on_disk(path)


def test_a_reader_puts_the_wiping_off_and_the_next_opening_does_it(path: Path, store: SqliteStore) -> None:
    enrol_some(store)
    reading = store.matrix_blocks(rows=1)
    next(reading)
    assert not store.delete("p3").wiped
    assert store.find("p3") is None  # gone for everybody all the same
    packed = prints_for("p3")[0].embedding.tobytes()
    assert packed in bytes_on_disk(path)
    reading.close()
    SqliteStore(path).close()
    assert packed[:64] not in bytes_on_disk(path)
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT count(*) FROM wiping").fetchone() == (0,)
    raw.close()


def test_pieces_cover_whatever_is_left_of_256_bytes(path: Path) -> None:
    packed = np.random.default_rng(0).bytes(3000)
    for start in (0, 1, 100, 1400, 3000 - 256):
        path.write_bytes(b"-" * 500 + packed[start : start + 256] + b"-" * 500)
        assert wiping.holds_any(path, [packed])
    path.write_bytes(b"-" * 5000)
    assert not wiping.holds_any(path, [packed, b"name"])


def test_purge_takes_the_deleted_out_of_postgres(postgres: Server) -> None:
    postgres.clear()
    with stores.open(postgres.url) as store:
        enrol_some(store)
        assert not store.delete("p3").wiped
        assert store.purge()
    packed = prints_for("p3")[0].embedding.astype("<f4").tobytes()[:64]
    kept = prints_for("p4")[0].embedding.astype("<f4").tobytes()[:64]
    files = [f.read_bytes() for f in (postgres.data / "base").rglob("*") if f.is_file()]
    assert any(kept in f for f in files)
    assert not any(packed in f for f in files)
    assert not any(b"p3 0.wav" in f for f in files)


def test_the_trail_is_append_only_for_everybody(path: Path, store: SqliteStore, postgres: Server) -> None:
    import psycopg

    postgres.clear()
    with stores.open(postgres.url) as other:
        for one in (store, other):
            enrol_some(one, 2)
    with closing(sqlite3.connect(path)) as raw, psycopg.connect(postgres.url, autocommit=True) as server:
        for statement in (
            "DELETE FROM {}audit",
            "UPDATE {}audit SET name = 'somebody else'",
            "UPDATE {}audit SET name = '', detail = '{{}}', action = 'nothing'",
        ):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                raw.execute(statement.format(""))
            with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
                server.execute(statement.format("voxid.").encode())


# -- locks, disks, files ----------------------------------------------------------------------------------


def test_a_locked_file_is_said_to_be_busy(path: Path) -> None:
    with SqliteStore(path, timeout=0.05) as store:
        enrol_some(store, 3)
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusy, match=r"held by another process for more than 0\.05 s"):
                store.enroll("late", prints_for("late"))
            assert store.count() == 3  # reading goes on
            other.execute("ROLLBACK")
        assert store.enroll("late", prints_for("late")).prints == 2


def test_a_locked_collection_is_said_to_be_busy(postgres: Server) -> None:
    import psycopg

    postgres.clear()
    with stores.open(postgres.url, timeout=0.05) as store:
        enrol_some(store, 3)
        with psycopg.connect(postgres.url) as other:
            other.execute("SELECT * FROM voxid.collections FOR UPDATE")
            with pytest.raises(StoreBusy, match="held by somebody else"):
                store.enroll("late", prints_for("late"))
            assert store.count() == 3
        assert store.enroll("late", prints_for("late")).prints == 2


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any user may enter: those of pytest are for their owner alone."""
    folder = Path(tempfile.mkdtemp(prefix="vxstore"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_read_only_file_can_be_read_and_not_written(open_folder: Path, without_root: Callable) -> None:
    path = open_folder / "people.db"
    with SqliteStore(path) as store:
        enrol_some(store, 3)
    path.chmod(0o444)
    open_folder.chmod(0o555)
    with without_root():
        with pytest.raises(NotWritable, match="cannot be written"):
            stores.open(f"sqlite:///{path}")
        with stores.open(f"sqlite:///{path}?mode=ro") as store:
            assert store.get("p1").prints == 2
            assert len(store.matrix()) == 6
            with pytest.raises(NotWritable, match="read-only"):
                store.enroll("x", prints_for("x"))
        with pytest.raises(NotWritable):
            stores.open(f"sqlite:///{open_folder}/new.db")
    assert {p.name for p in open_folder.iterdir()} == {"people.db"}


def test_a_full_disk_loses_nothing(path: Path) -> None:
    mine, its = START.Pipe(duplex=False)
    child = START.Process(target=fill_the_disk, args=(str(path), its))
    child.start()
    said, done = mine.recv()
    child.join()
    assert child.exitcode == 0
    assert "no room to write the store" in said
    with SqliteStore(path) as store:
        assert store.count() == done + 2 > 2
        assert all(p.prints == 2 for p in store.people())


def test_on_a_full_disk_people_can_be_read(path: Path) -> None:
    with SqliteStore(path) as store:
        store.enroll("first", prints_for("first"))
    mine, its = START.Pipe(duplex=False)
    child = START.Process(target=read_on_a_full_disk, args=(str(path), its))
    child.start()
    its.close()
    usual, only_reading = rest_of(mine)
    child.join()
    assert usual[0] == "DiskFull"
    assert f"to only read meanwhile, open sqlite:///{path}?mode=ro" in usual[1]
    assert only_reading == ("read", 2)


@pytest.mark.parametrize(
    "content", [b"name,embedding\nalice,1\n" * 100, b"SQLite format 3\0" + b"\xff" * 5000, b"x"]
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match="not a SQLite database"):
        SqliteStore(path)
    assert path.read_bytes() == content


def test_the_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks (url)")
        other.commit()
    before = path.read_bytes()
    with pytest.raises(StoreDamaged, match="another program"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_said_to_be_damaged(path: Path) -> None:
    with SqliteStore(path) as store:
        enrol_some(store, 60)
    content = bytearray(path.read_bytes())
    content[3 * 8192 :] = np.random.default_rng(0).bytes(len(content) - 3 * 8192)
    path.write_bytes(content)
    with pytest.raises(StoreDamaged, match="Restore it from a backup"):
        read_all(path)


def read_all(path: Path) -> None:
    with SqliteStore(path) as store:
        store.matrix()


DAMAGES = {  # statement -> whether the embeddings are as they were
    "UPDATE people SET metadata = '{' WHERE name = 'p1'": True,
    "UPDATE people SET metadata = '[1]' WHERE name = 'p1'": True,
    "UPDATE people SET metadata = CAST(X'7bff' AS TEXT) WHERE name = 'p1'": True,
    "UPDATE people SET created = 'yesterday' WHERE name = 'p1'": True,
    "UPDATE people SET updated = X'00' WHERE name = 'p1'": True,
    "UPDATE voiceprints SET created = 5 WHERE id = 'p1/1'": True,
    "UPDATE voiceprints SET extra = '{' WHERE id = 'p1/1'": True,
    "UPDATE voiceprints SET source = X'ff' WHERE id = 'p1/1'": True,
    "UPDATE voiceprints SET speech_s = 'long' WHERE id = 'p1/1'": False,
    "UPDATE voiceprints SET speech_s = 1e39 WHERE id = 'p1/1'": False,
    "UPDATE voiceprints SET embedding = substr(embedding, 4) WHERE id = 'p1/1'": False,
    "UPDATE voiceprints SET embedding = substr(embedding, 5) WHERE id = 'p1/1'": False,
    "UPDATE voiceprints SET embedding = 'text' WHERE id = 'p1/1'": False,
    "UPDATE voiceprints SET embedding = zeroblob(768) WHERE id = 'p1/1'": False,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_row_harms_nobody_else(path: Path, store: SqliteStore, damage: str) -> None:
    enrol_some(store, 3)
    before, whole = store.matrix(), store.export("p1")

    def harm() -> None:
        with closing(sqlite3.connect(path)) as raw:
            raw.execute(damage)
            raw.commit()

    harm()
    for ask in (store.get, store.find, store.export, lambda name: store.update_metadata(name, {"a": 1})):
        with pytest.raises(StoreDamaged, match=r"'p1'.* is damaged: their .*Everybody else can be used"):
            ask("p1")
    for voiceprints in (False, True):
        listed = store.people(voiceprints=voiceprints)
        assert [p.name for p in listed] == ["p0", "p1", "p2"]
        assert [bool(p.damaged) for p in listed if p.name != "p1"] == [False, False]
    assert listed[1].damaged
    assert store.get("p2").prints == 2
    p1 = listed[1].id
    after = store.matrix()
    assert after.damaged == (() if DAMAGES[damage] else (p1,))
    if not DAMAGES[damage]:
        np.testing.assert_array_equal(after.emb_ND, before.emb_ND[[0, 1, 2, 4, 5]])
    assert store.nearest(prints_for("p2")[0].embedding, 1)[0].name == "p2"
    assert store.delete("p1").voiceprints == 2
    assert store.find("p1") is None
    assert prints_for("p1")[0].embedding.tobytes()[:64] not in bytes_on_disk(path)
    assert store.enroll("p1", prints_for("p1")).prints == 2
    harm()
    store.import_(whole, replace=True)  # what was exported before takes the place of what is damaged
    assert store.export("p1")["voiceprints"] == whole["voiceprints"]


def test_a_damaged_line_of_the_trail_is_named(path: Path, store: SqliteStore) -> None:
    enrol_some(store, 2)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("DROP TRIGGER audit_only_forgets")
        raw.execute("UPDATE audit SET time = 'then' WHERE name = 'p1'")
        raw.commit()
    with pytest.raises(StoreDamaged, match=r"line 2 of the audit trail, about 'p1'"):
        store.audit()
    assert len(store.audit(name="p0")) == 1


def test_places_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="there is no folder"):
        SqliteStore(tmp_path / "nowhere" / "people.db")
    with pytest.raises(StoreUnavailable, match="is a folder"):
        SqliteStore(tmp_path)
    with pytest.raises(StoreUnavailable, match="to read"):
        SqliteStore(tmp_path / "none.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_is_for_its_owner_alone(path: Path, store: SqliteStore) -> None:
    enrol_some(store, 1)
    for file in path.parent.glob("people.db*"):
        assert file.stat().st_mode & 0o077 == 0, file


@pytest.mark.parametrize(
    "wrong",
    ["sqlite:people.db", "sqlite://people.db", "sqlite:///", "mysql://x", "sqlit:///a", "", None, ":memory:",
     "host=here dbname=people", "sqlite:///a.db?mode=rw", "postgresql://h/d?ef_search=0", "postgresql://h/d?nonsense=1"],
)  # fmt: skip
def test_addresses_that_are_none(wrong) -> None:
    with pytest.raises(BadStoreUrl):
        stores.open(wrong)


@pytest.mark.parametrize(
    ("meant", "address"),
    [("sqlit:people.db", "Did you mean 'sqlite'"), (":memory:", r"In memory is sqlite://\."),
     ("sqlite:///:memory:", r"In memory is sqlite://\.")],
)  # fmt: skip
def test_an_address_that_is_nearly_one_is_completed(meant: str, address: str) -> None:
    with pytest.raises(BadStoreUrl, match=address):
        stores.open(meant)


def test_a_plain_path_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with stores.open("people.db") as store, stores.open(tmp_path / "people.db") as other:
        store.enroll("a", prints_for("a"))
        assert (store.url, other.count()) == ("sqlite:///people.db", 1)
    assert stores.open("sqlite:///people.db").count() == 1


def test_an_address_with_odd_letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stores.open(f"sqlite:///{tmp_path}/a%20b%3F%25.db") as store:
        store.enroll("a", prints_for("a"))
    assert (tmp_path / "a b?%.db").exists()
    with stores.open(f"sqlite:///{tmp_path}/a%20b%3F%25.db?mode=ro") as store:
        assert store.count() == 1
    monkeypatch.chdir(tmp_path)
    stores.open("sqlite:///here.db").close()
    assert (tmp_path / "here.db").exists()


# -- schemas ----------------------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_by_its_number(path: Path, postgres: Server) -> None:
    import psycopg

    postgres.clear()
    SqliteStore(path).close()
    stores.open(postgres.url).close()
    with closing(sqlite3.connect(path)) as raw, psycopg.connect(postgres.url) as server:
        raw.execute("PRAGMA user_version = 77")
        server.execute("UPDATE voxid.about SET schema = 77")
    for url in (f"sqlite:///{path}", postgres.url):
        with pytest.raises(StoreTooNew, match=r"has schema 77; voxid \S+ knows up to 3"):
            stores.open(url)


def make_first_schema(path: Path) -> None:
    """Make a store as the first schema had it, with somebody in it."""
    with closing(sqlite3.connect(path)) as raw:
        for statement in SQLITE_STEPS[0]:
            raw.execute(statement.format(**SQLITE_WORDS))
        raw.execute(f"PRAGMA application_id = {APPLICATION}")
        raw.execute("PRAGMA user_version = 1")
        time, packed = "2026-01-01T00:00:00.000000+00:00", np.ones(4, "<f4").tobytes()
        raw.execute("INSERT INTO collections VALUES (1, 'default', 'm', 4, 1, 0, 'e', ?)", (time,))
        raw.execute("INSERT INTO people VALUES (1, 1, 'alice', '{}', ?, ?, 1, 1)", (time, time))
        raw.execute(
            "INSERT INTO voiceprints VALUES (1, 'v', 1, 1, 'm', ?, 2.5, 'a.wav', ?, '{}')", (packed, time)
        )
        raw.commit()


def test_an_older_schema_is_brought_up(path: Path) -> None:
    make_first_schema(path)
    with pytest.raises(NotWritable, match="older schema"):
        SqliteStore(path, read_only=True)
    with SqliteStore(path) as store:
        assert store.get("alice").voiceprints[0].embedding.tolist() == [1, 1, 1, 1]
        store.begin_upgrade("new", dim=2)  # what the newer schema is for
        assert store.upgrade_person(store.upgrade_pending()[0], [voiceprint([1, 2], model="new")])
        store.finish_upgrade()
    with SqliteStore(path, read_only=True) as store:
        assert store.model() == "new"


def test_a_file_of_voxid_0_1_0_opens(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript((Path(__file__).parent / "store_0_1_0.sql").read_text("utf-8"))
    with SqliteStore(path, read_only=True) as store:
        alicia = store.get("alicia")
        assert [v.embedding.tolist() for v in alicia.voiceprints] == [
            pytest.approx([0.6, 0.8, 0.0]),
            pytest.approx([0.8, 0.6, 0.0]),
        ]
        assert (alicia.metadata, alicia.speech_s) == ({"room": 7}, 6.25)
        assert dict(alicia.voiceprints[0].extra) == {"total_s": 5.0}
        assert [p.name for p in store.people()] == ["Zoë", "alicia"]
        assert [(c.name, c.model, c.people) for c in store.collections()] == [
            ("büro", "other", 1),
            ("default", "m", 2),
        ]
    with SqliteStore(path) as store:
        assert [line.action for line in store.audit(name="alicia")] == ["enrolled", "renamed"]
        assert store.nearest([0, 0, 1], 1)[0].name == "Zoë"
        assert [p.name for p in store.upgrade_pending()] == ["alicia"]
        assert store.enroll("new", [voiceprint([1, 1, 1], model="m")]).id == 5
        store.finish_upgrade(missing="delete")
        assert (store.model(), [p.name for p in store.people()]) == ("next", ["Zoë"])


def test_a_step_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_first_schema(path)
    broken = (SQLITE_STEPS[0], (*SQLITE_STEPS[1], "CREATE TABLE people (id)"))
    monkeypatch.setattr("voxid.stores.schema.SQLITE_STEPS", broken)
    with pytest.raises(StoreError, match="already exists"):
        SqliteStore(path)
    monkeypatch.undo()
    with SqliteStore(path) as store:
        assert store.count() == 1


# -- servers ----------------------------------------------------------------------------------------------


def test_a_server_that_goes_away_and_comes_back(postgres: Server) -> None:
    postgres.clear()
    with stores.open(postgres.url) as store:
        enrol_some(store, 3)
        postgres.stop()
        try:
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match=r"cannot be reached\. Try again"):
                    store.enroll("late", prints_for("late"))
            with pytest.raises(StoreUnavailable):
                stores.open(postgres.url)
        finally:
            postgres.start()
        assert store.count() == 3
        person = store.enroll("late", prints_for("late"))
        postgres.stop()
        postgres.start()  # between two uses: nobody needs to notice
        assert store.enroll("late", prints_for("late")) == person
        assert store.count() == 4


def test_a_server_with_a_password_is_not_quoted_with_it() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        stores.open("postgresql://me:hush@127.0.0.1:1/none")
    assert "hush" not in str(caught.value)
    assert "me:***@127.0.0.1" in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "postgress://me:HUSH@host/people",
        "me:HUSH@host/people",
        "postgresql:me:HUSH@host",
        "mysql://host/people?user=me&password=HUSH",
        "postgresql://127.0.0.1:1/none?password=HUSH",
        "postgresql://me:HU@SH@127.0.0.1:1/none",
        "postgresql://me:HU/SH@127.0.0.1:1/none",
        "postgresql://me:HUSH%zz@127.0.0.1:1/none",
        "postgresql://me:HUSH@127.0.0.1:port/none",
        "postgresql://me:HUSH@127.0.0.1:1/none?nonsense=1",
        "postgresql://me:HUSH@127.0.0.1:1/none?ef_search=0",
        "postgresql://me@127.0.0.1:1/none?sslpassword=HUSH&nonsense=1",
    ],
)
def test_no_message_holds_a_password(address: str) -> None:
    with pytest.raises(StoreError) as caught:
        stores.open(address)
    said = "".join(traceback.format_exception(caught.value)[-1:]) + str(caught.value.__cause__)
    assert "SH" not in said
    assert "***" in said or "ef_search" in said


def test_options_with_spaces_reach_the_server(postgres: Server) -> None:
    postgres.clear()
    with stores.open(f"{postgres.url}&options=-c%20work_mem%3D77MB%20-c%20geqo%3Doff&ef_search=50") as store:
        with store._connection() as connection:  # type: ignore[attr-defined]
            assert connection.execute("SHOW work_mem").fetchone() == ("77MB",)
            assert connection.execute("SHOW geqo").fetchone() == ("off",)
        assert (store.ef_search, store.count()) == (50, 0)  # type: ignore[attr-defined]


def test_more_users_than_the_pool_has_connections(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxid.stores.postgres.CONNECTIONS", 1)
    monkeypatch.setattr("voxid.stores.postgres.POOL_S", 0.1)
    postgres.clear()
    with stores.open(postgres.url) as store:
        enrol_some(store, 3)
        reading = store.matrix_blocks(rows=1)
        next(reading)
        assert store.count() == 3
        reading.close()


def test_hnsw_finds_and_stays_within_its_collection(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxid.stores.postgres.INDEX_FROM", 200)
    postgres.clear()
    rng = np.random.default_rng(0)
    emb_ND = rng.standard_normal((600, 16))
    with stores.open(f"{postgres.url}&ef_search=200") as store:
        for n, space in enumerate(("a", "b")):
            part = emb_ND[n * 300 : n * 300 + 300]
            people = (NewPerson(f"{space}{i}", [voiceprint(e, model="it's")]) for i, e in enumerate(part))
            store.enroll_many(people, collection=space)
            store.optimize(collection=space)
            store.optimize(collection=space)  # there is nothing more to do
        with store._connection() as connection:  # type: ignore[attr-defined]
            found = connection.execute(
                "SELECT indexname FROM pg_indexes WHERE indexname LIKE 'hnsw%'"
            ).fetchall()
            assert len(found) == 2
        hits = 0
        for row in range(50):
            probe = emb_ND[row] + 0.5 * rng.standard_normal(16)
            near = store.nearest(probe, 5, collection="a")
            assert all(n.name.startswith("a") for n in near)
            assert len(near) == 5
            hits += near[0] == store.nearest(probe, 1, exact=True, collection="a")[0]
        assert hits >= 49
        used = explained(store, emb_ND[0])
        assert "Index Scan using hnsw_" in used
        store.begin_upgrade("next", dim=3, collection="a")
        store.upgrade_person(
            store.upgrade_pending(collection="a")[0], [voiceprint([1, 2, 3], model="next")], collection="a"
        )
        store.finish_upgrade(missing="delete", collection="a")
        assert len(store.nearest([1, 2, 3], collection="a")) == 1
        store.optimize(collection="a")
        with store._connection() as connection:  # type: ignore[attr-defined]
            found = connection.execute(
                "SELECT indexname FROM pg_indexes WHERE indexname LIKE 'hnsw%'"
            ).fetchall()
            assert len(found) == 1  # that of the former model went


def explained(store: Store, probe: np.ndarray) -> str:
    """Return the plan PostgreSQL makes for `nearest`."""
    plans = []
    with store._read() as session:  # type: ignore[attr-defined]
        real = session.rows

        def rows(sql: str, values=()):
            if "<=>" in sql:
                plans.extend(line for (line,) in real("EXPLAIN " + sql, values))
            return real(sql, values)

        session.rows = rows
        state = State(
            *real("SELECT id, model, dim, sequence, reloaded, epoch FROM collections WHERE name = 'a'")[0]
        )
        store._nearest(session, state, np.asarray(probe, np.float32), 5, False)  # type: ignore[attr-defined]
    return "\n".join(plans)


@pytest.mark.parametrize(
    ("bytes_each", "own", "asked"), [(1_000, "64MB", "64MB"), (2**30, "64MB", "2GB"), (2**30, "3GB", "3GB")]
)
def test_an_index_is_built_in_the_memory_it_needs_and_never_in_less_than_the_server_gives(
    postgres: Server, monkeypatch: pytest.MonkeyPatch, bytes_each: int, own: str, asked: str
) -> None:
    import psycopg

    postgres.clear()
    monkeypatch.setattr("voxid.stores.postgres.INDEX_FROM", 2)
    monkeypatch.setattr("voxid.stores.postgres.LINK_BYTES", bytes_each)
    note = b"CREATE TABLE voxid.seen AS SELECT current_setting('maintenance_work_mem') AS memory"
    monkeypatch.setattr("voxid.stores.postgres._create_index", lambda *_: note)
    with psycopg.connect(postgres.url, autocommit=True) as server:
        server.execute(f"ALTER ROLE postgres SET maintenance_work_mem = '{own}'".encode())
        try:
            with stores.open(postgres.url) as store:
                enrol_some(store, 3)
                store.optimize()
            assert server.execute("SELECT memory FROM voxid.seen").fetchall() == [(asked,)]
        finally:
            server.execute("ALTER ROLE postgres RESET maintenance_work_mem")


def test_an_index_is_built_by_one_process_where_there_is_no_memory_to_share(
    postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.clear()
    monkeypatch.setattr("voxid.stores.postgres.INDEX_FROM", 2)
    build = b"""DO $$ BEGIN
        IF current_setting('max_parallel_maintenance_workers') <> '0' THEN
            RAISE disk_full USING MESSAGE = 'could not resize shared memory segment: No space left on device';
        END IF;
        CREATE TABLE voxid.seen (); END $$"""
    monkeypatch.setattr("voxid.stores.postgres._create_index", lambda *_: build)
    with stores.open(postgres.url) as store:
        enrol_some(store, 3)
        store.optimize()
        with store._connection() as connection:  # type: ignore[attr-defined]
            assert connection.execute("SELECT count(*) FROM voxid.seen").fetchone() == (0,)


@pytest.mark.parametrize("known", [False, True])
def test_a_batch_reads_those_it_names_and_not_all_who_are_there(postgres: Server, known: bool) -> None:
    """The server has counted nothing yet: autovacuum is off, as it is in the first minute of any database."""
    postgres.clear()
    with stores.open(postgres.url) as store:
        enrol_some(store, 2_000)
        before = rows_read(store)
        names = [f"p{i}" if known else f"new {i}" for i in range(300)]
        store.enroll_many(NewPerson(name, prints_for(name)) for name in names)
        # Of those who are there the person, and two voiceprints; of the new, the keys that refer to them.
        assert rows_read(store) - before < 4 * len(names)
        assert store.count() == 2_000 + (not known) * len(names)


def rows_read(store: Store) -> int:
    """Return how many rows of the tables of people and voiceprints have been read."""
    with store._connection() as connection:  # type: ignore[attr-defined]
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute(
            """SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables
            WHERE relname IN ('people', 'voiceprints')"""
        ).fetchone()
    assert row is not None
    return int(row[0])
