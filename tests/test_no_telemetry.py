"""Nothing is sent, and nothing is written that nobody asked for: onnxruntime's telemetry stays off.

As soon as it is imported, its Linux wheel writes a device id under the cache folder and opens a socket;
after some 25 s it looks up its maker's host.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EMBED = """
import numpy as np, voxid
noise = np.random.default_rng(0).uniform(-0.1, 0.1, 32_000).astype(np.float32)
voxid.load("voxid-base").embed((noise, 16_000))
"""
SEARCH = "from voxid.recognizer import scan; scan._session(scan.INT8_PRODUCT)"
QUANTIZE = "import voxid.export.quantizing"
PROCESS = """
import multiprocessing, voxid.stores
multiprocessing.set_start_method("spawn")
with multiprocessing.Pool(1) as pool:
    pool.apply(exec, ("import onnxruntime",))
"""
STRACE = shutil.which("strace")


def traces_of(code: str, home: Path) -> tuple[list[str], list[str]]:
    """Run code with an empty home; return the files written there, and the sockets opened, as strace saw."""
    trace = home.parent / "trace"
    watch = [STRACE, "-f", "-qq", "-e", "trace=socket,connect", "-o", trace] if STRACE else []
    homes = {name: str(home) for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
    environment = {**os.environ, **homes}
    environment.pop("ORT_DISABLE_TELEMETRY", None)  # a parent that imported voxid would have set it
    subprocess.run([*map(str, watch), sys.executable, "-c", code], env=environment, check=True)
    written = [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]
    lines = trace.read_text().splitlines() if STRACE else []
    return written, [line for line in lines if "socket(" in line or "connect(" in line]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "home"
    made.mkdir()
    return made


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(EMBED, id="embed"),
        pytest.param(SEARCH, id="search"),
        pytest.param(QUANTIZE, id="int8", marks=pytest.mark.slow),
        pytest.param(PROCESS, id="spawn"),
    ],
)
def test_no_path_to_onnxruntime_writes_a_file_or_opens_a_socket(code: str, home: Path) -> None:
    assert traces_of(code, home) == ([], [])


@pytest.mark.slow
@pytest.mark.skipif(STRACE is None, reason="needs strace")
def test_a_process_of_half_a_minute_looks_up_no_host(home: Path) -> None:
    assert traces_of(EMBED + "import time; time.sleep(30)", home) == ([], [])
