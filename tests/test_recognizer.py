"""Two recordings become one decision by the model's own calibration, in Python and on the command line."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from commands import invoke
from typer.testing import CliRunner

import voxid
from voxid.cli import build_app
from voxid.corpora.synthetic import speak, voice
from voxid.errors import AudioSilent, NotCalibrated, UnknownModel
from voxid.evaluation import read_data
from voxid.evaluation.embedding import embed_used
from voxid.model.network import Model
from voxid.scoring.calibration import Calibration

RATE = 16_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder whose calibration maps a cosine of 0.5 to an LLR of 0, and asks for 2."""
    torch.manual_seed(0)
    model = Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 8})
    model.calibration = Calibration(scale=10.0, offset=-5.0, prior=0.1, threshold=2.0)
    model.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def a(tmp_path: Path) -> Path:
    wave_S = speak(voice(0, seed=0), 4.0, np.random.default_rng(0))
    soundfile.write(tmp_path / "a.wav", wave_S, RATE)
    return tmp_path / "a.wav"


@pytest.fixture
def b(tmp_path: Path) -> Path:
    wave_S = speak(voice(1, seed=0), 1.5, np.random.default_rng(1))
    soundfile.write(tmp_path / "b.wav", wave_S, RATE)
    return tmp_path / "b.wav"


def test_evaluation_and_recognizer_measure_the_same_speech(folder: Path, a: Path, tmp_path: Path) -> None:
    """Four seconds of talking, then six of a buzzer, which an energy detector alone takes for speech."""
    time_S = np.arange(6 * RATE) / RATE
    buzzer = 0.3 * np.sign(np.sin(2 * np.pi * 110 * time_S)) * (np.sin(2 * np.pi * 2 * time_S) > 0)
    buzzer += 1e-4 * np.random.default_rng(0).standard_normal(buzzer.size)
    (tmp_path / "corpus" / "alice").mkdir(parents=True)
    recording = tmp_path / "corpus" / "alice" / "x.wav"
    soundfile.write(recording, np.concatenate((soundfile.read(a)[0], buzzer)), RATE)
    runtime = voxid.load(folder)
    voices = embed_used(runtime, read_data(tmp_path / "corpus"), np.array([0]))
    with voxid.Recognizer("sqlite://", model=runtime) as recognizer:
        recognizer.enroll("alice", a)
        decision = recognizer.verify("alice", recording)
    compared = voxid.compare(a, recording, model=runtime)
    assert voices.net_speech_s_U.tolist() == [decision.net_speech_s[1]] == [compared.net_speech_s[1]]
    assert 1.0 < decision.net_speech_s[1] < 5.0  # the buzzer alone would add three
    assert voices.speech_s_U.tolist() == [10.0] == [decision.speech_s[1]]


def test_every_recording_is_opened_once(folder: Path, a: Path, b: Path, monkeypatch: Any) -> None:
    opened: list[str] = []
    sound = soundfile.SoundFile

    def open_(path: bytes, *rest: Any, **options: Any) -> Any:
        opened.append(Path(path.decode()).name)
        return sound(path, *rest, **options)

    monkeypatch.setattr(soundfile, "SoundFile", open_)
    voxid.compare(a, b, model=folder)
    assert sorted(opened) == ["a.wav", "b.wav"]


def recalibrate(folder: Path, **changes: float) -> None:
    model = Model.load(folder)
    assert model.calibration is not None
    model.calibration = Calibration(**{**model.calibration.model_dump(), **changes})
    model.save(folder)


def test_the_decision_follows_from_the_embeddings(folder: Path, a: Path, b: Path) -> None:
    decision = voxid.compare(a, b, model=folder)
    left, right = (voxid.load(folder).embed(path).astype(float) for path in (a, b))
    cosine = left @ right / math.sqrt((left @ left) * (right @ right))
    assert decision.cosine == pytest.approx(cosine, abs=1e-5)
    assert decision.llr == pytest.approx(10 * cosine - 5, abs=1e-4)
    odds = math.exp(decision.llr) * 0.1 / 0.9  # Bayes
    assert decision.probability == pytest.approx(odds / (1 + odds), abs=1e-6)
    assert decision.threshold == 2.0
    assert decision.speech_s == pytest.approx((4.0, 1.5), abs=0.01)


def test_accepted_from_the_threshold_on(folder: Path, a: Path, b: Path) -> None:
    llr = voxid.compare(a, b, model=folder).llr
    for threshold, accepted, words in ((llr, True, "at or above"), (llr + 0.01, False, "below")):
        recalibrate(folder, threshold=threshold)
        decision = voxid.compare(a, b, model=folder)
        assert decision.accepted is accepted
        assert words in decision.reason


def test_a_recording_is_its_own_speaker_and_sides_do_not_matter(folder: Path, a: Path, b: Path) -> None:
    runtime = voxid.load(folder)
    assert voxid.compare(a, a, model=runtime).cosine == pytest.approx(1.0, abs=1e-6)
    one, other = voxid.compare(a, b, model=runtime), voxid.compare(b, a, model=runtime)
    assert one.llr == pytest.approx(other.llr, abs=1e-5)
    assert one.speech_s == other.speech_s[::-1]


def test_no_calibration_names_the_command(folder: Path, a: Path, b: Path) -> None:
    model = Model.load(folder)
    model.calibration = None
    model.save(folder)
    with pytest.raises(NotCalibrated, match=f"voxid calibrate {folder} --data D"):
        voxid.compare(a, b, model=folder)


def test_a_calibration_of_other_weights_is_not_used(folder: Path, a: Path, b: Path) -> None:
    model = Model.load(folder)
    assert model.calibration is not None
    model.calibration = model.calibration.model_copy(update={"model": model.fingerprint})
    model.save(folder)
    assert voxid.compare(a, b, model=folder).threshold == 2.0
    with torch.no_grad():
        next(model.parameters()).add_(0.1)
    model.save(folder)
    with pytest.raises(NotCalibrated, match="for other weights"):
        voxid.compare(a, b, model=folder)


def test_a_wrong_model(a: Path, b: Path) -> None:
    with pytest.raises(UnknownModel, match="'voxid-bass'"):
        voxid.compare(a, b, model="voxid-bass")


def test_bad_audio_is_named(folder: Path, a: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(RATE), RATE)
    with pytest.raises(AudioSilent, match=r"silence\.wav"):
        voxid.compare(a, tmp_path / "silence.wav", model=folder)


# -- command line --------------------------------------------------------------------------------------


def test_the_sentence_and_the_exit_code(folder: Path, a: Path, b: Path) -> None:
    runner, app = CliRunner(), build_app()
    llr = voxid.compare(a, b, model=folder).llr
    command = ["compare", str(a), str(b), "--model", str(folder)]
    recalibrate(folder, threshold=llr - 1)
    accepted = runner.invoke(app, command)
    assert accepted.exit_code == 0
    assert accepted.stdout.startswith("the same speaker: LLR")
    assert "from 4.0 and 1.5 seconds of audio" in accepted.stdout
    recalibrate(folder, threshold=llr + 1)
    refused = runner.invoke(app, command)
    assert refused.exit_code == 1
    assert refused.stdout.startswith("not accepted as the same speaker: LLR")


def test_json_holds_the_whole_decision(folder: Path, a: Path, b: Path) -> None:
    result = invoke(["compare", str(a), str(b), "--model", str(folder), "--json"])
    printed, decision = json.loads(result.stdout), voxid.compare(a, b, model=folder)
    assert printed.keys() == set(decision.__slots__)
    assert printed["llr"] == pytest.approx(decision.llr, abs=1e-5)
    assert printed["accepted"] is decision.accepted
    assert result.exit_code == (0 if decision.accepted else 1)


def test_an_error_is_neither_yes_nor_no(folder: Path, a: Path) -> None:
    command = [sys.executable, "-m", "voxid", "compare", str(a), "none.wav", "--model", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr.startswith("AudioNotFound: none.wav")
    assert not done.stdout


def test_embed_reads_standard_input(folder: Path, a: Path, b: Path, tmp_path: Path) -> None:
    words = ["embed", str(folder), str(b), "-", "-o", str(tmp_path / "e.npz"), "--json"]
    result = invoke(words, input=a.read_bytes())
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["utterances"] == 2
    with np.load(tmp_path / "e.npz", allow_pickle=False) as arrays:
        assert arrays["utterances"].tolist() == [str(b), "-"]
        np.testing.assert_allclose(arrays["embeddings"], voxid.load(folder).embed_many([b, a]), atol=1e-5)
    nothing = invoke([*words[:2], *words[3:]], input=b"no sound")
    assert str(nothing.exception).startswith("none of 1 recordings in - could be embedded. The first: ")


def test_embed_writes_what_numpy_reads(folder: Path, a: Path, b: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("hello")
    files = [str(a), str(b), str(tmp_path / "text.wav")]
    result = invoke(["embed", str(folder), *files, "-o", str(tmp_path / "e.npz")])
    assert result.exit_code == 0, result.output
    assert "2 embeddings of 16 numbers" in result.stdout
    assert "left out 1 undecodable; for example" in result.stdout
    with np.load(tmp_path / "e.npz", allow_pickle=False) as arrays:
        np.testing.assert_allclose(arrays["embeddings"], voxid.load(folder).embed_many(files[:2]), atol=1e-5)
        assert arrays["left_out"].tolist() == files[2:]
