"""Forward, backward and update of a recipe's encoder on random features: ways to compute it, side by side.

    python -m benchmarks.lstm_compute [--encoder lstm|transformer] [--rounds 15] [--workers 2]

The variants take turns within one run, so that a busy machine slows all alike; medians are printed. "plain"
is torch as it comes; the gradient column is the largest difference from plain's over the largest gradient.
Processor time, summed over the threads, tells the work apart from waiting for a core.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from voxid.encoders import ENCODERS
from voxid.encoders.threads import RowThreads
from voxid.losses.triplet import TripletConfig, TripletLoss

ROWS, FRAMES, FEATURES = 24, 100, 40  # 8 triplets of 100-frame windows: the original's batch


class Variant:
    """One way to compute a training step, with its own copy of the encoder."""

    def __init__(
        self,
        encoder: nn.Module,
        threads: int,
        encode: Callable[[nn.Module], Callable[[Tensor], Tensor]] = lambda encoder: encoder,
        fused: bool = False,
        bf16: bool = False,
        parts: int = 1,
    ) -> None:
        self.encoder = copy.deepcopy(encoder)
        self.encode = encode(self.encoder)
        self.optimizer = torch.optim.Adam(self.encoder.parameters(), lr=1e-4, fused=fused)
        self.loss = TripletLoss(TripletConfig(), 1, 2)
        self.threads, self.bf16, self.parts = threads, bf16, parts

    def gradients(self, feat_BTF: Tensor, labels_B: Tensor) -> Tensor:
        torch.set_num_threads(self.threads)
        self.optimizer.zero_grad()
        pieces = zip(feat_BTF.chunk(self.parts), labels_B.chunk(self.parts), strict=True)
        for feat, labels in pieces:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                emb_BD = self.encode(feat)
            (self.loss(emb_BD.float(), labels) / self.parts).backward()
        return torch.cat([p.grad.flatten() for p in self.encoder.parameters() if p.grad is not None])

    def step(self, feat_BTF: Tensor, labels_B: Tensor) -> None:
        self.gradients(feat_BTF, labels_B)
        self.optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", choices=ENCODERS.names(), default="lstm")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    options = {"name": arguments.encoder}
    if arguments.encoder == "transformer":
        options["dropout"] = 0.0  # random masks cannot be compared, nor drawn by several threads in order
    cls, config = ENCODERS.parse(options)
    encoder = cls(config, FEATURES)
    feat_BTF = torch.randn(ROWS, FRAMES, FEATURES)
    labels_B = torch.tensor([0, 0, 1] * (ROWS // 3))
    workers = arguments.workers

    with ExitStack() as stack:

        def by_rows(module: nn.Module) -> RowThreads:
            return stack.enter_context(RowThreads(module, workers))

        variants = {
            f"plain, {workers} threads": Variant(encoder, workers),
            "plain, 1 thread": Variant(encoder, 1),
            "fused Adam, 1 thread": Variant(encoder, 1, fused=True),
            "4 parts after each other, 1 thread": Variant(encoder, 1, fused=True, parts=4),
            f"RowThreads, {workers} workers": Variant(encoder, 1, by_rows),
            f"RowThreads, {workers} workers, fused Adam": Variant(encoder, 1, by_rows, fused=True),
            "bf16 autocast, 1 thread, fused Adam": Variant(encoder, 1, fused=True, bf16=True),
            f"bf16 autocast, {workers} threads, fused Adam": Variant(encoder, workers, fused=True, bf16=True),
            f"bf16 autocast, RowThreads, {workers} workers, fused Adam": Variant(
                encoder, 1, by_rows, fused=True, bf16=True
            ),
        }
        gradients = {name: variant.gradients(feat_BTF, labels_B) for name, variant in variants.items()}
        seconds: dict[str, list[float]] = {name: [] for name in variants}
        processor: dict[str, list[float]] = {name: [] for name in variants}
        for _ in range(arguments.rounds):
            for name, variant in variants.items():
                variant.step(feat_BTF, labels_B)  # not counted: the last variant's threads may still spin
                for _ in range(2):
                    start, start_processor = time.perf_counter(), time.process_time()
                    variant.step(feat_BTF, labels_B)
                    seconds[name].append(time.perf_counter() - start)
                    processor[name].append(time.process_time() - start_processor)

    plain, *_ = (statistics.median(values) for values in seconds.values())
    reference, *_ = gradients.values()
    print("| variant | step/s | ratio to plain | best step/s | processor ms a step | gradient difference |")
    print("|---|---|---|---|---|---|")
    for name, values in seconds.items():
        median, work_ms = statistics.median(values), 1000 * statistics.median(processor[name])
        off = ((gradients[name] - reference).abs().max() / reference.abs().max()).item()
        rates = f"{1 / median:.1f} | {plain / median:.2f} | {1 / min(values):.1f}"
        print(f"| {name} | {rates} | {work_ms:.0f} | {off:.0e} |")


if __name__ == "__main__":
    main()
