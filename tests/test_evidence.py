"""One road to an LLR: what is evaluated is, number for number, what the recognizer decides by."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import voxid
from voxid import metrics
from voxid.cli._report import print_report
from voxid.corpora.synthetic import speak, voice
from voxid.errors import BadScores, BadTrials
from voxid.evaluation import calibrate, evaluate
from voxid.evaluation.report import findings
from voxid.model.network import Model
from voxid.recognizer import Recognizer
from voxid.scoring import Calibration, Cohort, EnrollmentTerm, Impostors, QualityTerm, Side, llr, reference
from voxid.scoring.evidence import cosines, llr_table
from voxid.trials import make_trials
from voxid.trials.data import read_data

RATE = 16_000


def model_folder(folder: Path) -> Path:
    """A model that weighs everything there is, with lines for several clips that change an LLR by much."""
    torch.manual_seed(0)
    model = Model.build({"name": "fbank", "bins": 24}, {"name": "lstm", "layers": 1, "hidden": 8})
    strangers = np.random.default_rng(0).standard_normal((12, model.dim))
    model.cohort = Cohort.of(strangers, np.arange(12), top_k=4, name="crowd")
    weights = {"speech_min": 1.0, "norm_max": -0.5, "cohort_mean": 2.0}
    model.calibration = Calibration(
        scale=10.0,
        offset=-5.0,
        qualities=tuple(
            QualityTerm(name=name, weight=weight, mean=0.1, spread=0.7, low=-20.0, high=20.0)
            for name, weight in weights.items()
        ),
        cohort=model.cohort.info,
        enrollments=(
            EnrollmentTerm(clips=2, gain=1.5, shift=-2.0),
            EnrollmentTerm(clips=3, gain=2.0, shift=-4.0),
        ),
    )
    model.save(folder)
    return folder


def by_evaluation(model: str | Path, data: Path, out: Path, spec: str, scoring: str) -> np.ndarray:
    """Return the score of every trial, as `voxid evaluate` writes them."""
    report = evaluate([model], data, spec, scoring=[scoring], out=out)
    [file] = [name for name in report.files if name.startswith("scores-") and name.endswith(".npz")]
    return np.load(out / file)["scores"]


def by_recognizer(
    model: str | Path, data: Path, spec: str, every: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the places of every so manieth trial in the list, its cosine and its LLR, as verify says."""
    corpus = read_data(data)
    trials = make_trials(spec, corpus)
    assert trials.models is not None
    asked = np.arange(0, len(trials), every)
    found = []
    with Recognizer("sqlite://", model=model) as rec:
        for number, name in enumerate(trials.models.names):
            members = trials.models.members(number)
            rec.enroll(name, [corpus.utterances[i].path for i in members.tolist()])
        for k in asked.tolist():
            name = trials.models.names[int(trials.left_K[k]) - trials.models.first]
            decision = rec.verify(name, corpus.utterances[int(trials.right_K[k])].path)
            found.append((decision.cosine, decision.llr))
    return asked, *np.array(found).T


def decided(model: str | Path, data: Path, spec: str, far: float) -> np.ndarray:
    """Return whether verify accepts, for every trial of the list."""
    corpus = read_data(data)
    trials = make_trials(spec, corpus)
    assert trials.models is not None
    with Recognizer("sqlite://", model=model, far=far) as rec:
        for number, name in enumerate(trials.models.names):
            members = trials.models.members(number)
            rec.enroll(name, [corpus.utterances[i].path for i in members.tolist()])
        return np.array(
            [
                rec.verify(
                    trials.models.names[left - trials.models.first], corpus.utterances[right].path
                ).accepted
                for left, right in zip(trials.left_K.tolist(), trials.right_K.tolist(), strict=True)
            ]
        )


def agrees(model: str | Path, data: Path, tmp_path: Path, every: int) -> None:
    asked, cosine, said = by_recognizer(model, data, "3-enrol", every)
    assert np.ptp(said) > 1
    scored = by_evaluation(model, data, tmp_path / "cosine", "3-enrol", "cosine")
    np.testing.assert_allclose(scored[asked], cosine, atol=1e-5)
    scored = by_evaluation(model, data, tmp_path / "llr", "3-enrol", "llr")
    np.testing.assert_allclose(scored[asked], said, atol=1e-3)


def test_an_enrollment_of_three_is_evaluated_as_it_is_verified(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for speaker in range(4):
        (tmp_path / "corpus" / f"s{speaker}").mkdir(parents=True)
        for take in range(6):
            wave_S = speak(voice(speaker), float(rng.uniform(2, 6)), np.random.default_rng([speaker, take]))
            soundfile.write(tmp_path / "corpus" / f"s{speaker}" / f"{take}.wav", wave_S, RATE)
    agrees(model_folder(tmp_path / "model"), tmp_path / "corpus", tmp_path, every=2)


def test_a_report_counts_what_the_recognizer_decides(tmp_path: Path) -> None:
    for speaker in range(6):
        (tmp_path / "corpus" / f"s{speaker}").mkdir(parents=True)
        for take in range(4):
            wave_S = speak(voice(speaker), 2.0, np.random.default_rng([speaker, take]))
            soundfile.write(tmp_path / "corpus" / f"s{speaker}" / f"{take}.wav", wave_S, RATE)
    folder = model_folder(tmp_path / "model")
    middle = float(np.median(by_evaluation(folder, tmp_path / "corpus", tmp_path / "llr", "3-enrol", "llr")))
    strangers = Impostors.of(np.linspace(middle - 40, middle + 0.4, 4000))  # 1 % of them are above the middle
    assert strangers is not None
    model = Model.load(folder)
    assert model.calibration is not None
    model.calibration = model.calibration.model_copy(update={"impostors": strangers})
    model.save(folder)
    report = evaluate([folder], tmp_path / "corpus", "3-enrol", resamples=0)
    trials = make_trials("3-enrol", read_data(tmp_path / "corpus"))
    found = {row["asked"]: row for row in report.models[0].decisions}
    assert list(found) == ["default", "far=0.01", "far=0.001"]
    accepted = decided(folder, tmp_path / "corpus", "3-enrol", far=0.01)
    assert 0 < accepted.sum() < accepted.size
    assert found["far=0.01"]["false_alarm_rate"] == accepted[~trials.same_K].mean()
    assert found["far=0.01"]["miss_rate"] == (~accepted[trials.same_K]).mean()
    assert found["far=0.01"]["miss_interval"] is None  # no resamples were asked for
    sure = evaluate([folder], tmp_path / "corpus", "3-enrol", resamples=200).models[0].decisions[1]
    corpus = read_data(tmp_path / "corpus")
    speaker_N = trials.extended(corpus).speakers()
    sides = speaker_N[trials.left_K], speaker_N[trials.right_K]
    want = metrics.decision_rates(accepted, trials.same_K, *sides, resamples=200)
    assert want.false_alarm_interval is not None
    assert sure["false_alarm_interval"] == [want.false_alarm_interval.low, want.false_alarm_interval.high]
    assert "cannot be promised" in found["far=0.001"]["why_not"]  # 4,000 trials support 0.0075


def test_each_model_is_told_what_it_decides_and_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Copies with other calibrations share their fingerprint, and decide otherwise."""
    for speaker in range(6):
        (tmp_path / "corpus" / f"s{speaker}").mkdir(parents=True)
        for take in range(4):
            wave_S = speak(voice(speaker), 2.0, np.random.default_rng([speaker, take]))
            soundfile.write(tmp_path / "corpus" / f"s{speaker}" / f"{take}.wav", wave_S, RATE)
    strict, loose = model_folder(tmp_path / "strict"), model_folder(tmp_path / "loose")
    for folder, top in ((strict, 1000.0), (loose, -1000.0)):
        model = Model.load(folder)
        assert model.calibration is not None
        strangers = Impostors.of(np.linspace(top - 40, top, 4000))
        model.calibration = model.calibration.model_copy(update={"impostors": strangers})
        model.save(folder)
    report = evaluate([strict, loose], tmp_path / "corpus", "all", scoring=["cosine", "llr"], resamples=0)
    assert len({one.fingerprint for one in report.models}) == 1
    print_report(report)
    lines = capsys.readouterr().out.splitlines()
    for name, refused in (("strict", "100"), ("loose", "0")):
        [said] = [
            line for line in lines if line.startswith(f"{name}: far=0.01: ")
        ]  # once, not for each score
        assert f"{refused} % of speakers refused" in said.replace(".00", "").replace(".0 ", " ")
        [why] = [line for line in lines if line.startswith(f"{name}: far=0.001: ")]
        assert "cannot be promised" in why
    [promise] = [line for line in lines if "asked 1 % of strangers accepted, got 100" in line]
    assert promise.startswith("warning: loose: ")
    assert promise.endswith("adapt (voxid adapt) or calibrate it.")
    copies = dataclasses.replace(report, models=[m for m in report.models if m.scoring == "cosine"])
    [alike] = findings.in_short(copies)
    assert alike.startswith("strict cosine and loose cosine have the same equal error rate, ")


def test_every_answer_warns_of_a_recording_unlike_the_calibration(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    one, other = ((speak(voice(k), 2.0, np.random.default_rng(k)), RATE) for k in (1, 2))

    def doubts(low: float, high: float) -> list[int]:
        model = Model.load(folder)
        assert model.calibration is not None
        terms = [
            term.model_copy(update={"low": low, "high": high}) if term.name == "cohort_mean" else term
            for term in model.calibration.qualities
        ]
        model.calibration = model.calibration.model_copy(update={"qualities": tuple(terms)})
        model.save(tmp_path / "moved")
        with Recognizer("sqlite://", model=tmp_path / "moved") as rec:
            rec.enroll("a", one)
            answers = [
                voxid.compare(one, other, model=tmp_path / "moved"),
                rec.verify("a", other),
                rec.identify(other),
            ]
        return [sum("anything the model was calibrated on" in said for said in a.warnings) for a in answers]

    assert doubts(-20, 20) == [0, 0, 0]
    assert doubts(5, 20) == [2, 1, 1]  # both recordings; a cosine is 1 at most


@pytest.mark.slow
@pytest.mark.real
def test_of_real_speech_too(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "LibriSpeech" / "test-other-mini"
    if not folder.is_dir():
        pytest.skip("no LibriSpeech/test-other-mini there")
    agrees("voxid-base", folder, tmp_path, every=20)


def test_a_pair_is_evaluated_as_it_is_compared(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model")
    paths = []
    for speaker in range(2):
        (tmp_path / "corpus" / f"s{speaker}").mkdir(parents=True)
        for take in range(2):
            paths.append(tmp_path / "corpus" / f"s{speaker}" / f"{take}.wav")
            wave_S = speak(voice(speaker), 2.0 + take, np.random.default_rng([speaker, take]))
            soundfile.write(paths[-1], wave_S, RATE)
    scored = by_evaluation(model, tmp_path / "corpus", tmp_path / "out", "all", "llr")
    trials = make_trials("all", read_data(tmp_path / "corpus"))
    for left, right, score in zip(trials.left_K, trials.right_K, scored, strict=True):
        assert voxid.compare(paths[left], paths[right], model=model).llr == pytest.approx(score, abs=1e-4)


def test_calibration_does_not_take_enrollments_for_single_clips(tmp_path: Path) -> None:
    model = model_folder(tmp_path / "model")
    for speaker in range(3):
        (tmp_path / "corpus" / f"s{speaker}").mkdir(parents=True)
        for take in range(4):
            wave_S = speak(voice(speaker), 2.0, np.random.default_rng([speaker, take]))
            soundfile.write(tmp_path / "corpus" / f"s{speaker}" / f"{take}.wav", wave_S, RATE)
    before = (model / "config.json").read_bytes()
    with pytest.raises(
        BadTrials, match=r"'3-enrol' enrolls speakers with several clips.*Give trials of single"
    ):
        calibrate(model, tmp_path / "corpus", trials="3-enrol")
    assert (model / "config.json").read_bytes() == before


def test_an_llr_by_hand() -> None:
    terms = (EnrollmentTerm(clips=2, gain=1.5, shift=-1.0),)
    speech = QualityTerm(name="speech_min", weight=2.0, mean=0.0, spread=1.0, low=-9.0, high=9.0)
    line = Calibration(scale=10.0, offset=-5.0, qualities=(speech,), enrollments=terms)
    enrolled = reference([[1.0, 0.0], [0.0, 2.0]], [4.0, 4.0])
    probe = Side.of([[5.0, 0.0]], [2.0])
    one_clip = 10 * np.sqrt(0.5) - 5 + 2 * np.log(2.0)  # the shorter side has 2 s
    assert llr(line, enrolled, probe).tolist() == pytest.approx([1.5 * one_clip - 1.0], abs=1e-5)
    assert llr(line, probe, enrolled).tolist() == pytest.approx(llr(line, enrolled, probe).tolist())
    assert llr(line, probe, probe).tolist() == pytest.approx([10 - 5 + 2 * np.log(2.0)], abs=1e-5)


def test_pairs_a_table_and_one_against_all_are_the_same_numbers() -> None:
    rng = np.random.default_rng(1)
    line = Calibration(scale=7.0, offset=-2.0, enrollments=(EnrollmentTerm(clips=4, gain=1.7, shift=-1.0),))
    people = reference(rng.normal(size=(9, 5)), rng.uniform(1, 9, 9), [0, 2, 6])
    heard = Side.of(rng.normal(size=(4, 5)), rng.uniform(1, 9, 4))
    table = llr_table(line, people, heard)
    for n in range(4):
        np.testing.assert_allclose(llr(line, people, heard.take([n])), table[:, n], atol=1e-5)
    left, right = np.array([2, 0, 0]), np.array([3, 3, 1])
    np.testing.assert_allclose(
        llr(line, people, heard, left_K=left, right_K=right), table[left, right], atol=1e-5
    )
    with pytest.raises(BadScores, match="5 and 4 dimensions"):
        cosines(heard, Side.of(np.ones((4, 4)), np.ones(4)))
