"""Set speakers aside: two lists of one corpus that share no speaker.

Speakers to calibrate on, or to choose between recipes with, must be neither trained on nor tested on.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from voxid.corpora.files import plain
from voxid.corpora.scanning import scan
from voxid.errors import BadConfig, BadCorpusFile, NotEnoughSpeakers
from voxid.files import atomic_write
from voxid.types import ADULT_AGE, Utterance

COLUMNS = (
    *("speaker", "utterance", "path", "start_s", "duration_s"),
    *("channel", "sex", "age", "language", "session"),
)

StrPath = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class SplitList:
    """One list of a split, and what it holds."""

    path: str
    speakers: int
    utterances: int


@dataclass(frozen=True, slots=True)
class Split:
    """Two lists without a common speaker."""

    rest: SplitList
    held_out: SplitList
    warnings: list[str]


def split(
    paths: StrPath | Iterable[StrPath],
    out: StrPath,
    *,
    hold_out: float = 0.2,
    seed: int = 0,
    layout: str = "auto",
) -> Split:
    """Write `out`/rest.csv and `out`/held-out.csv, corpora of the csv layout, and return what they hold.

    `hold_out` is the share of the speakers that go into held-out.csv, between 0 and 1. The share is taken
    within each sex and age group (child < 18), as far as labels tell. A speaker's place depends on `seed`
    and the name alone: with one seed, a larger share holds the speakers of a smaller one and more.

    Raise BadConfig for a share out of range, NotEnoughSpeakers when a side would be empty, a CorpusError
    when a path is no corpus, and OutputError.
    """
    if not 0 < hold_out < 1:
        raise BadConfig(f"the share to hold out is between 0 and 1, got {hold_out!r}. The usual is 0.2.")
    corpus = scan(paths, layout=layout)
    said: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in corpus:
        said[utterance.speaker].append(utterance)
    chosen = _choose(said, hold_out, seed)
    if not chosen or len(chosen) == len(said):
        raise NotEnoughSpeakers(
            f"{len(said)} speakers cannot be split with a share of {hold_out:g} held out: one side would be "
            "empty. Take another share, or more speakers."
        )
    folder = Path(out)
    return Split(
        rest=_write(folder / "rest.csv", [u for name in said if name not in chosen for u in said[name]]),
        held_out=_write(folder / "held-out.csv", [u for name in said if name in chosen for u in said[name]]),
        warnings=list(corpus.warnings),
    )


def _choose(said: dict[str, list[Utterance]], share: float, seed: int) -> set[str]:
    """Return the speakers to hold out: of each group its share, shuffled by seed and name."""
    groups: dict[tuple[str, bool | None], list[str]] = defaultdict(list)
    for speaker, utterances in said.items():
        age = utterances[0].age
        groups[utterances[0].sex, None if age is None else age >= ADULT_AGE].append(speaker)
    chosen: set[str] = set()
    owed = 0.0  # what rounding left over, so that many small groups together keep the share
    for group in sorted(groups, key=repr):
        speakers = sorted(groups[group], key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
        owed += share * len(speakers)
        take = min(len(speakers), round(owed))
        owed -= take
        chosen.update(speakers[:take])
    return chosen


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _write(path: Path, utterances: list[Utterance]) -> SplitList:
    with atomic_write(path, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for utterance in utterances:
            if not _is_utf8(utterance.path):
                raise BadCorpusFile(
                    f"{plain(utterance.path)}: a list cannot hold a name that is not UTF-8. Rename it."
                )
            writer.writerow([getattr(utterance, column) for column in COLUMNS])
    return SplitList(str(path), len({u.speaker for u in utterances}), len(utterances))
