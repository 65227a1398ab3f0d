"""The torch engine: a model's own modules, in eval mode, on one device.

Shapes: B batch, S samples, T frames, F features per frame, M mel bands, U numbers in an utterance's summary,
D embedding.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from voxid.embed.device import pick_device
from voxid.embed.passes import PIECE, in_pieces, is_long
from voxid.encoders import whole
from voxid.model.network import Model
from voxid.parallel import OneThreadWorkers, Workers


class TorchNetwork:
    """A model in eval mode on one device, as a `Network`: its own copy, so that a training may go on.

    >>> from voxid.embed import Embedder
    >>> model = Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 8})
    >>> noise = np.random.default_rng(0).uniform(-0.1, 0.1, 16_000)
    >>> Embedder(TorchNetwork(model)).embed((noise, 16_000)).shape
    (16,)
    """

    pads = True

    def __init__(self, model: Model, device: str = "cpu") -> None:
        self._device = pick_device(device)
        self.card = model.card
        self.engine = f"torch {self._device.type}"
        self.model = copy.deepcopy(model).requires_grad_(False).eval().to(self._device)
        self.dim = model.dim
        self.framing = model.features.framing
        self.summing = model.features.summing

    def pool(self, workers: int) -> Workers | None:
        """Return threads that keep torch to one core each; None on other devices than a CPU."""
        on_cpu = self._device.type == "cpu"
        return OneThreadWorkers(workers, "voxid-embed", engine=torch) if on_cpu else None

    @torch.inference_mode()
    def features(self, wave_BS: np.ndarray, samples_B: np.ndarray | None) -> list[np.ndarray]:
        """Return feat_TF of each row; `samples_B` says how many samples are its own (None: all)."""
        samples = None if samples_B is None else torch.from_numpy(samples_B)
        feat_BTF, frames_B = self.model.features.packed(self._tensor(wave_BS), samples)
        rows = list(feat_BTF.cpu().numpy())
        if frames_B is None:
            return rows
        return [feat_TF[:frames] for feat_TF, frames in zip(rows, frames_B.tolist(), strict=True)]

    @torch.inference_mode()
    def log_mel(self, wave_S: np.ndarray) -> np.ndarray:
        """Return logmel_TM, what a frame is before the utterance's summary is known."""
        return self.model.features.log_mel(self._tensor(wave_S[None]))[0].cpu().numpy()

    @torch.inference_mode()
    def features_of_part(self, wave_S: np.ndarray, summary_1U: np.ndarray, part: slice) -> np.ndarray:
        """Return feat_TF of `part` of the frames of a wave, by the summary of the whole utterance."""
        features, summary_BU = self.model.features, self._tensor(summary_1U)
        logmel_BTM = features.log_mel(self._tensor(wave_S[None]))[:, part]
        feat_TF = features.from_log_mel(logmel_BTM, summary_BU)[0]
        spoken_BT = features.spoken(logmel_BTM, summary_BU)
        return (feat_TF if spoken_BT is None else feat_TF[spoken_BT[0]]).cpu().numpy()

    @torch.inference_mode()
    def encode(self, feat_BTF: np.ndarray, frames_B: np.ndarray | None) -> np.ndarray:
        """Return emb_BD; `frames_B` says how many frames are a row's own (None: all)."""
        self.model.eval()  # whatever a caller did to `.model`, dropout stays off
        if self.reads_pieces and is_long(feat_BTF.shape[1]):
            lengths = [feat_BTF.shape[1]] * len(feat_BTF) if frames_B is None else frames_B
            rows = zip(feat_BTF, lengths, strict=True)
            return np.stack([self._row(feat_TF[:frames]) for feat_TF, frames in rows])
        frames = None if frames_B is None else torch.from_numpy(frames_B).to(self._device)
        return self.model.encoder(self._tensor(feat_BTF), frames).float().cpu().numpy()

    @property
    def reads_pieces(self) -> bool:
        """Whether there is `encode_in_pieces`: on a CPU, for an encoder that has a reach."""
        return self._device.type == "cpu" and getattr(self.model.encoder, "reach", None) is not None

    def _row(self, feat_TF: np.ndarray) -> np.ndarray:
        """Return emb_D."""
        if is_long(len(feat_TF)):
            return self.encode_in_pieces(feat_TF)
        return self.model.encoder(self._tensor(feat_TF[None])).float().cpu().numpy()[0]

    @torch.inference_mode()
    def encode_in_pieces(self, feat_TF: np.ndarray, piece: int = PIECE) -> np.ndarray:
        """Return emb_D as `encode` does, to rounding, in the memory that `piece` frames take."""
        encoder: Any = self.model.encoder

        def ask(feat_1TF: np.ndarray, own_2: np.ndarray, known: list[np.ndarray]) -> np.ndarray:
            try:
                with whole.asking(
                    self._tensor(own_2), [self._tensor(answer_3C[None]) for answer_3C in known]
                ):
                    return encoder(self._tensor(feat_1TF))[0].float().numpy()
            except whole.Unknown as question:
                return question.part_B3C[0].float().numpy()

        return in_pieces(feat_TF, encoder.reach, encoder.stride, ask, piece)

    def _tensor(self, array: np.ndarray) -> Tensor:
        if not array.flags.writeable:  # torch would warn; nothing here writes into its input
            array = array.copy()
        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
