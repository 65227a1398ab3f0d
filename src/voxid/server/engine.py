"""Embeddings for many requests at once, and the recognizers of the collections.

# S samples, N recordings, D embedding
"""

from __future__ import annotations

import base64
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from voxid.audio import Inspected
from voxid.embed import Embedded, Embedder, EmbedInfo
from voxid.errors import AudioError
from voxid.recognizer import Recognizer
from voxid.recognizer.adapting import joined
from voxid.scoring import Cohort
from voxid.server import metrics
from voxid.server.settings import Settings
from voxid.stores import Store

MOST_BATCH = 32  # recordings that go through the network together
MOST_RECOGNIZERS = 100  # collections whose people are in memory; the one asked longest ago goes
RULE = ("prior", "cost_miss", "cost_false_alarm", "far")
SETTINGS, PLACE = "settings", "surroundings"  # notes of a collection


@dataclass(slots=True)
class _Waiting:
    wave_S: np.ndarray
    since: float = field(default_factory=perf_counter)
    done: Future[np.ndarray] = field(default_factory=Future)


class Together:
    """An embedder that takes recordings of one length together, whoever sent them.

    It is to a Recognizer what `Embedder` is. As many lanes compute as there are cores; one that is free takes
    the recording that waited longest, and all others of its length. It waits up to `company_s` for those, and
    only while `coming()` says that others are on their way. A recording that comes alone is embedded in the
    thread that asks.
    """

    def __init__(self, embedder: Embedder, company_s: float, coming: Callable[[], int], lanes: int) -> None:
        self._embedder, self._company_s, self._coming = embedder, company_s, coming
        self._queue: deque[_Waiting] = deque()
        self._change = threading.Condition()
        self._closed, self._computing = False, 0
        self._threads = [
            threading.Thread(target=self._lane, name=f"voxid-lane-{n}", daemon=True) for n in range(lanes)
        ]
        for thread in self._threads:
            thread.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._embedder, name)

    def embed_each(
        self, audio: Iterable[Any], on_error: Callable[[int, AudioError], None] | None = None, **options: Any
    ) -> Iterator[Embedded]:
        """Yield an Embedded for each recording, in order, as `Embedder.embed_each` does."""
        items = list(audio)
        alone = len(items) == 1
        asked = [
            self._ask(one.wave, alone) if isinstance(one, Inspected) and one.wave is not None else None
            for one in items
        ]
        for position, (one, done) in enumerate(zip(items, asked, strict=True)):
            if done is not None:
                yield Embedded(position, done.result(), EmbedInfo.of(one, True, 1))
                continue
            if isinstance(one, Inspected):  # not to be measured again
                options = {**options, "vad": one.vad}
            told = on_error and (lambda _, error, at=position: on_error(at, error))
            for _, emb_D, info in self._embedder.embed_each([one], told, **options):
                yield Embedded(position, emb_D, info)

    def embed_waves(self, waves: Sequence[np.ndarray], **options: Any) -> np.ndarray:
        """Return float32 (N, D), as `Embedder.embed_waves` does."""
        return np.stack([done.result() for done in [self._ask(wave_S, len(waves) == 1) for wave_S in waves]])

    def close(self) -> None:
        """End the lanes when all that waits is done."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        for thread in self._threads:
            thread.join()

    def _ask(self, wave_S: np.ndarray, alone: bool) -> Future[np.ndarray]:
        """Return what becomes the embedding. Who asks alone, and finds a core free, computes it at once."""
        waiting = _Waiting(wave_S)
        with self._change:
            now = alone and not self._queue and self._computing < len(self._threads)
            if now and self._coming() - self._computing <= 1:
                self._computing += 1
            else:
                now = False
                self._queue.append(waiting)
                self._change.notify()
        if now:
            self._compute([waiting])
        return waiting.done

    def _lane(self) -> None:
        while batch := self._next():
            self._compute(batch)

    def _compute(self, batch: list[_Waiting]) -> None:
        began = perf_counter()
        for one in batch:
            metrics.SPENT.labels("waiting").observe(began - one.since)
        try:
            emb_ND = self._embedder.embed_waves([one.wave_S for one in batch])
        except BaseException as error:
            for one in batch:
                one.done.set_exception(error)
            return
        finally:
            with self._change:
                self._computing -= len(batch)
        metrics.SPENT.labels("encode").observe(perf_counter() - began)
        metrics.BATCH.observe(len(batch))
        for one, emb_D in zip(batch, emb_ND, strict=True):
            one.done.set_result(emb_D)

    def _next(self) -> list[_Waiting]:
        """Return the recordings to embed next, of one length; none when all is closed."""
        with self._change:
            while not self._queue:
                if self._closed:
                    return []
                self._change.wait()
            batch = [self._queue.popleft()]
            size = batch[0].wave_S.size
            self._gather(batch, size)
            until = batch[0].since + self._company_s
            while self._coming() - self._computing > len(batch) and len(batch) < MOST_BATCH:
                if (left := until - perf_counter()) <= 0 or not self._change.wait(left):
                    break
                self._gather(batch, size)
            if self._queue:
                self._change.notify()
            self._computing += len(batch)
            return batch

    def _gather(self, batch: list[_Waiting], size: int) -> None:
        """Move all that is of one size from the queue to the batch."""
        for _ in range(len(self._queue)):
            one = self._queue.popleft()
            (batch if one.wave_S.size == size and len(batch) < MOST_BATCH else self._queue).append(one)


class Recognizers:
    """The recognizer of each collection, by its settings of this moment."""

    def __init__(self, store: Store, runtime: Together, settings: Settings) -> None:
        self._store, self._runtime, self._settings = store, runtime, settings
        self._lock = threading.Lock()
        self._open: OrderedDict[str, tuple[dict[str, Any], Recognizer]] = OrderedDict()

    def of(self, collection: str) -> Recognizer:
        """Return the recognizer of a collection; its settings and surroundings are those in the store."""
        own = self._store.note(SETTINGS, collection=collection)
        with self._lock:
            known = self._open.get(collection)
            if known is not None and known[0] == own:
                self._open.move_to_end(collection)
                return known[1]
        made = self._made(collection, own)
        with self._lock:
            self._open[collection] = (own, made)
            while len(self._open) > MOST_RECOGNIZERS:
                self._open.popitem(last=False)
        return made

    def place_of(self, collection: str) -> str | None:
        """Return the fingerprint of the surroundings that the recognizer of a collection was made with."""
        with self._lock:
            own, _ = self._open.get(collection, ({}, None))
        return (own.get(PLACE) or {}).get("fingerprint")

    def check(self, own: dict[str, Any]) -> None:
        """Raise BadConfig, BadScores or NotCalibrated for settings that no recognizer can be made with."""
        self._made("default", {name: value for name, value in own.items() if name != PLACE})

    def adapt(self, collection: str, recordings: list[Inspected]) -> dict[str, Any]:
        """Return what was heard, after a collection has learnt how strangers sound at its place."""
        cohort, found = joined(
            self._runtime,  # type: ignore[arg-type]
            self._settings.model,
            recordings,
            vad=self._settings.vad,
        )
        rows_MD = cohort.rows_MD[-found.joined :]
        kept = {
            "rows": base64.b64encode(rows_MD.astype("<f4").tobytes()).decode(),
            "name": cohort.name,
            "model": self._runtime.fingerprint,
        }
        about = {
            "recordings": found.recordings,
            "voices": found.voices,
            "joined": found.joined,
            "strangers": found.strangers,
            "fingerprint": cohort.info.sha256,
        }
        own = self._store.note(SETTINGS, collection=collection)
        self._store.set_notes({PLACE: kept, SETTINGS: {**own, PLACE: about}}, collection=collection)
        return {**about, "left_out": found.left_out, "warnings": list(found.warnings)}

    def forget_place(self, collection: str) -> None:
        """Let a collection decide by the model's own strangers again."""
        own = self._store.note(SETTINGS, collection=collection)
        own.pop(PLACE, None)
        self._store.set_notes({PLACE: {}, SETTINGS: own}, collection=collection)

    def _made(self, collection: str, own: dict[str, Any]) -> Recognizer:
        asked: dict[str, Any] = {name: getattr(self._settings, name) for name in RULE}
        if any(own.get(name) is not None for name in RULE):
            asked = {name: own.get(name) for name in RULE}
        made = Recognizer(
            self._store,
            self._runtime,  # type: ignore[arg-type]
            collection=collection,
            least_speech_s=own.get("least_speech_s", self._settings.least_speech_s),
            wanted_speech_s=own.get("wanted_speech_s", self._settings.wanted_speech_s),
            cohort=self._place(collection) if own.get(PLACE) else None,
            memory=self._settings.memory,
            vad=self._settings.vad,
            **asked,
        )
        made._roster.near = metrics.timed("search", made._roster.near)  # type: ignore[method-assign]
        return made

    def _place(self, collection: str) -> Cohort | None:
        """Return the model's strangers with those of a collection; None where they are of another model."""
        kept, held = self._store.note(PLACE, collection=collection), self._runtime.model.cohort
        if not kept or held is None or kept["model"] != self._runtime.fingerprint:
            return None
        rows = np.frombuffer(base64.b64decode(kept["rows"]), "<f4").reshape(-1, self._runtime.dim)
        return held.joined(rows, kept["name"])
