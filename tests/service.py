"""A real server process for tests: `voxid serve` on a free port, and a client for it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

STARTED_S = 120.0


class Serving:
    """`voxid serve` in a process of its own; `.http` is an httpx client of it."""

    def __init__(self, folder: Path, *options: str, env: dict[str, str] | None = None, key: str = "") -> None:
        self.db, self.log = f"sqlite:///{folder}/people.db", folder / "serve.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "voxid", "serve", "--port", "0", "--db", self.db, *options],
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self.url = self._address()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=120, verify=False)
        self._until(lambda: self.http.get("/health/ready").status_code == 200)

    def _address(self) -> str:
        found: list[str] = []
        self._until(lambda: found.extend(re.findall(r"voxid is at (\S+)", self.log.read_text())) or found)
        return found[0]

    def _until(self, done: Any) -> None:
        end = time.monotonic() + STARTED_S
        while time.monotonic() < end:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if done():
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(f"it did not start: {self.log.read_text()}")

    def stop(self, with_: signal.Signals = signal.SIGTERM) -> int:
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(with_)
        return self.process.wait(60)
