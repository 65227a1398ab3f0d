"""The utterances an evaluation may use: a corpus in any layout, or a prepared folder, as one list.

# N utterances
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from voxid import corpora
from voxid.corpora.scanning import told_apart
from voxid.data.pack import Packed, is_prepared
from voxid.errors import BadTrials, EmptyCorpus
from voxid.types import ADULT_AGE, SAMPLE_RATE, Utterance


@dataclass(frozen=True)
class EvaluationData:
    """Utterances, their speakers, and their samples.

    `audio(i)` is what a runtime embeds. `fingerprint` tells two sets apart: of the samples for a prepared
    folder, of the names and file sizes for a corpus. `dropped` was left out when the folder was prepared.

    >>> read_data("people").name
    'people'
    >>> data = read_data("people")
    >>> data.speakers().tolist()[:4], data.speaker_names()[0]
    ([0, 0, 0, 1], 'speaker-0000')
    >>> data.sexes().tolist()[:2], data.adults().tolist()[:2], set(data.corpora())
    ([-1, -1], [-1, -1], {''})
    """

    name: str
    paths: list[str]
    fingerprint: str
    utterances: list[Utterance]
    audio: Callable[[int], Any]
    dropped: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def speakers(self) -> np.ndarray:
        """Return an int32 number for each utterance's speaker, (N,): a place in `speaker_names`."""
        return self._coded_speakers[1]

    def speaker_names(self) -> list[str]:
        """Return the names of the speakers, sorted."""
        return self._coded_speakers[0]

    @cached_property
    def _coded_speakers(self) -> tuple[list[str], np.ndarray]:
        names, code_N = np.unique([u.speaker for u in self.utterances], return_inverse=True)
        return names.tolist(), code_N.astype(np.int32)

    def corpora(self) -> list[str]:
        """Return the corpus of each utterance: the name of its folder where there are several, else ""."""
        if len(self.paths) < 2:
            return [""] * len(self.utterances)
        folders = sorted((str(Path(path).resolve()) for path in self.paths), key=len, reverse=True)
        names = dict(zip(folders, told_apart([Path(folder) for folder in folders]), strict=True))
        return [
            next(
                (names[at] for at in folders if u.path == at or u.path.startswith(at + os.sep)),
                u.utterance.split("/")[0],
            )
            for u in self.utterances
        ]

    def sexes(self) -> np.ndarray:
        """Return 0 for "m", 1 for "f", -1 for unknown, (N,) int8."""
        return np.array([{"m": 0, "f": 1}.get(u.sex, -1) for u in self.utterances], dtype=np.int8)

    def adults(self) -> np.ndarray:
        """Return 1 for adults, 0 for children (under 18), -1 for unknown, (N,) int8."""
        return np.array(
            [-1 if u.age is None else int(u.age >= ADULT_AGE) for u in self.utterances], dtype=np.int8
        )


def read_data(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], layout: str = "auto"
) -> EvaluationData:
    """Return the utterances of one prepared folder, or of one or several corpora together.

    Raise a CorpusError when a path is not a corpus, BadTrials when two utterances have one name.

    >>> data = read_data("people")
    >>> len(data.utterances), data.utterances[0].speaker
    (12, 'speaker-0000')
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    folders = [Path(path).expanduser() for path in given]
    if len(folders) == 1 and is_prepared(folders[0]):
        data = _from_packed(folders[0])
    else:
        data = _from_corpora(folders, layout)
    if not data.utterances:
        raise EmptyCorpus(f"{data.name} holds no utterances. Check the folder and its layout.")
    places: dict[str, str] = {}
    for u in data.utterances:
        if (first := places.setdefault(u.utterance, u.path)) is not u.path:
            raise BadTrials(
                f"two recordings of {data.name} have the name {u.utterance!r}, {first} and {u.path}, so a "
                "trial could mean either. Name them apart in the list."
            )
    return data


def _from_packed(folder: Path) -> EvaluationData:
    packed = Packed.open(folder)
    rows = packed.manifest().to_pylist()
    return EvaluationData(
        name=folder.name,
        paths=[str(folder)],
        fingerprint=packed.fingerprint,
        utterances=[Utterance(**row) for row in rows],
        audio=lambda i: (packed.wave(i), SAMPLE_RATE),
        dropped=dict(packed.info.get("dropped", {})),
        warnings=list(packed.info.get("warnings", [])),
    )


def _from_corpora(paths: list[Path], layout: str) -> EvaluationData:
    scan = corpora.scan(paths, layout=layout)
    utterances = list(scan)
    digest = hashlib.sha256()
    for u in sorted(utterances, key=lambda u: u.utterance):
        digest.update(f"{u.speaker}\0{u.utterance}\0{_size(u.path)}\n".encode())
    return EvaluationData(
        name=" + ".join(path.resolve().name for path in paths),
        paths=[str(path) for path in paths],
        fingerprint=digest.hexdigest(),
        utterances=utterances,
        audio=lambda i: utterances[i],
        warnings=list(scan.warnings),
    )


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:  # a missing file is left out, and counted, when it is to be embedded
        return -1
