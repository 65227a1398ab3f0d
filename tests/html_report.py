"""A small report made by hand, with names that would break a careless page, for the tests of the page."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from voxid.evaluation.report import Excerpt
from voxid.evaluation.report.values import ModelReport, Report
from voxid.evaluation.scores import Scores

EVIL = """</script><script>window.hacked = 1</script><img src=x onerror="window.hacked=1">"""
EVIL_SPEAKER = """O'Brien "Bo" & <b>söhne</b> \U0001f600 {{ 7 * 7 }}"""
PLAIN = "ecapa-$big$"


def group(kind: str, eer: float | None = 0.1, targets: int = 2000, speakers: int = 40) -> dict[str, Any]:
    """Return the figures of one group, as evaluation makes them."""
    some = targets > 0
    return {
        "kind": kind,
        "eer": eer,
        "eer_threshold": 0.4 if some else None,
        "min_dcf": 0.5 if some else None,
        "far": 0.11,
        "frr": 0.09 if some else None,
        "trials": 4000 + targets,
        "targets": targets,
        "nontargets": 4000,
        "speakers": speakers,
    }


def trial(left: str, right: str, score: float, llr: float | None) -> dict[str, Any]:
    """Return one of the worst trials; speakers are the first letter of an utterance."""
    return {
        "left": left,
        "right": right,
        "left_speaker": EVIL_SPEAKER if left == EVIL else left[0],
        "right_speaker": right[0],
        "score": score,
        "llr": llr,
    }


def model(name: str, **changes: Any) -> ModelReport:
    """Return the figures of a calibrated system, with `changes`."""
    known = ModelReport(
        model=name,
        folder=f"runs/{name}",
        fingerprint="3f" * 32,
        inference="sliding",
        scoring="cosine",
        eer=0.1234,
        eer_threshold=0.4321,
        eer_error_bound=0.0,
        eer_grid=None,
        eer_grid_threshold=None,
        min_dcf=0.6543,
        min_dcf_05=0.4567,
        act_dcf=0.7001,
        act_dcf_05=0.5002,
        cllr=0.3456,
        cllr_of="llr",
        min_cllr=0.3333,
        frr_at_far={"0.01": 0.4141, "0.001": 0.6161, "0.0001": None},
        intervals={"eer": [0.1111, 0.1399], "min_dcf": [0.6, 0.7]},
        calibration={
            "scale": 20.0,
            "offset": -9.0,
            "prior": 0.05,
            "fitted_on": {"name": "held out", "speakers": 31},
        },
        trials=6000,
        targets=2000,
        nontargets=4000,
        trials_lost=0,
        utterances=120,
        left_out={},
        full_sequence=7,
        identification={
            "enrolled": 12,
            "probes": 108,
            "top_1": 0.9876,
            "top_5": 1.0,
            "fnir": None,
            "fpir": None,
        },
        groups={
            "same_sex": group("alike"),
            "sex: male, male": group("sex", eer=0.2),
            "sex: male, female": group("sex", eer=None, targets=0),
            "duration: 1 to 2 s": group("duration", eer=0.005, speakers=7),
        },
        hardest=[
            {
                "speaker": EVIL_SPEAKER,
                "false_accepts": 77,
                "nontargets": 300,
                "far": 0.2567,
                "false_rejects": 3,
                "targets": 40,
                "frr": 0.075,
                "confused_with": [{"speaker": "b", "false_accepts": 44, "trials": 55}],
            }
        ],
        worst={
            "false_accepts": [trial(EVIL, "b1", 0.912, 5.25), trial("a1", "b1", 0.9, 5.0)],
            "false_rejects": [trial("a1", "a-long", 0.123, -7.5), trial("c-none", "c1", 0.2, -6.0)],
        },
        embed_s=1.5,
        score_s=0.1,
        from_cache=12,
    )
    return dataclasses.replace(known, **changes)


def make_report(*models: ModelReport, **changes: Any) -> Report:
    """Return a report of `models`; of the two usual ones if none is given."""
    if not models:
        models = (
            model(EVIL),
            model(PLAIN, eer=0.2, min_dcf=0.5, act_dcf=None, act_dcf_05=None, calibration=None),
        )
    known = Report(
        voxid="0.1.0",
        made="2026-01-31T09:05:59+00:00",
        data={
            "name": "a <corpus>",
            "paths": ["/data/a corpus"],
            "fingerprint": "ab" * 32,
            "utterances": 120,
            "speakers": 40,
            "used_in_trials": 118,
            "warnings": [],
        },
        trials={
            "spec": "3000-triplets",
            "seed": 5,
            "count": 6000,
            "targets": 2000,
            "nontargets": 4000,
            "warnings": {},
        },
        left_out={"utterances": {}, "trials": 0, "when_prepared": {}},
        intervals={"level": 0.95, "resamples": 1000, "seed": 0},
        models=list(models),
        paired=[
            {
                "a": models[0].model,
                "b": models[1].model,
                "figure": "eer",
                "difference": -0.0766,
                "low": -0.09,
                "high": -0.06,
                "p_value": 0.002,
                "trials": 6000,
            }
        ]
        if len(models) == 2
        else [],
        out="report",
    )
    return dataclasses.replace(known, **changes)


def make_scores(report: Report) -> list[Scores]:
    """Return trials to draw for each model: two bells."""
    rng = np.random.default_rng(0)
    panels = []
    for known in report.models:
        same_K = np.arange(6000) < 2000
        llr_K = 2 * rng.standard_normal(6000) + np.where(same_K, 2.0, -2.0)
        score_K = (llr_K / 20).astype(np.float32)
        llrs = llr_K if known.calibration else None
        nobody_K = np.zeros(6000, np.int32)
        panels.append(Scores(nobody_K, nobody_K, same_K, score_K, llr_K=llrs, name=known.model))
    return panels


def clip(utterance: str) -> Excerpt | None:
    """Return a tone of one second, twelve for "a-long", nothing for "c-none"."""
    if utterance == "c-none":
        return None
    t = np.arange(16_000 * (12 if utterance == "a-long" else 1)) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * (200 + 10 * len(utterance)) * t)
    speaker = EVIL_SPEAKER if utterance == EVIL else utterance[0]
    return Excerpt(
        tone.astype(np.float32),
        16_000,
        speaker,
        {"sex": "f", "age": 34.0, "language": "", "note": "<i>x</i>"},
    )
