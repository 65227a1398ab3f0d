"""Any encoder in an ONNX file becomes a model, if it behaves like one; what was assumed is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from peers.witness import wave
from typer.testing import CliRunner

import voxid
import voxid.export as exporting
from voxid.cli import build_app
from voxid.corpora.synthetic import make_corpus
from voxid.errors import BadCheckpoint, BadConfig, BadModel, ModelError
from voxid.features import FEATURES, Fbank, FbankConfig
from voxid.published import onnxfile
from voxid.published.onnxfile import import_onnx

pytestmark = pytest.mark.usefixtures("traced_once")

RATE = 16_000
BINS, DIM = 12, 6
NODE = helper.make_node


def made(
    path: Path,
    axes: tuple[int | str, ...] = ("B", "S"),
    names: tuple[str, str] = ("wave", "embedding"),
    body: list[Any] | None = None,
    metadata: dict[str, str] | None = None,
    inputs: tuple[Any, ...] = (),
    outputs: tuple[Any, ...] = (),
    weights: np.ndarray | None = None,
) -> Path:
    """Write a small encoder: filters over samples (or a matrix over bins), ReLU, the mean over time."""
    rng = np.random.default_rng(0)
    source, target = names
    wave_like = len(axes) == 2
    if weights is None:
        shape = (DIM, 1, 64) if wave_like else (BINS, DIM)
        weights = rng.standard_normal(shape).astype(np.float32)
    if body is None and wave_like:
        body = [
            NODE("Unsqueeze", [source, "one"], ["rows"]),
            NODE("Conv", ["rows", "w"], ["inside"], strides=[16]),
            NODE("Relu", ["inside"], ["active"]),
            NODE("ReduceMean", ["active", "two"], [target], keepdims=0),
        ]
    if body is None:
        body = [
            NODE("Transpose", [source], ["seen"], perm=[0, 1, 2] if axes[2] == BINS else [0, 2, 1]),
            NODE("MatMul", ["seen", "w"], ["inside"]),
            NODE("Relu", ["inside"], ["active"]),
            NODE("ReduceMean", ["active", "one"], [target], keepdims=0),
        ]
    constants = {"w": weights, "one": np.array([1]), "two": np.array([2])}
    graph = helper.make_graph(
        body,
        "encoder",
        [helper.make_tensor_value_info(source, TensorProto.FLOAT, list(axes)), *inputs],
        [helper.make_tensor_value_info(target, TensorProto.FLOAT, ["B", DIM]), *outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for key, value in (metadata or {}).items():
        proto.metadata_props.add(key=key, value=value)
    onnx.save(proto, path)
    return path


def run(path: Path, given: np.ndarray) -> np.ndarray:
    """Return what the file itself gives, by onnxruntime alone."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: given})[0][0]


def test_an_encoder_of_samples(tmp_path: Path) -> None:
    path = made(tmp_path / "raw.onnx")
    done = import_onnx(path, tmp_path / "model")
    model = voxid.load(tmp_path / "model")
    assert (model.fingerprint, model.dim) == (done.card.fingerprint, DIM)
    np.testing.assert_allclose(model.embed((wave(), RATE)), run(path, wave()[None]), atol=1e-6)
    many = [(wave(seconds), RATE) for seconds in (2.0, 2.0, 3.0)]
    np.testing.assert_allclose(model.embed_many(many)[2], model.embed(many[2]), atol=1e-6)
    assert done.behaviour.softer == pytest.approx(1.0, abs=1e-5)
    assert "the samples themselves" in done.assumed[0]
    with pytest.raises(BadModel, match="own graphs for onnxruntime and no weights for torch"):
        voxid.load(tmp_path / "model", engine="torch")
    assert import_onnx(path, tmp_path / "model").card.fingerprint == model.fingerprint
    with pytest.raises(
        voxid.errors.NotCalibrated, match=r"voxid calibrate.*The cosine of the two .* is 1\.0000"
    ):
        voxid.compare((wave(), RATE), (wave(), RATE), model=tmp_path / "model")


def test_an_encoder_of_filter_banks_by_the_command(tmp_path: Path) -> None:
    path = made(tmp_path / "feats.onnx", ("B", "T", BINS), ("feats", "embs"))
    command = ["import", str(path), "-o", str(tmp_path / "model"), "--set", "features.f_max=7600"]
    result = CliRunner().invoke(build_app(), command)
    assert result.exit_code == 0, result.output
    for said in ("WeSpeaker's: hamming window", "features.scale=1", "two voices", "not calibrated"):
        assert said in " ".join(result.output.split())
    feat_BTF = Fbank(FbankConfig(bins=BINS, window="hamming", f_max=7600))(torch.from_numpy(wave())[None])
    got_D = voxid.load(tmp_path / "model").embed((wave(), RATE))
    np.testing.assert_allclose(got_D, run(path, feat_BTF.numpy()), atol=1e-3)


def test_a_graph_in_8_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people = make_corpus(tmp_path / "people", speakers=3, utterances=2, seconds=(2.0, 2.5))
    path = made(tmp_path / "feats.onnx", ("B", "T", BINS), ("feats", "embs"))
    import_onnx(path, tmp_path / "model", overrides=["features.f_max=7600"])  # traced above
    plain = voxid.load(tmp_path / "model")
    rates = {"own": 0.1, "int8": 0.09}  # better is no reason to refuse
    monkeypatch.setattr(exporting, "_eer", lambda model, *_: (rates[model.model.graphs.precision], 15))
    done = exporting.export(tmp_path / "model", tmp_path / "small", data=people, int8=True, name="tiny")
    small = voxid.load(tmp_path / "small")
    assert (done.precision, done.agreement, done.trials) == ("int8", None, 15)
    assert small.fingerprint == done.fingerprint != plain.fingerprint
    assert small.model.metadata == plain.model.metadata | {"name": "tiny"}
    left, right = (model.embed((wave(), RATE)) for model in (small, plain))
    assert 0.9 < left @ right / np.linalg.norm(left) / np.linalg.norm(right) < 0.9999999
    rates["int8"] = 0.103
    with pytest.raises(ModelError, match="Use the model in 32 bits"):
        exporting.export(tmp_path / "model", tmp_path / "worse", data=people, int8=True)
    with pytest.raises(BadModel, match="no weights for torch"):
        exporting.export(tmp_path / "model", tmp_path / "again", data=people)


def test_one_utterance_at_a_time_where_the_file_takes_no_more(tmp_path: Path) -> None:
    """A batch of 1 that is written into the shape; and one that only shows when it is tried."""
    done = import_onnx(made(tmp_path / "fixed.onnx", (1, "S")), tmp_path / "fixed")
    assert done.card.graphs is not None
    assert done.card.graphs.alone
    row = NODE("Constant", [], ["row"], value=numpy_helper.from_array(np.array([1, -1, BINS])))
    hidden = [
        row,
        NODE("Reshape", ["feats", "row"], ["rows"]),
        NODE("MatMul", ["rows", "w"], ["inside"]),
        NODE("Relu", ["inside"], ["active"]),
        NODE("ReduceMean", ["active", "one"], ["embs"], keepdims=0),
    ]
    path = made(tmp_path / "hidden.onnx", ("B", "T", BINS), ("feats", "embs"), hidden)
    done = import_onnx(path, tmp_path / "hidden", overrides=["features.f_max=7600"])
    assert done.card.graphs is not None
    assert done.card.graphs.alone
    model = voxid.load(tmp_path / "hidden")
    waves = [(wave(2.0), RATE), (wave(2.5)[-2 * RATE :], RATE)]
    np.testing.assert_allclose(model.embed_many(waves), [model.embed(w) for w in waves], rtol=1e-5)


@pytest.mark.parametrize(
    ("axes", "names", "metadata", "more", "wanted"),
    [
        (("B", "T", 80), ("feats", "embs"), {}, {}, {"name": "fbank", "window": "hamming", "bins": 80}),
        (
            ("N", "T", 80),
            ("x", "embedding"),
            {"framework": "3d-speaker", "sample_rate": "16000", "normalize_samples": "1"},
            {},
            {"name": "fbank", "window": "povey", "scale": 1.0},
        ),
        (
            ("B", "T", 80),
            ("feats", "embs"),
            {"framework": "wespeaker", "normalize_samples": "0"},
            {},
            {"scale": 32768.0, "mean_norm": True},
        ),
        (
            ("B", 80, "T"),
            ("audio_signal", "embs"),
            {},
            {
                "inputs": (helper.make_tensor_value_info("length", TensorProto.INT64, ["B"]),),
                "outputs": (helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", 99]),),
            },
            {"name": "mel", "bins": 80, "norm": "deviation", "preemphasis": 0.97},
        ),
        (("B", 1, "S"), ("input", "out"), {}, {}, {"name": "wave"}),
    ],
    ids=["wespeaker", "3d-speaker by sherpa-onnx", "wespeaker by sherpa-onnx", "NeMo", "ReDimNet"],
)
def test_what_the_published_exporters_make_is_recognised(
    axes: Any, names: Any, metadata: Any, more: Any, wanted: dict[str, Any], tmp_path: Path
) -> None:
    proto = onnx.load(made(tmp_path / "x.onnx", axes, names, metadata=metadata, **more))
    face = onnxfile.interface(proto, tmp_path)
    assert (face.input, face.output) == names
    tables, _ = onnxfile._features(face, metadata, None, (), tmp_path)
    _, config = FEATURES.parse(tables["features"])
    assert {key: tables["features"].get(key, getattr(config, key, None)) for key in wanted} == wanted
    assert onnxfile.adapted(proto, face).graph.input[0].name == "features"


def test_lengths_are_given_to_a_graph_that_asks_for_them(tmp_path: Path) -> None:
    """As NeMo's: (B, F, T) and the number of frames, by which this one divides a sum."""
    body = [
        NODE("Transpose", ["audio_signal"], ["seen"], perm=[0, 2, 1]),
        NODE("MatMul", ["seen", "w"], ["inside"]),
        NODE("Relu", ["inside"], ["active"]),
        NODE("ReduceSum", ["active", "one"], ["total"], keepdims=0),
        NODE("Cast", ["length"], ["count"], to=TensorProto.FLOAT),
        NODE("Unsqueeze", ["count", "one"], ["by"]),
        NODE("Div", ["total", "by"], ["embs"]),
    ]
    length = helper.make_tensor_value_info("length", TensorProto.INT64, ["B"])
    path = made(tmp_path / "x.onnx", ("B", BINS, "T"), ("audio_signal", "embs"), body, inputs=(length,))
    proto = onnx.load(path)
    whole = onnxfile.adapted(proto, onnxfile.interface(proto, path)).SerializeToString()
    session = onnxruntime.InferenceSession(whole, providers=["CPUExecutionProvider"])
    feat_BTF = np.random.default_rng(1).standard_normal((2, 50, BINS)).astype(np.float32)
    [emb_BD] = session.run(["embedding"], {"features": feat_BTF})
    weights = numpy_helper.to_array(proto.graph.initializer[0])
    np.testing.assert_allclose(emb_BD, np.maximum(feat_BTF @ weights, 0).mean(axis=1), atol=1e-5)


# -- refused -------------------------------------------------------------------------------------------------


def constant(value: float) -> list[Any]:
    """Return an encoder that says the same of everything: the samples times 0, and a value."""
    zero = NODE("Constant", [], ["zero"], value=numpy_helper.from_array(np.float32(0)))
    same = NODE("Constant", [], ["same"], value=numpy_helper.from_array(np.full(DIM, value, np.float32)))
    return [
        zero,
        same,
        NODE("Mul", ["wave", "zero"], ["nothing"]),
        NODE("ReduceSum", ["nothing", "one"], ["none"], keepdims=1),
        NODE("Add", ["none", "same"], ["embedding"]),
    ]


def random() -> list[Any]:
    return [
        NODE("Unsqueeze", ["wave", "one"], ["rows"]),
        NODE("Conv", ["rows", "w"], ["inside"], strides=[16]),
        NODE("RandomNormalLike", ["inside"], ["noise"]),
        NODE("Add", ["inside", "noise"], ["active"]),
        NODE("ReduceMax", ["active", "two"], ["embedding"], keepdims=0),
    ]


def two_seconds() -> list[Any]:
    """Return an encoder that says it takes any length, and takes 2 s."""
    shape = numpy_helper.from_array(np.array([-1, 1, 2 * RATE]))
    return [
        NODE("Constant", [], ["row"], value=shape),
        NODE("Reshape", ["wave", "row"], ["rows"]),
        NODE("Conv", ["rows", "w"], ["inside"], strides=[16]),
        NODE("ReduceMax", ["inside", "two"], ["embedding"], keepdims=0),
    ]


@pytest.mark.parametrize(
    ("made_of", "options", "words"),
    [
        ({"body": constant(1.0)}, {}, "ignores its input: two voices have one embedding"),
        ({"body": constant(0.0)}, {}, "gives an embedding of zeros"),
        ({"body": random()}, {}, "gives two embeddings for one recording"),
        ({"body": two_seconds()}, {}, "a shape in it is fixed that is said to be of any length"),
        ({"weights": np.full((DIM, 1, 64), np.nan, np.float32)}, {}, r"hold NaN or infinity: w\."),
        ({"weights": np.full((DIM, 1, 64), 3e38, np.float32)}, {}, "gives NaN or infinity"),
        ({"axes": ("B", 32_000)}, {}, "number of frames or samples is fixed"),
        ({"axes": ("B", 200, BINS)}, {}, "number of frames or samples is fixed"),
        (
            {"axes": ("B", "C", "H", "W"), "body": [NODE("Flatten", ["wave"], ["embedding"])]},
            {},
            r"expected \(batch",
        ),
        (
            {"inputs": (helper.make_tensor_value_info("other", TensorProto.FLOAT, ["B"]),)},
            {},
            "It is not|a speaker encoder's",
        ),
        (
            {
                "names": ("wave", "a"),
                "outputs": (helper.make_tensor_value_info("active", TensorProto.FLOAT, ["B", DIM, "T"]),),
            },
            {},
            "has the outputs a",
        ),
        ({"metadata": {"sample_rate": "8000"}}, {}, "for recordings of 8000 Hz"),
        (
            {"axes": ("B", "T", BINS), "names": ("tokens", "emb")},
            {},
            "does not say which features its input 'tokens'",
        ),
        ({"axes": ("B", "T", BINS)}, {"features": "fbank80"}, "takes 12 features a frame"),
    ],
)
def test_what_is_no_encoder(made_of: Any, options: Any, words: str, tmp_path: Path) -> None:
    path = made(tmp_path / "x.onnx", **made_of)
    with pytest.raises(BadCheckpoint, match=words):
        import_onnx(path, tmp_path / "model", **options)
    assert not (tmp_path / "model").exists()


def test_no_onnx_file_and_no_such_features(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"hello")
    with pytest.raises(BadCheckpoint, match="is damaged or is not an ONNX file"):
        import_onnx(tmp_path / "x.onnx", tmp_path / "model")
    whole = made(tmp_path / "x.onnx").read_bytes()
    (tmp_path / "x.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadCheckpoint, match="is damaged or is not an ONNX file"):
        import_onnx(tmp_path / "x.onnx", tmp_path / "model")
    with pytest.raises(BadCheckpoint, match="there is no file"):
        import_onnx(tmp_path / "none.onnx", tmp_path / "model")
    made(tmp_path / "x.onnx")
    with pytest.raises(BadConfig, match="Known: fbank80"):
        import_onnx(tmp_path / "x.onnx", tmp_path / "model", features="mfcc")
