"""The service, asked over HTTP at a real server process: enroll, verify, identify, and every refusal."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
from hearing import unlike_voices
from hypothesis import HealthCheck, given, settings
from service import Serving

import voxid
from voxid.audio import inspect
from voxid.corpora.synthetic import speak, voice
from voxid.embed import Embedded, EmbedInfo

pytest.importorskip("fastapi", reason="pip install 'voxid[serve]'")

from voxid.server.app import create_app
from voxid.server.engine import Together
from voxid.server.openapi import EXAMPLES
from voxid.server.settings import Settings

OTHER_FIELD = (
    b'--x\r\nContent-Disposition: form-data; name="other"; filename="o.wav"\r\n\r\nno audio\r\n--x--\r\n'
)
NAMES = ("Zoë", "李雷", "a/b", "'; DROP TABLE people; --", "<script>alert(1)</script>", "🎤", "100%")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    running = Serving(tmp_path_factory.mktemp("served"))
    yield running
    assert running.stop() == -signal.SIGTERM, running.log.read_text()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Recordings of two made-up voices, by voice and take."""
    folder = tmp_path_factory.mktemp("clips")
    found = {}
    for name, speaker, take, seconds in [
        ("a1", 1, 1, 14.0), ("a2", 1, 2, 14.0), ("a3", 1, 3, 5.0), ("b1", 7, 1, 5.0), ("short", 1, 4, 0.6),
    ]:  # fmt: skip
        found[name] = folder / f"{name}.wav"
        soundfile.write(found[name], speak(voice(speaker), seconds, np.random.default_rng(take)), 16_000)
    return found


def send(server: Serving, method: str, path: str, files: Any = None, **options: Any) -> tuple[int, Any]:
    answer = server.http.request(method, f"/v1{path}", files=files, **options)
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert {"type", "title", "status", "detail", "code"} <= problem.keys()
        assert problem["status"] == answer.status_code
    return answer.status_code, answer.json()


def files(*paths: Path, field: str = "file") -> list[tuple[str, tuple[str, bytes]]]:
    return [(field, (path.name, path.read_bytes())) for path in paths]


def test_from_nobody_to_a_decision(server: Serving, clips: dict[str, Path]) -> None:
    alice = "/collections/default/speakers/alice"
    status, one = send(server, "POST", f"{alice}/recordings", files(clips["a1"]))
    assert (status, one["state"], one["wanted_s"], one["created"]) == (200, "needs_speech", 20.0, True)
    assert one["net_speech_s"] + one["missing_s"] == pytest.approx(20, abs=0.02)
    status, two = send(server, "POST", f"{alice}/recordings", files(clips["a2"], clips["a3"]))
    assert (two["state"], two["voiceprints"], two["missing_s"]) == ("enrolled", 3, 0)
    assert two["clips"][0]["source"].endswith("(a2.wav)")
    _, said = send(server, "POST", f"{alice}/verify", files(clips["a3"]))
    _, other = send(server, "POST", f"{alice}/verify?prior=0.01", files(clips["b1"]))
    assert (said["decision"], other["decision"]) == ("accepted", "rejected")
    assert other["prior"] == 0.01
    # what the library says of the same recordings in the same store, number for number
    with voxid.Recognizer(server.db) as recognizer:
        assert recognizer.verify("alice", clips["a3"]).llr == pytest.approx(said["llr"], abs=1e-3)
        assert said["model"] == recognizer.runtime.fingerprint
        compared = voxid.compare(clips["a3"], clips["b1"], model=recognizer.runtime)
        identified = recognizer.identify(clips["b1"])
    pair = [*files(clips["a3"], field="a"), *files(clips["b1"], field="b")]
    _, both = send(server, "POST", "/compare", pair)
    assert both["llr"] == pytest.approx(compared.llr, abs=1e-3)
    _, who = send(server, "POST", "/collections/default/identify", files(clips["b1"]))
    assert (who["decision"], who["speaker"]) == ("unknown", None)
    assert who["candidates"][0]["llr"] == pytest.approx(identified.candidates[0].llr, abs=1e-3)
    _, who = send(server, "POST", "/collections/default/identify", files(clips["a3"]))
    assert (who["decision"], who["speaker"], who["enrolled"]) == ("accepted", "alice", 1)
    _, told = send(server, "POST", "/collections/default/timeline?speakers=1", files(clips["a3"]))
    assert [one["speaker"] for one in told["speakers"]] == ["alice"]
    examples = json.loads(EXAMPLES.read_text())["answers"]
    answers = {"EnrollmentOut": one, "DecisionOut": said, "IdentificationOut": who, "TimelineOut": told}
    for name, answer in answers.items():
        assert answer.keys() == examples[name].keys(), name


def test_every_body_answer_and_error_has_an_example_of_its_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema_rs")
    document = create_app(Settings()).openapi()
    seen: dict[str, int] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            contents = [answer["content"] for answer in operation["responses"].values()]
            contents += [body["content"]] if (body := operation.get("requestBody")) else []
            for kind, content in [pair for one in contents for pair in one.items()]:
                examples = content.get("examples", {"": {"value": content.get("example")}})
                for one in examples.values():
                    assert one["value"], (method, path, kind)
                    schema = {**content["schema"], "components": document["components"]}
                    jsonschema.validate(schema, one["value"])
                    seen[kind] = seen.get(kind, 0) + 1
            for status, answer in operation["responses"].items():
                if status >= "400":
                    [problem] = answer["content"].values()
                    assert problem["example"]["status"] == int(status)
    assert seen["application/problem+json"] > 200
    assert seen.keys() >= {"application/json", "multipart/form-data", "audio/wav", "text/plain"}


def test_too_little_speech_is_an_answer_and_no_enrollment(server: Serving, clips: dict[str, Path]) -> None:
    status, said = send(server, "POST", "/collections/c/speakers/x/recordings", files(clips["short"]))
    assert (status, said["code"], said["state"], said["net_speech_s"]) == (
        422,
        "TooLittleSpeech",
        "needs_speech",
        0,
    )
    send(server, "POST", "/collections/c/speakers/x/recordings", files(clips["a1"]))
    _, said = send(server, "POST", "/collections/c/speakers/x/verify", files(clips["short"]))
    assert (said["decision"], said["llr"], said["accepted"]) == ("not_enough_speech", None, False)
    _, said = send(server, "POST", "/collections/c/identify", files(clips["short"]))
    assert said["decision"] == "not_enough_speech"
    _, said = send(server, "POST", "/collections/c/speakers/nobody/verify", files(clips["a1"]))
    assert said["decision"] == "not_enrolled"


def test_opting_out_lasts(server: Serving, clips: dict[str, Path]) -> None:
    bea = "/collections/out/speakers/bea"
    send(server, "POST", f"{bea}/recordings", files(clips["b1"]))
    assert send(server, "PUT", f"{bea}/opt-out")[1]["voiceprints"] == 1
    status, said = send(server, "POST", f"{bea}/recordings", files(clips["b1"]))
    assert (status, said["code"]) == (409, "OptedOut")
    assert send(server, "POST", f"{bea}/verify", files(clips["b1"]))[1]["decision"] == "opted_out"
    assert [one["name"] for one in send(server, "GET", "/collections/out/opt-outs")[1]["opt_outs"]] == ["bea"]
    assert send(server, "GET", "/collections/out/speakers")[1]["total"] == 0
    assert send(server, "DELETE", f"{bea}/opt-out")[1]["opt_outs"] == []
    assert send(server, "POST", f"{bea}/recordings", files(clips["b1"]))[1]["created"]


def test_people_are_managed_whatever_their_names(server: Serving, clips: dict[str, Path]) -> None:
    from urllib.parse import quote

    for name in NAMES:
        path = f"/collections/names/speakers/{quote(name, safe='')}"
        assert send(server, "POST", f"{path}/recordings", files(clips["a3"]))[1]["speaker"] == name
        assert send(server, "GET", path)[1]["recordings"][0]["source"].endswith("(a3.wav)")
    listed, after = [], None
    while True:
        query = {"limit": 3} | ({"after": after} if after else {})
        _, found = send(server, "GET", "/collections/names/speakers", params=query)
        listed += [one["name"] for one in found["speakers"]]
        if (after := found["next"]) is None:
            break
    assert listed == sorted(NAMES)
    path = f"/collections/names/speakers/{quote('a/b', safe='')}"
    assert send(server, "PATCH", path, json={"name": "ab", "metadata": {"room": 7}})[1]["metadata"] == {
        "room": 7
    }
    assert send(server, "GET", path)[1]["code"] == "PersonNotFound"
    exported = send(server, "GET", "/collections/names/speakers/ab/export")[1]
    assert exported["format"] == "voxid person"
    assert send(server, "DELETE", "/collections/names/speakers/ab")[1]["deleted"]
    assert (
        send(server, "GET", "/collections/names/audit", params={"limit": 1000})[1]["lines"][-1]["action"]
        == "deleted"
    )
    assert send(server, "DELETE", "/collections/names")[1]["deleted"]
    assert send(server, "GET", "/collections/names")[0] == 404


@pytest.mark.parametrize(
    ("content", "headers", "status", "code"),
    [
        (b"just some text", {"Content-Type": "audio/wav"}, 415, "AudioUndecodable"),
        (b"", {"Content-Type": "audio/wav"}, 422, "AudioEmpty"),
        (b"UklGRiR9AABXQVZFZm10IBAAAAABAAEAgD4AAAB9AAACABAAZGF0YQB9AAA" * 9, {}, 415, "Base64Audio"),
        (b"x", {"Content-Type": "text/html"}, 415, "NotAudio"),
        (b"--x", {"Content-Type": "multipart/form-data"}, 400, "BadRequest"),
        (b"--x\r\nno", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "BadRequest"),
        (OTHER_FIELD, {"Content-Type": "multipart/form-data; boundary=x"}, 400, "BadRequest"),  # not decoded
        (b"x" * 33_000_000, {"Content-Type": "audio/wav"}, 413, "BodyTooLarge"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_no_recording_is_refused_with_a_remedy(
    server: Serving, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    got, said = send(server, "POST", "/embed", content=content, headers=headers)
    assert (got, said["code"]) == (status, code)


def test_raw_bodies_settings_and_the_rest(server: Serving, clips: dict[str, Path]) -> None:
    raw = {"content": clips["a1"].read_bytes(), "headers": {"Content-Type": "audio/wav"}}
    assert (
        len(send(server, "POST", "/embed", **raw)[1]["embedding"]) == send(server, "GET", "/model")[1]["dim"]
    )
    assert send(server, "PUT", "/collections/strict", json={"far": 0.02, "wanted_speech_s": 5})[0] == 200
    _, done = send(server, "POST", "/collections/strict/speakers/al/recordings", **raw)
    assert (done["state"], done["wanted_s"]) == ("enrolled", 5)
    assert send(server, "POST", "/collections/strict/identify", **raw)[1]["far"] == 0.02
    assert send(server, "PUT", "/collections/strict", json={"far": 1e-9})[1]["code"] == "BadScores"
    assert send(server, "PUT", "/collections/strict", json={"fra": 0.1})[0] == 400
    # the same key gets the same answer, and enrolls once
    once = {**raw, "headers": {**raw["headers"], "Idempotency-Key": "k1"}}
    first, again = (
        send(server, "POST", "/collections/once/speakers/al/recordings", **once)[1] for _ in range(2)
    )
    assert first == again
    assert first["created"]
    assert send(server, "GET", "/nothing")[1]["code"] == "NotFound"
    assert server.http.get("/health/live").json() == {"status": "alive"}
    assert (
        'voxid_requests_total{method="POST",route="/v1/embed",status="200"}'
        in server.http.get("/metrics").text
    )
    page = server.http.get("/")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert server.http.get("/", headers={"Host": "evil.example"}).status_code == 421
    assert server.http.post("/v1/embed", headers={"Origin": "https://evil.example"}).status_code == 403


def test_the_curl_lines_of_the_docs(server: Serving, clips: dict[str, Path]) -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / "service.md").read_text()
    for name, clip in (("alice1", "a1"), ("alice2", "a2"), ("alice3", "a3"), ("bob", "b1")):
        shutil.copy(clips[clip], clips["a1"].parent / f"{name}.wav")
    lines = [line for line in text.splitlines() if re.match(r"curl .*127\.0\.0\.1(?!.*surroundings)", line)]
    assert len(lines) > 5
    for line in lines:
        command = line.replace("http://127.0.0.1:8000", server.url).replace("curl ", "curl -sS --fail ", 1)
        done = subprocess.run(shlex.split(command), capture_output=True, cwd=clips["a1"].parent)
        assert done.returncode == 0, (line, done.stderr, done.stdout)


def test_a_collection_learns_its_place(server: Serving, tmp_path: Path, clips: dict[str, Path]) -> None:
    path = "/collections/calls/surroundings"
    strangers = []
    for n, wave_S in enumerate(unlike_voices(40)):
        strangers.append(tmp_path / f"{n}.wav")
        soundfile.write(strangers[-1], wave_S, 16_000)
    assert send(server, "PUT", path, files(*strangers[:2]))[1]["code"] == "BadCohort"
    _, found = send(server, "PUT", path, files(*strangers))
    assert found.get("joined", 0) >= 10, found
    send(server, "POST", "/collections/calls/speakers/al/recordings", files(clips["a1"]))
    _, here = send(server, "POST", "/collections/calls/speakers/al/verify", files(clips["a3"]))
    assert here["surroundings"] == found["fingerprint"]
    send(server, "DELETE", path)
    _, back = send(server, "POST", "/collections/calls/speakers/al/verify", files(clips["a3"]))
    assert back["surroundings"] is None
    assert back["llr"] != here["llr"]


def test_who_is_alone_waits_for_nobody_and_company_goes_together() -> None:
    class Fake:
        seen: ClassVar[list[tuple[str, int]]] = []

        def embed_waves(self, waves: list[np.ndarray]) -> np.ndarray:
            self.seen.append((threading.current_thread().name, len(waves)))
            return np.stack([wave[:2] for wave in waves])

    coming = 1
    together = Together(Fake(), 0.005, lambda: coming, lanes=2)  # type: ignore[arg-type]
    wave = np.arange(4, dtype=np.float32)
    assert together.embed_waves([wave]).tolist() == [[0, 1]]
    assert Fake.seen == [(threading.current_thread().name, 1)]
    coming = 9
    assert together.embed_waves([wave, wave + 1]).tolist() == [[0, 1], [1, 2]]
    together.close()
    assert sum(count for _, count in Fake.seen) == 3
    assert all(name.startswith("voxid-lane") for name, _ in Fake.seen[1:])


def test_what_was_measured_is_not_measured_again(clips: dict[str, Path]) -> None:
    """Also where a recording is too long to be held, whoever asks."""

    class Fake:
        def embed_each(self, audio: list[Any], _: Any, vad: str | None) -> Iterator[Embedded]:
            [one] = audio
            yield Embedded(0, np.zeros(2, np.float32), EmbedInfo.of(inspect(one, vad=vad), True, 1))

    long = replace(inspect(clips["b1"]), wave_S=None, vad="silero", net_speech_s=1.25)
    together = Together(Fake(), 0.005, lambda: 1, lanes=1)  # type: ignore[arg-type]
    [found] = together.embed_each([long], vad="energy")
    together.close()
    assert found.info.net_speech_s == 1.25


@pytest.mark.slow
def test_the_service_answers_as_openapi_says(server: Serving) -> None:
    """Requests that Schemathesis makes up: no answer that is not described, and no error of the service."""
    schemathesis = pytest.importorskip("schemathesis")
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    asked = 0
    for operation in schema.get_all_operations():
        case_of = operation.ok().as_strategy()

        @settings(max_examples=25, suppress_health_check=list(HealthCheck))
        @given(case=case_of)
        def one(case: Any) -> None:
            answer = case.call(base_url=server.url)
            assert answer.status_code < 500, (case, answer.text)
            assert (
                answer.status_code == 200 or answer.headers["content-type"][0] == "application/problem+json"
            )

        one()
        asked += 1
    assert asked > 20
