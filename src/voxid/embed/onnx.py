"""The onnxruntime engine: an exported folder's two graphs. Never imports torch.

`front.onnx` turns waves into features, `encoder.onnx` features into an embedding; the encoder's weights are
the bytes of model.safetensors beside it. Rows of a batch have one length: a graph knows no padding, so a
batch gives exactly what its rows give alone.

Shapes: B batch, S samples, T frames, F features per frame, M mel bands, U numbers in an utterance's summary,
D embedding.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from voxid.errors import BadModel, DeviceUnavailable
from voxid.framing import Framing, Summary, Summing
from voxid.model.card import (
    ENCODER_FILE,
    FRONT_FILE,
    WEIGHTS_FILE,
    Card,
    Graphs,
    read_bytes,
    weights_in,
)
from voxid.parallel import Workers
from voxid.types import SAMPLE_RATE

PART = 30 * SAMPLE_RATE  # samples of a long wave whose windows are in memory at once
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxNetwork:
    """The two graphs of an exported folder as a `Network`; no setting of the process is touched.

    Raise BadModel (a file is missing or damaged, or there are no graphs) and DeviceUnavailable.
    """

    pads = False

    def __init__(
        self, folder: str | os.PathLike[str], device: str = "cpu", *, mode: str | None = None
    ) -> None:
        folder, device = Path(folder), pick_device(device)
        card = Card.read(folder, mode)
        if (graphs := card.graphs) is None:
            raise BadModel(
                f"{folder} has no graphs for onnxruntime, only weights for torch. "
                f"Run: voxid export {folder} -o EXPORTED, or: pip install 'voxid[train]'."
            )
        weights = _checked(folder, card, graphs)
        self.card = card if card.fingerprint else _marked(card, graphs, weights, folder / WEIGHTS_FILE)
        self.engine = f"onnxruntime {device}"
        self.dim = graphs.dim
        self.framing = Framing(graphs.hop, graphs.lead, graphs.window)
        self._summary: Summary = graphs.summary
        self._pause_db = graphs.pause_db
        self._front = _session(folder / FRONT_FILE, device)
        self._encoder = _session(folder / ENCODER_FILE, device, arena=False)
        self._no_summary_1U = np.zeros((1, graphs.summary_values), np.float32)
        self._on_cpu = device == "cpu"
        self._alone = graphs.alone

    def pool(self, workers: int) -> Workers | None:
        """Return threads, each of which computes by itself; None on other devices than a CPU."""
        return Workers(workers, "voxid-embed") if self._on_cpu else None

    def features(self, wave_BS: np.ndarray, samples_B: np.ndarray | None) -> list[np.ndarray]:
        """Return feat_TF of each row, all of which have one length; of long ones in constant memory."""
        assert samples_B is None
        if wave_BS.shape[1] > PART:
            return [self._features_in_parts(wave_S) for wave_S in wave_BS]
        return self._rows(wave_BS, self._no_summary_1U, slice(None), given=False)

    def _features_in_parts(self, wave_S: np.ndarray) -> np.ndarray:
        """Return feat_TF of a long wave as the graph gives it for the whole, some windows at a time."""
        parts = (wave_S[first : first + PART] for first in range(0, wave_S.size, PART))
        cut = list(self.framing.cut(parts, np.concatenate))
        logmel_TM = np.concatenate([self.log_mel(part_S)[frames] for part_S, frames in cut])
        if self._takes_off_mean:  # as the graph does, in 32 bits: the same numbers
            return logmel_TM - logmel_TM.sum(axis=0) / np.float32(len(logmel_TM))
        summing = self.summing()
        summing.add(logmel_TM)
        summary_1U = summing.value()
        return np.concatenate([self.features_of_part(part_S, summary_1U, frames) for part_S, frames in cut])

    @cached_property
    def _takes_off_mean(self) -> bool:
        """Whether features are the logarithms of bands less their mean, and nothing else."""
        if self._summary != "mean" or self._pause_db is not None:
            return False
        some_1U = np.arange(self._no_summary_1U.size, dtype=np.float32)[None]
        wave_1S = np.zeros((1, self.framing.window + self.framing.hop), np.float32)
        feat_BTF, logmel_BTM = self._run_front(["features", "log_mel"], wave_1S, some_1U, given=True)
        return np.array_equal(feat_BTF, logmel_BTM - some_1U)

    def summing(self) -> Summing:
        """Return what takes the summary of an utterance together from its `log_mel`."""
        return Summing(self._summary, self._pause_db)

    def log_mel(self, wave_S: np.ndarray) -> np.ndarray:
        """Return logmel_TM, what a frame is before the utterance's summary is known."""
        return self._run_front(["log_mel"], wave_S[None], self._no_summary_1U, given=False)[0][0]

    def features_of_part(self, wave_S: np.ndarray, summary_1U: np.ndarray, part: slice) -> np.ndarray:
        """Return feat_TF of `part` of the frames of a wave, by the summary of the whole utterance."""
        return self._rows(wave_S[None], summary_1U, part, given=True)[0]

    def encode(self, feat_BTF: np.ndarray, frames_B: np.ndarray | None) -> np.ndarray:
        """Return emb_BD; all rows have one length."""
        assert frames_B is None
        if self._alone and len(feat_BTF) > 1:
            return np.concatenate([self.encode(row_TF[None], None) for row_TF in feat_BTF])
        return self._encoder.run(["embedding"], {"features": _plain(feat_BTF)})[0]  # type: ignore[return-value]

    def _rows(self, wave_BS: np.ndarray, summary: np.ndarray, part: slice, given: bool) -> list[np.ndarray]:
        """Return feat_TF of each row, without its pauses."""
        if self._pause_db is None:
            return list(self._run_front(["features"], wave_BS, summary, given)[0][:, part])
        feat_BTF, spoken_BT = self._run_front(["features", "spoken"], wave_BS, summary, given)
        return [row_TF[part][said[part]] for row_TF, said in zip(feat_BTF, spoken_BT, strict=True)]

    def _run_front(
        self, outputs: list[str], wave_BS: np.ndarray, summary: np.ndarray, given: bool
    ) -> list[np.ndarray]:
        inputs = {"wave": _plain(wave_BS), "summary": summary, "given": np.array(given)}
        return self._front.run(outputs, inputs)  # type: ignore[return-value]


def pick_device(name: str) -> str:
    """Return "cpu" or "cuda"; "auto" is the first there is of cuda, cpu. Raise DeviceUnavailable.

    >>> pick_device("cpu")
    'cpu'
    """
    there = [device for device in ("cuda", "cpu") if PROVIDERS[device] in _providers()]
    if name == "auto":
        return there[0]
    if name not in there:
        raise DeviceUnavailable(
            f"onnxruntime has no device {name!r} on this machine. There is: auto, {', '.join(there)}. "
            "For cuda: pip install onnxruntime-gpu."
        )
    return name


def _providers() -> list[str]:
    return onnxruntime.get_available_providers()


def _session(path: Path, device: str, arena: bool = True) -> onnxruntime.InferenceSession:
    """Return a session that computes in the thread that calls it, and starts none of its own.

    Without an arena, memory goes back to the system as soon as it is free: a third less for a long recording.
    """
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = arena
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # it warns of what it cannot fold beforehand, on every load
    providers = [PROVIDERS[device]] if device == "cpu" else [PROVIDERS[device], PROVIDERS["cpu"]]
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions share no base
        raise BadModel(
            f"onnxruntime {onnxruntime.__version__} cannot load {path}: {error}. "
            "Upgrade it (pip install -U onnxruntime), or export the model again."
        ) from error


def _checked(folder: Path, card: Card, graphs: Graphs) -> bytes:
    """Return the weights (none in 8 bits) after every file was held against its sha256."""
    read_bytes(folder / FRONT_FILE, graphs.front_sha256)
    encoder = read_bytes(folder / ENCODER_FILE, graphs.encoder_sha256)
    if graphs.precision != "fp32":
        with suppress(KeyError, IndexError, TypeError, ValueError):  # no ONNX file: onnxruntime says so
            _finite(folder / ENCODER_FILE, floats_in(memoryview(encoder)))
        return b""
    path = folder / WEIGHTS_FILE
    weights = read_bytes(path, card.weights_sha256)
    floats = (w for w in weights_in(memoryview(weights), os.fspath(path)) if w.dtype == "torch.float32")
    _finite(path, ((w.name, np.frombuffer(weights, "<f4", w.length // 4, w.start)) for w in floats))
    return weights


def _finite(path: Path, arrays: Iterable[tuple[str, np.ndarray]]) -> None:
    """Raise BadModel when one of the named arrays of the file holds NaN or infinity."""
    for name, array in arrays:
        if not np.isfinite(array).all():
            raise BadModel(f"the weights in {path} hold NaN or infinity: {name}. Take another copy of it.")


def floats_in(graph: memoryview) -> Iterator[tuple[str, np.ndarray]]:
    """Yield (name, values) of the float32 tensors inside an ONNX file: the scales of 8-bit weights, biases.

    The numbers of the fields are those of onnx.proto3; the package `onnx` is not part of the bare install.
    """
    graph = dict(_fields(graph))[7]  # ModelProto.graph
    for field, part in _fields(graph):
        if field == 5:  # GraphProto.initializer
            tensors = [part]
        elif field == 1:  # GraphProto.node, its attributes' tensors
            attributes = [dict(_fields(value)) for number, value in _fields(part) if number == 5]
            tensors = [attribute[5] for attribute in attributes if 5 in attribute]
        else:
            continue
        for tensor in map(dict, map(_fields, tensors)):
            if tensor.get(2) == 1:  # TensorProto.data_type is FLOAT; raw_data, or float_data
                name = bytes(tensor.get(8, b"")).decode()
                yield name, np.frombuffer(tensor.get(9) or tensor.get(4) or b"", "<f4")


def _fields(message: memoryview) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protobuf message: their number, and a whole number or bytes."""
    at = 0

    def whole() -> int:
        nonlocal at
        value = shift = 0
        more = True
        while more:
            more, value = message[at] >= 128, value | (message[at] & 127) << shift
            at, shift = at + 1, shift + 7
        return value

    while at < len(message):
        key = whole()
        if key & 7 == 0:
            yield key >> 3, whole()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or whole()
        yield key >> 3, message[at : at + size]
        at += size


def _marked(card: Card, graphs: Graphs, weights: bytes, path: Path) -> Card:
    """Return the card with its fingerprint in another inference mode than the folder's."""
    view = memoryview(weights)
    found: Iterable[tuple[str, str, tuple[int, ...], bytes | memoryview]] = (
        [quantized_weight(graphs.encoder_sha256)]
        if graphs.precision != "fp32"
        else (
            (w.name, w.dtype, w.shape, view[w.start : w.start + w.length])
            for w in weights_in(view, os.fspath(path))
        )
    )
    return card.model_copy(update={"fingerprint": card.fingerprint_of(found)})


def quantized_weight(encoder_sha256: str) -> tuple[str, str, tuple[int, ...], bytes]:
    """Return what stands for the weights in the fingerprint of a quantized model: the graph they are in."""
    return "encoder", "int8", (), bytes.fromhex(encoder_sha256)


def _plain(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)
