"""`voxid serve` against the library it serves: latency, throughput, refusals, memory, in one run.

    python -m benchmarks.service [--model voxid-base] [--requests 20000] [--plot FILE] [--peer PYTHON]
    python -m benchmarks.service --people 1000000

One process makes all the load, on the machine that also serves; so every figure is a lower bound. It writes
requests to sockets as they are: httpx takes 3 to 7 ms of a processor for one, a fifth of what answering it
takes. `--people` asks who of so many it is, against who of a thousand, and against the library. `--peer`
names the python of an environment with resemblyzer, fastapi and uvicorn: the same recordings go to a server
made of these, for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import soundfile

import voxid
from voxid.corpora.synthetic import speak, voice
from voxid.stores import NewPerson, voiceprint

SECONDS = 3.0
ROUNDS = 7  # of the library and four clients, in turns
TURNS = 3  # of the capacity and twice as much
FEW = 1_000  # people, as many as are weighed against each other and more
VERIFY = "/v1/collections/default/speakers/p0/verify"


class Service:
    """`voxid serve` on a free port."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.db = f"sqlite:///{folder}/people.db"
        self.log = folder / "log"
        command = [sys.executable, "-m", "voxid", "serve", "--port", "0", "--db", self.db, *options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log)
        while not (found := re.search(r"voxid is at (\S+)", self.log.read_text())):
            time.sleep(0.1)
        self.url = found[1]
        while True:
            try:
                if httpx.get(f"{self.url}/health/ready").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.2)

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()


def percentiles(values: list[float]) -> str:
    p50, p95, p99 = np.percentile(np.array(values) * 1000, [50, 95, 99])
    return f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms (p99 is {p99 / p50:.1f} times p50)"


class Asking:
    """Connections to a service that ask one question; a request takes one that is idle, or opens one."""

    def __init__(self, url: str, content: bytes, path: str = VERIFY) -> None:
        self._where = urlsplit(url)
        head = f"POST {path} HTTP/1.1\r\nHost: {self._where.netloc}\r\nContent-Type: audio/wav\r\n"
        self._request = f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def once(self) -> int:
        """Return the status of an answer."""
        at = self._where.hostname, self._where.port
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(*at)
        writer.write(self._request)
        answer = await reader.readuntil(b"\r\n\r\n")
        found = re.search(rb"(?i)content-length: (\d+)", answer)
        assert found is not None, answer
        await reader.readexactly(int(found[1]))
        self._idle.append((reader, writer))
        return int(answer[9:12])

    async def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
            await writer.wait_closed()


async def offered(
    url: str, content: bytes, a_second: float, seconds: float
) -> tuple[list[float], list[float], float]:
    """Return (times of answers, of refusals, seconds) of an open load, which does not wait for answers."""
    rng = np.random.default_rng(0)
    took: dict[int, list[float]] = {200: [], 429: []}
    asking = Asking(url, content)

    async def one(due: float) -> None:
        took[await asking.once()].append(time.perf_counter() - due)

    began = due = time.perf_counter()
    tasks = []
    while due - began < seconds:
        tasks.append(asyncio.create_task(one(due)))
        due += float(rng.exponential(1 / a_second))
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    await asyncio.gather(*tasks)
    ended = time.perf_counter()
    await asking.close()
    return took[200], took[429], ended - began


async def clients(url: str, content: bytes, count: int, requests: int, path: str = VERIFY) -> float:
    """Return answers a second to `count` clients that ask one after the other."""
    asking = Asking(url, content, path)

    async def one() -> None:
        for _ in range(requests // count):
            assert await asking.once() == 200

    began = time.perf_counter()
    await asyncio.gather(*[one() for _ in range(count)])
    ended = time.perf_counter()
    await asking.close()
    return requests / (ended - began)


def asked_of_many(service: Service, recognizer: Any, content: bytes, people: int, calls: int = 25) -> None:
    """Print how long it takes the service and the library to find one of very many people."""
    rng = np.random.default_rng(0)
    print(f"enrolling {people:,} people", flush=True)
    model, dim = recognizer.runtime.fingerprint, recognizer.runtime.dim

    def enrolled(collection: str, people: int) -> Any:
        for first in range(0, people, 50_000):
            emb_ND = rng.standard_normal((min(50_000, people - first), dim), np.float32)
            recognizer.store.enroll_many(
                [
                    NewPerson(f"p{first + n}", [voiceprint(emb_D, model=model, speech_s=3.0)])
                    for n, emb_D in enumerate(emb_ND)
                ],
                collection=collection,
            )
        return voxid.Recognizer(service.db, model=recognizer.runtime, collection=collection)

    few, many = enrolled("few", FEW), enrolled("many", people)
    probe_D = recognizer.runtime.embed(content)
    taken: dict[str, list[float]] = {}
    with httpx.Client(base_url=service.url, timeout=300, headers={"Content-Type": "audio/wav"}) as http:

        def ask(collection: str) -> None:
            answer = http.post(f"/v1/collections/{collection}/identify", content=content)
            assert answer.status_code == 200, answer.text

        asks = {
            "service, of few": lambda: ask("few"),
            "service, of many": lambda: ask("many"),
            "library, of few": lambda: few.identify(content),
            "library, of many": lambda: many.identify(content),
            "search alone": lambda: many._roster.near(probe_D, 200),
        }
        for n in range(calls + 1):  # the first reads everybody
            for name, work in asks.items():
                began = time.perf_counter()
                work()
                if n:
                    taken.setdefault(name, []).append(1000 * (time.perf_counter() - began))
    for name, ms in taken.items():
        print(f"{name}: p50 {statistics.median(ms):.1f} ms, p95 {np.percentile(ms, 95):.1f} ms")
    middle = {name: statistics.median(ms) for name, ms in taken.items()}
    added = middle["service, of many"] - middle["service, of few"]
    print(f"{people:,} people add {added:.1f} ms to an answer: {added / middle['search alone']:.2f} searches")


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--model", default="voxid-base")
    asked.add_argument("--requests", type=int, default=2_000)
    asked.add_argument("--seconds", type=float, default=10.0)
    asked.add_argument("--plot", type=Path, help="draw times against offered load into this file")
    asked.add_argument("--people", type=int, help="ask who of so many people it is, and nothing else")
    asked.add_argument("--peer", type=Path, help="the python of an environment with resemblyzer")
    options = asked.parse_args()
    with tempfile.TemporaryDirectory() as folder_:
        folder = Path(folder_)
        clip = folder / "probe.wav"
        soundfile.write(clip, speak(voice(0), SECONDS, np.random.default_rng(1)), 16_000)
        content = clip.read_bytes()
        settings = ("--set", "queue_s=30", "--set", "deadline_s=300")
        service = Service(folder, "--model", options.model, *settings)
        try:
            with voxid.Recognizer(service.db, model=options.model) as recognizer:
                for n in range(10):
                    wave = (speak(voice(n), 8.0, np.random.default_rng(n)), 16_000)
                    recognizer.enroll(f"p{n}", [wave])
                if options.people:
                    asked_of_many(service, recognizer, content, options.people)
                    return
                rows = run(service, recognizer, content, options)
        finally:
            service.stop()
        if options.peer:
            peer(options.peer, clip, content)
    if options.plot:
        draw(rows, options.plot)


def live(url: str, clip_s: float = 20.0) -> list[float]:
    """Return how long after the audio was sent each answer came that covers it, in seconds."""
    from websockets.sync.client import connect

    wave_S = speak(voice(0), clip_s, np.random.default_rng(2))
    blocks = np.array_split((wave_S * 32767).astype("<i2"), round(clip_s / 0.1))
    delays = []
    with connect(f"{url.replace('http', 'ws', 1)}/v1/collections/default/live") as talk:
        talk.send(json.dumps({"type": "start", "rate": 16_000, "question": "identify"}))
        assert json.loads(talk.recv())["type"] == "ready"
        began, sent_s = time.perf_counter(), 0.0

        def hear(until: float) -> None:
            while (left := until - time.perf_counter()) > 0:
                try:
                    said = json.loads(talk.recv(left))
                except TimeoutError:
                    return
                if said["type"] == "heard":
                    delays.append(time.perf_counter() - began - said["at_s"])

        for block in blocks:  # as it is spoken
            sent_s += block.size / 16_000
            hear(began + sent_s)
            talk.send(block.tobytes())
        hear(began + sent_s + 2.0)
        talk.send(json.dumps({"type": "end"}))
    return delays


def peer(python: Path, clip: Path, content: bytes) -> None:
    """Print how fast Resemblyzer behind FastAPI answers the same question."""
    port = 8731
    command = [python, Path(__file__).with_name("_resemblyzer_server.py"), str(port), clip]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, timeout=60) as http:
            while True:
                try:
                    http.get("/ready")
                    break
                except httpx.TransportError:
                    time.sleep(0.3)
            took = []
            for n in range(40):
                began = time.perf_counter()
                assert http.post("/verify", content=content).status_code == 200
                if n >= 10:
                    took.append(time.perf_counter() - began)
        at_four = asyncio.run(clients(url, content, 4, 100, "/verify"))
        one = f"one client p50 {statistics.median(took) * 1000:.1f} ms"
        print(f"Resemblyzer behind FastAPI: {one}; 4 clients {at_four:.1f} a second", flush=True)
    finally:
        process.terminate()
        process.wait()


def draw(rows: list[dict[str, float]], path: Path) -> None:
    """Draw the times of answers against the load that was offered."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    load = [100 * row["load"] for row in rows]
    for name in ("p99", "p95", "p50"):
        axes.plot(load, [row[name] for row in rows], marker="o", label=name)
    axes.set(xlabel="offered load, % of the capacity", ylabel="time of an answer, ms")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def loaded(url: str, content: bytes, share: float, capacity: float, seconds: float) -> dict[str, float]:
    """Print how a share of the capacity is answered, and return it."""
    answered, refused, took = asyncio.run(offered(url, content, share * capacity, seconds))
    p50, p95, p99 = np.percentile(np.array(answered) * 1000, [50, 95, 99])
    said = f"load {share:.0%} of {capacity:.1f} a second: {percentiles(answered)}; "
    said += f"{len(answered) / took:.1f} a second"
    if refused:
        late = np.percentile(np.array(refused) * 1000, [50, 99])
        said += f"; {len(refused)} refused within p50 {late[0]:.0f} ms, p99 {late[1]:.0f} ms"
    print(said, flush=True)
    return {"load": share, "p50": p50, "p95": p95, "p99": p99, "answered": len(answered) / took}


def run(
    service: Service, recognizer: Any, content: bytes, options: argparse.Namespace
) -> list[dict[str, float]]:
    """Print every figure; return the times by offered load."""
    calls, asked = [], []
    with httpx.Client(base_url=service.url, timeout=60) as http:
        for n in range(60):  # in turns, so that the machine's moods fall on both
            for times, ask in (
                (calls, lambda: recognizer.verify("p0", content)),
                (asked, lambda: http.post(VERIFY, content=content, headers={"Content-Type": "audio/wav"})),
            ):
                began = time.perf_counter()
                ask()
                if n >= 10:
                    times.append(time.perf_counter() - began)
    ratio = statistics.median(asked) / statistics.median(calls)
    print(f"verify of {SECONDS:g} s: library p50 {statistics.median(calls) * 1000:.1f} ms, service p50 "
          f"{statistics.median(asked) * 1000:.1f} ms: {ratio:.2f} times", flush=True)  # fmt: skip
    recognizer.verify_many([("p0", content)] * 20)
    asyncio.run(clients(service.url, content, 4, 40))
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        recognizer.verify_many([("p0", content)] * 100)
        batched = 100 / (time.perf_counter() - began)
        rounds.append((asyncio.run(clients(service.url, content, 4, 100)), batched))
    at_four, batched = np.median(rounds, axis=0)
    shares = [mine / library for mine, library in rounds]
    print(
        f"4 clients: {at_four:.1f} a second, the library's batched {batched:.1f}: {np.median(shares):.0%} "
        f"({min(shares):.0%} to {max(shares):.0%} in {ROUNDS} rounds)",
        flush=True,
    )
    capacity = max(at_four, asyncio.run(clients(service.url, content, 8, 200)))
    shares = (0.25, 0.5, 0.7, 0.9, 1.0)
    rows = [loaded(service.url, content, share, capacity, options.seconds) for share in shares]
    twice = []
    for _ in range(TURNS):  # the capacity of this moment, then twice as much of the same by the same clients
        capacity = asyncio.run(clients(service.url, content, 8, 200))
        twice.append(loaded(service.url, content, 2.0, capacity, options.seconds) | {"capacity": capacity})
    parts = [row["answered"] / row["capacity"] for row in twice]
    print(
        f"at twice the capacity {np.median(parts):.0%} of it are answered "
        f"({min(parts):.0%} to {max(parts):.0%} in {TURNS} turns)",
        flush=True,
    )
    rows.append(twice[-1])
    inside = [float(ms) for ms in re.findall(r'"status": 429, "ms": ([0-9.]+)', service.log.read_text())]
    if inside:
        p50, p95, p99 = np.percentile(inside, [50, 95, 99])
        print(f"refusals by the service's own clock: p50 {p50:.1f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms")
    print(f"live: an answer comes after the audio it covers by {percentiles(live(service.url))}", flush=True)
    asyncio.run(clients(service.url, content, 4, 500))
    before = service.rss_mb()
    asyncio.run(clients(service.url, content, 4, options.requests))
    after = service.rss_mb()
    grown = f"{after:.0f} MB ({after / before - 1:+.1%})"
    print(f"memory: {before:.0f} MB, after {options.requests:,} more requests {grown}")
    print(json.dumps(rows))
    return rows


if __name__ == "__main__":
    main()
