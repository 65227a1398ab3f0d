"""Speakers met before: found by name and voice together, and not by a chance of names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from voxid.corpora.synthetic import make_corpus
from voxid.errors import BadModel, EvaluationError
from voxid.evaluation import calibrate, evaluate
from voxid.evaluation.overlap import CALIBRATION_SPEAKERS, SpeakerSet
from voxid.files import place_id
from voxid.model.network import Model


def speakers(names: list[str], seed: int, voices: np.ndarray | None = None, noise: float = 0.1) -> SpeakerSet:
    rng = np.random.default_rng(seed)
    voices = np.random.default_rng(0).standard_normal((50, 16)) if voices is None else voices
    mean = voices[: len(names)] + noise * rng.standard_normal((len(names), 16))
    return SpeakerSet(names, (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32))


NAMES = [f"s{i}" for i in range(20)]


def test_the_same_people_in_other_recordings_are_found_by_name_and_voice() -> None:
    assert speakers(NAMES, 1).common(speakers(NAMES, 2)) == NAMES
    prefixed = [f"LibriSpeech/{name}" for name in NAMES]
    assert speakers(prefixed[:5], 1).common(speakers(NAMES, 2)) == prefixed[:5]


def test_other_people_of_the_same_names_are_strangers() -> None:
    strangers = np.random.default_rng(9).standard_normal((50, 16))
    assert speakers(NAMES, 1, strangers).common(speakers(NAMES, 2)) == []


def test_the_same_recordings_are_found_under_other_names() -> None:
    renamed = speakers([f"anonymous {i}" for i in range(5)], 2)
    assert len(renamed.common(SpeakerSet(NAMES[:5], renamed.mean_SD))) == 5
    assert speakers(["x", "y", "z"], 1).common(speakers(NAMES, 2)) == []  # other recordings, other names


def test_a_model_that_hears_no_difference_finds_nobody() -> None:
    flat = SpeakerSet(NAMES, np.full((20, 16), 0.25, np.float32))
    assert flat.common(flat) == []


def test_sets_of_other_models_or_too_small_are_not_compared() -> None:
    one = speakers(NAMES, 1)
    assert one.common(SpeakerSet(NAMES, np.eye(20, dtype=np.float32))) == []
    assert one.common(SpeakerSet([], np.zeros((0, 16), np.float32))) == []


def test_it_is_kept_in_a_file(tmp_path: Path) -> None:
    one = speakers(["a b", 'q"uote', "é"], 1)
    one.save(tmp_path / "s.npz")
    again = SpeakerSet.load(tmp_path / "s.npz")
    assert again.names == one.names
    np.testing.assert_allclose(again.mean_SD, one.mean_SD, atol=1e-6)
    (tmp_path / "s.npz").write_bytes((tmp_path / "s.npz").read_bytes()[:50])
    with pytest.raises(BadModel, match=r"s\.npz is damaged"):
        SpeakerSet.load(tmp_path / "s.npz")


# -- what calibrate and evaluate make of it ----------------------------------------------------------------


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of strangers, and one with other recordings of the first set's people."""
    root = tmp_path_factory.mktemp("corpora")
    make_corpus(root / "one", speakers=5, utterances=4, seconds=(2.0, 2.5))
    make_corpus(root / "two", speakers=5, utterances=4, seconds=(2.0, 2.5), start=50)
    return root


@pytest.fixture
def model(tmp_path: Path) -> Path:
    import torch

    torch.manual_seed(0)
    Model.build({"name": "mfcc"}, {"name": "lstm", "layers": 1, "hidden": 16}).save(tmp_path / "model")
    return tmp_path / "model"


def test_calibrating_on_the_test_is_refused_unless_forced(corpora: Path, model: Path) -> None:
    with pytest.raises(EvaluationError, match=r"5 of these speakers .* are in one too"):
        calibrate(model, corpora / "one", test=corpora / "one")
    assert Model.load(model).calibration is None
    assert not (model / CALIBRATION_SPEAKERS).exists()
    forced = calibrate(model, corpora / "one", test=corpora / "one", force=True)
    assert "are in one too" in forced.warnings[0]
    assert Model.load(model).calibration == forced.calibration
    assert calibrate(model, corpora / "one", test=corpora / "two").warnings[:-1] == []


def test_calibrating_on_what_the_run_was_tested_on_is_refused(corpora: Path, model: Path) -> None:
    evaluate([model], corpora / "one", out=model / "evaluation", resamples=0)
    with pytest.raises(EvaluationError, match=r"5 of these speakers are those this model was tested on"):
        calibrate(model, corpora / "one")
    calibrate(model, corpora / "two")


def test_calibrating_on_the_training_data_is_refused(corpora: Path, model: Path) -> None:
    trained = Model.load(model)
    trained.metadata = {"training_data": {"fingerprint": "f", "places": [place_id(corpora / "one")]}}
    trained.save(model)
    with pytest.raises(EvaluationError, match="one is data this model was trained on"):
        calibrate(model, corpora / "one")
    with pytest.raises(EvaluationError, match="trained on"):
        calibrate(model, corpora / ".." / corpora.name / "one")
    calibrate(model, corpora / "two")


def test_calibrating_on_the_data_of_the_model_it_started_from_is_refused(corpora: Path, model: Path) -> None:
    first = {"training_data": {"fingerprint": "f", "places": [place_id(corpora / "one")]}}
    tuned = Model.load(model)
    tuned.metadata = {"training_data": {"fingerprint": "g", "places": []}, "init": {"init": first}}
    tuned.save(model)
    with pytest.raises(EvaluationError, match="one is data this model was trained on"):
        calibrate(model, corpora / "one")


def test_an_evaluation_does_not_use_a_calibration_on_its_own_speakers(corpora: Path, model: Path) -> None:
    calibrate(model, corpora / "one")
    other = evaluate([model], corpora / "two", resamples=0)
    assert other.models[0].cllr_of == "llr"
    assert other.data["warnings"] == []
    same = evaluate([model], corpora / "one", resamples=0)
    assert (same.models[0].act_dcf, same.models[0].cllr_of) == (None, "cosine taken as llr")
    assert "fitted on 5 of these speakers" in same.data["warnings"][0]
    forced = evaluate([model], corpora / "one", resamples=0, force=True)
    assert forced.models[0].cllr_of == "llr"
    assert "are too good" in forced.data["warnings"][0]
    assert json.loads(json.dumps(forced.as_dict())) == forced.as_dict()
