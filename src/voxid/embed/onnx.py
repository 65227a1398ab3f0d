"""The onnxruntime engine: an exported folder's two graphs. Never imports torch.

`front.onnx` turns waves into features, `encoder.onnx` features into an embedding; the encoder's weights are
the bytes of model.safetensors beside it. Rows of a batch have one length: a graph knows no padding, so a
batch gives exactly what its rows give alone.

Shapes: B batch, S samples, T frames, F features per frame, M mel bands, U numbers in an utterance's summary,
D embedding.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime

from voxid.embed.passes import PIECE, in_pieces, is_long
from voxid.errors import BadModel, DeviceUnavailable
from voxid.framing import Framing, Summary, Summing, loudness_steps
from voxid.model.card import (
    ENCODER_FILE,
    FRONT_FILE,
    PIECES_FILE,
    WEIGHTS_FILE,
    Card,
    Graphs,
    read_bytes,
    weights_in,
)
from voxid.parallel import Workers
from voxid.types import SAMPLE_RATE

LONG = 30 * SAMPLE_RATE  # samples; a longer wave goes through the front end in parts ...
PART = 5 * SAMPLE_RATE  # ... of so many: its windows take five times the memory
KEPT = 10 * 100  # frames, of 10 s: what a run of no more of them takes is kept for the next
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
        self._encoder = _session(folder / ENCODER_FILE, device)
        self._pieces = _Pieces.of(folder, graphs.encoder_sha256) if device == "cpu" else None
        self._no_summary_1U = np.zeros((1, graphs.summary_values), np.float32)
        self._on_cpu = device == "cpu"
        self._alone = graphs.alone

    def pool(self, workers: int) -> Workers | None:
        """Return threads, each of which computes by itself; None on other devices than a CPU."""
        return Workers(workers, "voxid-embed") if self._on_cpu else None

    def features(self, wave_BS: np.ndarray, samples_B: np.ndarray | None) -> list[np.ndarray]:
        """Return feat_TF of each row, all of which have one length; of long ones in constant memory."""
        assert samples_B is None
        if wave_BS.shape[1] > LONG:
            return [self._features_in_parts(wave_S) for wave_S in wave_BS]
        return self._rows(wave_BS, self._no_summary_1U, slice(None), given=False)

    def _features_in_parts(self, wave_S: np.ndarray) -> np.ndarray:
        """Return feat_TF of a long wave as the graph gives it for the whole, some windows at a time."""

        def cut() -> Iterator[tuple[np.ndarray, slice]]:
            parts = (wave_S[first : first + PART] for first in range(0, wave_S.size, PART))
            return self.framing.cut(parts, np.concatenate)

        summing, logmels = self.summing(), []
        for part_S, frames in cut():
            logmel_TM = self.log_mel(part_S)[frames]
            summing.add(logmel_TM)
            if self._in_bands:
                logmels.append(logmel_TM)
        summary_1U = summing.value()
        if not self._in_bands:
            return np.concatenate(
                [self.features_of_part(part_S, summary_1U, frames) for part_S, frames in cut()]
            )
        if self._pause_db is None:  # as the graph does, in 32 bits: the same numbers
            total_M = np.zeros(logmels[0].shape[1], np.float32)
            for logmel_TM in logmels:
                total_M = np.concatenate([total_M[None], logmel_TM]).sum(axis=0)
            summary_1U = total_M[None] / np.float32(summing.frames)
        feat_TF, done = np.empty((summing.frames, logmels[0].shape[1]), np.float32), 0
        while logmels:  # each is given back when it is done
            said_TF = self._less_mean(logmels.pop(0), summary_1U)
            feat_TF[done : done + len(said_TF)] = said_TF
            done += len(said_TF)
        return feat_TF

    def _less_mean(self, logmel_TM: np.ndarray, summary_1U: np.ndarray) -> np.ndarray:
        """Return the bands less their mean, without pauses."""
        if self._pause_db is None:
            return logmel_TM - summary_1U
        return logmel_TM[loudness_steps(logmel_TM) >= summary_1U[0, -1]] - summary_1U[:, :-1]

    @cached_property
    def _in_bands(self) -> bool:
        """Whether features are the logarithms of bands less their mean, and nothing else."""
        if self._summary != "mean":
            return False
        some_1U = np.arange(self._no_summary_1U.size, dtype=np.float32)[None]
        wave_S = np.random.default_rng(0).standard_normal(self.framing.window + 5 * self.framing.hop) * 0.1
        wave_S = wave_S.astype(np.float32)
        feat_TF = self.features_of_part(wave_S, some_1U, slice(None))
        return np.array_equal(feat_TF, self._less_mean(self.log_mel(wave_S), some_1U))

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
        long = self._pieces is not None and is_long(feat_BTF.shape[1])
        if (self._alone or long) and len(feat_BTF) > 1:
            return np.concatenate([self.encode(row_TF[None], None) for row_TF in feat_BTF])
        if long:
            return self.encode_in_pieces(feat_BTF[0])[None]
        much = self._on_cpu and feat_BTF.shape[0] * feat_BTF.shape[1] > KEPT
        options = _giving_back() if much else None
        return self._encoder.run(["embedding"], {"features": _plain(feat_BTF)}, options)[0]  # type: ignore[return-value]

    def encode_in_pieces(self, feat_TF: np.ndarray, piece: int = PIECE) -> np.ndarray:
        """Return emb_D as `encode` does, to rounding, in the memory that `piece` frames take."""
        assert self._pieces is not None
        plan = self._pieces.plan
        return in_pieces(feat_TF, plan["reach"], plan["stride"], self._pieces.ask, piece)

    @property
    def reads_pieces(self) -> bool:
        """Whether there is `encode_in_pieces`."""
        return self._pieces is not None

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


class _Pieces:
    """The graphs of `pieces.zip`, by which an encoder reads a long recording in pieces; opened when needed.

    They share the weights of model.safetensors, of which they name the places.
    """

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        self._folder, self.plan = folder, plan
        self._opening = Lock()
        self._sessions: list[onnxruntime.InferenceSession] = []

    @classmethod
    def of(cls, folder: Path, encoder_sha256: str) -> _Pieces | None:
        """Return those of this encoder, if there are any; raise BadModel when the file is damaged."""
        try:
            plan = json.loads(_member(folder, "plan.json"))
        except FileNotFoundError:
            return None  # an older export
        return cls(folder, plan) if plan["encoder_sha256"] == encoder_sha256 else None

    def ask(self, feat_1TF: np.ndarray, own_2: np.ndarray, known: list[np.ndarray]) -> np.ndarray:
        """Return what the piece says of the question after those that are `known`; after the last, emb_D."""
        known_3U = np.zeros((3, sum(self.plan["widths"])), np.float32)
        if known:
            known_3K = np.concatenate(known, axis=1)
            known_3U[:, : known_3K.shape[1]] = known_3K
        inputs = {"features": _plain(feat_1TF), "own": own_2, "known": known_3U}
        return self._session(len(known)).run(None, inputs)[0][0]  # type: ignore[index]

    def _session(self, number: int) -> onnxruntime.InferenceSession:
        with self._opening:
            for here in range(len(self._sessions), number + 1):
                graph = _member(self._folder, f"{here}.onnx")
                self._sessions.append(_session(graph, "cpu", self._weights(here)))
            return self._sessions[number]

    def _weights(self, number: int) -> dict[str, onnxruntime.OrtValue]:
        """Return the weights that a graph lacks, by name."""
        content_S = np.memmap(self._folder / WEIGHTS_FILE, np.uint8, "r")
        return {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(
                content_S[start : start + 4 * math.prod(shape)].view("<f4").reshape(shape)
            )
            for name, (start, shape) in self.plan["weights"][number].items()
        }


def _member(folder: Path, name: str) -> bytes:
    """Return a file inside of `pieces.zip`; raise FileNotFoundError, BadModel."""
    try:
        with zipfile.ZipFile(folder / PIECES_FILE) as pieces:
            return pieces.read(name)
    except (zipfile.BadZipFile, KeyError) as error:
        raise BadModel(f"{folder / PIECES_FILE} is damaged ({error}). Copy the model folder again.") from None


def pick_device(name: str) -> str:
    """Return "cpu" or "cuda"; "auto" is the first there is of cuda, cpu. Raise DeviceUnavailable.

    >>> pick_device("cpu")
    'cpu'
    """
    providers = onnxruntime.get_available_providers()
    there = [device for device in ("cuda", "cpu") if PROVIDERS[device] in providers]
    if name == "auto":
        return there[0]
    if name not in there:
        raise DeviceUnavailable(
            f"onnxruntime has no device {name!r} on this machine. There is: auto, {', '.join(there)}. "
            "For cuda: pip install onnxruntime-gpu."
        )
    return name


def _session(
    path: Path | bytes, device: str, weights: dict[str, onnxruntime.OrtValue] | None = None
) -> onnxruntime.InferenceSession:
    """Return a session that computes in the thread that calls it, and starts none of its own.

    `weights` are those that the graph has outside of itself.
    """
    name = path if isinstance(path, Path) else PIECES_FILE
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = weights is None  # six small sessions with an arena each took 60 MB more
    options.log_severity_level = 4  # it warns of what it cannot fold beforehand, on every load
    if weights is not None:
        options.add_external_initializers(list(weights), list(weights.values()))
    providers = [PROVIDERS[device]] if device == "cpu" else [PROVIDERS[device], PROVIDERS["cpu"]]
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions share no base
        raise BadModel(
            f"onnxruntime {onnxruntime.__version__} cannot load {name}: {error}. "
            "Upgrade it (pip install -U onnxruntime), or export the model again."
        ) from error


def _giving_back() -> onnxruntime.RunOptions:
    """Return the options of a run after which the session gives back the memory it took.

    Where memory is given back in small parts while the graph runs, glibc keeps much of it.
    """
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


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
