"""LibriSpeech (Panayotov et al., ICASSP 2015): subset/speaker/chapter/*.flac, and SPEAKERS.TXT above."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from voxid.corpora.files import audio_files, bad_line, is_audio, lines, sex_of, subfolders
from voxid.types import Utterance

NAME = re.compile(r"(\d+)-(\d+)-\d+\.\w+")


class LibriSpeech:
    """The root that holds the subsets, or one subset."""

    def detect(self, path: Path) -> bool:
        """Return whether `path` is a subset, or holds one."""
        return path.is_dir() and bool(_subsets(path))

    def utterances(self, path: Path) -> Iterator[Utterance]:
        """Yield the utterances of every subset below `path`; raise BadCorpusFile on a bad SPEAKERS.TXT."""
        for subset in _subsets(path):
            sexes = _sexes(subset)
            for speaker in _numbered(subset):
                for chapter in _numbered(speaker):
                    for file in audio_files(chapter):
                        yield Utterance(
                            speaker=speaker.name,
                            utterance=file.stem,
                            path=str(file),
                            sex=sexes.get(speaker.name, ""),
                            language="en",
                            session=chapter.name,
                        )


def _subsets(path: Path) -> list[Path]:
    if _is_subset(path):
        return [path]
    return [folder for folder in subfolders(path) if _is_subset(folder)]


def _numbered(folder: Path) -> list[Path]:
    return [child for child in subfolders(folder) if child.name.isdigit()]


def _is_subset(folder: Path) -> bool:
    """Return whether the first recording of a speaker and chapter is named after both."""
    for speaker in _numbered(folder):
        for chapter in _numbered(speaker):
            for name in filter(is_audio, os.listdir(chapter)):  # noqa: PTH208 - names are enough
                match = NAME.fullmatch(name)
                return bool(match) and match.groups() == (speaker.name, chapter.name)
    return False


def _sexes(subset: Path) -> dict[str, str]:
    """Return speaker -> "m" or "f" from the SPEAKERS.TXT in, beside or above the subset; {} without one."""
    for folder in (subset, subset.parent, subset.parent.parent):
        listing = folder / "SPEAKERS.TXT"
        if listing.is_file():
            break
    else:
        return {}
    sexes = {}
    for number, line in lines(listing):
        if line.startswith(";"):
            continue
        fields = line.split("|")
        if len(fields) < 3:
            what = f"{line.strip()!r} has {len(fields)} fields, expected ID | SEX | SUBSET | MINUTES | NAME"
            raise bad_line(listing, number, what, "Fetch the file of the original corpus again.")
        sexes[fields[0].strip()] = sex_of(fields[1])
    return sexes
