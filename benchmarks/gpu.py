"""Check a GPU in under ten minutes: does CUDA give the CPU's numbers, bf16 too, how fast, and how busy is it?

    python -m benchmarks.gpu [--encoders lstm,ecapa] [--seconds 8]

For each encoder: the largest difference of a batch's embeddings and of its gradients between cuda and cpu
(float32, TF32 off); the smallest cosine between embeddings in bf16 and in float32; then training steps for
`--seconds` in bf16, with the batch doubled as long as memory lasts and speed grows: crops (2 s) a second,
the share of the time that the GPU was busy (nvidia-smi), and the most memory that torch held. Exit code 1
where a number is off. Ends with 2 where there is no GPU.
"""

from __future__ import annotations

import argparse
import copy
import subprocess
import sys
import threading
from time import perf_counter

import torch

from voxid.encoders import ENCODERS
from voxid.losses.margins import AamLoss, MarginConfig
from voxid.training.step import Stepper

FRAMES, FEATURES, CLASSES = 200, 80, 5_000
LARGEST, LEAST_COSINE = 2e-3, 0.999  # of embeddings of unit length; in 16 bits
MOST_ROWS = 4_096


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    cls, config = ENCODERS.parse({"name": name}, "encoder")
    return cls(config, FEATURES)


def embed_and_pull(encoder: torch.nn.Module, feat_BTF: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return unit embeddings and the gradient of their first numbers, both on the CPU."""
    encoder.zero_grad(set_to_none=True)
    emb_BD = torch.nn.functional.normalize(encoder(feat_BTF).float())
    emb_BD[:, 0].sum().backward()
    grads = [p.grad.reshape(-1) for p in encoder.parameters() if p.grad is not None]
    return emb_BD.detach().cpu(), torch.cat(grads).cpu()


class Busy:
    """The mean of nvidia-smi's utilisation while the block ran, %."""

    def __enter__(self) -> Busy:
        self.seen: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        ask = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not self._stop.wait(0.3):
            self.seen.append(float(subprocess.check_output(ask, text=True).split()[0]))

    @property
    def percent(self) -> float:
        return sum(self.seen) / len(self.seen) if self.seen else float("nan")


def speed(name: str, rows: int, seconds: float) -> tuple[float, float, float]:
    """Return crops a second, % busy and GB of training steps in bf16."""
    encoder = build(name).cuda().train()
    loss = AamLoss(MarginConfig(), encoder.dim, CLASSES).cuda()
    adam = torch.optim.Adam([*encoder.parameters(), *loss.parameters()], fused=True)
    feat_BTF = torch.randn(rows, FRAMES, FEATURES, device="cuda")
    labels_B = torch.randint(CLASSES, (rows,), device="cuda")
    torch.cuda.reset_peak_memory_stats()
    with Stepper(encoder, loss, adam, bf16=True) as step:
        for _ in range(3):
            step(feat_BTF, labels_B)
        torch.cuda.synchronize()
        begin, steps = perf_counter(), 0
        with Busy() as busy:
            while perf_counter() - begin < seconds:
                step(feat_BTF, labels_B)
                steps += 1
                torch.cuda.synchronize()
        took = perf_counter() - begin
    return steps * rows / took, busy.percent, torch.cuda.max_memory_allocated() / 1e9


def fastest(name: str, seconds: float) -> str:
    best, rows = (0.0, 0.0, 0.0), 64
    found = rows
    while rows <= MOST_ROWS:
        try:
            now = speed(name, rows, seconds / 4)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        if now[0] < 1.05 * best[0]:
            break
        best, found, rows = now, rows, 2 * rows
    crops, busy, held = speed(name, found, seconds)
    return f"{found:>6} {crops:>9,.0f} {busy:>6.0f} {held:>7.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoders", default=",".join(ENCODERS.names()))
    parser.add_argument("--seconds", type=float, default=8.0)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU: torch.cuda.is_available() is False", file=sys.stderr)
        return 2
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    print("encoder            emb     grad  cos bf16   rows   crops/s  busy %     GB")
    wrong = False
    for name in arguments.encoders.split(","):
        encoder = build(name).eval()
        feat_BTF = torch.randn(8, FRAMES, FEATURES)
        emb_BD, grad = embed_and_pull(encoder, feat_BTF)
        on_gpu = copy.deepcopy(encoder).cuda()
        with torch.backends.cudnn.flags(enabled=True, deterministic=True):
            on_gpu.train(any(isinstance(m, torch.nn.LSTM) for m in on_gpu.modules()))  # cudnn wants it so
            other_BD, other = embed_and_pull(on_gpu, feat_BTF.cuda())
        with torch.autocast("cuda", torch.bfloat16), torch.no_grad():
            half_BD = torch.nn.functional.normalize(on_gpu.eval()(feat_BTF.cuda()).float()).cpu()
        off = float((emb_BD - other_BD).abs().max())
        pull = float((grad - other).norm() / grad.norm())
        cosine = float((half_BD * emb_BD).sum(dim=1).min())
        bad = off > LARGEST or pull > 10 * LARGEST or cosine < LEAST_COSINE
        wrong |= bad
        print(
            f"{name:<14} {off:>8.1e} {pull:>8.1e} {cosine:>9.5f} {fastest(name, arguments.seconds)}"
            f"{'  OFF' if bad else ''}",
            flush=True,
        )
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
