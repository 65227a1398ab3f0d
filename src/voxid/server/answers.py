"""What the service answers, as OpenAPI describes it; and how the library's answers become that.

Where an answer is a value of the library under other names, `validation_alias` is the library's.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from voxid.errors import AudioSilent, AudioTooShort, OptedOut, PersonNotFound, TooLittleSpeech, VoxidError
from voxid.scoring.decision import Rule
from voxid.stores import Person
from voxid.timeline import Timeline
from voxid.types import Decision, Enrollment, Identification

TOO_LITTLE = (TooLittleSpeech, AudioSilent, AudioTooShort)  # what is no error, but "not_enough_speech"
NOBODY = {PersonNotFound: "not_enrolled", OptedOut: "opted_out"}  # neither is this
Seconds = Annotated[float, AfterValidator(lambda seconds: round(seconds, 2))]
Moment = Annotated[str, BeforeValidator(lambda at: at.isoformat() if isinstance(at, datetime) else at)]
Llr = Annotated[float | None, Field(description="Calibrated natural-log likelihood ratio; null without one.")]


class Out(BaseModel):
    """An answer. More fields may come in later versions of `/v1`; none goes."""

    model_config = ConfigDict(extra="allow", json_schema_serialization_defaults_required=True)


class Evidence(Out):
    """What a decision rests on."""

    model: str = Field(description="Fingerprint of the model.")
    calibration: str = Field(description="Fingerprint of its calibration.")
    surroundings: str | None = Field(None, description="Fingerprint of the adaptation that was used.")
    far: float | None = Field(
        None, description="The false-alarm rate that the threshold stands for, if asked."
    )
    prior: float = Field(description="The probability of 'same speaker' before anything was heard.")


class ClipOut(Out):
    """One recording of an enrollment."""

    source: str
    net_speech_s: float
    total_s: float
    voiceprint: str | None = Field(description="Its id; null where nothing was added.")
    llr: Llr = None
    outlier: bool = Field(False, description="It does not sound like the person's other recordings.")
    warnings: list[str] = []


class EnrollmentOut(Out):
    """How far somebody's enrollment has come."""

    state: Literal["needs_speech", "enrolled"]
    speaker: str
    collection: str
    net_speech_s: float = Field(description="Net speech that is enrolled, in seconds.")
    wanted_s: float = Field(description="Net speech that is wanted.")
    missing_s: float = Field(description="Net speech that is still wanted.")
    created: bool = Field(description="Whether the person is new.")
    voiceprints: int = Field(description="Recordings that are held.")
    clips: list[ClipOut] = []
    warnings: list[str] = []
    model: str


class DecisionOut(Evidence):
    """A decision on two sides: a recording and somebody enrolled, or two recordings."""

    decision: Literal["accepted", "rejected", "not_enough_speech", "not_enrolled", "opted_out"]
    accepted: bool = False
    llr: Llr = None
    probability: float | None = Field(None, description="That it is the same speaker, at the prior.")
    cosine: float | None = None
    threshold: float | None = Field(None, description="The LLR from which it is accepted.")
    reason: str
    speaker: str | None = None
    speech_s: list[float | None] = []
    net_speech_s: list[float | None] = Field([], description="Net speech of both sides.")
    warnings: list[str] = []


class CandidateOut(Out):
    """Somebody the recording may be of."""

    rank: int
    speaker: str
    llr: float
    probability: float
    cosine: float
    threshold: float


class IdentificationOut(Evidence):
    """Who a recording is of, or nobody that is known."""

    decision: Literal["accepted", "unknown", "not_enough_speech"]
    speaker: str | None = None
    known: bool = False
    llr: Llr = Field(None, description="Of the nearest; null where nobody is enrolled.")
    threshold: float | None = None
    probability: float | None = Field(None, description="Of the nearest.")
    unknown_probability: float | None = Field(None, description="That it is none of them.")
    candidates: list[CandidateOut] = []
    enrolled: int = Field(description="People who were searched.")
    reason: str
    speech_s: float | None = None
    net_speech_s: float | None = None
    warnings: list[str] = []


class TurnOut(Out):
    """Somebody talks."""

    start: float = Field(description="Seconds from the beginning.")
    end: float
    speaker: str = Field(description='A name, or "unknown 1".')
    llr: Llr = Field(None, description="Of this turn alone; null where nobody is enrolled.")
    speech_s: float
    confidence: float = Field(description="How sure it is that this speaker talks here, 0 to 1.")
    channel: int | None = None
    doubtful: bool


class TimelineSpeakerOut(Out):
    """One speaker of a recording."""

    speaker: str
    known: bool
    speech_s: float
    turns: int
    nearest: str | None = Field(None, description="The enrolled person whom the voice is nearest to.")
    llr: Llr = None
    threshold: float | None = None
    probability: float | None = None


class TimelineOut(Evidence):
    """Who spoke when."""

    turns: list[TurnOut]
    speakers: list[TimelineSpeakerOut]
    total_s: float
    source: str
    enrolled: int = Field(description="People who were searched.")
    warnings: list[str] = []


class RecordingOut(Out):
    """A recording that is held, as a voiceprint: no audio is kept."""

    id: str
    source: str
    speech_s: Seconds
    created: Moment
    model: str


class SpeakerOut(Out):
    """Somebody enrolled. `id` stays through renaming, and is never given to anybody else."""

    id: int
    name: str
    state: Literal["needs_speech", "enrolled"] = "enrolled"
    net_speech_s: Seconds = Field(validation_alias="speech_s")
    wanted_s: float = 0.0
    missing_s: float = 0.0
    voiceprints: int = Field(validation_alias="prints")
    created: Moment
    updated: Moment
    metadata: dict[str, Any] = {}
    damaged: str = ""
    recordings: Annotated[list[RecordingOut] | None, BeforeValidator(lambda held: held or None)] = Field(
        None, validation_alias="voiceprints"
    )


class SpeakersOut(Out):
    """A page of the people of a collection, by name."""

    collection: str
    total: int
    speakers: list[SpeakerOut]
    next: str | None = Field(description="Give this as `after` for the next page; null at the end.")


class ReceiptOut(Out):
    """What was deleted, and the number of the line in the audit trail that says so."""

    deleted: bool = True
    id: int | None = Field(None, validation_alias="person")
    time: Moment | None = None
    voiceprints: int
    audit: int | None = None
    wiped: bool = True


class CollectionOut(Out):
    """A collection of people."""

    name: str
    people: int
    voiceprints: int
    model: str
    settings: dict[str, Any] = {}


class CollectionsOut(Out):
    """All collections that the key may see."""

    collections: list[CollectionOut]


class CollectionIn(BaseModel):
    """How a collection decides; what is null is as the service is set."""

    model_config = ConfigDict(extra="forbid")
    prior: float | None = Field(None, gt=0, lt=1)
    cost_miss: float | None = Field(None, gt=0)
    cost_false_alarm: float | None = Field(None, gt=0)
    far: float | None = Field(None, gt=0, lt=1)
    least_speech_s: float | None = Field(None, ge=0, le=600)
    wanted_speech_s: float | None = Field(None, ge=0, le=3600)


class SpeakerIn(BaseModel):
    """A new name, or notes; a note that is null is removed."""

    model_config = ConfigDict(extra="forbid")
    name: str | None = None
    metadata: dict[str, Any] | None = None


class SurroundingsOut(Out):
    """What was heard of a place, and how many strangers decisions weigh now."""

    recordings: int
    voices: int
    joined: int
    strangers: int
    fingerprint: str
    left_out: dict[str, int] = {}
    warnings: list[str] = []


class OptOutOut(Out):
    """Somebody whose voice is refused."""

    name: str
    since: Moment


class OptOutsOut(Out):
    """All who opted out of a collection."""

    opt_outs: list[OptOutOut]


class LineOut(Out):
    """A line of the audit trail; `detail.by` is the key that did it."""

    sequence: int
    time: Moment
    action: str
    collection: str
    id: int = Field(
        validation_alias="person",
        description="Of the person, as in Speaker; 0 for a line about the whole collection.",
    )
    name: str
    detail: dict[str, Any] = {}


class TrailOut(Out):
    """Lines of the audit trail, oldest first."""

    lines: list[LineOut]


class EmbeddingOut(Out):
    """An embedding, and what was heard."""

    embedding: list[float]
    model: str
    net_speech_s: float
    total_s: float
    warnings: list[str] = []


class ModelOut(Out):
    """The model that answers, and its calibration."""

    name: str
    fingerprint: str
    calibration: str | None
    dim: int
    prior: float | None = None
    threshold: float | None = None
    strangers: int | None = None
    version: str
    least_speech_s: float
    wanted_speech_s: float
    audio_s: float = Field(description="Longest recording that is taken.")
    body_mb: float
    keyed: bool = Field(description="Whether requests need a key.")


class HealthOut(Out):
    """Whether the service can answer."""

    status: str


class Problem(BaseModel):
    """A problem document (RFC 9457). `code` is what programs look for, `detail` says what to do next."""

    type: str = Field(examples=["urn:voxid:problem:AudioUndecodable"])
    title: str = Field(examples=["Not audio that can be read"])
    status: int = Field(examples=[415])
    detail: str = Field(examples=["me.txt: not audio voxid can decode (Format not recognised). ..."])
    code: str = Field(examples=["AudioUndecodable"])
    instance: str | None = Field(None, examples=["urn:voxid:request:4f2a"])


def state_of(missing_s: float) -> str:
    """Return what an enrollment is called that lacks so much speech."""
    return "needs_speech" if missing_s > 0 else "enrolled"


def enrollment_out(found: Enrollment, model: str) -> dict[str, Any]:
    """Return an Enrollment as the service says it."""
    own = found.to_dict()
    return {**own, "state": state_of(found.missing_s), "net_speech_s": found.speech_s, "model": model}


def decision_out(found: Decision, evidence: dict[str, Any]) -> dict[str, Any]:
    """Return a Decision as the service says it."""
    said = "accepted" if found.accepted else "rejected"
    return {**evidence, **found.to_dict(), "decision": said}


def undecided(
    error: VoxidError, rule: Rule, evidence: dict[str, Any], speaker: str | None = None
) -> dict[str, Any]:
    """Return the answer where there was nothing to compare, as `error` says."""
    kind = next((kind for of, kind in NOBODY.items() if isinstance(error, of)), "not_enough_speech")
    none = dict.fromkeys(("llr", "probability", "cosine"))
    said = {"decision": kind, "accepted": False, "reason": str(error), "speaker": speaker}
    return {**evidence, **none, **said, "threshold": rule.threshold(), "prior": rule.prior}


def identification_out(found: Identification, evidence: dict[str, Any]) -> dict[str, Any]:
    """Return an Identification as the service says it."""
    best = found.candidates[0] if found.candidates else None
    return {
        **evidence,
        **found.to_dict(),
        "decision": "accepted" if found.known else "unknown",
        "llr": best.llr if best else None,
        "probability": best.probability if best else None,
    }


def timeline_out(found: Timeline, evidence: dict[str, Any]) -> dict[str, Any]:
    """Return a Timeline as the service says it."""
    return {**evidence, **found.to_dict()}


def speaker_out(person: Person, wanted_s: float) -> SpeakerOut:
    """Return a Person as the service says it, with recordings where they were read."""
    missing_s = round(max(0.0, wanted_s - person.speech_s), 2)
    progress = {"state": state_of(missing_s), "wanted_s": wanted_s, "missing_s": missing_s}
    return SpeakerOut.model_validate(person, from_attributes=True).model_copy(update=progress)
