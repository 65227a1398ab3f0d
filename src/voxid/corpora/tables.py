"""Lists with a row a recording: CSV and TSV under the column names that people and tools use.

Paths are relative to the list's own folder. Quotes, spaces and a byte order mark are fine. A column whose
name says times is read or refused by name; columns that voxid has no use for are named once.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxid.corpora.files import age_of, bad_line, is_audio, lines, seconds, sex_of
from voxid.errors import BadCorpusFile, CorpusError, EmptyCorpus, UnknownLayout
from voxid.types import Utterance

# Field -> spellings in a header, lower case, the most certain first: where two are there, the first counts.
COLUMNS: dict[str, tuple[str, ...]] = {
    "speaker": (
        *("speaker", "speaker_id", "speakerid", "speaker_name", "spk", "spk_id", "spkid", "client_id"),
        *("speaker_label", "label", "person", "person_id", "user_id", "reader_id", "identity"),
    ),
    "path": (
        *("path", "file_path", "filepath", "audio_filepath", "audio_path", "wav_path", "file", "filename"),
        *("file_name", "audio_file", "wav", "audio", "uri"),
    ),
    "utterance": ("utterance", "utterance_id", "utterance_name", "utt", "utt_id", "id", "segment_id"),
    "sex": ("sex", "gender"),
    "age": ("age",),
    "language": ("language", "lang", "locale"),
    "session": ("session", "session_id"),
    "channel": ("channel", "channel_id"),
}
TIMES: dict[str, tuple[str, ...]] = {
    "start": ("start", "start_time", "begin", "onset", "offset"),
    "end": ("end", "end_time", "stop", "stop_time", "offset"),
    "duration": ("duration", "dur", "length", "duration_time"),
}
UNITS = {  # the last word of a column's name -> seconds in one; 0: one is a sample
    **dict.fromkeys(("s", "sec", "secs", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "milliseconds"), 0.001),
    **dict.fromkeys(("sample", "samples", "frame", "frames"), 0.0),
}
LIKE_A_TIME = re.compile(
    r"(?:.*_)?(?:start|end|stop|begin|onset|offset|dur(?:ation)?|tmin|tmax)(?:[_\[(].*)?"
    r"|(?:n|num|nb)?_?(?:frames|samples)"  # of a part, of the file, or of features: nobody can tell
)
SPLITS = ("split", "subset", "partition", "fold", "set")  # columns that say which rows belong together
# Columns of published lists that say nothing about who speaks and when.
NO_USE = {
    *("sentence", "sentence_id", "sentence_domain", "text", "transcript", "transcription", "up_votes"),
    *("down_votes", "comment", "accent", "accents", "variant", "segment", "track", *SPLITS),
    *("wav_format", "wav_opts", "spk_id_format", "spk_id_opts"),
}
OWN_LIST = "utterances.csv"  # what `voxid download` writes: it counts before lists that were published
MAYBE_SAMPLES = 1000  # a whole number from here on may be samples: the file itself has to say
SLACK_S = 0.1  # seconds that an end may lie beyond the recording


@dataclass(frozen=True, slots=True)
class Header:
    """Which column is what: its place by field, and for times seconds in one, None where nobody said."""

    places: dict[str, int]
    units: dict[str, float | None]
    names: list[str]

    @classmethod
    def of(cls, row: list[str]) -> Header | None:
        """Return what a first row says as a header, None when it is not one: no speaker or no path."""
        words = [word.lower() for word in row]
        places = {
            field: words.index(spelling)
            for field, spellings in COLUMNS.items()
            if (spelling := next((one for one in spellings if one in words), None))
        }
        if "speaker" not in places or "path" not in places:
            return None
        units: dict[str, float | None] = {}
        for field, spellings in TIMES.items():
            if field == "end" and "onset" not in words:
                spellings = spellings[:-1]  # offset is where something starts, unless onset says so
            for place, word in enumerate(words):
                stem, unit = _unit(word)
                if stem in spellings and place not in places.values() and field not in places:
                    places[field], units[field] = place, unit
        return cls(places, units, row)

    @property
    def unread(self) -> list[str]:
        """The columns that are none of ours."""
        return [name for place, name in enumerate(self.names) if place not in self.places.values()]

    @property
    def splits(self) -> list[int]:
        """Where rows say which part of the corpus they belong to."""
        return [place for place, name in enumerate(self.names) if name.lower() in SPLITS]


def _unit(word: str) -> tuple[str, float | None]:
    """Return a column's name without its unit, and the seconds in one.

    >>> _unit("start_s"), _unit("duration[ms]"), _unit("stop")
    (('start', 1.0), ('duration', 0.001), ('stop', None))
    """
    stem, _, unit = re.sub(r"[\s_\[(]+(\w+)[\])]?$", r"|\1", word).partition("|")
    return (stem, UNITS[unit]) if unit in UNITS else (word, None)


class CsvList:
    """A .csv or .tsv file, or a folder that holds exactly one that fits, or utterances.csv among others."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def detect(self, path: Path) -> bool:
        """Return whether `path` is a list of speakers and paths, or a folder with one in it."""
        if path.is_file():
            return path.suffix.lower() == ".csv" or (path.suffix.lower() == ".tsv" and _fits(path))
        return path.is_dir() and bool(_fitting(path))

    def utterances(self, path: Path) -> Iterator[Utterance]:
        """Yield the rows; raise BadCorpusFile naming file and line, UnknownLayout when several lists fit."""
        listing = path if path.is_file() else self.only(path)
        header: Header | None = None
        splits: set[str] = set()
        for number, row in _rows(listing):
            if header is None:
                if header := Header.of(row):
                    header = self._checked(listing, number, header)
                    continue
                _check_first(listing, number, row)
                header = Header({"speaker": 0, "path": 1}, {}, ["speaker", "path"])
            if len(row) != len(header.names):
                what = f"{','.join(row)!r} has {len(row)} column{'s' * (len(row) != 1)}, expected "
                what += f"{len(header.names)}: {', '.join(header.names)}"
                raise bad_line(listing, number, what, "Separate them by commas; quote a path with commas.")
            splits.update(row[place] for place in header.splits)
            yield self._utterance(listing, number, row, header)
        if len(splits) > 1:
            names = ", ".join(sorted(splits)[:5]) + ", ..." * (len(splits) > 5)
            self.warnings.append(f"{listing}: rows of {names} are read as one corpus. Write a list for each.")

    def only(self, folder: Path) -> Path:
        """Return the one list in `folder` that fits; raise EmptyCorpus or UnknownLayout."""
        found = _fitting(folder)
        if not found:
            raise EmptyCorpus(f"{folder}: no CSV of speaker and path is in it. Name the file itself.")
        if len(found) > 1:
            names = ", ".join(listing.name for listing in found)
            raise UnknownLayout(f"{folder} holds several lists: {names}. Name the one you want: {found[0]}")
        return found[0]

    def home(self, listing: Path) -> Path:
        """Return the folder that paths in `listing` are relative to."""
        return listing.parent

    def _checked(self, listing: Path, number: int, header: Header) -> Header:
        """Return the header with the unit of every time; raise BadCorpusFile for a time nobody can read."""
        words = [name.lower() for name in header.names]
        for name in header.names:
            if name and words.count(name.lower()) > 1:
                raise bad_line(
                    listing, number, f"the column {name!r} is there twice", "Rename or remove one."
                )
        for name in header.unread:
            if LIKE_A_TIME.fullmatch(name.lower()):
                known = ", ".join(dict.fromkeys(one for names in TIMES.values() for one in names))
                what = f"the column {name!r} seems to say a time, and voxid cannot tell which"
                raise bad_line(
                    listing, number, what, f"Known: {known}; with _s, _ms or _samples. Rename or remove it."
                )
        unread = [name for name in header.unread if name.lower() not in NO_USE]
        if unread:
            self.warnings.append(f"{listing}: columns that voxid does not read: {', '.join(unread)}.")
        return Header(header.places, self._units(listing, header), header.names)

    def _units(self, listing: Path, header: Header) -> dict[str, float | None]:
        """Return seconds in one of each time column; where a list could mean samples, a recording tells."""
        seen = {field: _Seen() for field, unit in header.units.items() if not unit}
        if not seen:
            return header.units
        rows = _rows(listing)
        next(rows)
        for _, row in rows:
            for field, column in seen.items():
                column.add(row, header.places[field])
        units = dict(header.units)
        for together in (("start", "end"), ("duration",)):
            columns = {field: seen[field] for field in together if field in seen}
            if not columns:
                continue
            field, last = max(columns.items(), key=lambda item: item[1].largest)
            told = all(units[one] == 0 for one in columns)
            unit = 1.0
            if told or (all(one.whole for one in columns.values()) and last.largest >= MAYBE_SAMPLES):
                length, rate = self._length(listing, header, last.row, header.names[header.places[field]])
                if told or last.largest > length / rate + SLACK_S:
                    unit = 1.0 / rate
            units.update(dict.fromkeys(columns, unit))
        return units

    def _length(self, listing: Path, header: Header, row: list[str], column: str) -> tuple[int, int]:
        """Return the samples and the rate of a row's recording, from its header."""
        import soundfile

        file = _path(self.home(listing), row[header.places["path"]]) if row else listing
        try:
            info = soundfile.info(str(file))
        except (RuntimeError, OSError, TypeError) as error:
            raise BadCorpusFile(
                f"{listing}: the column {column!r} may be seconds or samples, and {file} cannot be opened to "
                f"tell which, or how many are a second. If it is seconds, name the column {column}_s."
            ) from error
        return info.frames, info.samplerate

    def _utterance(self, listing: Path, number: int, row: list[str], header: Header) -> Utterance:
        said = {field: row[place] for field, place in header.places.items() if row[place]}
        for needed in ("speaker", "path"):
            if needed not in said:
                raise bad_line(listing, number, f"the {needed} is empty", "Fill it in, or remove the line.")
        fields: dict[str, Any] = {
            name: said[name] for name in ("speaker", "language", "session") if name in said
        }
        path = _path(self.home(listing), said["path"])
        start_s, duration_s = _piece(listing, number, said, header.units)
        fields.update(path=str(path), start_s=start_s, duration_s=duration_s, sex=sex_of(said.get("sex", "")))
        try:
            fields["age"] = age_of(said.get("age", ""))
        except ValueError:
            what = f"the age {said['age']!r} is not a number"
            raise bad_line(listing, number, what, "Ages are years, or decades such as twenties.") from None
        if "channel" in said:
            if not said["channel"].isdecimal():
                what = f"the channel {said['channel']!r} is not a whole number"
                raise bad_line(
                    listing, number, what, "Channels are counted from 0: a stereo file has 0 and 1."
                )
            fields["channel"] = int(said["channel"])
        named = said.get("utterance") or _name(path, self.home(listing), said, start_s)
        return Utterance(utterance=named, **fields)


class CommonVoice(CsvList):
    """Mozilla Common Voice as it is unpacked: a language's folder of clips/ and .tsv lists, or one list."""

    def detect(self, path: Path) -> bool:
        """Return whether `path` is a list beside clips/, or the folder of both."""
        if path.is_dir():
            own = (path / OWN_LIST).is_file()
            return not own and (path / "clips").is_dir() and (path / "validated.tsv").is_file()
        return path.suffix.lower() == ".tsv" and self.home(path) != path.parent and _fits(path)

    def only(self, folder: Path) -> Path:
        """Return validated.tsv, which holds train.tsv, dev.tsv and test.tsv; raise EmptyCorpus."""
        if not (folder / "validated.tsv").is_file():
            raise EmptyCorpus(f"{folder}: no validated.tsv is in it. Name the list itself.")
        return folder / "validated.tsv"

    def home(self, listing: Path) -> Path:
        """Return the folder of the clips."""
        clips = listing.parent / "clips"
        return clips if clips.is_dir() else listing.parent


class _Seen:
    """What a column of times holds: its largest number, the row of that, and whether all are whole."""

    def __init__(self) -> None:
        self.largest, self.whole = -1.0, True
        self.row: list[str] = []

    def add(self, row: list[str], place: int) -> None:
        """Take the number of one row; what is no number is refused when its row is read."""
        word = row[place] if place < len(row) else ""
        if not word:
            return
        self.whole &= word.lstrip("-").isdecimal()
        with suppress(ValueError):
            if float(word) > self.largest:
                self.largest, self.row = float(word), row


def _path(home: Path, named: str) -> Path:
    """Return the path that a row means; SpeechBrain's `$data_root/` is the list's own folder."""
    path = home / re.sub(r"^(?:\$\w+|\$?\{\w+\})/", "", named)
    if is_audio(named) or path.exists():
        return path
    ends = (path.with_name(path.name + suffix) for suffix in (".wav", ".flac", ".mp3", ".opus"))
    return next((file for file in ends if file.exists()), path)  # pyannote's `uri` has no suffix


def _piece(
    listing: Path, number: int, said: dict[str, str], units: dict[str, float | None]
) -> tuple[float, float | None]:
    """Return start and duration of a row, seconds; raise BadCorpusFile where they contradict each other."""
    times = {
        field: seconds(listing, number, said[field]) * (units[field] or 1.0)
        for field in TIMES
        if field in said and field in units
    }
    start_s, end_s, duration_s = times.get("start", 0.0), times.get("end"), times.get("duration")
    if end_s is None or end_s < 0:
        return start_s, duration_s
    if end_s <= start_s:
        what = f"it goes from {start_s:g} to {end_s:g} s"
        raise bad_line(listing, number, what, "A recording ends after it starts; no end is the file's end.")
    if duration_s is not None and duration_s < end_s - start_s - SLACK_S:  # longer: it may be the file's
        what = (
            f"from {start_s:g} to {end_s:g} s are {end_s - start_s:g} s, and the duration is {duration_s:g} s"
        )
        raise bad_line(listing, number, what, "Remove one of the columns, or correct it.")
    return start_s, end_s - start_s


def _name(path: Path, home: Path, said: dict[str, str], start_s: float) -> str:
    """Return the name of a row that has none: its path, and which piece and channel of it."""
    name = path.relative_to(home) if path.is_relative_to(home) else path
    piece = f"@{start_s:g}" if said.keys() & {"start", "end"} else ""
    channel = f"#{said['channel']}" if "channel" in said else ""
    return f"{name.with_suffix('').as_posix()}{piece}{channel}"


def _rows(listing: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, stripped fields); spaces around quotes are fine, a quote that stays open is not."""
    tabs = listing.suffix.lower() == ".tsv"
    for number, line in lines(listing):
        if tabs:
            yield number, [field.strip() for field in line.split("\t")]
            continue
        if line.count('"') % 2:
            raise bad_line(listing, number, f"{line!r} has a quote that is not closed", "Close it.")
        try:
            row = next(csv.reader([line], skipinitialspace=True))
        except csv.Error as error:
            raise bad_line(listing, number, f"not a CSV line ({error})", "Write: speaker,path.") from error
        yield number, [field.strip() for field in row]


def _check_first(listing: Path, number: int, row: list[str]) -> None:
    """Raise BadCorpusFile where the first line is neither a header nor speaker and path."""
    if len(row) == 2 and (is_audio(row[1]) or (listing.parent / row[1]).exists()):
        return
    if len(row) < 2 and len(row[0].split(";")) < 2:
        return  # the number of columns is what is wrong
    what = f"{','.join(row)!r} names no column of speakers and of paths, and is not speaker and path"
    names = ", ".join(COLUMNS["speaker"]), ", ".join(COLUMNS["path"])
    raise bad_line(listing, number, what, f"Separate by commas. Speakers: {names[0]}. Paths: {names[1]}.")


def _fits(listing: Path) -> bool:
    """Return whether the first line of a list is a header of ours, or a speaker and a recording."""
    try:
        row = next(_rows(listing), (0, []))[1]
    except CorpusError:  # a table of something else: not ours to judge
        return False
    return bool(Header.of(row)) or (len(row) == 2 and is_audio(row[1]))


def _fitting(folder: Path) -> list[Path]:
    found = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in (".csv", ".tsv")]
    fitting = [listing for listing in found if listing.is_file() and _fits(listing)]
    return [listing for listing in fitting if listing.name == OWN_LIST] or fitting
