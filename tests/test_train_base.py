"""`make train-base` and its kin: what they would run is what voxid understands; on a small scale it runs."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from archives import unverified, world

from voxid.cli import build_app
from voxid.corpora import catalog, scan
from voxid.corpora.download import download, wanted
from voxid.corpora.files import has_audio
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
@pytest.mark.parametrize("where", ["downloads", "VOXID_DATA"])
def test_the_speech_of_every_corpus_is_trained_on(what: str, recipes: list[str], where: str) -> None:
    printed = make("-n", what=what, **({"VOXID_DATA": "/speech"} if where == "VOXID_DATA" else {}))
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


def downloaded(folder: Path, monkeypatch: pytest.MonkeyPatch, wave: Callable[[str, int, int], bytes]) -> Path:
    """What `voxid download voxid-base` brings of small archives."""
    shelf = folder / "shelf"
    shelf.mkdir()
    for file, content in world(wave).items():
        (shelf / file).write_bytes(content)
    for name in catalog.SETS["voxid-base"]:
        monkeypatch.setitem(catalog.CORPORA, name, unverified(catalog.CORPORA[name]))
    return download("voxid-base", [], folder / "corpora", str(shelf))


def test_what_is_downloaded_is_what_train_world_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = (tmp_path / "take.wav", np.zeros(800, np.float32), 8000)
    soundfile.write(*take)
    corpora = downloaded(tmp_path, monkeypatch, lambda corpus, person, number: take[0].read_bytes())
    printed = make("-n", f"CORPORA={corpora}", what="train-world")
    assert printed.returncode == 0, printed.stderr
    base, prepare, train = (
        next(shlex.split(line) for line in printed.stdout.replace("\\\n", " ").splitlines() if word in line)
        for word in ("/voxid split", "/voxid prepare", "/voxid train")
    )
    speech = [word for word in (*base, *prepare) if word.startswith(f"{corpora}/")]
    pairs = printed.stdout.partition("for pair in ")[2].partition(";")[0].split()
    speech += [f"{corpora}/{pair.partition(':')[0]}" for pair in pairs]
    brought = {corpus.name for corpus, _ in wanted("voxid-base")}
    assert len(speech) == len(brought) - 1  # rooms are no speech
    for path in speech:
        assert len({utterance.speaker for utterance in scan(path)}) == (5 if "asterisk" in path else 10), path
    for setting in values(train, "--set"):
        if setting.startswith(("augment.noise=", "augment.rir=")):
            folders = tomllib.loads(f"value = {setting.partition('=')[2]}")["value"]
            assert all(has_audio(Path(folder)) for folder in folders), folders


@pytest.mark.slow
def test_train_world_runs_on_what_was_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives of synthetic voices, two steps of a small network."""
    rng = np.random.default_rng(0)

    def wave(corpus: str, person: int, take: int) -> bytes:
        if not (tmp_path / corpus).exists():
            seed = int(rng.integers(1 << 30))
            make_corpus(tmp_path / corpus, speakers=10, utterances=3, seconds=(2.0, 2.5), seed=seed)
        speaker = sorted(path for path in (tmp_path / corpus).iterdir() if path.is_dir())[person]
        samples, rate = soundfile.read(sorted(speaker.rglob("*.*"))[take], dtype="int16")
        content = io.BytesIO()
        soundfile.write(content, samples[:: rate // 8000], 8000, format="WAV")
        return content.getvalue()

    corpora = downloaded(tmp_path, monkeypatch, wave)
    small = [
        "training.steps=2", "stage=[]", "data.rows=8", "data.window=40", "data.window_max=60",
        "data.speeds=[]", "augment.rooms=2", "training.precision=float32",
    ]  # fmt: skip
    done = make(
        f"BIN={Path(sys.executable).parent}",
        f"CORPORA={corpora}",
        f"WORLD={tmp_path / 'world'}",
        "INIT=voxid-base",
        "STEPS=2",
        "SET=" + " ".join(f"--set {shlex.quote(value)}" for value in small),
        what="train-world",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert Model.load(tmp_path / "world").calibration is not None


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
