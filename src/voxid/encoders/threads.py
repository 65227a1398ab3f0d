"""A batch through an encoder on several processor cores at once: every core takes some of the rows.

The operations of a small network are too short to be shared out one by one: nn.LSTM on two threads is no
faster than on one. Whole parts of the batch are long enough. Rows do not see each other in an encoder, and
the gradient of a batch is the sum over its parts, so this is the same mathematics in another order of sums.

Shapes: B batch, T frames, F features per frame, D embedding.
"""

from __future__ import annotations

import copy
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from voxid.parallel import OneThreadWorkers


class RowThreads:
    """Calls an encoder in `workers` threads, forward and backward; use it in place of the encoder.

    Gradients arrive in the encoder's parameters as always, equal to the plain ones but for rounding. The same
    number of workers gives the same bits every time. Close it, or use it as a context.

    >>> encoder = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    >>> with RowThreads(encoder, workers=2) as encode:
    ...     encode(torch.ones(5, 3, 2)).sum().backward()
    >>> encoder[1].weight.grad[0]
    tensor([5., 5., 5., 5., 5., 5.])

    Raise ValueError for an encoder that says `splits_by_rows = False`: one whose rows see each other (batch
    normalisation) or draw from the one random generator in turn (dropout).
    """

    def __init__(self, encoder: nn.Module, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"RowThreads got {workers} workers; it needs 1 or more.")
        if not getattr(encoder, "splits_by_rows", True):
            raise ValueError(
                f"{type(encoder).__name__} cannot be split by rows: in training they depend on each other, "
                "or on the order of random draws. Call the encoder itself."
            )
        self.encoder = encoder
        self.encoders: list[nn.Module] = [encoder] * workers  # of each part
        self.workers = workers
        self._threads = OneThreadWorkers(workers, "voxid-rows", engine=torch)

    def __call__(self, feat_BTF: Tensor) -> Tensor:
        """Return emb_BD; all rows are valid to the last frame."""
        if not torch.is_grad_enabled():
            return torch.cat(self.forward_parts(feat_BTF, with_graph=False))
        parameters = [p for p in self.encoder.parameters() if p.requires_grad]
        return _SplitByRows.apply(self, feat_BTF, *parameters)  # pyright: ignore[reportReturnType]

    def close(self) -> None:
        """Stop the threads."""
        self._threads.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def forward_parts(self, feat_BTF: Tensor, with_graph: bool) -> list[Tensor]:
        """Return the embeddings of each part of the batch, each with its own graph."""

        device = feat_BTF.device.type
        autocast, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)

        def run(numbered: tuple[int, Tensor]) -> Tensor:
            number, part_BTF = numbered
            # both settings are a thread's own, so the caller's are carried over
            with torch.set_grad_enabled(with_graph), torch.autocast(device, dtype, enabled=autocast):
                return self.encoders[number](part_BTF)

        parts = feat_BTF.tensor_split(min(len(self.encoders), len(feat_BTF)))
        return list(self._threads.map(run, enumerate(parts)))

    def backward_parts(self, parts: list[Tensor], grad_BD: Tensor, parameters: list[Tensor]) -> list[Tensor]:
        """Return the gradient of every parameter, summed over the parts in their order."""

        def run(part_and_grad: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
            part_BD, grad_part_BD = part_and_grad
            return torch.autograd.grad(part_BD, parameters, grad_part_BD)

        grad_parts = grad_BD.split([len(part) for part in parts])
        grads = list(self._threads.map(run, zip(parts, grad_parts, strict=True)))
        return [torch.stack(of_parameter).sum(dim=0) for of_parameter in zip(*grads, strict=True)]


class PartThreads(RowThreads):
    """`RowThreads` for encoders with batch normalisation: every part has its own mean and variance.

    That is what processes with a part of the batch each do (data-parallel training without synchronised
    statistics), in one process. The gradient is that of the parts; their running means and variances are
    averaged by `finish`, after each step. `parts` decides the numbers, `workers` (None: as many as there are
    parts) only how many go side by side. Raise ValueError for an encoder with dropout: its threads would draw
    from the one random generator in turn.

    >>> encoder = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(6))
    >>> with PartThreads(encoder, parts=2) as encode:
    ...     outside = encode(torch.arange(24.0).reshape(4, 3, 2))
    ...     encode.finish()
    >>> outside[:, 0].round().tolist()  # each pair of rows is normalised by itself
    [-1.0, 1.0, -1.0, 1.0]
    """

    def __init__(self, encoder: nn.Module, parts: int, workers: int | None = None) -> None:
        if parts < 1:
            raise ValueError(f"PartThreads got {parts} parts; it needs 1 or more.")
        if any(isinstance(module, nn.Dropout) and module.p > 0 for module in encoder.modules()):
            raise ValueError(f"{type(encoder).__name__} has dropout and cannot be split into parts.")
        self.encoder = encoder
        self.workers = min(parts, workers or parts)
        shared = list(encoder.parameters())
        # deepcopy takes what is in its memo as copied already: parameters are shared, buffers are not
        copies = (copy.deepcopy(encoder, {id(p): p for p in shared}) for _ in range(parts - 1))
        self.encoders = [encoder, *copies]
        self._threads = OneThreadWorkers(self.workers, "voxid-parts", engine=torch)

    @torch.no_grad()
    def finish(self) -> None:
        """Give all parts the mean of their buffers; what is no float (a counter) is the first part's."""
        for first, *others in zip(*(encoder.buffers() for encoder in self.encoders), strict=True):
            if first.is_floating_point():
                first.copy_(torch.stack([first, *others]).mean(dim=0))
            for other in others:
                other.copy_(first)


class _SplitByRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, threads: RowThreads, feat_BTF: Tensor, *parameters: Tensor) -> Tensor:
        if feat_BTF.requires_grad:
            raise ValueError("RowThreads gives no gradient to the features. Call the encoder itself.")
        ctx.threads = threads
        ctx.parameters = list(parameters)
        ctx.parts = threads.forward_parts(feat_BTF, with_graph=True)
        return torch.cat([part.detach() for part in ctx.parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        grads = ctx.threads.backward_parts(ctx.parts, grad_outputs[0], ctx.parameters)
        del ctx.parts  # frees the graphs
        return (None, None, *grads)
