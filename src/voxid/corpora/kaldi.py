"""A Kaldi data directory: wav.scp, utt2spk, and the tables of `_Labels` and segments where they are there.

Paths in wav.scp are relative to the directory itself or, where the first recording is not there but is beside
the directory, to the folder above it, as in speechocean762. Lists are checked against each other as they are
read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from voxid.corpora.files import age_of, bad_line, lines, plain, seconds, sex_of, table
from voxid.errors import BadCorpusFile
from voxid.types import Utterance

CHANNELS = {"A": 0, "B": 1, "1": 0, "2": 1}  # as Kaldi writes the sides of a call
ARCHIVE = re.compile(r".*\.ark:\d+")


class Kaldi:
    """A folder with wav.scp, or wav.scp itself."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def detect(self, path: Path) -> bool:
        """Return whether `path` is, or holds, a wav.scp."""
        return (path / "wav.scp").is_file() or (path.name == "wav.scp" and path.is_file())

    def utterances(self, path: Path) -> Iterator[Utterance]:
        """Yield the utterances in the order of segments or wav.scp; raise BadCorpusFile (file, line)."""
        folder = path if path.is_dir() else path.parent
        if not (folder / "utt2spk").is_file():
            raise BadCorpusFile(
                f"{folder}: wav.scp is there and utt2spk is not. It says who speaks: one line "
                "'utterance speaker' each. Add it."
            )
        labels = _Labels(folder)
        spoken = table(folder / "utt2spk")
        segments = folder / "segments"
        pieces = _segments(folder, segments) if segments.is_file() else _whole(folder)
        source = segments if segments.is_file() else folder / "wav.scp"
        seen = set()
        for number, utterance, recording, start_s, duration_s in pieces:
            if utterance not in spoken:
                what = f"{utterance!r} has no line in {folder / 'utt2spk'}"
                raise bad_line(source, number, what, "Add its speaker there, or remove it here.")
            seen.add(utterance)
            speaker = plain(spoken[utterance])
            yield Utterance(
                speaker=speaker,
                utterance=utterance,
                path=recording.file,
                start_s=start_s,
                duration_s=duration_s,
                sex=labels.sex.get(speaker, ""),
                age=labels.age.get(speaker),
                session=labels.session.get(utterance, ""),
                channel=labels.channel(recording),
                language=labels.utterance_language.get(utterance, labels.language.get(speaker, "")),
            )
        for number, line in lines(folder / "utt2spk"):
            if (name := plain(line.split()[0])) not in seen:
                what = f"{name!r} is not in {source}"
                raise bad_line(
                    folder / "utt2spk", number, what, "Add its recording there, or remove it here."
                )


class _Labels:
    """The optional tables of a directory."""

    def __init__(self, folder: Path) -> None:
        def optional(name: str) -> dict[str, str]:
            return table(folder / name) if (folder / name).is_file() else {}

        self.sex = {speaker: sex_of(word) for speaker, word in optional("spk2gender").items()}
        self.language = optional("spk2lang")
        self.utterance_language = optional("utt2lang")
        self.session = optional("utt2session") or optional("utt2sess")
        self.sides = {
            name: (file, CHANNELS.get(side.upper()))
            for name, words in optional("reco2file_and_channel").items()
            for file, _, side in [words.rpartition(" ")]
        }
        self.age: dict[str, float] = {}
        for speaker, word in optional("spk2age").items():
            try:
                if (age := age_of(word)) is not None:
                    self.age[speaker] = age
            except ValueError:
                raise BadCorpusFile(
                    f"{folder / 'spk2age'}: the age of {speaker!r} is {word!r}. Ages are numbers of years."
                ) from None

    def channel(self, recording: Recording) -> int | None:
        """Return the channel of a recording, None where its file holds but one side, or nobody says.

        reco2file_and_channel speaks of the original file: it counts where wav.scp lists that very file, and
        not where it lists one file a side.
        """
        file, channel = self.sides.get(recording.name, ("", None))
        return channel if file.strip() in (Path(recording.file).stem, Path(recording.file).name) else None


@dataclass(frozen=True, slots=True)
class Recording:
    """A line of wav.scp: its name, and its absolute path."""

    name: str
    file: str


Piece = tuple[int, str, Recording, float, float | None]  # line, utterance, recording, start_s, duration_s


def _recordings(folder: Path) -> Iterator[tuple[int, str, str]]:
    """Yield (line, id, absolute path) of wav.scp."""
    listing = folder / "wav.scp"
    seen = set()
    home = None
    for number, line in lines(listing):
        name, *rest = line.split(maxsplit=1)
        name = plain(name)
        if not rest:
            raise bad_line(listing, number, f"{name!r} has no path", "Write: utterance path.")
        path = rest[0].strip()
        if path.endswith("|") or path.startswith("|"):
            what = f"{path!r} is a command, and voxid never runs commands from a list"
            raise bad_line(listing, number, what, "Run it once yourself, and list the files it writes.")
        if path == "-" or ARCHIVE.fullmatch(path):
            what = f"{path!r} is not an audio file"
            raise bad_line(listing, number, what, "Extract the recordings, and list their files.")
        if name in seen:
            raise bad_line(listing, number, f"{name!r} is there twice", "Remove one of the two lines.")
        seen.add(name)
        home = home or _home(folder, path)
        yield number, name, str(home / path)


def _home(folder: Path, first: str) -> Path:
    """Return what the paths of a list are relative to, by where its first recording is."""
    above = folder.parent
    return above if not (folder / first).exists() and (above / first).exists() else folder


def _whole(folder: Path) -> Iterator[Piece]:
    for number, name, path in _recordings(folder):
        yield number, name, Recording(name, path), 0.0, None


def _segments(folder: Path, listing: Path) -> Iterator[Piece]:
    files = {name: path for _, name, path in _recordings(folder)}
    seen = set()
    for number, line in lines(listing):
        fields = line.split()
        if len(fields) != 4:
            what = f"{line.strip()!r} has {len(fields)} columns, expected: utterance recording start end"
            raise bad_line(listing, number, what, "Times are seconds; an end of -1 is the end of the file.")
        utterance, recording = map(plain, fields[:2])
        start_s, end_s = (seconds(listing, number, word) for word in fields[2:])
        if recording not in files:
            what = f"recording {recording!r} is not in {folder / 'wav.scp'}"
            raise bad_line(listing, number, what, "Add it there, or remove this line.")
        if utterance in seen:
            raise bad_line(listing, number, f"{utterance!r} is there twice", "Remove one of the two lines.")
        if not (start_s >= 0 and (end_s > start_s or end_s == -1)):
            what = f"{utterance!r} goes from {start_s:g} to {end_s:g} s"
            raise bad_line(listing, number, what, "A segment ends after it starts.")
        seen.add(utterance)
        yield (
            number,
            utterance,
            Recording(recording, files[recording]),
            start_s,
            None if end_s == -1 else end_s - start_s,
        )
