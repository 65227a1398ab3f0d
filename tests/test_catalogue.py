"""Published models come from their address whole, resumed and verified; their terms are said first."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import types
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from peers.witness import RATE, wave
from test_published import difference, saved, tensors_of
from typer.testing import CliRunner

import voxid
from voxid.cli import build_app
from voxid.errors import BadConfig, ChecksumMismatch, DownloadError, MissingExtra, UnknownModel
from voxid.published import catalogue
from voxid.published.catalogue import Published, available, download_model, find
from voxid.published.kinds import known_kinds


class Handler(BaseHTTPRequestHandler):
    """Serves what lies in the server's folder, from the byte asked for; "cut" breaks off once."""

    def do_GET(self) -> None:
        content = (self.server.folder / self.path.lstrip("/")).read_bytes()  # type: ignore[attr-defined]
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        self.server.asked.append(start)  # type: ignore[attr-defined]
        self.send_response(206 if start else 200)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        end = len(content) // 2 if self.server.cut and not start else len(content)  # type: ignore[attr-defined]
        self.wfile.write(content[start:end])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.folder, server.asked, server.cut = tmp_path / "served", [], False
    server.folder.mkdir()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def entry_of(server: Any, file: str, **more: Any) -> Published:
    values = {
        "name": "theirs",
        "kind": "wespeaker",
        "network": "ResNet",
        "address": f"http://127.0.0.1:{server.server_address[1]}/{file}",
        "licence": "CC BY 4.0",
        "trained_on": "nothing",
        "language": "none",
        "parameters": 1e6,
    }
    return Published(**{**values, **more})


def zipped(server: Any) -> bytes:
    """Put WeSpeaker's kind of archive onto the server; return its bytes."""
    weights = saved(server.folder.parent, tensors_of("wespeaker-resnet"), "avg_model.pt")
    with zipfile.ZipFile(server.folder / "model.zip", "w") as archive:
        archive.write(weights, "voxceleb_resnet/avg_model.pt")
        archive.writestr("voxceleb_resnet/config.yaml", "model: ResNet34\n")
    return (server.folder / "model.zip").read_bytes()


def test_a_model_comes_resumed_and_verified_and_is_imported(
    server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, lines, server.cut = zipped(server), [], True
    entry = entry_of(server, "model.zip", sha256=hashlib.sha256(content).hexdigest())
    done = download_model(entry, tmp_path / "published", say=lines.append, waits_s=(0.0,))
    assert len(server.asked) == 2
    assert server.asked[1] > 0  # went on from where it was
    assert done.verified
    assert sorted(path.name for path in (tmp_path / "published").iterdir()) == ["theirs"]
    assert "licence CC BY 4.0; trained on nothing" in lines[0]
    assert "could not try this address" in lines[1]
    download_model(entry, tmp_path / "published")
    assert len(server.asked) == 2  # it is there

    monkeypatch.setattr(catalogue, "available", lambda path=None: [entry])
    runner, app = CliRunner(), build_app()
    result = runner.invoke(app, ["download", "theirs", "-o", str(tmp_path / "published")])
    assert "next: voxid import" in result.output
    result = runner.invoke(
        app, ["import", str(tmp_path / "published" / "theirs"), "-o", str(tmp_path / "m"), "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["metadata"]["licence"] == "CC BY 4.0"
    assert difference(voxid.load(tmp_path / "m").embed((wave(), RATE)), "wespeaker-resnet") < 1e-4


def test_what_cannot_be_verified_says_its_digest_and_another_file_is_deleted(
    server: Any, tmp_path: Path
) -> None:
    (server.folder / "w.ckpt").write_bytes(b"x" * 1000)
    lines: list[str] = []
    done = download_model(entry_of(server, "w.ckpt"), tmp_path, say=lines.append)
    assert done.sha256 == hashlib.sha256(b"x" * 1000).hexdigest()
    assert done.sha256 in lines[-1]
    assert (done.folder / "w.ckpt").stat().st_size == 1000
    with pytest.raises(ChecksumMismatch, match="What arrived is deleted"):
        download_model(entry_of(server, "w.ckpt", name="other", sha256="0" * 64), tmp_path)
    assert not list(tmp_path.glob("other*"))
    with pytest.raises(DownloadError):
        download_model(entry_of(server, "none.ckpt", name="none"), tmp_path, waits_s=())


def test_a_licence_that_forbids_is_said_before_anything_is_fetched(server: Any, tmp_path: Path) -> None:
    (server.folder / "w.ckpt").write_bytes(b"x")
    entry, lines = entry_of(server, "w.ckpt", forbids="commercial use"), []
    with pytest.raises(BadConfig, match=r"does not allow commercial use.*--accept-licence"):
        download_model(entry, tmp_path, say=lines.append)
    assert "does not allow commercial use" in lines[1]
    assert not server.asked
    assert download_model(entry, tmp_path, accept_licence=True).folder.is_dir()


def test_the_catalogue() -> None:
    entries = available()
    assert len({entry.name for entry in entries}) == len(entries)
    assert {entry.kind for entry in entries} <= {*known_kinds(), "onnx"}
    assert all(entry.address.startswith("http") and entry.licence for entry in entries)
    assert not any(entry.checked or entry.sha256 for entry in entries)  # nobody could try them yet
    with pytest.raises(UnknownModel, match="Did you mean 'speechbrain-ecapa'"):
        find("speechbrain-ecpa")
    result = CliRunner().invoke(build_app(), ["models", "--available"])
    for entry in entries:
        assert f"{entry.name}: {entry.network}" in result.output
    assert f"{len(entries)} of {len(entries)} are as their projects give them" in result.output
    printed = json.loads(CliRunner().invoke(build_app(), ["models", "--available", "--json"]).stdout)
    assert printed["available"][0]["file"] == entries[0].file


def test_a_name_of_the_hub_is_loaded_only_from_this_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def snapshot_download(name: str, revision: str | None = None, local_files_only: bool = False) -> str:
        asked.append({"name": name, "revision": revision, "local": local_files_only})
        if name == "me/none":
            raise FileNotFoundError("LocalEntryNotFoundError")
        return str(voxid.pretrained.shipped()["voxid-base"] if name == "me/model" else tmp_path)

    from voxid.pretrained import shipped  # noqa: F401 - voxid.pretrained is there after it

    hub: Any = types.ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert voxid.load("hub:me/model@v1").fingerprint == voxid.load("voxid-base").fingerprint
    assert asked[-1] == {"name": "me/model", "revision": "v1", "local": True}
    with pytest.raises(UnknownModel, match="loading fetches nothing"):
        voxid.load("hub:me/none")
    with pytest.raises(UnknownModel, match="Run: voxid import"):
        voxid.load("hub:me/other")
    result = CliRunner().invoke(build_app(), ["download", "hub:me/model", "--json"])
    assert json.loads(result.stdout)["folder"].endswith("voxid-base")
    assert not asked[-1]["local"]
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"voxid\[hub\]"):
        voxid.load("hub:me/model")
