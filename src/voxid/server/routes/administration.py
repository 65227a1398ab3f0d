"""Collections, how they decide, what they learn of their place, and the audit trail."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from voxid.server.answers import (
    CollectionIn,
    CollectionOut,
    CollectionsOut,
    ReceiptOut,
    SurroundingsOut,
    TrailOut,
)
from voxid.server.engine import PLACE, SETTINGS
from voxid.server.problems import Refusal
from voxid.server.routes.shared import (
    MOST_PAGE,
    PROBLEMS,
    Admin,
    AdminHeard,
    At,
    Collection,
    Reader,
    audio,
    done_by,
)
from voxid.server.service import Service

router = APIRouter(prefix="/v1", tags=["collections"], responses=PROBLEMS)


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


@router.get("/collections", response_model=CollectionsOut, summary="The collections there are")
async def collections(service: At, caller: Reader) -> Any:
    """List the collections that the key may see."""
    found = await service.thread(service.store.collections)
    seen = [info for info in found if caller.collection in ("", info.name)]
    return {"collections": await service.thread(lambda: [_shown(service, info) for info in seen])}


@router.get("/collections/{collection}", response_model=CollectionOut, summary="One collection")
async def collection_(service: At, caller: Reader, collection: Collection) -> Any:
    """Show a collection, and how it decides."""
    return await service.thread(_collection, service, collection)


@router.put(
    "/collections/{collection}",
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
    "/collections/{collection}", response_model=ReceiptOut, summary="Remove a collection and everybody in it"
)
async def delete_collection(service: At, caller: Admin, collection: Collection) -> Any:
    """Delete all people of a collection, its settings and its opt-outs."""

    def work() -> dict[str, Any]:
        found = _collection(service, collection)
        service.store.delete_collection(collection)
        return {"voiceprints": found["voiceprints"]}

    return await done_by(service, caller, work)


@router.put(
    "/collections/{collection}/surroundings",
    response_model=SurroundingsOut,
    summary="Adapt the decisions of a collection to recordings of other people",
    openapi_extra=audio("file", several=True),
)
async def set_surroundings(request: Request, service: At, caller: AdminHeard, collection: Collection) -> Any:
    """Give recordings of 30 other people or more, made as those of the collection are, without names.

    Decisions weigh them from then on, and say so (`surroundings`). People stay enrolled.
    """
    async with service.heard(request) as heard:
        return await done_by(service, caller, service.recognizers.adapt, collection, heard)


@router.delete(
    "/collections/{collection}/surroundings",
    response_model=CollectionOut,
    summary="Undo the adaptation of a collection",
)
async def forget_surroundings(service: At, caller: Admin, collection: Collection) -> Any:
    """Undo what the collection learnt of its place."""
    await done_by(service, caller, service.recognizers.forget_place, collection)
    return await service.thread(_collection, service, collection)


@router.get(
    "/collections/{collection}/audit",
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
    return {"lines": found}
