"""docs/browser.md as it is written: a shipped model in a real browser gives the embeddings of Python."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from test_html_browser import browser, chromium, playwright  # noqa: F401 -- fixtures

import voxid
from voxid.corpora.synthetic import speak, voice
from voxid.pretrained import shipped

pytestmark = pytest.mark.slow  # a package of npm and 14 MB of WebAssembly

PAGE = Path(__file__).resolve().parent.parent / "docs" / "browser.md"
RATE = 16_000


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the page has the reader make, without a model."""
    if shutil.which("npm") is None:
        pytest.skip("no npm: install it, for onnxruntime-web")
    folder, page = tmp_path_factory.mktemp("browser"), PAGE.read_text()
    [package] = re.findall(r"npm install (\S+)", page)
    subprocess.run(["npm", "install", package], cwd=folder, check=True, capture_output=True, timeout=300)
    (folder / "site").mkdir()
    [html] = re.findall(r"```html\n(.*?)```", page, flags=re.S)
    (folder / "site" / "index.html").write_text(html)
    for pattern in re.findall(r"cp (node_modules\S+) site", page):
        for path in folder.glob(pattern):
            shutil.copy(path, folder / "site")
    return folder / "site"


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=site)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/index.html"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("name", sorted(shipped()))
def test_the_page_gives_the_embeddings_of_python(
    name: str,
    site: Path,
    address: str,
    browser: Any,  # noqa: F811
    tmp_path: Path,
) -> None:
    shutil.copytree(shipped()[name], site / "model", dirs_exist_ok=True)
    model, waves = voxid.load(name), []
    for speaker in (0, 1):
        wave_S = speak(voice(speaker), 3.0, np.random.default_rng(speaker))
        waves.append(np.concatenate([np.zeros(RATE // 2, np.float32), wave_S]))  # a pause to leave out
        soundfile.write(tmp_path / f"{speaker}.wav", waves[-1], RATE, subtype="FLOAT")
    with browser.new_page() as page:
        page.goto(address)
        page.wait_for_function("() => window.embed !== undefined", timeout=60_000)
        page.set_input_files("#left", tmp_path / "0.wav")
        page.set_input_files("#right", tmp_path / "1.wav")
        page.wait_for_function("said.textContent.startsWith('The cosine')", timeout=60_000)
        said = float(re.search(r"-?[\d.]+(?=\.$)", page.text_content("#said"))[0])
        got_D = page.evaluate("async (w) => Array.from(await embed(Float32Array.from(w)))", waves[0].tolist())
    one_D, other_D = (model.embed((wave_S, RATE)) for wave_S in waves)
    np.testing.assert_allclose(got_D, one_D, atol=1e-3 * np.abs(one_D).max())
    expected = one_D @ other_D / np.linalg.norm(one_D) / np.linalg.norm(other_D)
    assert said == pytest.approx(expected, abs=1e-3)
