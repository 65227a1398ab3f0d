"""Recognizer: enroll, verify and identify people, kept in a store."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from voxid.audio import LEAST_SPEECH_S
from voxid.embed import DEFAULT_MODEL, Embedder
from voxid.errors import BadConfig, ModelMismatch, NotCalibrated
from voxid.recognizer.adapting import joined
from voxid.recognizer.conversing import Naming, timeline
from voxid.recognizer.enrolling import Take, clip_llrs, clips_of, enrollment, takes, voices_llr
from voxid.recognizer.hearing import (
    Heard,
    as_clips,
    calibration_of,
    hear,
    least_of_clip,
    require_together,
    runtime_of,
)
from voxid.recognizer.identifying import AT_LEAST, NAMED, identification
from voxid.recognizer.people import DEFAULT_URL, People, sides
from voxid.recognizer.reembedding import Missing, Reembedded, reembed, to_voiceprint
from voxid.recognizer.roster import MEMORY, Near, Roster
from voxid.recognizer.streaming import Stream
from voxid.scoring import Cohort, Side, llr
from voxid.scoring.decision import Rule, RuleOptions, decide, is_number, rule
from voxid.scoring.evidence import cosines, unlike
from voxid.stores import DEFAULT, Person, Store, Voiceprint
from voxid.types import SAMPLE_RATE, Decision, Enrollment, Identification

if TYPE_CHECKING:
    from voxid.audio import Source
    from voxid.timeline import Timeline

WANTED_SPEECH_S = 20.0  # of enrollment: more brings little (docs/recognizer.md)


class Recognizer(People):
    """Enroll people in a store, and tell who of them speaks in a recording.

    `url` is the address of a store (`people.db`, `sqlite:///people.db`, `postgresql://...`) or an open one.
    `model` is a shipped name, a model folder or a loaded model. `prior`, costs and `far` say how to decide,
    for all answers that do not say it themselves (`voxid.scoring.decision.rule`). A recording needs
    `least_speech_s` seconds of net speech (the clips of an enrollment together); `wanted_speech_s` make a
    good voiceprint. `cohort` are recordings of other people, recorded as yours are, to which decisions are
    adapted (`voxid.adapt`); or what `adapting.joined` made of them. Voiceprints may take up to `memory` in
    memory (bytes, or a text such as "500MB"); beyond that the store searches (docs/search.md).

    Thread-safe: one Recognizer serves any number of threads, and any number of processes may use one store.

    >>> with voxid.Recognizer("people.db") as rec:
    ...     done = rec.enroll("alice", ["alice1.wav", "alice2.wav"])
    ...     decision = rec.verify("alice", "alice3.wav")
    >>> decision.accepted, decision.reason
    (True, 'LLR 6.18 is at or above the threshold 2.94 (prior 0.05)')
    """

    def __init__(
        self,
        url: str | Store = DEFAULT_URL,
        model: str | os.PathLike[str] | Embedder | None = DEFAULT_MODEL,
        *,
        collection: str = DEFAULT,
        prior: float | None = None,
        cost_miss: float | None = None,
        cost_false_alarm: float | None = None,
        far: float | None = None,
        least_speech_s: float = LEAST_SPEECH_S,
        wanted_speech_s: float = WANTED_SPEECH_S,
        vad: str = "energy",
        cohort: Any = None,
        device: str = "cpu",
        memory: int | float | str = MEMORY,
        in_memory: None = None,
    ) -> None:
        for what, seconds in (("least_speech_s", least_speech_s), ("wanted_speech_s", wanted_speech_s)):
            if not (is_number(seconds) and 0 <= seconds < float("inf")):
                raise BadConfig(f"{what} are seconds, a number from 0; got {seconds!r}.")
        if in_memory is not None:
            raise BadConfig(
                f"in_memory is no longer an option; got {in_memory!r}. "
                "Say how many bytes people may take in memory: memory='2GB'."
            )
        self.runtime, self.model_name = runtime_of(model, device)
        self._cohort = self.runtime.model.cohort
        if isinstance(cohort, Cohort):
            self._cohort = cohort
        elif cohort is not None:
            self._cohort, self.adapted = joined(self.runtime, self.model_name, cohort, vad=vad)
        costs = {"cost_miss": cost_miss, "cost_false_alarm": cost_false_alarm}
        self._asked = {"prior": prior, **costs, "far": far}
        self._least_s, self.wanted_speech_s, self._vad = least_speech_s, float(wanted_speech_s), vad
        if self.runtime.model.calibration is not None:
            self.rule()  # numbers that make no sense are refused here, not at the first question
        super().__init__(url, collection=collection)
        self._roster = Roster(self.store, collection, memory)

    # -- the three questions ---------------------------------------------------------------------------

    def enroll(
        self, name: str, audio: Any, *, replace: bool = False, metadata: Mapping[str, Any] | None = None
    ) -> Enrollment:
        """Return how much speech of `name` is enrolled, after adding clips in one transaction.

        `audio` is a list of recordings (path, bytes, open file, (samples, rate)), or one. `replace` removes
        the person's older clips. A clip that does not sound like the others is kept and pointed out
        (`Enrollment.outliers`); a recording given twice is kept once. Short clips count together: each needs
        0.3 s of net speech, all of them `least_speech_s`. Raise an AudioError (then nothing was enrolled),
        TooLittleSpeech, BadName, ModelMismatch, a StoreError.

        >>> done = rec.enroll("alice", ["alice1.wav", "alice2.wav"])
        >>> done.voiceprints, done.complete
        (2, False)
        """
        self._need_model()
        before = self.store.find(name, collection=self.collection)  # refuses a bad name before the work
        self.store.refuse_opted_out(name, collection=self.collection)
        held = () if before is None or replace else before.voiceprints
        clips = as_clips(audio)
        heards = [
            self._several_voices(heard)
            for heard in hear(
                self.runtime,
                clips,
                least_s=self._least_s if len(clips) == 1 and not held else least_of_clip(self._least_s),
                vad=self._vad,
                mixed=False,
                piecewise=self.runtime.model.calibration is not None,
            )
        ]
        taken = takes(heards, [to_voiceprint(heard, self.runtime) for heard in heards], held)
        new = [take.print_ for take in taken if take.print_ is not None]
        if new:
            require_together([*held, *new], self._least_s, name)
        person = before
        if new or person is None:
            person = self.store.enroll(
                name,
                new,
                model=self.runtime.fingerprint,
                metadata=metadata,
                replace=replace,
                collection=self.collection,
            )
        elif metadata:
            person = self.store.update_metadata(name, metadata, collection=self.collection)
        # another process may have enrolled them since `before`; who is new was never updated
        created = before is None and person.created == person.updated
        return self._enrollment(person, taken, created)

    def verify(self, name: str, audio: Source, **options: Unpack[RuleOptions]) -> Decision:
        """Return whether `audio` is of the person enrolled as `name`.

        Raise PersonNotFound, an AudioError, TooLittleSpeech, ModelMismatch, NotCalibrated, BadConfig.

        >>> rec.verify("alice", "alice3.wav").accepted
        True
        """
        return self.verify_many([(name, audio)], **options)[0]

    def verify_many(
        self, claims: Iterable[tuple[str, Source]], **options: Unpack[RuleOptions]
    ) -> list[Decision]:
        """Return a decision for each (name, audio), in order; recordings are embedded together, so faster.

        The decisions are those of `verify`. Raise as it does, at the first recording that cannot be used.

        >>> [one.accepted for one in rec.verify_many([("alice", "alice3.wav"), ("bob", "bob.wav")])]
        [True, True]
        """
        asked = self.rule(**options)
        pairs = list(claims)
        people = {name: self.get(name) for name in dict.fromkeys(name for name, _ in pairs)}
        for person in people.values():
            self._need_model(person)
        clips = [audio for _, audio in pairs]
        heards = hear(self.runtime, clips, least_s=self._least_s, vad=self._vad)
        return [
            self._verified(asked, people[name], heard) for (name, _), heard in zip(pairs, heards, strict=True)
        ]

    def _verified(self, asked: Rule, person: Person, heard: Heard) -> Decision:
        """Return whether what was heard is of `person`."""
        enrolled = sides([person.voiceprints])
        [score] = cosines(enrolled, heard.side)
        [found] = llr(asked.calibration, enrolled, heard.side, self._cohort, cosine_K=[score])
        speech_s = round(float(enrolled.speech_s_N[0]), 2)
        return decide(
            asked,
            float(found),
            float(score),
            speech_s=(speech_s, heard.total_s),
            net_speech_s=(speech_s, heard.net_speech_s),
            clips=float(enrolled.clips_N[0]),
            speaker=person.name,
            warnings=(*heard.warnings, *unlike(asked.calibration, heard.side, self._cohort)),
        )

    def identify(
        self,
        audio: Source,
        *,
        top: int = 5,
        progress: Callable[[int, int], None] | None = None,
        **options: Unpack[RuleOptions],
    ) -> Identification:
        """Return who of the enrolled people speaks in `audio`, or unknown; with the `top` nearest, ranked.

        Prior and threshold account for how many are enrolled. The first call reads everybody, once the
        recording is heard; `progress` is called as by `load`. Raise as `verify` does.

        >>> rec.identify("alice3.wav", top=1).speaker
        'alice'
        """
        if not isinstance(top, int | np.integer) or top < 1:
            raise BadConfig(f"top is how many candidates to return, a whole number from 1; got {top!r}.")
        asked = self.rule(**options)
        self._need_model()
        [heard] = hear(self.runtime, [audio], least_s=self._least_s, vad=self._vad)
        odd = unlike(asked.calibration, heard.side, self._cohort)
        heard = dataclasses.replace(heard, warnings=(*heard.warnings, *odd))
        if progress is not None:
            self.load(progress)
        return self._ranked(asked, self._cohort, heard, top)[0]

    def _ranked(
        self, asked: Rule, cohort: Cohort | None, heard: Heard, top: int
    ) -> tuple[Identification, Near]:
        """Return who of the enrolled people was heard, and those who were compared, the best first."""
        near = self._roster.near(heard.emb_D, max(top, AT_LEAST))
        self._need_model()  # a change of model may have ended while this was heard
        people = self.store.people_by_id([*near.person_K.tolist(), *near.damaged[:NAMED]])
        near = near.only(people)  # without who was deleted in this moment
        llr_K = np.zeros(0)
        if len(near.person_K):  # nobody has no embeddings, and no length of one
            llr_K = llr(asked.calibration, near.side, heard.side, cohort, cosine_K=near.cosine_K)
        names = {id_: person.name for id_, person in people.items()}
        found = identification(asked, llr_K, near, names, heard, top, self.where)
        return found, near.ranked(llr_K)

    def timeline(
        self, audio: Source, speakers: int | None = None, **options: Unpack[RuleOptions]
    ) -> Timeline:
        """Return who spoke when: turns under the names of enrolled people, "unknown 1", "unknown 2", ...

        `speakers` is how many people talk, if that is known. A name needs what it needs in `identify`. Where
        two channels hold different sound, each is taken for one speaker. Raise as `identify` does, but for
        too little speech: then there are no turns, or few, and a warning.

        >>> print(rec.timeline("alice1.wav").turns[0].speaker)
        alice
        """
        asked = self.rule(**options)
        return timeline(self._naming(asked), audio, speakers)

    def stream(self, rate: int = SAMPLE_RATE, **options: Unpack[RuleOptions]) -> Stream:
        """Return what takes samples as they are heard, at `rate` Hz, and gives turns as they settle.

        A turn comes at most 2 s of sound after its end, under the name that its speaker has by then. `end`
        gives the timeline that the file would have got. Raise as `timeline` does.

        >>> stream, wave_S = rec.stream(), voxid.audio.load("alice1.wav")
        >>> turns = [turn for chunk in np.array_split(wave_S, 40) for turn in stream.add(chunk)]
        >>> [turn.speaker for turn in stream.end().turns]
        ['alice']
        """
        asked = self.rule(**options)
        return Stream(self._naming(asked), rate)

    def _naming(self, asked: Rule) -> Naming:
        self._need_model()
        cohort = None if self._cohort is None else self._cohort.remembering()
        return Naming(self.runtime, asked, cohort, partial(self._ranked, asked, cohort), self._vad)

    def load(self, progress: Callable[[int, int], None] | None = None) -> int:
        """Return how many people are in memory, after reading them. Otherwise the first `identify` does that.

        `progress` is called with how many were read, of how many. 0 where there are too many for `memory`.

        >>> rec.load() >= 2
        True
        """
        return self._roster.load(progress)

    # -- the rest ------------------------------------------------------------------------------------------

    def reembed(
        self,
        audio: Mapping[str, Any],
        *,
        missing: Missing = "refuse",
        progress: Callable[[int, int], None] | None = None,
    ) -> Reembedded:
        """Return how far the collection's change to this recognizer's model has come.

        `audio` maps names to their kept recordings. Those without stay listed in `missing`, and the old model
        stays in use, until their audio is given too or `missing="delete"` ends it without them.

        >>> rec.reembed({"alice": ["alice1.wav"], "bob": ["bob.wav"]}).finished  # doctest: +SKIP
        True
        """
        return reembed(
            self.store,
            self.runtime,
            audio,
            collection=self.collection,
            missing=missing,
            least_speech_s=self._least_s,
            vad=self._vad,
            progress=progress,
        )

    def rule(self, **options: Unpack[RuleOptions]) -> Rule:
        """Return how a decision is made: what `options` say, else what this recognizer was made with.

        >>> round(abs(rec.rule(prior=0.5).threshold()), 3)
        0.0
        """
        own = {name: value for name, value in options.items() if value is not None}
        if "far" in own or own.keys() & {"cost_miss", "cost_false_alarm"}:
            kept = {"prior": self._asked["prior"]} if "far" in own else {**self._asked, "far": None}
        else:
            kept = self._asked
        return rule(calibration_of(self.runtime, self.model_name), **{**kept, **own})

    def __repr__(self) -> str:
        return f"Recognizer({self.store.url!r}, model={self.model_name!r}, collection={self.collection!r})"

    def _several_voices(self, heard: Heard) -> Heard:
        """Return `heard`, with a warning where its pieces do not sound like one person."""
        if heard.pieces is None:
            return heard
        try:
            calibration = calibration_of(self.runtime, self.model_name)
        except NotCalibrated:
            return heard
        found = voices_llr(calibration, heard.pieces, self._cohort)
        if found is None or found >= 0:
            return heard
        said = (
            f"does not sound like one person (LLR {found:.1f} between its parts): several voices, or two "
            "microphones. Listen to it, and enroll the parts of one person."
        )
        return dataclasses.replace(heard, warnings=(*heard.warnings, said))

    def _enrollment(self, person: Person, taken: list[Take], created: bool) -> Enrollment:
        new = {take.print_.id for take in taken if take.print_ is not None}
        before = [print_ for print_ in person.voiceprints if print_.id not in new]
        llrs = self._llrs([*before, *(p for p in person.voiceprints if p.id in new)], len(before))
        odd = [print_.source or print_.id for print_ in before if llrs[print_.id][1]]
        others = "the clips enrolled earlier" if before else "the other clips"
        return enrollment(person, clips_of(taken, llrs, others), self.wanted_speech_s, created, odd)

    def _llrs(self, prints: list[Voiceprint], held: int) -> dict[str, tuple[float, bool]]:
        """Return by id how each clip sounds beside the others; no numbers without a calibration."""
        try:
            calibration = calibration_of(self.runtime, self.model_name)
        except NotCalibrated:
            return {print_.id: (float("nan"), False) for print_ in prints}
        clips = Side.of([print_.embedding for print_ in prints], [print_.speech_s for print_ in prints])
        found = zip(*clip_llrs(calibration, clips, self._cohort, held), strict=True)
        return {print_.id: (float(llr), bool(odd)) for print_, (llr, odd) in zip(prints, found, strict=True)}

    def _need_model(self, person: Person | None = None) -> None:
        """Raise ModelMismatch when the collection's voiceprints are of another model."""
        held = person.voiceprints[0].model if person else self.store.model(collection=self.collection)
        if held and held != self.runtime.fingerprint:
            raise ModelMismatch(
                f"the people in collection {self.collection!r} were enrolled with model {held[:12]}, and "
                f"this is {self.model_name} ({self.runtime.fingerprint[:12]}); voiceprints of two "
                "models cannot be compared. Use that model, another collection, or make new voiceprints from "
                f"kept audio: voxid speakers reembed FOLDER --model {self.model_name}."
            )
