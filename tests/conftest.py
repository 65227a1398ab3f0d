"""Fixtures every test file shares: where the real speech is, and small synthetic recordings."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from matplotlib.figure import Figure
from stores_server import Server

# Torch reads this when it is imported. Test processes share the machine, and threads that wait for each
# other on busy cores take ten times as long as one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The one profile of every property test: the same examples each time, and no clock, so that a busy machine
# finds what a quiet one finds. A test's own `settings` say only how many examples it wants.
settings.register_profile(
    "voxid", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("voxid")

# A shell that starts tests in the background lets them ignore Ctrl-C, and with them all that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent


def find_real_data() -> Path | None:
    """Return the folder of real speech: VOXID_DATA, else ../shared/data beside the checkout, else None."""
    if named := os.environ.get("VOXID_DATA"):
        return Path(named)
    beside = REPOSITORY.parent / "shared" / "data"
    return beside if beside.is_dir() else None


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Prepared folders and embeddings of the tests go here, never into the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VOXID_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real speech; the test is skipped, saying so, where there is none."""
    folder = find_real_data()
    if folder is None:
        pytest.skip("no real speech: set VOXID_DATA, or put it in ../shared/data")
    return folder


@pytest.fixture(scope="session")
def seed_dir(real_data: Path) -> Path:
    """The folder of the original system's published checkpoints, beside the real speech."""
    folder = real_data.parent / "seed"
    if not folder.is_dir():
        pytest.skip("no published checkpoints: expected a folder 'seed' beside the real speech")
    return folder


BLANK = {  # a picture without anything in it
    "png": bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
        "1f15c4890000000a49444154789c6300010000050001a5f645400000000049454e44ae426082"
    ),
    "svg": '<svg viewBox="0 0 1 1"><g id="blank"/></svg>',
}


def _write_blank(figure: Figure, file: Any, *, format: str = "png", **_: Any) -> None:
    if isinstance(file, str | os.PathLike):
        Path(file).write_bytes(BLANK["png"])
    else:
        file.write(BLANK[format])


@pytest.fixture(scope="session", autouse=True)
def blank_figures() -> Iterator[Callable[..., None]]:
    """Figures are made and not drawn: drawing is four fifths of a small training, and half an evaluation.

    Tests of what figures show ask for `real_figures`.
    """
    with pytest.MonkeyPatch.context() as patch:
        drawing = Figure.savefig
        patch.setattr(Figure, "savefig", _write_blank)
        yield drawing


@pytest.fixture(scope="module")
def real_figures(blank_figures: Callable[..., None]) -> Iterator[None]:
    """From here to the end of the file, figures are drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", blank_figures)
        yield


@pytest.fixture(scope="session")
def traced_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tracing takes seconds, and nearly all of an export; the same modules are traced once for all tests."""
    import onnx
    import torch

    from voxid.export import graphs

    base = tmp_path_factory.getbasetemp()  # each test process has its own, in one folder
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "traced"
    folder.mkdir(exist_ok=True)
    honest = graphs._traced

    def traced(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], *rest: Any) -> onnx.ModelProto:
        weights = [(name, value.numpy().tobytes()) for name, value in module.state_dict().items()]
        features = getattr(module, "features", None)
        shapes = [tuple(tensor.shape) for tensor in inputs]
        key = str((str(module), weights, features and features.config, shapes, rest))
        path = folder / hashlib.sha256(key.encode()).hexdigest()
        with path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # one process traces, and the others wait for it
            if not path.stat().st_size:
                file.write(honest(module, inputs, *rest).SerializeToString())
                file.flush()
            return onnx.ModelProto.FromString(path.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "_traced", traced)
        yield


@pytest.fixture(scope="module")
def without_pieces() -> Iterator[None]:
    """Exports lack the graphs for long recordings in pieces, half of what a test would trace."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("voxid.export.trace_pieces", lambda *_: None)
        yield


@pytest.fixture
def without_root() -> Callable[[], AbstractContextManager[None]]:
    """A context manager in which permissions bind even a test that runs as root."""

    @contextmanager
    def bound() -> Iterator[None]:
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)  # nobody
        try:
            yield
        finally:
            if is_root:
                os.seteuid(0)

    return bound


@pytest.fixture
def tone() -> np.ndarray:
    """One second of a 220 Hz buzz with some noise, float32 at 16 kHz: loud enough not to be silence."""
    rng = np.random.default_rng(0)
    t = np.arange(16_000) / 16_000
    return (0.3 * np.sign(np.sin(2 * np.pi * 220 * t)) + 0.01 * rng.standard_normal(t.size)).astype(
        np.float32
    )


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server with pgvector, of these tests alone."""
    server = Server()
    yield server
    server.close()
