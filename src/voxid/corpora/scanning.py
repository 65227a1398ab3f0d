"""Which layout is this, and what is in it: one or several corpora as one stream of utterances."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from voxid.corpora.files import plain, subfolders
from voxid.corpora.seen import Seen
from voxid.errors import BadCorpusFile, CorpusError, CorpusNotFound, EmptyCorpus, UnknownLayout, did_you_mean
from voxid.registry import Registry
from voxid.types import Utterance

# What is most particular comes first, and is asked first: nearly everything is a folder of folders.
_LAYOUTS = {
    "kaldi": "voxid.corpora.kaldi:Kaldi",
    "voxceleb": "voxid.corpora.trees:VoxCeleb",
    "cn-celeb": "voxid.corpora.trees:CnCeleb",
    "librispeech": "voxid.corpora.trees:LibriSpeech",
    "libritts": "voxid.corpora.trees:LibriTTS",
    "vctk": "voxid.corpora.trees:Vctk",
    "aishell": "voxid.corpora.trees:Aishell",
    "timit": "voxid.corpora.trees:Timit",
    "common-voice": "voxid.corpora.tables:CommonVoice",
    "csv": "voxid.corpora.tables:CsvList",
    "speech-commands": "voxid.corpora.trees:SpeechCommands",
    "folders": "voxid.corpora.trees:Folders",
}
LAYOUTS = Registry("layout", _LAYOUTS)
DETECTION_ORDER = tuple(_LAYOUTS)

# Layouts whose names of speakers are the same in every copy and subset, by family.
ONE_NUMBERING = {
    "librispeech": "LibriVox",
    "libritts": "LibriVox",
    "voxceleb": "VoxCeleb",
    "cn-celeb": "CN-Celeb",
    "vctk": "VCTK",
    "timit": "TIMIT",
}
# Folders of these names are parts of the corpus above them, which has the better name.
SPLITS = {"train", "training", "dev", "devel", "valid", "validation", "val", "test", "testing", "eval"}

StrPath = str | os.PathLike[str]


class Layout(Protocol):
    """One way in which corpora lie on disk. A new one is a class, and a line in `LAYOUTS`."""

    warnings: list[str]

    def detect(self, path: Path) -> bool:
        """Return whether `path` is a corpus of this layout; nothing is decoded."""
        ...

    def utterances(self, path: Path) -> Iterator[Utterance]:
        """Yield the utterances; what a user should know besides goes into `warnings`."""
        ...


class Scan(Iterator[Utterance]):
    """An iterator of utterances that also knows its `sources`, and, once it has run out, its `warnings`.

    >>> len(list(scan("people")))
    12
    """

    def __init__(self, corpora: list[tuple[Path, str]]) -> None:
        self.sources = [str(path) for path, _ in corpora]
        self.warnings: list[str] = []
        self._corpora = corpora
        self._stream = self._run()

    def __next__(self) -> Utterance:
        return next(self._stream)

    def count(self) -> int:
        """Return the number of utterances, from a pass of its own: this iterator stays where it is.

        >>> scan("people").count()
        12
        """
        return sum(1 for path, layout in self._corpora for _ in _utterances(path, LAYOUTS.get(layout)()))

    def _run(self) -> Iterator[Utterance]:
        home: dict[str, int] = {}  # speaker -> the corpus that named it first
        prefixes = _prefixes(self._corpora)
        once = _Once([path for path, _ in self._corpora])
        for number, (path, layout) in enumerate(self._corpora):
            utterance = None
            shared: dict[str, int] = {}
            reader = LAYOUTS.get(layout)()
            for found in _utterances(path, reader):
                utterance = _renamed(found, prefixes[number])
                first = home.setdefault(utterance.speaker, number)
                if first != number:
                    shared[utterance.speaker] = first
                if (named := once.take(utterance, number)) is not None:
                    yield named
            if utterance is None:
                raise EmptyCorpus(f"{path}: no recordings in it as layout {layout!r}. {_describe()}")
            self.warnings += reader.warnings
            self._warn_shared(shared, number)
        self.warnings += once.warnings()

    def _warn_shared(self, shared: dict[str, int], number: int) -> None:
        """Say which speakers two corpora name alike: nobody else can know whether they are one person."""
        layouts = [layout for _, layout in self._corpora]
        for other in sorted(set(shared.values())):
            if ONE_NUMBERING.get(layouts[other], "other") == ONE_NUMBERING.get(layouts[number]):
                continue
            names = sorted(speaker for speaker, first in shared.items() if first == other)
            self.warnings.append(
                f"speakers named alike in {self.sources[other]} and {self.sources[number]}: {len(names)} "
                f"({', '.join(names[:5])}{', ...' * (len(names) > 5)}). They count as the same people; "
                "if they are not, rename them in one of the two."
            )


class _Once:
    """Takes each row once, and gives recordings of several corpora that have one name two."""

    def __init__(self, corpora: list[Path]) -> None:
        self._folders = told_apart(corpora)
        self._names, self._rows = Seen(), Seen()  # whose corpus; whose speaker
        self._speakers: dict[str, int] = {}
        self._twice: list[str] = []
        self._renamed: list[str] = []

    def take(self, said: Utterance, corpus: int) -> Utterance | None:
        """Return the utterance under a name of its own, None when this very row came before.

        Raise BadCorpusFile where one recording is said to be two speakers. Two recordings of one corpus under
        one name stay so: whoever needs the name refuses or drops them.
        """
        speaker = self._speakers.setdefault(said.speaker, len(self._speakers))
        row = _digest(said.path, said.start_s, said.duration_s, said.channel)
        name, owner = _digest(said.utterance), self._rows.find(row)
        first = self._names.find(name)
        if owner is not None and owner != speaker:
            other = list(self._speakers)[owner]
            raise BadCorpusFile(
                f"{said.path} is listed for two speakers, {other!r} and {said.speaker!r} (utterance "
                f"{said.utterance!r}). Remove one of the two rows, or give each its times or its channel."
            )
        if owner is not None and first is not None:
            self._twice.append(said.utterance)
            return None
        if first is not None and first != corpus:
            said = replace(said, utterance=f"{self._folders[corpus]}/{said.utterance}")
            self._renamed.append(said.utterance)
            name = _digest(said.utterance)
        self._names.add(name, corpus)
        self._rows.add(row, speaker)
        return said

    def warnings(self) -> list[str]:
        """Return what happened to rows and names, with examples."""
        renamed = "utterances have a name that another corpus has too; their folder's was added"
        said = [(self._twice, "rows are there twice and count once"), (self._renamed, renamed)]
        return [
            f"{len(names)} {what} ({', '.join(names[:5])}{', ...' * (len(names) > 5)})."
            for names, what in said
            if names
        ]


def _digest(*values: object) -> bytes:
    return hashlib.blake2b(repr(values).encode(errors="surrogatepass"), digest_size=8).digest()


def _prefixes(corpora: list[tuple[Path, str]]) -> list[str]:
    """Return what goes before the names of each corpus, so that strangers of one name stay two people.

    Folders side by side are subsets of one corpus and share their speakers' names, as in LibriSpeech. Corpora
    that live in different places each get the name of their place.
    """
    homes: list[Path] = []
    known: dict[str, Path] = {}  # family of corpora -> the home of the first
    for path, layout in corpora:
        family = ONE_NUMBERING.get(layout)
        inside = layout == "csv" and path.is_dir() and path.name.lower() not in SPLITS
        home = path if inside else path.parent
        homes.append(known.setdefault(family, home) if family else home)
    places = list(dict.fromkeys(homes))
    if len(places) == 1:
        return [""] * len(corpora)
    names = dict(zip(places, told_apart(places), strict=True))
    return [f"{names[home]}/" for home in homes]


def told_apart(paths: list[Path]) -> list[str]:
    """Return a name for each of several different paths: as few of its last folders as tell it apart.

    >>> told_apart([Path("/data/a/train"), Path("/data/b/train"), Path("/data/c")])
    ['a/train', 'b/train', 'c']
    """
    names = [path.name for path in paths]
    for depth in range(2, max(len(path.parts) for path in paths) + 1):
        names = [
            name if names.count(name) == 1 else "/".join(path.parts[-depth:]).replace("//", "/")
            for name, path in zip(names, paths, strict=True)
        ]
    return names


def _renamed(utterance: Utterance, prefix: str) -> Utterance:
    """Return the utterance under names that are one Unicode form, with `prefix` before them."""
    names = {
        "speaker": prefix + plain(utterance.speaker),
        "utterance": prefix + plain(utterance.utterance),
        "session": plain(utterance.session),
    }
    return replace(utterance, **names)


def scan(
    paths: StrPath | Iterable[StrPath], layout: str = "auto", subsets: Iterable[str] | None = None
) -> Scan:
    """Return an iterator over the utterances of one or several corpora; paths in them are absolute.

    Of corpora from different places, names get the place in front ("LibriSpeech/19").
    A row that came before is left out and counted, a name that another corpus has gets its folder in front.
    `layout` is a name of LAYOUTS or "auto"; `subsets` are folders inside the paths, to take only those. Raise
    CorpusNotFound, UnknownLayout, EmptyCorpus, BadCorpusFile or UnknownComponent.

    >>> for utterance in scan("LibriSpeech", subsets=["dev-clean"]):  # doctest: +SKIP
    ...     print(utterance.speaker, utterance.path)
    """
    given = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not given:
        raise CorpusNotFound(f"no corpus given. {_describe()}")
    found = [Path(os.path.abspath(path)) for path in given]  # noqa: PTH100 - keeps links as the user wrote them
    for path in found:
        try:
            there = path.exists()
        except OSError as error:
            raise _unopened(error) from error
        if not there:
            raise CorpusNotFound(f"{path}: no such file or folder. Check the path. {_describe()}")
    if subsets is not None:
        found = _pick(found, list(subsets))
    corpora = [(path, _layout_of(path, layout)) for path in dict.fromkeys(found)]
    return Scan(corpora)


def detect(path: Path) -> str | None:
    """Return the name of the layout `path` has, None when it has none that voxid knows."""
    for name in DETECTION_ORDER:
        if LAYOUTS.get(name)().detect(path):
            return name
    return None


def _utterances(path: Path, reader: Layout) -> Iterator[Utterance]:
    try:
        yield from reader.utterances(path)
    except OSError as error:
        raise _unopened(error) from error


def _unopened(error: OSError) -> CorpusError:
    return CorpusError(f"{error.filename}: cannot be opened ({error.strerror}). Check path and permissions.")


def _layout_of(path: Path, layout: str) -> str:
    try:
        if layout != "auto":
            LAYOUTS.get(layout)
            return layout
        name = detect(path)
        inside = _corpora_inside(path) if name in (None, "folders") and path.is_dir() else {}
    except OSError as error:
        raise _unopened(error) from error
    if inside:
        listed = ", ".join(f"{child.name} ({kind})" for child, kind in inside.items())
        raise UnknownLayout(
            f"{path} is not one corpus but holds {len(inside)}: {listed}. "
            f"Give the ones you want, for example {next(iter(inside))}"
        )
    if name is None:
        raise UnknownLayout(f"{path}: no known layout. {_describe()}")
    if name == "folders" and (doubt := LAYOUTS.get(name)().doubt(path)).certain:
        raise UnknownLayout(
            f"{doubt.why}. Give the folder that holds the speakers' folders, or, if they are speakers, "
            "--layout folders."
        )
    return name


def _corpora_inside(path: Path) -> dict[Path, str]:
    """Return the folders in `path` that are corpora of a particular layout themselves."""
    kinds = {child: detect(child) for child in subfolders(path)}
    return {child: kind for child, kind in kinds.items() if kind not in (None, "folders")}


def _pick(paths: list[Path], subsets: list[str]) -> list[Path]:
    """Return the folders named by `subsets` inside `paths`."""
    picked = []
    for subset in subsets:
        there = [path / subset for path in paths if (path / subset).exists()]
        if not there:
            known = [child.name for path in paths if path.is_dir() for child in subfolders(path)]
            raise CorpusNotFound(
                f"no subset {subset!r} in {', '.join(map(str, paths))}. "
                f"There: {', '.join(known[:12]) or 'none'}.{did_you_mean(subset, known)}"
            )
        picked += there
    return picked


def _describe() -> str:
    return (
        "voxid knows: a CSV of speaker,path; a folder a speaker; kaldi (wav.scp, utt2spk); and the folders "
        f"of {', '.join(name for name in DETECTION_ORDER if name not in ('csv', 'folders', 'kaldi'))} "
        "(docs/corpora.md shows each)."
    )
