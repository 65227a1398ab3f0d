"""What stands in deploy/ fits the program: names of settings, and what nginx says of its file."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from voxid.server.settings import PREFIX, Settings

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"


def test_settings_named_in_deploy_and_docs_exist() -> None:
    text = "".join(path.read_text() for path in [*DEPLOY.iterdir(), ROOT / "docs" / "service.md"])
    named = set(re.findall(rf"\b{PREFIX}(\w+)", text))
    assert named >= {"PROXY", "HOST", "DB", "QUEUE_S"}
    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_the_image_is_built_from_what_the_dockerfile_copies() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(" ".join(copied).split()) == sorted(kept)
    assert all((ROOT / name).exists() for name in kept)


@pytest.mark.skipif(
    not (shutil.which("nginx") and shutil.which("openssl")), reason="no nginx here: apt-get install nginx"
)
def test_nginx_takes_its_file(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=x -keyout {key} -out {certificate}"
    subprocess.run(made.split(), check=True, capture_output=True)
    site = re.sub(r"listen \[::\].*;", "", (DEPLOY / "nginx.conf").read_text())
    site = re.sub(r"listen (80|443)", rf"listen unix:{tmp_path}/\1", site)
    site = re.sub(r"/etc/ssl/\S+\.pem", str(certificate), site)
    site = re.sub(r"/etc/ssl/\S+\.key", str(key), site)
    paths = [f"{name}_temp_path {tmp_path};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    whole = f"pid {tmp_path}/pid; events {{}} http {{ access_log off; {' '.join(paths)}\n{site}\n}}"
    (tmp_path / "nginx.conf").write_text(whole)
    command = ["nginx", "-t", "-e", tmp_path / "errors", "-c", tmp_path / "nginx.conf"]
    said = subprocess.run(command, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "[warn]" not in said.stderr
