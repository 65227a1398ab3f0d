"""`voxid plan`: arithmetic from measured constants, checked by hand."""

from __future__ import annotations

import json
import math

import pytest
from typer.testing import CliRunner

from voxid.capacity import constants, plan
from voxid.cli import build_app
from voxid.errors import BadConfig


def test_a_plan_is_the_arithmetic_of_its_constants() -> None:
    known = constants()
    found = plan(1e6, qps=100, far=1e-6, cores=32, memory_gb=128)
    ways = {way.name: way for way in found.ways}
    held = ways["in memory, int8"]
    query_s = known["embed"]["core_s"] + known["in_memory"]["core_s_per_million"]
    assert held.query_core_ms == pytest.approx(1e3 * query_s, abs=0.1)
    assert held.cores == pytest.approx(100 * query_s, abs=0.1)
    assert held.memory_gb == pytest.approx(0.216, abs=0.005)
    assert held.machines == 1  # 12 cores of the 19 that may be busy
    low, *_, high = known["pgvector"]["rows"]
    [index] = [way for way in found.ways if way.name.startswith("PostgreSQL")]
    embed_ms = 1e3 * known["embed"]["core_s"]
    assert index.query_core_ms == pytest.approx(embed_ms + high["core_ms"], abs=0.1)
    assert index.recall == high["recall"]
    few = next(way for way in plan(2e4, qps=100).ways if way.name == index.name)
    assert embed_ms + low["core_ms"] < few.query_core_ms < index.query_core_ms
    assert few.recall == known["pgvector"]["rows"][1]["recall"]  # the next larger that was measured
    wider = plan(1e7, qps=100, memory_gb=1024)  # a straight line in logarithms, from the first to the last
    slope = math.log(high["core_ms"] / low["core_ms"]) / math.log(high["people"] / low["people"])
    index = next(way for way in wider.ways if way.name == index.name)
    assert index.query_core_ms == pytest.approx(embed_ms + high["core_ms"] * 10**slope, abs=0.1)
    assert any("extrapolated from 1,000,000" in note for note in wider.notes)
    assert found.false_matches == pytest.approx(1.0)
    assert found.needed_far == pytest.approx(1e-8)
    [row] = [row for row in known["misses"]["rows"] if row["far"] == 1e-8]
    assert found.needed_miss == pytest.approx((row["miss"], row["low"], row["high"]))
    assert not found.notes


def test_the_model_or_the_hardware_is_the_limit() -> None:
    assert plan(30, qps=5, far=1e-4).limit == "the hardware: 1 machines of 32 cores and 128 GB"
    huge = plan(1e8, qps=500, far=1e-6)
    assert huge.limit.startswith("the accuracy of the model, not the hardware")
    assert huge.false_matches == pytest.approx(100)
    for wrong in ({"qps": 0}, {"far": 0}, {"far": 2}, {"cores": 0}):
        with pytest.raises(BadConfig, match="goes from"):
            plan(**{"people": 1e6, "qps": 1.0, **wrong})


def test_the_command() -> None:
    asked = ["plan", "--speakers", "1e8", "--qps", "500", "--far", "1e-6"]
    said = CliRunner().invoke(build_app("plan"), asked).output
    assert "100,000,000 people, 500 queries a second" in said
    assert "The limit is the accuracy of the model" in said
    found = json.loads(CliRunner().invoke(build_app("plan"), [*asked, "--json"]).output)
    assert found["false_matches"] == pytest.approx(100)
    assert len(found["ways"]) == 2
