"""What `voxid download` can bring: every published archive, where it lies, and how its bytes are told.

Adding a corpus is one entry in `CORPORA`. OpenSLR publishes MD5s for LibriSpeech (12, 31), MUSAN (17) and
RIRS_NOISES (28), TensorFlow Datasets the SHA-256 of Speech Commands. For speechocean762 (OpenSLR 101) and
what lies on GitHub (a tag, commits) nobody publishes a checksum: theirs is printed, not verified.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from voxid.corpora.trees import write_training_list
from voxid.errors import UnknownComponent, did_you_mean

MIRRORS = ("us", "eu", "cn")


@dataclass(frozen=True, slots=True)
class Archive:
    """One published archive (.tar.gz or .zip), and the folder that is there once it is unpacked."""

    part: str
    file: str
    bytes: int | None  # None: nobody says
    md5: str | None  # as published; None: not published
    folder: str  # relative to where it is unpacked
    sha256: str | None = None  # as published; None: not published
    remote: str = ""  # its name at home, where that is another than `file`
    inside: str = ""  # what of the archive becomes `folder`, a pattern; "": the folder of that name
    grows: float = 1.0  # size unpacked, as a multiple of the size packed
    after: Callable[[Path], None] | None = None  # what to do to the folder before it takes its place

    @property
    def published(self) -> tuple[str, str] | None:
        """The kind and value of the published checksum, None if there is none."""
        if self.sha256:
            return "sha256", self.sha256
        return ("md5", self.md5) if self.md5 else None


@dataclass(frozen=True, slots=True)
class Corpus:
    """A published corpus: its archives and the addresses they lie under, by mirror name."""

    name: str
    about: str  # licence and source, for a person
    root: str  # the folder, relative to the place of download, that holds the parts
    archives: tuple[Archive, ...]
    mirrors: Mapping[str, tuple[str, ...]]

    def parts(self) -> list[str]:
        """Return the names of the parts."""
        return [archive.part for archive in self.archives]


def _openslr(resource: int) -> dict[str, tuple[str, ...]]:
    """Return OpenSLR's mirrors; a second address of one mirror is tried when the first does not answer."""
    hosts = {
        "us": ("us.openslr.org", "openslr.trmal.net", "www.openslr.org"),
        "eu": ("openslr.elda.org",),
        "cn": ("openslr.magicdatatech.com",),
    }
    return {name: tuple(f"https://{h}/resources/{resource}" for h in known) for name, known in hosts.items()}


def _home(*addresses: str) -> dict[str, tuple[str, ...]]:
    """Return the one home of a corpus under the name of every mirror."""
    return dict.fromkeys(MIRRORS, addresses)


def _github(name: str, about: str, repository: str, commit: str) -> Corpus:
    """Return a corpus that is a repository on GitHub, which packs any commit that is asked for."""
    packed = Archive(
        name, f"{name}.tar.gz", None, None, name, remote=f"{commit}.tar.gz", inside="*", grows=2.0
    )
    return Corpus(name, about, name, (packed,), _home(f"https://github.com/{repository}/archive"))


def _librispeech(part: str, size: int, md5: str) -> Archive:
    return Archive(part, f"{part}.tar.gz", size, md5, f"LibriSpeech/{part}")


CORPORA: dict[str, Corpus] = {
    "librispeech": Corpus(
        name="librispeech",
        about="LibriSpeech (OpenSLR 12): 1,000 hours of read English, CC BY 4.0",
        root="LibriSpeech",
        mirrors=_openslr(12),
        archives=(
            _librispeech("dev-clean", 337926286, "42e2234ba48799c1f50f24a7926300a1"),
            _librispeech("dev-other", 314305928, "c8d0bcc9cca99d4f8b62fcc847357931"),
            _librispeech("test-clean", 346663984, "32fa31d27d2e1cad72775fee3f4849a9"),
            _librispeech("test-other", 328757843, "fb5a50374b501bb3bac4815ee91d3135"),
            _librispeech("train-clean-100", 6387309499, "2a93770f6d5c6c964bc36631d331a522"),
            _librispeech("train-clean-360", 23049477885, "c0e676e450a7ff2f54aeade5171606fa"),
            _librispeech("train-other-500", 30593501606, "d1a0fd59409feb2c614ce4d30c387708"),
        ),
    ),
    "mini-librispeech": Corpus(
        name="mini-librispeech",
        about="Mini LibriSpeech (OpenSLR 31): 7 hours of LibriSpeech for first experiments, CC BY 4.0",
        root="LibriSpeech",
        mirrors=_openslr(31),
        archives=(
            _librispeech("dev-clean-2", 126046265, "6d7ab67ac6a1d2c993d050e16d61080d"),
            _librispeech("train-clean-5", 332954390, "5df7d4e78065366204ca6845bb08f490"),
        ),
    ),
    "speechocean762": Corpus(
        name="speechocean762",
        about="speechocean762 (OpenSLR 101): English read by 250 speakers of Mandarin, CC BY 4.0",
        root="speechocean762",
        mirrors=_openslr(101),
        archives=(
            Archive("speechocean762", "speechocean762.tar.gz", None, None, "speechocean762", grows=1.5),
        ),
    ),
    "speech-commands": Corpus(
        name="speech-commands",
        about="Google Speech Commands v0.02: one-second words of 2,618 contributors, CC BY 4.0",
        root="speech_commands_v0.02",
        mirrors=_home(
            "https://storage.googleapis.com/download.tensorflow.org/data",
            "http://download.tensorflow.org/data",
        ),
        archives=(
            Archive(
                "v0.02",
                "speech_commands_v0.02.tar.gz",
                2428923189,
                None,
                "speech_commands_v0.02",
                sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
                inside=".",
                grows=1.7,
                after=write_training_list,
            ),
        ),
    ),
    "arabic-speech-commands": Corpus(
        name="arabic-speech-commands",
        about="Arabic Speech Commands (zenodo.org/record/4662481): 1 s words of 30 speakers, CC BY 4.0",
        root="arabic-speech-commands/dataset",
        mirrors=_home("https://github.com/abdulkaderghandoura/arabic-speech-commands-dataset/archive"),
        archives=(
            Archive(
                "v1.0",
                "arabic-speech-commands-v1.0.tar.gz",
                None,
                None,
                "arabic-speech-commands",
                remote="v1.0.tar.gz",
                inside="*",
                grows=1.5,
            ),
        ),
    ),
    "wuw2": _github(
        "wuw2",
        "WUW Corpus II: US English over real telephones, many speakers with several calls, CC BY-SA 4.0",
        "wake-up-word/wuw-corpus-ii",
        "edd16fe0e8c861daef05e6778016764e20b3d628",
    ),
    "msc-malayalam": _github(
        "msc-malayalam", "Malayalam Speech Corpus: phones, CC BY-SA 4.0", "smc/msc", "8fb543a"
    ),
    "alphanum": _github(
        "alphanum",
        "Alphanumeric Audio Dataset: accented English, phones and laptops, MIT",
        "Sakshee5/alphanumeric-audio-dataset",
        "6c9a38e",
    ),
    "dspspeech20": _github(
        "dspspeech20",
        "DSPSpeech-20: Mandarin and English single words, MIT",
        "zhongyuchen/DSPSpeech-20",
        "8165959",
    ),
    "common-voice-sample": _github(
        "common-voice-sample",
        "clips of Common Voice 6.1 in many languages, chosen by OmniLingo, CC0",
        "omnilingo/rsample-100-cv-corpus-6.1-2020-12-11",
        "6785f86",
    ),
    "musan": Corpus(
        name="musan",
        about="MUSAN (OpenSLR 17): 109 hours of noise, music and speech to train with, CC BY 4.0",
        root="musan",
        mirrors=_openslr(17),
        archives=(
            Archive(
                "musan", "musan.tar.gz", 11086114085, "0c472d4fc0c5141eca47ad1ffeb2a7df", "musan", grows=1.2
            ),
        ),
    ),
    "rirs-noises": Corpus(
        name="rirs-noises",
        about="RIRS_NOISES (OpenSLR 28): measured and simulated rooms, and noises, Apache-2.0",
        root="RIRS_NOISES",
        mirrors=_openslr(28),
        archives=(
            Archive(
                "rirs_noises",
                "rirs_noises.zip",
                1311166223,
                "e6f48e257286e05de56413b4779d8ffb",
                "RIRS_NOISES",
            ),
        ),
    ),
}

# What a model was trained on, by the model's name: corpus -> parts.
SETS: dict[str, dict[str, tuple[str, ...]]] = {
    "voxid-base": {
        "librispeech": ("train-clean-100",),
        "speechocean762": ("speechocean762",),
        "speech-commands": ("v0.02",),
        "arabic-speech-commands": ("v1.0",),
        "rirs-noises": ("rirs_noises",),
    }
}


def find_corpus(corpus: str | Corpus) -> Corpus:
    """Return the corpus of that name; raise UnknownComponent with the known names."""
    if isinstance(corpus, Corpus):
        return corpus
    if corpus not in CORPORA:
        names = sorted([*CORPORA, *SETS])
        raise UnknownComponent(
            f"no corpus named {corpus!r}. Known: {', '.join(names)}.{did_you_mean(corpus, names)}"
        )
    return CORPORA[corpus]


def find_archive(corpus: Corpus, part: str) -> Archive:
    """Return the archive of that part; raise UnknownComponent with the known parts."""
    for archive in corpus.archives:
        if archive.part == part:
            return archive
    raise UnknownComponent(
        f"{corpus.name} has no part {part!r}. Known: {', '.join(corpus.parts())}."
        f"{did_you_mean(part, corpus.parts())}"
    )
