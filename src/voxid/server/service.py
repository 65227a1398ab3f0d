"""The service behind the routes: what is open while it runs, and the road from a request to an answer."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from time import monotonic
from typing import Any, TypeVar

import anyio
from fastapi import Request
from starlette.types import Scope

from voxid import stores
from voxid.audio import Inspected
from voxid.embed import load
from voxid.errors import OptedOut, PersonNotFound, VoxidError
from voxid.parallel import usable_cores
from voxid.recognizer import Recognizer
from voxid.scoring.decision import Rule
from voxid.server import metrics
from voxid.server.decoding import Decoders
from voxid.server.engine import Recognizers, Together
from voxid.server.intake import Sent, channel_of, read
from voxid.server.keys import ANYBODY, Caller, Rates, caller_of
from voxid.server.problems import Refusal
from voxid.server.settings import Settings

T = TypeVar("T")
BYTES_A_SECOND = 32_000  # of 16-bit samples at 16 kHz: what a body is taken for until it is decoded
LEAST_S = 1.0  # that a recording counts for in the queue: asking costs something, too
THREADS = 32  # that wait for the store and the network
NICE = 5  # added to the priority value of the threads that compute
MOST_REPLAYS = 10_000  # answers to idempotent requests that are kept


def stand_back() -> None:
    """Let this thread, and all that it starts, wait for the thread that answers and refuses.

    Otherwise a refusal waits until a thread that computes has had its share of the processor. Lanes and
    decoders are started by such a thread.
    """
    if sys.platform == "linux":  # each thread has a priority there
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), min(19, os.nice(0) + NICE))


class Queue:
    """The audio that was accepted and is not answered yet, in seconds. Of the event loop alone.

    It takes at most `most_s`, and no more than was answered of late in `deadline_s`: what waits longer than
    that would be given up.
    """

    def __init__(self, most_s: float, deadline_s: float) -> None:
        self._most_s, self._deadline_s = most_s, deadline_s
        self.held_s, self.requests = 0.0, 0
        self._answered_s, self._took_s, self._since = 100.0, 2.0, 0.0  # of late, and of busy time alone
        self.idle = asyncio.Event()
        self.idle.set()

    @property
    def wait_s(self) -> float:
        """How long what waits will take, at the speed of late."""
        return self.held_s * self._took_s / self._answered_s

    def check(self, seconds: float) -> None:
        """Raise Refusal when what waits already is too much."""
        late = self.wait_s > self._deadline_s
        if self.requests and (late or self.held_s + seconds > self._most_s):
            most = f"more than {self._deadline_s:g} s of work" if late else f"at most {self._most_s:g} s may"
            raise Refusal(
                429,
                "Busy",
                f"{self.held_s:.0f} s of audio wait already, {most}. Try again.",
                retry_s=self.wait_s,
            )

    def enter(self, seconds: float) -> None:
        """Count a request in; raise Refusal as `check` does."""
        self.check(seconds)
        if not self.requests:
            self._since = monotonic()
        self.requests += 1
        self.idle.clear()
        self._set(self.held_s + seconds)

    def change(self, seconds: float) -> None:
        """Count a recording by its true length."""
        self._set(self.held_s + seconds)

    def leave(self, seconds: float, answered: bool) -> None:
        """Count a request out; how fast audio is answered is measured over the last twenty or so."""
        now = monotonic()
        self._answered_s = 0.95 * self._answered_s + (seconds if answered else 0.0)
        self._took_s = 0.95 * self._took_s + now - self._since
        self.requests, self._since = self.requests - 1, now
        self._set(max(0.0, self.held_s - seconds) if self.requests else 0.0)
        if not self.requests:
            self.idle.set()

    def _set(self, seconds: float) -> None:
        self.held_s = seconds
        metrics.QUEUE.set(seconds)


class Service:
    """Everything that is open while the service runs."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.store: stores.Store = metrics.TimedStore(stores.open(settings.db))  # type: ignore[assignment]
        self.ready = self.stopping = False
        self.rates = Rates(settings.rate)
        self.held_bytes = 0  # of the bodies of all requests
        self.queue = Queue(settings.queue_s, settings.deadline_s)
        self.live = 0
        self._threads = ThreadPoolExecutor(THREADS, "voxid-work", initializer=stand_back)
        self._replays: OrderedDict[tuple[str, ...], asyncio.Future[Any]] = OrderedDict()

    def start(self) -> None:
        """Load the model and begin the processes that decode; takes seconds."""
        settings = self.settings
        self.decoders = Decoders(
            settings.decoders,
            seconds=settings.decode_s,
            megabytes=settings.decode_mb,
            audio_s=settings.audio_s,
            vad=settings.vad,
        )
        embedder = load(settings.model, device=settings.device)
        lanes = max(1, min(8, usable_cores()))
        self.runtime = Together(embedder, settings.company_ms / 1000, lambda: self.queue.requests, lanes)
        self.recognizers = Recognizers(self.store, self.runtime, settings)
        calibration = embedder.model.calibration
        self.calibration = (
            hashlib.sha256(calibration.model_dump_json().encode()).hexdigest() if calibration else None
        )
        self.recognizers.check({})
        self.decoders.wait()
        self.ready = True

    async def stop(self) -> None:
        """Finish what was accepted, then close all."""
        self.stopping, self.ready = True, False
        try:
            async with asyncio.timeout(self.settings.shutdown_s):
                await self.queue.idle.wait()
        except TimeoutError:
            pass
        if hasattr(self, "runtime"):
            self.runtime.close()
        if hasattr(self, "decoders"):
            self.decoders.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.store.close()

    # -- who asks ----------------------------------------------------------------------------------------

    async def caller(self, key: str | None) -> Caller:
        """Return who asks; raise Refusal for no key, a wrong one, or too many requests of it."""
        if not self.settings.keyed:
            return ANYBODY
        if not key:
            raise Refusal(
                401, "NoKey", "a key is needed: Authorization: Bearer KEY. `voxid keys create` makes one."
            )
        # by other threads: ours may all wait for the network
        found = await anyio.to_thread.run_sync(caller_of, self.store, key)
        self.rates.take(found.name)
        return found

    # -- the queue ---------------------------------------------------------------------------------------

    def promised_s(self, scope: Scope) -> float:
        """Return the seconds that a request is taken for until it is decoded."""
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        size = int(length) if length.isdigit() else 0
        return max(LEAST_S, min(size / BYTES_A_SECOND, self.settings.audio_s))

    def enter(self, request: Request) -> None:
        """Give a request its place in the queue, which `leave` takes back; raise Refusal."""
        seconds = self.promised_s(request.scope)
        self.queue.enter(seconds)
        request.scope["queued_s"] = seconds

    def leave(self, scope: Scope, answered: bool) -> None:
        """Count a request out that is over, if it was counted in."""
        if (seconds := scope.pop("queued_s", None)) is not None:
            self.queue.leave(seconds, answered)

    def need_ready(self) -> None:
        """Raise Refusal while the model is loaded, and when the service ends."""
        if not self.ready:
            raise Refusal(503, "NotReady", "the model is being loaded, or the service ends.", retry_s=2)

    # -- from a request to an answer -----------------------------------------------------------------------

    async def thread(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Return what blocking work comes to, done in a thread."""
        asked = partial(work, *arguments, **options)
        return await asyncio.get_running_loop().run_in_executor(self._threads, asked)

    @asynccontextmanager
    async def heard(self, request: Request, *names: str) -> AsyncIterator[list[Inspected]]:
        """Yield the recordings of these fields (none named: all), decoded, and give the block its deadline.

        Raise Refusal for other fields before anything is decoded.
        """
        self.need_ready()
        body = await read(request, self.settings.files)
        sent = body.of(*names)
        channel = channel_of(request.query_params.get("channel") or body.fields.get("channel"))
        async with self.deadline():
            heard = [await self.decode(one, channel) for one in sent]
            true_s = max(LEAST_S, sum(one.total_s for one in heard))
            self.queue.change(true_s - request.scope["queued_s"])
            request.scope["queued_s"] = true_s
            yield heard

    @asynccontextmanager
    async def deadline(self) -> AsyncIterator[None]:
        """Give the block `deadline_s`; raise Refusal when that is over."""
        try:
            async with asyncio.timeout(self.settings.deadline_s):
                yield
        except TimeoutError:
            raise Refusal(
                504, "DeadlineExceeded", f"no answer within {self.settings.deadline_s:g} s. Try again."
            ) from None

    async def decode(self, one: Sent, channel: Any) -> Inspected:
        """Return a recording, decoded in a process of its own."""
        found, took_s = await self.thread(self.decoders.decode, one.content, one.name, channel)
        metrics.SPENT.labels("decode").observe(max(0.0, took_s - found.vad_s))
        metrics.SPENT.labels("vad").observe(found.vad_s)
        metrics.AUDIO.inc(found.total_s)
        return found

    async def recognizer(self, collection: str, allow: str | None = None) -> Recognizer:
        """Return the recognizer of a collection; raise OptedOut when `allow` may not be heard there."""
        self.need_ready()

        def found() -> Recognizer:
            if allow is not None:
                self.store.refuse_opted_out(allow, collection=collection)
            return self.recognizers.of(collection)

        return await self.thread(found)

    async def claimed(self, collection: str, name: str) -> tuple[Recognizer, VoxidError | None]:
        """Return the recognizer of a collection, and why nobody of this name can be verified there."""
        self.need_ready()

        def found() -> tuple[Recognizer, VoxidError | None]:
            recognizer = self.recognizers.of(collection)
            try:
                recognizer.get(name)
            except (PersonNotFound, OptedOut) as error:
                return recognizer, error
            return recognizer, None

        return await self.thread(found)

    def evidence(self, recognizer: Recognizer | None, rule: Rule) -> dict[str, Any]:
        """Return what every decision says of itself."""
        place = None if recognizer is None else self.recognizers.place_of(recognizer.collection)
        return {
            "model": self.runtime.fingerprint,
            "calibration": self.calibration or "",
            "surroundings": place,
            "far": rule.far,
            "prior": rule.prior,
        }

    async def once(self, asked: tuple[str, ...] | None, work: Callable[[], Awaitable[T]]) -> T:
        """Return the answer to `work`, or the one it had when it was asked with the same words before."""
        if asked is None:
            return await work()
        if (known := self._replays.get(asked)) is not None:
            return await asyncio.shield(known)
        future = self._replays[asked] = asyncio.get_running_loop().create_future()
        try:
            answer = await work()
        except BaseException as error:
            del self._replays[asked]
            future.set_exception(
                error
                if isinstance(error, VoxidError | Refusal)
                else Refusal(
                    503,
                    "Unfinished",
                    "the first request of this Idempotency-Key broke off. Try again.",
                    retry_s=1,
                )
            )
            future.exception()  # nobody may wait for it
            raise
        future.set_result(answer)
        while len(self._replays) > MOST_REPLAYS:
            self._replays.popitem(last=False)
        return answer
