"""Bulk embedding in parts: one row for each input, whatever dies; on a Ray cluster where ray is installed."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from stores_server import Server, wait_until
from typer.testing import CliRunner

import voxid
from voxid import stores
from voxid.cli import build_app
from voxid.corpora.synthetic import speak, voice
from voxid.embed import parts
from voxid.errors import CorpusError, EmptyCorpus, ModelMismatch, RunExists, StoreUnavailable

KILLS, KILLS_ONCE = 12_345, 12_346  # sample rates of recordings that end whoever opens them
HOSTILE = """
import os, signal
import soundfile
opened = soundfile.SoundFile.__init__
def init(self, *args, **options):
    opened(self, *args, **options)
    once = os.environ["VOXID_TEST_MARK"]
    if self.samplerate == 12345 or (self.samplerate == 12346 and not os.path.exists(once)):
        if self.samplerate == 12346:
            open(once, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
soundfile.SoundFile.__init__ = init
"""
SLOW = """
import time
import soundfile
opened = soundfile.SoundFile.__init__
def init(self, *args, **options):
    time.sleep(0.3)
    opened(self, *args, **options)
soundfile.SoundFile.__init__ = init
"""
WORKER = """
import sys
from pathlib import Path
import voxid
from voxid.embed import parts
out = Path(sys.argv[1])
for number in parts.missing_parts(out, int(sys.argv[2])):
    parts.embed_part(voxid.load("voxid-base"), out, number, parts.decode_part(out, number))
"""


def say(speaker: int, take: int, seconds: float = 2.0) -> np.ndarray:
    return speak(voice(speaker), seconds, np.random.default_rng(take))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven recordings in a list, of which one is missing, one kills, one kills once; and a tar of two."""
    root = tmp_path_factory.mktemp("bulk")
    rows = []
    for number in range(8):
        soundfile.write(root / f"{number}.wav", say(number % 4, number), 16_000)
        rows.append((f"s{number % 4}", f"u{number}", str(root / f"{number}.wav")))
    for name, rate in (("kills", KILLS), ("once", KILLS_ONCE)):
        soundfile.write(root / f"{name}.wav", say(5, 1), rate)
        rows.insert(3, ("s5", name, str(root / f"{name}.wav")))
    rows.insert(5, ("s6", "gone", str(root / "gone.wav")))
    speakers, utterances, paths = zip(*rows, strict=True)
    table = {"speaker": speakers, "utterance": utterances, "path": paths}
    pq.write_table(pa.table({name: list(column) for name, column in table.items()}), root / "list.parquet")
    with tarfile.open(root / "more.tar", "w") as tar:
        for number in (8, 9):
            content = io.BytesIO()
            soundfile.write(content, say(number % 4, number), 16_000, format="WAV")
            info = tarfile.TarInfo(f"s{number % 4}/{number}.wav")
            info.size = content.tell()
            content.seek(0)
            tar.addfile(info, content)
    (root / "hostile").mkdir()
    (root / "hostile" / "sitecustomize.py").write_text(HOSTILE)
    return root


def hostile(folder: Path, mark: Path) -> dict[str, str]:
    path = os.pathsep.join([str(folder / "hostile"), *filter(None, sys.path)])
    return {**os.environ, "PYTHONPATH": path, "VOXID_TEST_MARK": str(mark)}


def check(folder: Path, out: Path) -> None:
    """Every input once, in order; embeddings are those of `embed`; who cannot be used is an error row."""
    rows = [row for path in sorted(out.glob("part-*")) for row in pq.read_table(path).to_pylist()]
    names = pq.read_table(folder / "list.parquet")["utterance"].to_pylist()
    assert [row["utterance"] for row in rows] == [*names, "more.tar/s0/8.wav", "more.tar/s1/9.wav"]
    assert {row["utterance"]: row["error"] for row in rows if row["error"]} == {
        "kills": "worker_died",
        "gone": "missing",
    }
    model = voxid.load("voxid-base")
    for row in rows:
        if row["utterance"].startswith("u"):
            emb_D = model.embed(folder / f"{row['utterance'][1:]}.wav")
            np.testing.assert_allclose(row["embedding"], emb_D, atol=1e-5)
            assert row["net_speech_s"] > 0.5
            assert row["model"] == model.fingerprint
    assert rows[-1]["speaker"] == "s1"
    np.testing.assert_allclose(rows[-1]["embedding"], model.embed((say(1, 9), 16_000)), atol=0.02)
    assert not list((out / "tries").iterdir())


def test_a_folder_at_an_address_is_all_that_lies_below(folder: Path, tmp_path: Path) -> None:
    """In object storage as on disk: recordings and tar files, the folder is the speaker."""
    store = fsspec.filesystem("memory")
    for name in ("s2/2.wav", "s2/readme.txt", "deep/s3/3.wav"):
        source = folder / name.rsplit("/")[-1]
        store.pipe(f"/calls/{name}", source.read_bytes() if source.exists() else b"words")
    store.pipe("/calls/more.tar", (folder / "more.tar").read_bytes())
    count = parts.plan(tmp_path, ["memory://calls/", "memory://calls/s2/2.wav"], {"model": "any"}, part=8)
    rows = pq.read_table(tmp_path / parts.INPUTS).to_pylist()
    assert {(row["utterance"], row["speaker"]) for row in rows} == {
        ("s2/2.wav", "s2"), ("deep/s3/3.wav", "s3"), ("more.tar/s0/8.wav", "s0"),
        ("more.tar/s1/9.wav", "s1"), ("memory://calls/s2/2.wav", ""),
    }  # fmt: skip
    assert (count, len(rows)) == (1, 5)
    model = voxid.load("voxid-base")
    parts.embed_part(model, tmp_path, 0, parts.decode_part(tmp_path, 0))
    answers = {row["utterance"]: row for row in pq.read_table(parts.part_file(tmp_path, 0)).to_pylist()}
    assert not any(row["error"] for row in answers.values())
    emb_D = answers["deep/s3/3.wav"]["embedding"]
    np.testing.assert_allclose(emb_D, model.embed(folder / "3.wav"), atol=1e-5)
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "prepared.json").touch()
    with pytest.raises(CorpusError, match="leave --engine out"):
        parts.plan(tmp_path / "other", [str(tmp_path / "packed")], {})


def test_whoever_dies_every_input_has_one_row(folder: Path, tmp_path: Path) -> None:
    """Without a cluster: a process that goes through the parts is started again as long as it is killed."""
    inputs, about = [str(folder / "list.parquet"), str(folder / "more.tar")], {"model": "m"}
    out = tmp_path / "out"
    count = parts.plan(out, inputs, about, part=4)
    assert count == 4
    code, starts = -9, 0
    while code == -9:
        starts += 1
        code = subprocess.run(
            [sys.executable, "-c", WORKER, str(out), str(count)],
            env=hostile(folder, tmp_path / "mark"),
            check=False,
            timeout=200,
        ).returncode
    assert code == 0
    assert starts == 5  # three deaths of one recording, one of another
    check(folder, out)
    made = parts.part_file(out, 2).stat().st_mtime_ns
    assert parts.missing_parts(out, parts.plan(out, inputs, about, part=4)) == []
    assert parts.part_file(out, 2).stat().st_mtime_ns == made
    with pytest.raises(RunExists, match="begun with other model"):
        parts.plan(out, inputs, {"model": "another"})
    empty = tmp_path / "empty.parquet"
    pq.write_table(pa.table({"path": pa.array([], pa.string())}), empty)
    with pytest.raises(EmptyCorpus):
        parts.plan(tmp_path / "none", [str(empty)], about)

    # and what was made goes into a store, once, however often it is loaded
    run = ["enroll", "--from-parquet", str(out), "--db", str(tmp_path / "people.db"), "--json"]
    for _ in range(2):
        done = CliRunner().invoke(build_app("enroll"), run)
        assert done.exit_code == 0, done.output
    with stores.open(f"sqlite:///{tmp_path}/people.db") as store:
        assert store.count() == 5
        alice = store.get("s0")
        assert sorted(one.source for one in alice.voiceprints) == ["more.tar/s0/8.wav", "u0", "u4"]
        assert alice.voiceprints[0].model == voxid.load("voxid-base").fingerprint
    other = stores.open(f"sqlite:///{tmp_path}/other.db")
    other.enroll("x", [stores.voiceprint(np.ones(192), model="another")])
    with pytest.raises(ModelMismatch):
        parts.enroll_parquet(other, out)


@pytest.mark.slow
def test_on_a_ray_cluster(folder: Path, tmp_path: Path) -> None:
    """Worker processes and actors on a real cluster, some of which are killed; then a new cluster goes on."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    command = [
        *(sys.executable, "-W", "ignore", "-m", "voxid", "embed", "voxid-base", str(folder / "list.parquet")),
        *(str(folder / "more.tar"), "--engine", "ray", "-o", str(tmp_path / "out"), "--json"),
    ]
    again = False
    for _ in range(2):
        done = subprocess.run(
            command,
            env={**hostile(folder, tmp_path / "mark"), "RAY_DEDUP_LOGS": "0", "VOXID_PART": "4"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        check(folder, tmp_path / "out")
        assert ('"made": 1' if again else '"made": 4') in done.stdout
        parts.part_file(tmp_path / "out", 2).unlink()  # as if it had stopped before this one
        again = True


class Head:
    """The head node of a Ray cluster on this machine, which alone has processors."""

    def __init__(self, env: dict[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vxray"))  # sockets have short paths: not pytest's folder
        self.env, self.port = env, 0

    def start(self) -> str:
        with socket.socket() as any:
            any.bind(("127.0.0.1", 0))
            self.port = any.getsockname()[1]
        subprocess.run(
            [
                *(sys.executable, "-W", "ignore", "-m", "ray.scripts.scripts", "start", "--head"),
                *("--node-ip-address", "127.0.0.1", "--port", str(self.port), "--num-cpus", "2"),
                *("--temp-dir", str(self.folder), "--include-dashboard", "false"),
                *("--object-store-memory", "200000000", "--disable-usage-stats"),
            ],
            env=self.env,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=120,
        )
        return f"127.0.0.1:{self.port}"

    def kill(self) -> None:
        """End all processes of this cluster at once, as when its machine loses power."""
        for told in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has ended
                words = told.read_bytes().decode().split("\0")
                if any(str(self.folder) in word for word in words):
                    os.kill(int(told.parent.name), signal.SIGKILL)


@pytest.mark.slow
def test_a_ray_head_that_is_killed_and_started_again(tmp_path: Path) -> None:
    """Ray ends the command; the same command on a new cluster makes what is missing, once."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    recordings, out = tmp_path / "calls", tmp_path / "out"
    for number in range(40):
        (recordings / f"s{number % 4}").mkdir(parents=True, exist_ok=True)
        soundfile.write(recordings / f"s{number % 4}" / f"{number:02}.wav", say(number % 4, number), 16_000)
    (tmp_path / "slow").mkdir()
    (tmp_path / "slow" / "sitecustomize.py").write_text(SLOW)
    path = os.pathsep.join([str(tmp_path / "slow"), *filter(None, sys.path)])
    env = {**os.environ, "PYTHONPATH": path, "VOXID_PART": "2", "RAY_AUTH_MODE": "disabled"}
    env["RAY_gcs_rpc_server_reconnect_timeout_s"] = "5"  # 60 if it is not set
    head = Head(env)
    command = [*(sys.executable, "-W", "ignore", "-m", "voxid", "embed", "voxid-base", str(recordings))]
    command += ["--engine", "ray", "-o", str(out), "--json", "--address"]

    def made() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in out.glob("part-*")}

    try:
        running = subprocess.Popen(
            [*command, head.start()], env=env, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        wait_until(lambda: len(made()) >= 3 or running.poll() is not None)
        head.kill()
        _, said = running.communicate(timeout=200)
        assert running.returncode != 0
        assert "Failed to connect to GCS" in said  # Ray's words; no error of ours can be raised
        before = made()
        assert 3 <= len(before) < 20
        again = subprocess.run(
            [*command, head.start()], env=env, capture_output=True, text=True, check=False, timeout=300
        )
        assert again.returncode == 0, again.stderr[-3000:]
        assert f'"made": {20 - len(before)}' in again.stdout
        assert before.items() <= made().items()
    finally:
        head.kill()
        shutil.rmtree(head.folder, ignore_errors=True)
    rows = [row for file in sorted(made()) for row in pq.read_table(file).to_pylist()]
    assert [row["utterance"] for row in rows] == pq.read_table(out / parts.INPUTS)["utterance"].to_pylist()
    assert len({row["utterance"] for row in rows}) == 40
    assert not [row["error"] for row in rows if row["error"]]
    emb_D = voxid.load("voxid-base").embed(recordings / "s0" / "00.wav")
    np.testing.assert_allclose(rows[0]["embedding"], emb_D, atol=1e-5)
    assert not list((out / "tries").iterdir())


def test_a_server_that_restarts_in_the_middle_of_copy(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The transaction is undone whole; loading again from the start gives everybody, once."""
    from voxid.stores import postgres as room

    postgres.clear()
    rng = np.random.default_rng(0)
    for number in range(3):
        names = [f"p{100 * number + n}" for n in range(100)]
        table = {
            "utterance": pa.array(names),
            "speaker": pa.array(names),
            "embedding": pa.array(list(rng.standard_normal((100, 8))), pa.list_(pa.float32(), 8)),
            "net_speech_s": pa.array([3.0] * 100),
            "model": pa.array(["m"] * 100),
            "error": pa.array([None] * 100, pa.string()),
        }
        pq.write_table(pa.table(table), parts.part_file(tmp_path, number))
    rows, plain = [], room.from_time

    def once(value: str):
        rows.append(value)
        if len(rows) == 150:
            postgres.stop()
        return plain(value)

    with stores.open(postgres.url) as store:
        monkeypatch.setattr(room, "from_time", once)
        with pytest.raises(StoreUnavailable):
            parts.enroll_parquet(store, tmp_path)
        postgres.start()
        assert store.count() == 100  # the first part; nothing of the second
        assert parts.enroll_parquet(store, tmp_path) == {"people": 300, "voiceprints": 300, "nameless": 0}
        assert store.count() == 300
        assert len(store.matrix().rows_N) == 300
