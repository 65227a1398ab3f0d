"""`make train-base` and its kin: what they would run is what voxid understands; on a small scale it runs."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from voxid.cli import build_app
from voxid.corpora.synthetic import make_corpus
from voxid.model.network import Model
from voxid.training.recipe import load_recipe

REPOSITORY = Path(__file__).resolve().parent.parent
INSTALLED = ["-o", ".venv/.voxid-installed"]  # as new as it has to be: a test installs nothing

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(*arguments: str, what: str = "train-base", **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["make", *INSTALLED, what, *arguments]
    kept = {key: value for key, value in os.environ.items() if key != "VOXID_DATA"}
    return subprocess.run(
        command, cwd=REPOSITORY, env=kept | environment, capture_output=True, text=True, timeout=550
    )


def commands(text: str) -> list[list[str]]:
    """Return the voxid commands that make would run, each as words."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line) for line in lines if "/voxid " in line]
    return [line[1:] for line in words if line[0].endswith("/voxid")]


def values(words: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(words) if name == option]


def understand(steps: list[list[str]]) -> None:
    known = typer.main.get_command(build_app()).commands  # pyright: ignore[reportAttributeAccessIssue]
    for name, *words in steps:
        known[name].make_context(name, list(words))  # parses, runs nothing, and refuses what it does not know


@pytest.mark.parametrize("where", ["downloads", "VOXID_DATA"])
def test_every_word_of_it_is_understood(where: str) -> None:
    printed = make("-n", **({"VOXID_DATA": "/speech"} if where == "VOXID_DATA" else {}))
    assert printed.returncode == 0, printed.stderr
    steps = commands(printed.stdout)
    assert [step[0] for step in steps] == [
        "split", "train", "train", "train", "train", "average", "calibrate", "export",
    ]  # fmt: skip
    understand(steps)
    split, *trainings = steps[:5]
    home = "/speech" if where == "VOXID_DATA" else "corpora"
    speech = [word for word in split if word.startswith(home)]
    assert len(speech) == 4
    for train in trainings:
        assert "--resume" in train
        settings = dict(value.split("=", 1) for value in values(train, "--set"))
        for key in ("augment.noise", "augment.rir"):
            folders = tomllib.loads(f"value = {settings[key]}")["value"]
            assert folders
            assert all(folder.startswith(home) for folder in folders)
    names = ["base", "base-longer", "base-sentences", "base-brief"]
    assert [train[1] for train in trainings] == names
    begun, longer, sentences, brief = trainings
    assert values(longer, "--init") == values(begun, "-o")  # it goes on from there
    assert values(sentences, "--init") == values(brief, "--init") == values(longer, "-o")
    parts = values(sentences, "-o") * 2 + values(brief, "-o")
    assert steps[5][1:4] == parts
    lists = [values(train, "--train")[0].rpartition("/")[2] for train in trainings]
    assert lists == ["rest.csv", "rest.csv", "sentences.csv", "sentences.csv"]
    assert values(steps[6], "--data") == ["runs/base-speakers/held-out.csv"]
    assert values(steps[6], "--cohort") == ["runs/base-speakers/rest.csv"]


@pytest.mark.parametrize(
    ("what", "recipes"),
    [("train-world", ["base-world", "base-world-last"]), ("train-small", ["small-world"] * 2)],
)
def test_the_speech_of_every_corpus_is_trained_on(what: str, recipes: list[str]) -> None:
    printed = make("-n", what=what, VOXID_DATA="/speech")
    assert printed.returncode == 0, printed.stderr
    steps = [step for step in commands(printed.stdout) if step[0] not in ("split", "prepare")]  # in the shell
    understand(steps)
    assert [step[1] for step in steps if step[0] == "train"] == recipes
    for train in steps[: len(recipes)]:
        assert values(train, "--train") == ["runs/world-train"]
        recipe = load_recipe(train[1], values(train, "--set"))
        assert recipe.data.shares["LibriSpeech" if train[1] != "base-world" else "dspspeech20"] > 0
    calibrate, export = steps[-2:]
    assert values(calibrate, "--data") == values(export, "--data") == ["runs/world-held-out"]
    assert calibrate[1] == export[1] == ("runs/small" if what == "train-small" else "runs/world")


@pytest.mark.slow
def test_it_runs_on_a_small_scale(tmp_path: Path) -> None:
    """Two corpora of synthetic voices, two steps; made again, it goes on and changes nothing."""
    for name, seed in (("one", 0), ("two", 50)):
        make_corpus(tmp_path / name / "voices", speakers=10, utterances=3, seconds=(2.0, 2.5), seed=seed)
    small = [
        "training.steps=2", "stage=[]", "data.rows=4", "data.window=40", "data.window_max=60",
        "data.speeds=[]", "augment.rooms=2", "schedule={kind='constant'}",
    ]  # fmt: skip
    arguments = [
        f"BIN={Path(sys.executable).parent}",
        f"SPEECH={tmp_path / 'one' / 'voices'} {tmp_path / 'two' / 'voices'}",
        f"NOISE={tmp_path / 'one'}",
        f"RIR={tmp_path / 'two'}",
        f"RUN={tmp_path / 'run'}",
        "RECIPE=tiny",
        "LONGER=tiny",
        "LAST=tiny",
        "BRIEF=tiny",
        "HOLD_OUT=0.3",
        "SET=" + " ".join(f"--set {shlex.quote(value)}" for value in small),
    ]
    first = make(*arguments)
    assert first.returncode == 0, first.stdout + first.stderr
    model = Model.load(tmp_path / "run")
    assert model.calibration is not None
    longer, sentences, brief = (
        Model.load(tmp_path / f"run-{part}") for part in ("longer", "sentences", "brief")
    )
    assert sentences.metadata["steps"] == 2
    assert sentences.metadata["init"]["fingerprint"] == longer.fingerprint
    parts = [part["fingerprint"] for part in model.metadata["average"]]
    assert parts == [sentences.fingerprint, sentences.fingerprint, brief.fingerprint]
    again = make(*arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert Model.load(tmp_path / "run").fingerprint == model.fingerprint
    held_out = (tmp_path / "run-speakers" / "held-out.csv").read_text().splitlines()
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["calibration"]["fitted_on"]["utterances"] == len(held_out) - 1
