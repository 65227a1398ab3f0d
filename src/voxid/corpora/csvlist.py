"""A CSV of two columns, speaker and path, as the original course system used; a header line may add labels.

Paths are relative to the CSV's own folder. Quotes, spaces and a byte order mark are fine.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from voxid.corpora.files import bad_line, is_audio, lines, seconds, sex_of
from voxid.errors import EmptyCorpus, UnknownLayout
from voxid.types import Utterance

# spelling in a header -> field of Utterance
HEADER = {
    "speaker": ("speaker", "speaker_id", "spk", "spk_id", "client_id"),
    "path": ("path", "file", "file_path", "filename", "wav", "audio"),
    "utterance": ("utterance", "utterance_id", "utt"),
    "start_s": ("start_s", "start"),
    "duration_s": ("duration_s", "duration"),
    "sex": ("sex", "gender"),
    "age": ("age",),
    "language": ("language", "lang", "locale"),
    "session": ("session",),
    "channel": ("channel",),
}
_FIELD = {spelling: field for field, spellings in HEADER.items() for spelling in spellings}
_NUMBERS = ("start_s", "duration_s", "age")


class CsvList:
    """A .csv file, or a folder that holds exactly one that fits."""

    def detect(self, path: Path) -> bool:
        """Return whether `path` is a .csv file, or a folder with a CSV of speakers and paths in it."""
        return (path.is_file() and path.suffix.lower() == ".csv") or (path.is_dir() and bool(_fitting(path)))

    def utterances(self, path: Path) -> Iterator[Utterance]:
        """Yield the rows; raise BadCorpusFile naming file and line, UnknownLayout when several CSVs fit."""
        listing = path if path.is_file() else _only(path)
        columns = None
        for number, row in _rows(listing):
            if columns is None:
                columns = _header(row)
                if columns:
                    continue
                columns = ["speaker", "path"]
            if len(row) != len(columns):
                count = f"{len(row)} column{'s' * (len(row) != 1)}"
                what = (
                    f"{','.join(row)!r} has {count}, expected {len(columns)}: {', '.join(map(str, columns))}"
                )
                raise bad_line(listing, number, what, "Separate them by commas; quote a path with commas.")
            yield _utterance(listing, number, dict(zip(columns, row, strict=True)))


def _utterance(listing: Path, number: int, row: dict[str | None, str]) -> Utterance:
    fields: dict[str, Any] = {name: value for name, value in row.items() if name and value}
    for needed in ("speaker", "path"):
        if needed not in fields:
            raise bad_line(listing, number, f"the {needed} is empty", "Fill it in, or remove the line.")
    for name in _NUMBERS:
        if name in fields:
            fields[name] = seconds(listing, number, fields[name])
    if "channel" in fields:
        if not fields["channel"].isdecimal():
            what = f"the channel {fields['channel']!r} is not a whole number"
            raise bad_line(listing, number, what, "Channels are counted from 0: a stereo file has 0 and 1.")
        fields["channel"] = int(fields["channel"])
    fields["sex"] = sex_of(fields.get("sex", ""))
    path = listing.parent / fields["path"]
    named = path.relative_to(listing.parent) if path.is_relative_to(listing.parent) else path
    return Utterance(**{"utterance": named.with_suffix("").as_posix(), **fields, "path": str(path)})


def _rows(listing: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, stripped fields); spaces around quotes are fine, a quote that stays open is not."""
    for number, line in lines(listing):
        if line.count('"') % 2:
            raise bad_line(listing, number, f"{line!r} has a quote that is not closed", "Close it.")
        try:
            row = next(csv.reader([line], skipinitialspace=True))
        except csv.Error as error:
            raise bad_line(listing, number, f"not a CSV line ({error})", "Write: speaker,path.") from error
        yield number, [field.strip() for field in row]


def _header(row: list[str]) -> list[str | None] | None:
    """Return the field of each column when `row` is a header, None for columns voxid has no use for."""
    fields = [_FIELD.get(word.lower()) for word in row]
    return fields if "speaker" in fields and "path" in fields else None


def _fitting(folder: Path) -> list[Path]:
    found = []
    for listing in sorted(folder.glob("*.csv")):
        try:
            row = next(_rows(listing), (0, []))[1]
        except Exception:  # a CSV of something else: not ours to judge
            continue
        if _header(row) or (len(row) == 2 and is_audio(row[1])):
            found.append(listing)
    return found


def _only(folder: Path) -> Path:
    found = _fitting(folder)
    if not found:
        raise EmptyCorpus(f"{folder}: no CSV of speaker and path is in it. Name the file itself.")
    if len(found) > 1:
        names = ", ".join(listing.name for listing in found)
        raise UnknownLayout(f"{folder} holds several lists: {names}. Name the one you want: {found[0]}")
    return found[0]
