"""One training in several processes: who they are, what only one of them does, and what a checkpoint needs.

torchrun starts the processes (or Ray Train, or anything that has set up torch's process group), every one of
them calls `voxid.train` with the same arguments, and each takes its part of every batch. The encoder's
gradients are averaged by DistributedDataParallel. A loss that compares rows sees those of all processes; a
margin head has its classes shared out. So the losses and the weights are those of one process.
"""

from __future__ import annotations

import atexit
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from voxid.encoders.threads import RowThreads
from voxid.errors import TrainingError, VoxidError
from voxid.losses.shards import Ranks

WAIT = timedelta(hours=float(os.environ.get("VOXID_WAIT_HOURS", "2")))  # for a process that says nothing
LOST = ("gloo", "nccl", "connection reset", "connection closed", "broken pipe", "timed out", "store")
T = TypeVar("T")


@contextmanager
def ranks_of_launcher(device: torch.device) -> Iterator[Ranks]:
    """Yield this process' place among those that torchrun started; alone without it.

    A process group that is there is used; one that is made here lasts as long as the process, for the next
    training in it. Raise TrainingError when another process is lost.
    """
    if not (dist.is_available() and dist.is_initialized()):
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            yield Ranks()
            return
        _join(device)
    try:
        local = int(os.environ.get("LOCAL_RANK", "0"))
        beside = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        yield Ranks(dist.get_rank(), dist.get_world_size(), local, beside)
    except RuntimeError as error:
        if isinstance(error, VoxidError) or not any(word in str(error).lower() for word in LOST):
            raise
        raise TrainingError(
            f"process {dist.get_rank()} lost another one of this training "
            f"({str(error).splitlines()[0]:.160}). The output of the process that ended first says what went "
            "wrong. Start the same command again with --resume; torchrun does so by itself with "
            "--max-restarts."
        ) from error


def _join(device: torch.device) -> None:
    """Make the process group of torchrun's variables.

    torch (2.13) gives processes that torchrun started again the key-value store of those before, with the
    addresses of the dead in it. On one machine the number of restarts tells them apart; several machines
    count each for itself, and need TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 (docs/scale.md).
    """
    store, rank, world = next(iter(rendezvous("env://", timeout=WAIT)))
    if os.environ.get("LOCAL_WORLD_SIZE") == str(world):
        store = PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=WAIT)
    atexit.register(dist.destroy_process_group)


def device_of(device: torch.device) -> torch.device:
    """Return this process' own GPU where `device` is all of cuda; torchrun says which."""
    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in os.environ:
        return device
    mine = torch.device("cuda", int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    torch.cuda.set_device(mine)
    return mine


def once(ranks: Ranks, work: Callable[[], T]) -> T:
    """Return what `work` returns on the first process, on all of them; raise there what it raises."""
    if ranks.world == 1:
        return work()
    said: list[Any] = [*_tried(work)] if ranks.first else [None, None]
    dist.broadcast_object_list(said)
    if said[1] is not None:
        raise said[1]
    return said[0]


def first_on_machine(ranks: Ranks, work: Callable[[], T]) -> T:
    """Return what `work` returns, done by one process of each machine before the others find it done."""
    if ranks.world == 1:
        return work()
    tried: tuple[Any, Any] = _tried(work) if ranks.local == 0 else (None, None)
    found, mine = tried
    failed: list[Any] = [None] * ranks.world
    dist.all_gather_object(failed, mine)
    if (error := next((error for error in failed if error is not None), None)) is not None:
        raise error
    return found if ranks.local == 0 else work()


def _tried(work: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """Return what `work` returns, or the error that it raises: for the other processes to hear of."""
    try:
        return work(), None
    except Exception as error:
        return None, error


def any_of(ranks: Ranks, flag: bool, device: torch.device) -> bool:
    """Return whether `flag` is true on any process."""
    return flag if ranks.world == 1 else bool(ranks.max(torch.tensor(float(flag), device=device)))


def parallel(encoder: nn.Module, encode: nn.Module | RowThreads, ranks: Ranks) -> Any:
    """Return `encode`, with the gradients of `encoder` averaged over all processes."""
    if ranks.world == 1:
        return encode
    from torch.nn.parallel import DistributedDataParallel

    ids = [p.device.index for p in encoder.parameters() if p.is_cuda][:1] or None
    whole = encode if isinstance(encode, nn.Module) else _Threaded(encoder, encode)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch 2.13 has another name for the last option
        return DistributedDataParallel(whole, device_ids=ids, broadcast_buffers=False)


class _Threaded(nn.Module):
    """An encoder called by its threads, as a module."""

    def __init__(self, encoder: nn.Module, threads: RowThreads) -> None:
        super().__init__()
        self.encoder, self.threads = encoder, threads

    def forward(self, feat_BTF: Tensor) -> Tensor:
        return self.threads(feat_BTF)


@torch.no_grad()
def average_buffers(encoder: nn.Module, ranks: Ranks) -> None:
    """Give all processes the mean of the encoder's running statistics."""
    floats = [buffer for buffer in encoder.buffers() if buffer.is_floating_point()]
    if ranks.world == 1 or not floats:
        return
    mean = ranks.sum(torch.cat([buffer.reshape(-1) for buffer in floats])) / ranks.world
    for buffer, part in zip(floats, mean.split([buffer.numel() for buffer in floats]), strict=True):
        buffer.copy_(part.view_as(buffer))


class SharedOut:
    """The one parameter that is shared out by rows, the class centres of a margin head, in a state dict.

    A checkpoint holds all rows, so that any number of processes can go on from it.
    """

    def __init__(self, loss: Any, optimizer: torch.optim.Optimizer) -> None:
        self.ranks: Ranks = getattr(loss, "ranks", Ranks())
        self.classes = getattr(loss, "all_classes", 0)
        self.each = loss.config.sub_centers if self.classes else 1  # rows of a class
        members = [p for group in optimizer.param_groups for p in group["params"]]
        self.number = next((i for i, p in enumerate(members) if p is getattr(loss, "weight", None)), -1)

    def whole(self, loss: dict, optimizer: dict, average: dict) -> tuple[dict, dict, dict]:
        """Return the state dicts with all rows, on every process."""
        return self._each(lambda rows: self.ranks.whole(rows, self.classes), loss, optimizer, average)

    def mine(self, loss: dict, optimizer: dict, average: dict) -> tuple[dict, dict, dict]:
        """Return the state dicts with this process' rows."""
        return self._each(lambda rows: rows[self.ranks.cut(self.classes)].clone(), loss, optimizer, average)

    def _each(self, of_classes: Callable[[Tensor], Tensor], *states: dict) -> Any:
        if not self.classes:
            return states

        def change(rows: Tensor) -> Tensor:
            return of_classes(rows.view(len(rows) // self.each, self.each, -1)).flatten(0, 1)

        loss, optimizer, average = states
        loss = {**loss, "weight": change(loss["weight"])}
        if "loss.weight" in average:
            average = {**average, "loss.weight": change(average["loss.weight"])}
        kept = optimizer["state"].get(self.number, {})
        kept = {
            name: change(value) if torch.is_tensor(value) and value.ndim else value
            for name, value in kept.items()
        }
        moments = {**optimizer["state"], self.number: kept} if kept else optimizer["state"]
        return loss, {**optimizer, "state": moments}, average
