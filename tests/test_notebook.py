"""The notebook of the docs runs from top to bottom, and is kept without the outputs of a run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

NOTEBOOK = Path(__file__).resolve().parent.parent / "docs" / "voxid.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def code() -> list[str]:
    return ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def test_it_is_kept_without_outputs() -> None:
    for cell in CELLS:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None


@pytest.mark.slow  # it is the tutorial once more
def test_it_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VOXID_CACHE", str(tmp_path / "cache"))
    player = ModuleType("IPython.display")  # a kernel brings it; here nobody listens
    heard: list[Any] = []
    player.Audio, player.display = (lambda path: Path(path).read_bytes()), heard.append  # type: ignore[attr-defined]
    kernel = ModuleType("IPython")
    kernel.version_info = (9, 0)  # type: ignore[attr-defined]  # matplotlib asks for it
    monkeypatch.setitem(sys.modules, "IPython", kernel)
    monkeypatch.setitem(sys.modules, "IPython.display", player)
    install, *cells = code()
    assert install == "%pip install -q 'voxid[train]'"
    world: dict[str, Any] = {}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"cell {number}", "exec"), world)
    assert len(heard) == 1
    assert world["same"].accepted
    assert not world["other"].accepted
    assert world["known"].speaker == "bob"
    assert not world["unknown"].known
    assert world["found"].trials == 24 * 23 // 2
    assert "EER" in capsys.readouterr().out
