"""The people of a collection: listed, shown, renamed, deleted, exported. Needs a store, and no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any, Self

import numpy as np

from voxid import stores
from voxid.errors import PersonNotFound
from voxid.scoring import Side, reference
from voxid.stores import DEFAULT, AuditEntry, Erasure, OptOut, Person, Store, Voiceprint

DEFAULT_URL = "sqlite:///voxid.db"
PAGE = 1_000  # people whose voiceprints are read at once for a list
ALIKE = 10_000  # names that are looked through for "did you mean"


class People:
    """The people of one collection in a store, given by its address or as an open store.

    Case counts in names; each method that takes one raises PersonNotFound, which suggests the nearest name.

    >>> from voxid.recognizer import People
    >>> with People("people.db") as people:
    ...     people.speakers()
    ['alice', 'bob']
    """

    def __init__(self, url: str | Store = DEFAULT_URL, *, collection: str = DEFAULT) -> None:
        self._owns = isinstance(url, str) or not hasattr(url, "people_by_id")
        self.store: Store = stores.open(url) if self._owns else url  # type: ignore[arg-type, assignment]
        self.collection = collection

    @property
    def where(self) -> str:
        """The collection and the address of the store, in words.

        >>> rec.where
        "collection 'default' of sqlite:///people.db"
        """
        return f"collection {self.collection!r} of {self.store.url}"

    def speakers(self, *, prefix: str | None = None) -> list[str]:
        """Return the names of all who are enrolled, in the order of their code points.

        >>> rec.speakers(prefix="a")
        ['alice']
        """
        return [person.name for person in self.store.people(prefix=prefix, collection=self.collection)]

    def people(self, *, prefix: str | None = None) -> list[Person]:
        """Return all who are enrolled, by name, without their voiceprints.

        Voiceprints are checked, some people at a time: `Person.damaged` says whose cannot be compared.

        >>> [(person.name, person.prints) for person in rec.people()]
        [('alice', 2), ('bob', 1)]
        """
        found: list[Person] = []
        while page := self.store.people(
            prefix=prefix,
            after=found[-1].name if found else None,
            limit=PAGE,
            voiceprints=True,
            collection=self.collection,
        ):
            found += [replace(person, voiceprints=()) for person in page]
        return found

    def get(self, name: str) -> Person:
        """Return the person with their voiceprints.

        >>> [print_.source for print_ in rec.get("alice").voiceprints]
        ['alice1.wav', 'alice2.wav']
        """
        person = self.store.find(name, collection=self.collection)
        if person is None:
            self.store.refuse_opted_out(name, collection=self.collection)
            raise self._nobody(name)
        return person

    def opt_out(self, name: str) -> Erasure | None:
        """Refuse the voice of `name` from now on, and remove what is held; return the receipt, if any.

        A lasting state, whether they were enrolled or not: enrolling, verifying and renaming to that name
        raise OptedOut, until `opt_in`.

        >>> rec.opt_out("eve")
        >>> [one.name for one in rec.opted_out()]
        ['eve']
        >>> rec.opt_in("eve")
        """
        return self.store.opt_out(name, collection=self.collection)

    def opt_in(self, name: str) -> None:
        """Let `name` be enrolled again; raise StoreError for somebody who did not opt out.

        >>> rec.opt_out("eve")
        >>> rec.opt_in("eve")
        """
        self.store.opt_in(name, collection=self.collection)

    def opted_out(self) -> list[OptOut]:
        """Return who opted out, by name.

        >>> rec.opted_out()
        []
        """
        return self.store.opted_out(collection=self.collection)

    def delete(self, name: str) -> Erasure:
        """Delete everything that is stored about a person, damaged or not; return the receipt.

        >>> rec.enroll("carol", "alice3.wav").voiceprints, rec.delete("carol").voiceprints
        (1, 1)
        """
        try:
            return self.store.delete(name, collection=self.collection)
        except PersonNotFound:
            raise self._nobody(name) from None

    def remove_clip(self, name: str, voiceprint: str) -> Person:
        """Return the person without one voiceprint, named by its id (`Clip.voiceprint`).

        Raise VoiceprintNotFound, and StoreError for the only one.

        >>> done = rec.enroll("carol", ["alice1.wav", "alice3.wav"])
        >>> rec.remove_clip("carol", done.clips[0].voiceprint).prints
        1
        """
        self.get(name)
        return self.store.delete_voiceprint(name, voiceprint, collection=self.collection)

    def rename(self, old: str, new: str) -> Person:
        """Return the renamed person; raise PersonExists or BadName for the new name.

        >>> rec.rename("bob", "robert").name, rec.rename("robert", "bob").name
        ('robert', 'bob')
        """
        self.get(old)
        return self.store.rename(old, new, collection=self.collection)

    def export(self, name: str) -> dict[str, Any]:
        """Return everything that is stored about a person, as values that JSON can hold.

        >>> len(rec.export("alice")["voiceprints"])
        2
        """
        self.get(name)
        return self.store.export(name, collection=self.collection)

    def import_(self, exported: Mapping[str, Any], *, replace: bool = False) -> Person:
        """Return the person that `export` described, put into this collection.

        Raise StoreError, ModelMismatch, and PersonExists unless `replace`.

        >>> rec.import_(rec.export("alice"), replace=True).name
        'alice'
        """
        return self.store.import_(exported, replace=replace, collection=self.collection)

    def audit(self, name: str | None = None) -> list[AuditEntry]:
        """Return what was done to a person, or to anybody of the collection, oldest first.

        >>> [entry.action for entry in rec.audit("bob")][:1]
        ['enrolled']
        """
        return self.store.audit(name=name, collection=self.collection)

    def close(self) -> None:
        """Close the store, if it was opened here.

        >>> voxid.Recognizer("people.db").close()
        """
        if self._owns:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _nobody(self, name: str) -> PersonNotFound:
        known = [person.name for person in self.store.people(limit=ALIKE, collection=self.collection)]
        shown = name if len(name) <= 60 else f"{name[:60]}..."
        where = self.where
        if not known:
            return PersonNotFound(
                f"nobody named {shown!r}: {where} is empty. Enroll somebody first: "
                "voxid enroll NAME RECORDING..., or Recognizer.enroll in Python."
            )
        folded = {other.casefold(): other for other in known}
        close = get_close_matches(name[:1_000].casefold(), folded, n=1)
        meant = f" Did you mean {folded[close[0]]!r}?" if close else ""
        return PersonNotFound(
            f"nobody named {shown!r} in {where}, which holds {len(known):,} "
            f"{'person' if len(known) == 1 else 'people'}.{meant}"
        )


def sides(people: Sequence[Sequence[Voiceprint]]) -> Side:
    """Return what people are compared by, from the voiceprints of each (one at least)."""
    every = [print_ for prints in people for print_ in prints]
    return reference(
        np.stack([print_.embedding for print_ in every]),
        np.array([print_.speech_s for print_ in every]),
        np.cumsum([0, *(len(prints) for prints in people[:-1])]),
    )
