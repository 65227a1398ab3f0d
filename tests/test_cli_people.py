"""The verbs on the command line: enroll, verify, identify, speakers; and the five lines without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import invoke
from hearing import RATE, SpectrumRuntime, calibrated, say
from typer.testing import Result

from voxid.errors import AudioNotFound
from voxid.pretrained import shipped
from voxid.recognizer import hearing as hearing_room
from voxid.scoring import Calibration


@pytest.fixture(scope="module")
def line() -> Calibration:
    return calibrated(prior=0.3)


@pytest.fixture
def there(line: Calibration, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with recordings; `--model NAME` is a runtime of that name, without torch."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        hearing_room, "load", lambda name, device="cpu": SpectrumRuntime(str(name), calibration=line)
    )
    for speaker, name in enumerate(("alice", "bob", "carol")):
        for take in (1, 2, 9):
            soundfile.write(f"{name}{take}.wav", *say(speaker, take))
    soundfile.write("silence.wav", np.zeros(RATE), RATE)
    return tmp_path


def voxid(*arguments: str, input: bytes | None = None, env: dict[str, str] | None = None) -> Result:
    return invoke([*arguments], input=input, env=env)


def told(*arguments: str) -> tuple[int, dict]:
    result = voxid(*arguments, "--json")
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def two(there: Path) -> Path:
    for name in ("alice", "bob"):
        assert voxid("enroll", name, f"{name}1.wav", f"{name}2.wav").exit_code == 0
    return there


def test_enroll_says_how_far_it_came(there: Path) -> None:
    result = voxid("enroll", "alice", "alice1.wav")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("'alice' is enrolled with 1 clip:")
    assert "more make a good voiceprint" in result.stdout
    code, more = told("enroll", "alice", "alice2.wav")
    assert (code, more["voiceprints"], more["created"], more["complete"]) == (0, 2, False, False)
    assert told("enroll", "alice", "bob1.wav", "--replace")[1]["voiceprints"] == 1
    assert (there / "voxid.db").exists()


def test_verify_exits_0_or_1(two: Path) -> None:
    yes, no = voxid("verify", "alice", "alice9.wav"), voxid("verify", "alice", "bob9.wav")
    assert (yes.exit_code, no.exit_code) == (0, 1)
    assert yes.stdout.startswith("accepted as 'alice': LLR")
    assert no.stdout.startswith("not accepted as 'alice': LLR")
    code, decision = told("verify", "alice", "bob9.wav")
    assert (code, decision["accepted"], decision["speaker"]) == (1, False, "alice")


def test_identify_exits_0_or_1(two: Path) -> None:
    known, unknown = voxid("identify", "bob9.wav"), voxid("identify", "carol9.wav")
    assert (known.exit_code, unknown.exit_code) == (0, 1)
    assert known.stdout.startswith("'bob': the nearest is 'bob', LLR")
    assert unknown.stdout.startswith("unknown: ")
    code, found = told("identify", "bob9.wav", "--top", "1")
    assert (code, found["speaker"], len(found["candidates"]), found["enrolled"]) == (0, "bob", 1, 2)


def test_the_threshold_can_be_said(two: Path) -> None:
    assert voxid("verify", "bob", "bob9.wav", "--prior", "0.000000001").exit_code == 1
    stated = told(
        "verify", "bob", "bob9.wav", "--prior", "0.5", "--cost-false-alarm", "3", "--cost-miss", "1"
    )
    assert stated[1]["threshold"] == pytest.approx(np.log(3))
    assert "false-alarm rate 0.1" in told("identify", "bob9.wav", "--far", "0.1")[1]["reason"]
    compared = told("compare", "bob1.wav", "bob9.wav", "--far", "0.1")
    assert compared[0] == 0
    assert "false-alarm rate 0.1" in compared[1]["reason"]


def test_a_recording_from_standard_input(two: Path) -> None:
    content = Path("bob9.wav").read_bytes()
    assert voxid("verify", "bob", "-", input=content).exit_code == 0
    assert voxid("verify", "alice", "-", input=content).exit_code == 1
    assert voxid("identify", "-", input=content).stdout.startswith("'bob'")
    assert voxid("enroll", "bob too", "-", input=content).exit_code == 0
    assert voxid("compare", "bob1.wav", "-", input=content).exit_code == 0
    assert voxid("compare", "-", "-", input=content).exit_code == 2


def test_where_people_are_kept(there: Path) -> None:
    assert voxid("enroll", "alice", "alice1.wav", "--db", "sqlite:///a.db").exit_code == 0
    assert told("speakers", "list", "--db", "sqlite:///a.db")[1]["people"][0]["name"] == "alice"
    assert voxid("speakers", env={"VOXID_DB": "sqlite:///a.db"}).stdout.startswith(
        "1 person in collection 'default' of"
    )
    assert voxid("speakers").stdout.startswith("0 people")
    assert voxid("speakers", "--collection", "x", "--db", "sqlite:///a.db").stdout.startswith("0 people")
    plain = voxid("speakers", "--db", "a.db", "show", "alice")  # a path, and options before the action
    assert plain.stdout.startswith("'alice': 1 clip")
    assert voxid("verify", "alice", "alice9.wav", "--db", "a.db", "--device", "cpu").exit_code == 0


def test_every_command_that_hears_takes_a_detector_and_a_device(two: Path) -> None:
    shutil.copytree(shipped()["voxid-base"], "mine")
    rows = [f"{name},{name}{clip}.wav" for name in ("alice", "bob") for clip in (1, 9)]
    Path("heard.csv").write_text("\n".join(["speaker,path", *rows]))
    for asked in (
        "verify alice alice9.wav",
        "identify bob9.wav",
        "compare bob1.wav bob9.wav",
        "enroll c bob9.wav",
        "evaluate voxid-base --data heard.csv",
        "calibrate mine --data heard.csv",
    ):
        result = voxid(*asked.split(), "--vad", "loud", "--device", "cpu")
        assert "no detector named 'loud'. Known: energy, silero" in str(result.exception)


def test_speakers_from_list_to_delete(two: Path) -> None:
    assert [row["name"] for row in told("speakers")[1]["people"]] == ["alice", "bob"]
    assert voxid("speakers", "rename", "bob", "robert").exit_code == 0
    shown = told("speakers", "show", "robert")[1]
    assert [p["source"] for p in shown["voiceprints"]] == ["bob1.wav", "bob2.wav"]
    assert told("speakers", "remove", "robert", shown["voiceprints"][0]["id"])[1]["clips"] == 1
    assert voxid("speakers", "export", "robert", "-o", "robert.json").exit_code == 0
    assert Path("robert.json").stat().st_mode & 0o777 == 0o600  # voiceprints, as in the database
    printed = json.loads(voxid("speakers", "export", "robert").stdout)
    assert printed.keys() == json.loads(Path("robert.json").read_text()).keys()
    code, gone = told("speakers", "delete", "robert")
    assert (code, gone["voiceprints"]) == (0, 1)
    assert voxid("identify", "bob9.wav").exit_code == 1
    assert voxid("speakers", "import", "robert.json").exit_code == 0
    assert voxid("identify", "bob9.wav").stdout.startswith("'robert'")
    assert "delete" in str(told("speakers", "audit")[1])


def test_speakers_in_words(two: Path) -> None:
    listed = voxid("speakers").stdout.splitlines()
    assert listed[0] == "2 people in collection 'default' of sqlite:///voxid.db"
    speech_s = told("speakers")[1]["people"][0]["speech_s"]
    assert speech_s == round(speech_s, 2)
    assert listed[1].startswith(f"'alice': 2 clips, {speech_s:.1f} s of speech, since 20")
    voxid("speakers", "rename", "bob", "robert")
    trail = voxid("speakers", "audit", "robert").stdout
    assert "renamed  'robert'  from: 'bob'" in trail
    [first, *_] = told("speakers", "show", "robert")[1]["voiceprints"]
    assert voxid("speakers", "remove", "robert", first["id"]).stdout == "'robert' has 1 clip now\n"
    assert voxid("speakers", "delete", "robert").stdout == "'robert' is deleted, with 1 voiceprint\n"
    assert "robert" not in voxid("speakers", "audit").stdout  # the name went with its bearer
    assert "deleted  person 2 (deleted)  voiceprints: 1" in voxid("speakers", "audit").stdout
    assert voxid("speakers", "audit", "robert").stdout.startswith("nothing is recorded of 'robert' in")


def test_identify_says_where_nobody_is(there: Path) -> None:
    code, found = told("identify", "bob9.wav", "--db", "sqlite:///elsewhere.db")
    assert (code, found["known"]) == (1, False)
    assert found["reason"] == "nobody is enrolled in collection 'default' of sqlite:///elsewhere.db"


def test_speakers_reembed(two: Path) -> None:
    for name in ("alice", "bob"):
        (two / "kept" / name).mkdir(parents=True)
        (two / f"{name}1.wav").rename(two / "kept" / name / "1.wav")
    (two / "kept" / "bob").rename(two / "bob")
    code, half = told("speakers", "reembed", "kept", "--model", "other")
    assert (code, half["finished"], half["missing"]) == (1, False, ["bob"])
    (two / "bob").rename(two / "kept" / "bob")
    assert told("speakers", "reembed", "kept", "--model", "other")[0] == 0
    assert voxid("verify", "bob", "bob9.wav", "--model", "other").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ("verify alicia alice9.wav", "PersonNotFound", "Did you mean 'alice'?"),
        ("verify alice none.wav", "AudioNotFound", "none.wav"),
        ("verify alice silence.wav", "AudioSilent", "silence.wav"),
        ("verify alice alice9.wav --model other", "ModelMismatch", "reembed"),
        ("verify alice alice9.wav --far 0.0000001", "BadScores", "cannot be promised"),
        ("verify alice alice9.wav --far 0.1 --cost-miss 2", "BadConfig", "two ways"),
        ("verify alice alice9.wav --db mysql://here", "BadStoreUrl", "mysql://here"),
        ("speakers delete nobody", "PersonNotFound", "nobody"),
        ("speakers import none.json", "StoreError", "none.json"),
        ("speakers import alice9.wav", "StoreError", "not JSON"),
    ],
)
def test_errors_name_what_is_wrong(two: Path, arguments: str, error: str, said: str) -> None:
    result = voxid(*arguments.split())
    assert type(result.exception).__name__ == error
    assert said in str(result.exception)


@pytest.mark.parametrize(
    "words", ["nothing", "show", "rename alice", "delete a b", "list alice", "audit a b", "reembed"]
)
def test_wrong_words_after_speakers(two: Path, words: str) -> None:
    result = voxid("speakers", *words.split())
    assert result.exit_code == 2
    known = "Known: list, show" in " ".join(result.output.split())
    assert known or f"voxid speakers {words.split()[0]}" in result.output


FIVE_LINES = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "safetensors", "pyarrow", "matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTorch())
import voxid

rec = voxid.Recognizer("sqlite:///people.db", model="exported")
print(rec.enroll("alice", ["alice1.wav", "alice2.wav"]))
print(rec.verify("alice", "alice9.wav"))
print(rec.identify("alice9.wav", top=5))
print(voxid.compare("alice1.wav", "bob1.wav", model="exported"))
assert "torch" not in sys.modules
"""


def test_the_five_lines_need_no_torch_and_torch_answers_alike(there: Path) -> None:
    """Whom onnxruntime enrolled, torch knows: one fingerprint, one answer."""
    from voxid.embed import load
    from voxid.model.network import Model
    from voxid.recognizer import Recognizer

    exported = shutil.copytree(shipped()["voxid-base"], there / "exported")
    model = Model.load(exported)  # with a calibration that accepts everything
    model.calibration = Calibration(
        scale=10.0, offset=0.0, prior=0.5, threshold=-20.0, model=model.fingerprint
    )
    model.save(exported)
    assert (exported / "encoder.onnx").exists()
    script = FIVE_LINES + 'print(rec.verify("alice", "alice9.wav").to_json())'
    command = [sys.executable, "-W", "error", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=there, check=False)
    assert done.returncode == 0, done.stderr
    answers = [text for text in done.stdout.splitlines() if not text.startswith("  ")]
    assert [answer.split(":")[0].split(" is ")[0] for answer in answers[:4]] == [
        "'alice'",
        "accepted as 'alice'",
        "'alice'",
        "accepted as the same speaker",
    ]
    with Recognizer("sqlite:///people.db", model=load(exported, engine="torch")) as rec:
        by_torch = rec.verify("alice", "alice9.wav")
    assert json.loads(answers[4])["llr"] == pytest.approx(by_torch.llr, abs=1e-3)


def test_a_recording_that_cannot_be_read_is_told_before_anybody_is_read(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million people take seconds to read; a mistyped path takes none."""
    monkeypatch.setattr("voxid.recognizer.roster.Roster.load", lambda *_: pytest.fail("everybody was read"))
    answer = voxid("identify", "nowhere.wav", "--db", "sqlite:///people.db")
    assert isinstance(answer.exception, AudioNotFound)
