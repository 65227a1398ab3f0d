"""What `voxid download` can bring: every published archive, where it lies, and how its bytes are told.

Adding a corpus is one entry in `CORPORA`. OpenSLR publishes MD5s for LibriSpeech (12, 31), MUSAN (17) and
RIRS_NOISES (28), TensorFlow Datasets the SHA-256 of Speech Commands, Debian those of the prompts of Asterisk.
For speechocean762 (OpenSLR 101), EmoDB and what lies on GitHub (a tag, commits) nobody publishes a checksum:
theirs is printed. What GitHub packs says its commit, which is compared, and a corpus that gets a list has a
least number of speakers and recordings; WUW Corpus II brings the MD5 of each recording.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from voxid.corpora import lists
from voxid.corpora.lists import Listing
from voxid.corpora.trees import write_training_list
from voxid.errors import UnknownComponent, did_you_mean

MIRRORS = ("us", "eu", "cn")
# Languages of `common-voice-sample` that voxid-base did not learn from: its list leaves them to tests.
NOT_LEARNED = (
    *("ab", "as", "cy", "en", "eu", "fa", "fy-NL", "ia", "ka", "lg", "mt", "or"),
    *("pa-IN", "rm-sursilv", "rw", "sl", "sv-SE", "tt", "zh-CN", "zh-TW"),
)


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
    commit: str = ""  # of a repository: what an archive that git packed says of itself; "": no such
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


def _github(name: str, about: str, repository: str, commit: str, after: Listing) -> Corpus:
    """Return a corpus that is a repository on GitHub, which packs any commit that is asked for."""
    packed = Archive(
        part=name,
        file=f"{name}.tar.gz",
        bytes=None,
        md5=None,
        folder=name,
        remote=f"{commit}.tar.gz",
        inside="*",
        grows=2.0,
        commit=commit,
        after=after,
    )
    return Corpus(name, about, name, (packed,), _home(f"https://github.com/{repository}/archive"))


def _asterisk(part: str, voice: str, size: int, sha256: str, remote: str = "") -> Archive:
    """Return the prompts of one voice in one language: a folder of the speaker, in it one of the language."""
    core = f"asterisk-core-sounds/asterisk-core-sounds_1.6.1.orig-{part}-wav.tar.gz"
    return Archive(
        part,
        f"asterisk-{part}.tar.gz",
        size,
        None,
        f"asterisk-prompts/train/{voice}/{part[:2]}",
        sha256=sha256,
        remote=remote or core,
        inside=".",
        grows=1.5,
    )


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
        Listing(lists.wuw2, 91, 1279),
    ),
    "msc-malayalam": _github(
        "msc-malayalam",
        "Malayalam Speech Corpus: phones, CC BY-SA 4.0",
        "smc/msc",
        "8fb543a",
        Listing(lists.msc_malayalam, 77, 488),
    ),
    "alphanum": _github(
        "alphanum",
        "Alphanumeric Audio Dataset: accented English, phones and laptops, MIT",
        "Sakshee5/alphanumeric-audio-dataset",
        "6c9a38e",
        Listing(lists.alphanum, 37, 110),
    ),
    "dspspeech20": _github(
        "dspspeech20",
        "DSPSpeech-20: Mandarin and English single words, MIT",
        "zhongyuchen/DSPSpeech-20",
        "8165959",
        Listing(lists.by_name(r"(?P<speaker>\d{11})-\d\d-\d\d", "zh"), 21, 420),
    ),
    "common-voice-sample": _github(
        "common-voice-sample",
        "clips of Common Voice 6.1 in many languages, chosen by OmniLingo, CC0",
        "omnilingo/rsample-100-cv-corpus-6.1-2020-12-11",
        "6785f863fec9770151abfe50a5e3e3787fd20ba2",
        Listing(lists.common_voice(NOT_LEARNED), 1529, 2993),
    ),
    "common-voice-uz": _github(
        "common-voice-uz",
        "clips of Common Voice in Uzbek, CC0",
        "jamshid-ds/transcription_training",
        "4ad76ccab0214e89cec6f3e96b829c3cfea17429",
        Listing(lists.common_voice(), 21, 102),
    ),
    "common-voice-vi": _github(
        "common-voice-vi",
        "clips of Common Voice in Vietnamese, CC0",
        "tqhb2502/SPEECH-MFA-forced_alignment",
        "53133673f557bf1b1bb301b9f41cee836fedb9cb",
        Listing(lists.common_voice(), 9, 53),
    ),
    "common-voice-tw": _github(
        "common-voice-tw",
        "clips of Common Voice in Twi, CC0",
        "pryyyynz/audio-for-Twi-TTS",
        "e23b901",
        Listing(lists.common_voice(), 10, 52),
    ),
    "aishell-sample": _github(
        "aishell-sample",
        "sample of AISHELL-1: Mandarin, two speakers, Apache-2.0",
        "QianZ423/kaldi-asr-aishell-sample",
        "4e69bf1a29621515d4a21ef6c2458335e6f86e24",
        Listing(lists.by_name(r"BAC009(?P<speaker>S\d{4})W\d+", "zh"), 2, 40),
    ),
    "emodb": Corpus(
        name="emodb",
        about="EmoDB (TU Berlin): German, ten actors in seven emotions, CC0",
        root="emodb",
        mirrors=_home("http://emodb.bilderbar.info/download"),
        archives=(
            Archive(
                "emodb",
                "emodb.zip",
                None,
                None,
                "emodb",
                remote="download.zip",
                inside=".",
                grows=1.5,
                after=Listing(
                    lists.by_name(
                        r"(?P<speaker>\d\d)[ab]\d\d[A-Z][a-z]?",
                        "de",
                        men=("03", "10", "11", "12", "15"),
                        women=("08", "09", "13", "14", "16"),
                    ),
                    10,
                    535,
                ),
            ),
        ),
    ),
    "asterisk-prompts": Corpus(
        name="asterisk-prompts",
        about="Asterisk's prompts, from Debian: five voices, 8 kHz, CC BY-SA 3.0 (it-menardi: CC BY 3.0)",
        root="asterisk-prompts/train",
        mirrors=_home(
            "https://deb.debian.org/debian/pool/main/a",
            "https://snapshot.debian.org/archive/debian/20250520T000000Z/pool/main/a",
        ),
        archives=(
            _asterisk(
                "en", "allison", 20176188, "07ad543764567ea235d3a96dcd15ecce4521855efc295de6f5443299c331ec0b"
            ),
            _asterisk(
                "es", "allison", 25834855, "4486234639392254da452f03d835e89c37416367b11cc8c76bc8492151ac4ebe"
            ),
            _asterisk(
                "fr", "june", 20726064, "43a5d591dc3e70c2e2c0b4c41b21980efb4de4c949172ffddb03a7ae5819f8ed"
            ),
            _asterisk(
                "it", "carlo", 19756185, "5dd007716a64f9599e47a9ce51ec6decb93221846d2d5b694120ae85f891ed13"
            ),
            _asterisk(
                "ru", "ivrvoice", 20347533, "db52d0a1828f6ee0c211f5c30fa5b8e35753e3bcff3d9ec6fa3e1cdc833954bf"
            ),
            _asterisk(
                "it-menardi",
                "paola",
                20970888,
                "f46e3a3821f18f95070ee60a6841b1af6ea2d4d6333c9a4e174c1f3d5bfcf6f3",
                "asterisk-prompt-it/asterisk-prompt-it_1.4.22%2bmm20110907.orig-wav.tar.gz",
            ),
        ),
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

# What a model was trained on, by the model's name: corpus -> parts, none for all of them.
SETS: dict[str, dict[str, tuple[str, ...]]] = {
    "voxid-base": {
        "librispeech": ("train-clean-100",),
        "speechocean762": ("speechocean762",),
        "speech-commands": ("v0.02",),
        "arabic-speech-commands": ("v1.0",),
        "common-voice-sample": (),
        "common-voice-uz": (),
        "common-voice-vi": (),
        "common-voice-tw": (),
        "wuw2": (),
        "msc-malayalam": (),
        "alphanum": (),
        "dspspeech20": (),
        "emodb": (),
        "asterisk-prompts": (),
        "aishell-sample": (),
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
