"""A torch model as two ONNX graphs: the same modules, traced; the front end says its FFT as a product.

Shapes: B batch, S samples, T frames, F features per frame, M mel bands, X windows, N samples in a window,
K frequency bins, U numbers in an utterance's summary, D embedding.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import logging
import math
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import numpy as np
import onnx
import onnx.utils
import torch
from torch import Tensor, nn

from voxid.encoders import whole
from voxid.features import Features
from voxid.model.card import WEIGHTS_FILE, Weight, weights_in
from voxid.model.network import Model
from voxid.types import SAMPLE_RATE

OPSET = 18
EXAMPLE_S = 3.0  # seconds of the wave that the graphs are traced with
MOST_SLICES = 32  # of a window, else the windows are looked up
DYNAMIC = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}  # rows; samples or frames
FEW_FRAMES = 13  # for recurrent layers, which the exporter walks frame by frame


class FrontGraph(nn.Module):
    """Waves to features; a part of an utterance brings the summary of the whole along."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = copy.deepcopy(features)
        self.features.in_parts = False
        self.features.spectrum = MatrixSpectrum(features.window)  # type: ignore[method-assign]
        if features.window // math.gcd(features.window, features.hop) <= MOST_SLICES:
            self.features._windowed = SlicedWindows(self.features)  # type: ignore[method-assign]

    def forward(self, wave_BS: Tensor, summary_1U: Tensor, given: Tensor) -> tuple[Tensor, ...]:
        """Return feat_BTF, logmel_BTM, and which frames are no pause, if pauses are left out.

        With `given`, by `summary_1U` instead of the rows' own.
        """
        logmel_BTM = self.features.log_mel(wave_BS)
        summary_BU = torch.where(given, summary_1U, self.features._summary(logmel_BTM, None))
        spoken_BT = self.features.spoken(logmel_BTM, summary_BU)
        feat_BTF = self.features.from_log_mel(logmel_BTM, summary_BU)
        if feat_BTF is logmel_BTM:  # nothing is taken off: one value cannot be two outputs of a graph
            feat_BTF = logmel_BTM.clone()
        return (feat_BTF, logmel_BTM) if spoken_BT is None else (feat_BTF, logmel_BTM, spoken_BT)


class SlicedWindows:
    """Windows cut from waves as a few strided slices; what `unfold` exports to looks up every sample.

    Window and hop are whole numbers of pieces, so a window's n-th pieces lie at even distances in the wave.
    """

    def __init__(self, features: Features) -> None:
        self._features = features

    def __call__(self, wave_BS: Tensor) -> Tensor:
        """Return logmel_BTM of every whole window, the first of which begins at sample 0."""
        window, hop = self._features.window, self._features.hop
        piece = math.gcd(window, hop)
        pieces = wave_BS.shape[1] // piece
        piece_BPN = wave_BS[:, : pieces * piece].reshape(-1, pieces, piece)
        reach = (wave_BS.shape[1] - window) // hop * (hop // piece) + 1  # pieces from the first to the last
        slices = [piece_BPN[:, n : n + reach : hop // piece] for n in range(window // piece)]
        return self._features._of_batch(torch.cat(slices, dim=2))


class MatrixSpectrum:
    """The power spectrum of windows by two matrix products, where onnxruntime's own DFT is four times slower.

    The power does not depend on where time begins. From the middle of the window on, the cosines are even and
    the sines odd, so half a window's sums and differences are enough: a quarter of the plain product. Cosines
    and sines come from one small table, and onnxruntime computes the matrices when it loads the graph.
    """

    def __init__(self, window: int) -> None:
        self._half = window // 2
        self._odd = window % 2

    def __call__(self, window_XN: Tensor, n_fft: int) -> Tensor:
        """Return power_XK of windows, as if followed by zeros up to `n_fft` samples."""
        half = self._half
        late_XH = window_XN[:, half + self._odd :]
        early_XH = window_XN[:, :half].flip(1)
        cosine_HK, sine_HK = self._matrices(n_fft)
        real_XK, imaginary_XK = (late_XH + early_XH) @ cosine_HK, (late_XH - early_XH) @ sine_HK
        if self._odd:
            real_XK = real_XK + window_XN[:, half : half + 1]
        return real_XK.square() + imaginary_XK.square()

    def _matrices(self, n_fft: int) -> tuple[Tensor, Tensor]:
        """Return cosine_HK and sine_HK of 2 pi k m / n_fft; m counts samples from the middle, in halves."""
        around = 2 * n_fft
        angle = np.arange(around) * (np.pi / n_fft)
        first = 1 + self._odd  # half a sample from the middle, or a whole one
        halves_H1 = torch.arange(first, first + 2 * self._half, 2)[:, None]
        bins_1K = torch.arange(0, n_fft + 2, 2)[None] // 2  # without a step it becomes CastLike: not folded
        place_HK = torch.remainder(halves_H1 * bins_1K, torch.tensor(around))
        tables = (torch.from_numpy(wave(angle).astype(np.float32)) for wave in (np.cos, np.sin))
        cosine_HK, sine_HK = (table[place_HK] for table in tables)
        return cosine_HK, sine_HK


class InPieces(nn.Module):
    """An encoder that sees a piece of a recording and is told all answers (`voxid.encoders.whole`)."""

    def __init__(self, encoder: nn.Module, widths: Sequence[int]) -> None:
        super().__init__()
        self.encoder, self.widths = encoder, list(widths)

    def forward(self, feat_BTF: Tensor, own_2: Tensor, known_3U: Tensor) -> tuple[Tensor, ...]:
        """Return what the piece says of each question, part_B3C, and emb_BD; the answers stand in a row."""
        known = [answer_3C[None] for answer_3C in known_3U.split(self.widths, dim=1)]
        with whole.asking(own_2, known) as piece:
            emb_BD = self.encoder(feat_BTF)
        return *piece.parts, emb_BD


def trace(model: Model, weights: bytes) -> tuple[bytes, bytes]:
    """Return the ONNX files of the front end and of the encoder of `model`, in eval mode.

    `weights` are the bytes of the safetensors file that will lie beside them.
    """
    encoder = trace_encoder(model)
    _refer(encoder, weights)
    return trace_front(model.features), encoder.SerializeToString()


def trace_encoder(model: Model) -> onnx.ModelProto:
    """Return the graph of the encoder of `model`, in eval mode, with its weights inside."""
    encoder, feat_BTF = _ready(model)
    return _traced(encoder, (feat_BTF,), (DYNAMIC,), (["features"], ["embedding"]))


def trace_pieces(model: Model, weights: bytes, encoder: bytes) -> bytes | None:
    """Return the file of graphs by which long recordings go in pieces; None where the encoder has no reach.

    It is a zip of one graph for each question, and one from the answers to the embedding; `plan.json` says
    how to cut, of which `encoder` it is, and where in `weights` the values are that the graphs lack.
    """
    if getattr(model.encoder, "reach", None) is None:
        return None
    module, feat_BTF = _ready(model)
    widths = questions(module, feat_BTF[:1])
    names = [*(f"part_{number}" for number in range(len(widths))), "embedding"]
    beside = torch.tensor([0, feat_BTF.shape[1]]), torch.zeros(3, sum(widths))
    inputs = ["features", "own", "known"]
    proto = _traced(InPieces(module, widths), (feat_BTF, *beside), (DYNAMIC, {}, {}), (inputs, names))
    _refer(proto, weights)
    plan = {
        "encoder_sha256": hashlib.sha256(encoder).hexdigest(),
        "reach": module.reach,
        "stride": module.stride,
        "widths": widths,
        "weights": [],  # of each graph: name, first byte and shape
    }
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as pieces:

        def write(name: str, content: bytes | str) -> None:  # without a date: the same bytes every time
            pieces.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)

        for number, name in enumerate(names):
            graph = onnx.utils.Extractor(proto).extract_model(inputs, [name])
            plan["weights"].append(_places(graph))
            write(f"{number}.onnx", graph.SerializeToString())
        write("plan.json", json.dumps(plan))
    return file.getvalue()


def _places(proto: onnx.ModelProto) -> dict[str, tuple[int, list[int]]]:
    """Return where the weights lie that are not in the graph: {name: (first byte, shape)}."""
    places = {}
    for tensor in proto.graph.initializer:
        if at := {entry.key: entry.value for entry in tensor.external_data}:
            places[tensor.name] = int(at["offset"]), list(tensor.dims)
    return places


def _ready(model: Model) -> tuple[nn.Module, Tensor]:
    """Return the encoder of `model` as it is used, and features to trace it with."""
    model = copy.deepcopy(model).requires_grad_(False).eval().cpu()
    with torch.no_grad():
        feat_BTF = model.features(torch.rand(2, int(EXAMPLE_S * SAMPLE_RATE)) - 0.5)
    if any(isinstance(module, nn.RNNBase) for module in model.encoder.modules()):
        feat_BTF = feat_BTF[:, :FEW_FRAMES].contiguous()
    return model.encoder, feat_BTF


@torch.no_grad()
def questions(encoder: nn.Module, feat_1TF: Tensor) -> list[int]:
    """Return how many values each question has that the encoder asks of a whole recording."""
    known: list[Tensor] = []
    while True:
        try:
            with whole.asking(torch.tensor([0, feat_1TF.shape[1]]), known):
                encoder(feat_1TF)
            return [answer_13C.shape[2] for answer_13C in known]
        except whole.Unknown as question:
            known.append(question.part_B3C)


def trace_front(features: Features) -> bytes:
    """Return the ONNX file of the front end alone."""
    inputs = torch.rand(2, int(EXAMPLE_S * SAMPLE_RATE)) - 0.5, torch.zeros(1, summary_values(features))
    spoken = ["spoken"] if features.pause_db is not None else []
    names = ["wave", "summary", "given"], ["features", "log_mel", *spoken]
    front = _traced(FrontGraph(features), (*inputs, torch.tensor(False)), (DYNAMIC, {}, {}), names)
    return front.SerializeToString()


def summary_values(features: Features) -> int:
    """Return how many numbers the summary of an utterance has, U."""
    with torch.no_grad():
        return features._summary(features.log_mel(torch.zeros(1, SAMPLE_RATE)), None).shape[1]


def _traced(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    dynamic: tuple[dict[int, Any], ...],
    names: tuple[list[str], list[str]],
) -> onnx.ModelProto:
    """Return the ONNX model of a module. Nothing is folded: every weight stays as it is in the module."""
    with _quiet(), _no_fused_attention():
        program = torch.onnx.export(
            module.eval(),
            inputs,
            dynamo=True,
            optimize=False,
            opset_version=OPSET,
            dynamic_shapes=dynamic,
            input_names=names[0],
            output_names=names[1],
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:  # where in our source each came from: half of the file
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.metadata_props[:]
    return proto


@contextmanager
def _no_fused_attention() -> Iterator[None]:
    """Let torch's transformer layers take the road of their parts: ONNX does not know the fused one."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter to itself; what it raises still comes through."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.__trace")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _refer(proto: onnx.ModelProto, weights: bytes) -> None:
    """Let the graph take its weights from the safetensors file, in which they are byte for byte.

    A weight is found by its bytes, so the same numbers are never on the disk twice, whatever it is called.
    """
    view = memoryview(weights)
    places: dict[str, Weight] = {}
    for weight in weights_in(view, WEIGHTS_FILE):
        places.setdefault(_digest(view[weight.start : weight.start + weight.length]), weight)
    for tensor in proto.graph.initializer:
        content = onnx.numpy_helper.to_array(tensor).tobytes()
        place = places.get(_digest(content)) if len(content) >= 64 else None  # not worth a reference
        if place is None:
            continue
        for field in ("raw_data", "float_data", "int64_data", "int32_data", "double_data"):
            tensor.ClearField(field)  # type: ignore[arg-type]
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entries = {"location": WEIGHTS_FILE, "offset": str(place.start), "length": str(place.length)}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()
