"""What it takes to identify one of very many people: machines, memory, and how often somebody is mistaken.

The constants are measured; `capacity.toml` keeps each with the command that measured it. Between and beyond
measured points, logarithms are drawn as straight lines.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import asdict, dataclass, field
from importlib.resources import files
from typing import Any

import numpy as np

from voxid.errors import BadConfig

BUSY = 0.6  # of a machine's cores and memory, at most: the rest is for bursts and for the system
WRONG = 0.01  # strangers taken for somebody, of all queries: what `needed_far` is for


@dataclass(frozen=True)
class Way:
    """One way to search: so many machines, so much memory in all, so many cores busy, so long to build."""

    name: str
    machines: int
    memory_gb: float
    cores: float
    query_core_ms: float  # of one query, embedding included
    build_h: float
    recall: float  # how often the nearest person is the first found, at most: of the next larger measured
    measured_to: float  # people; beyond it, this is extrapolated


@dataclass(frozen=True)
class Capacity:
    """The answer of `plan`. Rates are of one comparison (`far`) or of one query (`false_matches`).

    >>> print(plan(1e6, qps=50, far=1e-6).limit[:31])
    the accuracy of the model, not
    """

    people: float
    qps: float
    far: float
    ways: list[Way]
    false_matches: float  # strangers who pass the threshold, of one query, on average
    miss: float  # at `far`: of recordings of people who are enrolled
    needed_far: float  # for one wrong answer in a hundred queries of strangers
    needed_miss: tuple[float, float, float]  # at `needed_far`: the value, and 95 % of resampled speakers
    limit: str
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def plan(
    people: float, *, qps: float, far: float = 1e-6, cores: int = 32, memory_gb: float = 128
) -> Capacity:
    """Return what identifying one of `people`, `qps` times a second, takes on machines of that size.

    `far` is the rate at which one comparison of two people passes. Raise BadConfig.

    >>> found = plan(1e8, qps=500, far=1e-6)
    >>> round(found.false_matches), found.ways[0].name
    (100, 'PostgreSQL, pgvector halfvec HNSW')
    """
    for name, value, low, high in (
        ("people", people, 1, 1e11), ("qps", qps, 0, 1e7), ("far", far, 1e-15, 1),
        ("cores", cores, 1, 1024), ("memory_gb", memory_gb, 1, 65536),
    ):  # fmt: skip
        if not (math.isfinite(value) and low <= value <= high) or (name == "qps" and value == 0):
            raise BadConfig(f"{name} goes from {low:g} to {high:g}; got {value!r}.")
    known, size = constants(), (people, qps, cores, memory_gb)
    ways = sorted((_in_memory(known, *size), _in_postgres(known, *size)), key=lambda way: way.machines)
    needed, rows = WRONG / people, known["misses"]["rows"]
    miss = _miss(rows, "miss", far)
    missed, low, high = (_miss(rows, key, needed) for key in ("miss", "low", "high"))
    limit = f"the hardware: {ways[0].machines} machines of {cores} cores and {memory_gb:g} GB"
    if missed > 0.5 or people * far > 1:
        limit = (
            "the accuracy of the model, not the hardware: for one wrong answer in a hundred queries of "
            f"strangers a comparison may pass at {needed:.0e}, and there {missed:.0%} of the people who are "
            "enrolled are missed. Narrow the search (a claimed name, a region, a collection), ask for more "
            "speech, or let a person look at the nearest few."
        )
    notes = [
        f"{w.name}: extrapolated from {w.measured_to:,.0f} people" for w in ways if people > w.measured_to
    ]
    return Capacity(people, qps, far, ways, people * far, miss, needed, (missed, low, high), limit, notes)


def constants() -> dict[str, Any]:
    """Return the measured constants, as `capacity.toml` holds them."""
    return tomllib.loads(files("voxid").joinpath("capacity.toml").read_text("utf-8"))


def _in_memory(known: dict[str, Any], people: float, qps: float, cores: int, memory_gb: float) -> Way:
    one = known["in_memory"]
    held_gb = people * one["bytes_per_person"] / 1e9
    query_s = known["embed"]["core_s"] + one["core_s_per_million"] * people / 1e6
    machines = max(math.ceil(held_gb / (BUSY * memory_gb)), math.ceil(qps * query_s / (BUSY * cores)), 1)
    load_h = people * one["load_core_s_per_million"] / 1e6 / cores / machines / 3600
    return Way(
        "in memory, int8", machines, round(held_gb, 2), round(qps * query_s, 1), round(1e3 * query_s, 1),
        round(load_h, 3), 1.0, one["measured_to"],
    )  # fmt: skip


def _in_postgres(known: dict[str, Any], people: float, qps: float, cores: int, memory_gb: float) -> Way:
    one = known["pgvector"]
    rows = one["rows"]
    recall = next((row for row in rows if row["people"] >= people), rows[-1])["recall"]
    held_gb = people * one["bytes_per_person"] / 1e9
    parts = max(1, math.ceil(held_gb / (BUSY * memory_gb)))  # each holds one in memory, and all are asked
    here = people / parts
    search_s = _line(rows, "core_ms", here) / 1e3 * parts
    query_s = known["embed"]["core_s"] + search_s
    machines = max(parts, math.ceil(qps * query_s / (BUSY * cores)))
    build_h = _line(rows, "build_core_s", here) / 3600
    return Way(
        "PostgreSQL, pgvector halfvec HNSW", machines, round(held_gb, 2), round(qps * query_s, 1),
        round(1e3 * query_s, 1), round(build_h, 2), recall,
        rows[-1]["people"],
    )  # fmt: skip


def _line(rows: list[dict[str, float]], key: str, people: float) -> float:
    """Return the value at `people` between the rows' logarithms, beyond as from first to last."""
    size, value = (np.log([row[name] for row in rows]) for name in ("people", key))
    slope, here = (value[-1] - value[0]) / (size[-1] - size[0]), math.log(people)
    return math.exp(np.interp(here, size, value) + slope * max(0.0, here - size[-1]))


def _miss(rows: list[dict[str, float]], key: str, far: float) -> float:
    """Return the share of misses at `far`, on a line over its logarithm between measured rates."""
    rising = rows[::-1]
    fars = [math.log(row["far"]) for row in rising]
    return float(np.interp(math.log(far), fars, [row[key] for row in rising]))
