"""Any order of calls, on every store, against a plain dict."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from stores_server import Server

from voxid import stores
from voxid.errors import PersonExists, PersonNotFound, StoreError
from voxid.stores import NewPerson, Store, Voiceprint, voiceprint

NAMES = st.sampled_from(["a", "A", "ab", "ä", "🎤", "o'b"])
FEW = settings(
    max_examples=8,
    stateful_step_count=12,
    suppress_health_check=list(HealthCheck),
)


def machine(open_one: Callable[[], Store]) -> type[RuleBasedStateMachine]:
    class Machine(RuleBasedStateMachine):
        """The store beside a dict of name -> (metadata, voiceprints), and an index that follows."""

        def __init__(self) -> None:
            super().__init__()
            self.store = open_one()
            self.people: dict[str, tuple[dict, list[Voiceprint]]] = {}
            self.index: dict[int, list[bytes]] = {}
            self.latest, self.epoch, self.made = 0, "", 0

        def new(self, count: int) -> list[Voiceprint]:
            self.made += count
            rng = np.random.default_rng(self.made)
            return [voiceprint(rng.standard_normal(4), model="m") for _ in range(count)]

        @rule(name=NAMES, count=st.integers(1, 3), replace=st.booleans(), key=st.sampled_from("xyz"))
        def enroll(self, name: str, count: int, replace: bool, key: str) -> None:
            prints = self.new(count)
            self.store.enroll(name, prints, replace=replace, metadata={key: self.made})
            metadata, before = self.people.get(name, ({}, []))
            self.people[name] = ({**metadata, key: self.made}, prints if replace else before + prints)

        @rule(names=st.lists(NAMES, max_size=5))
        def enroll_many(self, names: list[str]) -> None:
            people = [NewPerson(name, self.new(1)) for name in names]
            assert self.store.enroll_many(people, batch=2) == len(names)
            for one in people:
                metadata, before = self.people.get(one.name, ({}, []))
                self.people[one.name] = (metadata, [*before, *one.voiceprints])

        @rule(old=NAMES, new=NAMES)
        def rename(self, old: str, new: str) -> None:
            if old not in self.people:
                with pytest.raises(PersonNotFound):
                    self.store.rename(old, new)
            elif new in self.people and new != old:
                with pytest.raises(PersonExists):
                    self.store.rename(old, new)
            else:
                self.store.rename(old, new)
                self.people[new] = self.people.pop(old)

        @rule(name=NAMES)
        def delete(self, name: str) -> None:
            if name not in self.people:
                with pytest.raises(PersonNotFound):
                    self.store.delete(name)
            else:
                assert self.store.delete(name).voiceprints == len(self.people.pop(name)[1])

        @rule(name=NAMES)
        def delete_first_voiceprint(self, name: str) -> None:
            if name in self.people:
                prints = self.people[name][1]
                if len(prints) == 1:
                    with pytest.raises(StoreError):
                        self.store.delete_voiceprint(name, prints[0].id)
                else:
                    self.store.delete_voiceprint(name, prints.pop(0).id)

        @rule(name=NAMES)
        def move_out_and_in(self, name: str) -> None:
            if name in self.people:
                exported = self.store.export(name)
                self.store.delete(name)
                self.store.import_(exported)

        @invariant()
        def holds_the_same(self) -> None:
            found = {p.name: (p.metadata, list(p.voiceprints)) for p in self.store.people(voiceprints=True)}
            assert found == self.people
            assert self.store.count() == len(self.people)

        @invariant()
        def an_index_follows(self) -> None:
            told = self.store.changes(self.latest, epoch=self.epoch)
            changed = None if told.reload else [c.person for c in told.changes]
            if told.reload:
                self.index.clear()
            for person in changed or []:
                self.index.pop(person, None)
            add(self.index, self.store.matrix(people=changed))
            self.latest, self.epoch = told.latest, told.epoch
            whole: dict[int, list[bytes]] = {}
            add(whole, self.store.matrix())
            assert self.index == whole

        def teardown(self) -> None:
            self.store.close()

    return Machine


def add(index: dict[int, list[bytes]], matrix: stores.Matrix) -> None:
    for person, emb_D in zip(matrix.people_N, matrix.emb_ND, strict=True):
        index.setdefault(int(person), []).append(emb_D.tobytes())


def test_sqlite_is_a_dict() -> None:
    run_state_machine_as_test(
        machine(lambda: stores.open("sqlite://")), settings=settings(FEW, max_examples=12)
    )


def test_postgres_is_a_dict(postgres: Server) -> None:
    def open_empty() -> Store:
        postgres.clear()
        return stores.open(postgres.url)

    run_state_machine_as_test(machine(open_empty), settings=FEW)
