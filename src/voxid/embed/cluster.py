"""Bulk embedding on a Ray cluster: tasks on CPUs decode the parts, actors that hold the model embed them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import voxid.embed.parts as parts
from voxid.embed import load
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
    fewest and the most actors with the model (default: 1 to the CPUs, or the GPUs). The same call goes on
    where one was stopped, by whatever. Return counts: inputs, embedded, errors, parts made by this call.

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
        low, high = workers or (1, max(1, most if gpu else most - 1))

        def decode(row: dict[str, Any]) -> dict[str, Any]:
            return {"number": row["item"], "found": parts.decode_part(folder, int(row["item"]), vad)}

        class Model:
            def __init__(self) -> None:
                self.embedder = load(model, device=device, mode=mode)

            def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
                number = int(row["number"])
                return {"embedded": parts.embed_part(self.embedder, folder, number, row["found"])}

        forever = {"max_retries": -1}
        work = ray.data.from_items(missing, override_num_blocks=len(missing)).map(
            decode, num_cpus=1, **forever
        )
        again = {"max_restarts": -1, "max_task_retries": -1}
        work = work.map(
            Model, compute=ray.data.ActorPoolStrategy(min_size=low, max_size=high),
            num_cpus=0 if gpu else 1, num_gpus=1 if gpu else 0, **again,
        )  # fmt: skip
        for _ in work.iter_rows():
            pass
    embedded = sum(len(some["utterance"]) for some in parts.read_answers(folder))
    inputs = parts.inputs_of(folder)
    return {"inputs": inputs, "embedded": embedded, "errors": inputs - embedded, "made": len(missing)}


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())
