"""The torch engine: a model's own modules, in eval mode, on one device.

Shapes: B batch, S samples, T frames, F features per frame, M mel bands, U numbers in an utterance's summary,
D embedding.
"""

from __future__ import annotations

import copy
import os
from typing import Self

import numpy as np
import torch
from torch import Tensor

from voxid.embed.decode import LONG_S
from voxid.embed.device import pick_device
from voxid.embed.embedder import MOST_WORKERS, BatchRuntime
from voxid.model.card import InferenceConfig
from voxid.model.network import Model
from voxid.parallel import OneThreadWorkers, usable_cores


class TorchRuntime(BatchRuntime):
    """A model in eval mode on one device. Safe to share between threads.

    It keeps its own copy of the model, so that training may go on with the one it was given. Recordings
    longer than `long_s` seconds are read in blocks, in constant memory (see `BatchRuntime`). On a CPU
    `workers` threads compute, each on one core (None: the cores there are, 8 at most); on other devices the
    caller's thread does.

    >>> model = Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 8})
    >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16_000)
    >>> TorchRuntime(model).embed((noise, 16_000)).shape
    (16,)
    """

    def __init__(
        self, model: Model, device: str = "cpu", *, long_s: float = LONG_S, workers: int | None = None
    ) -> None:
        self._device = pick_device(device)
        self._model = copy.deepcopy(model).requires_grad_(False).eval().to(self._device)
        self._fingerprint = model.fingerprint
        count = min(MOST_WORKERS, usable_cores()) if workers is None else workers
        on_cpu = self._device.type == "cpu"
        workers_of_cpu = OneThreadWorkers(count, "voxid-embed", engine=torch) if on_cpu else None
        super().__init__(
            TorchNetwork(self._model, self._device),
            self._model.inference,
            workers=workers_of_cpu,
            long_s=long_s,
        )

    @classmethod
    def load(cls, folder: str | os.PathLike[str], *, device: str = "cpu", mode: str | None = None) -> Self:
        """Return the runtime of a model folder; see `voxid.embed.load`."""
        model = Model.load(folder)
        if mode is not None:
            model.inference = InferenceConfig.parse(
                {**model.inference.model_dump(), "mode": mode}, "inference"
            )
        return cls(model, device)

    @property
    def model(self) -> Model:
        """The model in use: a copy, without gradients."""
        return self._model

    @property
    def fingerprint(self) -> str:
        """The model's fingerprint at the time this runtime was made."""
        return self._fingerprint

    @property
    def engine(self) -> str:
        """What computes: an embedding kept for one engine is not taken for another's."""
        return f"torch {self._device.type}"


class TorchNetwork:
    """A model's features and encoder as a `Network`: numpy in, numpy out, on the model's device."""

    pads = True

    def __init__(self, model: Model, device: torch.device) -> None:
        self._model = model
        self._device = device
        self.dim = model.dim
        self.framing = model.features.framing
        self.summing = model.features.summing

    @torch.inference_mode()
    def features(self, wave_BS: np.ndarray, samples_B: np.ndarray | None) -> list[np.ndarray]:
        """Return feat_TF of each row; `samples_B` says how many samples are its own (None: all)."""
        samples = None if samples_B is None else torch.from_numpy(samples_B)
        feat_BTF, frames_B = self._model.features.packed(self._tensor(wave_BS), samples)
        rows = list(feat_BTF.cpu().numpy())
        if frames_B is None:
            return rows
        return [feat_TF[:frames] for feat_TF, frames in zip(rows, frames_B.tolist(), strict=True)]

    @torch.inference_mode()
    def log_mel(self, wave_S: np.ndarray) -> np.ndarray:
        """Return logmel_TM, what a frame is before the utterance's summary is known."""
        return self._model.features.log_mel(self._tensor(wave_S[None]))[0].cpu().numpy()

    @torch.inference_mode()
    def features_of_part(self, wave_S: np.ndarray, summary_1U: np.ndarray, part: slice) -> np.ndarray:
        """Return feat_TF of `part` of the frames of a wave, by the summary of the whole utterance."""
        features, summary_BU = self._model.features, self._tensor(summary_1U)
        logmel_BTM = features.log_mel(self._tensor(wave_S[None]))[:, part]
        feat_TF = features.from_log_mel(logmel_BTM, summary_BU)[0]
        spoken_BT = features.spoken(logmel_BTM, summary_BU)
        return (feat_TF if spoken_BT is None else feat_TF[spoken_BT[0]]).cpu().numpy()

    @torch.inference_mode()
    def encode(self, feat_BTF: np.ndarray, frames_B: np.ndarray | None) -> np.ndarray:
        """Return emb_BD; `frames_B` says how many frames are a row's own (None: all)."""
        self._model.eval()  # whatever a caller did to `.model`, dropout stays off
        frames = None if frames_B is None else torch.from_numpy(frames_B).to(self._device)
        return self._model.encoder(self._tensor(feat_BTF), frames).float().cpu().numpy()

    def _tensor(self, array: np.ndarray) -> Tensor:
        if not array.flags.writeable:  # torch would warn; nothing here writes into its input
            array = array.copy()
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
