"""Corpora that are told by the paths of their recordings: a pattern says speaker and session.

A layout is a class with a `pattern` over a recording's path below the corpus; adding one is a class here and
a line in `scanning.LAYOUTS`. Recordings that do not fit the pattern are passed over, counted and told.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from voxid.corpora.files import age_of, audio_files, bad_line, has_audio, lines, sex_of, subfolders
from voxid.errors import BadCorpusFile
from voxid.files import atomic_write
from voxid.types import Utterance

LOOKED_AT = 20  # recordings, the first of a folder, that tell its layout


@dataclass(frozen=True, slots=True)
class Labels:
    """What a list beside the recordings says of one speaker."""

    sex: str = ""
    age: float | None = None


class Tree:
    """A folder of recordings, or one that holds its parts, whose paths fit `pattern`.

    The groups of the pattern are `speaker` and, where there is one, `session`. `by_stem`: a file's own name
    is unique in the corpus; else an utterance is named by its path below the corpus.
    """

    pattern: re.Pattern[str]
    language = ""
    by_stem = True

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def detect(self, path: Path) -> bool:
        """Return whether one of the first recordings below `path` fits."""
        if not path.is_dir():
            return False
        first = islice(self.files(path), LOOKED_AT)
        return any(self.pattern.fullmatch(file.relative_to(path).as_posix()) for file in first)

    def files(self, path: Path) -> Iterator[Path]:
        """Yield the recordings below `path`."""
        return audio_files(path)

    def labels(self, path: Path) -> dict[str, Labels]:
        """Return what is said of each speaker; {} where no such list is there."""
        return {}

    def utterances(self, path: Path) -> Iterator[Utterance]:
        """Yield the utterances below `path`, sorted; raise BadCorpusFile on a bad list of speakers."""
        labels = self.labels(path)
        folder = path if path.is_dir() else path.parent  # of a list
        strays: list[Path] = []
        for file in self.files(path):
            name = file.relative_to(folder)
            if match := self.pattern.fullmatch(name.as_posix()):
                yield self.utterance(file, name, match, labels)
            else:
                strays.append(file)
        if strays:
            self.warnings.append(
                f"{path}: {len(strays):,} recordings are not named as this layout names them and were passed "
                f"over; the first: {strays[0]}. Give another layout (--layout folders) if it is not this one."
            )

    def utterance(self, file: Path, name: Path, match: re.Match[str], labels: dict[str, Labels]) -> Utterance:
        """Return the utterance in `file`, whose path below the corpus is `name`."""
        said = match.groupdict()
        label = labels.get(said["speaker"], Labels())
        return Utterance(
            speaker=said["speaker"],
            utterance=file.stem if self.by_stem else name.with_suffix("").as_posix(),
            path=str(file),
            sex=label.sex,
            age=label.age,
            language=self.language,
            session=said.get("session") or "",
        )


def _beside(path: Path, *names: str) -> Path | None:
    """Return the first list of one of these names in `path` or up to two folders above it."""
    for folder in (path, path.parent, path.parent.parent):
        for name in names:
            if found := sorted(folder.glob(name)):
                return found[0]
    return None


# -- LibriVox's readers ------------------------------------------------------------------------------------


class LibriSpeech(Tree):
    """LibriSpeech (Panayotov et al., 2015): subset/speaker/chapter/*.flac; SPEAKERS.TXT tells the sex."""

    pattern = re.compile(r"(?:[^/]+/)?(?P<speaker>\d+)/(?P<session>\d+)/(?P=speaker)-(?P=session)-\d+\.\w+")
    language = "en"

    def labels(self, path: Path) -> dict[str, Labels]:
        """Return the sex of each reader; raise BadCorpusFile where a line has too few columns."""
        listing = _beside(path, "SPEAKERS.TXT", "SPEAKERS.txt", "speakers.tsv")
        found = {}
        if listing is None:
            return found
        for number, line in lines(listing):
            fields = re.split(r"[|\t]", line)
            if line.startswith(";") or fields[0].strip() == "READER":
                continue
            if len(fields) < 3:
                what = (
                    f"{line.strip()!r} has {len(fields)} fields, expected ID | SEX | SUBSET | MINUTES | NAME"
                )
                raise bad_line(listing, number, what, "Fetch the file of the original corpus again.")
            found[fields[0].strip()] = Labels(sex=sex_of(fields[1]))
        return found


class LibriTTS(LibriSpeech):
    """LibriTTS (Zen et al., 2019) and LibriTTS-R: subset/speaker/chapter/SPEAKER_CHAPTER_n_n.wav."""

    pattern = re.compile(
        r"(?:[^/]+/)?(?P<speaker>\d+)/(?P<session>\d+)/(?P=speaker)_(?P=session)_\d+_\d+\.\w+"
    )


# -- celebrities -------------------------------------------------------------------------------------------


class VoxCeleb(Tree):
    """VoxCeleb 1 and 2 (Nagrani et al., 2017): id00012/session/00001.wav; vox*_meta.csv tells the sex."""

    pattern = re.compile(
        r"(?:(?:dev|test|wav|aac|m4a)/)*(?P<speaker>id\d{4,6})/(?P<session>[^/]+)/(?:.+/)?[^/]+"
    )
    by_stem = False

    def utterance(self, file: Path, name: Path, match: re.Match[str], labels: dict[str, Labels]) -> Utterance:
        """Return the utterance, named from its speaker on, as the trial lists of VoxCeleb do."""
        return super().utterance(file, Path(match[0][match.start("speaker") :]), match, labels)

    def labels(self, path: Path) -> dict[str, Labels]:
        """Return the sex of each speaker, from every list that is there."""
        metas = [meta for folder in (path.parent, path) for meta in sorted(folder.glob("vox*_meta.csv"))]
        return {speaker: label for meta in metas for speaker, label in _columns(meta, r"[\t,]").items()}


class CnCeleb(Tree):
    """CN-Celeb 1 and 2 (Fan et al., 2020): data/id00010/genre-session-number.flac, eval/{enroll,test}/id*."""

    pattern = re.compile(
        r"(?:[^/]+/){0,2}(?:(?P<speaker>id\d{5})/(?P<session>[a-z_]+-\d+)-\d+"
        r"|(?:enroll|test)/(?P<eval>id\d{5})-(?:enroll|(?P<evals>[a-z_]+-\d+)-\d+))\.\w+"
    )
    language = "zh"
    by_stem = False

    def utterance(self, file: Path, name: Path, match: re.Match[str], labels: dict[str, Labels]) -> Utterance:
        """Return the utterance; one of the evaluation has its speaker in the file's name."""
        return Utterance(
            speaker=match["speaker"] or match["eval"],
            utterance=name.with_suffix("").as_posix(),
            path=str(file),
            language=self.language,
            session=match["session"] or match["evals"] or "enroll",
        )


# -- read speech -------------------------------------------------------------------------------------------


class Vctk(Tree):
    """VCTK (Yamagishi et al., 2019): wav48/p225/p225_001.wav; speaker-info.txt tells sex and age."""

    pattern = re.compile(r"(?:[^/]+/)?(?P<speaker>[ps]\d+)/(?P=speaker)_\d+(?:_mic\d)?\.\w+")
    language = "en"

    def labels(self, path: Path) -> dict[str, Labels]:
        """Return sex and age of each speaker."""
        listing = _beside(path, "speaker-info.txt")
        found = _columns(listing, r"\s+") if listing else {}
        return {name if name[0] in "ps" else f"p{name}": label for name, label in found.items()}


class Aishell(Tree):
    """AISHELL-1, -2 and -3 (Bu et al., 2017): wav/train/S0002/BAC009S0002W0122.wav; language zh."""

    pattern = re.compile(
        r"(?:[^/]+/){0,3}(?:(?P<speaker>S\d{4})/BAC009(?P=speaker)W\d+|(?P<two>C\d{4})/I(?P=two)W\d+"
        r"|(?P<three>SSB\d{4})/(?P=three)\d+)\.\w+"
    )
    language = "zh"

    def utterance(self, file: Path, name: Path, match: re.Match[str], labels: dict[str, Labels]) -> Utterance:
        """Return the utterance, whichever of the three corpora it is of."""
        speaker = match["speaker"] or match["two"] or match["three"]
        sex = labels.get(speaker, labels.get(speaker.lstrip("SC"), Labels())).sex
        return Utterance(speaker, file.stem, str(file), sex=sex, language=self.language)

    def labels(self, path: Path) -> dict[str, Labels]:
        """Return the sex of each speaker: any column that says one."""
        listing = _beside(
            path, "speaker.info", "resource_aishell/speaker.info", "spk-info.txt", "spk_info.txt"
        )
        rows = [line.split() for _, line in lines(listing) if not line.startswith("#")] if listing else []
        return {row[0]: Labels(sex=max(map(sex_of, row[1:]), default="")) for row in rows}


class Timit(Tree):
    """TIMIT (Garofolo et al., 1993): TRAIN/DR1/FCJF0/SA1.WAV, in either case; F and M begin the name."""

    pattern = re.compile(r"(?:[^/]+/){0,2}dr[1-8]/(?P<speaker>[fm][a-z]{2,3}\d)/\w+(?:\.\w+)+", re.IGNORECASE)
    language = "en"
    by_stem = False

    def utterance(self, file: Path, name: Path, match: re.Match[str], labels: dict[str, Labels]) -> Utterance:
        """Return the utterance; speakers are written in capitals."""
        speaker = match["speaker"].upper()
        name = name.with_suffix("")
        return Utterance(speaker, name.as_posix(), str(file), sex=speaker[0].lower(), language=self.language)


def _columns(listing: Path, between: str) -> dict[str, Labels]:
    """Return what a list with a header says of each speaker, whose name is its first column."""
    rows = [[field.strip() for field in re.split(between, line.strip())] for _, line in lines(listing)]
    header = [field.lower() for field in rows[0]] if rows else []
    sex, age = (header.index(name) if name in header else len(header) for name in ("gender", "age"))
    return {
        row[0]: Labels(
            sex_of(row[sex]) if len(row) > sex else "", age_of(row[age]) if len(row) > age else None
        )
        for row in rows[1:]
    }


# -- words -------------------------------------------------------------------------------------------------

LANGUAGE = {"nohash": "en", "NO": "ar"}
LISTS = ("validation_list.txt", "testing_list.txt")  # as published; no contributor is in two parts
TRAINING_LIST = "training_list.txt"  # the rest; not published, `voxid download` writes it


class SpeechCommands(Tree):
    """Google Speech Commands (Warden, 2018): word/SPEAKER_nohash_NUMBER.wav, or one of the lists beside them.

    The speaker is the contributor's hash: one person may have several. `_background_noise_` is no speech and
    is passed over; a recipe takes it as `augment.noise`. The Arabic Speech Commands (Ghandoura et al., 2021)
    have the same folders and `_NO_` in their names.
    """

    pattern = re.compile(r"[^/]+/(?P<speaker>[0-9a-f]{8})_(?P<kind>nohash|NO)_\d+\.\w+")

    def detect(self, path: Path) -> bool:
        """Return whether the recordings of a word in `path` are named so, or `path` is such a list."""
        if path.name in (*LISTS, TRAINING_LIST) and path.is_file():
            path = path.parent
        return super().detect(path)

    def files(self, path: Path) -> Iterator[Path]:
        """Yield the recordings of the words, or those of a list in its order; raise BadCorpusFile."""
        if path.is_dir():
            for word in subfolders(path):
                if not word.name.startswith("_"):
                    yield from audio_files(word)
            return
        for number, line in lines(path):
            name = line.strip()
            if ".." in name.split("/") or not self.pattern.fullmatch(name):
                what = f"{name!r} is not word/SPEAKER_nohash_NUMBER.wav"
                raise bad_line(path, number, what, "Fetch the file of the original corpus again.")
            yield path.parent / name

    def utterance(self, file: Path, name: Path, match: re.Match[str], labels: dict[str, Labels]) -> Utterance:
        """Return the utterance, named after its word and file."""
        return Utterance(
            match["speaker"], name.with_suffix("").as_posix(), str(file), language=LANGUAGE[match["kind"]]
        )


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
        for found in SpeechCommands().files(folder):
            name = found.relative_to(folder).as_posix()
            if name not in taken:
                file.write(f"{name}\n")


# -- a folder a speaker ------------------------------------------------------------------------------------

# Folders of these names, or of such a word and a number, hold speakers or recordings: they are nobody.
NOBODY = re.compile(
    r"(?:train|training|dev|devel|valid|validation|val|test|testing|eval|evaluation|enroll|wavs?|flac|mp3"
    r"|audios?|clips|data|recordings?|sounds?|speech|male|female|men|women|boys?|girls?|children|adults"
    r"|(?:dr|dialect|region|session|sess|day|part|set|subset|disk|cd|batch|group|fold|volume)s?[-_ ]?\d*)",
    re.IGNORECASE,
)
MANY_BELOW = 5  # folders with recordings below each "speaker": rather speakers in groups than sessions


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why folders may not be speakers ("": no doubt), and whether that is certain."""

    why: str = ""
    certain: bool = False


class Folders(Tree):
    """A folder of speaker folders; what lies between speaker and recording is the session."""

    pattern = re.compile(r"(?P<speaker>[^/]+)/(?:(?P<session>.+)/)?[^/]+", re.DOTALL)
    by_stem = False

    def detect(self, path: Path) -> bool:
        """Return whether a folder inside `path` holds audio."""
        return path.is_dir() and any(has_audio(speaker) for speaker in subfolders(path))

    def files(self, path: Path) -> Iterator[Path]:
        """Yield the recordings of each speaker; what lies at the top is of nobody."""
        for speaker in subfolders(path):
            yield from audio_files(speaker)

    def utterances(self, path: Path) -> Iterator[Utterance]:
        """Yield the utterances; warn where the folders may not be speakers."""
        if why := self.doubt(path).why:
            self.warnings.append(f"{why}.")
        yield from super().utterances(path)

    def doubt(self, path: Path) -> Doubt:
        """Return why the folders in `path` may not be speakers, if so."""
        speakers = [folder for folder in subfolders(path) if has_audio(folder)]
        below = [[child for child in subfolders(folder) if has_audio(child)] for folder in speakers]
        names = ", ".join(folder.name for folder in speakers[:5]) + ", ..." * (len(speakers) > 5)
        nobody = [folder for folder in speakers if NOBODY.fullmatch(folder.name)]
        if 2 * len(nobody) > len(speakers):
            return Doubt(
                f"{path}: its folders ({names}) are named like parts of a corpus, not speakers", True
            )
        groups = {child.name for children in below for child in children}
        shared = sum(len(children) for children in below) - len(groups)
        if speakers and min(map(len, below)) >= MANY_BELOW and shared < len(groups) / 2:
            inner = ", ".join(child.name for child in below[0][:5])
            return Doubt(
                f"{path}: each of its {len(speakers)} folders ({names}) holds {MANY_BELOW} or more folders "
                f"with recordings ({inner}, ...), so they may be groups of speakers"
            )
        return Doubt()
