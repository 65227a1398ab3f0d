"""Workers on one core each: what they are told, what everyone else keeps, and how they end."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from voxid.parallel import OneThreadWorkers, Workers, ordered


@pytest.fixture
def two_torch_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_seen() -> int:
    """Return the number of torch threads, after an operation large enough to be shared out."""
    torch.ones(1000, 1000).sum()
    return torch.get_num_threads()


@pytest.mark.usefixtures("two_torch_threads")
def test_workers_keep_to_one_core_and_nobody_else_does() -> None:
    seen: list[int] = []
    own = threading.Thread(target=lambda: (torch.set_num_threads(1), workers.submit(threads_seen).result()))
    later = threading.Thread(target=lambda: seen.append(threads_seen()))
    with OneThreadWorkers(3, engine=torch) as workers:
        own.start()  # the workers start in a thread that has chosen another number for itself
        own.join()
        torch.set_num_threads(2)
    with OneThreadWorkers(3, engine=torch) as workers:
        assert list(workers.map(lambda _: threads_seen(), range(20))) == [1] * 20
        assert threads_seen() == 2
        later.start()
        later.join()
    assert seen == [2]


def test_map_keeps_order_and_reads_no_further_than_it_must() -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            read.append(number)
            yield number

    def work(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)  # later ones are done earlier
        return number

    with OneThreadWorkers(2, engine=torch) as workers:
        results = workers.map(work, numbers())
        assert [next(results) for _ in range(10)] == list(range(10))
        assert len(read) <= 10 + 2
        results.close()


def test_results_that_wait_weigh_no_more_than_was_allowed() -> None:
    """Four results of weight 3 reach 10; the work that is going on then may end, and no other begins."""
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return number

    results = ordered(work, iter(range(100)), workers=2, ahead=10.0, weight=lambda _: 3.0)
    assert next(results) == 0
    time.sleep(0.3)
    assert 4 <= len(begun) <= 1 + 4 + 1
    assert list(results) == list(range(1, 100))


def test_a_slow_item_does_not_hold_up_the_ones_after_it() -> None:
    last_began = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert last_began.wait(10)
        elif number == 9:
            last_began.set()
        return number

    assert list(ordered(work, range(10), workers=2, ahead=20)) == list(range(10))


def test_what_the_items_raise_comes_after_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("the third")

    results = ordered(lambda number: number, items(), workers=2, ahead=5)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(KeyError, match="the third"):
        next(results)


def test_closing_ends_the_threads() -> None:
    results = ordered(lambda number: number, range(10**9), workers=2, ahead=3, name="voxid-closed")
    assert next(results) == 0
    results.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("voxid-closed")]


def test_both_workers_work_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=200)
    with OneThreadWorkers(2, engine=torch) as workers:
        assert sorted(workers.map(lambda _: together.wait(), range(2))) == [0, 1]


def test_what_the_work_raises_arrives() -> None:
    with OneThreadWorkers(2, engine=torch) as workers, pytest.raises(ZeroDivisionError):
        list(workers.map(lambda number: 1 // number, [1, 0, 1]))


@pytest.mark.parametrize("threads", [1, 4])
def test_each_does_everything_once_and_raises(threads: int) -> None:
    done: list[int] = []

    def fail(item: int) -> None:
        if item == 50:
            raise KeyError(item)

    with Workers(threads) as workers:
        workers.each(done.append, range(100))
        assert sorted(done) == list(range(100))
        with pytest.raises(KeyError):
            workers.each(fail, range(100))
        workers.each(done.append, range(100))
    assert len(done) == 200


def test_no_workers() -> None:
    with pytest.raises(ValueError, match="0 workers"):
        OneThreadWorkers(0, engine=torch)


def test_threads_start_late_and_end_when_nobody_holds_them() -> None:
    def there() -> int:
        return sum(thread.name.startswith("voxid-test") for thread in threading.enumerate())

    workers = OneThreadWorkers(3, "voxid-test", engine=torch)
    assert there() == 0
    assert workers.submit(int).result() == 0
    assert there() == 3
    del workers
    end = time.monotonic() + 200
    while there() and time.monotonic() < end:
        time.sleep(0.01)
    assert there() == 0


def test_work_goes_on_while_the_interpreter_ends() -> None:
    code = """
import threading, time, torch
from voxid.parallel import OneThreadWorkers
workers = OneThreadWorkers(2, engine=torch)
def late():
    threading.main_thread().join()
    time.sleep(0.2)
    print(list(workers.map(lambda number: number + 1, range(3))))
threading.Thread(target=late).start()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250)
    assert (done.stdout.strip(), done.stderr) == ("[1, 2, 3]", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_starts_its_own() -> None:
    code = """
import os, torch
from voxid.parallel import OneThreadWorkers
workers = OneThreadWorkers(2, engine=torch)
assert workers.submit(int).result() == 0
if child := os.fork():
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
else:
    os._exit(workers.submit(int, 7).result(timeout=200))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=250)
    assert done.stdout.strip() == "7"
