"""Threads that share out the blocks of a search: numpy and onnxruntime release the interpreter."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

T = TypeVar("T")


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """The calling thread and up to `threads - 1` helpers, begun with the first work that is worth it."""

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"got {threads} threads; 1 or more are needed.")
        self.threads = threads
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._process = 0

    def each(self, work: Callable[[T], None], items: Iterable[T]) -> None:
        """Do `work(item)` for all items in any order and return when all are done; raise what one raised.

        The caller works too, so that busy helpers delay nobody.
        """
        left = deque(items)

        def some() -> None:
            try:
                while True:
                    try:
                        item = left.popleft()
                    except IndexError:
                        return
                    work(item)
            except BaseException:
                left.clear()  # nobody needs the rest
                raise

        futures = []
        if min(self.threads, len(left)) > 1:
            pool = self._started()
            try:
                futures = [pool.submit(some) for _ in range(min(self.threads, len(left)) - 1)]
            except RuntimeError:  # the interpreter is ending: no more threads
                futures = []
        try:
            some()
        finally:
            running = [future for future in futures if not future.cancel()]
            for future in running:
                future.exception()  # waits: the work must not outlive the call
        for future in running:
            future.result()

    def _started(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None or self._process != os.getpid():  # threads do not survive a fork
                self._pool = ThreadPoolExecutor(self.threads - 1, "voxid-search")
                self._process = os.getpid()
            return self._pool
