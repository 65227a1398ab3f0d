"""All pairs of a large test set: the figures of trials in memory, within the bound they come with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_evaluation import CountingRuntime, data_of, utterances

from voxid.errors import AudioSilent, BadTrials
from voxid.evaluation import evaluate, run


def test_too_many_pairs_are_counted_in_bins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(utterances(20, 6))
    monkeypatch.setattr(run, "read_data", lambda paths, layout: data)
    broken = {"s3/2": AudioSilent("silent")}
    runtimes = [CountingRuntime(1.0, broken=broken), CountingRuntime(1.4)]
    exact = evaluate(runtimes, "any", "all", resamples=0)
    monkeypatch.setattr(run, "MOST_TRIALS", 1000)
    seen: list[tuple[int, int]] = []
    counted = evaluate(runtimes, "any", "all", tmp_path / "r", progress=lambda *pair: seen.append(pair))
    for one, other in zip(exact.models, counted.models, strict=True):
        assert abs(one.eer - other.eer) <= other.eer_error_bound + 1e-12
        assert other.eer_error_bound < 0.01
        assert other.min_dcf == pytest.approx(one.min_dcf, abs=0.01)
        assert (one.trials, one.targets, one.trials_lost) == (other.trials, other.targets, other.trials_lost)
        assert one.left_out == other.left_out
        assert other.frr_at_far["0.01"] == pytest.approx(one.frr_at_far["0.01"], abs=0.02)
        assert (one.frr_at_far["0.0001"], other.frr_at_far["0.0001"]) == (None, None)
    assert counted.trials["count"] == exact.trials["count"] == 120 * 119 // 2
    assert counted.trials["targets"] == exact.trials["targets"]
    assert counted.left_out == exact.left_out
    assert "too many trials to hold" in counted.intervals["why_not"]
    assert seen[-1] == (240, 240)
    assert json.loads((tmp_path / "r" / "report.json").read_text()) == counted.as_dict()
    assert sorted(counted.files) == sorted(path.name for path in (tmp_path / "r").iterdir())


def test_other_scoring_is_refused_there(monkeypatch: pytest.MonkeyPatch) -> None:
    data = data_of(utterances(20, 6))
    monkeypatch.setattr(run, "read_data", lambda paths, layout: data)
    monkeypatch.setattr(run, "MOST_TRIALS", 1000)
    with pytest.raises(BadTrials, match="by cosine only"):
        evaluate([CountingRuntime()], "any", "all", scoring=["mean"], cohort="any")
    assert np.isfinite(evaluate([CountingRuntime()], "any", "all").models[0].eer)
