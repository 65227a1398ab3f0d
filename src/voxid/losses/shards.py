"""What the processes of one training tell each other about a batch: gathered rows, sums and maxima.

Everything here is the identity in a training of one process, so that a loss has one form for both.

B rows of the whole batch, D embedding, K columns
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """One process among the `world` of them of a training; `local` is its number on its machine.

    >>> Ranks().cut(10), Ranks(rank=2, world=3).cut(10)
    (slice(0, 10, None), slice(8, 10, None))
    """

    rank: int = 0
    world: int = 1
    local: int = 0
    local_world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def cut(self, rows: int) -> slice:
        """Return which of `rows` are this process' own: as many for each, fewer for the last."""
        each = -(-rows // self.world)
        return slice(min(rows, self.rank * each), min(rows, (self.rank + 1) * each))

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum over all processes, without a gradient."""
        return self._all(value, dist.ReduceOp.SUM)

    def max(self, value: Tensor) -> Tensor:
        """Return the elementwise maximum over all processes, without a gradient."""
        return self._all(value, dist.ReduceOp.MAX)

    def _all(self, value: Tensor, how: Any) -> Tensor:
        value = value.detach()
        if self.world > 1:
            value = value.clone().contiguous()
            dist.all_reduce(value, how)
        return value

    def concat(self, rows: Tensor, dim: int = 0) -> Tensor:
        """Return what all processes have, one after the other along `dim`, as much of each; no gradient."""
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows, memory_format=torch.contiguous_format) for _ in range(self.world)]
        dist.all_gather(parts, rows.detach().contiguous())
        return torch.cat(parts, dim)

    def whole(self, part: Tensor, rows: int) -> Tensor:
        """Return a tensor of `rows` rows of which `part` is this process' `cut`."""
        if self.world == 1:
            return part
        padded = part.new_zeros(-(-rows // self.world), *part.shape[1:])
        padded[: len(part)] = part
        return self.concat(padded)[:rows]

    def gather(self, emb_D: Tensor, partial: bool) -> Tensor:
        """Return the embeddings (B, D) of all processes, with gradients.

        The gradient that comes back is `world` times that of the whole batch' loss: averaging parameters'
        gradients over the processes, as DistributedDataParallel does, makes it right. `partial`: each process
        computes a part of the loss (its classes), so the parts are added up; otherwise all compute the same.
        """
        return emb_D if self.world == 1 else _Gather.apply(self, partial, emb_D)  # pyright: ignore[reportReturnType]

    def logsumexp(self, value_B: Tensor) -> Tensor:
        """Return this process' part of log(sum over processes of exp(value)), with its own gradient.

        The value is shared out evenly: `total` adds the parts up again.
        """
        if self.world == 1:
            return value_B
        most_B = self.max(value_B)
        total_B = most_B + self.sum((value_B.detach() - most_B).exp()).log()
        share_B = (value_B.detach() - total_B).exp()
        return total_B / self.world + share_B * (value_B - value_B.detach())

    def total(self, part: Tensor) -> Tensor:
        """Return the sum of every process' part of a loss, with the gradient of this process' part."""
        return part if self.world == 1 else self.sum(part) + (part - part.detach())


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ranks: Ranks, partial: bool, rows: Tensor) -> Tensor:
        ctx.ranks, ctx.partial, ctx.rows = ranks, partial, len(rows)
        return ranks.concat(rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grad = ctx.ranks.sum(grads[0]) if ctx.partial else grads[0]
        first = ctx.ranks.rank * ctx.rows
        return None, None, ctx.ranks.world * grad[first : first + ctx.rows]
