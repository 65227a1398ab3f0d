"""Decisions at another place: strangers of one's own, a calibration that goes on, many people enrolled."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hearing import unlike_voices

import voxid
from voxid.corpora.synthetic import make_corpus
from voxid.errors import BadCohort, BadScores, CorpusNotFound, NotCalibrated
from voxid.recognizer import Recognizer
from voxid.scoring import Calibration, Cohort, Impostors, QualityTerm, Side, fit
from voxid.scoring.decision import rule
from voxid.scoring.evidence import unlike


def trials(speakers: int, rng: np.random.Generator, shift: float = 0.0) -> tuple[np.ndarray, ...]:
    """LLRs of normal scores (calibrated where `shift` is 0), the truth, and the pair of each trial."""
    label_K = np.arange(20 * speakers) % 5 == 0
    llr_K = rng.normal(np.where(label_K, 4, -4), math.sqrt(8)) + shift
    pair_K = np.where(label_K, np.arange(label_K.size) % speakers, speakers + np.arange(label_K.size))
    return llr_K, label_K, pair_K


@pytest.fixture(scope="module")
def line() -> Calibration:
    llr_K, label_K, pair_K = trials(2_000, np.random.default_rng(0))
    return fit(llr_K, label_K, pairs=pair_K)


# -- each corpus weighs the same ---------------------------------------------------------------------------


@pytest.mark.parametrize("times", [4, 1_000])
def test_a_large_corpus_weighs_no_more_than_a_small_one(times: int) -> None:
    rng = np.random.default_rng(1)
    (a, label_a, _), (b, label_b, _) = trials(10 * times, rng), trials(10, rng, shift=3.0)
    llr_K, label_K = np.concatenate((a, b)), np.concatenate((label_a, label_b))
    weighed = fit(llr_K, label_K, groups=np.repeat([0, 1], [a.size, b.size]))
    as_often = fit(np.concatenate((a, np.tile(b, times))), np.concatenate((label_a, np.tile(label_b, times))))
    assert weighed.scale == pytest.approx(as_often.scale, rel=1e-5)
    assert weighed.offset == pytest.approx(as_often.offset, rel=1e-5)
    assert weighed.impostors is not None
    alone = weighed.llr(np.concatenate((a[~label_a], np.tile(b[~label_b], times))))
    assert np.mean(alone >= weighed.impostors.threshold(0.3)) == pytest.approx(0.3, abs=0.01)


def test_a_corpus_of_few_speakers_weighs_as_little_as_it_knows() -> None:
    """Three people of whom two sound alike decided what one per cent is for everybody else."""
    rng = np.random.default_rng(9)
    llr_K, label_K, pair_K = trials(300, rng)
    few_K, same_K = np.repeat([6.0, -4.0, 4.0], 30), np.repeat([False, False, True], 30)
    few_pair_K = np.repeat([90_001, 90_002, 90_003], 30)
    both = np.concatenate((llr_K, few_K)), np.concatenate((label_K, same_K))
    pairs = np.concatenate((pair_K, few_pair_K))
    groups = np.repeat([0, 1], [llr_K.size, few_K.size])
    line = fit(*both, pairs=pairs, groups=groups)
    assert line.impostors is not None
    alone = fit(llr_K, label_K, pairs=pair_K)
    assert alone.impostors is not None
    assert line.llr(2.0) == pytest.approx(alone.llr(2.0), abs=0.3)
    assert rule(line, far=0.05).threshold() == pytest.approx(rule(alone, far=0.05).threshold(), abs=0.7)


def test_corpora_of_one_speaker_each_can_calibrate() -> None:
    """All strangers meet across corpora then, and the trials of one speaker are in none with strangers."""
    llr_K, label_K, pair_K = trials(40, np.random.default_rng(10))
    groups = np.where(label_K, pair_K, -1)
    line, plain = fit(llr_K, label_K, pairs=pair_K, groups=groups), fit(llr_K, label_K, pairs=pair_K)
    assert line.scale == pytest.approx(plain.scale, rel=1e-4)
    assert line.offset == pytest.approx(plain.offset, abs=1e-3)


def test_strangers_count_as_much_as_they_weigh() -> None:
    llr_K = np.random.default_rng(2).normal(size=600)
    often = np.concatenate((llr_K[:300], np.repeat(llr_K[300:], 3)))
    one, other = Impostors.of(often), Impostors.of(llr_K, weight_K=np.repeat([1.0, 3.0], 300))
    assert one is not None
    assert other is not None
    for far in (0.1, 0.2, 0.4):
        assert one.threshold(far) == pytest.approx(other.threshold(far), abs=0.03)


# -- a calibration that goes on ----------------------------------------------------------------------------


def test_few_speakers_move_a_calibration_a_little_and_many_all_the_way(line: Calibration) -> None:
    moved = []
    for speakers in (1, 4, 16, 1_000):
        there = [trials(speakers, np.random.default_rng(seed), shift=3.0) for seed in range(12)]
        onward = [line.onward(llr_K, label_K, pairs=pair_K) for llr_K, label_K, pair_K in there]
        moved.append(np.mean([one.llr((3.0 - line.offset) / line.scale) for one in onward]))
        assert onward[0].start == line
    assert 3.0 > moved[0] > moved[1] > moved[2] > moved[3]  # what was an LLR of 3 says nothing there
    assert moved[3] == pytest.approx(0.0, abs=0.15)
    assert moved[0] > 1.0


def test_a_calibration_that_is_right_stays(line: Calibration) -> None:
    llr_K, label_K, pair_K = trials(10, np.random.default_rng(4))
    onward = line.onward(llr_K, label_K, pairs=pair_K)
    assert onward.llr(0.3) == pytest.approx(line.llr(0.3), abs=0.8)
    assert onward.impostors is not None
    assert line.impostors is not None
    assert onward.impostors.least == line.impostors.least  # ten speakers alone could not be asked for 0.01
    assert onward.impostors.threshold(0.01) == pytest.approx(line.impostors.threshold(0.01), abs=1.0)


def test_strangers_that_come_nearer_raise_the_threshold(line: Calibration) -> None:
    llr_K, label_K, pair_K = trials(30, np.random.default_rng(5))
    near = np.where(label_K, llr_K, llr_K + 6 * (np.arange(llr_K.size) % 20 == 1))
    onward = line.onward(near, label_K, pairs=pair_K)
    assert rule(onward, far=0.01).threshold() > rule(line, far=0.01).threshold() + 1


def test_the_wrong_way_round_is_refused(line: Calibration) -> None:
    llr_K, label_K, pair_K = trials(500, np.random.default_rng(6))
    with pytest.raises(BadScores, match="higher score does not mean the same speaker"):
        line.onward(-llr_K, label_K, pairs=pair_K)


# -- among many --------------------------------------------------------------------------------------------


def test_people_who_sound_like_nobody_near_do_not_stand_in_the_way(line: Calibration) -> None:
    how = rule(line, far=0.01)
    crowd = np.sort(np.random.default_rng(7).normal(-30, 2, 999))[::-1]
    llr_K = np.append(10.4, crowd)[:200]  # the nearest of a thousand
    threshold_K, surcharge_K = how.bars(np.ones(200), 1_000, llr_K)
    assert threshold_K[0] == pytest.approx(how.threshold())
    assert surcharge_K[0] == 0
    assert how.threshold(1, 1_000) > how.threshold() + 5  # what the calibration alone would ask for


@pytest.mark.parametrize("far", [0.01, 0.05])
@pytest.mark.parametrize("among", [10, 100, 1_000])
def test_a_stranger_is_matched_as_rarely_as_asked(line: Calibration, among: int, far: float) -> None:
    how, rng = rule(line, far=far), np.random.default_rng(8)
    matched = 0
    for _ in range(1_500):
        llr_K = line.llr(np.sort(rng.normal(-4, math.sqrt(8), among))[::-1][:200])
        matched += llr_K[0] >= how.bars(np.ones(llr_K.size), among, llr_K)[0][0]
    assert 0.25 * far < matched / 1_500 < 2 * far


# -- strangers of one's own --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen synthetic people, two recordings each, and forty that a network can tell apart."""
    folder = tmp_path_factory.mktemp("place")
    make_corpus(folder, speakers=14, utterances=2, seconds=(2.5, 3.0), start=60)
    for number, wave_S in enumerate(unlike_voices(40)):
        soundfile.write(folder / f"unlike-{number}.wav", wave_S, 16_000)
    return folder


@pytest.fixture(scope="module")
def adapted(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "adapted"
    found = voxid.adapt("voxid-base", place, folder)
    assert found.recordings > 28
    assert 10 <= found.voices <= found.joined <= 68
    assert "30 people or more" in found.warnings[0]
    before = voxid.load("voxid-base").model.cohort
    assert found.strangers == len(before.rows_MD) + found.joined
    return folder


def test_an_adapted_model_embeds_alike_and_knows_more_strangers(adapted: Path) -> None:
    before, after = voxid.load("voxid-base"), voxid.load(adapted)
    assert after.fingerprint == before.fingerprint
    assert after.model.calibration.cohort.rows == len(after.model.cohort.rows_MD)
    assert after.model.cohort.rows_MD[: len(before.model.cohort.rows_MD)].tolist() == (
        before.model.cohort.rows_MD.tolist()
    )


def test_strangers_of_the_place_lose_more_than_the_same_speaker(adapted: Path, tmp_path: Path) -> None:
    make_corpus(tmp_path / "others", speakers=3, utterances=2, seconds=(2.5, 3.0), start=90)
    clips = sorted((tmp_path / "others").rglob("*.wav"))
    lost = {True: [], False: []}
    for a in range(0, len(clips), 2):
        for b in range(1, len(clips), 2):
            pair = clips[a], clips[b]
            llrs = [voxid.compare(*pair, model=m).llr for m in ("voxid-base", adapted)]
            lost[b == a + 1].append(llrs[0] - llrs[1])
    assert np.mean(lost[False]) > 0.5  # they all sound alike to a network that knows people
    assert min(lost[True] + lost[False]) > -1e-6  # more strangers bring nobody nearer


def test_a_recognizer_with_a_cohort_decides_as_the_adapted_model(adapted: Path, place: Path) -> None:
    clips = sorted(place.rglob("*.wav"))
    with Recognizer("sqlite://", "voxid-base", cohort=place) as one, Recognizer("sqlite://", adapted) as two:
        for recognizer in (one, two):
            recognizer.enroll("a", clips[0])
        first, second = (recognizer.verify("a", clips[3]) for recognizer in (one, two))
    assert first.llr == pytest.approx(second.llr, abs=1e-5)


def test_recordings_of_a_list_join_and_none_joins_twice(adapted: Path, place: Path, tmp_path: Path) -> None:
    clips = sorted(place.rglob("*.wav"))
    rows = [f"{n},{path}" for n, path in enumerate(clips)]
    (tmp_path / "list.csv").write_text("\n".join(["speaker,path", *rows]))
    again = voxid.adapt(adapted, tmp_path / "list.csv", tmp_path / "again")
    after = voxid.load(tmp_path / "again").model.cohort
    assert after is not None
    assert again.recordings > 28
    assert len(np.unique(after.rows_MD.round(4), axis=0)) == len(after.rows_MD) == again.strangers


def test_a_calibration_goes_on_from_the_one_that_is_there(adapted: Path, place: Path, tmp_path: Path) -> None:
    make_corpus(tmp_path / "people", speakers=6, utterances=3, seconds=(2.0, 2.5), start=120)
    shipped = voxid.load("voxid-base").model.calibration
    folder = Path(shutil.copytree(adapted, tmp_path / "mine"))
    once = voxid.calibrate(folder, tmp_path / "people").calibration
    assert once.start is not None
    assert once.start.scale == shipped.scale
    assert once.scale != shipped.scale
    assert (once.prior, once.threshold) == (shipped.prior, shipped.threshold)
    assert [term.name for term in once.qualities] == [term.name for term in shipped.qualities]
    again = voxid.calibrate(folder, tmp_path / "people").calibration
    assert again == once  # the same people are not counted twice
    asked = voxid.calibrate(folder, tmp_path / "people", prior=0.2).calibration
    assert asked.threshold == pytest.approx(math.log(4))
    assert voxid.calibrate(folder, tmp_path / "people").calibration == asked  # what was asked for stays
    anew = voxid.calibrate(folder, tmp_path / "people", anew=True).calibration
    assert (anew.start, anew.qualities, anew.prior, anew.threshold) == (None, (), 0.5, 0.0)


def test_what_is_no_crowd(place: Path, tmp_path: Path) -> None:
    one = [path for path in sorted(place.rglob("*.wav")) if path.parent == min(place.rglob("*.wav")).parent]
    with pytest.raises(BadCohort, match=r"heard 1 voice in 4 recordings, and 10 voices are needed"):
        voxid.adapt("voxid-base", [*one, *one], tmp_path / "m")
    soundfile.write(tmp_path / "silence.wav", np.zeros(32_000), 16_000)
    with pytest.raises(BadCohort, match=r"heard 0 voices in 0 recordings \(left out: 1 silent\), and 10"):
        voxid.adapt("voxid-base", [tmp_path / "silence.wav"], tmp_path / "m")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusNotFound, match="no audio file lies below"):
        voxid.adapt("voxid-base", tmp_path / "empty", tmp_path / "m")
    assert not (tmp_path / "m").exists()


@pytest.mark.real
def test_one_real_person_is_no_crowd_and_thirty_are(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "emodb" / "train"
    with (folder / "utterances.csv").open() as file:
        rows = list(csv.DictReader(file))
    one = [folder / row["path"] for row in rows if row["speaker"] == "emodb-03"]
    with pytest.raises(BadCohort, match=r"heard \d voices in 15 recordings, and 10 voices are needed"):
        voxid.adapt("voxid-base", one, tmp_path / "m")
    folder = real_data / "msc-malayalam" / "train"
    with (folder / "utterances.csv").open() as file:
        first = {row["speaker"]: folder / row["path"] for row in csv.DictReader(file)}
    assert voxid.adapt("voxid-base", list(first.values())[:30], tmp_path / "m").voices >= 20


def test_a_model_without_strangers_is_told_how_to_get_some(
    adapted: Path, place: Path, tmp_path: Path
) -> None:
    plain = Path(shutil.copytree(adapted, tmp_path / "plain"))
    config = json.loads((plain / "config.json").read_text())
    config["calibration"]["cohort"], config["calibration"]["qualities"] = None, []
    (plain / "config.json").write_text(json.dumps(config))
    with pytest.raises(NotCalibrated, match=r"uses no cohort.*--quality cohort_mean"):
        voxid.adapt(plain, place, tmp_path / "m")


# -- like nothing that was calibrated on ---------------------------------------------------------------------


def test_a_side_outside_of_what_was_seen_is_pointed_out() -> None:
    cohort = Cohort.of(np.eye(4), ["a", "b", "c", "d"], top_k=1)
    term = QualityTerm(name="cohort_mean", weight=-1, mean=0.5, spread=0.1, low=0.3, high=0.8)
    line = Calibration(scale=10, offset=-5, qualities=(term,))
    near, usual = Side.of([[1.0, 0.01, 0, 0]], [3.0]), Side.of([[1.0, 1.0, 1.0, 0]], [3.0])
    assert unlike(line, usual, cohort) == []
    [said] = unlike(line, near, cohort)
    assert "nearer to strangers than anything" in said
    assert "1.00; known are 0.30 to 0.80" in said
