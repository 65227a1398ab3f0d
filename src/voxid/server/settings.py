"""Every setting of the service, by command line, environment (VOXID_SERVE_...) or a TOML file."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from voxid.config import Config
from voxid.errors import BadConfig

PREFIX = "VOXID_SERVE_"
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Names = Annotated[
    tuple[str, ...],  # text has commas between them
    BeforeValidator(lambda given: given.replace(",", " ").split() if isinstance(given, str) else given),
]


class Settings(Config):
    """How the service runs. Seconds, megabytes (10^6 bytes) and counts."""

    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(8000, ge=0, le=65_535, description="The port; 0 takes a free one.")
    db: str = Field("sqlite:///voxid.db", description="Where people and keys are kept: the URL of a store.")
    model: str = Field("voxid-base", description="A shipped model, or a calibrated model folder.")
    device: str = Field("cpu", description="Where to compute: cpu, cuda, mps, or auto.")
    vad: str = Field("energy", description="What finds speech: energy, or silero (extra vad).")
    workers: Count = Field(1, description="Processes that answer; they share the store.")
    keys: bool | None = Field(
        None, description="Whether requests need a key; if not set: unless the address is loopback."
    )
    proxy: bool = Field(False, description="A proxy in front does TLS. Keys are needed then, too.")
    tls_cert: str | None = Field(None, description="File of the certificate (PEM).")
    tls_key: str | None = Field(None, description="File of its private key (PEM).")
    hosts: Names = Field((), description="Names of this host that requests without a key may use.")
    prior: float | None = Field(None, gt=0, lt=1, description="Probability of 'same speaker' beforehand.")
    cost_miss: float | None = Field(None, gt=0, description="What a wrong 'no' costs.")
    cost_false_alarm: float | None = Field(None, gt=0, description="What a wrong 'yes' costs.")
    far: float | None = Field(None, gt=0, lt=1, description="In place of costs: the false-alarm rate.")
    least_speech_s: float = Field(1.0, ge=0, description="Net speech that a recording needs.")
    wanted_speech_s: float = Field(20.0, ge=0, description="Net speech that makes somebody enrolled.")
    body_mb: Positive = Field(32.0, description="Most that one request may bring.")
    bodies_mb: Positive = Field(256.0, description="Most that all requests together may hold.")
    body_s: Positive = Field(30.0, description="Time in which a request has to arrive.")
    files: Count = Field(50, description="Most recordings in one request.")
    audio_s: float = Field(600.0, gt=0, le=36_000, description="Longest recording.")
    decoders: Count = Field(2, description="Processes that decode.")
    decode_s: Positive = Field(10.0, description="Time in which a recording has to be decoded.")
    decode_mb: Positive = Field(1500.0, description="Memory of a process that decodes.")
    queue_s: Positive = Field(120.0, description="Seconds of audio that may wait for an answer.")
    company_ms: float = Field(2.0, ge=0, le=5, description="Longest wait for recordings of the same length.")
    deadline_s: Positive = Field(30.0, description="Time in which a request has to be answered.")
    live: Count = Field(50, description="Live connections at once.")
    rate: Positive = Field(600.0, description="Requests a minute of one key, in each process.")
    memory: str = Field("2GB", description="Memory that the people of one collection may take.")
    shutdown_s: Positive = Field(30.0, description="Time to finish what was accepted.")
    log: str = Field("info", pattern="^(debug|info|warning|error)$", description="What is logged.")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the service."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def keyed(self) -> bool:
        """Whether requests need a key."""
        return self.keys if self.keys is not None else self.proxy or not self.loopback


def read_settings(
    given: Mapping[str, Any], file: str | os.PathLike[str] | None = None, env: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings: what is `given` (None: not given), else the environment, else the file, else ours.

    Raise BadConfig that names the setting.
    """
    found: dict[str, Any] = {}
    if file is not None:
        try:
            found |= tomllib.loads(Path(file).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise BadConfig(f"the settings in {file} cannot be read ({error}). Give a TOML file.") from None
    own = {name.removeprefix(PREFIX).lower(): value for name, value in env.items() if name.startswith(PREFIX)}
    return Settings.parse(
        found | own | {name: value for name, value in given.items() if value is not None}, "serve"
    )


def as_toml(settings: Settings) -> str:
    """Return the settings as a TOML file, each with what it means and its environment variable."""
    lines = []
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        text = f"# {name} =" if value is None else f"{name} = {json.dumps(value, ensure_ascii=False)}"
        lines += [f"# {field.description} ({PREFIX}{name.upper()})", text, ""]
    return "\n".join(lines)
