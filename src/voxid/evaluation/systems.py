"""From a model to what is measured: its embeddings, each way of scoring them, its calibration.

# N utterances, K trials, C recordings of the cohort
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from voxid.embed import Embedder
from voxid.errors import BadCohort, BadConfig
from voxid.evaluation.cache import EmbeddingCache
from voxid.evaluation.embedding import Progress, Voices, embed_cohort, embed_used, with_models
from voxid.evaluation.measure import decisions
from voxid.evaluation.overlap import CALIBRATION_SPEAKERS, SpeakerSet
from voxid.evaluation.scores import Scores, llrs, score_trials
from voxid.scoring import Calibration, FittedScorer, Scorer, make_scorer
from voxid.trials import Trials
from voxid.trials.data import EvaluationData

LLR = "llr"  # as scoring: the model's own calibrated LLRs, in place of what they are made of


@dataclass
class SystemMaker:
    """Makes the systems of one model after the other, on the same trials.

    With `by_itself` a model is scored by its LLRs beside what `scorers` say, where its calibration weighs
    more than the cosine: then they order the trials in another way. `resamples` and `seed` are for the
    intervals of its decisions. `speakers` are the speakers each model was tested on, by its name; `warnings`
    what a reader should know.
    """

    test: EvaluationData
    plan: Trials
    scorers: dict[str, Scorer]
    cohort: EvaluationData | None
    steps: Steps  # of the test and the cohort, for each model in turn
    cache: bool
    force: bool
    by_itself: bool
    vad: str
    resamples: int
    seed: int
    speakers: dict[str, SpeakerSet] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def of(self, name: str, folder: str, runtime: Embedder) -> list[Scores]:
        """Return a system for each scorer. Raise an AudioError, BadTrials, BadCohort or EvaluationError."""
        cache = EmbeddingCache.of(runtime, vad=self.vad) if self.cache else None
        held = runtime.model.calibration
        # enrollment models weigh their clips by it
        speech = self.plan.models is not None or (held is not None and "speech" in held.measures)
        heard = {"speech": speech, "vad": self.vad, "cache": cache, "progress": self.steps.next()}
        voices = embed_used(runtime, self.test, self.plan.used(), **heard)
        met = self.speakers[name] = SpeakerSet.of(self.test, voices)
        enrolled = with_models(voices, self.plan)
        calibration, doubts = usable_calibration(runtime, folder, met, self.force)
        if calibration is None and LLR in self.scorers:
            raise BadConfig(
                f"{name} cannot be scored by llr: {doubts[0] if doubts else 'it has no calibration'}. "
                "Calibrate it (`voxid calibrate`) on speakers set aside, or take cosine."
            )
        fitted = self._fit(runtime, cache, met)
        if self.by_itself and calibration is not None and calibration.qualities:
            fitted[LLR] = fitted["cosine"]
        self.warnings += [*enrolled.warnings, *(f"{name}: {doubt}" for doubt in doubts)]
        systems: list[Scores] = []
        measured: dict[str, Scores] = {}  # LLRs are made of the cosines, which are computed once
        for spec, scorer in fitted.items():
            base = "cosine" if spec == LLR else spec
            if base not in measured:
                scores = score_trials(enrolled, self.plan, scorer)
                llr_K = scores.score_K.astype(np.float64) if self.scorers[spec].gives_llr else None
                scores = replace(
                    scores,
                    name=name,
                    folder=folder,
                    scoring=base,
                    llr_K=llr_K,
                    fingerprint=runtime.fingerprint,
                    inference=runtime.score_mode,
                    utterances=voices.utterances,
                )
                if calibration is not None and base == "cosine":  # it is for cosines
                    scores = self._calibrated(scores, enrolled, calibration, runtime)
                measured[base] = scores
            system = measured[base]
            if spec == LLR:
                assert system.llr_K is not None
                system = replace(system, scoring=LLR, score_K=system.llr_K.astype(np.float32))
            systems.append(system if len(fitted) == 1 else replace(system, name=f"{name} {spec}"))
        return systems

    def _calibrated(
        self, scores: Scores, voices: Voices, calibration: Calibration, runtime: Embedder
    ) -> Scores:
        """Return cosines with their LLRs, and with what the model decides by them."""
        llr_K = llrs(scores, voices, calibration, runtime.model.cohort)
        scores = replace(scores, llr_K=llr_K, calibration=calibration.model_dump(mode="json"))
        speaker_N = self.plan.extended(self.test).speakers()
        found = decisions(scores, voices, calibration, speaker_N, resamples=self.resamples, seed=self.seed)
        return replace(scores, decisions=found)

    def _fit(
        self, runtime: Embedder, cache: EmbeddingCache | None, tested: SpeakerSet
    ) -> dict[str, FittedScorer]:
        """Return every scorer after it has learned from the cohort, which is embedded at most once."""
        others = self.cohort
        if others is None:
            return {spec: scorer.fit() for spec, scorer in self.scorers.items()}
        voices, speaker_C, warnings = embed_cohort(runtime, others, cache, self.steps.next())
        self.warnings += warnings
        self.warnings += tested.apart_from(SpeakerSet.of(others, voices), "test", self.force)
        fitted = {spec: scorer.fit(voices.emb_UD, speaker_C) for spec, scorer in self.scorers.items()}
        self.warnings += [f"{spec}: {said}" for spec, scorer in fitted.items() for said in scorer.warnings]
        return fitted


def parse_scorers(specs: Iterable[str], cohort: Any) -> dict[str, Scorer]:
    """Return the scorers of specs such as "as-norm:top_k=200"; LLRs are made of cosines.

    Raise UnknownComponent or BadConfig; BadCohort for one that needs a cohort, which is not there.
    """
    scorers = {
        spec: make_scorer(_scorer_table("cosine" if spec == LLR else spec)) for spec in dict.fromkeys(specs)
    }
    needy = [spec for spec, scorer in scorers.items() if scorer.needs_cohort]
    if needy and cohort is None:
        raise BadCohort(
            f"{needy[0]} scoring learns from other speakers, and no cohort was given. Give one (--cohort D): "
            "a corpus whose speakers are not those of the test."
        )
    return scorers


def _scorer_table(spec: str) -> dict[str, Any]:
    """Return the table of a spec: "as-norm:top_k=200" is {"name": "as-norm", "top_k": 200}."""
    name, _, options = spec.partition(":")
    table: dict[str, Any] = {"name": name}
    for option in filter(None, options.split(",")):
        key, equals, value = option.partition("=")
        if not equals:
            raise BadConfig(
                f"{spec}: {option!r} is not an option. Write name:option=value, as in as-norm:top_k=200."
            )
        try:
            table[key.strip()] = json.loads(value)
        except ValueError:
            table[key.strip()] = value.strip()
    return table


def usable_calibration(
    runtime: Embedder, folder: str, speakers: SpeakerSet, force: bool
) -> tuple[Calibration | None, list[str]]:
    """Return the model's calibration, None when its figures would mislead, and what a reader should know."""
    calibration = runtime.model.calibration
    if calibration is None:
        return None, []
    if not calibration.fits(runtime.fingerprint):
        return None, ["its calibration is for other weights or another inference, and is not used"]
    met = Path(folder).expanduser() / CALIBRATION_SPEAKERS if folder else None
    if met is None or not met.is_file():
        return calibration, []
    common = speakers.common(SpeakerSet.load(met))
    if not common:
        return calibration, []
    who = f"its calibration was fitted on {len(common)} of these speakers ({', '.join(common[:3])}, ...)"
    if force:
        return calibration, [f"{who}: actual DCF and Cllr are too good"]
    return None, [f"{who} and is not used; --force uses it all the same"]


class Steps:
    """One progress count over pieces of work of known sizes, done one after the other."""

    def __init__(self, progress: Progress | None, parts: Sequence[int]) -> None:
        self._progress = progress
        self._parts: Iterator[int] = iter(parts)
        self._total = sum(parts)
        self._before = 0

    def next(self) -> Progress | None:
        """Return the callable for the next piece of work."""
        if self._progress is None:
            return None
        before, progress, total = self._before, self._progress, self._total
        self._before += next(self._parts)
        return lambda done, _: progress(before + done, total)
