"""What the processes do that the tests of faults start, and kill."""

from __future__ import annotations

import resource
from multiprocessing.connection import Connection

import numpy as np

from voxid import stores
from voxid.errors import DiskFull, VoxidError
from voxid.stores import NewPerson, Voiceprint, voiceprint


def prints_for(name: str, dim: int = 192) -> list[Voiceprint]:
    """Two voiceprints that can be told from the name alone."""
    rng = np.random.default_rng(list(name.encode()))
    return [
        voiceprint(rng.standard_normal(dim), model="m", id=f"{name}/{i}", source=f"{name} {i}.wav")
        for i in range(2)
    ]


def enrol_for_ever(url: str, prefix: str, told: Connection) -> None:
    """Enroll people, one and five at a time, and delete some; say what was acknowledged."""
    store = stores.open(url)
    told.send(("open", []))
    count = 0
    while True:
        name = f"{prefix}-{count}"
        store.enroll(name, prints_for(name), metadata={"name": name})
        told.send(("enrolled", [name]))
        names = [f"{prefix}-{count}-{i}" for i in range(5)]
        store.enroll_many(NewPerson(n, prints_for(n), {"name": n}) for n in names)
        told.send(("enrolled", names))
        if count % 2:
            told.send(("deleting", [name]))
            store.delete(name)
            told.send(("deleted", [name]))
        count += 1


def come_and_go(url: str, prefix: str, rounds: int) -> None:
    """Enroll people of one's own and add to somebody shared; identify; delete some."""
    store = stores.open(url, timeout=60)
    for i in range(rounds):
        name = f"{prefix}-{i}"
        store.enroll(name, prints_for(name))
        store.enroll("shared", [prints_for(name)[0]], metadata={name: i})
        found = store.nearest(prints_for(name)[1].embedding, 1)
        assert found[0].name == name, (found, name)
        if i % 3 == 0:
            store.delete(name)
    store.close()


def fill_the_disk(path: str, told: Connection) -> None:
    """Enroll until a real limit on the size of files is met; then go on without it."""
    store = stores.open(f"sqlite:///{path}")
    store.enroll("first", prints_for("first"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, hard))
    done = 0
    try:
        for done in range(2_000):
            store.enroll(f"p{done}", prints_for(f"p{done}"))
        told.send(("never full", done))
    except DiskFull as error:
        told.send((str(error), done))
    assert store.get("first").prints == 2  # reading goes on
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    store.enroll("after", prints_for("after"))
    store.close()


def read_on_a_full_disk(path: str, told: Connection) -> None:
    """Open a store where no file can grow: as it is opened usually, and only to read."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    for address in (f"sqlite:///{path}", f"sqlite:///{path}?mode=ro"):
        try:
            with stores.open(address) as store:
                told.send(("read", store.get("first").prints))
        except VoxidError as error:
            told.send((type(error).__name__, str(error)))
