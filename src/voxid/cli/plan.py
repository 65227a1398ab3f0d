"""`voxid plan`."""

from __future__ import annotations

from typing import Annotated

import typer

from voxid.cli._common import JsonFlag, echo, emit


def plan(
    speakers: Annotated[float, typer.Option(help="People who will be enrolled: 1e8.")],
    qps: Annotated[float, typer.Option(help="Recordings to identify in a second.")] = 1.0,
    far: Annotated[float, typer.Option(help="False-alarm rate of one comparison of two people.")] = 1e-6,
    cores: Annotated[int, typer.Option(help="Cores of one machine.")] = 32,
    memory: Annotated[float, typer.Option(help="Memory of one machine, GB.")] = 128,
    json: JsonFlag = False,
) -> None:
    """Tell what it takes to identify one of very many people: machines, memory, and how often it errs.

    It computes with measured constants (`voxid/capacity.toml` names the command of each), and extrapolates.
    It says when the accuracy of the model is the limit, and not the hardware.

    Example: `voxid plan --speakers 1e8 --qps 500 --far 1e-6`
    """
    from voxid.capacity import plan as run

    found = run(speakers, qps=qps, far=far, cores=cores, memory_gb=memory)

    def text() -> None:
        echo(f"{speakers:,.0f} people, {qps:g} queries a second, machines of {cores} cores and {memory:g} GB")
        for way in found.ways:
            echo(
                f"{way.name}: {way.machines:,} machines, {way.memory_gb:,.1f} GB, {way.cores:,.1f} cores "
                f"busy, {way.query_core_ms:,.1f} ms of a core for a query, {way.build_h:,.2f} h to build or "
                f"load, the nearest found in {way.recall:.1%} at most"
            )
        echo(
            f"false matches of one query at {far:g}: {found.false_matches:,.4g} on average; "
            f"{found.miss:.0%} of enrolled people missed"
        )
        low, high = found.needed_miss[1:]
        echo(
            f"for one wrong answer in a hundred queries of strangers: {found.needed_far:.0e} a comparison, "
            f"and {found.needed_miss[0]:.0%} missed (95 %: {low:.0%} to {high:.0%})"
        )
        echo(f"The limit is {found.limit}")
        for note in found.notes:
            echo(f"note: {note}")

    emit(found.to_dict(), json, text)
