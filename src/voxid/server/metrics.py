"""What the service counts and measures, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

TIMES_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32)

REQUESTS = Counter("voxid_requests_total", "Requests answered.", ["route", "method", "status"])
TIME = Histogram("voxid_request_seconds", "Time to the answer.", ["route"], buckets=TIMES_S)
SPENT = Histogram(
    "voxid_spent_seconds",
    "Time spent: decode, vad (measuring speech), waiting, encode, search (with asking what changed), store.",
    ["on"],
    buckets=TIMES_S,
)
BATCH = Histogram(
    "voxid_batch_recordings", "Recordings that went through the network together.", buckets=SIZES
)
QUEUE = Gauge(
    "voxid_queue_audio_seconds", "Audio that was accepted and is not answered.", multiprocess_mode="livesum"
)
DECISIONS = Counter("voxid_decisions_total", "Decisions by kind.", ["question", "decision"])
AUDIO = Counter("voxid_audio_seconds_total", "Audio that was heard.")
LIVE = Gauge("voxid_live_connections", "Live connections.", multiprocess_mode="livesum")


def timed(on: str, work: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function whose time is measured."""

    def measured(*arguments: Any, **options: Any) -> Any:
        with SPENT.labels(on).time():
            return work(*arguments, **options)

    return measured


class TimedStore:
    """A store whose calls are measured."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        return timed("store", found) if callable(found) and name != "close" else found


def exposition(several: bool) -> bytes:
    """Return all of it as Prometheus reads it; of all processes, where there are `several`."""
    if not several:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)
    return generate_latest(registry)
