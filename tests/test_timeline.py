"""Who spoke when: made conversations whose turns are known, names, transcripts, and recordings that go wrong.

# S samples
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hearing import RATE, SpectrumRuntime, calibrated, say
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform
from typer.testing import CliRunner

from benchmarks.timeline import apart, long_one, make_long, measure
from voxid.audio import inspect, voicing
from voxid.audio.voicing import VoicingMeter
from voxid.cli import build_app
from voxid.corpora.synthetic import make_corpus
from voxid.errors import (
    AudioEmpty,
    AudioSilent,
    AudioTooShort,
    BadAudioInput,
    BadConfig,
    BadScores,
    ModelMismatch,
)
from voxid.metrics.diarization import Spoken, assign, compare_rttm, read_rttm, rttm, timeline_errors
from voxid.recognizer import Recognizer, conversing
from voxid.scoring import Calibration, Cohort, Side
from voxid.scoring import cohort as cohort_room
from voxid.timeline import Timeline, Turn
from voxid.timeline import speakers as speakers_room
from voxid.timeline.clustering import agglomerate, smoothed
from voxid.timeline.conversations import make_conversations
from voxid.timeline.naming import EASE, names_of
from voxid.timeline.speakers import settled, speakers_of
from voxid.timeline.streaming import LATENCY_S
from voxid.timeline.transcript import read, with_names
from voxid.timeline.windows import Windows
from voxid.types import Candidate, Identification

PLAN = [(0, 5.0), (1, 6.0), (2, 4.0), (0, 4.0), (2, 5.0), (1, 4.0)]  # who talks, for how many seconds
PAUSE_S = 0.4


def talk(plan: list[tuple[int, float]] = PLAN) -> tuple[np.ndarray, list[Spoken]]:
    """Return the samples of a conversation of made-up voices, and who talks when."""
    pieces, spoken, at = [np.zeros(0, np.float32)], [], 0.0
    room = np.random.default_rng(0)
    for take, (who, seconds) in enumerate(plan):
        pieces += [say(who, take + 10, seconds)[0], 0.002 * room.standard_normal(int(PAUSE_S * RATE))]
        spoken.append(Spoken(at, at + seconds, f"p{who}"))
        at += seconds + PAUSE_S
    return np.concatenate(pieces).astype(np.float32), spoken


@pytest.fixture(scope="module")
def rec() -> Recognizer:
    made = Recognizer("sqlite://", model=SpectrumRuntime(calibration=calibrated(prior=0.3)))
    made.enroll("p0", [say(0, 1), say(0, 2)])
    made.enroll("p1", [say(1, 1), say(1, 2)])
    made.enroll("Zoë O'Hara", [say(7, 1), say(7, 2)])
    return made


@pytest.fixture(scope="module")
def found(rec: Recognizer) -> Timeline:
    return rec.timeline((talk()[0], RATE))


def test_turns_and_names_are_right(found: Timeline) -> None:
    assert [turn.speaker for turn in found.turns] == ["p0", "p1", "unknown 1", "p0", "unknown 1", "p1"]
    truth = [Spoken(*one[:2], "unknown 1" if one.speaker == "p2" else one.speaker) for one in talk()[1]]
    errors = timeline_errors(truth, found.spoken, collar_s=0.25)
    assert errors.der < 0.02
    assert (errors.wrong_name, errors.unnamed) == (0.0, 0.0)
    known = {one.speaker: one.known for one in found.speakers}
    assert known == {"p0": True, "p1": True, "unknown 1": False}
    for one in found.speakers:
        assert one.llr is not None
        assert one.threshold is not None
        assert (one.llr >= one.threshold) == one.known
    assert all((turn.llr or 0) > 1 for turn in found.turns if turn.speaker != "unknown 1")
    assert sum(turn.speech_s for turn in found.turns) == pytest.approx(
        sum(one.speech_s for one in found.speakers), abs=0.1
    )
    assert any("overlapped speech" in said for said in found.warnings)


def test_json_rttm_labels_and_text(found: Timeline, tmp_path: Path) -> None:
    first = json.loads(found.to_json())["turns"][0]
    assert first["speaker"] == "p0"
    assert {"start", "end", "speaker", "llr", "speech_s", "confidence", "doubtful"} <= set(first)
    (tmp_path / "a.rttm").write_text(found.to_rttm("a talk"))
    [(name, spoken)] = read_rttm(tmp_path / "a.rttm").items()
    assert name == "a_talk"
    assert spoken[2].speaker == "unknown_1"
    assert compare_rttm(tmp_path / "a.rttm", tmp_path / "a.rttm")["a_talk"].der == 0
    assert found.to_audacity().splitlines()[0].split("\t")[2] == "p0"
    assert re.search(r"^0:00\.\d - 0:0\d\.\d  p0  LLR", str(found))


def test_nobody_enrolled_and_the_number_of_speakers() -> None:
    line = calibrated(prior=0.3)
    alone = Recognizer("sqlite://", model=SpectrumRuntime(calibration=line))
    audio = (talk()[0], RATE)
    assert [one.speaker for one in alone.timeline(audio).speakers] == ["speaker 1", "speaker 2", "speaker 3"]
    assert {turn.llr for turn in alone.timeline(audio).turns} == {None}
    assert len(alone.timeline(audio, speakers=2).speakers) == 2
    assert [one.speaker for one in alone.timeline(say(3, 1, 9.0)).speakers] == ["speaker 1"]  # one person
    with pytest.raises(BadConfig, match="whole number from 1; got 0"):
        alone.timeline(audio, speakers=0)
    alone.enroll("p0", say(0, 1))
    other = Recognizer(alone.store, model=SpectrumRuntime("another", calibration=line))
    with pytest.raises(ModelMismatch):
        other.timeline(audio)


def test_a_speaker_is_compared_with_the_people_enrolled_once(
    rec: Recognizer, found: Timeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    ranked = rec._ranked
    monkeypatch.setattr(rec, "_ranked", lambda *given: asked.append(given) or ranked(*given))
    assert rec.timeline((talk()[0], RATE)).to_dict() == found.to_dict()
    assert len(asked) == len(found.speakers)


def test_many_windows_are_clustered_in_parts(rec: Recognizer, found: Timeline, monkeypatch: Any) -> None:
    monkeypatch.setattr(speakers_room, "TOGETHER", 12)
    again = rec.timeline((talk()[0], RATE))
    assert [turn.speaker for turn in again.turns] == [turn.speaker for turn in found.turns]


def made_windows(of_W: list[str]) -> Windows:
    """Return windows of "a" and "A", one person near and far from the microphone, and "b", another person.

    Cosines: of two windows 0.6, of an "a" and an "A" 0.4, but 0.67 of the means of many; 0 of two people.
    """
    size = len(of_W)
    emb_WD = np.concatenate((np.zeros((size, 4)), np.eye(size)), axis=1)  # a person, where they are; noise
    for w, who in enumerate(of_W):
        emb_WD[w, [0, 1]] = {"a": (1, 0.5**0.5), "A": (1, 0), "b": (0, 0)}[who]
        emb_WD[w, [2, 3]] = {"a": (0, 0), "A": (0.5**0.5, 0), "b": (0, 1.5**0.5)}[who]
    at_W = 0.75 * np.arange(size)
    slot_WE = np.stack((at_W, at_W + 0.75), axis=1)
    return Windows(at_W, at_W + 1.5, slot_WE, np.full(size, 0.75), Side.of(emb_WD, np.full(size, 1.5)))


def test_clusters_that_sound_alike_as_a_whole_are_one_speaker(monkeypatch: pytest.MonkeyPatch) -> None:
    line, once = Calibration(scale=20.0, offset=-9.0), [*"a" * 12, *"b" * 6, *"A" * 12]

    def found(of_W: list[str]) -> list[int]:
        return speakers_of(made_windows(of_W), line, None).argmax(axis=1).tolist()

    assert found(once) == [0] * 12 + [1] * 6 + [0] * 12
    assert found([*"aaaaaa", *"bbb", *"a" * 300]) == [0] * 309  # 2 s of four minutes are no speaker,
    assert found([*"aaaaaa", *"bbb", *"a" * 9]) == [0] * 6 + [1] * 3 + [0] * 9  # and of 14 s they are
    monkeypatch.setattr(speakers_room, "JOIN_LLR", 99.0)
    assert found(once) == [0] * 12 + [1] * 6 + [2] * 12


def test_a_speaker_who_keeps_too_little_is_none_in_the_next_pass() -> None:
    """A cluster that began with six windows has three after the first pass: 2.2 s of net speech."""
    windows, line = made_windows([*"a" * 12, *"bbb", *"a" * 12]), Calibration(scale=20.0, offset=-9.0)
    begun_W = np.array([0] * 10 + [1] * 6 + [0] * 11)
    for least_s, who in ((2.0, 1), (2.5, 0)):
        label_W = settled(windows, begun_W, line, None, least_s).argmax(axis=1)
        assert label_W.tolist() == [0] * 12 + [who] * 3 + [0] * 12


def test_a_stream_looks_at_the_same_sound_once(monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[int] = []
    rates = voicing._rates
    monkeypatch.setattr(voicing, "_rates", lambda f, *rest: frames.append(len(f)) or rates(f, *rest))
    meter, whole = VoicingMeter(), VoicingMeter()
    wave_S = say(0, 1, 8.0)[0]
    for chunk_S in np.split(wave_S, 40):
        meter.add(chunk_S)
        live_V = meter.voiced()
    assert sum(frames) <= 2 * 8 / 0.02  # once as it is heard, once as part of a whole batch
    whole.add(wave_S)
    np.testing.assert_array_equal(live_V, whole.voiced())
    rows: list[int] = []
    near = cohort_room.top_statistics
    monkeypatch.setattr(cohort_room, "top_statistics", lambda *g: rows.append(len(g[0])) or near(*g))
    cohort, emb_ND = Cohort(np.eye(5, dtype=np.float32)), np.random.default_rng(0).normal(size=(4, 5))
    seen = cohort.remembering()
    for part in (slice(0, 3), slice(1, 4), slice(0, 4)):
        np.testing.assert_allclose(seen.means(emb_ND[part]), cohort.means(emb_ND[part]))
    assert rows == [3, 3, 1, 3, 4]  # seen, plain; the one that is new, plain; none, plain


def test_a_stream_ends_with_the_timeline_of_the_file(rec: Recognizer, found: Timeline) -> None:
    wave_S, truth = talk()
    stream, told, late = rec.stream(), [], []
    for chunk in np.array_split(wave_S, 97):  # of no round number of samples
        for turn in stream.add(chunk):
            told.append(turn)
            late.append(stream.heard_s - turn.end)
    assert stream.now is None or stream.now.end <= stream.heard_s
    ended = stream.end()
    assert [turn.to_dict() for turn in ended.turns] == [turn.to_dict() for turn in found.turns]
    assert [one.to_dict() for one in ended.speakers] == [one.to_dict() for one in found.speakers]
    assert stream.changes == ()  # "unknown 1" was "unknown 1" all the time
    assert max(late) <= LATENCY_S + len(wave_S) / 97 / RATE
    right = [Spoken(*one[:2], "unknown 1" if one.speaker == "p2" else one.speaker) for one in truth[:-1]]
    errors = timeline_errors(right, [Spoken(t.start, t.end, t.speaker) for t in told], collar_s=0.25)
    assert (errors.der, errors.wrong_name) < (0.1, 0.05)
    phone = rec.stream(8000)  # 16-bit samples, resampled
    line_S = (wave_S[: 12 * RATE : 2] * 30_000).astype(np.int16)
    phone.add(line_S)
    assert phone.end().to_rttm("a") == rec.timeline((line_S, 8000)).to_rttm("a")
    short = rec.stream()
    first = short.add(wave_S[: 8 * RATE])[0]
    rec.rename("p0", "Paul")  # another name in the end than on the way
    last = short.end()
    rec.rename("Paul", "p0")
    assert (first.speaker, last.turns[0].speaker) == ("p0", "Paul")
    changed = short.changes[0]
    assert (changed.start, changed.told, changed.speaker) == (last.turns[0].start, "p0", "Paul")
    for chunk, said in ((np.zeros((9, 2)), "one channel"), (np.zeros(9, np.int16), "began with float32")):
        other = rec.stream()
        other.add(np.zeros(5, np.float32))
        with pytest.raises(BadAudioInput, match=said):
            other.add(chunk)
    with pytest.raises(BadConfig, match="rate is in Hz"):
        rec.stream(0)
    with pytest.raises(AudioEmpty, match="nothing was heard"):
        rec.stream().end()


@pytest.mark.slow  # three minutes of two quiet cores
@pytest.mark.timeout(1800)
@pytest.mark.real
def test_three_hours_take_little_memory_and_time(real_data: Path, tmp_path: Path) -> None:
    [made] = apart(make_long, real_data / "LibriSpeech" / "test-other-mini", str(tmp_path), 3.0)
    spoken, cpu_s, before_mb, peak_mb = apart(long_one, made, "voxid-base")
    assert inspect(made.audio, vad=None).total_s / cpu_s > 30
    assert peak_mb < min(before_mb + 600, 800)  # three minutes take 280 more than before, three hours 490
    errors, _ = measure(made, spoken)
    assert (errors.der < 0.04, errors.speakers_found <= 6) == (True, True)  # 1.7 %, and 5 for 4


def test_each_channel_of_a_call_is_a_speaker(rec: Recognizer) -> None:
    left_S, right_S = np.zeros((2, 16 * RATE), np.float32)
    left_S[RATE : 6 * RATE], right_S[5 * RATE : 10 * RATE] = say(0, 5, 5.0)[0], say(2, 5, 5.0)[0]
    left_S[11 * RATE : 15 * RATE] = say(0, 6, 4.0)[0]
    noise = 0.001 * np.random.default_rng(1).standard_normal((16 * RATE, 2))
    call = np.stack((left_S + 0.05 * right_S, right_S + 0.05 * left_S), axis=1) + noise
    found = rec.timeline((call.astype(np.float32), RATE))
    assert [(turn.speaker, turn.channel) for turn in found.turns] == [("p0", 0), ("unknown 1", 1), ("p0", 0)]
    truth = [Spoken(1, 6, "p0"), Spoken(5, 10, "unknown 1"), Spoken(11, 15, "p0")]  # they talk at once, too
    assert timeline_errors(truth, found.spoken, collar_s=0.25).der < 0.05


def test_somebody_is_enrolled_from_a_conversation(tmp_path: Path) -> None:
    audio = (talk()[0], RATE)
    with Recognizer("sqlite://", model=SpectrumRuntime(calibration=calibrated(prior=0.3))) as own:
        own.enroll("p0", [say(0, 1), say(0, 2)])
        clips = own.timeline(audio).clips(audio, "unknown 2")
        assert [round(clip.start_s) for clip in clips] == [12, 21]
        assert own.enroll("carol", clips).voiceprints == 2
        names = [turn.speaker for turn in own.timeline(audio).turns]
        assert names == ["p0", "unknown 1", "carol", "p0", "carol", "unknown 1"]
        with pytest.raises(BadConfig, match=r"nobody is called 'unknown 7'.*Speakers: p0, unknown 1, carol"):
            own.timeline(audio).clips(audio, "unknown 7")
    soundfile.write(tmp_path / "talk.wav", say(0, 3, 6.0)[0], RATE)
    asked = ["enroll", "bob", "--from", str(tmp_path / "talk.wav"), "--db", str(tmp_path / "people.db")]
    done = CliRunner().invoke(build_app(), [*asked, "--speaker", "speaker 1", "--json"])
    assert json.loads(done.output)["voiceprints"] >= 1
    assert CliRunner().invoke(build_app(), asked).exit_code == 2  # who of them?


def test_a_turn_that_does_not_sound_like_its_name_is_somebody_else(rec: Recognizer) -> None:
    quiet_S = 0.002 * np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    pieces = [say(0, 21, 5.0)[0], quiet_S, say(2, 22, 4.0)[0], quiet_S, say(0, 23, 5.0)[0]]
    found = rec.timeline((np.concatenate(pieces), RATE), speakers=1)  # so that two people are one cluster
    assert [turn.speaker for turn in found.turns] == ["p0", "unknown 1", "p0"]
    assert (found.turns[1].llr or 0) < rec.rule().threshold() - 1
    assert [(one.speaker, one.known, one.llr is None) for one in found.speakers] == [
        ("p0", True, False),
        ("unknown 1", False, True),
    ]
    crowd = [part for take in (1, 2) for who in range(30, 40) for part in (say(who, take, 3.0)[0], quiet_S)]
    names = [turn.speaker for turn in rec.timeline((np.concatenate(crowd), RATE)).turns]
    assert names[:10] == names[10:]  # ten people, the first round and the second
    assert len(set(names)) >= 7


def test_two_voices_in_one_cluster_are_told_apart_by_who_is_enrolled(
    rec: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave_S, _ = talk([(0, 14.0), (7, 9.0), (0, 12.0)])
    monkeypatch.setattr(speakers_room, "STOP_LLR", -99.0)  # all of it becomes one cluster
    turns = rec.timeline((wave_S, RATE)).turns
    assert [turn.speaker for turn in turns] == ["p0", "Zoë O'Hara", "p0"]
    assert [turn.end for turn in turns[:2]] == pytest.approx([14.0, 23.4], abs=0.75)
    monkeypatch.setattr(conversing, "PARTINGS", 0)
    monkeypatch.setattr(conversing, "GUARD", 99.0)
    assert {turn.speaker for turn in rec.timeline((wave_S, RATE)).turns} == {"p0"}


def test_what_cannot_be_a_conversation(rec: Recognizer) -> None:
    with pytest.raises(AudioSilent):
        rec.timeline((np.zeros(5 * RATE, np.float32), RATE))
    with pytest.raises(AudioTooShort):
        rec.timeline((say(0, 1)[0][:100], RATE))
    noise = 0.05 * np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32)
    time_S, fades_S = np.arange(4 * RATE) / RATE, np.exp(-3 * (np.arange(4 * RATE) / RATE * 2 % 1))
    chord_S = sum(np.sin(2 * np.pi * hz * time_S) for hz in (220, 277, 330)) * fades_S / 10
    music = rec.timeline((np.asarray(chord_S, np.float32), RATE))  # it may pass for speech, but for nobody
    assert {turn.speaker for turn in music.turns} <= {"unknown 1"}
    heard = rec.timeline((noise, RATE))
    assert heard.turns == ()
    assert "no speech was found." in heard.warnings
    assert "nobody talks" in str(heard)
    brief = rec.timeline((np.concatenate((say(0, 1, 0.8)[0], noise[:RATE] / 25)), RATE))
    assert len(brief.turns) == 1
    assert any("the name is a guess" in said for said in brief.warnings)


def test_a_name_goes_to_the_speaker_it_fits_best() -> None:
    def heard(*llrs: tuple[str, float]) -> Identification:
        them = tuple(Candidate(i, name, llr, 0.5, 0.5, 2.0) for i, (name, llr) in enumerate(llrs, start=1))
        return Identification(True, None, them, 2.0, 3, 0.1, 0.05, "", 5.0, 5.0)

    answers = [heard(("ann", 4.0), ("bob", 3.0)), heard(("ann", 6.0)), heard(("cy", -1.0))]
    apart, alike = np.full((3, 3), -5.0), np.full((3, 3), 5.0)

    def given(answers: list[Identification], between_KK: np.ndarray, join: bool) -> list[Any]:
        named = names_of(answers, between_KK, join=join)
        return [one and (one.speaker, one.threshold) for one in named]

    ann = ("ann", 2.0)
    assert given(answers, apart, join=True) == [("bob", 2.0), ann, None]
    assert given(answers, alike, join=True) == [ann, ann, None]
    assert given(answers, alike, join=False) == [("bob", 2.0), ann, None]
    much = [
        heard(("ann", 9.0)),
        heard(("ann", 2.9)),
    ]  # far from the first, and little above 2
    assert given(much, alike, join=True) == [ann, None]
    little = [heard(("ann", 0.5), ("bob", -3.0)), heard(("ann", -1.6), ("bob", -2.0))]
    assert given(little, apart, join=True) == [("ann", 2.0 - EASE), None]  # it stands out
    assert given(little[:1], apart, join=True) == [None]  # nobody else to stand out from
    assert given([little[0], heard(("ann", -0.4))], apart, join=True) == [None, None]
    assert given([little[0], heard(("ann", 0.3))], alike, join=True) == [None, None]


def test_clustering_and_assignment_against_scipy() -> None:
    rng = np.random.default_rng(0)
    for size in (2, 7, 40):
        score = rng.normal(size=(size, size))
        score += score.T
        distance = 10 - score
        np.fill_diagonal(distance, 0)
        theirs = fcluster(linkage(squareform(distance), "average"), 10 - 0.3, "distance")
        ours = agglomerate(score, np.ones(size), stop=0.3)
        np.testing.assert_array_equal(ours[:, None] == ours, theirs[:, None] == theirs)
        assert agglomerate(score, np.ones(size), stop=0.3, count=2).max() == 1
        cost = rng.normal(size=(size, size // 2 + 1))
        rows, columns = linear_sum_assignment(cost)
        assert assign(cost) == list(zip(rows.tolist(), columns.tolist(), strict=True))
    steady = smoothed(
        np.array([[3, 0], [3, 0], [0, 1], [3, 0.0], [0, 9], [0, 9]]), np.zeros(6), change=4, trust=1
    )
    assert steady.argmax(axis=1).tolist() == [0, 0, 0, 0, 1, 1]
    np.testing.assert_allclose(steady.sum(axis=1), 1)
    brief = np.array([[9.0, 0.0], [0.0, 4.0], [9.0, 0.0]])
    for share_K, who in ((None, 1), (np.array([0.5, 0.5]), 1), (np.array([0.99, 0.01]), 0)):
        last = smoothed(brief, np.zeros(3), change=1, trust=1, share_K=share_K)
        assert last.argmax(axis=1).tolist() == [0, who, 0]


# -- measuring ----------------------------------------------------------------------------------------------


def test_errors_worked_out_by_hand(tmp_path: Path) -> None:
    truth = [Spoken(0, 10, "ann"), Spoken(10, 20, "bob")]
    found = [Spoken(0, 8, "ann"), Spoken(8, 18, "unknown 1"), Spoken(20, 22, "cy")]
    errors = timeline_errors(truth, found)
    # 8-10 is bob's by the mapping, 18-20 is missed, 20-22 is nobody's: 2 + 2 + 2 of 20
    assert (errors.confused_s, errors.missed_s, errors.false_alarm_s, errors.der) == (2, 2, 2, 0.3)
    # ann: 8 of 10 shared; bob: 8 of 12
    assert errors.jer == pytest.approx((0.2 + 1 / 3) / 2)
    assert (errors.speakers, errors.speakers_found) == (2, 3)
    assert (errors.wrong_name_s, errors.unnamed_s, errors.enrolled_s) == (0, 2, 10)  # bob could not be known
    told = timeline_errors(truth, found, enrolled=["ann", "bob"])
    assert (told.unnamed_s, told.enrolled_s) == (10, 20)
    assert timeline_errors(truth, [Spoken(0, 20, "ann")]).wrong_name == 0.5
    # 1 s at each of 0, 10 and 20 does not count: 9-11 and 19-20 go, and 0-1
    with_collar = timeline_errors(truth, found, collar_s=1.0)
    assert (with_collar.confused_s, with_collar.missed_s, with_collar.total_s) == (1, 1, 16)
    # of 5-9 and 12-15, 8-9 is confused: 1 of 7
    assert timeline_errors(truth, found, scored=[(5, 9), (12, 15)]).der == pytest.approx(1 / 7)
    (tmp_path / "a.rttm").write_text(rttm("a", truth))
    (tmp_path / "a.uem").write_text("; which stretches count\na 1 5 9\na 1 12.0 15.0\n")
    (tmp_path / "b.rttm").write_text(rttm("a", found))
    told = compare_rttm(tmp_path / "b.rttm", tmp_path / "a.rttm", uem=tmp_path / "a.uem")["a"]
    assert (told.der, told.total_s) == (pytest.approx(1 / 7), 7)
    (tmp_path / "bad.uem").write_text("a 1 9 5\n")
    with pytest.raises(BadScores, match=r"line 1.*not UEM"):
        compare_rttm(tmp_path / "b.rttm", tmp_path / "a.rttm", uem=tmp_path / "bad.uem")
    (tmp_path / "bad.uem").write_text("b 1 5 9\n")
    with pytest.raises(BadScores, match="says nothing of 'a'"):
        compare_rttm(tmp_path / "b.rttm", tmp_path / "a.rttm", uem=tmp_path / "bad.uem")
    told = timeline_errors(truth, found, enrolled=["ann", "bob"])
    both = [*truth, Spoken(4, 6, "bob")]  # 2 s at once, one of the two is missed
    assert timeline_errors(both, truth).missed_s == 2
    assert timeline_errors(both, truth, overlap=False).der == 0
    with pytest.raises(BadScores, match="empty"):
        timeline_errors([], [])
    (tmp_path / "bad.rttm").write_text("SPEAKER a 1 zero 1 <NA> <NA> ann <NA> <NA>\n")
    with pytest.raises(BadScores, match="line 1"):
        read_rttm(tmp_path / "bad.rttm")


# seed, collar on either side, overlap counted, with UEM, DER, JER: pyannote.metrics 4.2.0, core 6.1.0
PYANNOTE = [
    (0, 0.0, True, False, 0.908462, 0.639557),
    (0, 0.0, True, True, 0.912812, 0.6121),
    (0, 0.0, False, False, 1.734812, 0.770184),
    (0, 0.0, False, True, 2.063618, 0.753071),
    (0, 0.25, True, False, 0.860863, 0.666254),
    (0, 0.25, True, True, 0.872156, 0.642297),
    (0, 0.25, False, False, 1.521905, 0.798781),
    (0, 0.25, False, True, 1.838374, 0.767172),
    (1, 0.0, True, False, 0.834706, 0.497595),
    (1, 0.0, True, True, 0.956754, 0.552121),
    (1, 0.0, False, False, 2.726298, 0.534066),
    (1, 0.0, False, True, 2.754487, 0.54171),
    (1, 0.25, True, False, 0.947502, 0.517747),
    (1, 0.25, True, True, 1.140627, 0.592762),
    (1, 0.25, False, False, 3.414339, 0.791284),
    (1, 0.25, False, True, 3.408211, 0.795688),
    (3, 0.0, True, False, 0.747678, 0.499005),
    (3, 0.0, True, True, 0.844608, 0.541794),
    (3, 0.0, False, False, 1.437031, 0.649321),
    (3, 0.0, False, True, 1.897766, 0.727661),
    (3, 0.25, True, False, 0.707252, 0.459581),
    (3, 0.25, True, True, 0.834431, 0.526999),
    (3, 0.25, False, False, 1.374806, 0.623584),
    (3, 0.25, False, True, 2.219922, 0.643786),
]


def test_errors_are_those_of_pyannote() -> None:
    for seed, collar_s, overlap, has_uem, der, jer in PYANNOTE:
        draw, sides = random.Random(seed), []
        for who, turns in (("abc", 5), ("xyzv", 4)):
            sides.append([])
            for one in who:
                end = draw.uniform(0, 3)
                for _ in range(turns):
                    start = end + draw.uniform(0.2, 4)
                    end = start + draw.uniform(0.3, 6)
                    sides[-1].append(Spoken(round(start, 3), round(end, 3), one))
        scored = [(2, 9), (12, 30)] if has_uem else None
        found = timeline_errors(*sides, collar_s=collar_s, overlap=overlap, scored=scored)
        assert (found.der, found.jer) == (pytest.approx(der, abs=2e-6), pytest.approx(jer, abs=2e-6))


def test_conversations_are_made_measured_and_repeatable(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "corpus", speakers=3, utterances=4, seconds=(1.5, 2.0))
    [made] = make_conversations(corpus, tmp_path / "a", speakers=2, seconds=8.0, enroll_s=2.0, seed=3)
    [again] = make_conversations(corpus, tmp_path / "b", speakers=2, seconds=8.0, enroll_s=2.0, seed=3)
    assert made.audio.read_bytes() == again.audio.read_bytes()
    assert made.rttm.read_bytes() == again.rttm.read_bytes()
    [spoken] = read_rttm(made.rttm).values()
    assert {one.speaker for one in spoken} == set(made.speakers)
    assert max(one.end_s for one in spoken) <= soundfile.info(made.audio).duration
    assert list(made.enroll) == [made.speakers[0]]
    [call] = make_conversations(
        corpus, tmp_path / "c", speakers=2, seconds=8.0, enroll_s=2.0, seed=3, room_s=0.4, line="a-law"
    )
    dry_S, wet_S = (soundfile.read(one.audio)[0] for one in (made, call))
    last_s = max(one.end_s for one in read_rttm(call.rttm)[call.rttm.stem])
    tail = slice(int((last_s + 0.1) * RATE), int((last_s + 0.3) * RATE))
    assert np.std(wet_S[tail]) > 3 * np.std(dry_S[int((max(one.end_s for one in spoken) + 0.1) * RATE) :])
    high = [np.abs(np.fft.rfft(wave_S))[int(4_200 / RATE * wave_S.size) :].sum() for wave_S in (dry_S, wet_S)]
    assert high[1] < 0.2 * high[0]
    with pytest.raises(BadConfig, match="line one of pcm, a-law"):
        make_conversations(corpus, tmp_path / "d", line="isdn")  # type: ignore[arg-type]
    runner = CliRunner()
    asked = runner.invoke(build_app(), ["evaluate-timeline", str(made.rttm), str(again.rttm), "--json"])
    assert json.loads(asked.output)["recordings"]["talk-2-000"]["der"] == 0
    args = ["timeline", str(made.audio), "--db", "sqlite://", "--speakers", "2", "--json"]
    told = runner.invoke(build_app(), [*args, "--rttm", str(tmp_path / "found.rttm")])
    result = json.loads(told.output)
    assert {turn["speaker"] for turn in result["turns"]} <= {"speaker 1", "speaker 2"}
    assert (tmp_path / "found.rttm").read_text() == rttm(
        made.audio.stem, [Spoken(t["start"], t["end"], t["speaker"]) for t in result["turns"]]
    )


# -- transcripts --------------------------------------------------------------------------------------------

SAID = Timeline(
    (Turn(0.0, 4.0, "alice", 5.0, 3.5, 0.99), Turn(4.0, 9.0, "unknown 1", -3.0, 4.0, 0.99)), (), 10.0, "x", 1
)


def test_whisper_json_keeps_its_fields(tmp_path: Path) -> None:
    words = [{"word": "Hello", "start": 3.0, "end": 3.9, "score": 0.9}, {"word": "42"}]
    words.append({"word": "yes", "start": 3.9, "end": 6.0})  # straddles the turns: by time, the second's
    whisper = {
        "text": "Hello 42 yes",
        "segments": [
            {
                "id": 0,
                "start": 3.0,
                "end": 6.0,
                "text": "Hello 42 yes",
                "words": words,
                "speaker": "SPEAKER_00",
            },
            {"id": 1, "start": 9.2, "end": 9.9, "text": "so"},  # nobody talks, but near
            {"id": 2, "start": 50.0, "end": 51.0, "text": "?"},
        ],
        "language": "en",
    }
    path = tmp_path / "words.json"
    path.write_text(json.dumps(whisper))
    text, warnings = with_names(read(path), SAID)
    named = json.loads(text)
    assert [w["speaker"] for w in named["segments"][0]["words"]] == ["alice", "alice", "unknown 1"]
    assert [s.get("speaker") for s in named["segments"]] == ["unknown 1", "unknown 1", None]
    assert ["1 times of the transcript lie beyond the end" in said for said in warnings] == [True]
    for segment in (*named["segments"], *named["segments"][0]["words"]):
        segment.pop("speaker", None)
    whisper["segments"][0].pop("speaker")  # type: ignore[index, union-attr]
    assert named == whisper


def test_json_of_other_programs(tmp_path: Path) -> None:
    path = tmp_path / "words.json"
    word = {"word": "Hi", "start": 0.5, "end": 1.0, "speaker": "SPEAKER_00"}
    segment = {"start": 0.5, "end": 6.0, "text": "Hi", "words": [word]}
    for given in (
        {"segments": [segment], "word_segments": [word, {"word": "42"}]},  # whisperX says each word twice
        {"text": "Hi 42", "words": [word, {"word": "42"}]},  # OpenAI's service, asked for words alone
        {"segments": None, "words": [word, {"word": "42"}]},
    ):
        path.write_text(json.dumps(given))
        named = json.loads(with_names(read(path), SAID)[0])
        words = named.get("word_segments") or named["words"]
        assert [one["speaker"] for one in words] == ["alice", "alice"]
    path.write_text(json.dumps([{**segment, "words": None, "avg_logprob": float("nan")}]))  # faster-whisper
    assert json.loads(with_names(read(path), SAID)[0])[0]["speaker"] == "alice"
    heard = [(" He", 500, 900, "alice"), ("llo", 4100, 6000, "unknown 1")]
    tokens = [{"text": word, "offsets": {"from": start, "to": end}} for word, start, end, _ in heard]
    piece = {"timestamps": {"from": "00:00:00,500"}, "offsets": {"from": 500, "to": 6000}, "text": " Hello"}
    for more, most in (({}, "alice"), ({"tokens": tokens}, "unknown 1")):  # whisper.cpp, in milliseconds
        path.write_text(json.dumps({"result": {"language": "en"}, "transcription": [{**piece, **more}]}))
        [named] = json.loads(with_names(read(path), SAID)[0])["transcription"]
        assert {**named, "tokens": None} == {**piece, "tokens": None, "speaker": most}
    assert [token["speaker"] for token in named["tokens"]] == [who for *_, who in heard]
    path.write_text(r'{"segments": [{"start": 0.5, "end": 1, "text": "\ud83d \u00e9"}]}')  # half an emoji
    assert r'"\ud83d é"' in with_names(read(path), SAID)[0].encode().decode()
    path.write_text("[" * 100_000)
    with pytest.raises(BadConfig, match="broken JSON"):
        with_names(read(path), SAID)
    path.write_text('{"segments": []}')
    assert with_names(read(path), SAID)[1] == ["the transcript has no words: nothing was named in it."]


RICH_VTT = """WEBVTT - a title
Kind: captions

STYLE
::cue(v[voice="Fred"]) { color: red }

NOTE who talks
is not known

intro
00:00.500 --> 00:02.000 align:start position:0%
<v.loud Fred>Hello</v>
<v Sue>all</v>

00:02.100 --> 00:02.500

NOTE the end

00:00:05.000-->00:00:06.000
<00:00:05.200><c> hi</c>
"""


def test_subtitles_as_programs_write_them(tmp_path: Path) -> None:
    path = tmp_path / "a.vtt"
    path.write_text(RICH_VTT)
    evil = replace(SAID, turns=(replace(SAID.turns[0], speaker="A & <b>"), SAID.turns[1]))
    named = RICH_VTT.replace("<v.loud Fred>Hello</v>\n<v Sue>all</v>", "<v A &amp; &lt;b&gt;>Hello\nall")
    assert with_names(read(path), evil)[0] == named.replace("<00:00:05.200>", "<v unknown 1><00:00:05.200>")
    srt = "1\r\n00:00:00,500 --> 00:00:02,000\r\n[SPEAKER_00]: Да\u2028да \u202bא\u202c\r\n\r\n"
    srt += "2\r\n00:00:02 --> 00:00:03\r\n\r\n3\r\n00:00:05 --> 00:00:06\r\nYes.\r\n\r\n"
    wanted = srt.replace("[SPEAKER_00]: ", "alice: ").replace("Yes.", "unknown 1: Yes.")
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):  # whisperX, with a BOM, from a shell of Windows
        path.write_bytes(srt.encode(encoding))
        assert with_names(read(path), SAID) == (wanted, [])
    for empty in ("", "WEBVTT\n\n"):  # what Whisper writes of silence
        path.write_text(empty)
        assert with_names(read(path), SAID) == (
            empty,
            ["the transcript has no words: nothing was named in it."],
        )
    path.write_bytes(srt.encode("cp1251", "ignore"))
    with pytest.raises(BadConfig, match="Save the transcript as UTF-8"):
        with_names(read(path), SAID)
    sound = tmp_path / "talk.wav"
    soundfile.write(sound, say(0, 3, 6.0)[0], RATE)
    asked = ["timeline", str(sound), "--db", "sqlite://", "--transcript", str(path)]
    path.write_bytes(srt.encode())
    pipe = tmp_path / "pipe.srt"  # which can be read only once
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=[srt.encode()], daemon=True).start()
    without = CliRunner().invoke(build_app(), [*asked[:-1], str(pipe)])  # before an hour of work, and unread
    assert (without.exit_code, "say with --out" in without.output) == (2, True)
    done = CliRunner().invoke(build_app(), [*asked[:-1], str(pipe), "-o", "-"])
    assert (
        done.stdout_bytes
        == srt.replace("[SPEAKER_00]: ", "speaker 1: ").replace("Yes.", "speaker 1: Yes.").encode()
    )
    assert "overlapped speech is not found" in done.stderr  # warnings are not in the transcript
    assert CliRunner().invoke(build_app(), [*asked, "-o", "-", "--json"]).exit_code == 2
    assert CliRunner().invoke(build_app(), ["timeline", str(sound), "-o", "named.srt"]).exit_code == 2


def test_subtitles_and_what_is_no_transcript(tmp_path: Path) -> None:
    srt, vtt = tmp_path / "a.srt", tmp_path / "a.vtt"
    srt.write_text(
        "1\n00:00:00,500 --> 00:00:02,000\nHello.\nAll.\n\n2\n00:00:05,000 --> 00:00:06,000\nYes.\n"
    )
    vtt.write_text("WEBVTT\n\n00:05.000 --> 00:06.000 align:start\nYes.\n")
    assert with_names(read(srt), SAID)[0].splitlines()[2:4] == ["alice: Hello.", "All."]
    assert with_names(read(srt), SAID)[0].splitlines()[7] == "unknown 1: Yes."
    assert with_names(read(vtt), SAID)[0].splitlines()[3] == "<v unknown 1>Yes."
    both = tmp_path / "both.srt"  # segments that overlap, and one that ends before it begins
    times = (("1,0", "8,0", "A"), ("2,0", "3,0", "B"), ("3,0", "2,0", "C"))
    both.write_text("".join(f"1\n00:00:0{start} --> 00:00:0{end}\n{said}\n\n" for start, end, said in times))
    named = [line for line in with_names(read(both), SAID)[0].splitlines() if ": " in line]
    assert named == ["unknown 1: A", "alice: B", "alice: C"]
    for content, said in (
        ("words", "not a transcript with times"),
        ("{", "broken JSON"),
        ('{"a": 1}', "no list"),
    ):
        (tmp_path / "bad").write_text(content)
        with pytest.raises(BadConfig, match=said):
            with_names(read(tmp_path / "bad"), SAID)
