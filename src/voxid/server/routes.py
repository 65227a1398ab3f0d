"""The routes of `/v1`: each one is a call of the library, asked and answered over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

import voxid
from voxid.audio import Inspected
from voxid.errors import OptedOut, PersonNotFound
from voxid.recognizer import People
from voxid.recognizer import compare as compare_two
from voxid.server import metrics
from voxid.server.answers import (
    TOO_LITTLE,
    CollectionIn,
    CollectionOut,
    CollectionsOut,
    DecisionOut,
    EmbeddingOut,
    EnrollmentOut,
    IdentificationOut,
    ModelOut,
    OptOutOut,
    OptOutsOut,
    Problem,
    ReceiptOut,
    SpeakerIn,
    SpeakerOut,
    SpeakersOut,
    SurroundingsOut,
    TrailOut,
    decision_out,
    enrollment_out,
    identification_out,
    line_out,
    no_decision,
    speaker_out,
)
from voxid.server.engine import PLACE, SETTINGS
from voxid.server.keys import Caller
from voxid.server.problems import MEDIA_TYPE, Refusal, remedy_of
from voxid.server.service import Service
from voxid.stores import acting

SLASH = "\udc2f"
MOST_PAGE = 1_000
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": said,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status, said in {
        400: "The request cannot be answered as it is",
        401: "A key is needed, or is wrong",
        403: "The key may not do that",
        404: "Nobody of that name",
        408: "The body came too slowly",
        409: "In conflict with what is there",
        413: "Too large or too long",
        415: "Not audio that can be read",
        421: "Not a name of this service",
        422: "The recording cannot be used",
        429: "Too much at once; Retry-After says when",
        500: "An error of the service",
        503: "Not ready",
        504: "Not answered in time",
    }.items()
}
router = APIRouter(prefix="/v1", responses={**PROBLEMS, 400: {**PROBLEMS[400], "model": Problem}})


def audio(*fields: str, several: bool = False) -> dict[str, Any]:
    """Return how OpenAPI describes a body of recordings."""
    one = {"type": "string", "format": "binary"}
    parts = {name: {"type": "array", "items": one} if several else one for name in fields}
    schema = {"type": "object", "properties": parts, "required": list(fields)}
    content: dict[str, Any] = {"multipart/form-data": {"schema": schema}}
    if fields == ("file",):
        content |= {kind: {"schema": one} for kind in ("audio/wav", "audio/flac", "audio/ogg", "audio/mpeg")}
    return {"requestBody": {"required": True, "content": content}}


# -- what routes share -------------------------------------------------------------------------------------


def service_of(request: Request) -> Service:
    """Return the service."""
    return request.app.state.service


At = Annotated[Service, Depends(service_of)]
_bearer = HTTPBearer(auto_error=False, description="A key that `voxid keys create` made.")


def needs(scope: str) -> Any:
    """Return the dependency of a route that needs a key of this scope, for its collection."""

    async def check(
        request: Request,
        service: At,
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None,
    ) -> Caller:
        caller = await service.caller(given.credentials if given else request.headers.get("x-api-key"))
        request.scope["caller"] = caller.name
        where = request.path_params.get("collection")
        caller.may(scope, where and where.replace(SLASH, "/"))
        return caller

    return Depends(check)


Reader = Annotated[Caller, needs("read")]
Enroller = Annotated[Caller, needs("enroll")]
Admin = Annotated[Caller, needs("admin")]


def asked_of(
    prior: Annotated[float | None, Query(description="Probability of 'same speaker' beforehand.")] = None,
    cost_miss: Annotated[float | None, Query(description="What a wrong 'no' costs.")] = None,
    cost_false_alarm: Annotated[float | None, Query(description="What a wrong 'yes' costs.")] = None,
    far: Annotated[float | None, Query(description="In place of costs: the false-alarm rate.")] = None,
) -> dict[str, float | None]:
    """Return how a request wants it decided."""
    return {"prior": prior, "cost_miss": cost_miss, "cost_false_alarm": cost_false_alarm, "far": far}


Rules = Annotated[dict[str, Any], Depends(asked_of)]


def name_of(name: str) -> str:
    """Return a name from the path."""
    return name.replace(SLASH, "/")


def collection_of(collection: str) -> str:
    """Return a collection from the path."""
    return collection.replace(SLASH, "/")


Name = Annotated[str, Depends(name_of)]
Collection = Annotated[str, Depends(collection_of)]


def counted(question: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return an answer, after its decision was counted."""
    metrics.DECISIONS.labels(question, found["decision"]).inc()
    return found


async def done_by(
    service: Service, caller: Caller, work: Callable[..., Any], *arguments: Any, **options: Any
) -> Any:
    """Return what work comes to; the audit trail says who did it."""

    def act() -> Any:
        with acting(caller.name):
            return work(*arguments, **options)

    return await service.thread(act)


async def people_of(service: Service, collection: str) -> People:
    """Return the people of a collection."""
    return People(service.store, collection=collection)


# -- the three questions -----------------------------------------------------------------------------------


@router.post(
    "/collections/{collection}/speakers/{name}/recordings",
    tags=["recognize"],
    response_model=EnrollmentOut,
    summary="Enroll somebody, or add recordings to who is enrolled",
    openapi_extra=audio("file", several=True),
)
async def enroll(
    request: Request,
    service: At,
    caller: Enroller,
    collection: Collection,
    name: Name,
    replace: Annotated[bool, Query(description="Take these recordings instead of those held.")] = False,
    channel: Annotated[str | None, Query(description="One channel, counted from 0; or mix.")] = None,
    idempotency_key: Annotated[str | None, Header(description="The same key gets the same answer.")] = None,
) -> Any:
    """Add one recording or more, in one transaction. A recording that is held already adds nothing.

    No audio is kept. `state` is `enrolled` when there is as much net speech as is wanted.
    """
    recognizer = await service.recognizer(collection, allow=name)

    async def work() -> dict[str, Any]:
        async with service.body(request) as (body, heard):
            if not heard:
                body.of("file")
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
    tags=["recognize"],
    response_model=DecisionOut,
    summary="Whether a recording is of somebody enrolled",
    openapi_extra=audio("file"),
)
async def verify(
    request: Request,
    service: At,
    caller: Reader,
    collection: Collection,
    name: Name,
    rules: Rules,
    channel: Annotated[str | None, Query(description="One channel, counted from 0; or mix.")] = None,
) -> Any:
    """Decide on one claimed identity, by the threshold that the rule asks for."""
    recognizer = await service.recognizer(collection)
    rule = recognizer.rule(**rules)

    def none(kind: str, error: Exception) -> dict[str, Any]:
        return counted("verify", no_decision(kind, str(error), rule, evidence, name))

    evidence = service.evidence(recognizer, rule)
    try:
        await service.thread(recognizer.get, name)
        async with service.body(request) as (body, heard):
            body.of("file")
            found = await service.thread(recognizer.verify, name, heard[0], **rules)
    except PersonNotFound as error:
        return none("not_enrolled", error)
    except OptedOut as error:
        return none("opted_out", error)
    except TOO_LITTLE as error:
        return none("not_enough_speech", error)
    return counted("verify", decision_out(found, evidence))


@router.post(
    "/collections/{collection}/identify",
    tags=["recognize"],
    response_model=IdentificationOut,
    summary="Who of the enrolled people a recording is of, or nobody that is known",
    openapi_extra=audio("file"),
)
async def identify(
    request: Request,
    service: At,
    caller: Reader,
    collection: Collection,
    rules: Rules,
    top: Annotated[int, Query(ge=1, le=MOST_PAGE, description="How many candidates to show.")] = 5,
    channel: Annotated[str | None, Query(description="One channel, counted from 0; or mix.")] = None,
) -> Any:
    """Rank the nearest people. The threshold accounts for how many are enrolled."""
    recognizer = await service.recognizer(collection)
    rule = recognizer.rule(**rules)
    evidence = service.evidence(recognizer, rule)
    try:
        async with service.body(request) as (body, heard):
            body.of("file")
            found = await service.thread(recognizer.identify, heard[0], top=top, **rules)
    except TOO_LITTLE as error:
        people = await service.thread(service.store.count, collection=collection)
        none = no_decision("not_enough_speech", str(error), rule, evidence)
        none |= {"known": False, "candidates": [], "enrolled": people, "unknown_probability": None}
        none |= {"speech_s": None, "net_speech_s": None}
        return counted("identify", none)
    return counted("identify", identification_out(found, evidence))


@router.post(
    "/compare",
    tags=["recognize"],
    response_model=DecisionOut,
    summary="Whether one speaker said both recordings",
    openapi_extra=audio("a", "b"),
)
async def compare(
    request: Request,
    service: At,
    caller: Reader,
    rules: Rules,
    channel: Annotated[str | None, Query(description="One channel, counted from 0; or mix.")] = None,
) -> Any:
    """Compare two recordings. Nothing is stored."""
    recognizer = await service.recognizer("default")
    rule = recognizer.rule(**rules)
    evidence = service.evidence(None, rule)
    try:
        async with service.body(request) as (body, heard):
            pair = _named(body.of("a", "b"), [one.field for one in body.files], heard)
            found = await service.thread(
                compare_two,
                *pair,
                model=service.runtime,
                least_speech_s=service.settings.least_speech_s,
                **rules,
            )
    except TOO_LITTLE as error:
        return counted("compare", no_decision("not_enough_speech", str(error), rule, evidence))
    return counted("compare", decision_out(found, evidence))


def _named(sent: list[Any], fields: list[str], heard: list[Inspected]) -> list[Inspected]:
    return [heard[fields.index(one.field)] for one in sent]


@router.post(
    "/embed",
    tags=["recognize"],
    response_model=EmbeddingOut,
    summary="The embedding of a recording",
    openapi_extra=audio("file"),
)
async def embed(
    request: Request,
    service: At,
    caller: Reader,
    channel: Annotated[str | None, Query(description="One channel, counted from 0; or mix.")] = None,
) -> Any:
    """Embed a recording. Embeddings of two models do not compare: see `model`."""
    async with service.body(request) as (body, heard):
        body.of("file")
        [found] = await service.thread(lambda: list(service.runtime.embed_each([heard[0]])))
    return {
        "embedding": found.embedding.tolist(),
        "model": service.runtime.fingerprint,
        "net_speech_s": found.info.net_speech_s,
        "total_s": found.info.total_s,
        "warnings": list(found.info.warnings),
    }


@router.get("/model", tags=["recognize"], response_model=ModelOut, summary="The model and its calibration")
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


# -- the people --------------------------------------------------------------------------------------------


@router.get(
    "/collections/{collection}/speakers",
    tags=["speakers"],
    response_model=SpeakersOut,
    summary="Who is enrolled, by name",
)
async def speakers(
    service: At,
    caller: Reader,
    collection: Collection,
    after: Annotated[str | None, Query(description="The name that the page before ended with.")] = None,
    prefix: Annotated[str | None, Query(description="Only names that begin so.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_PAGE)] = 100,
) -> Any:
    """List people, a page at a time."""
    recognizer = await service.recognizer(collection)
    found = await service.thread(
        service.store.people, prefix=prefix, after=after, limit=limit + 1, collection=collection
    )
    total = await service.thread(service.store.count, collection=collection)
    shown = [speaker_out(person, recognizer.wanted_speech_s) for person in found[:limit]]
    following = shown[-1]["name"] if len(found) > limit else None
    return {"collection": collection, "total": total, "speakers": shown, "next": following}


@router.get(
    "/collections/{collection}/speakers/{name}",
    tags=["speakers"],
    response_model=SpeakerOut,
    summary="One person, with when and how much was recorded",
)
async def speaker(service: At, caller: Reader, collection: Collection, name: Name) -> Any:
    """Show a person. No audio is kept, so there is nothing to play."""
    recognizer = await service.recognizer(collection)
    return speaker_out(await service.thread(recognizer.get, name), recognizer.wanted_speech_s)


@router.patch(
    "/collections/{collection}/speakers/{name}",
    tags=["speakers"],
    response_model=SpeakerOut,
    summary="Rename a person, or change notes on them",
)
async def change_speaker(
    service: At, caller: Admin, collection: Collection, name: Name, change: SpeakerIn
) -> Any:
    """Give a person another name, or notes."""
    recognizer = await service.recognizer(collection)
    await service.thread(recognizer.get, name)
    if change.metadata:
        await done_by(
            service, caller, service.store.update_metadata, name, change.metadata, collection=collection
        )
    if change.name is not None:
        await done_by(service, caller, recognizer.rename, name, change.name)
        name = change.name
    return speaker_out(await service.thread(recognizer.get, name), recognizer.wanted_speech_s)


@router.delete(
    "/collections/{collection}/speakers/{name}",
    tags=["speakers"],
    response_model=ReceiptOut,
    summary="Remove all that is held on a person",
)
async def delete_speaker(service: At, caller: Admin, collection: Collection, name: Name) -> Any:
    """Delete a person: voiceprints, notes, and the name in the audit trail."""
    people = await people_of(service, collection)
    found = await done_by(service, caller, people.delete, name)
    return {"deleted": True, "voiceprints": found.voiceprints, "audit": found.audit, "wiped": found.wiped}


@router.delete(
    "/collections/{collection}/speakers/{name}/recordings/{voiceprint}",
    tags=["speakers"],
    response_model=SpeakerOut,
    summary="Remove one recording of a person",
)
async def delete_recording(
    service: At, caller: Enroller, collection: Collection, name: Name, voiceprint: str
) -> Any:
    """Undo a recording: what `clips[].voiceprint` of an enrollment named."""
    recognizer = await service.recognizer(collection)
    found = await done_by(service, caller, recognizer.remove_clip, name, voiceprint)
    return speaker_out(found, recognizer.wanted_speech_s)


@router.get(
    "/collections/{collection}/speakers/{name}/export",
    tags=["speakers"],
    summary="Everything that is held on a person",
)
async def export(service: At, caller: Admin, collection: Collection, name: Name) -> dict[str, Any]:
    """Return voiceprints, notes and audit trail, as `voxid speakers import` takes them."""
    return await service.thread((await people_of(service, collection)).export, name)


@router.put(
    "/collections/{collection}/speakers/{name}/opt-out",
    tags=["speakers"],
    response_model=ReceiptOut,
    summary="Refuse a person's voice from now on",
)
async def opt_out(service: At, caller: Admin, collection: Collection, name: Name) -> Any:
    """Remove what is held, and refuse audio of this person until they opt in. Whether enrolled or not."""
    people = await people_of(service, collection)
    found = await done_by(service, caller, people.opt_out, name)
    if found is None:
        return {"deleted": False, "voiceprints": 0}
    return {"deleted": True, "voiceprints": found.voiceprints, "audit": found.audit, "wiped": found.wiped}


@router.delete(
    "/collections/{collection}/speakers/{name}/opt-out",
    tags=["speakers"],
    response_model=OptOutsOut,
    summary="Let a person be enrolled again",
)
async def opt_in(service: At, caller: Admin, collection: Collection, name: Name) -> Any:
    """Undo an opt-out; nothing comes back of what was removed."""
    people = await people_of(service, collection)
    await done_by(service, caller, people.opt_in, name)
    return await opt_outs(service, caller, collection)


@router.get(
    "/collections/{collection}/opt-outs",
    tags=["speakers"],
    response_model=OptOutsOut,
    summary="Who opted out",
)
async def opt_outs(service: At, caller: Admin, collection: Collection) -> Any:
    """List who opted out of a collection, by name."""
    found = await service.thread((await people_of(service, collection)).opted_out)
    return {"opt_outs": [OptOutOut(name=one.name, since=one.since.isoformat()) for one in found]}


@router.get(
    "/collections/{collection}/audit",
    tags=["speakers"],
    response_model=TrailOut,
    summary="What was done to whom, when, and by which key",
)
async def audit(
    service: At,
    caller: Admin,
    collection: Collection,
    name: Annotated[str | None, Query(description="Only lines about this person.")] = None,
    after: Annotated[int, Query(ge=0, le=2**62, description="Only lines after this number.")] = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_PAGE)] = 100,
) -> Any:
    """Return lines of the audit trail, oldest first."""
    found = await service.thread(
        service.store.audit, name=name, after=after, limit=limit, collection=collection
    )
    return {"lines": [line_out(line) for line in found]}


# -- collections -------------------------------------------------------------------------------------------


def _shown(service: Service, info: Any) -> dict[str, Any]:
    return {
        "name": info.name,
        "people": info.people,
        "voiceprints": info.voiceprints,
        "model": info.model,
        "settings": service.store.note(SETTINGS, collection=info.name),
    }


def _collection(service: Service, collection: str) -> dict[str, Any]:
    for info in service.store.collections():
        if info.name == collection:
            return _shown(service, info)
    raise Refusal(404, "CollectionNotFound", f"there is no collection {collection!r:.200}. PUT makes it.")


@router.get(
    "/collections", tags=["collections"], response_model=CollectionsOut, summary="The collections there are"
)
async def collections(service: At, caller: Reader) -> Any:
    """List the collections that the key may see."""
    found = await service.thread(service.store.collections)
    seen = [info for info in found if caller.collection in ("", info.name)]
    return {"collections": await service.thread(lambda: [_shown(service, info) for info in seen])}


@router.get(
    "/collections/{collection}", tags=["collections"], response_model=CollectionOut, summary="One collection"
)
async def collection_(service: At, caller: Reader, collection: Collection) -> Any:
    """Show a collection, and how it decides."""
    return await service.thread(_collection, service, collection)


@router.put(
    "/collections/{collection}",
    tags=["collections"],
    response_model=CollectionOut,
    summary="Make a collection, or set how it decides",
)
async def set_collection(service: At, caller: Admin, collection: Collection, given: CollectionIn) -> Any:
    """Set how a collection decides. What is left out is as the service is set."""

    def work() -> dict[str, Any]:
        own = given.model_dump(exclude_none=True)
        service.recognizers.check(own)
        held = service.store.note(SETTINGS, collection=collection).get(PLACE)
        service.store.create_collection(collection)
        kept = {**own, PLACE: held} if held else own
        service.store.set_notes({SETTINGS: kept}, collection=collection)
        return _collection(service, collection)

    return await done_by(service, caller, work)


@router.delete(
    "/collections/{collection}",
    tags=["collections"],
    response_model=ReceiptOut,
    summary="Remove a collection and everybody in it",
)
async def delete_collection(service: At, caller: Admin, collection: Collection) -> Any:
    """Delete all people of a collection, its settings and its opt-outs."""

    def work() -> dict[str, Any]:
        found = _collection(service, collection)
        service.store.delete_collection(collection)
        return {"deleted": True, "voiceprints": found["voiceprints"]}

    return await done_by(service, caller, work)


@router.put(
    "/collections/{collection}/surroundings",
    tags=["collections"],
    response_model=SurroundingsOut,
    summary="Let a collection learn how strangers sound at its place",
    openapi_extra=audio("file", several=True),
)
async def set_surroundings(request: Request, service: At, caller: Admin, collection: Collection) -> Any:
    """Give recordings of 30 other people or more, made as those of the collection are, without names.

    Decisions weigh them from then on, and say so (`surroundings`). People stay enrolled.
    """
    async with service.body(request) as (body, heard):
        if not heard:
            body.of("file")
        return await done_by(service, caller, service.recognizers.adapt, collection, heard)


@router.delete(
    "/collections/{collection}/surroundings",
    tags=["collections"],
    response_model=CollectionOut,
    summary="Let a collection decide by the model's own strangers again",
)
async def forget_surroundings(service: At, caller: Admin, collection: Collection) -> Any:
    """Undo what the collection learnt of its place."""
    await done_by(service, caller, service.recognizers.forget_place, collection)
    return await service.thread(_collection, service, collection)
