"""Numbers for the names of a list: of utterances that the data has, or of names as they come.

# N utterances
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from pathlib import Path, PurePosixPath

from voxid.audio import AUDIO_SUFFIXES
from voxid.corpora.files import plain
from voxid.errors import BadScores, did_you_mean
from voxid.trials.data import EvaluationData
from voxid.trials.values import Models

SHOWN = 5  # missing names in a message
NEIGHBOURS = 5_000  # names compared with a misspelt one


class Numbers:
    """Numbers of utterances by name, name with a file suffix, path, or path inside the corpus.

    With `models`, numbers of models by their name instead. Names that are not found are counted in `missing`,
    and have number -1. A path that several utterances share (segments of one recording) names none of them.
    """

    def __init__(self, data: EvaluationData, models: Models | None = None) -> None:
        self._data = data
        self._by_name = {u.utterance: number for number, u in enumerate(data.utterances)}
        self._models = {name: models.first + m for m, name in enumerate(models.names)} if models else None
        self.missing: Counter[str] = Counter()

    def find(self, name: str) -> int:
        """Return the number of `name`, -1 when there is none."""
        if self._models is not None:
            return self._models.get(name, -1)
        if (number := self._by_name.get(name, -1)) >= 0:
            return number
        bare = bare_name(name)
        tries = (
            (self._by_name, bare),
            (self._by_path, name),
            (self._by_place, name),
            (self._by_place, bare),
            (self._by_name, plain(name)),
            (self._by_name, plain(bare)),
        )
        return next((known[wanted] for known, wanted in tries if wanted in known), -1)

    def __call__(self, name: str) -> int:
        """Return the number of `name`; -1, and count it as missing, when there is none."""
        if (number := self.find(name)) < 0:
            self.missing[name] += 1
        return number

    def about_missing(self, known: Iterable[str] = ()) -> str:
        """Return how many names are missing, the first of them, and what they may have meant."""
        shown = []
        for name in islice(self.missing, SHOWN):
            guess = did_you_mean(name, list(self._alike(name, known))).strip()
            shown.append(f"{name} (d{guess[1:]})" if guess else name)
        return (
            f"names {len(self.missing)} utterances that {self._data.name} does not have: {', '.join(shown)}"
            f"{', ...' * (len(self.missing) > SHOWN)}. Its utterances are named like "
            f"{self._data.utterances[0].utterance!r}."
        )

    def _alike(self, name: str, known: Iterable[str]) -> Iterator[str]:
        """Yield names to compare a misspelt one with; in a large corpus those that begin or end alike."""
        every = len(self._by_name) <= NEIGHBOURS
        begin, end = name[:3], name[-3:]
        alike = (o for o in chain(known, self._by_name) if every or o.startswith(begin) or o.endswith(end))
        yield from islice(alike, NEIGHBOURS)

    @cached_property
    def _by_path(self) -> dict[str, int]:
        return _unique((u.path, number) for number, u in enumerate(self._data.utterances))

    @cached_property
    def _by_place(self) -> dict[str, int]:
        """Paths inside the folders of the data, with and without the suffix."""
        roots = {
            root.rstrip(os.sep) + os.sep
            for path in self._data.paths
            for root in (str(Path(path).absolute()), os.path.realpath(path))
        }
        found = _unique(
            (u.path.removeprefix(root), number)
            for number, u in enumerate(self._data.utterances)
            for root in roots
            if u.path.startswith(root)
        )
        return found | _unique((bare_name(place), number) for place, number in found.items())


class Interned:
    """Numbers names as they come. With `bare`, "a.wav" and "a" are one name, unless one file has both."""

    def __init__(self, bare: bool = False) -> None:
        self._bare = bare
        self._numbers: dict[str, int] = {}
        self._spelled: dict[int, str] = {}
        self.names: list[str] = []

    def next_file(self) -> None:
        """Begin another file, which may spell the names in its own way."""
        self._spelled.clear()

    def find(self, name: str) -> int:
        """Return the number of a name that came before, else -1."""
        return self._numbers.get(bare_name(name) if self._bare else name, -1)

    def __call__(self, name: str) -> int:
        """Return the number of a name, a new one where it is new."""
        number = self.find(name)
        if number < 0:
            number = len(self.names)
            self._numbers[bare_name(name) if self._bare else name] = number
            self.names.append(name)
        if self._bare and self._spelled.setdefault(number, name) != name:
            raise BadScores(
                f"{self._spelled[number]!r} and {name!r} are two names in one file, and one without the "
                "suffix, so scores and trials cannot be matched by name. Give both files the same names."
            )
        return number


def bare_name(name: str) -> str:
    """Return the name without the suffix of an audio file."""
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in AUDIO_SUFFIXES and path.stem else name


def _unique(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the keys that stand for one number only."""
    found: dict[str, int] = {}
    for key, number in pairs:
        if found.setdefault(key, number) != number:
            found[key] = -1
    return {key: number for key, number in found.items() if number >= 0}
