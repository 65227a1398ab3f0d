"""Worker threads for whole batches of work, side by side. No torch.

`threads.OneThreadWorkers` is the same for torch, whose own threads have to be told to stay out.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def usable_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Workers:
    """A pool of threads that start with the first work, and end when it is closed, collected or all ends.

    Safe to share between threads; work must not wait for other work of the same pool.

    >>> with Workers(2) as workers:
    ...     list(workers.map(lambda number: number * number, range(4)))
    [0, 1, 4, 9]
    """

    def __init__(self, workers: int, name: str = "voxid-worker") -> None:
        if workers < 1:
            raise ValueError(f"got {workers} workers; 1 or more are needed.")
        self.workers = workers
        self._name = name
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def submit(self, work: Callable[..., R], *arguments: object) -> Future[R]:
        """Begin `work(*arguments)` in a worker and return its future."""
        try:
            return self._started().submit(work, *arguments)
        except RuntimeError:  # no thread can be begun: the interpreter is ending, or there are too many
            future: Future[R] = Future()
            try:
                future.set_result(work(*arguments))
            except Exception as error:
                future.set_exception(error)
            return future

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Generator[R]:
        """Yield `work(item)` for each item, in order; raise what `work` raises.

        `items` is read here, no further ahead than keeps every worker busy. Closing the iterator drops what
        has not begun.
        """
        begun: deque[Future[R]] = deque()
        try:
            for item in items:
                begun.append(self.submit(work, item))
                if len(begun) > self.workers:
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
        finally:
            for future in begun:
                future.cancel()

    def close(self) -> None:
        """End the threads; later work starts others."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _started(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None or self._process != os.getpid():  # threads do not survive a fork
                self._pool, self._process = self._start(), os.getpid()
            return self._pool

    def _start(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.workers, self._name)
