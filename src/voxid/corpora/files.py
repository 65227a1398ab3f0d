"""What every layout needs: sorted walks, lists with line numbers, errors that name file and line."""

from __future__ import annotations

import math
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from voxid.audio import AUDIO_SUFFIXES
from voxid.errors import BadCorpusFile


def is_audio(name: str) -> bool:
    """Return whether a file name ends like audio.

    >>> is_audio("a.FLAC"), is_audio("a.txt")
    (True, False)
    """
    return os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES  # noqa: PTH122 - called for every file


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders inside `folder`, sorted by name."""
    with os.scandir(folder) as entries:
        return [
            folder / name
            for name in sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
        ]


def audio_files(folder: Path, trail: tuple[tuple[int, int], ...] = ()) -> Iterator[Path]:
    """Yield every visible audio file below `folder`, sorted; links are followed, circles are not."""
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in trail:
        return
    with os.scandir(folder) as entries:
        found = sorted((entry.name, entry.is_dir()) for entry in entries if entry.name[0] != ".")
    for name, is_folder in found:
        if is_folder:
            yield from audio_files(folder / name, (*trail, here))
        elif is_audio(name):
            yield folder / name


def has_audio(folder: Path) -> bool:
    """Return whether there is any audio file below `folder`."""
    return next(audio_files(folder), None) is not None


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, text without its line end) of a UTF-8 list, a byte order mark removed.

    Blank lines are passed over. Raise BadCorpusFile when the file cannot be read or is not UTF-8.
    """
    try:
        with path.open("rb") as file:  # decoded line by line, so that a flaw is found on its own line
            for number, raw in enumerate(file, 1):
                try:
                    line = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise bad_line(path, number, "not UTF-8 text", "Save the list as UTF-8.") from error
                if "\0" in line:
                    raise bad_line(path, number, "a NUL character", "Save the list as UTF-8, not UTF-16.")
                if line.strip():
                    yield number, line
    except OSError as error:
        raise BadCorpusFile(f"{path}: cannot be read ({error.strerror}). Check its permissions.") from error


def table(path: Path) -> dict[str, str]:
    """Return a Kaldi table `key rest-of-line` as a dict; raise BadCorpusFile on a lone key or a key twice."""
    entries: dict[str, str] = {}
    for number, line in lines(path):
        key, _, value = line.strip().partition(" ")
        if "\t" in key:
            key, _, value = line.strip().partition("\t")
        if not value.strip():
            raise bad_line(path, number, f"{line.strip()!r} has one column of two", "Complete the line.")
        key = plain(key)
        if key in entries:
            raise bad_line(path, number, f"{key!r} is there twice", "Remove one of the two lines.")
        entries[key] = value.strip()
    return entries


def bad_line(path: Path, number: int, what: str, remedy: str) -> BadCorpusFile:
    """Return the error that names file and line, says what is wrong there and what to do."""
    return BadCorpusFile(f"{path}, line {number}: {what}. {remedy}")


def plain(name: str) -> str:
    """Return a name in one Unicode form (NFC), bytes that are not UTF-8 written out.

    macOS keeps file names decomposed, and a speaker written in two ways would be two people. The store does
    so too.

    >>> plain("Mu\\u0308ller") == "M\\u00fcller", plain("caf\\udce9") == r"caf\\xe9"
    (True, True)
    """
    if name.isascii():
        return name
    return unicodedata.normalize(
        "NFC", name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    )


SEXES = {
    "m": ("m", "male", "man", "male_masculine"),
    "f": ("f", "female", "woman", "female_feminine"),
}
_SEX = {word: sex for sex, words in SEXES.items() for word in words}
_TENS = ["twenties", "thirties", "fourties", "fifties", "sixties", "seventies", "eighties", "nineties"]
DECADES = {word: 10.0 * ten + 5 for ten, word in enumerate(_TENS, 2)} | {"forties": 45.0}
NO_AGE = ("", "teens", "na", "n/a", "nan", "none", "unknown", "-")


def sex_of(word: str) -> str:
    """Return "m", "f" or "" for the many ways lists write it; other genders than two are "" here.

    >>> sex_of("Female"), sex_of("M"), sex_of("male_masculine"), sex_of("unknown")
    ('f', 'm', 'm', '')
    """
    return _SEX.get(word.strip().lower(), "")


def age_of(word: str) -> float | None:
    """Return an age in years: a number, the middle of a decade, None where it is not said.

    Teens are None: they may be children or adults. Raise ValueError for any other word.

    >>> age_of("31"), age_of("twenties"), age_of("30s"), age_of("teens"), age_of("")
    (31.0, 25.0, 35.0, None, None)
    """
    said = word.strip().lower()
    if said in NO_AGE:
        return None
    if len(said) == 3 and said.endswith("0s") and said[0] in "23456789":
        return float(said[:2]) + 5
    return DECADES[said] if said in DECADES else float(said)


def seconds(path: Path, number: int, word: str) -> float:
    """Return a time of a list in seconds; raise BadCorpusFile when it is not a number."""
    try:
        time = float(word)
    except ValueError:
        time = math.nan
    if not math.isfinite(time):
        raise bad_line(path, number, f"{word!r} is not a number", "Times are seconds.")
    return time
