"""Worker threads for whole batches of work, side by side, with the results in order.

The operations of a small network are too short to be shared out among cores one by one, and on a busy machine
an engine's own threads wait for each other in every one of them: `OneThreadWorkers` keeps each to one core.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from threading import Barrier, Lock, RLock
from typing import Generic, Protocol, Self, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_starting = Lock()  # whoever starts threads changes the process' number of threads for a moment


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

    def map(
        self,
        work: Callable[[T], R],
        items: Iterable[T],
        *,
        ahead: float = 1,
        weight: Callable[[R], float] | None = None,
    ) -> Generator[R]:
        """Yield `work(item)` for each item, in order; raise what `work` or reading `items` raises.

        Nothing more is begun while the results that wait weigh `ahead` or more together; `weight` is that of
        a result, 1 if it is not given. `items` is read by one thread at a time. Closing the iterator drops
        what has not begun.
        """
        line = _Line(self, work, items, ahead, weight or (lambda _: 1))
        try:
            line.begin()
            while line.begun:
                result = line.begun.popleft().result()
                line.take(result)
                yield result
            if line.failure is not None:
                raise line.failure
        finally:
            line.end()

    def each(self, work: Callable[[T], object], items: Iterable[T]) -> None:
        """Do `work(item)` for all items in any order and return when all are done; raise what one raised.

        The caller works too, so that busy workers delay nobody.
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

        futures = [self.submit(some) for _ in range(min(self.workers + 1, len(left)) - 1)]
        try:
            some()
        finally:
            running = [future for future in futures if not future.cancel()]
            for future in running:
                future.exception()  # waits: the work must not outlive the call
        for future in running:
            future.result()

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


class _Line(Generic[T, R]):
    """Items on their way through workers, in order: each thread that has finished one begins the next."""

    def __init__(
        self,
        workers: Workers,
        work: Callable[[T], R],
        items: Iterable[T],
        ahead: float,
        weight: Callable[[R], float],
    ) -> None:
        self.begun: deque[Future[R]] = deque()
        self.failure: BaseException | None = None
        self._workers, self._work, self._items = workers, work, iter(items)
        self._ahead, self._weight = ahead, weight
        self._lock = RLock()
        self._running, self._waiting, self._ended, self._beginning = 0, 0.0, False, False

    def begin(self) -> None:
        """Begin the work on as many items as there are free workers and room for results."""
        with self._lock:
            if self._beginning:  # a worker that could not be started: its work was done in this thread
                return
            self._beginning = True
            while not self._ended and self._running < self._workers.workers and self._waiting < self._ahead:
                try:
                    item = next(self._items)
                except StopIteration:
                    self._ended = True
                except BaseException as error:  # raised after the results of the items before
                    self._ended, self.failure = True, error
                else:
                    self._running += 1
                    self.begun.append(self._workers.submit(self._do, item))
            self._beginning = False

    def _do(self, item: T) -> R:
        weight = 0.0
        try:
            result = self._work(item)
            weight = self._weight(result)
            return result
        finally:
            with self._lock:
                self._running -= 1
                self._waiting += weight
            self.begin()

    def take(self, result: R) -> None:
        """Count a result as taken, and begin what there is room for now."""
        with self._lock:
            self._waiting -= self._weight(result)
        self.begin()

    def end(self) -> None:
        """Begin nothing more."""
        with self._lock:
            self._ended = True
            for future in self.begun:
                future.cancel()


def ordered(
    work: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    ahead: float,
    weight: Callable[[R], float] | None = None,
    name: str = "voxid-ordered",
) -> Generator[R]:
    """Yield `work(item)` for each item, in order, while `workers` threads work on the next ones.

    Nothing more is begun while the results that wait weigh `ahead` or more together; `weight` is that of a
    result, 1 if it is not given. Raise what `work` or reading `items` raises. Closing the iterator waits for
    what is being worked on, and ends the threads.

    >>> list(ordered(str.upper, ["a", "b", "c"], workers=2, ahead=4))
    ['A', 'B', 'C']
    """
    with (
        Workers(workers, name) as pool,
        closing(pool.map(work, items, ahead=ahead, weight=weight)) as results,
    ):
        yield from results


class Threaded(Protocol):
    """An engine with threads of its own: `torch`."""

    def get_num_threads(self) -> int: ...  # noqa: D102
    def set_num_threads(self, number: int, /) -> None: ...  # noqa: D102


class OneThreadWorkers(Workers):
    """A pool of threads in each of which an operation of `engine` (the module torch) stays on its own core.

    Everyone else's number of threads stays as it was. What torch keeps per thread (gradients on or off,
    autocast) does not reach the workers: the work sets it.

    >>> import torch
    >>> with OneThreadWorkers(2, engine=torch) as workers:
    ...     list(workers.map(lambda number: (number, torch.get_num_threads()), range(3)))
    [(0, 1), (1, 1), (2, 1)]
    """

    def __init__(self, workers: int, name: str = "voxid-worker", *, engine: Threaded) -> None:
        super().__init__(workers, name)
        self._engine = engine

    def _start(self) -> ThreadPoolExecutor:
        """Return a pool whose threads are all there, with one thread of the engine each.

        A thread begun later takes over the number that any thread has set last. So the process' number is
        read, and put back, in a thread of its own: the caller may have set another one for itself.
        """
        pool = ThreadPoolExecutor(self.workers, self._name)
        together = Barrier(self.workers)

        def start(_: int) -> None:
            self._engine.get_num_threads()  # takes over the process' number, which would undo the next line
            self._engine.set_num_threads(1)
            together.wait()  # or the first thread would take all of these

        def start_all() -> None:
            of_process = self._engine.get_num_threads()
            try:
                list(pool.map(start, range(self.workers)))
            except BaseException:
                together.abort()
                pool.shutdown(wait=False)
                raise
            finally:
                self._engine.set_num_threads(of_process)

        with _starting, ThreadPoolExecutor(1) as aside:
            aside.submit(start_all).result()
        return pool
