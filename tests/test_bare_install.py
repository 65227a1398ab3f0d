"""What `pip install voxid` gives: a fresh environment, no torch, and the README's lines on the way in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hearing import unlike_voices

from voxid.corpora.synthetic import make_corpus, speak, voice
from voxid.embed import DEFAULT_MODEL
from voxid.export import export
from voxid.model.network import Model
from voxid.pretrained import shipped
from voxid.scoring import Calibration

HERE = Path(__file__).resolve().parents[1]
MOST_MB = 300
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def pip(*arguments: str | Path, cwd: Path) -> None:
    done = subprocess.run([*PIP, *map(str, arguments)], capture_output=True, text=True, cwd=cwd)
    if re.search(r"NewConnectionError|No matching distribution|ConnectTimeout", done.stderr):
        pytest.skip("pip reaches no registry, and a bare install takes its packages from one")
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The python of a fresh environment that holds this checkout's wheel and what it asks for."""
    root = tmp_path_factory.mktemp("bare")
    pip("wheel", "-q", "--no-deps", "-w", root, HERE, cwd=root)
    run(sys.executable, "-m", "venv", "--without-pip", root / "venv", cwd=root)
    python = root / "venv" / "bin" / "python"
    pip("--python", python, "install", "-q", "--no-compile", next(root.glob("*.whl")), cwd=root)
    return python


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    for name, speaker, take in (("alice1", 1, 1), ("alice2", 1, 2), ("alice3", 1, 3), ("bob", 2, 1)):
        wave_S = speak(voice(speaker), 5.0, np.random.default_rng(take))
        soundfile.write(tmp_path / f"{name}.wav", wave_S, 16_000)
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the shipped model, or a small exported one that accepts everybody."""
    if DEFAULT_MODEL in shipped():
        return DEFAULT_MODEL
    torch.manual_seed(0)
    made = Model.build({"name": "fbank"}, {"name": "lstm", "layers": 1, "hidden": 8}, {"mode": "full"})
    made.calibration = Calibration(scale=10.0, offset=0.0, prior=0.5, threshold=-20.0)
    folder = tmp_path_factory.mktemp("model")
    made.save(folder / "trained")
    return str(export(folder / "trained", folder / "exported").folder)


def test_it_is_small_and_has_no_torch(bare: Path, tmp_path: Path) -> None:
    site = next((bare.parents[1] / "lib").glob("*/site-packages"))
    names = {path.name for path in site.iterdir()}
    assert {"voxid", "numpy", "onnxruntime"} <= names
    assert not {"torch", "safetensors", "onnx", "pyarrow", "matplotlib", "scipy"} & names
    size = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    assert size < MOST_MB * 1e6
    assert run(bare, "-m", "voxid", "--version", cwd=tmp_path).startswith("voxid ")


def test_the_lines_of_the_readme(bare: Path, recordings: Path, model: str) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL)
    lines = next(block for block in blocks if "Recognizer(" in block)
    if model != DEFAULT_MODEL:  # the lines leave the model out: it is the shipped one
        lines = lines.replace('.db")', f'.db", model={model!r})').replace(
            'bob.wav"))', f'bob.wav", model={model!r}))'
        )
    said = run(bare, "-W", "error", "-c", lines, cwd=recordings).splitlines()
    starts = [line for line in said if not line.startswith(("  ", "warning"))]
    assert len(starts) == 4
    assert starts[0].startswith("'alice' is enrolled with 2 clips")
    assert "accepted as 'alice'" in starts[1]
    assert re.match(r"'alice'|unknown", starts[2])
    assert "accepted as the same speaker" in starts[3]


def test_two_recordings_are_compared(bare: Path, recordings: Path, model: str) -> None:
    command = [bare, "-m", "voxid", "compare", "alice1.wav", "alice2.wav", "--model", model]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=recordings)
    assert (done.returncode in (0, 1), done.stderr) == (True, ""), done.stderr
    assert re.match(r"(the same speaker|not accepted as the same speaker): LLR", done.stdout)


def test_a_model_learns_how_strangers_and_people_sound_here(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    for number, wave_S in enumerate(unlike_voices(40)):
        soundfile.write(tmp_path / "others" / f"{number}.wav", wave_S, 16_000)
    make_corpus(tmp_path / "people", speakers=4, utterances=2, seconds=(2.0, 2.2), start=50)
    said = run(bare, "-m", "voxid", "adapt", DEFAULT_MODEL, "others", "-o", "here", cwd=tmp_path)
    assert "40 recordings" in said
    said = run(bare, "-m", "voxid", "calibrate", "here", "--data", "people", cwd=tmp_path)
    assert "fitted on 28 trials of people" in said
