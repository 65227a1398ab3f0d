"""Enroll, verify, identify, compare, embed: what is asked about recordings."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request

import voxid
from voxid.recognizer import compare as compare_two
from voxid.server import metrics
from voxid.server.answers import (
    NOBODY,
    TOO_LITTLE,
    DecisionOut,
    EmbeddingOut,
    EnrollmentOut,
    IdentificationOut,
    ModelOut,
    TimelineOut,
    decision_out,
    enrollment_out,
    identification_out,
    timeline_out,
    undecided,
)
from voxid.server.problems import remedy_of
from voxid.server.routes.shared import (
    MOST_PAGE,
    PROBLEMS,
    At,
    Channel,
    Collection,
    EnrollerHeard,
    Name,
    Reader,
    ReaderHeard,
    Rules,
    audio,
    done_by,
)

router = APIRouter(prefix="/v1", tags=["recognize"], responses=PROBLEMS)


def counted(question: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return an answer, after its decision was counted."""
    metrics.DECISIONS.labels(question, found["decision"]).inc()
    return found


@router.post(
    "/collections/{collection}/speakers/{name}/recordings",
    response_model=EnrollmentOut,
    summary="Enroll a person, or add recordings to a person",
    openapi_extra=audio("file", several=True),
)
async def enroll(
    request: Request,
    service: At,
    caller: EnrollerHeard,
    collection: Collection,
    name: Name,
    replace: Annotated[bool, Query(description="Forget the older recordings, and keep these.")] = False,
    channel: Channel = None,
    idempotency_key: Annotated[str | None, Header(description="The same key gets the same answer.")] = None,
) -> Any:
    """Add one recording or more, in one transaction. A recording that is held already adds nothing.

    No audio is kept. `state` is `enrolled` when there is as much net speech as is wanted.
    """
    recognizer = await service.recognizer(collection, allow=name)

    async def work() -> dict[str, Any]:
        async with service.heard(request) as heard:
            found = await done_by(service, caller, recognizer.enroll, name, heard, replace=replace)
            return enrollment_out(found, service.runtime.fingerprint)

    asked = None
    if idempotency_key is not None:
        asked = (caller.name, collection, name, str(replace), idempotency_key)
    try:
        return await service.once(asked, work)
    except TOO_LITTLE as error:
        held = await service.thread(service.store.find, name, collection=collection)
        had = round(held.speech_s, 2) if held else 0.0
        return remedy_of(
            error,
            request.scope["request_id"],
            state="needs_speech",
            net_speech_s=had,
            wanted_s=recognizer.wanted_speech_s,
        )


@router.post(
    "/collections/{collection}/speakers/{name}/verify",
    response_model=DecisionOut,
    summary="Whether a recording is of somebody enrolled",
    openapi_extra=audio("file"),
)
async def verify(
    request: Request,
    service: At,
    caller: ReaderHeard,
    collection: Collection,
    name: Name,
    rules: Rules,
    channel: Channel = None,
) -> Any:
    """Decide on one claimed identity, by the threshold that the rule asks for."""
    recognizer, missing = await service.claimed(collection, name)
    rule = recognizer.rule(**rules)

    evidence = service.evidence(recognizer, rule)
    try:
        if missing is not None:
            raise missing
        async with service.heard(request, "file") as [heard]:
            found = await service.thread(recognizer.verify, name, heard, **rules)
    except (*NOBODY, *TOO_LITTLE) as error:
        return counted("verify", undecided(error, rule, evidence, name))
    return counted("verify", decision_out(found, evidence))


@router.post(
    "/collections/{collection}/identify",
    response_model=IdentificationOut,
    summary="Who of the enrolled people speaks in a recording, or that none does",
    openapi_extra=audio("file"),
)
async def identify(
    request: Request,
    service: At,
    caller: ReaderHeard,
    collection: Collection,
    rules: Rules,
    top: Annotated[int, Query(ge=1, le=MOST_PAGE, description="How many candidates to show.")] = 5,
    channel: Channel = None,
) -> Any:
    """Rank the nearest people. The threshold accounts for how many are enrolled."""
    recognizer = await service.recognizer(collection)
    rule = recognizer.rule(**rules)
    evidence = service.evidence(recognizer, rule)
    try:
        async with service.heard(request, "file") as [heard]:
            found = await service.thread(recognizer.identify, heard, top=top, **rules)
    except TOO_LITTLE as error:
        people = await service.thread(service.store.count, collection=collection)
        return counted("identify", undecided(error, rule, evidence) | {"enrolled": people})
    return counted("identify", identification_out(found, evidence))


@router.post(
    "/collections/{collection}/timeline",
    response_model=TimelineOut,
    summary="Who spoke when in a conversation, by name",
    openapi_extra=audio("file"),
)
async def timeline(
    request: Request,
    service: At,
    caller: ReaderHeard,
    collection: Collection,
    rules: Rules,
    speakers: Annotated[int | None, Query(ge=1, description="How many people talk, if known.")] = None,
    channel: Channel = None,
) -> Any:
    """Find the turns; people who are not enrolled are "unknown 1", "unknown 2"."""
    recognizer = await service.recognizer(collection)
    evidence = service.evidence(recognizer, recognizer.rule(**rules))
    async with service.heard(request, "file") as [heard]:
        found = await service.thread(recognizer.timeline, heard, speakers, **rules)
    return timeline_out(found, evidence)


@router.post(
    "/compare",
    response_model=DecisionOut,
    summary="Whether one person speaks in both recordings",
    openapi_extra=audio("a", "b"),
)
async def compare(
    request: Request, service: At, caller: ReaderHeard, rules: Rules, channel: Channel = None
) -> Any:
    """Compare two recordings. Nothing is stored."""
    recognizer = await service.recognizer("default")
    rule = recognizer.rule(**rules)
    evidence = service.evidence(None, rule)
    try:
        async with service.heard(request, "a", "b") as pair:
            found = await service.thread(
                compare_two,
                *pair,
                model=service.runtime,
                least_speech_s=service.settings.least_speech_s,
                **rules,
            )
    except TOO_LITTLE as error:
        return counted("compare", undecided(error, rule, evidence))
    return counted("compare", decision_out(found, evidence))


@router.post(
    "/embed", response_model=EmbeddingOut, summary="The embedding of a recording", openapi_extra=audio("file")
)
async def embed(request: Request, service: At, caller: ReaderHeard, channel: Channel = None) -> Any:
    """Embed a recording. Embeddings of two models do not compare: see `model`."""
    async with service.heard(request, "file") as heard:
        [found] = await service.thread(lambda: list(service.runtime.embed_each(heard)))
    return {
        "embedding": found.embedding.tolist(),
        "model": service.runtime.fingerprint,
        "net_speech_s": found.info.net_speech_s,
        "total_s": found.info.total_s,
        "warnings": list(found.info.warnings),
    }


@router.get("/model", response_model=ModelOut, summary="The model and its calibration")
async def model(service: At, caller: Reader) -> Any:
    """Tell which model answers, and how it decides if nobody says otherwise."""
    recognizer = await service.recognizer("default")
    rule, calibration = recognizer.rule(), service.runtime.model.calibration
    cohort = service.runtime.model.cohort
    return {
        "name": service.settings.model,
        "fingerprint": service.runtime.fingerprint,
        "calibration": service.calibration,
        "dim": service.runtime.dim,
        "prior": rule.prior,
        "threshold": rule.threshold(),
        "strangers": len(cohort.rows_MD) if cohort is not None and calibration is not None else None,
        "version": voxid.__version__,
        "least_speech_s": service.settings.least_speech_s,
        "wanted_speech_s": service.settings.wanted_speech_s,
        "audio_s": service.settings.audio_s,
        "body_mb": service.settings.body_mb,
        "keyed": service.settings.keyed,
    }
