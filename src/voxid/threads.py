"""Worker threads that compute on one core each: whole batches side by side, not parts of one operation.

The operations of a small network are too short to be shared out among cores one by one, and on a busy
machine torch's own threads wait for each other in every one of them.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Lock

import torch

from voxid.workers import Workers

_starting = Lock()  # whoever starts threads changes the process' number of threads for a moment


class OneThreadWorkers(Workers):
    """A pool of threads in each of which a torch operation stays on its own core.

    Everyone else's number of torch threads stays as it was. What torch keeps per thread (gradients on or off,
    autocast) does not reach the workers: the work sets it.

    >>> with OneThreadWorkers(2) as workers:
    ...     list(workers.map(lambda number: (number, torch.get_num_threads()), range(3)))
    [(0, 1), (1, 1), (2, 1)]
    """

    def _start(self) -> ThreadPoolExecutor:
        return _start(self.workers, self._name)


def _start(workers: int, name: str) -> ThreadPoolExecutor:
    """Return a pool whose threads are all there, with one torch thread each.

    A thread begun later takes over the number that any thread has set last. So the process' number is read,
    and put back, in a thread of its own: the caller may have set another one for itself.
    """
    pool = ThreadPoolExecutor(workers, name)
    together = Barrier(workers)

    def start(_: int) -> None:
        torch.get_num_threads()  # takes over the process' number now; later it would undo the next line
        torch.set_num_threads(1)
        together.wait()  # or the first thread would take all of these

    def start_all() -> None:
        of_process = torch.get_num_threads()
        try:
            list(pool.map(start, range(workers)))
        except BaseException:
            together.abort()
            pool.shutdown(wait=False)
            raise
        finally:
            torch.set_num_threads(of_process)

    with _starting, ThreadPoolExecutor(1) as aside:
        aside.submit(start_all).result()
    return pool
