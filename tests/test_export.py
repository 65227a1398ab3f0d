"""What is exported does what the torch model does, from one copy of the weights, or it is not written."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save

import voxid
from voxid import export as exporting
from voxid.cli.models import _print_models as print_models
from voxid.cli.models import models
from voxid.corpora.synthetic import make_corpus, speak, voice
from voxid.embed import Embedder
from voxid.embed import onnx as onnx_engine
from voxid.embed.onnx import OnnxNetwork
from voxid.embed.torch import TorchNetwork
from voxid.encoders import ENCODERS
from voxid.errors import (
    BadConfig,
    BadModel,
    DeviceUnavailable,
    ModelError,
    NotWritable,
    UnknownModel,
)
from voxid.export import agreement, export
from voxid.features import FEATURES
from voxid.model.card import CONFIG_FILE, ENCODER_FILE, FRONT_FILE, PIECES_FILE, WEIGHTS_FILE
from voxid.model.network import Model
from voxid.scoring.calibration import Calibration
from voxid.scoring.cohort import Cohort

pytestmark = pytest.mark.usefixtures("traced_once")

RATE = 16_000
SMALL: dict[str, dict[str, Any]] = {
    "campplus": {
        "front": 4,
        "channels": 8,
        "growth": 4,
        "bottleneck": 8,
        "blocks": [1, 1],
        "dilations": [1, 2],
        "segment": 30,
        "embedding": 12,
    },
    "ecapa": {
        "channels": 16,
        "scale": 2,
        "dilations": [2],
        "aggregate": 24,
        "squeeze": 8,
        "attention": 8,
        "embedding": 12,
    },
    "lstm": {"layers": 1, "hidden": 8},
    "redimnet": {
        "channels": 4,
        "strides": [1, 2],
        "blocks": [1, 1],
        "widen": [1, 1],
        "reduce": [0, 10],
        "embedding": 12,
    },
    "resnet": {"channels": 4, "blocks": [1, 1], "embedding": 12},
    "transformer": {
        "dim": 16,
        "heads": 4,
        "feedforward": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "dropout": 0.3,
    },
    "xvector": {"channels": 16, "aggregate": 24, "embedding": 12},
}
FEATURE_TABLES = {
    "fbank": {"name": "fbank", "bins": 40},
    "mel": {"name": "mel", "bins": 40, "level_db": -30},
    "mfcc": {"name": "mfcc", "n_fft": 640, "hop": 160},
    "fbank, mean left in": {"name": "fbank", "bins": 40, "mean_norm": False},
    "fbank, pauses alone": {"name": "fbank", "bins": 40, "mean_norm": False, "pause_db": 35},
    "mfcc, no floor": {"name": "mfcc", "n_fft": 640, "hop": 160, "top_db": None},
}


OFTEN = {("ecapa", "fbank")}  # the others: pytest -m slow


def small(encoder: str = "ecapa", features: str = "fbank", **inference: Any) -> Model:
    """Return a model whose every number does something: fresh batch norms would pass anything through."""
    torch.manual_seed(0)
    model = Model.build(FEATURE_TABLES[features], {"name": encoder, **SMALL[encoder]}, inference).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return model


def speech(seconds: float, speaker: int = 0) -> tuple[np.ndarray, int]:
    return speak(voice(speaker), seconds, np.random.default_rng(speaker)), RATE


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(a model folder with calibration and cohort, what it was exported to)."""
    root = tmp_path_factory.mktemp("export")
    model = small(mode="sliding", window=150, step=75)
    model.cohort = Cohort.of(np.eye(12, dtype=np.float32)[:4], list("abcd"), name="crowd")
    model.calibration = Calibration(
        scale=20.0, offset=-10.0, model=model.fingerprint, cohort=model.cohort.info
    )
    heard = {"noise": ["/home/me/noise/rain"], "rir": ["rooms"], "noise_prob": 0.5}
    model.metadata = {"name": "mine", "recipe": {"name": "own", "augment": heard}}
    model.save(root / "model")
    export(root / "model", root / "exported")
    return root / "model", root / "exported"


def test_the_recipe_travels_and_where_its_folders_lay_does_not(made: tuple[Path, Path]) -> None:
    before, after = (
        json.loads((folder / "config.json").read_text())["metadata"]["recipe"] for folder in made
    )
    assert before["augment"]["noise"] == ["/home/me/noise/rain"]
    named = {"noise": ["rain"], "rir": ["rooms"], "music": [], "babble": []}
    assert after == {"name": "own", "augment": before["augment"] | named}


@pytest.fixture
def exported(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the exported folder, to be spoilt."""
    return Path(shutil.copytree(made[1], tmp_path / "exported"))


def rewrite(folder: Path, name: str, content: bytes, *keys: str) -> None:
    """Put `content` in place of a file, with its digest where config.json keeps it."""
    (folder / name).write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    table = config
    for key in keys[:-1]:
        table = table[key]
    table[keys[-1]] = hashlib.sha256(content).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_both_engines_refuse_weights_that_are_no_numbers(engine: str, exported: Path) -> None:
    tensors = load_file(exported / "model.safetensors")
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name].view(-1)[0] = float("nan")
    rewrite(exported, "model.safetensors", save(tensors), "weights_sha256")
    with pytest.raises(BadModel, match="NaN or infinity"):
        voxid.load(exported, engine=engine)


@pytest.mark.parametrize("engine", ["torch", "onnx"])
@pytest.mark.parametrize("shape", [(4, 5), (3, 12), (4,), (4, 12, 1)])
def test_both_engines_refuse_a_cohort_of_another_shape(
    engine: str, shape: tuple[int, ...], exported: Path
) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(shape, np.float32))
    rewrite(exported, "cohort.npy", buffer.getvalue(), "calibration", "cohort", "sha256")
    with pytest.raises(BadModel, match=r"this model needs finite float32 \(4, \d+\)"):
        voxid.load(exported, engine=engine)


@pytest.mark.parametrize(
    ("encoder", "features"),
    [
        pytest.param(*pair, marks=() if pair in OFTEN else pytest.mark.slow)
        for pair in itertools.product(ENCODERS.names(), FEATURES.names())
        if pair[1] != "wave"  # for networks that come as a graph: their samples are no frames
    ],
)
def test_every_encoder_and_every_features_can_be_exported(
    encoder: str, features: str, tmp_path: Path
) -> None:
    small(encoder, features, mode="full").save(tmp_path / "model")
    done = export(tmp_path / "model", tmp_path / "exported")
    assert done.agreement.worst < 2e-5
    runtime, expected = voxid.load(tmp_path / "exported"), voxid.load(tmp_path / "model")
    assert runtime.engine == "onnxruntime cpu"
    assert runtime.fingerprint == expected.fingerprint
    audio = [speech(seconds, n) for n, seconds in enumerate((0.1, 0.33, 2.0, 1.0, 2.0, 6.1))]
    alone = np.stack([runtime.embed(item) for item in audio])
    assert agreement.relative(expected.embed_many(audio), alone) < 1e-4
    np.testing.assert_allclose(runtime.embed_many(audio), alone, atol=2e-5)


@pytest.mark.parametrize(
    "features",
    [
        pytest.param("fbank, mean left in", marks=pytest.mark.slow),
        pytest.param("fbank, pauses alone", marks=pytest.mark.slow),
        pytest.param("mfcc, no floor", marks=pytest.mark.slow),
    ],
)
def test_features_that_want_no_summary_are_exported(features: str, tmp_path: Path) -> None:
    """Without the mean taken off, features are the bands themselves: two outputs of the graph, one value."""
    small("ecapa", features, mode="full").save(tmp_path / "model")
    export(tmp_path / "model", tmp_path / "exported")
    by_onnx, by_torch = voxid.load(tmp_path / "exported"), voxid.load(tmp_path / "model")
    assert by_onnx.engine == "onnxruntime cpu"
    for seconds in (2.0, 31.5):  # the longer one by parts
        expected_D, got_D = (runtime.embed(speech(seconds)) for runtime in (by_torch, by_onnx))
        assert agreement.relative(expected_D[None], got_D[None]) < 1e-4


def test_the_front_end_computes_its_matrices_when_it_is_loaded(
    made: tuple[Path, Path], tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(made[1] / FRONT_FILE, options)
    written, left = (
        {node.op_type for node in onnx.load(path).graph.node}
        for path in (made[1] / FRONT_FILE, tmp_path / "loaded.onnx")
    )
    assert {"Range", "Mod", "GatherND"} <= written  # a table of cosines, and where in it each number is
    assert not {"Range", "Mod", "GatherND", "Gather", "CastLike"} & left  # with each batch, it took half


def test_weights_are_on_the_disk_once_and_both_engines_read_them(made: tuple[Path, Path]) -> None:
    model, exported = made
    assert (exported / WEIGHTS_FILE).read_bytes() == (model / WEIGHTS_FILE).read_bytes()
    by_torch, by_onnx = voxid.load(exported, engine="torch"), voxid.load(exported)
    assert by_torch.engine == "torch cpu"
    assert by_onnx.engine == "onnxruntime cpu"
    assert by_torch.fingerprint == by_onnx.fingerprint
    biggest = max(p.numel() for p in by_torch.network.model.parameters())
    big = next(p for p in by_torch.network.model.parameters() if p.numel() == biggest).numpy().tobytes()
    assert big in (exported / WEIGHTS_FILE).read_bytes()
    assert big not in (exported / ENCODER_FILE).read_bytes()
    for what in ("calibration", "inference"):
        assert getattr(by_onnx.model, what) == getattr(by_torch.model, what)
    assert np.array_equal(by_onnx.model.cohort.rows_MD, by_torch.model.cohort.rows_MD)
    assert by_onnx.model.metadata["name"] == "mine"
    assert by_onnx.model.metadata["parameters"] > 1000


@pytest.mark.parametrize("name", [WEIGHTS_FILE, FRONT_FILE, ENCODER_FILE])
def test_a_flipped_bit_is_noticed(name: str, exported: Path) -> None:
    content = bytearray((exported / name).read_bytes())
    content[-5] ^= 1
    (exported / name).write_bytes(content)
    with pytest.raises(BadModel, match=rf"{name}.*sha256"):
        voxid.load(exported)


@pytest.mark.parametrize("name", [WEIGHTS_FILE, FRONT_FILE, ENCODER_FILE, "cohort.npy"])
def test_a_missing_file_is_named(name: str, exported: Path) -> None:
    (exported / name).unlink()
    with pytest.raises(BadModel, match=name.replace(".", r"\.")):
        voxid.load(exported)


def test_another_mode_has_the_fingerprint_that_torch_gives_it(made: tuple[Path, Path]) -> None:
    by_onnx, by_torch = voxid.load(made[1], mode="full"), voxid.load(made[0], mode="full")
    assert by_onnx.score_mode == "full"
    assert by_onnx.fingerprint == by_torch.fingerprint != voxid.load(made[1]).fingerprint
    np.testing.assert_allclose(by_onnx.embed(speech(5.0)), by_torch.embed(speech(5.0)), atol=1e-4)
    with pytest.raises(BadConfig, match=r"inference\.mode"):
        voxid.load(made[1], mode="half")


@pytest.mark.parametrize("mode", ["sliding", "full"])
def test_long_recordings_in_blocks(
    mode: str, made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave_S, _ = speech(23.7)
    soundfile.write(tmp_path / "long.wav", wave_S, RATE, subtype="FLOAT")
    whole = Embedder(OnnxNetwork(made[1], mode=mode)).embed(tmp_path / "long.wav")
    monkeypatch.setattr("voxid.embed.embedder.BLOCK_S", 1.7)
    blocky = Embedder(OnnxNetwork(made[1], mode=mode), long_s=5.0)
    np.testing.assert_allclose(blocky.embed(tmp_path / "long.wav"), whole, atol=2e-5)
    monkeypatch.setattr("voxid.embed.embedder.PIECE_S", 6.0)
    pieces = blocky.embed(tmp_path / "long.wav")
    model = Model.load(made[0])
    model.inference = model.inference.model_copy(update={"mode": mode})
    np.testing.assert_allclose(
        Embedder(TorchNetwork(model), long_s=5.0).embed(tmp_path / "long.wav"), pieces, atol=2e-5
    )
    if mode == "sliding":
        np.testing.assert_allclose(pieces, whole, atol=2e-5)
        return
    with torch.no_grad():  # by hand: the features of the whole, cut into four equal pieces
        feat_BTF = model.features(torch.from_numpy(wave_S)[None])
        frames = feat_BTF.shape[1]
        ends = [frames * piece // 4 for piece in range(5)]
        parts = [(b - a) * model.encoder(feat_BTF[:, a:b])[0] for a, b in itertools.pairwise(ends)]
    np.testing.assert_allclose(pieces, (sum(parts) / frames).numpy(), atol=2e-5)


@pytest.mark.parametrize("features", ["fbank", pytest.param("mfcc", marks=pytest.mark.slow)])
def test_a_long_wave_goes_through_the_front_end_in_parts_and_gives_the_same(
    features: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the mean of each band, and with the loudest of all."""
    if features == "fbank":
        folder = request.getfixturevalue("made")[1]
    else:
        small("lstm", features).save(tmp_path / "model")
        folder = export(tmp_path / "model", tmp_path / "exported").folder
    network = OnnxNetwork(folder)
    wave_S = speech(9.3)[0]
    [whole_TF] = network.features(wave_S[None], None)
    seen: list[int] = []
    run = network._run_front

    def watched(outputs: list[str], wave_BS: np.ndarray, *rest: Any, **more: Any) -> Any:
        seen.append(wave_BS.size)
        return run(outputs, wave_BS, *rest, **more)

    monkeypatch.setattr(network, "_run_front", watched)
    monkeypatch.setattr(onnx_engine, "PART", 2 * RATE)
    monkeypatch.setattr(onnx_engine, "LONG", 2 * RATE)
    [part_TF] = network.features(wave_S[None], None)
    assert max(seen) < 2.1 * RATE
    np.testing.assert_array_equal(part_TF, whole_TF)


def test_a_long_recording_goes_through_the_encoder_in_pieces(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.load(exported)
    feat_TF = np.random.default_rng(0).standard_normal((521, 40)).astype(np.float32)
    feat_TF += np.linspace(-1, 1, 521, dtype=np.float32)[:, None]  # no two pieces alike
    with torch.no_grad():
        expected_BD = model.encoder(torch.from_numpy(feat_TF[None])).repeat(2, 1).numpy()
    both_BTF = np.stack([feat_TF, feat_TF])
    for network in (OnnxNetwork(exported), TorchNetwork(model)):
        assert network.reads_pieces
        encode, lengths = network.encode_in_pieces, []

        def watched(feat_TF: np.ndarray, encode: Any = encode, lengths: Any = lengths) -> np.ndarray:
            lengths.append(len(feat_TF))
            return encode(feat_TF, 100)

        monkeypatch.setattr(network, "encode_in_pieces", watched)
        np.testing.assert_allclose(network.encode(both_BTF, None), expected_BD, atol=2e-5)
        monkeypatch.setattr("voxid.embed.passes.WHOLE", 520)
        np.testing.assert_allclose(network.encode(both_BTF, None), expected_BD, atol=2e-5)
        assert lengths == [521, 521]
        assert len(network.encode(both_BTF[:, :520], None)) == 2
        assert lengths == [521, 521]
        monkeypatch.undo()
    (exported / PIECES_FILE).write_bytes(b"PK")
    with pytest.raises(BadModel, match=r"pieces\.zip is damaged"):
        OnnxNetwork(exported)
    (exported / PIECES_FILE).unlink()  # as folders of older voxids are
    old = OnnxNetwork(exported)
    assert not old.reads_pieces
    np.testing.assert_allclose(old.encode(both_BTF, None), expected_BD, atol=2e-5)


def test_threads_and_workers_change_nothing(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxid.embed.embedder.GATHER_S", 4.0)
    audio = [speech(1.0 + n / 3, n) for n in range(8)]
    one, three = (Embedder(OnnxNetwork(made[1]), workers=workers) for workers in (1, 3))
    expected = one.embed_many(audio)
    np.testing.assert_allclose(three.embed_many(audio), expected, atol=1e-6)
    results: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        results[number] = three.embed_many(audio[number:] + audio[:number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        np.testing.assert_allclose(results[number], np.roll(expected, -number, axis=0), atol=1e-6)


def test_the_onnx_engine_works_where_there_is_no_torch(made: tuple[Path, Path], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", *speech(2.0))
    code = f"""
import sys
sys.modules["torch"] = sys.modules["safetensors"] = sys.modules["onnx"] = None
import threading, voxid
before = threading.active_count()
runtime = voxid.load({str(made[1])!r})
print(runtime.embed({str(tmp_path / "a.wav")!r}).shape, runtime.engine)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250)
    assert (done.stdout.strip(), done.stderr) == ("(12,) onnxruntime cpu", "")


# -- what is refused ------------------------------------------------------------------------------------


def test_what_does_not_agree_is_not_written(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = onnx_engine.OnnxNetwork.encode

    def off(self: Any, feat_BTF: np.ndarray, frames_B: np.ndarray | None) -> np.ndarray:
        emb_BD = honest(self, feat_BTF, frames_B)
        return emb_BD + 3e-4 * np.sqrt(np.mean(emb_BD**2)) * (len(feat_BTF[0]) > 500)  # long ones alone

    monkeypatch.setattr(onnx_engine.OnnxNetwork, "encode", off)
    small(mode="full").save(tmp_path / "model")
    with pytest.raises(ModelError, match=r"differ by 3\.\de-04.*synthetic voices"):
        export(tmp_path / "model", tmp_path / "exported")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("there", ["a file", "a model"])
def test_nothing_of_another_kind_is_written_over(there: str, made: tuple[Path, Path], tmp_path: Path) -> None:
    if there == "a file":
        (tmp_path / "out").write_text("precious")
    else:
        shutil.copytree(made[0], tmp_path / "out")
    with pytest.raises(NotWritable, match="in use"):
        export(made[0], tmp_path / "out")


def test_int8_needs_speech_to_be_measured_on(made: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--data"):
        export(made[0], tmp_path / "out", int8=True)


def test_a_shipped_model_is_named_as_elsewhere(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxid.pretrained.shipped", lambda: {"voxid-base": made[1]})
    done = export("voxid-base", tmp_path / "out")
    assert done.fingerprint == voxid.load(made[1]).fingerprint
    with pytest.raises(UnknownModel, match="Did you mean 'voxid-base'"):
        export("voxid-bse", tmp_path / "other")


# -- load ----------------------------------------------------------------------------------------------


def test_a_shipped_name(made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(made[1], tmp_path / "voxid-base")
    monkeypatch.setattr("voxid.pretrained.shipped", lambda: {"voxid-base": tmp_path / "voxid-base"})
    assert voxid.load("voxid-base").fingerprint == voxid.load(made[0]).fingerprint
    assert voxid.load(Path("voxid-base")).fingerprint == voxid.load(made[0]).fingerprint
    with pytest.raises(UnknownModel, match=r"\(voxid-base\).*Did you mean 'voxid-base'"):
        voxid.load("voxid-bse")


def test_engines_and_devices(made: tuple[Path, Path]) -> None:
    with pytest.raises(BadModel, match="voxid export"):
        voxid.load(made[0], engine="onnx")
    with pytest.raises(BadConfig, match="auto, onnx, torch"):
        voxid.load(made[0], engine="tensorflow")  # type: ignore[call-arg]
    with pytest.raises(DeviceUnavailable, match="There is: auto"):
        voxid.load(made[1], device="cuda:99")


def test_a_new_calibration_keeps_the_graphs(exported: Path) -> None:
    model = Model.load(exported)
    model.calibration = Calibration(scale=1.0, offset=2.0, model=model.fingerprint)
    model.save(exported)
    runtime = voxid.load(exported)
    assert runtime.engine == "onnxruntime cpu"
    assert runtime.model.calibration == model.calibration
    with torch.no_grad():
        next(iter(model.encoder.parameters())).add_(1.0)
    model.save(exported)  # other weights: the graphs would still say the old ones' digest
    assert json.loads((exported / CONFIG_FILE).read_text()).get("graphs") is None
    assert voxid.load(exported).engine == "torch cpu"


# -- 8 bits --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("people"), speakers=4, utterances=3, seconds=(1.0, 1.5))


@pytest.mark.parametrize(("after", "fits"), [(0.1019, True), (0.1021, False)])
def test_int8_is_written_when_the_error_rate_hardly_rises(
    after: float, fits: bool, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[tuple[str, float, int]] = []

    def eer(runtime: Embedder, *_: object) -> tuple[float, int]:
        rate, trials = real(runtime, *_)
        precision = runtime.model.graphs.precision
        measured.append((precision, rate, trials))
        return 0.1 if precision == "fp32" else after, trials

    real = exporting._eer
    monkeypatch.setattr(exporting, "_eer", eer)
    small(mode="full").save(tmp_path / "model")
    if not fits:
        with pytest.raises(ModelError, match=r"10\.210%, in 32 bits 10\.000% \(66 trials\)"):
            export(tmp_path / "model", tmp_path / "out", data=people, int8=True)
        assert not (tmp_path / "out").exists()
        return
    done = export(tmp_path / "model", tmp_path / "out", data=people, int8=True)
    assert (done.eer_fp32, done.eer_int8, done.trials) == (0.1, after, 66)
    assert [name for name, _, _ in measured] == ["fp32", "int8"]
    assert not (tmp_path / "out" / WEIGHTS_FILE).exists()
    runtime, plain = voxid.load(tmp_path / "out"), voxid.load(tmp_path / "model")
    assert runtime.fingerprint == done.fingerprint != plain.fingerprint
    left, right = runtime.embed(speech(3.0)), plain.embed(speech(3.0))
    assert 0.9 < left @ right / np.linalg.norm(left) / np.linalg.norm(right) < 0.9999999
    with pytest.raises(BadModel, match=r"int8.*onnx"):
        voxid.load(tmp_path / "out", engine="torch")
    whole = onnx.load(tmp_path / "out" / ENCODER_FILE)
    floats = [tensor for tensor in whole.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    found = dict(onnx_engine.floats_in(memoryview(whole.SerializeToString())))
    assert all(np.array_equal(found[t.name], onnx.numpy_helper.to_array(t).ravel()) for t in floats)
    scale = next(tensor for tensor in floats if tensor.name.endswith("_scale"))
    for bad in (np.nan, np.inf):
        spoilt = np.array(onnx.numpy_helper.to_array(scale))
        spoilt.reshape(-1)[-1] = bad
        scale.CopyFrom(onnx.numpy_helper.from_array(spoilt, scale.name))
        rewrite(tmp_path / "out", ENCODER_FILE, whole.SerializeToString(), "graphs", "encoder_sha256")
        with pytest.raises(BadModel, match=rf"NaN or infinity: {scale.name}"):
            voxid.load(tmp_path / "out")


# -- the command line ----------------------------------------------------------------------------------


def test_models_says_what_the_folder_says(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = json.loads((exported / CONFIG_FILE).read_text())
    config["metadata"]["results"] = {"strangers": {"eer": 0.0512, "low": 0.04, "high": 0.06, "trials": 1234}}
    (exported / CONFIG_FILE).write_text(json.dumps(config))
    monkeypatch.setattr("voxid.pretrained.shipped", lambda: {"voxid-base": exported})
    monkeypatch.setattr("voxid.cli.models._encoders", list)
    models(as_json=True)
    [row] = json.loads(capsys.readouterr().out)["models"]
    assert row["name"] == "voxid-base"
    assert row["parameters"] == config["metadata"]["parameters"]
    assert row["size_bytes"] == sum(path.stat().st_size for path in exported.iterdir())
    assert row["calibration"]["prior"] == 0.5
    assert row["calibration"]["least_far"] is None  # fitted on nobody
    monkeypatch.setattr("voxid.cli.models._encoders", lambda: None)
    monkeypatch.setattr("voxid.cli.models._print", lambda shipped, rows: print_models(shipped))
    models(as_json=False)
    shown = capsys.readouterr().out
    assert "EER 5.12% (4.00% to 6.00%) on strangers, 1,234 trials" in shown
    assert "calibrated at prior 0.5" in shown
