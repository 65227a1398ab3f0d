"""Lists of corpora that are published without one: who speaks in which file, as the corpus itself says it.

`voxid download` writes `utterances.csv` into the folder, which makes it a corpus of the csv layout. A
`Listing` takes rows from one of the functions below. It refuses a folder that holds fewer recordings or
speakers than this project found in that corpus, so that a part of it is never taken for the whole.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from voxid.corpora.files import audio_files
from voxid.corpora.tables import OWN_LIST
from voxid.errors import BadCorpusFile
from voxid.files import atomic_write

COLUMNS: tuple[str, ...] = ("speaker", "path", "sex", "age", "language", "session")
Row = dict[str, str]
Rows = Callable[[Path], Iterator[Row]]
DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True)
class Listing:
    """Writes the list of a folder from its rows; `speakers` and `recordings` are the fewest it may have."""

    rows: Rows
    speakers: int
    recordings: int

    def __call__(self, folder: Path) -> None:
        """Write `folder`/utterances.csv; raise BadCorpusFile where files are missing, and OutputError."""
        try:
            rows = sorted(self.rows(folder), key=lambda row: (row["speaker"], row["path"]))
        except (FileNotFoundError, AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
            raise BadCorpusFile(
                f"its list of recordings cannot be read ({type(error).__name__}: {error})."
            ) from error
        speakers = len({row["speaker"] for row in rows})
        if speakers < self.speakers or len(rows) < self.recordings:
            raise BadCorpusFile(
                f"it has {len(rows):,} recordings of {speakers:,} speakers, expected {self.recordings:,} of "
                f"{self.speakers:,} or more."
            )
        with atomic_write(folder / OWN_LIST, "w") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def by_name(pattern: str, language: str, men: Container[str] = (), women: Container[str] = ()) -> Rows:
    """Return rows of recordings whose name alone says the speaker, in whatever folder they lie."""
    return partial(_by_name, re.compile(pattern), language, men, women)


def _by_name(
    pattern: re.Pattern[str], language: str, men: Container[str], women: Container[str], folder: Path
) -> Iterator[Row]:
    for path in _recordings(folder):
        if match := pattern.fullmatch(Path(path).stem):
            speaker = match["speaker"]
            sex = "m" if speaker in men else "f" if speaker in women else ""
            yield {"speaker": speaker, "path": path, "sex": sex, "language": language}


def common_voice(leave_out: Container[str] = ()) -> Rows:
    """Return rows of clips of Common Voice by its own lists, which may name more clips than are there.

    Clips of the languages `leave_out` are not listed. A speaker's name is the beginning of the `client_id`.
    """
    return partial(_common_voice, leave_out)


def _common_voice(leave_out: Container[str], folder: Path) -> Iterator[Row]:
    clips = {Path(path).name: path for path in _recordings(folder)}
    for listing in (*sorted(folder.rglob("validated.tsv")), *sorted(folder.rglob("other.tsv"))):
        for said in _table(listing, "\t"):
            path = clips.pop(said["path"], None)
            if path and said["locale"] not in leave_out:
                yield {
                    "speaker": said["client_id"][:32],
                    "path": path,
                    "sex": said["gender"],
                    "age": said["age"],
                    "language": said["locale"],
                }


def msc_malayalam(folder: Path) -> Iterator[Row]:
    """Yield the rows of the Malayalam Speech Corpus; a session is a day, counted from 1970.

    A speaker's name is made of the account's, which another list ties to a person.
    """
    there = set(_recordings(folder))
    for said in _table(folder / "speech.tsv", "\t"):
        if said["fileName"] in there:
            day = str(int(said["time"]) // DAY_MS) if said["time"].isdecimal() else ""
            speaker = hashlib.sha1(said["user"].encode(), usedforsecurity=False).hexdigest()[:12]
            yield {"speaker": speaker, "path": said["fileName"], "language": "ml", "session": day}


# Three answers that this project counts as one person's.
SAME_PERSON: dict[str, str] = dict.fromkeys(("R_7H8pYLcVGrTM7g5", "R_1QrO96YnPAaHofK"), "R_7Vlj2RdVyGOM7Yz")


def alphanum(folder: Path) -> Iterator[Row]:
    """Yield the rows of the Alphanumeric Audio Dataset; a recording may be WAV where the list says M4A."""
    there = {path.rpartition(".")[0]: path for path in _recordings(folder)}
    for said in _table(folder / "metadata.csv", ","):
        if path := there.get(said["file_name"].rpartition(".")[0]):
            answer = said["Response_ID"]
            yield {
                "speaker": SAME_PERSON.get(answer, answer),
                "path": path,
                "sex": said["Gender"].lower(),
                "age": said["Age"],
                "language": f"en-{said['Native Language']}",
                "session": f"{answer}-{said['Recording Machine'].replace(' ', '_')}",
            }


def wuw2(folder: Path) -> Iterator[Row]:
    """Yield the rows of WUW Corpus II, each recording compared with the MD5 that `data.json` gives.

    A speaker is who says the same name at the beginning of a call; calls in which nobody understood one are
    left out, and so are the recordings of names. The others (8 kHz mu-law samples without a header) get a
    WAV file of the same samples beside them. Raise BadCorpusFile for a recording that is not as published.
    """
    entries = json.loads((folder / "data.json").read_text(encoding="utf-8"))["entries"]
    names = {
        entry["sessionNumber"]: name
        for entry in entries
        if entry["utteranceNumber"] == "000" and (name := _spoken_name(entry["transcription"]))
    }
    speaker = {name: f"s{number:03d}" for number, name in enumerate(sorted(set(names.values())))}
    there = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*.ulaw")}
    for entry in entries:
        call, file = entry["sessionNumber"], there.get(entry["filePath"])
        if file is None:
            raise BadCorpusFile(f"{entry['filePath']} is in data.json and not there.")
        digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
        if digest != entry["checksum"]:
            raise BadCorpusFile(
                f"{entry['filePath']} is not the published one: its MD5 is {digest}, published is "
                f"{entry['checksum']}."
            )
        if call in names and entry["utteranceNumber"] != "000":
            yield {
                "speaker": speaker[names[call]],
                "path": _as_wav(file).relative_to(folder).as_posix(),
                "sex": entry["gender"],
                "language": "en-US" if entry["dialect"] == "native" else "en-nonnative",
                "session": f"{call}-{entry['phonetype']}",
            }


def _spoken_name(transcription: str) -> str:
    """Return first and last name without marks of noises and doubts, "" where one of them is not there.

    >>> _spoken_name("{smack} ((John)) ^Molnar [voices]"), _spoken_name("[cough] (( ))")
    ('john molnar', '')
    """
    said = re.sub(r"\{.*?\}|\[.*?\]", " ", transcription).casefold()
    words = re.findall(r"[^\W_](?:[^\W_]|['.-])*", said)
    return " ".join(words) if len(words) > 1 else ""


def _as_wav(file: Path) -> Path:
    """Write the mu-law samples of a telephone call as WAV beside the file; return its path."""
    import soundfile

    samples, rate = soundfile.read(
        file, samplerate=8000, channels=1, format="RAW", subtype="ULAW", dtype="int16"
    )
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format="WAV", subtype="ULAW")
    wav = file.with_suffix(".wav")
    wav.write_bytes(content.getvalue())
    return wav


def _recordings(folder: Path) -> list[str]:
    """Return the path below `folder` of every recording."""
    return [file.relative_to(folder).as_posix() for file in audio_files(folder)]


def _table(path: Path, between: str) -> Iterator[Row]:
    """Yield the rows of a published list; what stands in quotes may hold commas, not tabs."""
    with path.open(encoding="utf-8", newline="") as file:
        quoting = csv.QUOTE_NONE if between == "\t" else csv.QUOTE_MINIMAL
        yield from csv.DictReader(file, delimiter=between, quoting=quoting)
