"""The original's checkpoints give the original's embeddings; anything else is refused, and never run."""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import voxid
from voxid.cli import build_app
from voxid.embed import Embedder
from voxid.embed.torch import TorchNetwork
from voxid.encoders import ENCODERS
from voxid.errors import BadCheckpoint, RunExists
from voxid.features import Mfcc, MfccConfig
from voxid.model.network import Model
from voxid.published.seed import import_seed

PUBLISHED = [
    "saved_model.bilstm.mean.clean100.gpu100000",
    "saved_model.transformer.clean100.specaug.gpu100000",
]


def state_dict(name: str = "lstm", input_dim: int = 40, **options: Any) -> dict[str, torch.Tensor]:
    """Return the weights of a small encoder under the original's names."""
    torch.manual_seed(0)
    cls, config = ENCODERS.parse({"name": name, **options})
    return cls(config, input_dim).state_dict()


def save(folder: Path, state: Any, **more: Any) -> Path:
    path = folder / "checkpoint.pt"
    torch.save({"encoder_state_dict": state, "losses": [0.1, 0.05], "training_time": 3.5, **more}, path)
    return path


# -- the real ones -------------------------------------------------------------------------------------


@pytest.mark.real
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_checkpoints_give_the_published_embeddings(
    name: str, seed_dir: Path, real_data: Path, tmp_path: Path
) -> None:
    import_seed(seed_dir / f"{name}.pt", tmp_path / "model")
    golden = np.load(seed_dir / f"{name}.golden.npz")
    corpus = real_data / "LibriSpeech" / "test-other-mini"
    paths = [next(corpus.rglob(f"{utterance}.flac")) for utterance in golden["utterances"]]
    for mode in ("sliding", "full"):
        runtime = voxid.load(tmp_path / "model", mode=mode)
        np.testing.assert_allclose(runtime.embed_many(paths), golden[mode], atol=1e-4, rtol=0)
        np.testing.assert_allclose(runtime.embed(paths[0]), golden[mode][0], atol=1e-4, rtol=0)
    wave_S = voxid.audio.load(paths[0])
    mfcc_TF = Mfcc(MfccConfig())(torch.from_numpy(wave_S)[None])[0].numpy()
    np.testing.assert_allclose(mfcc_TF, golden["mfcc_first_utterance"], atol=1e-3, rtol=0)


@pytest.mark.real
def test_what_the_file_says_of_its_training_is_kept(seed_dir: Path, tmp_path: Path) -> None:
    path = seed_dir / f"{PUBLISHED[0]}.pt"
    model = import_seed(path, tmp_path / "model")
    assert Model.load(tmp_path / "model").metadata == model.metadata
    assert model.metadata["training_steps"] == 100_000
    assert model.metadata["training_time_s"] == pytest.approx(31_599.16, abs=0.01)
    assert model.metadata["source_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


# -- architectures -------------------------------------------------------------------------------------

ARCHITECTURES = [
    {"name": "lstm", "layers": 1, "hidden": 8, "bidirectional": False},
    {"name": "lstm", "layers": 2, "hidden": 12, "bidirectional": True},
    {
        "name": "transformer",
        "dim": 16,
        "encoder_layers": 1,
        "decoder_layers": 3,
        "heads": 8,
        "feedforward": 24,
    },
]


@pytest.mark.parametrize("table", ARCHITECTURES, ids=lambda table: "-".join(map(str, table.values())))
def test_the_architecture_is_read_off_the_tensors(table: dict[str, Any], tmp_path: Path) -> None:
    state = state_dict(**table)
    model = import_seed(save(tmp_path, state), tmp_path / "model")
    assert {key: model.tables["encoder"][key] for key in table} == table
    loaded = Model.load(tmp_path / "model").state_dict()
    assert loaded.keys() == {f"encoder.{name}" for name in state}
    assert all(torch.equal(loaded[f"encoder.{name}"], tensor) for name, tensor in state.items())


def test_what_tensors_cannot_tell_is_an_option(tmp_path: Path) -> None:
    lstm = save(tmp_path, state_dict("lstm", layers=1, hidden=8))
    last = import_seed(lstm, tmp_path / "last", aggregation="last")
    mean = import_seed(lstm, tmp_path / "mean")
    assert (last.tables["encoder"]["aggregation"], mean.tables["encoder"]["aggregation"]) == ("last", "mean")
    noise = (np.random.default_rng(0).uniform(-0.3, 0.3, 64_000).astype(np.float32), 16_000)
    emb_2D = [Embedder(TorchNetwork(model)).embed(noise) for model in (last, mean)]
    assert np.abs(emb_2D[0] - emb_2D[1]).max() > 1e-3
    transformer = save(tmp_path, state_dict("transformer", dim=16, heads=4, feedforward=8))
    assert import_seed(transformer, tmp_path / "t", heads=4).tables["encoder"]["heads"] == 4
    with pytest.raises(BadCheckpoint, match="multiple of heads"):
        import_seed(transformer, tmp_path / "t", heads=5)


def test_losses_and_time_may_be_missing_or_odd(tmp_path: Path) -> None:
    path = save(tmp_path, state_dict(layers=1, hidden=4), losses=None, training_time=float("nan"))
    metadata = import_seed(path, tmp_path / "model").metadata
    assert metadata["training_steps"] is None
    assert metadata["training_time_s"] is None


# -- refused -------------------------------------------------------------------------------------------


class Runs:
    """Pickles to a call that writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("container", ["old pickle", "new pickle", "torch.save", "inside the losses"])
def test_code_in_a_pickle_is_refused_and_not_run(container: str, tmp_path: Path) -> None:
    path, trace = tmp_path / "evil.pt", tmp_path / "it-ran"
    if "pickle" in container:
        path.write_bytes(pickle.dumps(Runs(trace), protocol=2 if container == "old pickle" else 5))
    elif container == "torch.save":
        torch.save(Runs(trace), path)
    else:
        path = save(tmp_path, state_dict(layers=1, hidden=4), losses=[Runs(trace)])
    words = "is not a torch checkpoint" if container == "new pickle" else "would run or build 'getattr'"
    with pytest.raises(BadCheckpoint, match=words):
        import_seed(path, tmp_path / "model")
    assert not trace.exists()
    assert not (tmp_path / "model").exists()
    if "pickle" in container:
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert trace.exists(), "the trap itself has to work, or this test shows nothing"


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short(part: float, tmp_path: Path) -> None:
    path = save(tmp_path, state_dict(layers=1, hidden=4))
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(BadCheckpoint, match="damaged or is not a torch checkpoint"):
        import_seed(path, tmp_path / "model")


def test_a_flipped_bit_of_the_weights_is_noticed(tmp_path: Path) -> None:
    state = state_dict(layers=1, hidden=4)
    path = save(tmp_path, state)
    content = bytearray(path.read_bytes())
    weights = next(iter(state.values())).numpy().tobytes()
    content[content.index(weights) + 1] ^= 0x10  # the low bits of a number: torch.load does not mind
    path.write_bytes(content)
    torch.load(path, weights_only=True)
    with pytest.raises(BadCheckpoint, match=r"checksum of .* is wrong"):
        import_seed(path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    "content", [b"hello", b"PK\x03\x04 no zip", b"\x80\x02", b"\x80\x02}q\x00.", b"\x00" * 999]
)
def test_bytes_that_are_no_checkpoint(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(BadCheckpoint, match=r"x\.pt"):
        import_seed(path, tmp_path / "model")


def test_a_zip_that_is_no_checkpoint(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(BadCheckpoint, match="damaged or is not a torch checkpoint"):
        import_seed(tmp_path / "x.pt", tmp_path / "model")


def test_a_compiled_torch_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("x/constants.pkl", b"\x80\x02}.")
        archive.writestr("x/data.pkl", b"\x80\x02}.")
        archive.writestr("x/version", b"3\n")
    with pytest.raises(BadCheckpoint):
        import_seed(tmp_path / "x.pt", tmp_path / "model")


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(BadCheckpoint, match="no checkpoint file"):
            import_seed(path, tmp_path / "model")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: {}, "not a set of named, dense float tensors"),
        (lambda state: {**state, "lstm.note": "text"}, "not a set of named, dense float tensors"),
        (lambda state: {**state, 3: torch.zeros(1)}, "not a set of named, dense float tensors"),
        (
            lambda state: {**state, "lstm.bias_hh_l0": torch.zeros(16, dtype=torch.int64)},
            "named, dense float",
        ),
        (
            lambda state: {**state, "lstm.weight_hh_l0": state["lstm.weight_hh_l0"].to_sparse()},
            "named, dense float",
        ),
        (lambda state: {"conv1.weight": torch.zeros(3, 3)}, "another architecture: its tensors are conv1"),
        (
            lambda state: {k: v for k, v in state.items() if "hh_l0" not in k},
            r"lacks the matrix 'lstm\.weight_hh_l0",
        ),
        (
            lambda state: {k: v for k, v in state.items() if "bias_ih_l1" not in k},
            r"missing: encoder\.lstm\.bias_ih_l1",
        ),
        (lambda state: {**state, "extra": torch.zeros(2)}, r"unknown: encoder\.extra"),
        (lambda state: {**state, "lstm.weight_hh_l0": torch.zeros(4)}, "lacks the matrix"),
        (lambda state: {**state, "lstm.bias_hh_l0": torch.zeros(17)}, r"\(17,\) instead of \(16,\)"),
        (lambda state: {**state, "lstm.bias_hh_l0": torch.full((16,), torch.inf)}, "NaN or infinity"),
        (
            lambda state: {**state, "lstm.weight_hh_l0": torch.zeros(1).expand(400_000, 100_000)},
            "more weights than",
        ),
        (lambda state: {**state, "lstm.weight_hh_l0": torch.zeros(0, 0)}, "no network voxid can build"),
    ],
)
def test_tensors_that_do_not_make_up_a_network(change: Any, words: str, tmp_path: Path) -> None:
    path = save(tmp_path, change(state_dict(layers=2, hidden=4)))
    with pytest.raises(BadCheckpoint, match=words):
        import_seed(path, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_other_features_than_the_original(tmp_path: Path) -> None:
    path = save(tmp_path, state_dict(input_dim=80, layers=1, hidden=4))
    with pytest.raises(BadCheckpoint, match="takes 80 features a frame; the original's has 40"):
        import_seed(path, tmp_path / "model")


@pytest.mark.parametrize("content", [[1, 2], {"model": OrderedDict()}, {"encoder_state_dict": 3}])
def test_another_kind_of_checkpoint(content: Any, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pt")
    with pytest.raises(BadCheckpoint, match="Expected a dict with 'encoder_state_dict'"):
        import_seed(tmp_path / "x.pt", tmp_path / "model")


def test_a_trained_model_is_not_written_over(tmp_path: Path) -> None:
    path = save(tmp_path, state_dict(layers=1, hidden=4))
    trained = Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 4})
    trained.save(tmp_path / "run")
    with pytest.raises(RunExists, match="holds another model"):
        import_seed(path, tmp_path / "run")
    assert Model.load(tmp_path / "run").fingerprint == trained.fingerprint
    first = import_seed(path, tmp_path / "import")
    assert import_seed(path, tmp_path / "import").fingerprint == first.fingerprint


# -- command line --------------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    path = save(tmp_path, state_dict(layers=1, hidden=4))
    runner, app = CliRunner(), build_app()
    result = runner.invoke(app, ["import-seed", str(path), "-o", str(tmp_path / "m"), "--json"])
    assert result.exit_code == 0, result.output
    printed = json.loads(result.stdout)
    assert printed["fingerprint"] == voxid.load(printed["model"]).fingerprint
    assert printed["encoder"]["hidden"] == 4
    result = runner.invoke(
        app, ["import-seed", str(path), "-o", str(tmp_path / "m"), "--aggregation", "last"]
    )
    assert "aggregation last" in result.stdout
    result = runner.invoke(app, ["import-seed", str(tmp_path), "-o", str(tmp_path / "m")])
    assert isinstance(result.exception, BadCheckpoint)
