"""Google Speech Commands (Warden, 2018), and corpora named after it: word/SPEAKER_nohash_NUMBER.wav.

The speaker is the contributor's hash: one person may have several. `_background_noise_` is no speech and is
passed over; a recipe takes it as `augment.noise`. The Arabic Speech Commands (Ghandoura et al., 2021) have
the same folders and `_NO_` in their names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from voxid.corpora.files import audio_files, bad_line, is_audio, lines, subfolders
from voxid.errors import BadCorpusFile
from voxid.files import atomic_write
from voxid.types import Utterance

NAME = re.compile(r"([0-9a-f]{8})_(nohash|NO)_\d+\.\w+")
LANGUAGE = {"nohash": "en", "NO": "ar"}
LISTS = ("validation_list.txt", "testing_list.txt")  # as published; no contributor is in two parts
TRAINING_LIST = "training_list.txt"  # the rest; not published, `voxid download` writes it


class SpeechCommands:
    """The folder that holds the words, or one of the lists beside them: training, validation or testing."""

    def detect(self, path: Path) -> bool:
        """Return whether the recordings of a word in `path` are named so, or `path` is such a list."""
        if path.name in (*LISTS, TRAINING_LIST) and path.is_file():
            return self.detect(path.parent)
        return path.is_dir() and any(_is_word(folder) for folder in _words(path))

    def utterances(self, path: Path) -> Iterator[Utterance]:
        """Yield all utterances, word by word, or those of a list in its order; raise BadCorpusFile."""
        if path.is_file():
            for number, line in lines(path):
                file = path.parent / line.strip()
                if not _inside(line.strip()) or not (match := NAME.fullmatch(file.name)):
                    what = f"{line.strip()!r} is not word/SPEAKER_nohash_NUMBER.wav"
                    raise bad_line(path, number, what, "Fetch the file of the original corpus again.")
                yield _utterance(file, match)
            return
        for word in _words(path):
            for file in audio_files(word):
                match = NAME.fullmatch(file.name)
                if match is None:
                    raise BadCorpusFile(
                        f"{file}: not named SPEAKER_nohash_NUMBER, as all recordings of Speech Commands are. "
                        "Take it away, or give the layout if it is another: --layout folders."
                    )
                yield _utterance(file, match)


def write_training_list(folder: Path) -> None:
    """Write training_list.txt: what is in neither published list. Nothing is done where it is there already.

    Raise BadCorpusFile when a published list is missing, and OutputError.
    """
    if (folder / TRAINING_LIST).exists():
        return
    missing = [name for name in LISTS if not (folder / name).is_file()]
    if missing:
        raise BadCorpusFile(f"{folder}: {', '.join(missing)} is not there. Fetch the corpus again.")
    taken = {line.strip() for name in LISTS for _, line in lines(folder / name)}
    with atomic_write(folder / TRAINING_LIST, "w") as file:
        for word in _words(folder):
            for found in audio_files(word):
                name = found.relative_to(folder).as_posix()
                if name not in taken:
                    file.write(f"{name}\n")


def _utterance(file: Path, match: re.Match[str]) -> Utterance:
    return Utterance(
        speaker=match[1],
        utterance=f"{file.parent.name}/{file.stem}",
        path=str(file),
        language=LANGUAGE[match[2]],
    )


def _inside(name: str) -> bool:
    """Return whether a line of a list stays in the corpus: a word, a slash and a file."""
    word, _, file = name.partition("/")
    return bool(file) and "/" not in file and "\\" not in name and word not in ("", ".", "..")


def _words(path: Path) -> list[Path]:
    return [folder for folder in subfolders(path) if not folder.name.startswith("_")]


def _is_word(folder: Path) -> bool:
    """Return whether the first recording of a folder is named as Speech Commands are."""
    for name in filter(is_audio, os.listdir(folder)):  # noqa: PTH208 - names are enough
        return bool(NAME.fullmatch(name))
    return False
