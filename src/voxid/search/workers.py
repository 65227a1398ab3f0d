"""Threads that share out the blocks of a search: numpy and onnxruntime release the interpreter."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import voxid.parallel

T = TypeVar("T")


class Workers:
    """The calling thread and up to `threads - 1` helpers, begun with the first work that is worth it."""

    def __init__(self, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"got {threads} threads; 1 or more are needed.")
        self.threads = threads
        self._helpers = voxid.parallel.Workers(threads - 1, "voxid-search") if threads > 1 else None

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
        if self._helpers is not None:
            futures = [self._helpers.submit(some) for _ in range(min(self.threads, len(left)) - 1)]
        try:
            some()
        finally:
            running = [future for future in futures if not future.cancel()]
            for future in running:
                future.exception()  # waits: the work must not outlive the call
        for future in running:
            future.result()
