"""Prepared speech in shards: the same speech as in one piece, on disk and in object storage that fails."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from typer.testing import CliRunner

from voxid import corpora, files
from voxid.cli import build_app
from voxid.corpora.synthetic import make_corpus
from voxid.data.pack import Packed
from voxid.data.prepare import ensure_prepared, prepare
from voxid.data.samplers import UniformSampler, shuffled
from voxid.data.shards import damaged_shards, join_shards, prepare_shard, prepare_shards
from voxid.errors import CorpusError
from voxid.training import load_recipe, train


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"), speakers=7, utterances=3, seconds=(0.8, 1.2))


@pytest.fixture(scope="module")
def sharded(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "speech"
    prepare_shards(partial(corpora.scan, [corpus]), str(out), 4, workers=2)
    return out


def by_name(packed: Packed) -> dict[str, np.ndarray]:
    return {name: np.array(packed.wave(i)) for i, name in enumerate(packed.utterances())}


def test_shards_hold_the_speech_of_one_piece(corpus: Path, sharded: Path, tmp_path: Path) -> None:
    prepare(corpora.scan([corpus]), tmp_path / "whole")
    whole, parts = Packed.open(tmp_path / "whole"), Packed.open(sharded)
    assert parts.speaker_names == whole.speaker_names
    assert parts.n == whole.n == 21
    samples = by_name(whole)
    for name, wave_S in by_name(parts).items():
        np.testing.assert_array_equal(wave_S, samples[name])
    for speaker, name in enumerate(parts.speaker_names):
        mine = parts.of_speaker(speaker)
        assert len(mine) == 3
        assert all(parts.utterances()[i].startswith(name) for i in mine)
    np.testing.assert_array_equal(parts.crop(5, 100, 300), parts.wave(5)[100:400])
    assert parts.manifest()["speaker"].to_pylist() == [parts.speaker_names[s] for s in parts.speakers_N]
    small = ["encoder.layers=1", "encoder.hidden=4", "data.window=10", "training.steps=2"]
    assert train(load_recipe("demo", small), parts, tmp_path / "run").steps == 2
    parts.release()


def test_packing_goes_on_and_finds_what_is_damaged(corpus: Path, sharded: Path, tmp_path: Path) -> None:
    out = tmp_path / "speech"
    shutil.copytree(sharded, out)
    scanned = partial(corpora.scan, [corpus])
    full = sorted(p.parent for p in out.glob("shard-*/audio.i16"))
    before = {path: path.stat().st_mtime_ns for path in out.glob("shard-*/audio.i16")}
    assert damaged_shards(str(out)) == []
    shutil.rmtree(full[0])
    with pytest.raises(CorpusError, match=r"audio.i16 is missing. Delete its folder"):
        Packed.open(out)
    content = bytearray((full[1] / "audio.i16").read_bytes())
    content[1000] ^= 1
    (full[1] / "audio.i16").write_bytes(content)
    assert [line.split(":")[0] for line in damaged_shards(str(out))] == [full[0].name, full[1].name]
    (full[1] / "audio.i16").write_bytes(content[:-2])
    prepare_shard(scanned, str(out), int(full[0].name[-5:]), 4)
    with pytest.raises(CorpusError, match="bytes, and the index says"):
        Packed.open(out)
    shutil.rmtree(full[1])
    for number in range(4):
        prepare_shard(scanned, str(out), number, 4)
    command = ["prepare", str(corpus), "-o", str(out), "--shards", "4", "--json"]
    done = CliRunner().invoke(build_app("prepare"), command)
    assert json.loads(done.output)["n_utterances"] == 21, done.output
    assert CliRunner().invoke(build_app("prepare"), [*command, "--shard", "2", "--verify"]).exit_code == 0
    fingerprint = Packed.open(sharded).fingerprint
    assert join_shards(str(out), 4)["fingerprint"] == fingerprint == Packed.open(out).fingerprint
    again = {path: path.stat().st_mtime_ns for path in out.glob("shard-*/audio.i16")}
    assert [path.parent for path in before if again[path] != before[path]] == full[:2]


def test_object_storage_that_fails(
    corpus: Path, sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timeouts, refusals and answers cut short are tried again; what stays away is an error."""
    monkeypatch.setenv("VOXID_CACHE", str(tmp_path))
    monkeypatch.setattr(files, "PAUSE_S", 0.0)
    fsspec.filesystem("memory").put(str(sharded), "/speech", recursive=True)
    local, packed = Packed.open(sharded), Packed.open("memory://speech")
    assert packed.fingerprint == local.fingerprint
    assert Packed.open(ensure_prepared("memory://speech")).n == packed.n  # what a training opens
    plain, asked = MemoryFileSystem.cat_file, []

    def failing(self, path, start=None, end=None, **options):
        asked.append(path)
        match len(asked) % 4:
            case 1:
                raise TimeoutError("read timed out")
            case 2:
                raise OSError(5, "503 Slow Down")
            case 3:
                return plain(self, path, start, end - 2)
        return plain(self, path, start, end)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", failing)
    for i in (0, 9, 20):
        np.testing.assert_array_equal(packed.wave(i), local.wave(i))
    assert len(asked) == 12
    monkeypatch.setattr(files, "TRIES", 2)
    monkeypatch.setattr(files.fetched, "__kwdefaults__", {"tries": 2})
    with pytest.raises(
        CorpusError, match=r"memory://speech/shard-0000\d/audio.i16 cannot be read \(OSError: .*503"
    ):
        packed.wave(0)
    with pytest.raises(CorpusError, match=r"memory://nothing/prepared.json cannot be read"):
        Packed.open("memory://nothing")
    fsspec.filesystem("memory").rm("/speech", recursive=True)


@pytest.mark.slow
def test_a_real_object_store(
    corpus: Path, sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """moto's server, which speaks S3 over HTTP: packed into it, read from it."""
    pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "VOXID_CACHE": str(tmp_path),
        }.items():
            monkeypatch.setenv(name, value)
        fsspec.filesystem("s3").mkdir("voices")
        prepare_shards(partial(corpora.scan, [corpus]), "s3://voices/speech", 4)
        packed, local = Packed.open("s3://voices/speech"), Packed.open(sharded)
        assert packed.fingerprint == local.fingerprint
        for i in range(packed.n):
            np.testing.assert_array_equal(packed.wave(i), local.wave(i))
        assert damaged_shards("s3://voices/speech") == []
    finally:
        server.stop()


@pytest.mark.parametrize("count", [1, 2, 3, 64, 65, 1000])
def test_a_shuffled_order_has_every_place_once(count: int) -> None:
    places = np.arange(count)
    orders = [shuffled(places, count, (seed, 1, 4)) for seed in range(3)]
    for order in orders:
        assert sorted(order.tolist()) == places.tolist()
    some = shuffled(places[::7], count, (0, 1, 4))
    np.testing.assert_array_equal(some, orders[0][::7])  # a place does not need the others
    if count >= 64:  # as a shuffle: no more in place, and no more neighbours, than by chance
        assert len({tuple(order.tolist()) for order in orders}) == 3
        assert sum(int((order == places).sum()) for order in orders) < 12
        assert sum(int((np.diff(order) == 1).sum()) for order in orders) < 12


def test_an_epoch_of_very_many_costs_what_a_batch_costs() -> None:
    sampler = UniformSampler(np.broadcast_to(np.int64(7), 50_000_000), rows=512, seed=0)
    assert sampler.steps == 97_656
    assert sampler.batch(97_655).tolist() == [7] * 512
