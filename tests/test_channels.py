"""Recordings with a person on each channel, and floats that 16 bits do not hold: said, chosen, scaled."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hearing import SpectrumRuntime, calibrated
from typer.testing import CliRunner

import voxid
from voxid import audio
from voxid.cli import build_app
from voxid.corpora import scan
from voxid.corpora.synthetic import speak, voice
from voxid.data import prepare as preparing
from voxid.data.pack import Packed
from voxid.data.prepare import prepare
from voxid.errors import AudioError
from voxid.evaluation.report.writing import recordings
from voxid.trials.data import EvaluationData
from voxid.types import Utterance

RATE = 16_000


def of(speaker: int, take: int = 0, seconds: float = 4.0) -> np.ndarray:
    return speak(voice(speaker), seconds, np.random.default_rng([speaker, take]))


@pytest.fixture
def call(tmp_path: Path) -> Path:
    """Two people on two channels, who talk at once."""
    soundfile.write(tmp_path / "call.wav", np.stack((of(0), of(1)), axis=1), RATE)
    return tmp_path / "call.wav"


def test_a_mix_of_two_unlike_channels_is_not_enrolled_unless_told(call: Path) -> None:
    with voxid.Recognizer("sqlite://", model=SpectrumRuntime(calibration=calibrated())) as recognizer:
        with pytest.raises(AudioError, match=r"two channels hold different sound.*--channel 0"):
            recognizer.enroll("alice", call)
        recognizer.enroll("alice", audio.Part(call, channel=0))
        recognizer.enroll("both", audio.Part(call, channel="mix"))
        decision = recognizer.verify("alice", call)
    assert any("choose channel" in warning for warning in decision.warnings)


def test_a_chosen_channel_is_that_channel(call: Path) -> None:
    for channel in (0, 1):
        chosen = audio.inspect(audio.Part(call, channel=channel))
        assert not any("channel" in warning for warning in chosen.warnings)
        np.testing.assert_array_equal(chosen.wave, soundfile.read(call, dtype="float32")[0][:, channel])
    mixed = audio.inspect(audio.Part(call, channel="mix"))
    assert not mixed.unlike
    assert audio.inspect(call).unlike


def test_a_report_plays_the_channel_of_an_utterance(call: Path) -> None:
    said = [Utterance(f"s{channel}", f"u{channel}", str(call), channel=channel) for channel in (0, 1)]
    hear = recordings(EvaluationData("call", [str(call)], "", said, audio=lambda number: said[number]))
    for channel in (0, 1):
        heard = hear(f"u{channel}")
        assert heard is not None
        np.testing.assert_array_equal(heard.samples_S, soundfile.read(call, dtype="float32")[0][:, channel])


def test_the_commands_take_a_channel(call: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", of(1), RATE)
    run = CliRunner().invoke
    out = tmp_path / "e.npz"
    done = run(
        build_app(), ["embed", "voxid-base", str(call), str(tmp_path / "one.wav"), "-o", str(out), "--json"]
    )
    assert done.exit_code == 0, done.output
    assert any("choose channel" in warning for warning in json.loads(done.stdout)["warnings"])
    rows = np.load(out)["embeddings"]
    command = ["embed", "voxid-base", str(call), "--channel", "1", "-o", str(out), "--json"]
    done = run(build_app(), command)
    assert (done.exit_code, json.loads(done.stdout)["warnings"]) == (0, [])
    np.testing.assert_allclose(np.load(out)["embeddings"][0], rows[1], atol=2e-3)  # 16 bits against 16 bits
    command = ["compare", str(call), str(tmp_path / "one.wav"), "--channel", "1", "--json"]
    with pytest.raises(AudioError, match=r"no channel 1\. It has 1"):
        run(build_app(), command, catch_exceptions=False)
    wrong = run(build_app(), ["compare", str(call), str(call), "--channel", "left"])
    assert wrong.exit_code == 2


@pytest.mark.parametrize("long_s", [preparing.LONG_S, 0.5], ids=["whole", "in-blocks"])
def test_prepare_takes_the_channel_of_a_column_and_counts_mixes(
    long_s: float, call: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "LONG_S", long_s)
    said = [Utterance("a", "a", str(call), channel=0), Utterance("b", "b", str(call))]
    done = prepare(said, tmp_path / "prepared")
    packed = Packed.open(tmp_path / "prepared")
    left = soundfile.read(call, dtype="int16")[0][:, 0]
    np.testing.assert_array_equal(packed.wave(0), left)
    assert [warning for warning in done.warnings if "two channels" in warning] == [
        "1 recordings hold different sound on two channels, as a call does, and were averaged: name the "
        "channel that is meant in a column 'channel' (b)."
    ]


@pytest.mark.parametrize("long_s", [preparing.LONG_S, 0.5], ids=["whole", "in-blocks"])
@pytest.mark.parametrize("peak", [2.5, 0.01])
def test_prepare_scales_what_16_bits_do_not_hold(
    peak: float, long_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "LONG_S", long_s)
    folder = tmp_path / "corpus" / "alice"
    folder.mkdir(parents=True)
    wave_S = of(0)
    wave_S *= peak / np.abs(wave_S).max()
    soundfile.write(folder / "x.wav", wave_S, RATE, "FLOAT")
    done = prepare(scan([tmp_path / "corpus"], "folders"), tmp_path / "prepared")
    packed_S = Packed.open(tmp_path / "prepared").wave(0).astype(np.float64)
    assert np.corrcoef(packed_S, wave_S)[0, 1] > 0.999_999
    assert any("scaled to fit into 16 bits" in warning for warning in done.warnings)
    found = audio.inspect(folder / "x.wav")
    assert any("over full scale" in warning for warning in found.warnings) == (peak > 1)


def test_prepare_takes_a_file_whose_name_is_not_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / "corpus" / "alice"
    folder.mkdir(parents=True)
    soundfile.write(folder / "x.wav", of(0), RATE)
    (folder / "x.wav").rename(Path(os.fsdecode(os.fsencode(folder) + b"/sp\xe9cial.wav")))
    soundfile.write(folder / "größe.wav", of(0, 1), RATE)
    assert prepare(scan([tmp_path / "corpus"], "folders"), tmp_path / "prepared").dropped == {}
    names = " ".join(Packed.open(tmp_path / "prepared").utterances())
    assert r"sp\xe9cial" in names
    assert "größe" in names


@pytest.mark.real
def test_the_real_cases(real_data: Path) -> None:
    cases = real_data.parent / "cases"
    with voxid.Recognizer("sqlite://") as recognizer:
        call = cases / "stereo_call_no_channel" / "call16.flac"
        with pytest.raises(AudioError, match="two channels"):
            recognizer.enroll("agent", call)
        recognizer.enroll("agent", audio.Part(call, channel=0))
        recognizer.enroll("customer", audio.Part(call, channel=1))
        agent = cases / "stereo_call_no_channel" / "agent.flac"
        known = {name: recognizer.verify(name, agent).llr for name in ("agent", "customer")}
    assert known["agent"] > 0 > known["customer"], known
    found = audio.inspect(cases / "float_wav_over_1" / "01.wav")
    assert any("over full scale" in warning for warning in found.warnings)
