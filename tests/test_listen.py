"""Listening until enough was said: from a recording in place of a microphone, and a fake sound library."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import soundfile
from commands import invoke
from hearing import SpectrumRuntime, calibrated, say
from typer.testing import CliRunner

from voxid.audio import inspect, require_speech
from voxid.audio.microphone import listen, microphone
from voxid.cli import build_app
from voxid.corpora.synthetic import speak, voice
from voxid.errors import (
    AudioError,
    AudioSilent,
    BadConfig,
    BadStoreUrl,
    MissingExtra,
    NotWritable,
    PersonNotFound,
    TooLittleSpeech,
)
from voxid.recognizer import hearing as hearing_room

RATE = 16_000


@pytest.fixture(scope="module")
def spoken() -> np.ndarray:
    return speak(voice(0), 12.0, np.random.default_rng(0))


def in_blocks(wave_S: np.ndarray, size: int = 4000) -> Iterator[np.ndarray]:
    for start in range(0, wave_S.size, size):
        yield wave_S[start : start + size]


def test_it_stops_once_enough_was_said(spoken: np.ndarray) -> None:
    seen: list[tuple[float, float]] = []
    found = listen(in_blocks(spoken), wanted_s=3.0, progress=lambda had, total: seen.append((had, total)))
    assert 3.0 <= found.net_speech_s < 5.0
    assert found.total_s < 7.0
    np.testing.assert_array_equal(found.wave, spoken[: found.wave.size])  # type: ignore[union-attr]
    assert seen[-1] == (found.net_speech_s, found.total_s)
    assert all(had < 3.0 for had, _ in seen[:-1])


def test_silence_first_is_no_reason_to_stop(spoken: np.ndarray) -> None:
    found = listen(in_blocks(np.concatenate((np.zeros(5 * RATE, np.float32), spoken))), wanted_s=2.0)
    assert 2.0 <= found.net_speech_s < 4.0
    assert found.total_s > 7.0


def test_it_stops_when_the_time_is_over(spoken: np.ndarray) -> None:
    def forever() -> Iterator[np.ndarray]:
        rng = np.random.default_rng(0)
        while True:
            yield (0.01 * rng.standard_normal(4000)).astype(np.float32)

    found = listen(forever(), wanted_s=3.0, most_s=6.0)
    assert found.total_s == 6.0
    with pytest.raises(TooLittleSpeech, match=r"0\.0 s of speech in 6\.0 s"):
        require_speech(found, 3.0)


def test_a_recording_that_ends_early_gives_what_it_has(spoken: np.ndarray) -> None:
    found = listen(in_blocks(spoken[: 3 * RATE + 123]), wanted_s=50.0)
    assert found.total_s == pytest.approx(3 + 123 / RATE)
    assert found.net_speech_s == inspect((spoken[: 3 * RATE + 123], RATE)).net_speech_s


@pytest.mark.parametrize("wave_S", [np.zeros(5 * RATE, np.float32), np.zeros(0, np.float32)])
def test_a_muted_microphone_is_said_to_be_silent(wave_S: np.ndarray) -> None:
    with pytest.raises(AudioSilent, match="Is it muted"):
        listen(in_blocks(wave_S), wanted_s=2.0)


@pytest.mark.parametrize("wanted", [0.0, -1.0, 130.0, float("nan")])
def test_how_much_is_wanted_must_make_sense(wanted: float) -> None:
    with pytest.raises(BadConfig, match="at most 120 seconds"):
        listen([], wanted_s=wanted)


# -- the sound library -------------------------------------------------------------------------------------


class FakeSound(types.ModuleType):
    """As much of sounddevice as is used: a stream that calls back with samples (S, 1)."""

    class PortAudioError(Exception):
        pass

    def __init__(self, wave_S: np.ndarray, works: bool = True) -> None:
        super().__init__("sounddevice")
        self.opened: dict[str, Any] = {}
        self.closed = 0
        outer = self

        class InputStream:
            def __init__(self, callback: Any, **options: Any) -> None:
                if not works:
                    raise outer.PortAudioError("Error querying device -1")
                outer.opened, self._callback = options, callback

            def start(self) -> None:
                shared_SC = np.zeros(
                    (outer.opened["blocksize"], 1), np.float32
                )  # PortAudio reuses its buffer
                for block in in_blocks(wave_S, outer.opened["blocksize"]):
                    shared_SC[: block.size, 0] = block
                    self._callback(shared_SC[: block.size], block.size, None, None)

            def stop(self) -> None:
                pass

            def close(self) -> None:
                outer.closed += 1

        self.InputStream = InputStream


def test_the_microphone_is_read_and_closed(spoken: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeSound(spoken)
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    with closing(microphone("USB")) as blocks:
        found = listen(blocks, wanted_s=3.0)
    np.testing.assert_array_equal(found.wave, spoken[: found.wave.size])  # type: ignore[union-attr]
    assert (fake.opened["samplerate"], fake.opened["channels"], fake.opened["device"]) == (RATE, 1, "USB")
    assert fake.closed == 1


def test_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSound(np.zeros(0), works=False))
    with pytest.raises(AudioError, match=r"querying device -1.*--from FILE"):
        next(microphone())


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtra, match=r"voxid\[mic\]"):
        next(microphone())


def test_no_portaudio(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(MissingExtra, match="libportaudio2"):
        next(microphone())


# -- the command ---------------------------------------------------------------------------------


@pytest.fixture
def recording(spoken: np.ndarray, tmp_path: Path) -> Path:
    soundfile.write(tmp_path / "spoken.wav", spoken, RATE)
    return tmp_path / "spoken.wav"


def run(*words: object) -> Any:
    return invoke(["listen", *map(str, words)])


def test_the_command_writes_what_was_said(recording: Path, tmp_path: Path) -> None:
    done = run("--from", recording, "--out", tmp_path / "out.wav", "--seconds", "3", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    wave_S, rate = soundfile.read(tmp_path / "out.wav")
    assert (rate, wave_S.size / RATE) == (RATE, said["total_s"])
    assert 3 <= said["net_speech_s"] < 5
    assert "of 3 s of speech" in done.stderr


def test_an_unwritable_place_is_said(recording: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    done = run("--from", recording, "--out", tmp_path / "folder", "--seconds", "3")
    assert isinstance(done.exception, NotWritable)


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ([], "--out"),
        (["--as", "sing"], "verify, identify, enroll"),
        (["--as", "verify"], "needs a name"),
        (["alice", "--as", "identify"], "a name"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], what: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert what in done.output


class FakeRecognizer:
    asked: ClassVar[list[tuple[Any, ...]]] = []
    yes = True

    def __init__(self, db: str, model: str, **options: Any) -> None:
        self.options = options

    def get(self, name: str) -> None: ...

    def __enter__(self) -> FakeRecognizer:
        return self

    def __exit__(self, *error: object) -> None: ...

    def _answer(self, *asked: Any) -> Any:
        self.asked.append((*asked, self.options))
        return types.SimpleNamespace(accepted=self.yes, known=self.yes, to_dict=lambda: {"yes": self.yes})

    enroll = verify = identify = _answer


@pytest.mark.parametrize("yes", [True, False])
@pytest.mark.parametrize("verb", ["verify", "identify", "enroll"])
def test_what_was_said_is_asked_about(
    recording: Path, monkeypatch: pytest.MonkeyPatch, verb: str, yes: bool
) -> None:
    monkeypatch.setattr("voxid.recognizer.Recognizer", FakeRecognizer)
    monkeypatch.setattr(FakeRecognizer, "yes", yes)
    monkeypatch.setattr(FakeRecognizer, "asked", asked := [])
    who = [] if verb == "identify" else ["alice"]
    done = run(*who, "--as", verb, "--from", recording, "--seconds", "2", "--cost-miss", "7", "--json")
    assert done.exit_code == (0 if yes or verb == "enroll" else 1), done.output
    assert json.loads(done.stdout)[verb] == {"yes": yes}
    [(*given, options)] = asked
    audio = given[-1][0] if verb == "enroll" else given[-1]
    assert given[:-1] == who
    assert 2 <= inspect(audio).net_speech_s < 4
    assert options["cost_miss"] == 7


# -- with the real recognizer and a small model ------------------------------------------------------------


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a long recording of each of three; `--model NAME` is a runtime without torch."""
    monkeypatch.chdir(tmp_path)
    line = calibrated(prior=0.3)
    monkeypatch.setattr(
        hearing_room, "load", lambda name, device="cpu": SpectrumRuntime(str(name), calibration=line)
    )
    for speaker, name in enumerate(("alice", "bob", "carol")):
        for take in (1, 9):
            soundfile.write(f"{name}{take}.wav", *say(speaker, take, seconds=12.0))
    return tmp_path


def test_from_listening_to_an_answer(people: Path) -> None:
    enrolled = run("alice", "--as", "enroll", "--from", "alice1.wav", "--seconds", "4", "--json")
    assert enrolled.exit_code == 0, enrolled.output
    said = json.loads(enrolled.stdout)
    assert 4 <= said["enroll"]["speech_s"] == pytest.approx(said["heard"]["net_speech_s"])
    assert run("bob", "--as", "enroll", "--from", "bob1.wav").exit_code == 0  # ends before its 20 s
    yes = run("alice", "--as", "verify", "--from", "alice9.wav")
    no = run("alice", "--as", "verify", "--from", "bob9.wav")
    assert (yes.exit_code, no.exit_code) == (0, 1)
    assert yes.stdout.startswith("accepted as 'alice': LLR")
    assert no.stdout.startswith("not accepted as 'alice': LLR")
    known = run("--as", "identify", "--from", "bob9.wav", "--json")
    assert (known.exit_code, json.loads(known.stdout)["identify"]["speaker"]) == (0, "bob")
    unknown = run("--as", "identify", "--from", "carol9.wav")
    assert (unknown.exit_code, unknown.stdout[:9]) == (1, "unknown: ")


def test_a_recording_from_standard_input(people: Path) -> None:
    assert run("alice", "--as", "enroll", "--from", "alice1.wav").exit_code == 0
    content = Path("alice9.wav").read_bytes()
    done = invoke(["listen", "--as", "identify", "--from", "-"], input=content)
    assert done.stdout.startswith("'alice'"), done.output


def test_nobody_is_asked_to_talk_before_the_microphone_is_there(
    spoken: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSound(spoken, works=False))
    broken = run("--out", str(tmp_path / "said.wav"))
    assert isinstance(broken.exception, AudioError)
    assert "talk now" not in broken.stderr
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSound(spoken))
    assert run("--out", str(tmp_path / "said.wav"), "--seconds", "2").stderr.startswith("listening: talk now")


def test_costs_move_the_threshold(people: Path) -> None:
    run("alice", "--as", "enroll", "--from", "alice1.wav")
    words = ("--prior", "0.5", "--cost-false-alarm", "3", "--cost-miss", "1", "--json")
    done = run("alice", "--as", "verify", "--from", "alice9.wav", *words)
    assert json.loads(done.stdout)["verify"]["threshold"] == pytest.approx(np.log(3))


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["nobody", "--as", "verify"], PersonNotFound),
        (["--as", "identify", "--prior", "2"], BadConfig),
        (["--as", "identify", "--db", "mysql://people"], BadStoreUrl),
    ],
    ids=["nobody", "prior", "store"],
)
def test_what_cannot_be_answered_is_refused_before_listening(
    people: Path, words: list[str], error: type[Exception]
) -> None:
    done = run(*words, "--from", "alice9.wav", "--out", "said.wav")
    assert isinstance(done.exception, error), done.output
    assert "of speech" not in done.stderr
    assert not Path("said.wav").exists()


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person on each channel."""
    path = tmp_path_factory.mktemp("call") / "call.wav"
    sides = [speak(voice(n), 12.0, np.random.default_rng(n)) for n in (0, 1)]
    soundfile.write(path, np.stack(sides, axis=1), RATE)
    return path


def test_one_channel_of_a_recording(call: Path, tmp_path: Path) -> None:
    run = CliRunner()
    told = run.invoke(build_app(), ["listen", "--from", str(call), "-o", str(tmp_path / "mix.wav")])
    assert "the two channels hold different sound" in told.output
    chosen = run.invoke(
        build_app(), ["listen", "--from", str(call), "--channel", "1", "-o", str(tmp_path / "one.wav")]
    )
    assert chosen.exit_code == 0
    assert "different sound" not in chosen.output
    wave_S, _ = soundfile.read(tmp_path / "one.wav", dtype="int16")
    np.testing.assert_array_equal(wave_S, soundfile.read(call, dtype="int16")[0][: wave_S.size, 1])
    lost = run.invoke(build_app(), ["listen", "--channel", "1", "-o", str(tmp_path / "no.wav")])
    assert lost.exit_code == 2
    assert "a microphone has one" in " ".join(lost.output.replace("│", " ").split())
