"""Files are whole or not there at all; what is no file is written into, and stays what it is."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from voxid.errors import DiskFull
from voxid.files import atomic_write


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize("mode", ["wb", "w"])
def test_a_pipe_is_written_into_and_stays_one(pipe: Path, mode: str) -> None:
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    with atomic_write(pipe, mode) as file:
        file.write(b"all of it" if mode == "wb" else "all of it")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    reader.join(200)
    assert got == [b"all of it"]
    assert [path.name for path in pipe.parent.iterdir()] == ["pipe"]


def test_a_device_that_is_full_says_so(tmp_path: Path) -> None:
    link = tmp_path / "full"  # a link, so that a failing test costs no device
    link.symlink_to("/dev/full")
    if not link.is_char_device():
        pytest.skip("no /dev/full here")
    with pytest.raises(DiskFull, match="no room to write"), atomic_write(link) as file:
        file.write(b"x" * 100)
    assert link.is_symlink()
    assert link.is_char_device()


def test_a_failure_leaves_the_old_file(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_text("old")

    def fail() -> None:
        with atomic_write(kept, "w") as file:
            file.write("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert kept.read_text() == "old"
    assert list(tmp_path.iterdir()) == [kept]
