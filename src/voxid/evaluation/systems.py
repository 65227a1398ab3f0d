"""From a model to what is measured: its embeddings, each way of scoring them, its calibration.

# N utterances, K trials, C recordings of the cohort
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from voxid.embed import Embedder
from voxid.errors import BadCohort, BadConfig, EvaluationError
from voxid.evaluation.cache import EmbeddingCache
from voxid.evaluation.embedding import Progress, Voices, embed_cohort, embed_used, with_models
from voxid.evaluation.measure import RESAMPLES, decisions
from voxid.evaluation.overlap import CALIBRATION_SPEAKERS, SpeakerSet
from voxid.evaluation.scores import Scores, llrs, score_trials
from voxid.scoring import Calibration, FittedScorer, Scorer, make_scorer
from voxid.trials import Trials
from voxid.trials.data import EvaluationData

LLR = "llr"  # as scoring: the model's own calibrated LLRs, in place of what they are made of


class SystemMaker:
    """Makes the systems of one model after the other, on the same trials.

    With `by_itself` a model is scored by its LLRs beside what `scorers` say, where its calibration weighs
    more than the cosine: then they order the trials in another way. `resamples` and `seed` are for the
    intervals of its decisions. `speakers` are the speakers each model was tested on, by its name; `warnings`
    what a reader should know.
    """

    def __init__(
        self,
        test: EvaluationData,
        plan: Trials,
        scorers: dict[str, Scorer],
        cohort: EvaluationData | None,
        *,
        cache: bool,
        force: bool,
        models: int,
        progress: Progress | None,
        by_itself: bool = False,
        vad: str = "energy",
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> None:
        self._test, self._plan, self._scorers, self._cohort = test, plan, scorers, cohort
        self._by_itself, self._resamples, self._seed = by_itself, resamples, seed
        self._speaker_N = plan.extended(test).speakers()
        self._cache, self._force, self._vad = cache, force, vad
        others = len(cohort.utterances) if cohort else 0
        self._steps = Steps(progress, [part for part in (plan.used().size, others) if part] * models)
        self.speakers: dict[str, SpeakerSet] = {}
        self.warnings: list[str] = []

    def of(self, name: str, folder: str, runtime: Embedder) -> list[Scores]:
        """Return a system for each scorer. Raise an AudioError, BadTrials, BadCohort or EvaluationError."""
        cache = EmbeddingCache.of(runtime, vad=self._vad) if self._cache else None
        used_U = self._plan.used()
        weighed = getattr(getattr(runtime.model, "calibration", None), "measures", ())
        speech = "speech" in weighed or self._plan.models is not None  # models weigh their clips by it
        progress = self._steps.next()
        heard = {"speech": speech, "vad": self._vad, "cache": cache, "progress": progress}
        voices = embed_used(runtime, self._test, used_U, **heard)
        met = self.speakers[name] = SpeakerSet.of(self._test, voices)
        enrolled = with_models(voices, self._plan)
        calibration, doubts = usable_calibration(runtime, folder, met, self._force)
        if calibration is None and LLR in self._scorers:
            raise BadConfig(
                f"{name} cannot be scored by llr: {doubts[0] if doubts else 'it has no calibration'}. "
                "Calibrate it (`voxid calibrate`) on speakers set aside, or take cosine."
            )
        fitted = self._fit(runtime, cache, met)
        if self._by_itself and calibration is not None and calibration.qualities:
            fitted[LLR] = fitted["cosine"]
        self.warnings += [*enrolled.warnings, *(f"{name}: {doubt}" for doubt in doubts)]
        systems: list[Scores] = []
        measured: dict[str, Scores] = {}  # LLRs are made of the cosines, which are computed once
        for spec, scorer in fitted.items():
            base = "cosine" if spec == LLR else spec
            if base not in measured:
                scores = score_trials(enrolled, self._plan, scorer)
                llr_K = scores.score_K.astype(np.float64) if self._scorers[spec].gives_llr else None
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
        llr_K = llrs(scores, voices, calibration, getattr(runtime.model, "cohort", None))
        scores = replace(scores, llr_K=llr_K, calibration=calibration.model_dump(mode="json"))
        options = {"resamples": self._resamples, "seed": self._seed}
        found = decisions(scores, voices, calibration, self._speaker_N, **options)
        return replace(scores, decisions=found)

    def _fit(
        self, runtime: Embedder, cache: EmbeddingCache | None, tested: SpeakerSet
    ) -> dict[str, FittedScorer]:
        """Return every scorer after it has learned from the cohort, which is embedded at most once."""
        others = self._cohort
        if others is None:
            return {spec: scorer.fit() for spec, scorer in self._scorers.items()}
        voices, speaker_C, warnings = embed_cohort(runtime, others, cache, self._steps.next())
        self.warnings += warnings
        met = tested.common(SpeakerSet.of(others, voices))
        if met and not self._force:
            names = ", ".join(met[:3]) + ", ..." * (len(met) > 3)
            raise EvaluationError(
                f"{len(met)} speakers of the test are in the cohort too ({names}): scoring would know them. "
                "Take a cohort of other speakers, or override this with --force."
            )
        if met:
            self.warnings.append(f"{len(met)} speakers of the test are in the cohort: scores are too good")
        fitted = {spec: scorer.fit(voices.emb_UD, speaker_C) for spec, scorer in self._scorers.items()}
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
    calibration = getattr(runtime.model, "calibration", None)
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
