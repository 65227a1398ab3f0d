"""Bulk embedding on a Ray cluster: actors that hold the model go through the parts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import voxid.embed.parts as parts
from voxid.embed import load
from voxid.embed.embedder import Embedder
from voxid.errors import missing_extra

try:
    import ray  # pyright: ignore[reportMissingImports]
    import ray.data  # pyright: ignore[reportMissingImports]
except ModuleNotFoundError as error:
    raise missing_extra(error) or error from error


def embed_on_ray(
    model: str,
    paths: list[str],
    out: str | os.PathLike[str],
    *,
    address: str | None = None,
    workers: tuple[int, int] | None = None,
    layout: str = "auto",
    mode: str | None = None,
    vad: str = "energy",
    device: str = "cpu",
    part: int = int(os.environ.get("VOXID_PART", parts.PART)),
) -> dict[str, Any]:
    """Embed all recordings under `paths` into Parquet files in `out`, which every worker has to reach.

    `address` is that of the cluster ("auto", "ray://host:10001"); None starts one here. `workers` are the
    fewest and the most actors with the model (default: 1 to the CPUs, or the GPUs). An actor takes one CPU,
    on which it decodes, too; or one GPU, for which tasks on CPUs decode. The same call goes on where one was
    stopped, by whatever. Return counts: inputs, embedded, errors, parts made by this call.

    Raise RunExists, a CorpusError, UnknownModel, MissingExtra.

    >>> embed_on_ray("voxid-base", ["s3://calls/2026"], "/mnt/shared/calls", address="auto")  # doctest: +SKIP
    {'inputs': 1000000, 'embedded': 998822, 'errors': 1178, 'made': 3907}
    """
    folder = Path(out).absolute()
    fingerprint = load(model, device="cpu", mode=mode).fingerprint
    about = {"model": fingerprint, "mode": mode, "vad": vad}
    count = parts.plan(folder, [_absolute(path) for path in paths], about, layout=layout, part=part)
    missing = parts.missing_parts(folder, count)
    if missing:
        if not ray.is_initialized():
            ray.init(address, log_to_driver=False)
        gpu = device.startswith("cuda")
        most = int(ray.cluster_resources().get("GPU" if gpu else "CPU", 1))
        low, high = workers or (1, max(1, most))

        def decode(row: dict[str, Any]) -> dict[str, Any]:
            return {**row, "found": parts.decode_part(folder, int(row["item"]), vad)}

        class EmbeddingActor:
            def __init__(self) -> None:
                network = load(model, device=device, mode=mode).network
                self.embedder = Embedder(network, workers=None if gpu else 1)

            def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
                number = int(row["item"])
                found = row["found"] if gpu else parts.decode_part(folder, number, vad)
                return {"embedded": parts.embed_part(self.embedder, folder, number, found)}

        work = ray.data.from_items(missing, override_num_blocks=len(missing))
        if gpu:  # other processors decode ahead of it
            work = work.map(decode, num_cpus=1, max_retries=-1)
        start = min(high, max(low, len(missing)))
        pool = ray.data.ActorPoolStrategy(min_size=low, max_size=high, initial_size=start)
        held = {"num_gpus": 1} if gpu else {"num_cpus": 1}
        work = work.map(EmbeddingActor, compute=pool, **held, max_restarts=-1, max_task_retries=-1)
        for _ in work.iter_rows():
            pass
    embedded = sum(len(some["utterance"]) for some in parts.read_answers(folder))
    inputs = parts.inputs_of(folder)
    return {"inputs": inputs, "embedded": embedded, "errors": inputs - embedded, "made": len(missing)}


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())
