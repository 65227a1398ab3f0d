"""A model folder on disk, read without torch: what config.json says, and where each weight lies in its file.

`config.json` says what to build, how to score and where it came from; `model.safetensors` holds the weights,
`cohort.npy` embeddings of strangers if the calibration uses them. An exported folder also has two graphs for
onnxruntime, whose weights are those of model.safetensors: they are on the disk once, for both engines.
Nothing in a folder is ever unpickled, and every file is held against its sha256.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, InstanceOf, model_validator

from voxid.config import Config, GrownConfig
from voxid.errors import BadConfig, BadModel
from voxid.files import atomic_write
from voxid.framing import Summary
from voxid.scoring.calibration import Calibration
from voxid.scoring.cohort import COHORT_FILE, Cohort

FORMAT = 4  # of the model folder; a reader refuses a higher number. 4: graphs that others made
PAUSES_FORMAT = 3  # of a folder with graphs that may leave pauses out
GRAPHS_FORMAT = 2  # of a folder with graphs that do not
PLAIN_FORMAT = 1  # of a folder without graphs, which an older voxid reads too
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
FRONT_FILE = "front.onnx"
ENCODER_FILE = "encoder.onnx"
PIECES_FILE = "pieces.zip"  # graphs by which the encoder reads a long recording in pieces, where it can
_DTYPES = {
    "BF16": "torch.bfloat16",
    "BOOL": "torch.bool",
    "F16": "torch.float16",
    "F32": "torch.float32",
    "F64": "torch.float64",
    "I64": "torch.int64",
}


class InferenceConfig(GrownConfig):
    """How an utterance becomes one embedding.

    `sliding` averages the embeddings of all whole windows of `window` frames, `step` frames apart; an
    utterance shorter than a window is embedded by its full sequence. `full` always takes the full sequence.
    With `coverage` a last window counts too of which more than this share is there; what it lacks, or an
    utterance shorter than a window, is filled with zeros.
    """

    later = frozenset({"coverage"})
    mode: Literal["sliding", "full"] = "sliding"
    window: int = Field(default=100, ge=1)  # frames
    step: int = Field(default=50, ge=1)  # frames
    coverage: float | None = Field(default=None, ge=0, lt=1)

    @model_validator(mode="after")
    def _windows_meet(self) -> InferenceConfig:
        if self.step > self.window:
            raise ValueError(
                f"step cannot exceed window, or frames would be skipped: {self.step} > {self.window}"
            )
        return self


class Graphs(GrownConfig):
    """The graphs of an exported folder, and what an engine has to know of them.

    Of the precision "own" is an encoder that came as a graph, with its weights inside.
    """

    later = frozenset({"pause_db", "alone"})
    precision: Literal["fp32", "int8", "own"] = "fp32"
    dim: int = Field(ge=1)  # of an embedding
    hop: int = Field(ge=1)  # samples from one frame to the next
    lead: int = Field(ge=0)  # samples by which the first window begins before the wave
    window: int = Field(ge=1)  # samples in a window
    summary: Summary  # what the features know of the whole utterance
    summary_values: int = Field(ge=1)
    pause_db: float | None = None  # so much softer than the speech, a frame is left out
    alone: bool = False  # the encoder takes one utterance at a time
    fingerprint: str  # of the model with the inference mode of this folder
    front_sha256: str
    encoder_sha256: str
    opset: int


class Card(Config):
    """What a model folder says of its model, without its weights: the value that both engines load.

    `cohort` lies in a file of its own, and `fingerprint` ("" where it is not known yet) follows from tables,
    inference and weights: neither is in config.json. `features` and `encoder` are tables of options.
    """

    features: dict[str, Any]
    encoder: dict[str, Any]
    inference: InferenceConfig
    calibration: Calibration | None
    metadata: dict[str, Any]
    weights_sha256: str  # of model.safetensors: safetensors itself would not notice a flipped bit
    graphs: Graphs | None = None
    cohort: InstanceOf[Cohort] | None = Field(None, exclude=True)
    fingerprint: str = Field("", exclude=True)

    @classmethod
    def read(cls, folder: Path, mode: str | None = None) -> Card:
        """Return the card of `folder`; `mode` replaces its inference mode, and changes the fingerprint.

        Raise BadModel when config.json or the cohort is missing, damaged or too new; BadConfig for `mode`.
        """
        card = _parsed(folder / CONFIG_FILE)
        changes: dict[str, Any] = {"fingerprint": card.graphs.fingerprint if card.graphs else ""}
        if mode is not None and mode != card.inference.mode:
            inference = InferenceConfig.parse({**card.inference.model_dump(), "mode": mode}, "inference")
            changes = {"inference": inference, "fingerprint": ""}
        if card.calibration is not None and card.calibration.cohort is not None:
            dim = None if card.graphs is None else card.graphs.dim
            changes["cohort"] = Cohort.load(folder, card.calibration.cohort, dim)
        return card.model_copy(update=changes)

    def save(self, folder: Path, files: dict[str, bytes] | None = None) -> None:
        """Write config.json, the cohort if the calibration uses one, and other files by their names.

        All are on the disk before one takes its name: a full disk cannot leave a mixed set. Raise BadModel
        when the calibration was fitted with another cohort, else an OutputError.
        """
        contents = {**(files or {}), CONFIG_FILE: self._json()}
        if self.calibration is not None and (wanted := self.calibration.cohort) is not None:
            if self.cohort is None or self.cohort.info.sha256 != wanted.sha256:
                raise BadModel(
                    f"the calibration was fitted with the cohort {wanted.name!r}, and the model has "
                    f"{'another' if self.cohort else 'none'}. Set model.cohort to it before saving."
                )
            contents[COHORT_FILE] = self.cohort.content()
        with ExitStack() as stack:
            for name, content in contents.items():
                file = stack.enter_context(atomic_write(folder / name))
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    def _json(self) -> bytes:
        """Return the bytes of config.json, in the lowest format that can say it: older voxids read it too."""
        values = {"format": file_format(self.graphs), **self.model_dump(mode="json")}
        if self.graphs is None:
            del values["graphs"]
        return (json.dumps(values, indent=2, allow_nan=False) + "\n").encode()

    def fingerprint_of(self, weights: Iterable[tuple[str, str, tuple[int, ...], bytes | memoryview]]) -> str:
        """Return the sha256 (64 hex digits) of all that changes an embedding.

        `weights` are (name, dtype as torch spells it, shape, bytes) in any order. Name, calibration and other
        metadata do not count.
        """
        parts = {
            "features": self.features,
            "encoder": self.encoder,
            "inference": self.inference.model_dump(mode="json"),
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        for name, dtype, shape, content in sorted(weights, key=lambda weight: weight[0]):
            digest.update(f"{name} {dtype} {shape}".encode())
            digest.update(content)
        return digest.hexdigest()


def file_format(graphs: Graphs | None) -> int:
    """Return the format to write: the lowest that can say it.

    >>> file_format(None)
    1
    """
    if graphs is None:
        return PLAIN_FORMAT
    if graphs.precision == "own" or graphs.summary == "clipped":
        return FORMAT
    return GRAPHS_FORMAT if graphs.pause_db is None else PAUSES_FORMAT


@dataclass(frozen=True)
class Weight:
    """One tensor in a safetensors file: `start` and `length` are bytes in the file."""

    name: str
    dtype: str  # as torch spells it
    shape: tuple[int, ...]
    start: int
    length: int


def weights_in(content: bytes | memoryview, source: str) -> list[Weight]:
    """Return where the tensors lie in the bytes of a safetensors file; raise BadModel that names `source`."""
    try:
        size = int.from_bytes(content[:8], "little")
        header = json.loads(bytes(content[8 : 8 + size]))
        header.pop("__metadata__", None)
        return [
            Weight(
                name,
                _DTYPES[entry["dtype"]],
                tuple(entry["shape"]),
                8 + size + entry["data_offsets"][0],
                entry["data_offsets"][1] - entry["data_offsets"][0],
            )
            for name, entry in header.items()
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadModel(
            f"{source} is not a safetensors file ({error}). Take all files from one training run."
        ) from None


def read_bytes(path: Path, sha256: str | None = None) -> bytes:
    """Return a model folder's file; raise BadModel when it is missing, unreadable or not the one meant."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise BadModel(
            f"{path.parent} is not a whole model folder: {path.name} is missing. "
            f"It needs {CONFIG_FILE} and {WEIGHTS_FILE}; copy the whole folder."
        ) from None
    except OSError as error:
        raise BadModel(f"cannot read {path}: {error.strerror}. Check that you may read it.") from error
    if sha256 is not None and (got := hashlib.sha256(content).hexdigest()) != sha256:
        raise BadModel(
            f"{path} is damaged or belongs to another {CONFIG_FILE}: its sha256 begins {got[:12]}, "
            f"{CONFIG_FILE} says {sha256[:12]}. Copy the model folder again, or resume its training."
        )
    return content


def _parsed(path: Path) -> Card:
    """Return what config.json says; raise BadModel when it is damaged or too new."""
    try:
        values = json.loads(read_bytes(path))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadModel(f"{path} is damaged: not JSON ({error}). Copy the model folder again.") from None
    version = values.pop("format", None) if isinstance(values, dict) else None
    if type(version) is not int or version < 1:
        raise BadModel(
            f"{path} is not a voxid model's: its format is {version!r}; expected a number up to {FORMAT}. "
            f"Give a folder that `voxid train` or `voxid import` wrote."
        )
    if version > FORMAT:
        raise BadModel(
            f"{path} has format {version}; this voxid reads up to {FORMAT}. Upgrade: pip install -U voxid."
        )
    try:
        return Card.parse(values, CONFIG_FILE)
    except BadConfig as error:
        raise BadModel(f"{path} is damaged: {error} Copy the model folder again.") from None


def save_calibration(folder: Path, calibration: Calibration | None, cohort: Cohort | None) -> None:
    """Put a calibration, and the cohort that it needs, into a model folder; nothing else changes.

    Both files are on the disk before one takes its name. Raise BadModel where the folder's config.json is
    damaged or the calibration was fitted with another cohort, else an OutputError.
    """
    _calibrated(folder, calibration, cohort).save(folder)


def copy_model(source: Path, out: Path, calibration: Calibration | None, cohort: Cohort | None) -> None:
    """Write the model of `source` into the folder `out` with another calibration; raise as it."""
    card = _calibrated(source, calibration, cohort)
    names = [WEIGHTS_FILE, FRONT_FILE, ENCODER_FILE, PIECES_FILE] if card.graphs else [WEIGHTS_FILE]
    card.save(out, {name: read_bytes(source / name) for name in names if (source / name).exists()})


def _calibrated(folder: Path, calibration: Calibration | None, cohort: Cohort | None) -> Card:
    return _parsed(folder / CONFIG_FILE).model_copy(update={"calibration": calibration, "cohort": cohort})
