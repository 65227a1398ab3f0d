"""A model: features and encoder in one module, saved to and loaded from one folder.

A model folder holds `config.json` (what to build, how to score, calibration, where it came from) and
`model.safetensors` (the weights); `cohort.npy` (embeddings of strangers) if its calibration uses them.
Nothing in it is ever unpickled.

Shapes: B batch, S samples, D embedding.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Self

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from voxid.encoders import ENCODERS
from voxid.errors import BadConfig, BadModel, UnknownModel
from voxid.features import FEATURES
from voxid.model.card import (
    CONFIG_FILE,
    ENCODER_FILE,
    FRONT_FILE,
    WEIGHTS_FILE,
    Card,
    Graphs,
    InferenceConfig,
    read_bytes,
)
from voxid.registry import origin
from voxid.scoring.calibration import Calibration
from voxid.scoring.cohort import Cohort


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
        if not isinstance(getattr(self.encoder, "dim", None), int):
            raise BadConfig(
                f"encoder {encoder['name']!r}: it has no `dim`. Set self.dim to the length of its embeddings."
            )
        self.inference = inference or InferenceConfig()
        self.calibration = calibration
        self.cohort: Cohort | None = None  # whoever sets a calibration that needs one sets it too
        self.metadata = dict(metadata or {})
        names = [features["name"], encoder["name"]]
        self._made_by = {name: found for name in names if (found := origin(name))}
        self._graphs: tuple[Graphs, str] | None = None  # of the folder it was loaded from, and their weights
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

        Raise UnknownComponent or BadConfig that names the key. Parts outside of voxid are imported.
        """
        for registry, table in ((FEATURES, features), (ENCODERS, encoder)):
            registry.parse(table, registry.kind, imports=True)
        return cls(features, encoder, InferenceConfig.parse(dict(inference or {}), "inference"))

    @property
    def dim(self) -> int:
        """The length D of an embedding."""
        return self.encoder.dim

    def forward(self, wave_BS: Tensor, samples_B: Tensor | None = None) -> Tensor:
        """Return emb_BD (B, D) of the full sequence of each row of wave_BS (B, S), 16 kHz floats in -1..1.

        `samples_B` says how many samples of each row are its own; the rest is padding that changes nothing.
        """
        return self.encoder(*self.features.packed(wave_BS, samples_B))

    @property
    def fingerprint(self) -> str:
        """The sha256 (64 hex digits) of all that changes an embedding: features, encoder, inference, weights.

        Name, calibration and other metadata do not count: two models with one fingerprint embed alike.
        """
        weights = (
            (
                name,
                str(tensor.dtype),
                tuple(tensor.shape),
                tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes(),
            )
            for name, tensor in self.state_dict().items()
        )
        return self._card().fingerprint_of(weights)

    @property
    def card(self) -> Card:
        """What the model is and where it comes from, without its weights."""
        return self._card(fingerprint=self.fingerprint)

    def _card(self, **more: Any) -> Card:
        return Card(
            **self.tables,
            inference=self.inference,
            calibration=self.calibration,
            cohort=self.cohort,
            metadata=self.metadata | ({"made_by": self._made_by} if self._made_by else {}),
            **{"weights_sha256": "", **more},
        )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write config.json and model.safetensors into `folder`; each is whole or is the one from before.

        The cohort is written too when the calibration uses one. Raise DiskFull, NotWritable or OutputError;
        BadModel when the calibration was fitted with another cohort than the model's.
        """
        folder = Path(folder)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        weights = safetensors.torch.save(tensors, metadata={"format": "pt"})
        sha256 = hashlib.sha256(weights).hexdigest()
        self._card(weights_sha256=sha256, graphs=self._graphs_for(folder, sha256)).save(
            folder, {WEIGHTS_FILE: weights}
        )

    def _graphs_for(self, folder: Path, weights_sha256: str) -> Graphs | None:
        """Return the graphs in `folder` if they are still this model's: a new calibration keeps them."""
        if self._graphs is None or not all((folder / name).is_file() for name in (FRONT_FILE, ENCODER_FILE)):
            return None
        graphs, of_weights = self._graphs
        return graphs if of_weights == weights_sha256 and graphs.fingerprint == self.fingerprint else None

    @classmethod
    def load(cls, folder: str | os.PathLike[str], mode: str | None = None) -> Self:
        """Return the model of `folder`, on the CPU and in eval mode; `mode` replaces its inference mode.

        Raise UnknownModel when there is no such folder; BadModel when a file is missing or damaged, was
        written by a newer voxid, or when the weights do not fit the config.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UnknownModel(
                f"no model folder {folder}. A model folder holds {CONFIG_FILE} and {WEIGHTS_FILE}; "
                "`voxid train` and `voxid import` write one."
            )
        content = Card.read(folder, mode)
        if content.graphs is not None and content.graphs.precision != "fp32":
            raise BadModel(
                f"{folder} holds {content.graphs.precision} graphs for onnxruntime and no weights for torch. "
                "Load it with the onnx engine, or take the folder or file it was made from."
            )
        try:
            model = cls(
                content.features, content.encoder, content.inference, content.calibration, content.metadata
            )
        except BadConfig as error:
            made_by = content.metadata.get("made_by", {})
            said = "".join(f" When it was saved, {name} came from {of}." for name, of in made_by.items())
            raise BadModel(
                f"{folder / CONFIG_FILE} describes no model voxid can build: {error}{said}"
            ) from error
        model._fill(_read_weights(folder, content.weights_sha256), folder / WEIGHTS_FILE)
        model.cohort = content.cohort
        if model.cohort is not None and model.cohort.rows_MD.shape[1] != model.dim:
            raise BadModel(
                f"the cohort in {folder} is of {model.cohort.rows_MD.shape[1]} dimensions, the model of "
                f"{model.dim}: it belongs to another model. Calibrate again."
            )
        if content.graphs is not None:
            model._graphs = content.graphs, content.weights_sha256
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


def _shortened(names: list[str]) -> str:
    return ", ".join(names[:4]) + f" and {len(names) - 4} more" * (len(names) > 4)


def _read_weights(folder: Path, sha256: str) -> dict[str, Tensor]:
    path = folder / WEIGHTS_FILE
    content = read_bytes(path, sha256)
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, KeyError, ValueError) as error:
        raise BadModel(
            f"{path} is not a safetensors file ({error}). Take both files from one training run."
        ) from None
