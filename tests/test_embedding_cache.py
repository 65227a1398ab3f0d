"""Kept embeddings: met again only when the model, the program and the audio are the same."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxid.embed import Embedder, EmbedInfo
from voxid.embed.torch import TorchNetwork
from voxid.evaluation import cache as cache_module
from voxid.evaluation.cache import Contents, EmbeddingCache
from voxid.model.network import Model
from voxid.types import Utterance

INFO = EmbedInfo(total_s=1.5, full_sequence=True, windows=2, net_speech_s=0.75)


def content_key(audio: object) -> bytes | None:
    return Contents().key(audio)


def row(value: float, dim: int = 4) -> tuple[np.ndarray, EmbedInfo]:
    return np.full(dim, value, np.float32), INFO


@pytest.fixture
def cache(tmp_path: Path) -> EmbeddingCache:
    return EmbeddingCache("model", tmp_path, dim=4)


@pytest.fixture
def runtime() -> Embedder:
    return Embedder(TorchNetwork(Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 4})))


def test_what_was_put_is_got_and_nothing_else(cache: EmbeddingCache) -> None:
    keys = [f"key {i}".encode() for i in range(1200)]  # more than one query takes
    cache.put(keys, [row(i) for i in range(1200)])
    known = cache.get([*keys[::-1], b"unknown", None, keys[3]])
    assert sorted(known) == [*range(1200), 1202]
    assert all(known[i][0].tolist() == [1199 - i] * 4 for i in range(1200))
    assert known[1202] == (pytest.approx(np.full(4, 3)), INFO)
    assert cache.warnings == []


def test_recordings_without_a_key_are_not_kept(cache: EmbeddingCache) -> None:
    cache.put([None, b"a"], [row(1), row(2)])
    assert list(cache.get([None, b"a"])) == [1]


def test_a_file_is_known_by_its_bytes_and_the_part_meant(tmp_path: Path) -> None:
    wave = np.random.default_rng(0).uniform(-0.1, 0.1, 16_000)
    for name, factor in (("a", 1.0), ("copy", 1.0), ("other", 0.9)):
        soundfile.write(tmp_path / f"{name}.wav", factor * wave, 16_000)
    said = Utterance("s", "u", str(tmp_path / "a.wav"))
    key = content_key(said)
    assert key == content_key(tmp_path / "a.wav")
    assert key == content_key(replace(said, utterance="v", speaker="t", path=str(tmp_path / "copy.wav")))
    differing = [
        content_key(replace(said, path=str(tmp_path / "other.wav"))),
        content_key(replace(said, start_s=0.1)),
        content_key(replace(said, duration_s=0.5)),
    ]
    assert len({key, *differing}) == 4
    soundfile.write(tmp_path / "a.wav", 0.5 * wave, 16_000)
    assert content_key(said) != key
    assert content_key(replace(said, path=str(tmp_path / "missing.wav"))) is None


def test_samples_are_known_by_value_type_and_rate() -> None:
    wave = np.arange(10, dtype=np.int16)
    keys = {
        content_key((wave, 16_000)),
        content_key((wave, 8_000)),
        content_key((wave.astype(np.float32), 16_000)),
        content_key((wave.reshape(5, 2), 16_000)),
        content_key((wave + 1, 16_000)),
    }
    assert len(keys) == 5
    assert content_key((wave.copy(), 16_000)) in keys
    assert content_key(b"bytes of a file") is None


def test_every_part_of_what_makes_an_embedding_names_the_file(
    runtime: Embedder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def name(of: object, vad: str = "energy") -> str:
        found = EmbeddingCache.of(of, tmp_path, vad=vad)  # type: ignore[arg-type]
        assert found is not None
        return found.path.name

    other = Embedder(TorchNetwork(Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 4})))
    names = [name(runtime), name(other), name(runtime, "silero")]
    assert name(runtime) == names[0]
    with monkeypatch.context() as patch:
        patch.setattr(Embedder, "engine", "torch cuda")
        names.append(name(runtime))
    with monkeypatch.context() as patch:
        patch.setattr(cache_module, "_program", lambda: "another version")
        names.append(name(runtime))
    assert len(set(names)) == 5


def test_the_program_is_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in cache_module.ROOMS:
        path = tmp_path / "voxid" / (room if room.endswith(".py") else f"{room}/code.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x = 1\n")
    monkeypatch.setattr(cache_module.voxid, "__file__", str(tmp_path / "voxid" / "__init__.py"))
    program = cache_module._program.__wrapped__
    before = program()
    assert program() == before
    for room in cache_module.ROOMS:
        path = tmp_path / "voxid" / (room if room.endswith(".py") else f"{room}/code.py")
        path.write_text("x = 2\n")
        assert program() != before, room
        path.write_text("x = 1\n")
    assert program() == before


def test_an_engine_that_does_not_say_what_it_is_is_not_cached(tmp_path: Path) -> None:
    class Nameless:
        fingerprint, dim = "f", 4

    assert EmbeddingCache.of(Nameless(), tmp_path) is None  # type: ignore[arg-type]


def test_a_damaged_row_is_not_known(cache: EmbeddingCache) -> None:
    cache.put([b"a", b"b"], [row(1), row(2)])
    with sqlite3.connect(cache.path) as database:
        [[content]] = database.execute("SELECT content FROM embeddings WHERE key = ?", (b"a",))
        flipped = content[:-1] + bytes([content[-1] ^ 1])
        database.execute("UPDATE embeddings SET content = ? WHERE key = ?", (flipped, b"a"))
    database.close()
    assert list(cache.get([b"a", b"b"])) == [1]
    cache.put([b"a"], [row(1)])
    assert list(cache.get([b"a", b"b"])) == [0, 1]


@pytest.mark.parametrize("damage", ["garbage", "folder"])
def test_a_cache_that_cannot_be_used_costs_a_warning_only(cache: EmbeddingCache, damage: str) -> None:
    if damage == "garbage":
        cache.path.write_bytes(b"no database " * 1000)
    else:
        cache.path.mkdir()
    assert cache.get([b"a"]) == {}
    cache.put([b"a"], [row(1)])
    assert "could not be" in cache.warnings[-1]
    assert str(cache.path) in cache.warnings[-1]


FILL = """
import sys
import numpy as np
from voxid.embed import EmbedInfo
from voxid.evaluation.cache import EmbeddingCache

folder, worker = sys.argv[1:]
own = EmbeddingCache("model", folder, dim=4)
info = EmbedInfo(total_s=1.5, full_sequence=True, windows=2, net_speech_s=0.75)
print("ready", flush=True)
sys.stdin.readline()
for i in range(50):
    own.put([f"{worker} {i}".encode()], [(np.full(4, int(worker), np.float32), info)])
assert own.warnings == []
"""


def test_processes_share_it(tmp_path: Path) -> None:
    pipes: dict[str, int] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    workers = [
        subprocess.Popen([sys.executable, "-c", FILL, str(tmp_path), str(n)], text=True, **pipes)
        for n in range(3)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:  # all at once
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate()
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    keys = [f"{n} {i}".encode() for n in range(3) for i in range(50)]
    assert len(EmbeddingCache("model", tmp_path, dim=4).get(keys)) == 150


def test_a_file_with_many_utterances_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long.wav").write_bytes(b"x" * 100)
    read = []
    true_digest = cache_module.hashlib.file_digest
    monkeypatch.setattr(
        cache_module.hashlib,
        "file_digest",
        lambda file, name: read.append(file.name) or true_digest(file, name),
    )
    contents = Contents()
    said = [Utterance("s", f"u{i}", str(tmp_path / "long.wav"), start_s=float(i)) for i in range(5)]
    assert len({contents.key(utterance) for utterance in said}) == 5
    assert len(read) == 1


def test_a_file_that_changed_since_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"one")
    contents = Contents()
    contents.key(path)
    assert contents.unchanged(path)
    path.write_bytes(b"two")
    assert not contents.unchanged(path)
    path.unlink()
    assert not contents.unchanged(path)
    assert contents.unchanged((np.zeros(3), 16_000))
