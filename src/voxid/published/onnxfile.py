"""Any encoder in an ONNX file, made into a model folder: its interface is read, its behaviour tried out.

What a file cannot say (how samples are scaled, what is taken off the features) is assumed as the projects do
it that publish such files, and said, so that it can be said otherwise.

Shapes: B batch, S samples, T frames, F features per frame, D embedding.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, compose, helper, numpy_helper

from voxid.embed import Embedder
from voxid.embed.onnx import OnnxNetwork, quantized_weight
from voxid.errors import BadCheckpoint, BadConfig, VoxidError
from voxid.evaluation import EvaluationData
from voxid.export import check_place, graphs_of, put
from voxid.export.agreement import speech_for_checking
from voxid.export.graphs import trace_front
from voxid.features import FEATURES, Features
from voxid.files import output_error
from voxid.model.card import ENCODER_FILE, FRONT_FILE, Card, InferenceConfig
from voxid.published import checkpoints
from voxid.training.recipe import override_with
from voxid.types import SAMPLE_RATE

NEMO_FLOOR = 2.0**-24
# name -> (features, what they are in words)
PRESETS: dict[str, tuple[dict[str, Any], str]] = {
    "wespeaker": (
        {"name": "fbank", "window": "hamming"},
        "Kaldi filter banks as WeSpeaker's: hamming window, samples as 16-bit integers, less its mean",
    ),
    "3dspeaker": (
        {"name": "fbank", "scale": 1.0},
        "Kaldi filter banks as 3D-Speaker's: povey window, samples in -1..1, less its mean",
    ),
    "nemo": (
        {
            "name": "mel",
            "n_fft": 512,
            "window": "hann_symmetric",
            "preemphasis": 0.97,
            "log": "ln",
            "floor": NEMO_FLOOR,
            "norm": "deviation",
        },
        "mel spectrograms as NeMo's: pre-emphasis 0.97, each band less its mean, by its deviation",
    ),
    "wave": ({"name": "wave"}, "the samples themselves, in -1..1"),
}
SHORT = {"fbank": "wespeaker", "mel": "nemo"}  # "fbank80", "mel64": of whose kind
SAME = 1 - 1e-6  # a cosine from which two embeddings are one
LOUDNESS = 0.25  # of a recording that is played more softly
SOFT_COSINE = 0.9  # under which its embedding is said to depend on the level


@dataclass(frozen=True)
class Behaviour:
    """Cosines of an encoder's embeddings of speech that tell whether it was understood rightly.

    `halves` of one recording, the recording played more softly (`softer`), and `others`: two voices.

    >>> Behaviour(halves=0.8, softer=0.99, others=0.2, speech="voices").halves
    0.8
    """

    halves: float
    softer: float
    others: float
    speech: str  # whose


@dataclass(frozen=True)
class OnnxImported:
    """What `import_onnx` wrote, what it assumed, and how the encoder behaves.

    >>> import_onnx("voxceleb_resnet34.onnx", "models/resnet34").assumed  # doctest: +SKIP
    ['Kaldi filter banks as WeSpeaker's: ...']
    """

    folder: Path
    card: Card
    assumed: list[str]
    warnings: list[str]
    behaviour: Behaviour


@dataclass(frozen=True)
class Interface:
    """Which input and output of a graph count, and how it wants its features."""

    input: str
    output: str
    lengths: str | None  # an input that says how many frames there are
    lengths_type: int
    axes: str  # "BTF", "BFT", "BS", "B1S"
    bins: int | None
    rows: int | None  # None: any number


def import_onnx(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    features: str | None = None,
    overrides: Sequence[str] = (),
    data: EvaluationData | None = None,
) -> OnnxImported:
    """Write the encoder in an ONNX file into the model folder `out`; return what was assumed and measured.

    `features` is "fbank80", "mel64" (any number of bands), "wave", or whose they are: "wespeaker",
    "3dspeaker", "nemo"; None: what the file's metadata or the names of its inputs say. `overrides` change
    single options ("features.window=povey"). `data` is speech that the encoder is tried on (None: synthetic
    voices). Nothing is written unless it embeds speech of several lengths, the same twice, and tells voices
    apart from each other.

    Raise BadCheckpoint when the file is damaged or its inputs are not those of an encoder; BadConfig for
    options; RunExists, NotWritable or OutputError for `out`.

    >>> import_onnx("model.onnx", "models/any", features="fbank80")  # doctest: +SKIP
    """
    path, out = Path(path).expanduser(), Path(out).expanduser()
    proto = _read(path)
    said = {prop.key: prop.value for prop in proto.metadata_props}
    face = interface(proto, path)
    tables, words = _features(face, said, features, overrides, path)
    features_class, config = FEATURES.parse(tables["features"], "features")
    made = features_class(config)
    if face.bins is not None and made.dim != face.bins:
        raise BadCheckpoint(
            f"{path} takes {face.bins} features a frame, and the features named have {made.dim}. "
            f"Say: --features {'wave' if face.bins == 1 else f'fbank{face.bins}'}."
        )
    checkpoints.keep_other_models(out)
    check_place(out, out)
    card = Card(
        features={"name": tables["features"]["name"], **config.model_dump(mode="json")},
        encoder={"name": "onnx", "input": face.input, "output": face.output},
        inference=InferenceConfig.parse(tables["inference"], "inference"),
        calibration=None,
        metadata=checkpoints.source_of(path)
        | {"kind": "onnx", "parameters": _parameters(proto)}
        | _own(said),
        weights_sha256="",
        cohort=None,
        fingerprint="",
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as staging:
            encoder = adapted(proto, face).SerializeToString()
            tried = _Trial(Path(staging), path, card, made, encoder, data)
            card, behaviour = tried.run(alone=face.rows == 1) or tried.run(alone=True, last=True)
            put(Path(staging), out)
    except OSError as error:
        raise output_error(error, out) from error
    return OnnxImported(out, card, [words, *_assumptions(said, face)], _warnings(behaviour), behaviour)


def _read(path: Path) -> onnx.ModelProto:
    """Return the graph in a file, with weights that lie beside it; raise BadCheckpoint."""
    if not path.is_file():
        raise BadCheckpoint(f"there is no file {path}. Give the path of an ONNX file.")
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except Exception as error:  # protobuf's, onnx's own, and missing files beside it
        raise BadCheckpoint(
            f"{path} is damaged or is not an ONNX file ({type(error).__name__}: {str(error)[:200].strip()}). "
            "Download it again, with the file of weights that may belong to it."
        ) from None
    for tensor in proto.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise BadCheckpoint(
                f"the weights in {path} hold NaN or infinity: {tensor.name}. Take another copy."
            )
    return proto


def interface(proto: onnx.ModelProto, path: Path) -> Interface:
    """Return which input and output count; raise BadCheckpoint that lists what there is."""
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    floats = [value for value in inputs if value.type.tensor_type.elem_type == TensorProto.FLOAT]
    lengths = [
        value
        for value in inputs
        if value.type.tensor_type.elem_type in (TensorProto.INT64, TensorProto.INT32)
        and len(_shape(value)) <= 1
    ]
    there = ", ".join(f"{value.name} {_shape(value)}" for value in inputs) or "none"
    if len(floats) != 1 or len(lengths) > 1 or len(floats) + len(lengths) != len(inputs):
        raise BadCheckpoint(
            f"{path} has the inputs {there}; expected one of features (batch, frames, bins) or of samples "
            "(batch, samples) in 32-bit floats, and at most one of lengths: a speaker encoder's."
        )
    shape = _shape(floats[0])
    axes, bins = _axes(shape, path, there)
    outputs = [value for value in proto.graph.output if value.type.tensor_type.elem_type == TensorProto.FLOAT]
    named = [value for value in outputs if re.search(r"emb|vector|last", value.name)]
    chosen = outputs if len(outputs) == 1 else named
    if len(chosen) != 1:
        names = ", ".join(f"{value.name} {_shape(value)}" for value in proto.graph.output) or "none"
        raise BadCheckpoint(
            f"{path} has the outputs {names}; expected one, or one named emb..., of embeddings."
        )
    return Interface(
        floats[0].name,
        chosen[0].name,
        lengths[0].name if lengths else None,
        lengths[0].type.tensor_type.elem_type if lengths else TensorProto.INT64,
        axes,
        bins,
        shape[0] if isinstance(shape[0], int) else None,
    )


def _shape(value: onnx.ValueInfoProto) -> list[int | str]:
    """Return the axes of an input or output: numbers, or the names of those of any length."""
    dims = value.type.tensor_type.shape.dim
    return [
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or "?"
        for dim in dims
    ]


def _axes(shape: list[int | str], path: Path, there: str) -> tuple[str, int | None]:
    """Return what the axes of an input are, and the number of bins; raise BadCheckpoint."""
    fixed = [axis for axis in range(1, len(shape)) if isinstance(shape[axis], int)]
    if len(shape) == 2 and not fixed:
        return "BS", 1
    if len(shape) == 3 and len(fixed) < 2:
        if shape[1] == 1:
            return "B1S", 1
        if fixed == [1]:
            return "BFT", int(shape[1])
        return "BTF", int(shape[2]) if fixed else None
    if len(shape) in (2, 3):
        raise BadCheckpoint(
            f"{path} takes exactly the shape {shape}: its number of frames or samples is fixed. Export it "
            "again with that axis dynamic (torch.onnx.export, dynamic_axes or dynamic_shapes)."
        )
    raise BadCheckpoint(
        f"{path} has the inputs {there}; expected (batch, frames, bins), (batch, bins, frames) or "
        "(batch, samples)."
    )


def _features(
    face: Interface, said: dict[str, str], name: str | None, overrides: Sequence[str], path: Path
) -> tuple[dict[str, Any], str]:
    """Return the tables of features and inference, and in words what was taken for granted."""
    bins = None
    if name is None:
        preset = _guess(face, said, path)
    elif match := re.fullmatch(r"(fbank|mel)(\d*)", name):
        preset, bins = SHORT[match[1]], int(match[2] or 0) or None
    elif name in PRESETS:
        preset = name
    else:
        raise BadConfig(f"--features {name!r} is not known. Known: fbank80, mel64, {', '.join(PRESETS)}.")
    table, words = PRESETS[preset]
    table = dict(table)
    if preset != "wave":
        table["bins"] = bins or face.bins or 80
    if "normalize_samples" in said and table["name"] == "fbank":  # sherpa-onnx says so: 1 is -1..1
        table["scale"] = 1.0 if said["normalize_samples"] == "1" else 32768.0
    if (rate := said.get("sample_rate")) not in (None, str(SAMPLE_RATE)):
        raise BadCheckpoint(
            f"{path} is for recordings of {rate} Hz; voxid's models take {SAMPLE_RATE}. Take another model."
        )
    tables: dict[str, Any] = {"features": table, "inference": {"mode": "full"}}
    for override in overrides:
        override_with(tables, override)
    return tables, words


def _guess(face: Interface, said: dict[str, str], path: Path) -> str:
    """Return whose features an encoder takes, by its metadata, else by what exporters call its input."""
    framework = said.get("framework", "").replace("-", "")
    if framework in PRESETS:
        return framework
    if face.axes in ("BS", "B1S"):
        return "wave"
    if face.lengths is not None or face.input == "audio_signal" or face.axes == "BFT":
        return "nemo"
    if face.input in ("feats", "x", "input", "features", "feat"):
        return "3dspeaker" if face.input == "x" else "wespeaker"
    raise BadCheckpoint(
        f"{path} does not say which features its input {face.input!r} takes. Name them: --features fbank80, "
        "mel80, wave, or the project: wespeaker, 3dspeaker, nemo."
    )


def adapted(proto: onnx.ModelProto, face: Interface) -> onnx.ModelProto:
    """Return a graph that takes "features" (B, T, F) and gives "embedding" (B, D), around the given one."""
    inner = compose.add_prefix(proto, "of.")
    old_in, old_out = f"of.{face.input}", f"of.{face.output}"
    constant = [
        helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array(value, np.int64)))
        for name, value in (("two", [2]), ("one", [1]), ("as_rows", [0, -1]))
    ]
    before = {
        "BTF": [helper.make_node("Identity", ["features"], [old_in])],
        "BFT": [helper.make_node("Transpose", ["features"], [old_in], perm=[0, 2, 1])],
        "BS": [helper.make_node("Squeeze", ["features", "two"], [old_in])],
        "B1S": [helper.make_node("Transpose", ["features"], [old_in], perm=[0, 2, 1])],
    }[face.axes]
    if face.lengths is not None:
        before += [
            helper.make_node("Shape", ["features"], ["rows"], start=0, end=1),
            helper.make_node("Shape", ["features"], ["frames"], start=1, end=2),
            helper.make_node("Expand", ["frames", "rows"], ["lengths"]),
            helper.make_node("Cast", ["lengths"], [f"of.{face.lengths}"], to=face.lengths_type),
        ]
    after = [helper.make_node("Reshape", [old_out, "as_rows"], ["embedding"])]
    graph = inner.graph
    nodes = [*constant, *before, *graph.node, *after]
    weights = {tensor.name for tensor in graph.initializer}
    del graph.node[:]
    graph.node.extend(nodes)
    kept = [value for value in graph.input if value.name in weights]
    del graph.input[:]
    bins = face.bins or "F"
    graph.input.extend(
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["B", "T", bins]), *kept]
    )
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["B", "D"]))
    return inner


class _Trial:
    """The model folder as it will be, and what its embeddings of speech say."""

    def __init__(
        self,
        folder: Path,
        path: Path,
        card: Card,
        features: Features,
        encoder: bytes,
        data: EvaluationData | None,
    ) -> None:
        self.folder, self.path, self.card, self.features = folder, path, card, features
        self.front, self.encoder = trace_front(features), encoder
        (folder / FRONT_FILE).write_bytes(self.front)
        (folder / ENCODER_FILE).write_bytes(encoder)
        self.dim = self._dim()
        waves, self.speech = speech_for_checking(data)
        self.waves = sorted((wave for wave in waves if wave.size >= 2 * SAMPLE_RATE), key=len)
        if len(self.waves) < 2:
            raise BadCheckpoint(
                f"{self.speech} holds no two recordings of 2 s to try {path} on. Take other --data."
            )

    def run(self, alone: bool, last: bool = False) -> Any:
        """Return (card, behaviour) with the encoder taking one utterance at a time (`alone`), or many.

        None where a batch goes wrong, unless it is the `last` try. Raise BadCheckpoint for an encoder that
        cannot be used.
        """
        mark = self.card.fingerprint_of([quantized_weight(hashlib.sha256(self.encoder).hexdigest())])
        own: dict[str, Any] = {"dim": self.dim, "fingerprint": mark, "precision": "own", "alone": alone}
        graphs = graphs_of(self.features, self.front, self.encoder, **own)
        card = self.card.model_copy(update={"graphs": graphs, "fingerprint": mark})
        card.save(self.folder)
        model = Embedder(OnnxNetwork(self.folder), workers=1)
        first, second = self.waves[0], self.waves[-1][-self.waves[0].size :]
        odd = first.size // 2 + 37
        cuts = [first, second, first[:odd], first[-odd:], first * np.float32(LOUDNESS)]
        emb_ND = self._checked(model, cuts)
        if not alone and not last:
            try:
                both_2D = model.embed_waves([first, second])
            except Exception:  # onnxruntime's own exceptions share no base
                return None
            if np.abs(both_2D - emb_ND[:2]).max() > 1e-3 * np.abs(emb_ND).max():
                return None
        unit_ND = emb_ND / np.linalg.norm(emb_ND, axis=1, keepdims=True)
        halves, softer, others = (float(unit_ND[i] @ unit_ND[k]) for i, k in ((2, 3), (0, 4), (0, 1)))
        return card, Behaviour(halves, softer, others, self.speech)

    def _dim(self) -> int:
        """Return the length of an embedding, by embedding noise."""
        samples = np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE).astype(np.float32)
        with torch.no_grad():
            feat_1TF = self.features(0.1 * torch.from_numpy(samples)[None]).numpy()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        cpu = ["CPUExecutionProvider"]
        try:
            session = onnxruntime.InferenceSession(self.folder / ENCODER_FILE, options, providers=cpu)
            found: Any = session.run(["embedding"], {"features": feat_1TF})[0]
        except Exception as error:  # onnxruntime's own exceptions share no base
            raise BadCheckpoint(f"onnxruntime cannot run {self.path}: {str(error)[:300]}.") from None
        return int(found.shape[1])

    def _checked(self, model: Embedder, waves: list[np.ndarray]) -> np.ndarray:
        """Return the embeddings of waves; raise BadCheckpoint where they show an encoder of no use."""
        path = self.path
        try:
            emb_ND = np.stack([model.embed((wave_S, SAMPLE_RATE)) for wave_S in waves])
            again_D = model.embed((waves[0], SAMPLE_RATE))
        except VoxidError:
            raise
        except Exception as error:  # onnxruntime's own exceptions share no base
            raise BadCheckpoint(
                f"{path} fails on recordings of some lengths ({str(error)[:200]}): a shape in it is fixed "
                "that is said to be of any length. Export it again with dynamic axes."
            ) from None
        if not np.isfinite(emb_ND).all():
            raise BadCheckpoint(f"{path} gives NaN or infinity for speech. Say its --features.")
        if not np.linalg.norm(emb_ND, axis=1).all():
            raise BadCheckpoint(f"{path} gives an embedding of zeros for speech. Say its --features.")
        unit_ND = emb_ND / np.linalg.norm(emb_ND, axis=1, keepdims=True)
        if unit_ND[0] @ unit_ND[1] > SAME:
            raise BadCheckpoint(
                f"{path} ignores its input: two voices have one embedding. Take another file."
            )
        if np.abs(again_D - emb_ND[0]).max() > 1e-4 * np.abs(emb_ND[0]).max():
            raise BadCheckpoint(
                f"{path} gives two embeddings for one recording: something in it is random (dropout, "
                "dither). Export it in evaluation mode."
            )
        return emb_ND


def _assumptions(said: dict[str, str], face: Interface) -> list[str]:
    """Return what the file did not say, each with how to say it otherwise."""
    assumed = ["recordings of 16,000 Hz"] if "sample_rate" not in said else []
    assumed.append("no dither (it is for training)")
    if face.axes in ("BTF", "BFT") and "framework" not in said:
        assumed.append(
            "if it was trained on samples in -1..1: --set features.scale=1; as 16-bit numbers: 32768"
        )
        assumed.append(
            "another window: --set features.window=povey; no mean subtracted: --set features.mean_norm=false"
        )
    return assumed


def _warnings(behaviour: Behaviour) -> list[str]:
    warnings = []
    if behaviour.softer < SOFT_COSINE:
        warnings.append(
            f"a recording and the same at a quarter of the level have a cosine of {behaviour.softer:.2f}: "
            "the scale of the samples, or the mean that is subtracted, may be another"
        )
    if behaviour.halves <= behaviour.others:
        warnings.append(
            f"two halves of one recording are no more alike ({behaviour.halves:.2f}) than two voices "
            f"({behaviour.others:.2f}): the features may be others, or the encoder is not trained"
        )
    return warnings


def _parameters(proto: onnx.ModelProto) -> int:
    return sum(
        int(np.prod(tensor.dims))
        for tensor in proto.graph.initializer
        if tensor.data_type == TensorProto.FLOAT
    )


def _own(said: dict[str, str]) -> dict[str, Any]:
    """Return the file's own metadata, as one entry, if there is any."""
    return {"onnx_metadata": {key[:80]: value[:400] for key, value in said.items()}} if said else {}
