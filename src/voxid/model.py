"""A model: features and encoder in one module, saved to and loaded from one folder.

A model folder holds `config.json` (what to build, how to score, calibration, where it came from) and
`model.safetensors` (the weights); `cohort.npy` (embeddings of strangers) if its calibration uses them.
Nothing in it is ever unpickled.

Shapes: B batch, S samples, D embedding.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, Self

import safetensors.torch
import torch
from pydantic import Field, model_validator
from safetensors import SafetensorError
from torch import Tensor, nn

from voxid.config import Config
from voxid.encoders import ENCODERS
from voxid.errors import BadConfig, BadModel, UnknownModel
from voxid.features import FEATURES
from voxid.files import atomic_write
from voxid.scoring.calibration import Calibration
from voxid.scoring.cohort import COHORT_FILE, Cohort

FORMAT = 1  # of the model folder; a reader refuses a higher number
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


class InferenceConfig(Config):
    """How an utterance becomes one embedding.

    `sliding` averages the embeddings of all whole windows of `window` frames, `step` frames apart; an
    utterance shorter than a window is embedded by its full sequence. `full` always takes the full sequence.
    """

    mode: Literal["sliding", "full"] = "sliding"
    window: int = Field(default=100, ge=1)  # frames
    step: int = Field(default=50, ge=1)  # frames

    @model_validator(mode="after")
    def _windows_meet(self) -> InferenceConfig:
        if self.step > self.window:
            raise ValueError(
                f"step cannot exceed window, or frames would be skipped: {self.step} > {self.window}"
            )
        return self


class _ModelFile(Config):
    """What config.json holds."""

    format: int
    features: dict[str, Any]
    encoder: dict[str, Any]
    inference: InferenceConfig
    calibration: Calibration | None
    metadata: dict[str, Any]
    weights_sha256: str  # of model.safetensors: safetensors itself would not notice a flipped bit


class Model(nn.Module):
    """Features, encoder and the way to use them: waveform in, embedding out.

    >>> model = Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 8}, {"mode": "full"})
    >>> model.dim, model.inference.mode
    (16, 'full')
    """

    def __init__(
        self,
        features: dict[str, Any],
        encoder: dict[str, Any],
        inference: InferenceConfig | None = None,
        calibration: Calibration | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        features_class, features_config = FEATURES.parse(features, "features")
        encoder_class, encoder_config = ENCODERS.parse(encoder, "encoder")
        self.features = features_class(features_config)
        self.encoder = encoder_class(encoder_config, self.features.dim)
        self.inference = inference or InferenceConfig()
        self.calibration = calibration
        self.cohort: Cohort | None = None  # whoever sets a calibration that needs one sets it too
        self.metadata = dict(metadata or {})
        # Every option is written out, so that a default changed later does not change an old model.
        self.tables = {
            "features": {"name": features["name"], **features_config.model_dump(mode="json")},
            "encoder": {"name": encoder["name"], **encoder_config.model_dump(mode="json")},
        }

    @classmethod
    def build(
        cls,
        features: dict[str, Any],
        encoder: dict[str, Any],
        inference: dict[str, Any] | None = None,
    ) -> Self:
        """Return a model with fresh weights from the three tables of a recipe.

        Raise UnknownComponent or BadConfig that names the key.
        """
        return cls(features, encoder, InferenceConfig.parse(dict(inference or {}), "inference"))

    @property
    def dim(self) -> int:
        """The length D of an embedding."""
        return self.encoder.dim

    def forward(self, wave_BS: Tensor, samples_B: Tensor | None = None) -> Tensor:
        """Return emb_BD (B, D) of the full sequence of each row of wave_BS (B, S), 16 kHz floats in -1..1.

        `samples_B` says how many samples of each row are its own; the rest is padding that changes nothing.
        """
        feat_BTF = self.features(wave_BS, samples_B)
        frames_B = None if samples_B is None else self.features.frames(samples_B)
        return self.encoder(feat_BTF, frames_B)

    @property
    def fingerprint(self) -> str:
        """The sha256 (64 hex digits) of all that changes an embedding: features, encoder, inference, weights.

        Name, calibration and other metadata do not count: two models with one fingerprint embed alike.
        """
        parts = {**self.tables, "inference": self.inference.model_dump(mode="json")}
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json and model.safetensors into `folder`; each is whole or is the one from before.

        The cohort is written too when the calibration uses one. Raise DiskFull, NotWritable or OutputError;
        BadModel when the calibration was fitted with another cohort than the model's.
        """
        folder = Path(folder)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        weights = safetensors.torch.save(tensors, metadata={"format": "pt"})
        config = _ModelFile(
            format=FORMAT,
            **self.tables,
            inference=self.inference,
            calibration=self.calibration,
            metadata=self.metadata,
            weights_sha256=hashlib.sha256(weights).hexdigest(),
        )
        text = json.dumps(config.model_dump(mode="json"), indent=2, allow_nan=False) + "\n"
        contents = {CONFIG_FILE: text.encode(), **self._cohort_file(), WEIGHTS_FILE: weights}
        # All files are on the disk before one takes its name: a full disk cannot leave a mixed set.
        with ExitStack() as stack:
            for name, content in contents.items():
                file = stack.enter_context(atomic_write(folder / name))
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    def _cohort_file(self) -> dict[str, bytes]:
        """Return the cohort's file, by name, if the calibration uses one."""
        wanted = self.calibration.cohort if self.calibration else None
        if wanted is None:
            return {}
        if self.cohort is None or self.cohort.info.sha256 != wanted.sha256:
            raise BadModel(
                f"the calibration was fitted with the cohort {wanted.name!r}, and the model has "
                f"{'another' if self.cohort else 'none'}. Set model.cohort to it before saving."
            )
        return {COHORT_FILE: self.cohort.content()}

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Return the model of `folder`, on the CPU and in eval mode.

        Raise UnknownModel when there is no such folder; BadModel when a file is missing or damaged, was
        written by a newer voxid, or when the weights do not fit the config.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UnknownModel(
                f"no model folder {folder}. A model folder holds {CONFIG_FILE} and {WEIGHTS_FILE}; "
                "`voxid train` and `voxid import-seed` write one."
            )
        content = _read_config(folder)
        try:
            model = cls(
                content.features, content.encoder, content.inference, content.calibration, content.metadata
            )
        except BadConfig as error:
            raise BadModel(f"{folder / CONFIG_FILE} describes no model voxid can build: {error}") from error
        model._fill(_read_weights(folder, content.weights_sha256), folder / WEIGHTS_FILE)
        if content.calibration is not None and content.calibration.cohort is not None:
            model.cohort = Cohort.load(folder, content.calibration.cohort)
        return model.eval()

    def _fill(self, tensors: dict[str, Tensor], source: Path) -> None:
        """Copy `tensors` into the weights; raise BadModel that lists those that do not fit."""
        if problems := misfits(self.state_dict(), tensors):
            raise BadModel(
                f"the weights in {source} do not fit the config beside them: {problems}. "
                "Take both files from one training run."
            )
        self.load_state_dict(tensors)


def misfits(expected: dict[str, Tensor], got: dict[str, Tensor]) -> str:
    """Return which tensors of `got` are missing, unknown, of another shape or not finite; "" if none."""
    problems = {
        "missing": [name for name in expected if name not in got],
        "unknown": [name for name in got if name not in expected],
        "of another shape": [
            f"{name} {tuple(got[name].shape)} instead of {tuple(expected[name].shape)}"
            for name in expected
            if name in got and got[name].shape != expected[name].shape
        ],
        "with NaN or infinity": [name for name in got if not bool(torch.isfinite(got[name]).all())],
    }
    return "; ".join(f"{kind}: {_shortened(names)}" for kind, names in problems.items() if names)


def _shortened(names: list[str], most: int = 4) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadModel(
            f"{path.parent} is not a whole model folder: {path.name} is missing. "
            f"It needs {CONFIG_FILE} and {WEIGHTS_FILE}; copy the whole folder."
        ) from None
    except OSError as error:
        raise BadModel(f"cannot read {path}: {error.strerror}. Check that you may read it.") from error


def _read_config(folder: Path) -> _ModelFile:
    path = folder / CONFIG_FILE
    try:
        values = json.loads(_read(path))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadModel(f"{path} is damaged: not JSON ({error}). Copy the model folder again.") from None
    version = values.get("format") if isinstance(values, dict) else None
    if type(version) is not int or version < 1:
        raise BadModel(
            f"{path} is not a voxid model's: its format is {version!r}; expected a number up to {FORMAT}. "
            f"Give a folder that `voxid train` or `voxid import-seed` wrote."
        )
    if version > FORMAT:
        raise BadModel(
            f"{path} has format {version}; this voxid reads up to {FORMAT}. Upgrade: pip install -U voxid."
        )
    try:
        return _ModelFile.parse(values, CONFIG_FILE)
    except BadConfig as error:
        raise BadModel(f"{path} is damaged: {error} Copy the model folder again.") from None


def _read_weights(folder: Path, sha256: str) -> dict[str, Tensor]:
    path = folder / WEIGHTS_FILE
    content = _read(path)
    if (got := hashlib.sha256(content).hexdigest()) != sha256:
        raise BadModel(
            f"{path} is damaged or belongs to another {CONFIG_FILE}: its sha256 begins {got[:12]}, "
            f"{CONFIG_FILE} says {sha256[:12]}. Copy the model folder again, or resume its training."
        )
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise BadModel(
            f"{path} is not a safetensors file ({error}). Take both files from one training run."
        ) from None
